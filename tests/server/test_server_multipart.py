# SPDX-License-Identifier: Apache-2.0
"""Reading uploads (NOTARY_V1 §2.2): the form of the Go clients, and every way to break a body (T07, T24)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notaryserver import BOUNDARY, MULTIPART, NotaryServer, error, multipart
from server.errors import InvalidRoleError, MalformedUploadError, NoFilenameError, TooLargeError
from server.multipart import UploadLimits, read_upload
from trust.names import RoleName

LIMITS = UploadLimits(body=1 << 20, part=1 << 19, parts=10)
GOOD = multipart([("root", b'{"a":1}\n'), ("targets/releases", b"\r\n--\r\n"), ("targets", b"")])
FILES = {"root": b'{"a":1}\n', "targets/releases": b"\r\n--\r\n", "targets": b""}


class Drip:
    """A body of which a reader gets a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._stream = io.BytesIO(data)
        self._size = size

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, self._size))


class ChunkError(Exception):
    """What a web server raises when it cannot make out a body's chunks; gunicorn's is no OSError either."""


class Broken(io.BytesIO):
    """A connection that ends in the middle."""

    def __init__(self, data: bytes, error: type[Exception] = OSError) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise self._error("broken")
        return data


def read(body: bytes, content_type: str = MULTIPART, limits: UploadLimits = LIMITS) -> dict[RoleName, bytes]:
    return read_upload(io.BytesIO(body), content_type, limits)


def test_the_form_of_the_go_clients_is_read_with_the_folders_of_the_file_names() -> None:
    assert read(GOOD) == FILES


def test_a_body_may_come_in_pieces_of_any_size() -> None:
    # Pieces that end right behind a boundary are the hard ones.
    for size in range(1, len(GOOD)):
        assert read_upload(Drip(GOOD, size), MULTIPART, LIMITS) == FILES


@given(
    content=st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--" + BOUNDARY.encode()[:9], b"x", b"\0"]), max_size=30)
)
def test_content_comes_out_byte_for_byte(content: list[bytes]) -> None:
    data = b"".join(content)
    for size in (1, 7, 4096):
        assert read_upload(Drip(multipart([("root", data)]), size), MULTIPART, LIMITS) == {"root": data}


def test_a_body_that_ends_too_early_is_malformed() -> None:
    for length in range(len(GOOD) - 4):
        with pytest.raises(MalformedUploadError):
            read(GOOD[:length])


@pytest.mark.parametrize("kind", [OSError, TimeoutError, ChunkError])
def test_a_connection_that_breaks_is_malformed(kind: type[Exception]) -> None:
    for length in (0, 100, len(GOOD)):  # also behind the last boundary
        with pytest.raises(MalformedUploadError):
            read_upload(Broken(GOOD[:length], kind), MULTIPART, LIMITS)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/octet-stream; boundary=x",
        "multipart/mixed; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=ü",
        "multipart/form-data; boundary*=utf-8''%ff",
        "multipart/form-data; boundary=other",
        "multipart",
        ";;;",
    ],
)
def test_a_body_without_its_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedUploadError):
        read(GOOD, content_type)


def test_no_parts_at_all_is_legal() -> None:
    assert read(multipart([])) == {}


@pytest.mark.parametrize(
    "header",
    [
        b'Content-Disposition: form-data; name="files"',
        b'Content-Disposition: form-data; name="files"; filename=""',
        b'Content-Disposition: form-data; name="files"; filename=".json"',
        b'Content-Disposition: form-data; filename*="root',
        b"Content-Disposition: form-data",
        b"Content-Disposition: ",
        b"Content-Type: application/octet-stream",
    ],
)
def test_a_part_without_a_file_name_is_refused(header: bytes) -> None:
    with pytest.raises(NoFilenameError):
        read(b"--" + BOUNDARY.encode() + b"\r\n" + header + b"\r\n\r\n{}\r\n--" + BOUNDARY.encode() + b"--\r\n")


@pytest.mark.parametrize("header", [b"X: \xff", b"no colon", b": nothing", b"X : y", b"X: y\r\n folded: z"])
def test_a_part_with_a_broken_header_is_malformed(header: bytes) -> None:
    with pytest.raises(MalformedUploadError):
        read(b"--" + BOUNDARY.encode() + b"\r\n" + header + b"\r\n\r\n{}\r\n--" + BOUNDARY.encode() + b"--\r\n")


@pytest.mark.parametrize("ending", [b"", b"-", b" --", b"x", b"\n", b"\r", b"\r-", b"x--"])
def test_a_boundary_ends_with_two_dashes_or_a_line(ending: bytes) -> None:
    assert GOOD.endswith(b"--\r\n")
    with pytest.raises(MalformedUploadError):
        read(GOOD[:-4] + ending)


def test_lines_end_with_carriage_return_and_line_feed() -> None:
    with pytest.raises(MalformedUploadError):
        read(GOOD.replace(b"\r\n", b"\n"))


def test_a_json_suffix_is_cut_off_once() -> None:
    assert read(multipart([("targets/a.json", b"1")])) == {"targets/a": b"1"}
    with pytest.raises(InvalidRoleError):
        read(multipart([("root.json.json", b"1")]))


def test_the_field_name_means_nothing() -> None:
    assert read(multipart([("root", b"1")], field="targets")) == {"root": b"1"}


def test_the_last_of_a_repeated_role_counts() -> None:
    assert read(multipart([("root", b"1"), ("targets", b"2"), ("root.json", b"3")])) == {
        "root": b"3",
        "targets": b"2",
    }


def test_what_follows_the_last_boundary_is_dropped() -> None:
    assert read(GOOD + b"epilogue " * 100_000, limits=UploadLimits(1 << 21, 1 << 19, 10)) == FILES


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        (GOOD, UploadLimits(len(GOOD) - 1, 100, 10)),
        (GOOD, UploadLimits(1000, 7, 10)),
        (GOOD, UploadLimits(1000, 100, 2)),
        (GOOD + b"x" * 1000, UploadLimits(len(GOOD) + 999, 100, 10)),
        (multipart([("root", b"x" * 300_000)]), UploadLimits(1 << 20, 299_999, 10)),
    ],
)
def test_what_passes_a_limit_is_too_large(body: bytes, limits: UploadLimits) -> None:
    with pytest.raises(TooLargeError):
        read(body, limits=limits)


def test_t07_an_endless_body_ends_at_the_limit() -> None:
    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += size
            return b"x" * size

    for start in (b"", multipart([("root", b"")])[:-80]):
        stream = Endless()
        with pytest.raises((TooLargeError, MalformedUploadError)):
            read_upload(_Chained(start, stream), MULTIPART, LIMITS)
        assert stream.given <= LIMITS.body + (1 << 17)


class _Chained:
    def __init__(self, start: bytes, rest: object) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._start:
            start, self._start = self._start, b""
            return start
        data: bytes = self._rest.read(size)  # type: ignore[attr-defined]  # anything readable
        return data


@pytest.mark.parametrize("where", [b"--%b\r\nX: ", b"--%b\r\nContent-Disposition: form-data; filename=", b""])
def test_a_huge_header_or_preamble_is_malformed(where: bytes) -> None:
    body = where.replace(b"%b", BOUNDARY.encode()) + b"y" * 500_000
    with pytest.raises(MalformedUploadError):
        read(body)


def test_t24_whatever_is_posted_is_never_an_internal_error(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    bodies = [
        (b"", MULTIPART),
        (b"", ""),
        (b"--", MULTIPART),
        (b"--" + BOUNDARY.encode(), MULTIPART),
        (GOOD[:100], MULTIPART),
        (GOOD[:-3], "multipart/form-data; boundary=\x00"),
        (b"\r\n" * 1000, MULTIPART),
        (b"--" + BOUNDARY.encode() + b"\r\n\r\n\r\n--" + BOUNDARY.encode() + b"--", MULTIPART),
        (multipart([("", b"")]), MULTIPART),
        (multipart([("root", b"")]), MULTIPART),
        (multipart([("root\x00", b"{}")]), MULTIPART),
        (multipart([("timestamp", b"no json")]), MULTIPART),
    ]
    for body, content_type in bodies:
        response = server.post("localhost:5000/library/app", body, content_type)
        status, code, _ = error(response)
        assert status == 400, body
        assert code in ("MALFORMED_UPLOAD", "NO_FILENAME", "INVALID_ROLE", "MALFORMED_JSON"), body
        assert json.loads(response.data)["errors"][0]["message"]


def test_t24_a_body_longer_than_allowed_is_refused_before_it_is_read(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path, max_body_bytes=1000)
    response = server.request(
        "POST", "/v2/a/_trust/tuf/", input_stream=Broken(b""), content_type=MULTIPART,
        environ_overrides={"CONTENT_LENGTH": "1001"},
    )  # fmt: skip
    assert error(response)[:2] == (413, "SIZE_INVALID")
