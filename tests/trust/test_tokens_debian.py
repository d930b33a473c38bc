# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry 2.8 and notary-server 0.7 believe our tokens (REGISTRY_API §6.6)."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trust.ca import Pair, self_signed
from trust.tokens import Access, Issuer, parse_scopes

REALM = "https://localhost:5000/auth/token"


@dataclass(frozen=True)
class Peer:
    """A running server of another maker, and an issuer that it is told to believe."""

    port: int
    issuer: Issuer

    def status(self, path: str, token: str | None = None, method: str = "GET") -> tuple[int, str]:
        """Ask, and return the status with the challenge."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers.get("WWW-Authenticate", "")
        finally:
            connection.close()

    def token(self, *scopes: str, age: timedelta = timedelta()) -> str:
        access: list[Access] = parse_scopes(scopes)
        return self.issuer.issue("alice", access, datetime.now(UTC) - age)


@pytest.fixture
def pair() -> Pair:
    return self_signed("troth tokens", datetime.now(UTC))


@pytest.fixture
def registry(pair: Pair, tmp_path: Path) -> Iterator[Peer]:
    (tmp_path / "token.crt").write_bytes(pair.certificate_pem)
    port = free_port()
    # JSON is YAML.
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "content")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"token": token_options(tmp_path)},
    }
    path = tmp_path / "config.yml"
    path.write_text(json.dumps(settings))
    with running(["docker-registry", "serve", str(path)], port):
        yield Peer(port, Issuer(pair.key_pem, pair.certificate_pem, "troth", "registry"))


@pytest.fixture
def notary(pair: Pair, tmp_path: Path) -> Iterator[Peer]:
    (tmp_path / "token.crt").write_bytes(pair.certificate_pem)
    port = free_port()
    settings = {
        "server": {"http_addr": f"127.0.0.1:{port}"},
        "trust_service": {"type": "local"},
        "storage": {"backend": "memory"},
        "auth": {"type": "token", "options": token_options(tmp_path)},
    }
    path = tmp_path / "server.json"
    path.write_text(json.dumps(settings))
    with running(["notary-server", "-config", str(path)], port):
        yield Peer(port, Issuer(pair.key_pem, pair.certificate_pem, "troth", "registry"))


def token_options(folder: Path) -> dict[str, str]:
    certificate = str(folder / "token.crt")
    return {"realm": REALM, "service": "registry", "issuer": "troth", "rootcertbundle": certificate}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    assert shutil.which(command[0]), f"{command[0]} is not installed"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 15
            while True:
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{command[0]} does not answer"
                    time.sleep(0.05)
            yield
        finally:
            process.kill()


@pytest.mark.client
def test_debians_registry_believes_our_tokens(registry: Peer) -> None:
    """R6.6."""
    status, header = registry.status("/v2/")
    assert (status, header) == (401, f'Bearer realm="{REALM}",service="registry"')
    assert registry.status("/v2/", registry.token())[0] == 200
    # Let in: there is no such repository.
    tags = "/v2/library/app/tags/list"
    assert registry.status(tags, registry.token("repository:library/app:pull"))[0] == 404
    assert registry.status(
        "/v2/library/app/blobs/uploads/", registry.token("repository:library/app:pull,push"), "POST"
    ) == (202, "")
    status, header = registry.status(tags, registry.token("repository:library/other:pull"))
    assert (status, header.rpartition(",")[2]) == (401, 'error="insufficient_scope"')
    expired = registry.token("repository:library/app:pull", age=timedelta(hours=1))
    assert registry.status(tags, expired)[1].endswith('error="invalid_token"')


@pytest.mark.client
def test_debians_registry_does_not_believe_a_stranger(registry: Peer) -> None:
    stranger = self_signed("troth tokens", datetime.now(UTC))
    forged = Issuer(stranger.key_pem, stranger.certificate_pem, "troth", "registry")
    assert registry.status("/v2/", forged.issue("alice", [], datetime.now(UTC)))[0] == 401


@pytest.mark.client
def test_debians_notary_server_believes_our_tokens(notary: Peer) -> None:
    """R6.8."""
    gun = "localhost:5000/library/app"
    timestamp = f"/v2/{gun}/_trust/tuf/timestamp.json"
    assert notary.status(timestamp)[1] == (f'Bearer realm="{REALM}",service="registry",scope="repository:{gun}:pull"')
    # Let in: there is no trust data yet.
    assert notary.status(timestamp, notary.token(f"repository:{gun}:pull"))[0] == 404
    assert notary.status(timestamp, notary.token("repository:library/app:pull"))[1].endswith('insufficient_scope"')
    assert notary.status("/v2/", notary.token("registry:catalog:*"))[0] == 200
    assert notary.status(f"/v2/{gun}/_trust/tuf/", notary.token(f"repository:{gun}:*"), "DELETE")[0] == 200
