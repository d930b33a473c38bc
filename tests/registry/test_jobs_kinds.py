# SPDX-License-Identifier: Apache-2.0
"""What the jobs do: nothing that is needed or signed goes, and what has drifted or ends soon is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from notaryserver import NOW
from registry.jobs import trust
from registry.jobs.catalogue import make_kinds
from registry.jobs.kinds import Turn
from registry.jobs.trust import Parts
from registry.jobs.untagged import Untagged
from registry.models import TRAIL
from registry.policies import Mode, Namespace, Policies, Policy
from registry.repositories import find_manifest
from registry.storage.file import FileStorage
from registry.trustcache import DatabaseCache
from registry.trustdata import TrustData
from server.store import Store
from trust.errors import InvalidError, UnavailableError
from trust.metadata import parse_timestamp
from trust.names import ROOT, Digest, Gun, RepositoryName
from trust.web.caller import SERVICE, Who
from world import APP, World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OTHER = "library/other"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A site where everything is enforced."""
    world = World(tmp_path)
    yield world
    world.database.dispose()


def parts(world: World) -> Parts:
    """What another process of the registry works with."""
    trust_data = TrustData(world.source, DatabaseCache(world.database), clock=lambda: world.now)
    policies = Policies(Policy(Mode.ENFORCED), world.settings.hosts[0])
    return Parts(world.database, FileStorage(world.folder / "content"), policies, trust_data, lambda: world.now)


def run(world: World, kind: str, **options: Any) -> Mapping[str, Any]:
    """A run of a job, checked as one that somebody started."""
    job = make_kinds(parts(world))[kind]
    job.check(options)
    report = job.run(Turn(7, options, Who(SERVICE), lambda: world.now))
    assert json.loads(json.dumps(report)) == report
    return report


def tags(world: World, repository: str = APP) -> list[str]:
    """The tags that are there."""
    answer = world.get(f"{repository}/tags/list", world.token(repository))
    return answer.get_json()["tags"] if answer.status_code == 200 else []


def is_there(world: World, digest: Digest, repository: str = APP) -> bool:
    """Whether a manifest is there; asked without a right to push, which would keep it."""
    with world.database.read() as session:
        return find_manifest(session, RepositoryName(repository), digest) is not None


def untag(world: World, tag: str) -> None:
    """Delete a tag, and leave its manifest."""
    answer = world.request("DELETE", f"{APP}/manifests/{tag}", world.token(actions="*"))
    assert answer.status_code == 202, answer.text


def deeds(world: World, action: str) -> list[tuple[str, dict[str, Any]]]:
    """What the audit trail has of that kind: by whom, and its detail."""
    with world.database.read() as session:
        return [
            (record.actor, json.loads(record.detail))
            for record in TRAIL.records(session)
            if record.action == action and record.actor == SERVICE
        ]


def sweep(world: World) -> int:
    """Two runs, with more than the grace period between them; how many manifests went."""
    assert run(world, "gc", untagged=True)["manifests"] == 0
    world.now += DAY + HOUR
    return int(run(world, "gc", untagged=True)["manifests"])


# Untagged manifests.


def test_an_untagged_image_goes_after_the_grace_period_if_somebody_asked_for_it(world: World) -> None:
    image, kept = world.push_image(APP, "1"), world.push_image(APP, "2", seed="kept")
    untag(world, "1")
    for _ in range(3):
        assert run(world, "gc")["manifests_marked"] == 0
        world.now += DAY + HOUR
    assert run(world, "gc", untagged=True)["manifests_marked"] == 1
    world.now += DAY - HOUR
    assert run(world, "gc", untagged=True)["manifests"] == 0
    world.now += 2 * HOUR
    assert run(world, "gc", untagged=True, dry_run=True)["manifests"] == 1
    assert is_there(world, image)
    assert run(world, "gc", untagged=True)["manifests"] == 1
    assert not is_there(world, image)
    assert is_there(world, kept)
    assert deeds(world, "manifest.delete") == [(SERVICE, {"manifest": image, "run": 7})]
    world.now += DAY + HOUR
    assert run(world, "gc", untagged=True)["contents"] == 2  # its config and its layer


def test_what_a_tagged_index_and_its_referrers_need_stays(world: World) -> None:
    child = world.push_image(APP, seed="child")
    index = world.push_index(APP, [child], "1")
    about = world.manifests[index]
    subject = {"mediaType": json.loads(about)["mediaType"], "digest": index, "size": len(about)}
    bill = world.push_image(APP, seed="bill of materials", subject=subject)
    assert sweep(world) == 0
    assert all(is_there(world, each) for each in (child, index, bill))


def test_a_pruned_index_goes_with_all_that_hangs_together_with_it_on_each_database(
    tmp_path: Path, database_url: str
) -> None:
    world = World(tmp_path, database_url=database_url)
    child = world.push_image(APP, seed="child")
    index = world.push_index(APP, [child], "old")
    about = world.manifests[child]
    subject = {"mediaType": json.loads(about)["mediaType"], "digest": child, "size": len(about)}
    world.push_image(APP, seed="bill of materials", subject=subject)
    kept = world.push_image(APP, "new", seed="new")
    assert run(world, "prune", rules=[{"tags": "old", "keep": 0}])["removed"] == 1
    assert sweep(world) == 3
    assert (is_there(world, child), is_there(world, index), is_there(world, kept)) == (False, False, True)
    world.push_image(APP, seed="child")  # what is gone can be pushed again
    world.push_index(APP, [child], "again")
    world.database.dispose()


def test_the_subject_of_a_tagged_referrer_stays(world: World) -> None:
    image = world.push_image(APP)
    about = world.manifests[image]
    subject = {"mediaType": json.loads(about)["mediaType"], "digest": image, "size": len(about)}
    world.push_image(APP, "signature", seed="signature", subject=subject)
    assert sweep(world) == 0
    assert is_there(world, image)


def test_what_is_signed_stays_without_a_tag_and_so_do_the_parts_of_a_signed_index(world: World) -> None:
    child = world.push_image(APP, seed="child")
    index = world.push_index(APP, [child], "1")
    world.publish(APP, {"1": index})
    answer = world.request("DELETE", f"{APP}/manifests/1?trust=cascade", world.token(actions="*"))
    assert answer.status_code == 202, answer.text
    assert sweep(world) == 0
    world.revoke(APP, "1")
    assert sweep(world) == 2
    assert not is_there(world, child)


def test_nothing_goes_while_it_cannot_be_told_what_is_signed(world: World) -> None:
    world.push_image(APP, "1")
    untag(world, "1")
    run(world, "gc", untagged=True)
    world.now += DAY + HOUR
    world.source.away = True
    assert run(world, "gc", untagged=True)["manifests"] == 0
    world.source.away = False
    assert run(world, "gc", untagged=True)["manifests"] == 1


def push_again(world: World, image: Digest) -> None:
    world.push_manifest(APP, world.manifests[image])


def ask(world: World, image: Digest) -> None:
    headers = world.token(actions="pull,push")
    assert world.head(f"{APP}/manifests/{image}", headers).status_code == 200


def name_in_an_index(world: World, image: Digest) -> None:
    world.push_index(APP, [image])


@pytest.mark.parametrize("act", [push_again, ask, name_in_an_index])
def test_a_push_in_flight_keeps_what_it_counts_on(world: World, act: Callable[[World, Digest], None]) -> None:
    image = world.push_image(APP)
    run(world, "gc", untagged=True)
    world.now += DAY + HOUR
    act(world, image)
    assert run(world, "gc", untagged=True)["manifests"] == 0
    world.now += DAY - HOUR
    assert run(world, "gc", untagged=True)["manifests"] == 0
    assert is_there(world, image)


def test_what_is_needed_again_between_the_look_and_the_removal_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = world.push_image(APP, seed="child")
    index = world.push_index(APP, [child])
    run(world, "gc", untagged=True)
    world.now += DAY + HOUR
    look = Untagged._look

    def look_and_be_slow(self: Untagged, repository: RepositoryName) -> Any:
        found = look(self, repository)
        # Marked as it is, the child is named by one manifest more, that the look has not seen.
        world.push_index(APP, [child], "2", annotations={"made": "meanwhile"})
        return found

    monkeypatch.setattr(Untagged, "_look", look_and_be_slow)
    assert run(world, "gc", untagged=True)["manifests"] == 0
    assert is_there(world, child)
    assert is_there(world, index)


# Pruning.


def test_a_rule_keeps_the_newest_and_what_is_not_old_enough(world: World) -> None:
    for number in range(6):
        world.push_image(APP, f"nightly-{number}", seed=str(number))
        world.now += DAY
    world.push_image(APP, "1", seed="release")
    world.push_image(OTHER, "nightly-0")
    rule = {"scope": APP, "tags": "nightly-*", "keep": 2, "older_than_days": 4}
    announced = run(world, "prune", rules=[rule], dry_run=True)
    assert announced["tags"] == [f"{APP}:nightly-0", f"{APP}:nightly-1", f"{APP}:nightly-2"]
    assert len(tags(world)) == 7
    assert run(world, "prune", rules=[rule])["tags"] == announced["tags"]
    assert tags(world) == ["1", "nightly-3", "nightly-4", "nightly-5"]
    assert tags(world, OTHER) == ["nightly-0"]
    assert [detail["tag"] for _, detail in deeds(world, "tag.delete")] == ["nightly-0", "nightly-1", "nightly-2"]


def test_signed_and_immutable_tags_stay_unless_a_rule_names_the_signed_ones(world: World) -> None:
    signed = world.push_image(APP, "signed", seed="signed")
    world.push_image(APP, "fixed", seed="fixed")
    world.push_image(APP, "loose", seed="loose")
    world.publish(APP, {"signed": signed})
    with world.database.write() as session:
        parts(world).policies.change(session, Namespace("library/"), immutable=["fixed"])
    report = run(world, "prune", rules=[{"scope": "library/", "keep": 0}])
    assert report["kept"] == {"signed": 1, "immutable": 1, "undecided": 0}
    assert tags(world) == ["fixed", "signed"]
    assert run(world, "prune", rules=[{"keep": 0, "signed": True}])["removed"] == 1
    assert tags(world) == ["fixed"]


def test_no_tag_goes_while_it_cannot_be_told_whether_it_is_signed(world: World) -> None:
    world.push_image(APP, "1")
    world.source.away = True
    assert run(world, "prune", rules=[{"keep": 0}])["kept"]["undecided"] == 1
    assert tags(world) == ["1"]


def test_a_rule_that_would_take_everything_or_is_misspelt_is_refused(world: World) -> None:
    for rule in ({}, {"scope": "library/"}, {"keep": -1}, {"keep": 1, "olderthan": 3}, {"keep": 1, "tags": ""}):
        with pytest.raises(InvalidError):
            run(world, "prune", rules=[rule])


# Drift.


def findings(report: Mapping[str, Any]) -> set[tuple[str, str | None]]:
    """Each finding's word, and what it is about."""
    return {(each["finding"], each.get("tag", each.get("role"))) for each in report["findings"]}


def test_drift_tells_tags_that_moved_were_deleted_or_lost_their_content(world: World) -> None:
    images = {tag: world.push_image(APP, tag, seed=tag) for tag in ("same", "moved", "deleted", "missing")}
    world.push_image(APP, "unsigned", seed="unsigned")
    world.push_image(OTHER, "1")
    world.publish(APP, images)
    assert findings(run(world, "drift")) == set()
    world.push_image(APP, "moved", seed="another")
    for reference in ("deleted", images["missing"]):
        answer = world.request("DELETE", f"{APP}/manifests/{reference}?trust=cascade", world.token(actions="*"))
        assert answer.status_code == 202, answer.text
    report = run(world, "drift")
    assert findings(report) == {("moved", "moved"), ("deleted", "deleted"), ("missing", "missing")}
    assert report["repositories"] == {APP: {"tags": 5, "signed": 4, "findings": 3}}
    (moved,) = (each for each in report["findings"] if each["finding"] == "moved")
    assert moved["signed_digest"] == images["moved"] != moved["digest"]
    assert [each["id"] for each in run(world, "drift")["findings"]] == [each["id"] for each in report["findings"]]


def test_drift_tells_what_a_pull_would_be_told_in_the_mode_resolve_too(world: World) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    world.push_image(APP, "1", seed="another")
    with world.database.write() as session:
        parts(world).policies.change(session, RepositoryName(APP), mode=Mode.RESOLVE)
    assert findings(run(world, "drift")) == {("moved", "1")}


def test_trust_data_that_is_not_to_be_believed_is_a_finding_and_hides_no_other(world: World) -> None:
    for repository in (APP, OTHER):
        world.publish(repository, {"1": world.push_image(repository, "1")})
    world.push_image(OTHER, "1", seed="another")
    world.source.tamper("timestamp", lambda data: data.replace(b'"sig":"', b'"sig":"AA'))
    for kind in ("drift", "refresh"):
        report = run(world, kind)
        assert {each["finding"] for each in report["findings"]} == {"unverifiable"}
        assert {each["repository"] for each in report["findings"]} == {APP, OTHER}
    world.source.tamper("timestamp", None)
    assert findings(run(world, "drift")) == {("moved", "1")}


def test_a_notary_server_that_is_away_fails_the_job_before_each_repository_was_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "MAX_SILENT", 2)
    for number in range(5):
        world.push_image(f"library/app{number}", "1")
    world.source.away = True
    asked = world.source.asked
    with pytest.raises(UnavailableError):
        run(world, "drift")
    assert world.source.asked == asked + 2


# Refresh.


def timestamp(world: World) -> int:
    """The version of the timestamp that the server has; to ask it for that would have it renewed."""
    with world.server.database.read() as session:
        chain = Store(session).current(Gun(world.gun(APP)), ROOT)
    assert chain is not None
    return int(parse_timestamp(chain.timestamp.data).signed.version)


def test_refresh_has_timestamps_renewed_of_what_nobody_pulls(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    world.push_image(OTHER, "1")
    before = timestamp(world)
    world.now += timedelta(days=8)  # past half of its life
    assert timestamp(world) == before
    report = run(world, "refresh")
    assert (report["collections"], report["unsigned"], report["findings"]) == (1, 1, [])
    assert timestamp(world) == before + 1


def test_refresh_tells_what_only_people_can_renew_and_what_the_server_does_not(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    ends = {meta.role: meta.signed.expires for meta in _files(world)}
    world.now = min(ends["targets"], ends["targets/releases"]) - timedelta(days=80)
    report = run(world, "refresh", within_days=90)
    assert findings(report) == {("expiring", role) for role in ends if ends[role] - world.now <= 90 * DAY}
    assert ("expiring", "targets") in findings(report)
    assert findings(run(world, "refresh", within_days=1)) == set()


def _files(world: World) -> list[Any]:
    collection = parts(world).trust_data.of(parts(world).policies.gun(RepositoryName(APP)), Policy(Mode.ENFORCED))
    return [collection.root, *collection.roles.values()]


def test_refresh_tells_a_timestamp_that_the_server_does_not_renew(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert findings(run(world, "refresh")) == set()
    old = world.source.fetch(Gun(world.gun(APP)), "timestamp", 100_000)
    world.source.tamper("timestamp", lambda _data: old)
    world.now = NOW + timedelta(days=10)
    assert findings(run(world, "refresh")) == {("not-renewed", "timestamp")}
