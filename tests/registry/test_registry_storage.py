# SPDX-License-Identifier: Apache-2.0
"""What `registry.storage.base.Storage` promises, asked of every home of content.

Any other store is asked as well, if its settings are at hand, as the registry would have them:

    TROTH_TEST_STORE=registry.toml pytest tests/registry/test_registry_storage.py

What is written is below a prefix that begins with `test_`, and stays there.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from obstore.store import MemoryStore

from objectstores import BUCKET, Bucket, Container, s3, swift
from registry.errors import StorageError, UploadBusyError, UploadUnknownError
from registry.settings import PREFIX, Settings
from registry.storage.base import Storage
from registry.storage.file import FileStorage
from registry.storage.homes import open_storage
from registry.storage.objects import ObjectStorage
from registry.storage.swift import SwiftStorage
from trust.settings import load


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """An S3 server."""
    with s3() as running:
        yield running


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A Swift server."""
    with swift(tmp_path_factory.mktemp("swift")) as running:
        yield running


GIVEN = os.environ.get("TROTH_TEST_STORE")
HOMES = ("file", "memory", "s3", "swift", *(["given"] if GIVEN else []))

T = TypeVar("T")

DATA = b"0123456789" * 1000


@pytest.fixture(params=HOMES)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """Opens a home of each kind; each time the same one, as another process would."""
    if request.param == "file":
        return lambda: FileStorage(tmp_path)
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: ObjectStorage(memory)
    if GIVEN and request.param == "given":
        settings = load(Settings, prefix=PREFIX, path=Path(GIVEN))
        below = f"{tmp_path.name}-{uuid.uuid4().hex}"
        if settings.content_folder is not None:
            settings = replace(settings, content_folder=settings.content_folder / below)
        else:
            settings = replace(settings, storage_url=f"{settings.storage_url}/{below}")
        return lambda: open_storage(settings)
    store = request.getfixturevalue({"s3": "bucket", "swift": "container"}[request.param])
    return lambda: store.home(tmp_path.name)


@pytest.fixture
def storage(home: Callable[[], Storage]) -> Storage:
    """A home of each kind."""
    return home()


def begin(storage: Storage, data: bytes = b"") -> str:
    """An upload that holds `data`."""
    upload = str(uuid.uuid4())
    storage.start(upload)
    assert storage.append(upload, 0, [data]) == len(data)
    return upload


def commit(storage: Storage, data: bytes) -> str:
    """Content, by its sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    storage.commit(begin(storage, data), sha256)
    return sha256


def read(storage: Storage, sha256: str, start: int, stop: int) -> bytes:
    """A part of content."""
    content = storage.open(sha256, start, stop)
    try:
        blocks = list(iter(lambda: content.read(333), b""))
        assert all(0 < len(block) <= 333 for block in blocks)
        return b"".join(blocks)
    finally:
        content.close()


def elsewhere(work: Callable[[], T]) -> T:
    """What `work` returns, done by another thread."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(work).result()


def uploaded(storage: Storage, upload: str) -> bytes:
    """An upload's bytes."""
    return b"".join(storage.upload_chunks(upload))


def test_bytes_come_back_as_they_went_in(storage: Storage) -> None:
    upload = begin(storage)
    end = storage.append(upload, 0, [DATA[:10], b"", DATA[10:500]])
    assert end == 500
    assert storage.append(upload, end, [DATA[500:]]) == len(DATA)
    assert uploaded(storage, upload) == DATA
    sha256 = hashlib.sha256(DATA).hexdigest()
    storage.commit(upload, sha256)
    assert storage.size(sha256) == len(DATA)
    assert read(storage, sha256, 0, len(DATA)) == DATA


def test_a_chunk_s_memory_may_be_used_for_the_next_one(storage: Storage) -> None:
    data = os.urandom(10_000)

    def chunks() -> Iterator[memoryview]:
        buffer = bytearray(500)
        for start in range(0, len(data), 500):
            buffer[:] = data[start : start + 500]
            yield memoryview(buffer)

    upload = begin(storage)
    assert storage.append(upload, 0, chunks()) == len(data)
    assert uploaded(storage, upload) == data


def test_empty_content_is_content(storage: Storage) -> None:
    sha256 = commit(storage, b"")
    assert storage.size(sha256) == 0
    assert read(storage, sha256, 0, 0) == b""


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (10, 20), (9990, 10000), (0, 10000), (5, 5)])
def test_a_part_of_content_is_exactly_that_part(storage: Storage, start: int, stop: int) -> None:
    assert read(storage, commit(storage, DATA), start, stop) == DATA[start:stop]


def test_content_that_is_shorter_than_what_is_asked_of_it_is_refused_before_the_first_byte(storage: Storage) -> None:
    sha256 = commit(storage, DATA)
    for start in (0, len(DATA) - 1):
        with pytest.raises(StorageError):
            storage.open(sha256, start, len(DATA) + 1)


def test_reading_without_a_size_gives_the_rest_of_the_part(storage: Storage) -> None:
    content = storage.open(commit(storage, DATA), 10, 30)
    assert content.read() == DATA[10:30]
    assert content.read() == b""
    content.close()


def test_what_a_broken_request_left_behind_the_offset_is_cut_off(storage: Storage) -> None:
    upload = begin(storage, b"kept")

    def breaks_off() -> Iterator[bytes]:
        yield b"torn and longer"
        raise UploadUnknownError("the client is gone")

    with pytest.raises(UploadUnknownError, match="gone"):
        storage.append(upload, 4, breaks_off())
    assert storage.append(upload, 4, [b"!"]) == 5
    assert uploaded(storage, upload) == b"kept!"


def test_a_given_up_writer_can_do_no_harm_behind_a_fence(storage: Storage) -> None:
    upload = begin(storage, b"kept")
    sha256 = hashlib.sha256(b"kept and new").hexdigest()

    def stalls() -> Iterator[bytes]:
        yield b"xxxx"
        # Meanwhile another takes over, finishes, and the content is published.
        assert elsewhere(lambda: storage.append(upload, 4, [b" and new"], fence=True)) == 12
        elsewhere(lambda: storage.commit(upload, sha256))
        yield b"yyyy" * 10

    storage.append(upload, 4, stalls())
    assert read(storage, sha256, 0, 12) == b"kept and new"
    assert storage.size(sha256) == 12


def test_bytes_that_are_not_there_cannot_be_appended_to(storage: Storage) -> None:
    with pytest.raises(UploadUnknownError):
        storage.append(begin(storage, b"short"), 6, [b"x"])


def test_content_is_not_there_before_it_is_committed(storage: Storage) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    begin(storage, DATA)
    assert storage.size(sha256) is None
    with pytest.raises(StorageError):
        storage.open(sha256, 0, len(DATA))


def test_the_same_content_may_be_committed_again(storage: Storage) -> None:
    first, second = begin(storage, DATA), begin(storage, DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    storage.commit(first, sha256)
    reader = storage.open(sha256, 0, len(DATA))
    storage.commit(second, sha256)
    assert reader.read() == DATA
    reader.close()
    assert read(storage, sha256, 0, len(DATA)) == DATA


def test_a_commit_ends_the_upload(storage: Storage) -> None:
    upload = begin(storage, DATA)
    storage.commit(upload, hashlib.sha256(DATA).hexdigest())
    with pytest.raises(UploadUnknownError):
        storage.append(upload, len(DATA), [b"x"])
    with pytest.raises(UploadUnknownError):
        storage.commit(upload, hashlib.sha256(DATA).hexdigest())


def test_a_discarded_upload_is_gone(storage: Storage) -> None:
    upload = begin(storage, DATA)
    storage.discard(upload)
    storage.discard(upload)
    with pytest.raises(UploadUnknownError):
        list(storage.upload_chunks(upload))


def test_an_unknown_upload_is_unknown(storage: Storage) -> None:
    unknown = str(uuid.uuid4())
    for act in (
        lambda: storage.append(unknown, 0, [b"x"]),
        lambda: storage.append(unknown, 0, [b"x"], fence=True),
        lambda: list(storage.upload_chunks(unknown)),
        lambda: storage.commit(unknown, "0" * 64),
    ):
        with pytest.raises(UploadUnknownError):
            act()


def test_deleted_content_is_gone(storage: Storage) -> None:
    sha256 = commit(storage, DATA)
    storage.delete(sha256)
    storage.delete(sha256)
    assert storage.size(sha256) is None


def test_content_outlives_what_wrote_it(home: Callable[[], Storage]) -> None:
    sha256 = commit(home(), DATA)
    assert read(home(), sha256, 0, len(DATA)) == DATA


def test_an_upload_goes_on_where_another_process_stopped(home: Callable[[], Storage]) -> None:
    upload = begin(home(), DATA[:100])
    assert home().append(upload, 100, [DATA[100:]]) == len(DATA)
    assert home().append(upload, len(DATA), []) == len(DATA)
    assert uploaded(home(), upload) == DATA
    sha256 = hashlib.sha256(DATA).hexdigest()
    home().commit(upload, sha256)
    assert read(home(), sha256, 0, len(DATA)) == DATA


def test_a_writer_that_comes_back_after_the_end_was_hashed_changes_nothing(storage: Storage) -> None:
    upload = begin(storage, b"kept")
    sha256 = hashlib.sha256(b"kept").hexdigest()

    def stalls() -> Iterator[bytes]:
        yield b"xxxx"
        # Another closes the upload as it is.
        assert elsewhere(lambda: storage.append(upload, 4, [], fence=True)) == 4
        assert elsewhere(lambda: uploaded(storage, upload)) == b"kept"

    storage.append(upload, 4, stalls())
    assert uploaded(storage, upload) == b"kept"
    storage.commit(upload, sha256)
    assert read(storage, sha256, 0, 4) == b"kept"


def test_bytes_beyond_one_piece_come_back_as_they_went_in(home: Callable[[], Storage]) -> None:
    """R3.3."""
    block = bytes(range(256)) * 4096
    data = block * 18  # a piece of an object store has 16
    sha256 = hashlib.sha256(data).hexdigest()
    upload = begin(home())
    home().append(upload, 0, [block] * 18)
    home().commit(upload, sha256)
    content = home().open(sha256, 1, len(data) - 1)
    assert hashlib.sha256(content.read()).digest() == hashlib.sha256(data[1:-1]).digest()
    content.close()


def test_content_of_many_segments_is_joined_within_swift(container: Container, tmp_path: Path) -> None:
    storage = container.home(tmp_path.name, segment=3000)
    upload = begin(storage, DATA[:7000])
    storage.append(upload, 7000, [DATA[7000:]])
    sha256 = hashlib.sha256(DATA).hexdigest()
    storage.commit(upload, sha256)
    assert read(storage, sha256, 0, len(DATA)) == DATA
    assert read(storage, sha256, 2999, 3001) == DATA[2999:3001]
    assert list(storage.contents()) == [(sha256, len(DATA))]
    assert names(container, tmp_path.name) == [f"blobs/sha256/{sha256[:2]}/{sha256}"]


def test_content_beyond_what_an_object_of_swift_holds_is_whole_and_goes_without_remains(
    container: Container, tmp_path: Path
) -> None:
    storage = container.home(tmp_path.name, segment=1500, longest=4000)
    sha256 = commit(storage, DATA)
    assert storage.size(sha256) == len(DATA)
    assert read(storage, sha256, 0, len(DATA)) == DATA
    assert read(storage, sha256, 2990, 9001) == DATA[2990:9001]
    assert list(storage.contents()) == [(sha256, len(DATA))]
    assert len(names(container, tmp_path.name)) == 1 + 3
    storage.delete(sha256)
    assert names(container, tmp_path.name) == []


def test_what_a_commit_to_swift_that_was_broken_off_left_is_found(container: Container, tmp_path: Path) -> None:
    storage = container.home(tmp_path.name, segment=1500, longest=4000)
    sha256 = commit(storage, DATA)
    connection = container.connect()
    connection.delete_object(BUCKET, f"{tmp_path.name}/blobs/sha256/{sha256[:2]}/{sha256}")
    connection.close()
    assert list(storage.contents()) == [(sha256, 0)]
    storage.delete(sha256)
    assert names(container, tmp_path.name) == []


def test_of_two_writers_that_begin_at_once_swift_takes_one(container: Container, tmp_path: Path) -> None:
    storage = container.home(tmp_path.name)
    upload = begin(storage, b"kept")

    class Late(SwiftStorage):
        def _begin(self, upload: str, generation: Any) -> None:
            # Meanwhile another takes over, finds the end where it is, and reads it to hash it.
            assert storage.append(upload, 4, [], fence=True) == 4
            super()._begin(upload, generation)

    with pytest.raises(UploadBusyError):
        Late(storage._container).append(upload, 4, [b"late"])
    assert uploaded(storage, upload) == b"kept"


def names(container: Container, prefix: str) -> list[str]:
    """The objects below `prefix`."""
    connection = container.connect()
    listed = connection.get_container(BUCKET, prefix=f"{prefix}/")[1]
    connection.close()
    return [entry["name"].removeprefix(f"{prefix}/") for entry in listed]


def test_the_folder_is_laid_out_as_drawn(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    upload = begin(storage, b"on its way")
    sha256 = commit(storage, DATA)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"uploads/{upload}/data", f"blobs/sha256/{sha256[:2]}/{sha256}"}


def test_file_and_folder_are_flushed_before_a_commit_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3.4."""
    flushed: list[str] = []
    really = os.fsync

    def remember(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        really(descriptor)

    storage = FileStorage(tmp_path)
    monkeypatch.setattr(os, "fsync", remember)
    upload = begin(storage, DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    storage.commit(upload, sha256)
    spool, folder = f"{tmp_path}/uploads/{upload}/data", f"{tmp_path}/blobs/sha256/{sha256[:2]}"
    assert flushed.index(f"{tmp_path}/uploads") < flushed.index(spool) < flushed.index(folder)
    assert flushed[-1] == folder


def test_a_file_that_nfs_keeps_for_a_reader_is_no_content(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    sha256 = commit(storage, DATA)
    (tmp_path / "blobs" / "sha256" / sha256[:2] / ".nfs0000000000a1b2c300000001").write_bytes(DATA)
    assert list(storage.contents()) == [(sha256, len(DATA))]


def test_a_rename_that_nfs_did_twice_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Path.replace

    def twice(path: Path, target: Path) -> Path:
        really(path, target)
        return really(path, target)

    storage = FileStorage(tmp_path)
    monkeypatch.setattr(Path, "replace", twice)
    assert read(storage, commit(storage, DATA), 0, len(DATA)) == DATA


def test_content_that_a_broken_disk_tore_is_mended_by_the_next_push(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    sha256 = commit(storage, DATA)
    os.truncate(tmp_path / "blobs" / "sha256" / sha256[:2] / sha256, 10)
    commit(storage, DATA)
    assert read(storage, sha256, 0, len(DATA)) == DATA


def test_a_home_that_fails_says_so_without_naming_its_folders(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    upload = begin(storage)
    (tmp_path / "blobs" / "sha256" / "00").write_bytes(b"in the way of a folder")
    with pytest.raises(StorageError) as caught:
        storage.commit(upload, "0" * 64)
    assert caught.value.status == 503
    assert str(tmp_path) not in caught.value.message
