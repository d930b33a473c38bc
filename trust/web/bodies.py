# SPDX-License-Identifier: Apache-2.0
"""A request's body, read straight into the reader's own memory.

    straighten(request)                                  # in the worker, before the app is called
    count = environ["wsgi.input"].readinto(buffer)       # in the app

gunicorn hands a body out as new `bytes`, and copies each of them several times on the way there: nothing for a form,
a third of the work of a blob.  `readinto` goes beside that: first comes what gunicorn has read ahead, and then the
socket writes into the memory of whoever asks.  What a chunk's head means, and what follows the last chunk, is for
gunicorn's own parser to say.  `read` and `readinto` may follow one another in any order.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData


def straighten(request: Any) -> None:
    """Give gunicorn's `request`, of whose body nothing was read, a `StraightBody`, if it has any body."""
    reader, unreader = request.body.reader, request.unreader
    if isinstance(reader, ChunkedReader):
        request.body = StraightBody(_Chunks(request, unreader))
    elif isinstance(reader, LengthReader) and reader.length:
        request.body = StraightBody(_Length(unreader, reader.length))


class StraightBody(Body):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's body, with `readinto`."""

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer`.

        Returns:
            how many bytes came; fewer than there is room for only at the end of the body, or where one of known
            length breaks off.

        Raises:
            Exception: what gunicorn's parser or the socket raises; the connection cannot be used any more.
        """
        view, ahead = memoryview(buffer), 0
        if self.buf.tell():  # `read` and `readline` ask for more than they hand out
            data = self.read(min(len(view), self.buf.tell()))
            ahead = len(data)
            view[:ahead] = data
        try:
            return ahead + int(self.reader.readinto(view[ahead:]))
        except Exception:
            self.failed = True
            raise


class _Length(LengthReader):  # type: ignore[misc]
    """A body as long as was announced."""

    def readinto(self, view: memoryview) -> int:
        count = _fill(self.unreader, view[: self.length])
        self.length -= count
        return count


class _Chunks(ChunkedReader):  # type: ignore[misc]
    """A body in chunks."""

    def __init__(self, request: Any, unreader: Any) -> None:
        super().__init__(request, unreader)
        self._unreader = unreader
        self._begun = self._ended = False
        self._left = 0  # of this chunk

    def read(self, size: int) -> bytes:
        block = memoryview(bytearray(size))
        return bytes(block[: self.readinto(block)])

    def readinto(self, view: memoryview) -> int:
        filled = 0
        try:
            while filled < len(view) and (self._left or self._next()):
                part = view[filled : filled + self._left]
                if _fill(self._unreader, part) < len(part):
                    raise NoMoreData()
                filled += len(part)
                self._left -= len(part)
        except BaseException:  # nobody knows where the next chunk would begin
            self._left, self._ended = 0, True
            raise
        return filled

    def _next(self) -> bool:
        if self._ended:
            return False
        rest = b""
        if self._begun:
            while len(rest) < 2 and (more := self._unreader.read()):
                rest += more
            if rest[:2] != b"\r\n":
                raise ChunkMissingTerminator(rest[:2])
        self._left, rest = self.parse_chunk_size(self._unreader, rest[2:])
        if rest:
            self._unreader.unread(rest)
        self._begun, self._ended = True, not self._left
        return not self._ended


def _fill(unreader: Any, view: memoryview) -> int:
    """Fill `view`; less than all only where the connection ends."""
    filled, receive = 0, unreader.sock.recv_into
    if view and (ahead := unreader.take_buffered()):
        filled = min(len(ahead), len(view))
        view[:filled] = ahead[:filled]
        unreader.unread(ahead[filled:])
    while filled < len(view) and (count := receive(view[filled:])):
        filled += count
    return filled
