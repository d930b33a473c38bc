# SPDX-License-Identifier: Apache-2.0
"""What people signed and what ends when, as gauges: of each collection the role that ends first."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import event, update

from collection import Collection
from notaryserver import NotaryServer
from server.expiry import MAX_NAMED, Expiry
from server.models import ChangeRow, TufFileRow
from trust.errors import UnavailableError
from trust.keys import NotaryKey
from trust.keystore import MemoryKeyStore
from trust.names import Gun, RoleName
from trust.web.metrics import COLLECTORS

DAY = 86400
MINUTES = timedelta(minutes=5)


class Known(Collector):
    """What a worker shows, without anybody being sent to look again."""

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client`."""
        yield from self._expiry.known()


class Watched(NotaryServer):
    """A notary server, and two of its workers' gauges."""

    def __init__(self, folder: Path, keys: MemoryKeyStore | None = None, database_url: str | None = None) -> None:
        super().__init__(folder, keys=keys, database_url=database_url)
        self.folder = folder / "metrics"
        self.folder.mkdir()
        self.expiry, self.other = (
            Expiry(self.database, self.keys, lambda: self.now, MINUTES, self.folder) for _ in range(2)
        )

    def look(self) -> None:
        """Look again, in time."""
        self.now += MINUTES
        assert self.expiry.refresh()

    def ending(self, gun: str, days: float, role: str = "targets") -> Collection:
        """A collection in which `role` ends in so many days, and all else that people sign much later."""
        collection = self.collection(gun)
        ends = self.now + timedelta(days=days)
        collection.root(expires=ends if role == "root" else None)
        if role.startswith("targets/"):
            collection.delegation(role)
        collection.targets({"v1": b"manifest"}, expires=ends if role == "targets" else None)
        roles = ["root", "targets"]
        if role.startswith("targets/"):
            collection.targets({"v1": b"manifest"}, role=role, expires=ends)
            roles.append(role)
        answer = self.publish(collection, *roles)
        assert answer.status_code == 200, answer.text
        return collection

    def shown(self) -> CollectorRegistry:
        """What the other worker shows."""
        registry = CollectorRegistry()
        registry.register(Known(self.other))
        return registry

    def counts(self) -> dict[str, float]:
        """How many collections end within what."""
        shown, name = self.shown(), "troth_collections_expiring"
        return {each: shown.get_sample_value(name, {"within": each}) or 0 for each in _WITHIN}

    def left(self) -> dict[tuple[str, str], int]:
        """Whole days left, by GUN and role."""
        (family,) = (each for each in self.shown().collect() if each.name == "troth_collection_expires_in_seconds")
        return {(each.labels["gun"], each.labels["role"]): round(each.value / DAY) for each in family.samples}


_WITHIN = ("7d", "30d", "90d", "180d", "expired")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Watched]:
    server = Watched(tmp_path)
    yield server
    server.close()


def test_collections_are_counted_by_what_ends_first_in_them(server: Watched) -> None:
    for name, days in {"a": 3, "b": 20, "c": 60, "d": 150, "e": 400}.items():
        server.ending(name, days)
    server.look()
    assert server.counts() == {"7d": 1, "30d": 2, "90d": 3, "180d": 4, "expired": 0}
    assert server.left() == {("a", "targets"): 3, ("b", "targets"): 20, ("c", "targets"): 60, ("d", "targets"): 150}
    assert server.shown().get_sample_value("troth_collections") == 5
    # Time passes, and nobody has to look again for that.
    server.now += timedelta(days=10)
    assert server.counts() == {"7d": 0, "30d": 1, "90d": 2, "180d": 3, "expired": 1}
    assert server.left()["a", "targets"] == -7


@pytest.mark.parametrize("role", ["root", "targets", "targets/releases"])
def test_every_role_that_people_sign_counts(server: Watched, role: str) -> None:
    server.ending("app", 20, role)
    server.look()
    assert server.left() == {("app", role): 20}


@pytest.mark.parametrize("ours", [True, False])
def test_a_snapshot_counts_only_if_its_key_is_a_persons(server: Watched, ours: bool) -> None:
    collection = server.collection("app", snapshot=ours)
    collection.root()
    collection.targets({"v1": b"manifest"}, expires=server.now + timedelta(days=2000))
    roles = ["root", "targets"]
    if not ours:
        collection.snapshot()  # it ends after three years, as the server's do
        roles.append("snapshot")
    assert server.publish(collection, *roles).status_code == 200
    server.look()
    assert server.left() == {}
    server.now += timedelta(days=1000)
    server.look()
    assert server.left() == ({} if ours else {("app", "snapshot"): 95})


def test_a_delegation_that_was_taken_back_does_not_count(server: Watched) -> None:
    collection = server.ending("app", 20, "targets/alice")
    collection.revoke("targets/alice")
    collection.targets()
    assert server.publish(collection, "targets").status_code == 200
    server.look()
    assert server.left() == {}


def test_what_was_signed_anew_or_deleted_is_seen_at_the_next_look(server: Watched) -> None:
    app = server.ending("app", 20)
    server.ending("other", 20)
    server.look()
    app.targets(expires=server.now + timedelta(days=500))
    assert server.publish(app, "targets").status_code == 200
    server.request("DELETE", "/v2/other/_trust/tuf/")
    assert server.counts()["30d"] == 2
    server.look()
    assert server.counts()["30d"] == 0
    assert server.shown().get_sample_value("troth_collections") == 1


def test_only_collections_that_changed_are_read_again(server: Watched) -> None:
    for number in range(5):
        server.ending(f"app{number}", 20)
    server.look()
    server.ending("new", 20)
    statements: list[str] = []
    event.listen(server.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    server.look()
    assert server.counts()["30d"] == 6
    assert len([statement for statement in statements if "tuf_files" in statement]) < 5
    # Nothing has changed: the changefeed alone is asked.
    statements.clear()
    server.look()
    assert not [statement for statement in statements if "tuf_files" in statement]


def test_a_change_that_is_committed_after_a_later_one_is_not_missed(server: Watched) -> None:
    server.ending("a", 20)
    late = server.ending("late", 20)
    server.ending("b", 20)
    # As if another server's transaction were not finished yet.
    with server.database.write() as session:
        row = session.query(ChangeRow).filter_by(gun="late").one()
        number = row.id
        values = {name: getattr(row, name) for name in ("created_at", "version", "sha256", "category")}
        session.delete(row)
        session.execute(update(TufFileRow).where(TufFileRow.gun == "late").values(gun="not yet"))
    server.look()
    assert ("late", "targets") not in server.left()
    with server.database.write() as session:
        session.execute(update(TufFileRow).where(TufFileRow.gun == "not yet").values(gun=late.gun))
        session.add(ChangeRow(id=number, gun="late", **values))
    server.look()
    assert ("late", "targets") in server.left()


def test_it_is_looked_no_more_often_than_asked_and_by_one_at_a_time(server: Watched) -> None:
    server.look()
    assert not server.other.refresh()
    server.now += MINUTES
    with (server.folder / "expiry.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not server.other.refresh()
    assert server.other.refresh()


def test_before_the_first_look_nothing_is_said_and_a_scrape_sends_somebody_to_look(server: Watched) -> None:
    server.ending("app", 20)
    assert not list(server.expiry.known())
    list(server.expiry.collect())
    deadline = time.monotonic() + 30
    while not list(server.other.known()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert server.left() == {("app", "targets"): 20}


def test_a_collection_that_cannot_be_read_is_counted_and_stops_nobody(server: Watched) -> None:
    server.ending("a", 20)
    server.ending("b", 20)
    with server.database.write() as session:
        broken = (TufFileRow.gun == "a") & (TufFileRow.role == "root")
        session.execute(update(TufFileRow).where(broken).values(data=b"{}"))
    server.look()
    assert server.shown().get_sample_value("troth_collections_unreadable") == 1
    assert server.left() == {("b", "targets"): 20}


class Absent(MemoryKeyStore):
    """A key store that does not answer while it is away."""

    away = False

    def find(self, gun: Gun, role: RoleName, key_ids: object) -> list[NotaryKey]:
        """See `KeyStore.find`."""
        if self.away:
            raise UnavailableError("the signer does not answer")
        return super().find(gun, role, key_ids)  # type: ignore[arg-type]


def test_without_the_signer_what_was_known_stays(tmp_path: Path) -> None:
    keys = Absent()
    server = Watched(tmp_path, keys)
    collection = server.ending("app", 1200)
    server.look()
    looked = server.shown().get_sample_value("troth_expiry_refreshed_timestamp_seconds")
    server.now += timedelta(days=1000)  # now the snapshot would be the first to end, and whose is it?
    keys.away = True
    assert not server.expiry.refresh()
    assert server.shown().get_sample_value("troth_expiry_refreshed_timestamp_seconds") == looked
    assert server.left() == {("app", "snapshot"): 95}
    keys.away = False
    server.look()
    assert server.left() == {}
    assert collection.gun == "app"
    server.close()


def test_those_are_named_first_with_which_something_can_still_be_done(server: Watched) -> None:
    from server.expiry import _Ends, _Found, _gauges

    now = server.now.timestamp()
    ends = {f"over{number}": _Ends("targets", now - number * DAY, None) for number in range(1, MAX_NAMED)}
    ends |= {f"soon{number}": _Ends("targets", now + number * DAY, None) for number in range(1, 180)}
    (family,) = (
        each for each in _gauges(_Found(ends=dict(ends)), now) if each.name == "troth_collection_expires_in_seconds"
    )
    named = [sample.labels["gun"] for sample in family.samples]
    assert len(named) == MAX_NAMED
    assert named[:179] == [f"soon{number}" for number in range(1, 180)]
    assert named[179] == "over1"


def test_the_app_brings_the_gauges_along(server: Watched) -> None:
    (collector,) = server.app.extensions[COLLECTORS]
    assert isinstance(collector, Expiry)


def test_it_works_on_every_database(database_url: str, tmp_path: Path) -> None:
    server = Watched(tmp_path, database_url=database_url)
    server.ending("app", 20)
    server.look()
    server.ending("other", 20)
    server.look()
    assert server.counts()["30d"] == 2
    server.close()
