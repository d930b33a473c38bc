# SPDX-License-Identifier: Apache-2.0
"""`troth-registry` as a process: gunicorn, real sockets, plain HTTP and TLS, kills."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pushes import digest_of, image_manifest
from registry.manifests import OCI_IMAGE
from registryprocess import APP, MIB, Process, blocks
from trust.ca import Authority, new_authority
from trust.web.run import MAX_HEADER_BYTES, MAX_HEADERS


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Process]:
    """A running registry."""
    process = Process(tmp_path)
    process.start()
    yield process
    process.kill()


def test_a_chunked_upload_of_50_mib_streams_through_flat_memory(registry: Process) -> None:
    """R3.6."""
    registry.push_blob(b"x" * MIB)  # whatever a first request loads
    before = registry.peak_memory()
    status, headers, _ = registry.ask("PATCH", registry.upload(), blocks(50), {"Transfer-Encoding": "chunked"})
    assert (status, headers["Range"]) == (202, f"0-{50 * MIB - 1}")
    whole = hashlib.sha256()
    for block in blocks(50):
        whole.update(block)
    digest = f"sha256:{whole.hexdigest()}"
    assert registry.ask("PUT", f"{headers['Location']}?digest={digest}", b"")[0] == 201
    assert registry.peak_memory() - before < 16 * MIB
    connection = registry.connect()
    connection.request("GET", f"/v2/{APP}/blobs/{digest}")
    answer = connection.getresponse()
    read = hashlib.sha256()
    while block := answer.read(MIB):
        read.update(block)
    connection.close()
    assert read.hexdigest() == whole.hexdigest()
    assert registry.peak_memory() - before < 16 * MIB


@pytest.mark.parametrize(
    ("wanted", "start", "stop"), [("", 0, 5000), ("bytes=10-19", 10, 20), ("bytes=-7", 4993, 5000)]
)
def test_a_blob_and_its_parts_leave_on_a_connection_that_stays_usable(
    registry: Process, wanted: str, start: int, stop: int
) -> None:
    data = os.urandom(5000)
    for each in (data, b""):
        registry.push_blob(each)
    connection = registry.connect()
    for _ in range(3):
        connection.request("GET", f"/v2/{APP}/blobs/{digest_of(data)}", headers={"Range": wanted} if wanted else {})
        answer = connection.getresponse()
        assert answer.read() == data[start:stop]
        connection.request("HEAD", f"/v2/{APP}/blobs/{digest_of(data)}")
        answer = connection.getresponse()
        assert (answer.read(), answer.headers["Content-Length"]) == (b"", "5000")
        connection.request("GET", f"/v2/{APP}/blobs/{digest_of(b'')}")
        assert connection.getresponse().read() == b""
    connection.close()


def test_the_same_over_tls(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = new_authority("test", now)
    pair = Authority(authority).issue("registry", ["localhost"], server=True, client=False, now=now)
    for name, data in (("ca", authority.certificate_pem), ("crt", pair.certificate_pem), ("key", pair.key_pem)):
        (tmp_path / name).write_bytes(data)
    registry = Process(tmp_path, TLS_CERTIFICATE=str(tmp_path / "crt"), TLS_KEY=str(tmp_path / "key"))
    registry.ca = tmp_path / "ca"
    registry.start()
    try:
        data = os.urandom(3 * MIB)
        registry.push_blob(data)
        assert registry.ask("GET", f"/v2/{APP}/blobs/{digest_of(data)}")[2] == data
        wanted = {"Range": "bytes=1000000-2000000"}
        assert registry.ask("GET", f"/v2/{APP}/blobs/{digest_of(data)}", None, wanted)[2] == data[1000000:2000001]
    finally:
        registry.kill()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("PATCH {path} HTTP/1.1\nHost: x\nContent-Length: 5000000\n\n", b"x" * 2_000_000),
        (
            "PATCH {path} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n",
            b"400\r\n" + b"x" * 1024 + b"\r\n400\r\nxx",
        ),
        ("PATCH {path} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", b"4\r\nxxxx\r\nnonsense\r\n\r\n"),
        ("PATCH {path} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", b"4\r\nxxxxxxxx\r\n0\r\n\r\n"),
    ],
)
def test_a_request_that_breaks_off_moves_nothing_and_is_no_internal_error(
    registry: Process, head: str, body: bytes
) -> None:
    location = registry.upload()
    registry.ask("PATCH", location, b"kept ")
    registry.hang_up(head.format(path=location), body)
    deadline = time.monotonic() + 10
    while registry.ask("PATCH", location, b"")[0] == 409 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert registry.ask("GET", location)[1]["Range"] == "0-4"
    assert registry.ask("PUT", f"{location}?digest={digest_of(b'kept whole')}", b"whole")[0] == 201
    assert registry.ask("GET", f"/v2/{APP}/blobs/{digest_of(b'kept whole')}")[2] == b"kept whole"
    assert "Traceback" not in registry.log()


def test_a_manifest_over_the_limit_gets_its_answer_although_nobody_reads_it(registry: Process) -> None:
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        data = b" " * (8 * MIB)
        body = data if not headers else iter([data])
        status, _, answer = registry.ask(
            "PUT", f"/v2/{APP}/manifests/1", body, {"Content-Type": OCI_IMAGE, **headers}
        )
        assert status == 413
        assert b"SIZE_INVALID" in answer


def test_headers_have_a_limit_in_number_and_in_length(registry: Process) -> None:
    sent = 2  # Host and Accept-Encoding, by the client's library
    many = {f"X-Header-{number}": "x" for number in range(MAX_HEADERS - sent)}
    longest = "x" * (MAX_HEADER_BYTES - len("X-Long: \r\n"))
    for headers, is_taken in (
        (many, True),
        (many | {"X-One-More": "x"}, False),
        ({"X-Long": longest}, True),
        ({"X-Long": longest + "x"}, False),
    ):
        status = registry.ask("GET", "/v2/", headers=headers)[0]
        assert status == 200 if is_taken else 400 <= status < 500
    assert 400 <= registry.ask("GET", f"/v2/?{'x' * 8200}")[0] < 500
    assert "Traceback" not in registry.log()


@pytest.mark.parametrize("path", ["a%2Fb", "a/../b", "a%00b", "UPPER", "a" * 3000, "%ff"])
def test_a_path_that_is_no_name_is_400_in_the_envelope(registry: Process, path: str) -> None:
    status, headers, body = registry.ask("GET", f"/v2/{path}/manifests/1")
    assert (status, headers["Docker-Distribution-Api-Version"]) == (400, "registry/2.0")
    assert b'"code":"NAME_INVALID"' in body
    assert "Traceback" not in registry.log()


def test_what_was_acknowledged_survives_sigkill_and_the_next_start_works(registry: Process) -> None:
    config, layer = b"{}", os.urandom(2 * MIB)
    manifest = image_manifest(config, [layer])
    for data in (config, layer):
        registry.push_blob(data)
    assert registry.ask("PUT", f"/v2/{APP}/manifests/1", manifest, {"Content-Type": OCI_IMAGE})[0] == 201
    location = registry.upload()
    assert registry.ask("PATCH", location, b"kept ")[0] == 202
    # In the middle of a push of the next chunk, bytes of which are on the disk.
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as torn:
        torn.sendall(
            f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".encode() + b"x" * 4 * MIB
        )
        spool = registry.folder / "content" / "uploads" / location.rpartition("/")[2] / "data"
        deadline = time.monotonic() + 10
        while spool.stat().st_size <= 3 * MIB and time.monotonic() < deadline:
            time.sleep(0.01)
        assert spool.stat().st_size > 3 * MIB
        registry.kill()
    registry.start()
    status, headers, body = registry.ask("GET", f"/v2/{APP}/manifests/1")
    assert (status, headers["Docker-Content-Digest"], body) == (200, digest_of(manifest), manifest)
    assert registry.ask("GET", f"/v2/{APP}/blobs/{digest_of(layer)}")[2] == layer
    assert registry.ask("GET", location)[1]["Range"] == "0-4"
    registry.push_blob(b"and another")


def test_sigterm_ends_it_in_peace(registry: Process) -> None:
    assert registry.kill(signal.SIGTERM) == 0
    assert "background work ends" in registry.log()  # so did the process beside the workers
    registry.start()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"TRUST_MODE": "sometimes"}, "trust_mode"),
        ({"TLS_CERTIFICATE": "/nowhere", "TLS_KEY": "/nowhere"}, "/nowhere"),
        ({"TLS_KEY": "/nowhere"}, "tls_certificate"),
        ({"TOKEN_CERTIFICATE": "/nowhere"}, "/nowhere"),
        ({"DATABASE_URL": "sqlite:////nowhere/registry.db"}, "database"),
        ({"CONTENT_FOLDER": "/proc/nowhere"}, "storage"),
        ({"WORKERS": "many"}, "WORKERS"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(tmp_path: Path, settings: dict[str, str], word: str) -> None:
    registry = Process(tmp_path, **settings)
    with pytest.raises(AssertionError):
        registry.start()
    lines = registry.log().strip().splitlines()
    assert lines[-1].startswith("troth-registry: ")
    assert word in lines[-1]
    assert "Traceback" not in registry.log()
