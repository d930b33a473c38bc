# SPDX-License-Identifier: Apache-2.0
"""Fuzz the reading of uploads: any body gives files or the protocol's errors, however it is cut into pieces.

An input is one byte, which says what is done and how, and the rest.  Read as a body, it must give the same whether
it comes at once or in pieces of any size, and raise nothing but the four errors of an upload.  Read as contents,
with a line of zeros between them, they are written as the Go clients do and must come out byte for byte.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["trust", "server", "werkzeug.http"]):
    from server.errors import InvalidRoleError, MalformedUploadError, NoFilenameError, TooLargeError
    from server.multipart import UploadLimits, read_upload
    from trust.names import TOP_LEVEL, RoleName

from fuzz import harness
from shelf import golden, role_of

#: Short, so that chance finds it within contents.
BOUNDARY = b"bnd"
KIND = "multipart/form-data; boundary=bnd"
LIMITS = UploadLimits(body=harness.MAX_LENGTH, part=8_000, parts=8)
ROLES = [RoleName(name) for name in (*TOP_LEVEL, "targets/releases", "targets/a/b", "targets/alice", "targets/bob")]
BETWEEN = b"\n0\n"
_SHORT = 500
ERRORS = (InvalidRoleError, MalformedUploadError, NoFilenameError, TooLargeError)
WORDS = [
    b"\r\n--bnd", b"\r\n--bnd--", b"--bnd\r\n", b"\r\n\r\n", b"\r", b"\n", b"--", b"Content-Disposition: form-data",
    b'; filename="root"', b'; filename="targets/a.json"', b"; filename*=UTF-8''root", b"; filename*0=ro",
    b'; name="x"',
    b"content-type: text/plain", b"\\\"", b"\xff", b"\0", b"timestamp", BETWEEN, b"=?utf-8?q?root?=",
]  # fmt: skip


class Pieces(io.BytesIO):
    """A body that comes in pieces, of one size or of sizes by chance."""

    def __init__(self, data: bytes, seed: int) -> None:
        super().__init__(data)
        self._seed = seed
        self._chance = random.Random(seed)

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        most = self._chance.choice((1, 2, 3, 50, 1000)) if self._seed > 1 else self._seed or size
        return super().read(min(size, most))


def check(data: bytes) -> None:
    """See the module.

    Raises:
        AssertionError: something does not hold; any other error is a finding as well.
    """
    how, rest = (data[0], data[1:]) if data else (0, b"")
    # At once, byte by byte where that is not too slow, and by chance.
    seeds = (0, 1, 2 + how) if len(rest) < _SHORT else (0, 2 + how)
    if how % 3 == 0:
        _check_contents(rest, seeds)
    elif how % 3 == 1:
        _check_body(rest, KIND, seeds)
    else:
        kind, _, body = rest.partition(b"\n")
        _check_body(body, kind.decode("latin-1"), seeds)


def _check_body(body: bytes, kind: str, seeds: tuple[int, ...]) -> None:
    first = _outcome(body, kind, seeds[0])
    for seed in seeds[1:]:
        assert _outcome(body, kind, seed) == first, f"another answer with pieces of seed {seed}"
    if isinstance(first, dict):
        assert all(content in body for content in first.values()), "content that was never sent"


def _outcome(body: bytes, kind: str, seed: int) -> dict[RoleName, bytes] | str:
    try:
        return read_upload(Pieces(body, seed), kind, LIMITS)
    except ERRORS as error:
        return type(error).__name__


def _check_contents(rest: bytes, seeds: tuple[int, ...]) -> None:
    contents = rest.split(BETWEEN)[: len(ROLES)]
    # What holds the boundary at the beginning of a line cannot be sent with this boundary.
    parts = {r: c for r, c in zip(ROLES, contents, strict=False) if b"\r\n--bnd" not in b"\r\n" + c + b"\r\n--bn"}
    body = b"".join(
        b'--bnd\r\nContent-Disposition: form-data; name="files"; filename="' + role.encode() + b'"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
        for role, content in parts.items()
    )
    body += b"--bnd--\r\n"
    limits = UploadLimits(len(body), harness.MAX_LENGTH, len(ROLES))
    for seed in seeds:
        assert read_upload(Pieces(body, seed), KIND, limits) == parts, f"lost bytes with pieces of seed {seed}"


def seeds() -> list[bytes]:
    """An upload of golden files in every mode, and a few broken ones."""
    made = golden("docker-signed-alice")
    files = [(role_of(stem), data) for stem, data in made.files.items() if stem in made.current][:4]
    body = b"".join(
        b'--bnd\r\nContent-Disposition: form-data; name="files"; filename="' + role.encode() + b'"\r\n\r\n'
        + data[:100] + b"\r\n" for role, data in files
    )  # fmt: skip
    body += b"--bnd--\r\n"
    return [
        b"\0" + BETWEEN.join(data[:100] for _, data in files),
        b"\0\r\n--bn" + BETWEEN + b"--bnd-\r" + BETWEEN + b"\r\n",
        b"\1" + body,
        b"\2" + KIND.encode() + b"\n" + body,
        b'\2multipart/form-data; boundary*=utf-8\'\'bnd; x="\\""\n' + body,
        b"\4" + body[:-4],
        b"\7preamble\r\n" + body + b"epilogue",
        b"\1--bnd--",
        b'\1--bnd\r\nContent-Disposition: form-data; filename="x"\r\n\r\n\r\n--bnd--',
    ]


if __name__ == "__main__":
    harness.run("multipart", check, seeds(), WORDS)
