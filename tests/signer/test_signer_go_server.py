# SPDX-License-Identifier: Apache-2.0
"""Debian's Go notary-server keeps its keys in our signer, over gRPC, and Debian's notary client notices nothing."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from goserver import GoServer, configuration
from signer.models import SealedKey
from signerprocess import SignerProcess
from trust.web.database import Database

pytestmark = pytest.mark.client("notary")

_GUN = "localhost:5000/library/app"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    with SignerProcess(tmp_path_factory.mktemp("signer"), grpc=True) as signer:
        yield signer


@pytest.fixture
def server(signer: SignerProcess, tmp_path: Path) -> Iterator[GoServer]:
    server = GoServer(tmp_path, configuration(signer, signer.client))
    yield server
    server.stop()


def _keys(signer: SignerProcess, gun: str) -> dict[str, list[bool]]:
    """By role, of each key that the signer holds for `gun`: whether it has signed."""
    database = Database(signer.database_url)
    with database.read() as session:
        rows = session.scalars(select(SealedKey).where(SealedKey.gun == gun).order_by(SealedKey.id)).all()
        found: dict[str, list[bool]] = {}
        for row in rows:
            found.setdefault(row.role, []).append(row.last_used is not None)
    database.dispose()
    return found


def test_a_collection_is_made_published_read_and_rotated(
    signer: SignerProcess, server: GoServer, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"something to sign\n")
    server.notary("init", _GUN)
    server.notary("publish", _GUN)
    server.notary("key", "rotate", _GUN, "snapshot", "--server-managed")
    server.notary("add", _GUN, "v1", artifact)
    server.notary("publish", _GUN)
    assert re.search(r"^v1 +[0-9a-f]{64} +18 +targets$", server.notary("list", _GUN), re.MULTILINE)
    assert _keys(signer, _GUN) == {"timestamp": [True], "snapshot": [True]}
    time.sleep(6)  # the idle connection is closed by now; the server opens another
    server.notary("key", "rotate", _GUN, "timestamp", "--server-managed")
    server.notary("add", _GUN, "v2", artifact)
    server.notary("publish", _GUN)
    listed = server.notary("list", _GUN)
    assert "v1" in listed
    assert "v2" in listed
    assert _keys(signer, _GUN) == {"timestamp": [True, True], "snapshot": [True]}


def test_its_health_check_sees_the_signer(server: GoServer) -> None:
    with urllib.request.urlopen(f"{server.url}/_notary_server/health", timeout=10) as response:
        assert (response.status, response.read().strip()) == (200, b"{}")


def test_a_certificate_with_another_name_gets_no_keys(signer: SignerProcess, tmp_path: Path) -> None:
    server = GoServer(tmp_path, configuration(signer, signer.tls.issue("another-server")))
    try:
        gun = "localhost:5000/library/other"
        # The client asks for the timestamp key at its first publish.
        assert "500" in server.notary("init", gun, "--publish", succeeds=False)
        assert "PermissionDenied" in server.log.read_text()
        assert _keys(signer, gun) == {}
    finally:
        server.stop()


def test_the_signer_stops_while_the_server_is_connected(tmp_path: Path) -> None:
    with SignerProcess(tmp_path, grpc=True) as signer:
        server = GoServer(tmp_path, configuration(signer, signer.client))
        server.notary("init", _GUN, "--publish")
        started = time.monotonic()
        status = signer.stop()
        took = time.monotonic() - started
        server.stop()
    assert (status, took < 15) == (0, True)
