# SPDX-License-Identifier: Apache-2.0
"""Events arrive: once each, in order, signed, after failures, and whoever of several processes brings them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from sqlalchemy.orm import Session

from databases import new_database
from receiver import SECRET, Receiver
from registry import migrations
from registry.events import event as events
from registry.events import outbox
from registry.events.addresses import Addresses
from registry.events.deliver import CLAIM, PAUSES, Deliverer
from registry.events.endpoints import (
    add_webhook,
    find_webhook,
    list_deliveries,
    redeliver,
    remove_webhook,
    send_test,
    set_enabled,
)
from registry.events.event import Kind
from registry.events.sender import Sender
from registry.events.signature import headers, new_secret
from trust.errors import ConflictError, NotFoundError
from trust.web.database import Database
from trust.web.migrations import upgrade

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LOOPBACK = Addresses(["127.0.0.0/8"], plain_http=True)
MANY = 6


class Site:
    """A database with events, and processes that deliver them, by a clock that can be set."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = NOW
        self.database = Database(url)
        upgrade(self.database, migrations)

    def webhook(self, receiver: Receiver, *kinds: Kind, place: str = "") -> int:
        made, _ = add_webhook(
            self.database, LOOPBACK, receiver.url, kinds=kinds or (Kind.PUSH,), place=place, secret=SECRET,
            creator="alice", trusted=True, now=self.now,
        )  # fmt: skip
        return made.id

    def event(self, tag: str, repository: str = "library/app", kind: Kind = Kind.PUSH) -> events.Event:
        return events.Event(kind=kind, repository=repository, tag=tag, time=self.now)

    def tell(self, *tags: str, repository: str = "library/app") -> None:
        for tag in tags:
            told = self.event(tag, repository)
            self.database.transact(lambda session, told=told: outbox.tell(session, told))  # type: ignore[misc]

    def deliverer(self, database: Database | None = None) -> Deliverer:
        return Deliverer(
            database or self.database, Sender(LOOPBACK), "https://registry.example.com", clock=lambda: self.now
        )

    def states(self, webhook: int) -> list[tuple[int, str, int, int | None]]:
        return [
            (each.sequence, each.state, each.attempts, each.status)
            for each in reversed(list_deliveries(self.database, webhook))
        ]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(f"sqlite:///{tmp_path}/registry.db")
    yield site
    site.database.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def tags(receiver: Receiver) -> list[str]:
    return [event["data"]["tag"] for event in receiver.events()]


def test_an_event_is_a_signed_cloudevent_with_all_that_is_known(site: Site, receiver: Receiver) -> None:
    site.webhook(receiver)
    digest = "sha256:" + "0" * 64
    told = events.Event(
        kind=Kind.PUSH, repository="library/app", tag="1", digest=digest, media_type="a/b", actor="älice",
        request_id="r1", time=NOW, detail={"size": 3},
    )  # fmt: skip
    with site.database.write() as session:
        outbox.tell(session, told)
    assert site.deliverer().deliver_due() == 1
    assert receiver.events() == [
        {
            "specversion": "1.0", "id": told.id, "type": "troth.push", "source": "https://registry.example.com",
            "subject": "library/app:1", "time": "2026-11-24T12:00:00.000Z", "datacontenttype": "application/json",
            "sequence": "00000000000000000001",
            "data": {
                "version": 1, "repository": "library/app", "tag": "1", "digest": digest, "media_type": "a/b",
                "actor": "älice", "request_id": "r1", "size": 3,
            },
        }
    ]  # fmt: skip
    (came,) = receiver.requests
    assert came.headers["webhook-id"] == told.id
    assert came.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert came.headers["User-Agent"].startswith("troth-registry/")


def test_an_endpoint_is_told_what_it_asked_for_where_it_asked_for_it(site: Site, receiver: Receiver) -> None:
    everywhere, namespace, one = (site.webhook(receiver, place=place) for place in ("", "library/", "library/app"))
    pulls = site.webhook(receiver, Kind.PULL, Kind.DELETE)
    off = site.webhook(receiver)
    set_enabled(site.database, off, False, NOW)
    site.tell("1")
    site.tell("2", repository="library/app/sub")
    site.tell("3", repository="library2/app")
    site.tell("4", repository="app")
    told = {
        number: [each.sequence for each in list_deliveries(site.database, number)] for number in range(1, off + 1)
    }
    assert told == {everywhere: [4, 3, 2, 1], namespace: [2, 1], one: [1], pulls: [], off: []}


def test_what_is_not_committed_is_not_told_and_leaves_no_gap(site: Site, receiver: Receiver) -> None:
    site.webhook(receiver)

    def fail(session: Session) -> None:
        outbox.tell(session, site.event("undone"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        site.database.transact(fail)
    with site.database.write() as session:
        outbox.tell(session, site.event("1"), site.event("2"))
    site.deliverer().deliver_due()
    assert tags(receiver) == ["1", "2"]
    assert receiver.sequences() == [1, 2]


def test_nothing_overtakes_what_failed_and_the_pauses_grow(site: Site, receiver: Receiver) -> None:
    number = site.webhook(receiver)
    site.tell("1", "2")
    receiver.answers = [500, 404, 302, 429, 204]
    deliverer, pauses = site.deliverer(), []
    for _ in range(4):
        assert deliverer.deliver_due() == 0
        assert deliverer.deliver_due() == 0  # not before its time
        due = find_webhook(site.database, number).due
        assert due is not None
        pauses.append(due - site.now)
        site.now = due
    assert pauses == list(PAUSES[:4])
    assert find_webhook(site.database, number).failures == 4
    assert deliverer.deliver_due() == 2
    assert tags(receiver) == ["1"] * 5 + ["2"]
    assert len({each.headers["webhook-id"] for each in receiver.requests[:5]}) == 1
    assert len({each.headers["webhook-timestamp"] for each in receiver.requests[:5]}) == 5
    assert site.states(number) == [(1, "delivered", 5, 204), (2, "delivered", 1, 204)]
    assert find_webhook(site.database, number).failures == 0


def test_an_event_that_is_too_old_is_given_up_and_the_number_of_the_next_shows_it(
    site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    number = site.webhook(receiver)
    site.tell("1", "2")
    receiver.answers = [500, 204]
    deliverer = site.deliverer()
    deliverer.deliver_due()
    site.now += timedelta(hours=23)
    site.tell("3")
    site.now += timedelta(hours=1)
    assert deliverer.deliver_due() == 1
    assert receiver.sequences() == [1, 3]
    assert site.states(number) == [(1, "given up", 1, 500), (2, "given up", 0, None), (3, "delivered", 1, 204)]
    assert "2 events are given up" in caplog.text


def test_the_pruned_are_those_that_are_over(site: Site, receiver: Receiver) -> None:
    number = site.webhook(receiver)
    site.tell("1")
    deliverer = site.deliverer()
    deliverer.deliver_due()
    site.now += timedelta(days=6)
    site.tell("2")
    set_enabled(site.database, number, False, NOW)
    assert deliverer.prune() == 0
    site.now += timedelta(days=1)
    assert deliverer.prune() == 1
    assert site.states(number) == [(2, "given up", 0, None)]  # nobody would give it up by trying


def test_an_event_is_sent_again_behind_what_waits_with_its_id(site: Site, receiver: Receiver) -> None:
    number, deliverer = site.webhook(receiver), site.deliverer()
    site.tell("1")
    with pytest.raises(ConflictError, match="still to be delivered"):
        redeliver(site.database, number, 1, NOW)
    deliverer.deliver_due()
    site.tell("2")
    assert redeliver(site.database, number, 1, NOW) == 3
    assert send_test(site.database, number, NOW) == 4
    deliverer.deliver_due()
    came = receiver.events()
    assert [each["type"] for each in came] == ["troth.push"] * 3 + ["troth.test"]
    assert receiver.sequences() == [1, 2, 3, 4]
    assert came[0]["id"] == came[2]["id"]
    for missing in (0, 9, 2**63):
        with pytest.raises(NotFoundError):
            redeliver(site.database, number, missing, NOW)
    remove_webhook(site.database, number, NOW)
    for gone in (number, 0, 2**31, 2**70):
        with pytest.raises(NotFoundError):
            send_test(site.database, gone, NOW)


def test_too_many_that_wait_are_not_kept_and_the_receiver_misses_their_numbers(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING", 2)
    site.webhook(receiver)
    with site.database.write() as session:
        outbox.tell(session, *(site.event(tag) for tag in "123"))
    site.tell("4")
    assert "1 events are not kept" in caplog.text
    site.deliverer().deliver_due()
    site.tell("5")
    site.deliverer().deliver_due()
    assert receiver.sequences() == [1, 2, 5]


def test_a_slow_endpoint_holds_no_other_and_a_stop_is_obeyed(site: Site, receiver: Receiver) -> None:
    others, stop = Event(), Event()

    def wait(_handler: BaseHTTPRequestHandler) -> None:
        assert others.wait(10)
        stop.set()

    def take(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(204)
        handler.end_headers()
        others.set()

    with Receiver() as slow:
        slow.answers = [wait]
        site.webhook(slow)
        receiver.answers = [take]
        site.webhook(receiver)
        site.tell("1")
        assert site.deliverer().deliver_due(stop) == 1
    site.tell("2")
    assert site.deliverer().deliver_due(stop) == 0


_CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_receiver_of_the_how_to_believes_what_is_genuine_and_fresh_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = _CODE.findall((Path(__file__).parents[2] / "docs/how-to/webhooks.md").read_text())
    assert '("127.0.0.1", 8000)' in code
    monkeypatch.chdir(tmp_path)
    (tmp_path / "webhook-secret").write_text(SECRET + "\n")
    names: dict[str, Any] = {}
    Thread(target=exec, args=(code.replace("8000", "0"), names), daemon=True).start()
    deadline = time.monotonic() + 10
    while "server" not in names and time.monotonic() < deadline:
        time.sleep(0.01)
    url, body, now = (
        f"http://127.0.0.1:{names['server'].server_port}/",
        b'{"type": "troth.push", "data": {}}',
        time.time(),
    )

    def send(secret: str, age: int, data: bytes = body) -> int | None:
        signed = headers(secret, "an id", datetime.fromtimestamp(now - age, UTC), body)
        return Sender(LOOPBACK).post(url, data, signed, trusted=True).status

    try:
        assert send(SECRET, 0) == 204
        assert send(SECRET, 60) == 204  # again, of which nothing is seen
        assert send(SECRET, 900) == 401
        assert send(new_secret(), 0) == 401
        assert send(SECRET, 0, body.replace(b"push", b"pull")) == 401
    finally:
        names["server"].shutdown()
        names["server"].server_close()
    assert capsys.readouterr().out == "troth.push None {}\n"


# Several processes.


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.client("postgresql")),
                        pytest.param("mariadb", marks=pytest.mark.client("mariadb-server"))])  # fmt: skip
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with new_database(request.param, request, tmp_path) as url:
        site = Site(url)
        yield site
        site.database.dispose()


def together(*acts: Callable[[], object]) -> None:
    """Do all of it at the same time."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        barrier.wait()
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        list(pool.map(run, acts))


def test_writers_and_deliverers_at_once_bring_each_event_once_and_in_the_order_of_the_commits(
    shared: Site, receiver: Receiver
) -> None:
    databases = [Database(shared.url) for _ in range(MANY)]

    def write(writer: int) -> None:
        for number in range(3):
            told = shared.event(f"{writer}-{number}")
            databases[writer].transact(lambda session, told=told: outbox.tell(session, told))  # type: ignore[misc]

    def deliver(number: int) -> None:
        for _ in range(5):
            shared.deliverer(databases[number]).deliver_due()

    with Receiver() as other:
        shared.webhook(receiver)
        shared.webhook(other, place="library/")
        together(*(partial(write, n) for n in range(MANY)), *(partial(deliver, n) for n in range(3)))
        shared.deliverer().deliver_due()
        for each in (receiver, other):
            assert each.sequences() == list(range(1, 3 * MANY + 1))
            for writer in range(MANY):
                own = [tag for tag in tags(each) if tag.startswith(f"{writer}-")]
                assert own == [f"{writer}-{number}" for number in range(3)]
    for database in databases:
        database.dispose()


_DELIVER = """
import sys
from registry.events.addresses import Addresses
from registry.events.deliver import Deliverer
from registry.events.sender import Sender
from registry.events.signature import headers, new_secret
from trust.web.database import Database

sender = Sender(Addresses(["127.0.0.0/8"], plain_http=True))
Deliverer(Database(sys.argv[1]), sender, "https://registry.example.com").deliver_due()
"""


def test_what_a_killed_process_was_at_is_taken_over_once_its_claim_is_over(site: Site, receiver: Receiver) -> None:
    site.now = datetime.now(UTC)
    number = site.webhook(receiver)
    site.tell("1", "2")
    came = Event()

    def hang(_handler: BaseHTTPRequestHandler) -> None:
        came.set()
        time.sleep(30)

    receiver.answers = [hang, 204]
    with subprocess.Popen([sys.executable, "-c", _DELIVER, site.url]) as process:
        try:
            assert came.wait(60)
            assert site.deliverer().deliver_due() == 0  # somebody is at it
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert site.deliverer().deliver_due() == 0
    site.now += CLAIM + timedelta(minutes=1)
    assert site.deliverer().deliver_due() == 2
    assert tags(receiver) == ["1", "1", "2"]
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]
    assert [state[1] for state in site.states(number)] == ["delivered", "delivered"]


def test_who_was_held_up_until_the_claim_was_over_records_nothing(site: Site, receiver: Receiver) -> None:
    number = site.webhook(receiver)
    site.tell("1", "2")

    def be_overtaken(handler: BaseHTTPRequestHandler) -> None:
        site.now += CLAIM
        assert site.deliverer().deliver_due() == 2
        handler.send_response(500)
        handler.end_headers()

    receiver.answers = [be_overtaken, 204]
    assert site.deliverer().deliver_due() == 0
    assert tags(receiver) == ["1", "1", "2"]
    assert site.states(number) == [(1, "delivered", 1, 204), (2, "delivered", 1, 204)]
    assert find_webhook(site.database, number).failures == 0
