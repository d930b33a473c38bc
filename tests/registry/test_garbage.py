# SPDX-License-Identifier: Apache-2.0
"""What nobody needs goes, and nothing else (REGISTRY_API §10; enforcement case E37)."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import func, select

from pushes import descriptor, digest_of, image_manifest
from registry.app import main
from registry.blobs import expect_blob
from registry.jobs.garbage import MIN_GRACE, Collector, Report
from registry.manifests import OCI_IMAGE
from registry.models import TRAIL, BlobRow
from registry.storage.file import FileStorage
from trust.names import Digest
from world import APP, World

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
LAYER = len("layer of seed")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A registry that serves what is not signed, too, so that tests can see what is there."""
    world = World(tmp_path, trust_mode="disabled")
    yield world
    world.database.dispose()


def collect(world: World, *, dry_run: bool = False) -> Report:
    """A run as another process would do it."""
    storage = FileStorage(world.folder / "content")
    collector = Collector(world.database, storage, lambda: world.now)
    return collector.collect(grace=DAY, upload_grace=WEEK, dry_run=dry_run)


def later(world: World, *, by: timedelta = DAY + HOUR) -> None:
    world.now += by


def delete(world: World, digest: Digest) -> None:
    answer = world.request("DELETE", f"{APP}/manifests/{digest}", world.token(actions="*"))
    assert answer.status_code == 202, answer.text


def contents(world: World) -> set[str]:
    return {sha256 for sha256, _ in FileStorage(world.folder / "content").contents()}


def is_there(world: World, digest: str) -> bool:
    status = world.head(f"{APP}/blobs/{digest}").status_code
    assert status in (200, 404)
    return status == 200


def test_blobs_of_a_deleted_image_go_after_the_grace_period(world: World) -> None:
    image, kept = world.push_image(APP, "1"), world.push_image(APP, "2", seed="kept")
    config, layer = world.blobs(image)
    delete(world, image)
    assert collect(world) == Report(marked=2)
    assert is_there(world, layer)
    later(world, by=DAY - HOUR)
    assert collect(world) == Report()
    later(world, by=2 * HOUR)
    report = collect(world)
    size = LAYER + len(json.dumps({"architecture": "amd64", "os": "linux", "seed": "seed"}))
    assert report == Report(links=2, contents=2, content_bytes=size)
    assert not is_there(world, layer)
    assert not is_there(world, config)
    assert contents(world) == {blob.encoded for blob in world.blobs(kept)}
    assert collect(world) == Report()


def test_a_dry_run_changes_nothing_and_says_what_another_would_do(world: World) -> None:
    """R10.11."""
    delete(world, world.push_image(APP, "1"))
    before = contents(world)
    assert collect(world, dry_run=True) == collect(world, dry_run=True) == Report(marked=2)
    collect(world)
    later(world)
    announced = collect(world, dry_run=True)
    assert (announced.links, announced.contents) == (2, 2)
    assert contents(world) == before
    assert collect(world) == announced


def test_what_an_image_and_its_index_need_stays_for_ever(world: World) -> None:
    """R10.4."""
    child = world.push_image(APP)
    index = world.push_index(APP, [child], "1")
    for _ in range(3):
        later(world, by=WEEK)
        assert collect(world) == Report()
    assert world.manifest(APP, index).status_code == 200
    assert all(is_there(world, blob) for blob in world.blobs(child))


def test_what_refers_to_an_image_stays_without_a_tag_of_its_own(world: World) -> None:
    """R10.5."""
    subject = descriptor(world.manifests[world.push_image(APP, "1")], OCI_IMAGE)
    blob = world.push_blob(APP, b"a signature")
    referrer = world.push_manifest(APP, image_manifest(b"a signature", [], subject=subject))
    for _ in range(3):
        later(world, by=WEEK)
        assert collect(world) == Report()
    assert world.manifest(APP, referrer).status_code == 200
    assert is_there(world, blob)


def test_content_stays_as_long_as_one_repository_holds_it(world: World) -> None:
    image = world.push_image(APP, "1")
    world.push_image("library/other", "1")
    delete(world, image)
    collect(world)
    later(world)
    assert replace(collect(world), marked=0) == Report(links=2)
    assert world.blob("library/other", world.blobs(image)[1]).status_code == 200


def test_a_layer_that_two_images_share_stays_for_the_other(world: World) -> None:
    first = world.push_image(APP, "1")
    second = world.push_image(APP, "2", annotations={"its": "own"})
    assert world.blobs(first) == world.blobs(second)
    delete(world, first)
    later(world, by=WEEK)
    assert collect(world) == Report()


def test_a_blob_that_is_pushed_ahead_of_its_manifest_waits_for_it(world: World) -> None:
    """R10.1."""
    config, layer = b"{}", b"early"
    for data in (config, layer):
        world.push_blob(APP, data)
    assert collect(world).marked == 2
    later(world, by=DAY - HOUR)
    assert collect(world) == Report()
    world.push_manifest(APP, image_manifest(config, [layer]), "1")
    later(world, by=WEEK)
    assert collect(world) == Report()
    assert is_there(world, digest_of(layer))


def push_again(world: World, digest: Digest) -> None:
    world.push_blob(APP, b"layer of seed")


def mount_again(world: World, digest: Digest) -> None:
    world.push_blob("library/other", b"layer of seed")
    scopes = (f"repository:{APP}:pull,push", "repository:library/other:pull")
    query = f"{APP}/blobs/uploads/?mount={digest}&from=library/other"
    assert world.request("POST", query, world.tokens(*scopes, user="alice")).status_code == 201


def ask(world: World, digest: Digest) -> None:
    assert world.head(f"{APP}/blobs/{digest}", world.token(actions="pull,push")).status_code == 200


@pytest.mark.parametrize("act", [push_again, mount_again, ask])
def test_whoever_counts_on_a_blob_gets_a_grace_period_of_their_own(
    world: World, act: Callable[[World, Digest], None]
) -> None:
    """R10.2, R10.3."""
    image = world.push_image(APP, "1")
    layer = world.blobs(image)[1]
    delete(world, image)
    collect(world)
    later(world)
    act(world, layer)
    collect(world)
    assert is_there(world, layer)


def test_who_only_reads_does_not_keep_a_blob(world: World) -> None:
    image = world.push_image(APP, "1")
    delete(world, image)
    collect(world)
    later(world)
    assert is_there(world, world.blobs(image)[1])
    collect(world)
    assert not is_there(world, world.blobs(image)[1])


def test_a_blob_pushed_by_its_sha512_is_known_to_be_named(world: World) -> None:
    config, layer = b"{}", b"layer"
    for data in (config, layer):
        digest = digest_of(data, "sha512")
        query = f"{APP}/blobs/uploads/?digest={digest}"
        answer = world.request("POST", query, world.token(actions="pull,push"), data=data)
        assert answer.status_code == 201
    body = json.loads(image_manifest(config, [layer]))
    for part, data in ((body["config"], config), (body["layers"][0], layer)):
        part["digest"] = digest_of(data, "sha512")
    world.push_manifest(APP, json.dumps(body).encode(), "1")
    later(world, by=WEEK)
    assert collect(world) == Report()


def test_a_silent_upload_goes_and_a_recent_one_stays(world: World) -> None:
    """R3.5."""
    headers = world.token(actions="pull,push")
    old = world.request("POST", f"{APP}/blobs/uploads/", headers).headers["Location"]
    later(world, by=WEEK + HOUR)
    new = world.request("POST", f"{APP}/blobs/uploads/", world.token(actions="pull,push")).headers["Location"]
    assert collect(world).uploads == 1
    headers = world.token(actions="pull,push")
    assert world.request("GET", old.removeprefix("/v2/"), headers).status_code == 404
    assert world.request("GET", new.removeprefix("/v2/"), headers).status_code == 204
    assert [upload for upload, _ in FileStorage(world.folder / "content").uploads()] == [new.rpartition("/")[2]]


def test_what_killed_processes_left_in_the_storage_goes(world: World) -> None:
    """R10.6, R10.8, R10.10."""
    storage = FileStorage(world.folder / "content")
    image = world.push_image(APP, "1")
    for name, sha256 in (("one", None), ("two", "ab" * 32)):
        storage.start(name)
        storage.append(name, 0, [b"remains"])
        if sha256:
            storage.commit(name, sha256)
    os.utime(world.folder / "content" / "uploads" / "one" / "data", (0, 0))
    assert collect(world, dry_run=True) == Report(remains=2, remains_bytes=7)
    assert collect(world) == Report(remains=2, remains_bytes=7)
    assert contents(world) == {blob.encoded for blob in world.blobs(image)}
    assert list(storage.uploads()) == []
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(BlobRow)) == 2


def test_content_whose_removal_was_cut_short_is_stored_anew_by_the_next_push(world: World) -> None:
    """R10.6."""
    image = world.push_image(APP, "1")
    delete(world, image)
    collect(world)
    later(world)
    # Killed between the content and its row.
    for blob in world.blobs(image):
        FileStorage(world.folder / "content").delete(blob.encoded)
    assert collect(world).contents == 2
    world.push_image(APP, "1")
    assert world.blob(APP, world.blobs(image)[1]).data == b"layer of seed"


def test_signed_content_stays(tmp_path: Path) -> None:
    """R10.12."""
    world = World(tmp_path)
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    later(world)
    collect(world)
    later(world)
    assert collect(world) == Report()
    assert world.blob(APP, world.blobs(image)[1]).status_code == 200


def test_a_grace_period_too_short_for_a_push_is_refused(world: World) -> None:
    """R10.9."""
    collector = Collector(world.database, FileStorage(world.folder / "content"), lambda: world.now)
    for grace, upload_grace in ((MIN_GRACE / 2, WEEK), (DAY, MIN_GRACE / 2)):
        with pytest.raises(ValueError, match="at least"):
            collector.collect(grace=grace, upload_grace=upload_grace)


def test_pushes_and_collectors_side_by_side_lose_nothing(tmp_path: Path, database_url: str) -> None:
    """R10.1, R10.7: what was pushed a moment ago is there, though collectors are removing the same content."""
    world = World(tmp_path, trust_mode="disabled", database_url=database_url)
    storage = FileStorage(tmp_path / "content")
    start = Barrier(4)

    def push(worker: int, turn: int) -> int:
        start.wait()
        for seed in random.Random(worker + 10 * turn).sample(range(4), 2):
            image = world.push_image(f"{APP}{worker}", "1", seed=f"seed {seed}")
            for blob in world.blobs(image):
                answer = world.blob(f"{APP}{worker}", blob)
                assert (answer.status_code, digest_of(answer.data)) == (200, blob)
            path = f"{APP}{worker}/manifests/{image}"
            assert world.request("DELETE", path, world.token(f"{APP}{worker}", "*")).status_code == 202
        return 0

    def sweep(_worker: int, _turn: int) -> int:
        start.wait()
        collector = Collector(world.database, storage, lambda: world.now)
        return collector.collect(grace=MIN_GRACE, upload_grace=MIN_GRACE).contents

    removed = 0
    with ThreadPoolExecutor(4) as threads:
        for turn in range(6):
            world.now += 2 * HOUR
            work = [threads.submit(act, worker, turn) for act in (push, sweep) for worker in range(2)]
            removed += sum(each.result() for each in work)
    assert removed > 0
    world.database.dispose()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_blob_that_was_removed_while_it_came_is_not_said_to_be_there(world: World, awaited: bool) -> None:
    """As when the clock of the collector's machine is hours ahead; somebody else may be about to bring it anew."""
    commit = FileStorage.commit

    def takes_hours(storage: FileStorage, upload: str, sha256: str) -> None:
        commit(storage, upload, sha256)
        Collector(world.database, storage, lambda: world.now + WEEK).collect(grace=DAY, upload_grace=52 * WEEK)
        if awaited:
            with world.database.write() as session:
                expect_blob(session, sha256=sha256, sha512=None, size=4, now=world.now + HOUR)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileStorage, "commit", takes_hours)
        query = f"{APP}/blobs/uploads/?digest={digest_of(b'slow')}"
        answer = world.request("POST", query, world.token(actions="pull,push"), data=b"slow")
    assert (answer.status_code, "push it again" in answer.text) == (503, True)
    assert not is_there(world, digest_of(b"slow"))
    assert world.push_blob(APP, b"slow")
    assert world.blob(APP, digest_of(b"slow")).data == b"slow"


def test_the_command_reports(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    delete(world, world.push_image(APP, "1"))
    assert world.command("gc", "--dry-run") == 0
    assert "2 would be marked for later" in capsys.readouterr().out
    assert world.command("gc", "--json") == 0
    assert json.loads(capsys.readouterr().out)["marked"] == 2
    with world.database.read() as session:
        told = [record for record in TRAIL.records(session) if record.action == "gc"]
    assert [(record.actor, json.loads(record.detail)["marked"]) for record in told] == [("(operator)", 2)]


@pytest.mark.parametrize("hours", ["0", "-1", "x"])
def test_the_command_refuses_a_grace_period_that_is_none(world: World, hours: str) -> None:
    with pytest.raises(SystemExit):
        main(["gc", "--grace-hours", hours])
