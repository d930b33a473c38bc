# SPDX-License-Identifier: Apache-2.0
"""Read an upload: `multipart/form-data`, one part a role (NOTARY_V1 §2.2).

The role is the raw `filename` of a part, slashes included, without an optional `.json`; the parts' own field names
say nothing.  Parts come in any order, and of a repeated role the last one counts.

The parser is our own because content must come out byte for byte however the body is cut into pieces: Werkzeug's
(3.1.9) leaves a CR behind the content when a piece ends right after a boundary.  It is strict: lines end with CRLF,
nothing is folded or padded, and a body, part or header that is longer than allowed ends the reading at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from werkzeug.http import parse_options_header

from server.errors import InvalidRoleError, MalformedUploadError, NoFilenameError, TooLargeError
from trust.errors import InvalidError
from trust.names import RoleName

_CHUNK = 256 * 1024
#: Longest header of a part, and longest text before the first part.
_MAX_HEADER = 16 * 1024
_MAX_BOUNDARY = 70  # RFC 2046 §5.1.1


class Readable(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one upload may consist of: bytes in all, bytes in one part, parts."""

    body: int
    part: int
    parts: int


def read_upload(stream: Readable, content_type: str, limits: UploadLimits) -> dict[RoleName, bytes]:
    """The files in a request's body, by role.

    Args:
        stream: the body.
        content_type: the request's header.
        limits: what is too much.

    Raises:
        MalformedUploadError: not a complete multipart body.
        NoFilenameError: a part has no file name.
        InvalidRoleError: a file name is not a role.
        TooLargeError: a limit is passed.
    """
    delimiter = b"\r\n--" + _boundary(content_type)
    body = _Body(stream, limits.body)
    long_header = MalformedUploadError(f"a part's header is longer than {_MAX_HEADER} bytes")
    body.until(delimiter, _MAX_HEADER, long_header)
    files: dict[RoleName, bytes] = {}
    parts = 0
    while not body.ends():
        parts += 1
        if parts > limits.parts:
            raise TooLargeError(f"more than {limits.parts} files in one upload")
        role = _role(body.until(b"\r\n\r\n", _MAX_HEADER, long_header))
        long_part = TooLargeError(f"{role} is longer than {limits.part} bytes")
        files[role] = body.until(delimiter, limits.part, long_part)
    body.drain()
    return files


class _Body:
    """A body that is read up to marks."""

    def __init__(self, stream: Readable, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._total = 0
        # A boundary begins a line; so the first line gets a beginning, too.
        self._buffer = bytearray(b"\r\n")

    def until(self, mark: bytes, most: int, too_long: Exception) -> bytes:
        """What stands before `mark`, which is passed over; `too_long` is raised past `most` bytes."""
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if searched > most:
                raise too_long
            self._need_more()
        if found > most:
            raise too_long
        content = bytes(memoryview(self._buffer)[:found])
        del self._buffer[: found + len(mark)]
        return content

    def ends(self) -> bool:
        """Whether the boundary just passed was the last one; else a part's header begins here, with CRLF."""
        while len(self._buffer) < 2:
            self._need_more()
        if self._buffer.startswith(b"\r\n"):
            return False
        if self._buffer.startswith(b"--"):
            return True
        raise _malformed()

    def drain(self) -> None:
        """Read what follows the last boundary, and drop it."""
        while self._read():
            pass

    def _need_more(self) -> None:
        chunk = self._read()
        if not chunk:
            raise _malformed()
        self._buffer += chunk

    def _read(self) -> bytes:
        try:
            chunk = self._stream.read(_CHUNK)
        except Exception as error:
            # The connection broke, or its chunks did; each web server has exceptions of its own for that.
            raise _malformed() from error
        self._total += len(chunk)
        if self._total > self._limit:
            raise TooLargeError(f"the body is longer than {self._limit} bytes")
        return chunk


def _malformed() -> MalformedUploadError:
    return MalformedUploadError("the multipart body is malformed or ends too early")


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data":
        raise MalformedUploadError("an upload is multipart/form-data, one file a role")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not (boundary.isascii() and boundary.isprintable()):
        raise MalformedUploadError("the content type names no usable boundary")
    return boundary.encode()


def _role(header: bytes) -> RoleName:
    name = _filename(header).removesuffix(".json")
    if not name:
        raise NoFilenameError
    try:
        return RoleName(name)
    except InvalidError as error:
        raise InvalidRoleError(name[:255]) from error


def _filename(header: bytes) -> str:
    """The `filename` in a part's header, `\\r\\n` before each line; empty if there is none."""
    try:
        lines = header.decode().split("\r\n")[1:]
    except UnicodeDecodeError as error:
        raise _malformed() from error
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _malformed()
        if name.lower() == "content-disposition":
            return parse_options_header(value.strip())[1].get("filename", "")
    return ""
