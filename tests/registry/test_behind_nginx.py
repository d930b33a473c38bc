# SPDX-License-Identifier: Apache-2.0
"""Blobs that nginx sends, in front of the registry and by its leave (docs/how-to/behind-nginx.md)."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.stack import free_ports, wait_until
from pushes import digest_of
from registryprocess import APP, Process
from world import World

DATA = os.urandom(300_000)
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "behind-nginx.md"


def server_block() -> str:
    """nginx's configuration as the documentation has it."""
    (found,) = re.findall(r"```nginx\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """nginx's, before a registry that holds `DATA`."""
    registry = Process(tmp_path, CONTENT_ACCEL="/content")
    (port,) = free_ports(1)
    block = server_block()
    for documented, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:5000", f"127.0.0.1:{registry.port}"),
        ("/var/lib/troth/content/", f"{tmp_path}/content/"),
    ):
        assert documented in block
        block = block.replace(documented, ours)
    block = re.sub(r" *ssl_.*\n", "", block)
    user = "user root;" if os.geteuid() == 0 else ""
    logs = f"pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx.log; daemon off;"
    folders = "".join(
        f"{each}_temp_path {tmp_path}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(f"{user}{logs} events {{}} http {{ access_log off; {folders}\n{block} }}\n")
    registry.start()
    command = ["setpriv", "--pdeathsig=KILL", "/usr/sbin/nginx", "-p", str(tmp_path), "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
        try:
            wait_until(lambda: answers(port), f"nginx answers: {tmp_path}/nginx.log")
            registry.push_blob(DATA)
            yield port
        finally:
            nginx.terminate()
            registry.kill()


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/v2/")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.client("nginx")
def test_nginx_sends_what_the_registry_allows_and_nothing_else(port: int) -> None:
    digest = digest_of(DATA)
    blob = f"/v2/{APP}/blobs/{digest}"
    status, headers, data = ask(port, "GET", blob)
    assert (status, data) == (200, DATA)
    assert headers["Docker-Content-Digest"] == digest
    assert headers.get_all("ETag") == [f'"{digest}"']
    assert headers["Cache-Control"].startswith("private")
    assert headers["Content-Type"] == "application/octet-stream"
    assert "X-Accel-Redirect" not in headers
    status, headers, data = ask(port, "GET", blob, Range="bytes=10-19")
    assert (status, data) == (206, DATA[10:20])
    assert headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    assert ask(port, "HEAD", blob)[1]["Content-Length"] == str(len(DATA))
    status, _, data = ask(port, "GET", blob, Range=f"bytes={len(DATA)}-")
    assert (status, b"RANGE_INVALID" in data) == (416, True)
    status, _, data = ask(port, "GET", f"/v2/{APP}/blobs/{digest_of(b'other')}")
    assert (status, b"BLOB_UNKNOWN" in data) == (404, True)
    inside = f"/content/blobs/sha256/{digest.encoded[:2]}/{digest.encoded}"
    assert ask(port, "GET", inside)[0] == 404


def test_the_web_server_is_told_of_nothing_that_is_not_signed_or_not_whole(tmp_path: Path) -> None:
    world = World(tmp_path, content_accel="/content/")
    signed, unsigned = world.push_image(APP, "1"), world.push_image(APP, "2", seed="other")
    world.publish(APP, {"1": signed})
    refused = world.blob(APP, world.blobs(unsigned)[1])
    assert (refused.status_code, "X-Accel-Redirect" in refused.headers) == (403, False)
    layer = world.blobs(signed)[1]
    place = f"blobs/sha256/{layer.encoded[:2]}/{layer.encoded}"
    answer = world.blob(APP, layer)
    assert (answer.headers["X-Accel-Redirect"], answer.data) == (f"/content/{place}", b"")
    os.truncate(tmp_path / "content" / place, 3)
    torn = world.blob(APP, layer)
    assert (torn.status_code, "X-Accel-Redirect" in torn.headers) == (503, False)
