# SPDX-License-Identifier: Apache-2.0
"""Content in OpenStack Swift.

    <container>/<prefix>/
    ├── uploads/<id>/
    │   ├── 00000000                         the upload exists
    │   ├── 00000001                         a first request began; which segments count before it
    │   ├── 00000001.<nonce>.00000000        the first segment that it brought …
    │   └── 00000001.<nonce>                 … and the list of them all: it has ended well
    ├── blobs/sha256/ab/<64 hex digits>      never changes, never half there
    └── segments/<64 hex digits>/<id>/…      of content that is longer than one object of Swift can be

A listing of Swift may be behind, so nothing is decided by one.  Objects have names that can be made up: requests that
write are numbered, the latest is found by asking for its number, and each says which segments count before it.  So a
writer that was given up can write on without harm.  What may be stale is asked of all replicas (`X-Newest`).

A commit is a copy within the store, of one segment or of a static large object that joins them.  Content beyond
`LONGEST` becomes such an object itself, over copies of its own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from registry.errors import UploadUnknownError
from registry.storage.base import Block
from registry.storage.swiftcontainer import BLOCK, Container, SwiftSlice, answering

#: What a request brings is cut into segments of so many bytes.
SEGMENT = 1 << 30
#: What one object of Swift holds, unless its operator allows less.
LONGEST = 5 << 30
#: How many segments a static large object has at most.
_JOINED = 1000


@dataclass(frozen=True, slots=True)
class _Segment:
    """An object that holds a part of an upload."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class _Generation:
    """A request that writes to an upload; `brought` is None as long as it has not ended well."""

    number: int
    nonce: str
    before: tuple[_Segment, ...]
    brought: tuple[_Segment, ...] | None = None

    @property
    def chain(self) -> tuple[_Segment, ...]:
        """All segments that count."""
        return self.before + (self.brought or ())

    @property
    def name(self) -> str:
        """What its objects' names have in common."""
        return f"{self.number:08d}.{self.nonce}"


class SwiftStorage:
    """A home of content in a container of Swift.

    Args:
        container: where; nothing is sent before the first request, so that it may be made before a fork.
        redirect: whether readers are sent to the store itself, if it can sign addresses.
        segment, longest: in bytes, as `SEGMENT` and `LONGEST`.
    """

    def __init__(
        self, container: Container, *, redirect: bool = True, segment: int = SEGMENT, longest: int = LONGEST
    ) -> None:
        self._container = container
        self._redirect = redirect
        self._segment = segment
        self._longest = longest

    def start(self, upload: str) -> None:
        """Make an empty upload."""
        with answering():
            self._begin(upload, _Generation(0, "", ()))

    def append(self, upload: str, offset: int, chunks: Iterable[Block], *, fence: bool = False) -> int:
        """Write `chunks` from `offset` on and return where they end; every writer fences those before it."""
        with answering():
            last = self._last(upload)
            before = _cut(last.chain, offset)
            stream = _Stream(chunks)
            at_end = before == last.chain and (last.brought is not None or last.number == 0)
            if stream.is_empty and at_end and not fence:
                return offset
            mine = _Generation(last.number + 1, uuid.uuid4().hex, before)
            self._begin(upload, mine)
            brought: list[_Segment] = []
            while not stream.is_empty:
                name = f"uploads/{upload}/{mine.name}.{len(brought):08d}"
                blocks = stream.take(self._segment)
                etag = self._container.put(name, blocks)
                brought.append(_Segment(name, blocks.size, etag))
            self._container.put(f"uploads/{upload}/{mine.name}", json.dumps([astuple(each) for each in brought]))
            return offset + _size(brought)

    def upload_chunks(self, upload: str) -> Iterator[bytes]:
        """The bytes of an upload."""
        with answering():
            for each in self._last(upload).chain:
                with closing(self._container.get(each.name, 0, each.size)) as content:
                    while block := content.read(BLOCK):
                        yield block

    def commit(self, upload: str, sha256: str) -> None:
        """Turn an upload into content."""
        with answering():
            chain = self._last(upload).chain
            if self.size(sha256) != _size(chain):  # not there, or torn by a broken store: then this mends it
                self._publish(upload, sha256, chain)
        self.discard(upload)

    def discard(self, upload: str) -> None:
        """Forget an upload, if it is there."""
        with answering():
            first = f"uploads/{upload}/{0:08d}"
            # The first mark goes last: what is left of a broken attempt is still an upload.
            for entry in self._container.list(f"uploads/{upload}/"):
                if entry["name"] != first:
                    self._container.delete(entry["name"])
            self._container.delete(first)

    def open(self, sha256: str, start: int, stop: int) -> SwiftSlice:
        """Read content from `start` to before `stop`."""
        with answering():
            return self._container.get(_content(sha256), start, stop)

    def link(self, sha256: str, lifetime: timedelta) -> str | None:
        """A temporary URL of content."""
        if not self._redirect:
            return None
        with answering():
            return self._container.sign(_content(sha256), lifetime)

    def inner_path(self, sha256: str) -> None:
        """There is no folder."""

    def size(self, sha256: str) -> int | None:
        """How long content is; None if it is not here."""
        with answering():
            return self._container.head(_content(sha256))

    def delete(self, sha256: str) -> None:
        """Forget content, if it is here."""
        with answering():
            self._container.delete(_content(sha256))
            for entry in self._container.list(f"segments/{sha256}/"):
                self._container.delete(entry["name"])

    def uploads(self) -> Iterator[tuple[str, datetime]]:
        """All uploads, and when each was last written to."""
        with answering():
            last: dict[str, datetime] = {}
            for entry in self._container.list("uploads/"):
                upload = entry["name"].split("/")[1]
                written = datetime.fromisoformat(entry["last_modified"]).replace(tzinfo=UTC)
                last[upload] = max(written, last.get(upload, written))
            yield from last.items()

    def contents(self) -> Iterator[tuple[str, int]]:
        """All content: sha256 and size; also what a broken commit has left of one."""
        with answering():
            for entry in self._container.list("blobs/sha256/"):
                yield entry["name"].rpartition("/")[2], entry["bytes"]
            for sha256 in dict.fromkeys(entry["name"].split("/")[1] for entry in self._container.list("segments/")):
                if self._container.head(_content(sha256)) is None:
                    yield sha256, 0

    # An upload.

    def _begin(self, upload: str, generation: _Generation) -> None:
        mark = {"nonce": generation.nonce, "before": [astuple(each) for each in generation.before]}
        name = f"uploads/{upload}/{generation.number:08d}"
        self._container.put_new(name, json.dumps(mark).encode())

    def _last(self, upload: str) -> _Generation:
        """The latest that began."""

        def begun(number: int) -> bool:
            return self._container.head(f"uploads/{upload}/{number:08d}") is not None

        below, step = 0, 1
        while begun(below + step):  # numbers have no gaps
            below, step = below + step, step * 2
        above = below + step
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if begun(middle) else (below, middle)
        mark = self._container.json(f"uploads/{upload}/{below:08d}")
        if mark is None:
            raise _unknown()
        generation = _Generation(below, mark["nonce"], _segments(mark["before"]))
        brought = self._container.json(f"uploads/{upload}/{generation.name}") if below else None
        if brought is None:
            return generation
        return _Generation(below, generation.nonce, generation.before, _segments(brought))

    def _publish(self, upload: str, sha256: str, chain: Sequence[_Segment]) -> None:
        groups = list(_grouped(chain, self._longest))
        if not groups:
            self._container.put(_content(sha256), b"")
        elif len(groups) == 1:
            self._copy_joined(upload, groups[0], _content(sha256))
        else:
            parts = []
            for number, group in enumerate(groups):
                name = f"segments/{sha256}/{upload}/{number:08d}"
                self._copy_joined(upload, group, name)
                parts.append(_Segment(name, _size(group), ""))
            self._join(parts, _content(sha256))

    def _copy_joined(self, upload: str, group: Sequence[_Segment], name: str) -> None:
        source = group[0].name
        if len(group) > 1:
            source = f"uploads/{upload}/joined"
            self._join(group, source)
        self._container.copy(source, name)

    def _join(self, group: Sequence[_Segment], name: str) -> None:
        """Make a static large object."""
        self._container.join([(each.name, each.size, each.etag) for each in group], name)


class _Stream:
    """Chunks that can be asked whether any are left, and taken in parts of some length."""

    def __init__(self, chunks: Iterable[Block]) -> None:
        self._chunks = (bytes(chunk) for chunk in chunks if chunk)
        self._rest = next(self._chunks, b"")

    @property
    def is_empty(self) -> bool:
        return not self._rest

    def take(self, limit: int) -> _Part:
        """The next bytes, at most `limit`; to be read to their end before anything else."""
        return _Part(self, limit)

    def next(self, limit: int) -> bytes:
        """The next few of them."""
        data, self._rest = self._rest[:limit], self._rest[limit:]
        if not self._rest:
            self._rest = next(self._chunks, b"")
        return data


class _Part:
    """A part of a stream; `size` is how much of it was read."""

    def __init__(self, stream: _Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self._stream.next(self._limit - self.size)
        if not data:
            raise StopIteration
        self.size += len(data)
        return data


def _cut(chain: Sequence[_Segment], offset: int) -> tuple[_Segment, ...]:
    """The segments before `offset`."""
    kept: list[_Segment] = []
    for each in chain:
        if _size(kept) >= offset:
            break
        kept.append(each)
    if _size(kept) != offset:
        raise _unknown()
    return tuple(kept)


def _grouped(chain: Sequence[_Segment], longest: int) -> Iterator[list[_Segment]]:
    """Segments in as many groups as there must be objects."""
    group: list[_Segment] = []
    for each in chain:
        if group and (_size(group) + each.size > longest or len(group) == _JOINED):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _segments(entries: Iterable[Sequence[Any]]) -> tuple[_Segment, ...]:
    return tuple(_Segment(*entry) for entry in entries)


def _size(segments: Iterable[_Segment]) -> int:
    return sum(each.size for each in segments)


def _content(sha256: str) -> str:
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def _unknown() -> UploadUnknownError:
    return UploadUnknownError("there is no such upload; start a new one")
