# SPDX-License-Identifier: Apache-2.0
"""A request's body read straight from the socket: what comes, and how it ends, is what gunicorn itself says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData
from gunicorn.http.parser import RequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from trust.web.bodies import straighten

NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"PATCH /first HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

Read = tuple[str, int]


class Wire:
    """A socket that hands `data` out in pieces of these sizes, and then ends, or times out."""

    def __init__(self, data: bytes, pieces: Sequence[int], silent: bool) -> None:
        self._data, self._pieces, self._silent = data, cycle(pieces), silent

    def recv(self, size: int) -> bytes:
        if not self._data and self._silent:
            raise TimeoutError
        size = min(size, next(self._pieces))
        data, self._data = self._data[:size], self._data[size:]
        return data

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass
class Outcome:
    """What became of a body, and of the connection after it."""

    body: bytearray = field(default_factory=bytearray)
    error: type[Exception] | None = None
    failed: bool = False
    trailers: object = None
    after: object = None


def outcome(wire: Wire, read: Callable[[Any], Outcome]) -> Outcome:
    """Read the body of the first request that comes by `wire`, and then the next request."""
    parser = RequestParser(Config(), wire, ("127.0.0.1", 1))
    request = next(parser)
    found = read(request)
    found.failed, found.trailers = request.body.failed, request.trailers
    try:
        found.after = next(parser).uri
    except Exception as error:
        found.after = type(error)
    return found


def as_gunicorn_does(request: Any) -> Outcome:
    """The body in one piece."""
    found = Outcome()
    try:
        found.body += request.body.read()
    except Exception as error:
        found.error = type(error)
    return found


def straight(reads: Sequence[Read]) -> Callable[[Any], Outcome]:
    """The body by these reads, again and again until one brings nothing."""

    def read(request: Any) -> Outcome:
        straighten(request)
        found = Outcome()
        try:
            for way, size in cycle(reads):
                block = bytearray(size)
                if way == "readinto" and hasattr(request.body, way):
                    data = block[: request.body.readinto(block)]
                else:
                    data = getattr(request.body, "read" if way == "readinto" else way)(size)
                if not data:
                    break
                found.body += data
        except Exception as error:
            found.error = type(error)
        return found

    return read


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request with a body and the next one, whole, cut off or with a wrong byte."""
    random = Random(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        body = random.randbytes(draw(st.sampled_from([0, 1, 700, 9000, 30000])))
        head = b"Content-Length: %d" % len(body)
    else:
        sizes = draw(st.lists(st.sampled_from([1, 2, 10, 500, 8190, 20000]), max_size=6))
        extension = draw(st.sampled_from([b"", b"", b';a="b"', b" ;x"]))
        chunks = [b"%x%s\r\n%s\r\n" % (size, extension, random.randbytes(size)) for size in sizes]
        body = (
            b"".join(chunks)
            + b"0\r\n"
            + draw(st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"no header\r\n"]))
            + b"\r\n"
        )
        head = b"Transfer-Encoding: chunked"
    begin = b"PATCH /first HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n"
    damage = draw(st.sampled_from(["none", "none", "cut", "byte"])) if body else "none"
    place = draw(st.integers(0, max(0, len(body) - 1)))
    if damage == "cut":
        return begin + body[:place]
    if damage == "byte":
        body = body[:place] + draw(st.sampled_from([b"\r", b"\n", b"0", b"f", b"-", b"\x00"])) + body[place + 1 :]
    return begin + body + NEXT


_reads = st.lists(
    st.tuples(st.sampled_from(["readinto", "readinto", "read", "readline"]), st.integers(1, 20000)),
    min_size=1,
    max_size=5,
)
_pieces = st.lists(st.sampled_from([1, 2, 7, 100, 4096, 16384, 1 << 20]), min_size=1, max_size=5).filter(
    lambda pieces: max(pieces) >= 100  # or it takes long
)


@given(requests(), _pieces, _reads, st.booleans())
@example(b"PUT /first HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", [4096], [("readinto", 9)], False)
@example(CHUNKED + b"9\r\nhalf", [4096], [("readinto", 9)], True)
@example(
    b"PUT /first HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n", [1], [("readinto", 9)], False
)
def test_a_body_its_errors_and_the_next_request_are_what_gunicorn_makes_of_them(
    data: bytes, pieces: list[int], reads: list[Read], silent: bool
) -> None:
    theirs = outcome(Wire(data, pieces, silent), as_gunicorn_does)
    ours = outcome(Wire(data, pieces, silent), straight(reads))
    if theirs.error is None:
        assert ours == theirs
    else:  # of what came before the error, gunicorn hands nothing out
        assert (ours.error, ours.failed, ours.after) == (theirs.error, True, theirs.after)


@pytest.mark.parametrize(
    ("sent", "error"),
    [(b"4\r\nhalf\r\n9\r\nmor", NoMoreData), (b"4\r\nhalf5\r\nmore!\r\n0\r\n\r\n", ChunkMissingTerminator)],
)
def test_after_an_error_nothing_more_of_a_body_is_handed_out(sent: bytes, error: type[Exception]) -> None:
    request = next(RequestParser(Config(), Wire(CHUNKED + sent, [4096], False), ("127.0.0.1", 1)))
    straighten(request)
    block = bytearray(4)
    assert request.body.readinto(block) == 4
    assert block == b"half"
    with pytest.raises(error):
        request.body.readinto(block)
    assert request.body.failed
    assert (request.body.readinto(block), request.body.read()) == (0, b"")
