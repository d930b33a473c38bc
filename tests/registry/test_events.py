# SPDX-License-Identifier: Apache-2.0
"""What the registry tells of: pushes, pulls, deletions, refusals and publishes, by whomever and however."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from threading import Event as StopEvent
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from pushes import digest_of, index_manifest
from receiver import SECRET, Receiver
from registry.accounts.policy import Level
from registry.enforce import Enforcer
from registry.events import outbox
from registry.events.addresses import Addresses
from registry.events.deliver import open_deliverer
from registry.events.endpoints import add_webhook, list_webhooks
from registry.events.event import KINDS, Event, Kind
from registry.events.models import WebhookDeliveryRow
from registry.events.reporter import PERIOD, Reporter
from registry.jobs.catalogue import make_kinds
from registry.jobs.kinds import Kind as JobKind
from registry.jobs.runs import State
from registry.jobs.telling import tell_findings
from registry.jobs.trust import Parts
from registry.jobs.worker import Worker
from registry.leases import Leases
from registry.manifests import OCI_IMAGE
from registry.models import TRAIL
from registry.policies import Mode, Policies, Policy
from registry.storage.file import FileStorage
from registry.trustcache import DatabaseCache
from registry.trustdata import TrustData
from trust.errors import UnavailableError
from trust.names import Gun, RepositoryName
from trust.web.caller import Who
from trust.web.database import Database
from world import APP, HOST, PASSWORD, World


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def world(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A site of which everything is told to the receiver; its reporters are asked to write by the tests."""
    monkeypatch.setattr(Reporter, "_wind", lambda _self: None)
    reporters: list[Reporter] = []
    made = Reporter.__init__

    def make(self: Reporter, database: Database) -> None:
        made(self, database)
        reporters.append(self)

    monkeypatch.setattr(Reporter, "__init__", make)
    world = World(tmp_path, webhook_networks=("127.0.0.0/8",), webhook_plain_http=True)
    world.reporter = reporters[0]  # type: ignore[attr-defined]
    listen(world, receiver)
    yield world
    world.database.dispose()


def listen(world: World, receiver: Receiver, *kinds: Kind) -> None:
    add_webhook(
        world.database, Addresses(["127.0.0.0/8"], plain_http=True), receiver.url, kinds=kinds or KINDS,
        secret=SECRET, creator="admin", trusted=True, now=world.now,
    )  # fmt: skip


def told(world: World, receiver: Receiver) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, subject and data of the events that came since this was asked last."""
    world.reporter.flush()  # type: ignore[attr-defined]
    receiver.requests.clear()
    open_deliverer(world.settings, world.database, lambda: world.now).deliver_due()
    return [(each["type"], each["subject"], each["data"]) for each in receiver.events()]


def test_a_push_is_told_for_each_of_its_tags_with_who_and_by_which_request(world: World, receiver: Receiver) -> None:
    image = world.push_image(APP, "1")
    ((kind, subject, data),) = told(world, receiver)
    assert (kind, subject) == ("troth.push", "library/app:1")
    request_id = data.pop("request_id")
    assert len(request_id) == 32
    assert data == {
        "version": 1, "repository": APP, "tag": "1", "digest": image, "media_type": OCI_IMAGE, "actor": "alice",
        "size": len(world.manifests[image]),
    }  # fmt: skip
    index = index_manifest([world.manifests[image]])
    answer = world.request(
        "PUT", f"{APP}/manifests/{digest_of(index)}?tag=a&tag=b", world.token(APP, "pull,push", user="alice"),
        data=index, content_type=json.loads(index)["mediaType"],
    )  # fmt: skip
    assert answer.status_code == 201
    assert [subject for _, subject, _ in told(world, receiver)] == ["library/app:a", "library/app:b"]
    untagged = world.push_image(APP, seed="another")
    assert [subject for _, subject, _ in told(world, receiver)] == [f"library/app@{untagged}"]
    refused = world.request(
        "PUT", f"{APP}/manifests/2", world.token(APP, "pull,push", user="alice"), data=b"{}", content_type=OCI_IMAGE
    )
    assert refused.status_code == 400
    assert told(world, receiver) == []


def test_a_deletion_is_told_with_what_went_with_it_and_is_audited(world: World, receiver: Receiver) -> None:
    image = world.push_image(APP, "1")
    for tag in ("2", "3"):
        world.push_manifest(APP, world.manifests[image], tag)
    told(world, receiver)
    deleter = world.token(APP, "delete", user="bob")
    assert world.request("DELETE", f"{APP}/manifests/1", deleter).status_code == 202
    assert world.request("DELETE", f"{APP}/manifests/{image}", deleter).status_code == 202
    tagged, manifest = told(world, receiver)
    assert tagged[:2] == ("troth.delete", "library/app:1")
    assert (tagged[2]["digest"], tagged[2]["actor"]) == (image, "bob")
    assert manifest[:2] == ("troth.delete", f"library/app@{image}")
    assert manifest[2]["tags"] == ["2", "3"]
    with world.database.read() as session:
        assert [each.action for each in TRAIL.records(session)][-2:] == ["tag.delete", "manifest.delete"]


def test_the_deletion_of_a_repository_is_told_for_each_of_its_manifests_or_not_at_all(
    world: World, receiver: Receiver
) -> None:
    world.add_user("alice", Level.ADMIN)
    first = world.push_image(APP, "2")
    world.push_manifest(APP, world.manifests[first], "1")
    second, other = world.push_image(APP, seed="another"), world.push_image("library/other", "1")

    def remove(query: str = "") -> int:
        path = f"/api/v1/repositories/{APP}{query}"
        return world.app.test_client().delete(path, auth=("alice", PASSWORD)).status_code

    world.publish(APP, {"2": first})
    told(world, receiver)
    assert remove() == 409
    assert "troth.delete" not in {kind for kind, *_ in told(world, receiver)}
    assert remove("?trust=cascade") == 204
    gone = told(world, receiver)
    assert len({data.pop("request_id") for _, _, data in gone}) == 1
    data = {"version": 1, "repository": APP, "actor": "alice"}
    assert gone == [
        ("troth.delete", f"{APP}@{first}", data | {"digest": first, "tags": ["1", "2"]}),
        ("troth.delete", f"{APP}@{second}", data | {"digest": second, "tags": []}),
    ]
    assert world.manifest("library/other", other).status_code == 403  # unsigned, and still there


def test_a_pull_is_told_when_it_was_served_and_not_when_it_was_looked_at(world: World, receiver: Receiver) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    assert world.head(f"{APP}/manifests/1").status_code == 200
    assert world.manifest(APP, "1", If_None_Match=f'"{image}"').status_code == 304
    told(world, receiver)
    assert world.manifest(APP, "1").status_code == 200
    assert world.manifest(APP, image).status_code == 200
    by_tag, by_digest = told(world, receiver)
    assert by_tag[:2] == ("troth.pull", "library/app:1")
    assert (by_tag[2]["digest"], by_tag[2]["actor"], by_tag[2]["media_type"]) == (image, "carol", OCI_IMAGE)
    assert by_digest[1] == f"library/app@{image}"


def test_a_refusal_is_told_with_its_reason_and_once_in_a_while(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = world.push_image(APP, "1")
    told(world, receiver)
    for _ in range(5):
        assert world.manifest(APP, "1").status_code == 403
    assert world.head(f"{APP}/manifests/1").status_code == 403
    ((kind, subject, data),) = told(world, receiver)
    assert (kind, subject) == ("troth.trust.denied", "library/app:1")
    assert (data["actor"], data["digest"], data["status"], data["reason"]) == ("carol", image, 403, "UNSIGNED")
    assert "is not signed" in data["message"]
    world.source.away = True
    assert world.blob(APP, world.blobs(image)[0]).status_code == 503
    ((_, _, data),) = told(world, receiver)
    assert (data["status"], data["left_out"]) == (503, 5)
    world.source.away = False
    clock = world.reporter  # type: ignore[attr-defined]
    clock._begun -= PERIOD + 1
    assert world.manifest(APP, "1").status_code == 403
    assert len(told(world, receiver)) == 1


def test_a_publish_is_told_once_when_the_registry_first_sees_it(world: World, receiver: Receiver) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})  # at the notary server itself
    told(world, receiver)
    assert world.manifest(APP, "1").status_code == 200
    found = [(data["role"], data["trust_version"]) for kind, _, data in told(world, receiver) if "trust" in kind]
    assert found == [("root", 1), ("targets", 1), ("targets/releases", 1)]
    world.revoke(APP, "1")
    assert world.manifest(APP, "1").status_code == 403
    publishes = [each for each in told(world, receiver) if each[0] == "troth.trust.published"]
    ((_, subject, data),) = publishes
    assert subject == APP
    assert "actor" not in data  # it was not the one who pulled
    assert (data["gun"], data["role"], data["trust_version"]) == (f"{HOST}/{APP}", "targets/releases", 2)
    kept = DatabaseCache(world.database).load(Gun(f"{HOST}/{APP}"), "targets/releases")  # type: ignore[arg-type]
    assert kept is not None
    assert digest_of(kept) == f"sha256:{data['sha256']}"
    world.restart()
    assert world.manifest(APP, "1").status_code == 403
    assert not [each for each in told(world, receiver) if each[0] == "troth.trust.published"]


def test_a_publish_through_the_registry_is_looked_at_by_itself_and_never_fails(
    world: World, receiver: Receiver
) -> None:
    policies = Policies(Policy(Mode.ENFORCED), HOST)
    enforcer = Enforcer(
        world.database, policies, TrustData(world.source, DatabaseCache(world.database), clock=lambda: world.now)
    )
    world.publish(APP, {"1": world.push_image(APP, "1")})
    told(world, receiver)
    for strange in ("elsewhere/library/app", "", f"{HOST}/", f"{HOST}/UPPER", f"{HOST}/nothing"):
        enforcer.learn(strange)
    assert told(world, receiver) == []
    enforcer.learn(f"{HOST}/{APP}")
    assert [data["role"] for _, _, data in told(world, receiver)] == ["root", "targets", "targets/releases"]
    world.source.away = True
    enforcer.learn(f"{HOST}/{APP}")


def worker(world: World, kinds: Mapping[str, JobKind]) -> Worker:
    clock = lambda: world.now  # noqa: E731
    return Worker(world.database, kinds, Leases(world.database, clock), clock, on_end=tell_findings)


def run(jobs: Worker, name: str, **options: Any) -> None:
    assert jobs.run_now(name, options, Who(), StopEvent()).state is State.DONE


def test_drift_is_told_once_when_it_is_new(world: World, receiver: Receiver) -> None:
    trust_data = TrustData(world.source, DatabaseCache(world.database), clock=lambda: world.now)
    policies, storage = Policies(Policy(Mode.ENFORCED), HOST), FileStorage(world.folder / "content")
    jobs = worker(world, make_kinds(Parts(world.database, storage, policies, trust_data, lambda: world.now)))
    signed = world.push_image(APP, "1")
    world.publish(APP, {"1": signed})
    run(jobs, "drift")
    moved = world.push_image(APP, "1", seed="moved")
    told(world, receiver)
    run(jobs, "drift")
    ((kind, subject, data),) = told(world, receiver)
    assert (kind, subject) == ("troth.trust.drift", "library/app:1")
    assert (data["finding"], data["digest"], data["signed_digest"]) == ("moved", moved, signed)
    run(jobs, "drift")
    run(jobs, "refresh")
    run(jobs, "drift")
    assert told(world, receiver) == []
    world.push_manifest(APP, world.manifests[signed], "1")
    run(jobs, "drift")
    world.push_manifest(APP, world.manifests[moved], "1")
    run(jobs, "drift")
    assert [kind for kind, _, _ in told(world, receiver)] == ["troth.push", "troth.push", "troth.trust.drift"]
    run(jobs, "prune", rules=[{"keep": 0, "signed": True}])
    ((kind, subject, data),) = told(world, receiver)
    assert (kind, subject, data["digest"], data["actor"]) == ("troth.delete", "library/app:1", moved, "(operator)")
    run(jobs, "gc", untagged=True)
    world.now += timedelta(days=2)
    run(jobs, "gc", untagged=True)
    assert [(kind, subject) for kind, subject, _ in told(world, receiver)] == [
        ("troth.delete", f"library/app@{moved}")  # what is signed stays
    ]


def test_what_ends_soon_is_told_again_as_its_end_comes_near(world: World, receiver: Receiver) -> None:
    ends = world.now + timedelta(days=80)
    finding = {
        "finding": "expiring", "repository": APP, "gun": f"{HOST}/{APP}", "role": "root", "id": "an id",
        "expires": ends.isoformat(), "message": "root ends",
    }  # fmt: skip
    kinds = {
        name: JobKind(name, "", {"type": "object"}, "0 0 * * *", True, lambda _turn: {"findings": [finding]})
        for name in ("drift", "refresh")
    }
    jobs, left = worker(world, kinds), []
    for days in (80, 79, 31, 30, 29, 8, 7, 6, 1, 0, -1):
        world.now = ends - timedelta(days=days)
        run(jobs, "refresh")
        run(jobs, "drift")
        for kind, subject, data in told(world, receiver):
            assert (kind, subject, data["role"]) == ("troth.trust.expiring", APP, "root")
            assert data["expires"] == ends.isoformat()
            left.append(days)
    assert left == [80, 30, 7, 1, 0]


def test_where_nobody_wants_them_pulls_and_refusals_cost_one_question_in_ten_seconds(tmp_path: Path) -> None:
    world = World(tmp_path, trust_mode="disabled")
    world.push_image(APP, "1")
    reporter = Reporter(world.database)
    asked: list[Kind] = []

    def nobody(_session: Session, kind: Kind) -> bool:
        asked.append(kind)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "wanted", nobody)
        for _ in range(20):
            reporter.report(Event(kind=Kind.PULL, repository=APP, time=world.now))
    assert asked == [Kind.PULL]
    assert reporter._timer is None
    with world.database.read() as session:
        assert session.scalars(select(WebhookDeliveryRow)).all() == []


def test_a_database_that_does_not_answer_fails_no_pull_and_loses_none_of_them(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, transact = Reporter(world.database), Database.transact

    def away(_self: Database, _work: object) -> object:
        raise UnavailableError("the database does not answer")

    for tag in "123":
        reporter.report(Event(kind=Kind.PULL, repository=APP, tag=tag, time=world.now))
    monkeypatch.setattr(Database, "transact", away)
    reporter.flush()
    reporter.report(Event(kind=Kind.PULL, repository=APP, tag="4", time=world.now))
    monkeypatch.setattr(Database, "transact", transact)
    reporter.flush()
    assert [subject[-1] for _, subject, _ in told(world, receiver)] == ["1", "2", "3", "4"]


def test_a_reporter_writes_by_itself_within_moments(tmp_path: Path, receiver: Receiver) -> None:
    world = World(tmp_path, trust_mode="disabled")
    listen(world, receiver, Kind.PULL)
    reporter = Reporter(world.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.events.reporter._DELAY", 0.01)
        reporter.report(Event(kind=Kind.PULL, repository=RepositoryName(APP), time=world.now))
        assert reporter._timer is not None
        reporter._timer.join(10)
    assert [each.waiting for each in list_webhooks(world.database)] == [1]
