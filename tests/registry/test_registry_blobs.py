# SPDX-License-Identifier: Apache-2.0
"""Pushing and pulling blobs over HTTP (REGISTRY_API §2, rows 2, 4–6, 13, 14; §3)."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from pushes import Site, code_of, digest_of

APP = "library/app"
DATA = bytes(range(256)) * 12
ALGORITHMS = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


@ALGORITHMS
def test_a_blob_comes_back_under_the_digest_that_was_used(site: Site, algorithm: str) -> None:
    """R2.2, R2.20."""
    digest = site.push_blob(APP, DATA, algorithm)
    for answer in (
        site.get(f"/v2/{APP}/blobs/{digest}", site.pull(APP)),
        site.head(f"/v2/{APP}/blobs/{digest}", site.pull(APP)),
    ):
        assert answer.status_code == 200
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(len(DATA))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["ETag"] == f'"{digest}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "private, max-age=31536000"
        assert answer.data == (DATA if answer.request.method == "GET" else b"")


def test_starting_an_upload_says_where_and_how_far_it_is(site: Site) -> None:
    """R2.4a."""
    answer = site.start(APP)
    assert answer.status_code == 202
    assert re.fullmatch(rf"/v2/{APP}/blobs/uploads/[0-9a-f-]{{36}}", answer.headers["Location"])
    assert answer.headers["Location"].endswith(answer.headers["Docker-Upload-UUID"])
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Content-Length"] == "0"


def test_the_location_works_whatever_the_host_header_says(site: Site) -> None:
    """R2.17."""
    answer = site.send("POST", f"/v2/{APP}/blobs/uploads/", Host="evil.example", X_Forwarded_Host="evil.example")
    assert answer.headers["Location"].startswith(f"/v2/{APP}/")


@ALGORITHMS
def test_a_blob_may_be_pushed_in_one_post(site: Site, algorithm: str) -> None:
    """R2.4b."""
    digest = digest_of(DATA, algorithm)
    answer = site.send("POST", f"/v2/{APP}/blobs/uploads/?digest={digest}", DATA)
    assert answer.status_code == 201
    assert answer.headers["Docker-Content-Digest"] == digest
    assert site.get(answer.headers["Location"], site.pull(APP)).data == DATA


def test_a_post_with_a_wrong_digest_leaves_nothing(site: Site) -> None:
    """R2.4b."""
    answer = site.send("POST", f"/v2/{APP}/blobs/uploads/?digest={digest_of(b'other')}", DATA)
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert site.settings.content_folder is not None
    assert list((site.settings.content_folder / "uploads").iterdir()) == []


def test_the_digest_algorithm_may_be_announced(site: Site) -> None:
    """R2.4c."""
    assert site.start(APP, "?digest-algorithm=sha512").status_code == 202
    answer = site.start(APP, "?digest-algorithm=md5")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")


def test_a_blob_may_be_pushed_in_chunks(site: Site) -> None:
    """R2.5, R2.6, R2.13."""
    location = site.start(APP).headers["Location"]
    for first, last in ((0, 999), (1000, 1999)):
        answer = site.send("PATCH", location, DATA[first : last + 1], Content_Range=f"{first}-{last}")
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{last}")
        location = answer.headers["Location"]
    status = site.send("GET", location)
    assert (status.status_code, status.headers["Range"], status.headers["Location"]) == (204, "0-1999", location)
    digest = digest_of(DATA)
    answer = site.send("PUT", f"{location}?digest={digest}", DATA[2000:], Content_Range=f"2000-{len(DATA) - 1}")
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v2/{APP}/blobs/{digest}")
    assert site.get(answer.headers["Location"], site.pull(APP)).data == DATA
    assert code_of(site.send("GET", location)) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("first", [0, 5, 50])
def test_a_chunk_out_of_order_is_416_and_the_session_lives(site: Site, method: str, first: int) -> None:
    """R2.5, R2.6, R2.18."""
    location = site.start(APP).headers["Location"]
    site.send("PATCH", location, DATA[:10])
    query = f"?digest={digest_of(DATA[:20])}" if method == "PUT" else ""
    answer = site.send(method, location + query, DATA[10:20], Content_Range=f"{first}-{first + 9}")
    assert (answer.status_code, code_of(answer)) == (416, "RANGE_INVALID")
    assert site.send("GET", location).headers["Range"] == "0-9"
    assert site.send("PUT", f"{location}?digest={digest_of(DATA[:20])}", DATA[10:20]).status_code == 201


@pytest.mark.parametrize("header", ["0-99", "10-8", "x", "-5", "0-", "bytes=0-9", "0-9999999999999999999999"])
def test_a_content_range_that_lies_is_400(site: Site, header: str) -> None:
    """R2.5."""
    location = site.start(APP).headers["Location"]
    answer = site.send("PATCH", location, DATA[:10], Content_Range=header)
    assert answer.status_code == 400
    assert code_of(answer) in ("SIZE_INVALID", "BLOB_UPLOAD_INVALID")
    assert site.send("GET", location).headers["Range"] == "0-0"


def test_docker_s_way_is_a_stream_without_length_and_an_empty_put(site: Site) -> None:
    """R2.5, R3.6."""
    location = site.start(APP).headers["Location"]
    answer = site.client.patch(
        location,
        input_stream=io.BytesIO(DATA),
        headers=site.push(APP),
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{len(DATA) - 1}")
    assert site.send("PUT", f"{answer.headers['Location']}?digest={digest_of(DATA)}").status_code == 201
    assert site.get(f"/v2/{APP}/blobs/{digest_of(DATA)}", site.pull(APP)).data == DATA


def test_a_body_that_breaks_off_moves_nothing(site: Site) -> None:
    class Breaks:
        """What a server's parser does when the client hangs up."""

        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    location = site.start(APP).headers["Location"]
    answer = site.client.patch(
        location,
        headers=site.push(APP),
        environ_overrides={"wsgi.input": Breaks(), "wsgi.input_terminated": True},
    )
    assert (answer.status_code, code_of(answer)) == (400, "BLOB_UPLOAD_INVALID")
    assert site.send("GET", location).headers["Range"] == "0-0"


def test_a_body_shorter_than_its_content_length_moves_nothing(site: Site) -> None:
    location = site.start(APP).headers["Location"]
    answer = site.client.patch(
        location,
        input_stream=io.BytesIO(DATA[:10]),
        headers=site.push(APP),
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "20"},
    )
    assert (answer.status_code, code_of(answer)) == (400, "SIZE_INVALID")
    assert site.send("GET", location).headers["Range"] == "0-0"


@pytest.mark.parametrize("digest", ["", "md5:" + "0" * 32, "sha256:zz", "sha256:" + "A" * 64, "sha512:" + "0" * 64])
def test_a_put_needs_a_digest_that_is_one(site: Site, digest: str) -> None:
    """R2.6."""
    location = site.start(APP).headers["Location"]
    answer = site.send("PUT", f"{location}?digest={digest}", DATA)
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")


def test_a_wrong_digest_stores_nothing(site: Site) -> None:
    """R2.6."""
    location = site.start(APP).headers["Location"]
    answer = site.send("PUT", f"{location}?digest={digest_of(b'other')}", DATA)
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    for data in (b"other", DATA):
        assert site.head(f"/v2/{APP}/blobs/{digest_of(data)}", site.pull(APP)).status_code == 404


def test_a_blob_beyond_the_limit_is_413(tmp_path: Path) -> None:
    site = Site(tmp_path, trust_mode="disabled", max_blob_bytes=100)
    location = site.start(APP).headers["Location"]
    assert site.send("PATCH", location, DATA[:100]).status_code == 202
    answer = site.send("PATCH", location, b"x")
    assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")


def test_an_upload_can_be_cancelled(site: Site) -> None:
    """R2.14."""
    location = site.start(APP).headers["Location"]
    assert site.send("DELETE", location).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = site.send(method, location)
        assert (answer.status_code, code_of(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("upload", ["0b6cbbf4-5b1a-4d6c-9f0e-3f1d2a4b5c6d", "x", "..", "a" * 300, "%00"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_unknown_upload_is_404(site: Site, method: str, upload: str) -> None:
    """R2.5, R2.6, R2.13, R2.14."""
    site.start(APP)
    answer = site.send(method, f"/v2/{APP}/blobs/uploads/{upload}?digest={digest_of(DATA)}", DATA)
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=10-19", 10, 20),
        ("bytes=3000-", 3000, 3072),
        ("bytes=-5", 3067, 3072),
        ("bytes=-9999", 0, 3072),
        ("bytes=3000-9999", 3000, 3072),
        ("bytes=0-0", 0, 1),
    ],
)
def test_a_part_of_a_blob_can_be_had(site: Site, wanted: str, start: int, stop: int) -> None:
    """R2.2."""
    path = f"/v2/{APP}/blobs/{site.push_blob(APP, DATA)}"
    answer = site.get(path, site.pull(APP), Range=wanted)
    assert (answer.status_code, answer.data) == (206, DATA[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/3072"
    assert answer.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("wanted", ["bytes=3072-", "bytes=5000-6000", "bytes=-0", "bytes=500-0"])
def test_a_part_that_there_is_not_is_416(site: Site, wanted: str) -> None:
    """R2.19."""
    answer = site.get(f"/v2/{APP}/blobs/{site.push_blob(APP, DATA)}", site.pull(APP), Range=wanted)
    assert (answer.status_code, code_of(answer)) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */3072"


@pytest.mark.parametrize("wanted", ["bytes=0-1", "bytes=3072-"])
def test_head_tells_of_the_whole_blob_whatever_range_is_asked_for(site: Site, wanted: str) -> None:
    # RFC 9110 §14.2: a range goes with GET alone; OCI, "Checking if content exists": HEAD is 200 and the size.
    path = f"/v2/{APP}/blobs/{site.push_blob(APP, DATA)}"
    answer = site.head(path, site.pull(APP), Range=wanted)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "3072")
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=\u0661-", "x"])
def test_a_range_that_is_none_is_ignored(site: Site, wanted: str) -> None:
    answer = site.get(f"/v2/{APP}/blobs/{site.push_blob(APP, DATA)}", site.pull(APP), Range=wanted)
    assert (answer.status_code, answer.data) == (200, DATA)


def test_if_range_of_another_content_gives_the_whole(site: Site) -> None:
    digest = site.push_blob(APP, DATA)
    path = f"/v2/{APP}/blobs/{digest}"
    assert site.get(path, site.pull(APP), Range="bytes=0-1", If_Range=f'"{digest}"').status_code == 206
    assert site.get(path, site.pull(APP), Range="bytes=0-1", If_Range='"other"').status_code == 200


def test_a_client_that_has_the_blob_gets_304(site: Site) -> None:
    """R2.2."""
    digest = site.push_blob(APP, DATA)
    for ask in (site.get, site.head):
        answer = ask(f"/v2/{APP}/blobs/{digest}", site.pull(APP), If_None_Match=f'"{digest}"')
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == f'"{digest}"'


def test_an_empty_blob_is_a_blob(site: Site) -> None:
    answer = site.get(f"/v2/{APP}/blobs/{site.push_blob(APP, b'')}", site.pull(APP))
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", "0")


def test_a_blob_is_unknown_where_it_was_not_pushed(site: Site) -> None:
    """R2.2."""
    digest = site.push_blob("library/secret", DATA)
    site.push_blob(APP, b"something")
    path = f"/v2/{APP}/blobs/{digest}"
    answer = site.get(path, site.pull(APP))
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UNKNOWN")
    assert site.head(path, site.pull(APP)).status_code == 404
    answer = site.get(f"/v2/no/such/blobs/{digest}", site.pull("no/such"))
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")


def test_content_that_is_lost_is_503_and_not_500(site: Site) -> None:
    """R10.10."""
    digest = site.push_blob(APP, DATA)
    assert site.settings.content_folder is not None
    (site.settings.content_folder / "blobs" / "sha256" / digest.encoded[:2] / digest.encoded).unlink()
    answer = site.get(f"/v2/{APP}/blobs/{digest}", site.pull(APP))
    assert (answer.status_code, code_of(answer)) == (503, "UNAVAILABLE")
