# SPDX-License-Identifier: Apache-2.0
"""Webhooks are looked after by those whose place it is, and nobody sees a secret twice."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from people import ADMIN, ALICE, BOB, People
from receiver import SECRET, Receiver
from registry.accounts.admin import grant
from registry.accounts.policy import Level, Place
from registry.app import main
from registry.events.deliver import open_deliverer
from registry.events.endpoints import MAX_IN_A_PLACE
from registry.models import TRAIL

URL = "https://hooks.example.com/T0/secret-of-the-receiver"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    people = People(tmp_path, webhook_networks=("127.0.0.0/8",), webhook_plain_http=True)
    yield people
    people.close()


def done(answer: TestResponse) -> dict[str, object]:
    assert answer.status_code < 300, answer.text
    return answer.get_json() if answer.data else {}


def status(answer: TestResponse) -> int:
    return answer.status_code


def made(people: People, user: str, **body: object) -> int:
    webhook = done(people.api("POST", "/webhooks", user, {"url": URL} | body))["webhook"]
    assert isinstance(webhook, dict)
    return int(webhook["id"])


def test_a_webhook_is_added_with_a_secret_that_is_shown_once(people: People) -> None:
    answer = done(people.api("POST", "/webhooks", ALICE, {"url": URL, "place": "alice/", "events": ["push"]}))
    webhook, secret = answer["webhook"], answer["secret"]
    assert webhook == {
        "id": 1, "place": "alice/", "url": URL, "events": ["push"], "enabled": True, "creator": ALICE, "waiting": 0,
        "created": "2026-11-24T12:00:00Z", "failures": 0, "failing_since": None, "next_attempt": None,
        "disabled": None,
    }  # fmt: skip
    assert isinstance(secret, str)
    assert done(people.api("GET", "/webhooks/1", ALICE)) == webhook
    assert done(people.api("GET", "/webhooks?place=alice/", ALICE)) == {"webhooks": [webhook]}
    assert done(people.api("GET", "/webhooks", ADMIN)) == {"webhooks": [webhook]}
    brought = done(people.api("POST", "/webhooks", ADMIN, {"url": URL, "secret": SECRET}))
    assert brought["secret"] == SECRET
    with people.database.read() as session:
        records = [each for each in TRAIL.records(session) if each.action == "webhook.add"]
    told = {"webhook": 1, "url": "https://hooks.example.com", "events": ["push"]}
    assert (records[0].actor, records[0].name, json.loads(records[0].detail)) == (ALICE, "alice/", told)
    assert not any(kept in each.to_json() for each in records for kept in (secret, SECRET, "secret-of"))


def test_the_malformed_is_refused(people: People) -> None:
    """AUTH-A11"""
    for body in (
        {}, {"url": "https://127.1"}, {"url": "https://[::1]/"}, {"url": "https://169.254.169.254/latest/meta-data"},
        {"url": "https://user:password@hooks.example.com/"}, {"url": "ftp://hooks.example.com"},
        {"url": URL, "events": []}, {"url": URL, "events": ["push", "push"]}, {"url": URL, "events": ["test"]},
        {"url": URL, "secret": "short"}, {"url": URL, "secret": "whsec_" + "A" * 33}, {"url": URL, "place": "UPPER/"},
        {"url": URL, "place": "localhost:5000/app"}, {"url": URL, "trusted": True},
    ):  # fmt: skip
        assert status(people.api("POST", "/webhooks", ADMIN, body)) == 400, body


def test_an_operators_networks_are_not_for_the_owners_of_namespaces(people: People) -> None:
    """AUTH-A11"""
    with Receiver() as receiver:
        assert status(people.api("POST", "/webhooks", ALICE, {"url": receiver.url, "place": "alice/"})) == 400
        # A name is only known for what it is when it is resolved.
        made(people, ALICE, url=f"http://localhost:{receiver.port}/", place="alice/")
        made(people, ADMIN, url=f"http://localhost:{receiver.port}/", place="alice/", secret=SECRET)
        people.push("alice/app", ALICE)
        assert open_deliverer(people.settings, people.database, lambda: people.now).deliver_due() == 1
        assert [event["subject"] for event in receiver.events()] == ["alice/app:1"]
    listed: Any = done(people.api("GET", "/webhooks/1/deliveries", ALICE))["deliveries"]
    (refused,) = listed
    assert refused["error"] == "the name's address is not a public one, and is not allowed"
    assert refused["status"] is None


def test_to_others_a_webhook_is_not_there(people: People) -> None:
    """AUTH-A07"""
    number = made(people, ALICE, place="alice/app")
    site = made(people, ADMIN)
    grant(people.database, BOB, Place("alice/app"), Level.READ_WRITE)
    for user, hidden in ((BOB, number), (BOB, site), (ALICE, site), (ALICE, site + 1)):
        path = f"/webhooks/{hidden}"
        for method, below, body in (
            ("GET", "", None), ("PATCH", "", {"enabled": False}), ("DELETE", "", None), ("GET", "/deliveries", None),
            ("POST", "/deliveries", {}), ("POST", "/deliveries", {"sequence": 1}),
        ):  # fmt: skip
            assert status(people.api(method, path + below, user, body)) == 404, (user, method, below)
    for user, place in ((BOB, "alice/app"), (BOB, "alice/"), (ALICE, "library/"), (ALICE, "bob/app")):
        assert status(people.api("POST", "/webhooks", user, {"url": URL, "place": place})) == 403
        assert status(people.api("GET", f"/webhooks?place={place}", user)) == 403
    assert status(people.api("POST", "/webhooks", ALICE, {"url": URL})) == 403
    assert status(people.api("GET", "/webhooks", ALICE)) == 403
    grant(people.database, BOB, Place("alice/app"), Level.ADMIN)
    assert status(people.api("GET", f"/webhooks/{number}", BOB)) == 200


def test_a_webhook_is_tested_switched_off_and_on_and_removed(people: People) -> None:
    with Receiver() as receiver:
        number = made(people, ADMIN, url=receiver.url, secret=SECRET)
        assert done(people.api("POST", f"/webhooks/{number}/deliveries", ADMIN, {})) == {"sequence": 1}
        deliverer = open_deliverer(people.settings, people.database, lambda: people.now)
        assert deliverer.deliver_due() == 1
        ((event),) = receiver.events()
        assert (event["type"], event["data"]["actor"], event["data"]["webhook"]) == ("troth.test", ADMIN, number)
        assert done(people.api("POST", f"/webhooks/{number}/deliveries", ADMIN, {"sequence": 1})) == {"sequence": 2}
        off = done(people.api("PATCH", f"/webhooks/{number}", ADMIN, {"enabled": False}))
        reason = {"reason": "switched off by admin", "time": "2026-11-24T12:00:00Z"}
        assert (off["enabled"], off["disabled"]) == (False, reason)
        assert status(people.api("POST", f"/webhooks/{number}/deliveries", ADMIN, {})) == 409
        assert deliverer.deliver_due() == 0
        assert done(people.api("PATCH", f"/webhooks/{number}", ADMIN, {"enabled": True}))["disabled"] is None
        assert deliverer.deliver_due() == 1
    listed = done(people.api("GET", f"/webhooks/{number}/deliveries?n=1", ADMIN))["deliveries"]
    assert listed == [
        {
            "sequence": 2, "event_id": event["id"], "event": "test", "state": "delivered", "attempts": 1,
            "created": "2026-11-24T12:00:00Z", "attempted": "2026-11-24T12:00:00Z", "status": 204, "error": None,
        }
    ]  # fmt: skip
    older = done(people.api("GET", f"/webhooks/{number}/deliveries?before=2", ADMIN))["deliveries"]
    assert [each["sequence"] for each in older] == [1]  # type: ignore[attr-defined]
    done(people.api("DELETE", f"/webhooks/{number}", ADMIN))
    assert status(people.api("GET", f"/webhooks/{number}", ADMIN)) == 404


def test_what_takes_nothing_for_days_is_switched_off_until_somebody_switches_it_on(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    deliverer = open_deliverer(people.settings, people.database, lambda: people.now)
    with Receiver() as receiver:
        number = made(people, ALICE, url=URL, place="alice/")  # of this one nothing is sent
        number = made(people, ADMIN, url=receiver.url, secret=SECRET, place="alice/")
        path = f"/webhooks/{number}"

        def test(answer: int, **later: float) -> dict[str, object]:
            people.now += timedelta(**later)
            receiver.answers = [answer]
            done(people.api("POST", f"{path}/deliveries", ADMIN, {}))
            deliverer.deliver_due()
            return done(people.api("GET", path, ADMIN))

        assert test(500)["failing_since"] == "2026-11-24T12:00:00Z"
        assert test(204, days=6)["failing_since"] is None  # one success, and it begins anew
        test(500)
        assert test(503, days=6, hours=23, minutes=59)["enabled"] is True
        off = test(503, minutes=2)
        because = "no delivery arrived for 7 days"
        assert (off["enabled"], off["disabled"]) == (False, {"reason": because, "time": "2026-12-07T12:01:00Z"})
        assert f"webhook {number} is switched off: it took nothing since 2026-11-30" in caplog.text
        assert status(people.api("POST", f"{path}/deliveries", ADMIN, {})) == 409
        with people.database.read() as session:
            record = [*TRAIL.records(session)][-1]
        told = {"webhook": number, "reason": because}
        assert (record.actor, record.action, record.name) == ("(service)", "webhook.disable", "alice/")
        assert json.loads(record.detail) == told
        # Whose place it is switches it on, and it has its days again.
        on = done(people.api("PATCH", path, ALICE, {"enabled": True}))
        assert (on["enabled"], on["disabled"], on["failing_since"]) == (True, None, None)
        assert test(500)["enabled"] is True
        never = open_deliverer(replace(people.settings, webhook_off_days=0), people.database, lambda: people.now)
        people.now += timedelta(days=30)
        done(people.api("POST", f"{path}/deliveries", ADMIN, {}))
        never.deliver_due()
        assert done(people.api("GET", path, ADMIN))["enabled"] is True


def test_a_place_has_so_many_webhooks_and_no_more(people: People) -> None:
    for _ in range(MAX_IN_A_PLACE):
        made(people, ALICE, place="alice/")
    assert status(people.api("POST", "/webhooks", ALICE, {"url": URL, "place": "alice/"})) == 409
    made(people, ALICE, place="alice/app")


def test_an_operator_does_it_with_commands(
    people: People, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(
        f'database_url = "{people.settings.database_url}"\ncontent_folder = "content"\n'
        'webhook_networks = ["127.0.0.0/8"]\nwebhook_plain_http = true\n'
    )

    def command(*arguments: str) -> tuple[int, list[list[str]]]:
        code = main(["--config", str(config), "webhook", *arguments])
        return code, [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    with Receiver() as receiver:
        monkeypatch.setattr("sys.stdin", io.StringIO(SECRET + "\n"))
        assert command("add", receiver.url, "--secret-file", "-", "--event", "push", "--place", "a/b/") == (
            0,
            [["1"]],
        )
        code, ((number, secret),) = command("add", URL)
        assert (code, number, secret[:6]) == (0, "2", "whsec_")
        (tmp_path / "secret").write_text(SECRET)
        assert command("add", URL, "--secret-file", str(tmp_path / "secret")) == (0, [["3"]])
        assert command("add", "https://10.0.0.1/") == (1, [])
        assert command("add", URL, "--secret-file", str(tmp_path / "missing")) == (1, [])
        assert command("test", "1") == (0, [["1"]])
        assert open_deliverer(people.settings, people.database).deliver_due() == 1
        assert [event["data"]["actor"] for event in receiver.events()] == ["(operator)"]
    _, ((*told, event_id),) = command("deliveries", "1")
    assert (told[:2], told[3:]) == (["1", "test"], ["delivered", "1 attempts", "204"])
    assert len(event_id) == 36
    assert command("redeliver", "1", "1") == (0, [["2"]])
    assert command("redeliver", "1", "7") == (1, [])
    assert command("disable", "2") == (0, [])
    assert command("remove", "3") == (0, [])
    _, listed = command("list")
    assert [each[:2] + each[4:] for each in listed] == [
        ["1", "a/b/", "on", "1 waiting", "by (operator)"],
        ["2", "(site)", "off: switched off by (operator)", "0 waiting", "by (operator)"],
    ]  # fmt: skip
    assert status(people.api("GET", "/webhooks/1", ALICE)) == 404  # a namespace that grants do not know
    assert status(people.api("GET", "/webhooks/1", ADMIN)) == 200
    assert command("enable", "2") == (0, [])
    assert command("enable", "3") == (1, [])
