# SPDX-License-Identifier: Apache-2.0
"""Content in an object store: Amazon S3 and what speaks it, Google Cloud Storage, Azure Blob Storage.

    <bucket>/<prefix>/
    ├── uploads/<id>/
    │   ├── 00000000-00000000000000000000/open     the upload exists
    │   ├── 00000001-00000000000000000000/open     a first request brings bytes from offset 0 on …
    │   ├── 00000001-00000000000000000000/data     … and these are they
    │   └── 00000002-00000000000000524288/open     a second one began behind them, and was broken off
    └── blobs/sha256/ab/<64 hex digits>            never changes, never half there

An object appears whole or not at all, and what a request brings is one object: nothing of a broken request is kept.
Each request that writes begins a generation, by a mark that says from which offset on.  What earlier generations have
there, or still come to have, does not count any more.  So a writer that was given up can write on without harm, a
late answer of the store changes nothing, and no store needs to know conditional writes.

A commit is a copy within the store if one request brought everything, as with every usual client; else, and beyond
what stores copy at once, the bytes go through this process once more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

import obstore
from obstore.exceptions import BaseError
from obstore.store import HTTPStore, LocalStore, MemoryStore, ObjectStore

from registry.errors import StorageError, UploadUnknownError
from registry.storage.base import Block

#: Sent in one piece, several at once: what an upload costs in memory is their product.  With at most 10,000 pieces
#: for an object, one request may bring 160 GB.
PIECE = 16 << 20
_AT_ONCE = 3
#: What S3 copies in one request; Azure and Google copy at least as much.
_MAX_COPY = 5 << 30
_BLOCK = 1 << 20
_OPEN = "open"
_DATA = "data"

_log = logging.getLogger("troth.registry.storage")


@dataclass(frozen=True, slots=True)
class _Generation:
    """What one request brings to an upload; `size` is None as long as nothing came."""

    number: int
    start: int
    size: int | None

    @property
    def folder(self) -> str:
        return f"{self.number:08d}-{self.start:020d}"


class ObjectStorage:
    """A home of content in an object store.

    Nothing is sent before the first request, so that it may be made before a fork.

    Args:
        store: the bucket, with its prefix.
        redirect: whether readers are sent to the store itself, if it can sign addresses.
    """

    def __init__(self, store: ObjectStore, *, redirect: bool = True) -> None:
        self._store = store
        self._redirect = redirect

    def start(self, upload: str) -> None:
        """Make an empty upload."""
        with _answering():
            self._begin(upload, _Generation(0, 0, None))

    def append(self, upload: str, offset: int, chunks: Iterable[Block], *, fence: bool = False) -> int:
        """Write `chunks` from `offset` on and return where they end; every writer fences those before it."""
        with _answering():
            generations = self._generations(upload)
            last = generations[-1]
            chain = _chain(generations, offset)
            if sum(each.size or 0 for each in chain) != offset:
                raise _unknown()
            counted = _Counted(chunks)
            ours = (last.size and last.start + last.size == offset) or (last.number == 0 and offset == 0)
            if counted.is_empty and ours:  # nothing that anybody else may still be writing
                return offset
            mine = _Generation(last.number + 1, offset, None)
            self._begin(upload, mine)
            if not counted.is_empty:
                self._put(f"uploads/{upload}/{mine.folder}/{_DATA}", counted)
            return offset + counted.size

    def upload_chunks(self, upload: str) -> Iterator[bytes]:
        """The bytes of an upload."""
        with _answering():
            yield from self._pieces(upload, _chain(self._generations(upload)))

    def commit(self, upload: str, sha256: str) -> None:
        """Turn an upload into content."""
        with _answering():
            chain = _chain(self._generations(upload))
            size = sum(each.size or 0 for each in chain)
            if self.size(sha256) != size:  # not there, or torn by a broken store: then this mends it
                if len(chain) == 1 and size <= _MAX_COPY:
                    obstore.copy(self._store, f"uploads/{upload}/{chain[0].folder}/{_DATA}", _content(sha256))
                else:
                    with ThreadPoolExecutor(1) as other:  # the store's library cannot get while it puts
                        pieces = self._pieces(upload, chain)
                        self._put(_content(sha256), iter(lambda: other.submit(next, pieces, b"").result(), b""))
        self.discard(upload)

    def discard(self, upload: str) -> None:
        """Forget an upload, if it is there."""
        with _answering():
            # The marks go last: what is left of a broken attempt is still an upload, and can be discarded again.
            paths = sorted(self._list(upload), key=lambda path: path.endswith(_OPEN))
            self._delete(paths)

    def open(self, sha256: str, start: int, stop: int) -> ObjectSlice:
        """Read content from `start` to before `stop`."""
        with _answering():
            if obstore.head(self._store, _content(sha256))["size"] < stop:
                raise StorageError("the content is shorter than it was")
        return ObjectSlice(self._read(_content(sha256), start, stop), stop - start)

    def size(self, sha256: str) -> int | None:
        """How long content is; None if it is not here."""
        with _answering():
            try:
                return obstore.head(self._store, _content(sha256))["size"]
            except FileNotFoundError:
                return None

    def delete(self, sha256: str) -> None:
        """Forget content, if it is here."""
        with _answering():
            self._delete([_content(sha256)])

    def link(self, sha256: str, lifetime: timedelta) -> str | None:
        """An address of content at the store itself."""
        if not self._redirect or isinstance(self._store, HTTPStore | LocalStore | MemoryStore):
            return None
        with _answering():
            return obstore.sign(self._store, "GET", _content(sha256), lifetime)

    def inner_path(self, sha256: str) -> None:
        """There is no folder."""

    def uploads(self) -> Iterator[tuple[str, datetime]]:
        """All uploads, and when each was last written to."""
        with _answering():
            last: dict[str, datetime] = {}
            for batch in obstore.list(self._store, "uploads"):
                for meta in batch:
                    upload = meta["path"].split("/")[1]
                    last[upload] = max(meta["last_modified"], last.get(upload, meta["last_modified"]))
            yield from last.items()

    def contents(self) -> Iterator[tuple[str, int]]:
        """All content: sha256 and size."""
        with _answering():
            for batch in obstore.list(self._store, "blobs/sha256"):
                for meta in batch:
                    yield meta["path"].rpartition("/")[2], meta["size"]

    def _delete(self, paths: Sequence[str]) -> None:
        """Delete what is there of these; S3 and Google do not mind the others, Azure does."""
        if not paths:
            return
        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, [path])

    def _begin(self, upload: str, generation: _Generation) -> None:
        obstore.put(self._store, f"uploads/{upload}/{generation.folder}/{_OPEN}", b"")

    def _list(self, upload: str) -> dict[str, int]:
        """Sizes of an upload's objects by path."""
        listed = obstore.list(self._store, f"uploads/{upload}")
        return {meta["path"]: meta["size"] for batch in listed for meta in batch}

    def _generations(self, upload: str) -> list[_Generation]:
        """All that began, in that order; at least one."""
        sizes: dict[tuple[int, int], int | None] = {}
        for path, size in self._list(upload).items():
            folder, name = path.split("/")[-2:]
            number, start = folder.split("-")
            key = int(number), int(start)
            sizes[key] = size if name == _DATA else sizes.get(key)
        if not sizes:
            raise _unknown()
        return [_Generation(*key, size) for key, size in sorted(sizes.items())]

    def _pieces(self, upload: str, chain: Iterable[_Generation]) -> Iterator[bytes]:
        for each in chain:
            yield from self._read(f"uploads/{upload}/{each.folder}/{_DATA}", 0, each.size or 0)

    def _read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        # Piece by piece, since the store has a time limit for each request and none for a whole blob.
        for begin in range(start, stop, PIECE):
            end = min(begin + PIECE, stop)
            for block in obstore.get(self._store, path, options={"range": (begin, end)}).stream(
                min_chunk_size=_BLOCK
            ):
                yield bytes(block)

    def _put(self, path: str, chunks: Iterable[bytes]) -> None:
        obstore.put(self._store, path, iter(chunks), chunk_size=PIECE, max_concurrency=_AT_ONCE)


class ObjectSlice:
    """A part of an object, as it comes from the store.

    Args:
        blocks: its bytes.
        size: how many they must be.
    """

    def __init__(self, blocks: Iterator[bytes], size: int) -> None:
        self._blocks = blocks
        self._left = size
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        with _answering():
            if size < 0:
                self._rest += b"".join(self._blocks)
            while not self._rest and self._left:
                self._rest = next(self._blocks, b"") or self._broken_off()
        data, self._rest = (self._rest[:size], self._rest[size:]) if size >= 0 else (self._rest, b"")
        self._left -= len(data)
        if size < 0 and self._left:
            self._broken_off()
        return data

    @staticmethod
    def _broken_off() -> NoReturn:
        raise StorageError("the storage broke off")

    def close(self) -> None:
        """Let go of it."""
        self._blocks, self._rest = iter(()), b""


class _Counted:
    """Chunks that can be asked whether there are any, and, once they were read, how long they were."""

    def __init__(self, chunks: Iterable[Block]) -> None:
        self._chunks = (bytes(chunk) for chunk in chunks if chunk)
        self._first = next(self._chunks, b"")
        self.size = 0

    @property
    def is_empty(self) -> bool:
        return not self._first

    def __iter__(self) -> Iterator[bytes]:
        self.size += len(self._first)
        yield self._first
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


def _chain(generations: Iterable[_Generation], stop: int | None = None) -> list[_Generation]:
    """Those that have bytes that count, up to the offset `stop`."""
    chain: list[_Generation] = []
    for each in generations:
        chain = [earlier for earlier in chain if earlier.start < each.start]
        if each.size:
            chain.append(each)
    end, connected = 0, []
    for each in chain:
        if each.start != end or end == stop:
            break
        connected.append(each)
        end += each.size or 0
    return connected


def _content(sha256: str) -> str:
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def _unknown() -> UploadUnknownError:
    return UploadUnknownError("there is no such upload; start a new one")


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the store's errors into ours; what it said is for the log, since it may name addresses and accounts."""
    try:
        yield
    except FileNotFoundError as error:
        _log.error("content is missing: %s", _first_line(error))
        raise StorageError("the content is missing from the registry's storage") from error
    except BaseError as error:
        _log.error("the storage failed: %s", _first_line(error))
        raise StorageError("the registry's storage does not work") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
