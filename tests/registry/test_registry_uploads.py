# SPDX-License-Identifier: Apache-2.0
"""`registry.uploads`: nothing acknowledged is lost, and one upload has one writer (REGISTRY_API §3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from flask import Flask

from pushes import digest_of
from registry import migrations
from registry.blobs import StoredBlob, find_blob
from registry.errors import (
    DigestInvalidError,
    RangeInvalidError,
    SizeInvalidError,
    TooLargeError,
    UploadBusyError,
    UploadUnknownError,
)
from registry.hashing import BEHIND, Running
from registry.storage.file import FileStorage
from registry.uploads import LEASE, Chunk, Upload, Uploads
from registry.views.bodies import BLOCK, blocks
from trust.names import Digest, RepositoryName
from trust.web.database import Database
from trust.web.migrations import upgrade

REPOSITORY = RepositoryName("library/app")
OTHER = RepositoryName("library/other")


class World:
    """Uploads with a clock that stands still until it is told otherwise."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.folder = folder
        self.database = database
        self.storage = FileStorage(folder / "content")
        self.uploads = self.another_process()

    def another_process(self) -> Uploads:
        """The same uploads, seen from elsewhere."""
        storage = FileStorage(self.folder / "content")
        return Uploads(self.database, storage, lambda: self.now, max_bytes=1000)

    def start(self, *blocks: bytes) -> Upload:
        """An upload that holds `blocks`."""
        upload = self.uploads.start(REPOSITORY, "sha256", "alice")
        return self.append(upload, *blocks) if blocks else upload

    def append(self, upload: Upload, *blocks: bytes) -> Upload:
        """Append `blocks`."""
        return self.uploads.append(REPOSITORY, upload.id, Chunk(blocks))

    def finish(self, upload: Upload, digest: Digest, *blocks: bytes) -> StoredBlob:
        """Append `blocks` and finish."""
        return self.uploads.finish(REPOSITORY, upload.id, digest, Chunk(blocks))

    def read(self, digest: Digest, repository: RepositoryName = REPOSITORY) -> bytes | None:
        """The content of a blob."""
        with self.database.read() as session:
            blob = find_blob(session, repository, digest)
        if blob is None:
            return None
        content = self.storage.open(blob.sha256, 0, blob.size)
        try:
            return content.read()
        finally:
            content.close()


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """Uploads without any."""
    database = Database(database_url)
    upgrade(database, migrations)
    yield World(tmp_path, database)
    database.dispose()


def test_chunks_become_a_blob_of_the_repository_alone(world: World) -> None:
    upload = world.start(b"one ", b"two ")
    assert world.append(upload, b"three ").offset == 14
    blob = world.finish(upload, digest_of(b"one two three four"), b"four")
    assert (blob.size, blob.sha512) == (18, None)
    assert world.read(digest_of(b"one two three four")) == b"one two three four"
    assert world.read(digest_of(b"one two three four"), OTHER) is None


def test_what_is_hashed_is_what_came_although_its_memory_is_soon_used_again() -> None:
    body = b"".join(sha256(bytes([number])).digest() * (BLOCK // 32) for number in range(4 * BEHIND)) + b"the end"
    running = Running({"sha256"})
    with Flask("test").test_request_context("/", method="PUT", data=body):
        length = sum(map(len, running.follow(blocks())))  # which nobody stores: hashing is behind all the time
    assert (length, running.hexdigests()) == (len(body), {"sha256": sha256(body).hexdigest()})


def test_any_process_can_finish_what_another_began(world: World) -> None:
    """R3.1."""
    upload = world.start(b"here ")
    world.another_process().append(REPOSITORY, upload.id, Chunk([b"and there"]))
    assert world.another_process().find(REPOSITORY, upload.id).offset == 14
    world.another_process().finish(REPOSITORY, upload.id, digest_of(b"here and there"), Chunk(()))
    assert world.read(digest_of(b"here and there")) == b"here and there"


def test_content_is_found_by_either_digest_once_both_were_used(world: World) -> None:
    """R2.20."""
    short, long = digest_of(b"x"), digest_of(b"x", "sha512")
    world.finish(world.start(b"x"), short)
    assert world.read(long) is None
    world.finish(world.start(b"x"), long)
    assert world.read(long) == world.read(short) == b"x"


def test_a_finished_upload_is_gone(world: World) -> None:
    upload = world.start(b"x")
    world.finish(upload, digest_of(b"x"))
    for act in (
        lambda: world.uploads.find(REPOSITORY, upload.id),
        lambda: world.append(upload, b"y"),
        lambda: world.finish(upload, digest_of(b"x")),
        lambda: world.uploads.cancel(REPOSITORY, upload.id),
    ):
        with pytest.raises(UploadUnknownError):
            act()


def test_a_cancelled_upload_is_gone_with_its_bytes(world: World) -> None:
    upload = world.start(b"x")
    world.uploads.cancel(REPOSITORY, upload.id)
    with pytest.raises(UploadUnknownError):
        world.uploads.find(REPOSITORY, upload.id)
    assert list((world.folder / "content" / "uploads").iterdir()) == []


def test_an_upload_is_known_in_its_own_repository_only(world: World) -> None:
    """AUTH-A07."""
    upload = world.start(b"x")
    with pytest.raises(UploadUnknownError):
        world.uploads.find(OTHER, upload.id)
    with pytest.raises(UploadUnknownError):
        world.uploads.append(OTHER, upload.id, Chunk([b"y"]))


def test_a_wrong_digest_publishes_nothing_and_changes_nothing(world: World) -> None:
    upload = world.start(b"kept")
    with pytest.raises(DigestInvalidError):
        world.finish(upload, digest_of(b"something else"), b" and more")
    assert world.uploads.find(REPOSITORY, upload.id).offset == 4
    assert world.read(digest_of(b"something else")) is None
    assert world.read(digest_of(b"kept and more")) is None
    world.finish(upload, digest_of(b"kept!"), b"!")
    assert world.read(digest_of(b"kept!")) == b"kept!"


def test_a_chunk_out_of_order_is_refused_and_the_upload_lives_on(world: World) -> None:
    """R2.18, R3.2."""
    upload = world.start(b"0123")
    for start in (0, 3, 5):
        with pytest.raises(RangeInvalidError):
            world.uploads.append(REPOSITORY, upload.id, Chunk([b"x"], start, 1))
        with pytest.raises(RangeInvalidError):
            world.uploads.finish(REPOSITORY, upload.id, digest_of(b"0123x"), Chunk([b"x"], start, 1))
    assert world.uploads.append(REPOSITORY, upload.id, Chunk([b"4"], 4, 1)).offset == 5


@pytest.mark.parametrize("announced", [2, 4])
def test_a_chunk_of_another_length_than_announced_does_not_count(world: World, announced: int) -> None:
    upload = world.start(b"0123")
    with pytest.raises(SizeInvalidError):
        world.uploads.append(REPOSITORY, upload.id, Chunk([b"abc"], 4, announced))
    assert world.uploads.find(REPOSITORY, upload.id).offset == 4


def test_a_torn_chunk_is_cut_off_by_the_next_request(world: World) -> None:
    """R3.2."""
    upload = world.start(b"kept ")

    def torn() -> Iterator[bytes]:
        yield b"these bytes arrive"
        raise SizeInvalidError("and the rest does not")

    with pytest.raises(SizeInvalidError):
        world.uploads.append(REPOSITORY, upload.id, Chunk(torn()))
    assert world.uploads.find(REPOSITORY, upload.id).offset == 5
    world.finish(upload, digest_of(b"kept whole"), b"whole")
    assert world.read(digest_of(b"kept whole")) == b"kept whole"


def test_a_blob_has_a_limit_over_all_its_chunks(world: World) -> None:
    upload = world.start(b"x" * 999)
    with pytest.raises(TooLargeError) as caught:
        world.append(upload, b"xx")
    assert caught.value.status == 413
    assert world.append(upload, b"x").offset == 1000


def during(world: World, upload: Upload, act: Callable[[], object]) -> Iterator[bytes]:
    """Blocks of a request, during which `act` happens."""
    yield b"first "
    act()
    yield b"second"


def test_there_is_one_writer_at_a_time(world: World) -> None:
    """R3.2."""
    upload = world.start()

    def intrude() -> None:
        with pytest.raises(UploadBusyError) as caught:
            world.append(upload, b"intruder")
        assert caught.value.status == 409
        with pytest.raises(UploadBusyError):
            world.finish(upload, digest_of(b""))

    assert world.uploads.append(REPOSITORY, upload.id, Chunk(during(world, upload, intrude))).offset == 12
    world.finish(upload, digest_of(b"first second"))


def test_a_writer_that_keeps_coming_keeps_its_claim(world: World) -> None:
    upload = world.start()

    def slowly() -> Iterator[bytes]:
        for _ in range(20):
            world.now += LEASE / 2
            with pytest.raises(UploadBusyError):
                world.append(upload, b"intruder")
            yield b"x"

    # The intruder comes before the claim is renewed each time, and still finds it.
    assert world.uploads.append(REPOSITORY, upload.id, Chunk(slowly())).offset == 20


def test_a_silent_writer_is_replaced_and_can_do_no_harm(world: World) -> None:
    upload = world.start(b"kept ")

    def take_over() -> None:
        world.now += LEASE + timedelta(seconds=1)
        world.finish(upload, digest_of(b"kept by another"), b"by another")

    with pytest.raises(UploadBusyError):
        world.uploads.append(REPOSITORY, upload.id, Chunk(during(world, upload, take_over)))
    assert world.read(digest_of(b"kept by another")) == b"kept by another"


def test_a_silent_writer_that_is_back_before_anybody_came_goes_on(world: World) -> None:
    upload = world.start()

    def sleep() -> None:
        world.now += LEASE * 10

    assert world.uploads.append(REPOSITORY, upload.id, Chunk(during(world, upload, sleep))).offset == 12


def test_after_a_killed_writer_the_upload_goes_on_at_its_offset(world: World) -> None:
    upload = world.start(b"kept ")
    # What SIGKILL leaves behind: bytes in the file, and a claim in the database that nobody gives up.
    stuck = world.uploads._claim(REPOSITORY, upload.id, None)
    claim = stuck.__enter__()
    world.storage.append(upload.id, claim.offset, [b"never acknowledged"])
    with pytest.raises(UploadBusyError):
        world.append(upload, b"x")
    world.now += LEASE
    assert world.uploads.find(REPOSITORY, upload.id).offset == 5
    world.finish(upload, digest_of(b"kept anyway"), b"anyway")
    assert world.read(digest_of(b"kept anyway")) == b"kept anyway"


def test_many_may_push_the_same_blob_at_once(world: World) -> None:
    uploads = [world.start(b"same") for _ in range(8)]
    failures: list[BaseException] = []

    def finish(upload: Upload) -> None:
        try:
            world.another_process().finish(REPOSITORY, upload.id, digest_of(b"same"), Chunk(()))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=finish, args=(upload,)) for upload in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert world.read(digest_of(b"same")) == b"same"


def test_of_many_who_write_to_one_upload_at_once_exactly_one_writes(world: World) -> None:
    upload = world.start()
    inside, outcomes = threading.Barrier(8), []

    def blocks() -> Iterator[bytes]:
        yield b"x"
        inside.wait(10)  # until all others were told that they may not

    def append() -> None:
        try:
            world.another_process().append(REPOSITORY, upload.id, Chunk(blocks()))
            outcomes.append("wrote")
        except UploadBusyError:
            outcomes.append("busy")
            inside.wait(10)

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 7 + ["wrote"]
    assert world.uploads.find(REPOSITORY, upload.id).offset == 1
