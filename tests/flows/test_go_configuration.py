# SPDX-License-Identifier: Apache-2.0
"""One `server.json` and one `signer.json`: Go's notary-server and ours both run from them, with our signer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from goserver import PROGRAMS, GoServer, configuration
from signerprocess import SignerProcess

pytestmark = pytest.mark.client("notary")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    signer = SignerProcess(tmp_path_factory.mktemp("signer"))
    config = {
        "server": {
            "grpc_addr": f"127.0.0.1:{signer.port}",
            "tls_cert_file": signer.certificate.name,
            "tls_key_file": signer.key.name,
            "client_ca_file": signer.tls.ca.name,
        },
        "storage": {"backend": "mysql", "db_url": "signer@tcp(mysql:3306)/notarysigner", "default_alias": "alias"},
    }
    signer.config = signer.folder / "signer.json"
    signer.config.write_text(json.dumps(config))
    environment = {"TROTH_SIGNER_DATABASE_URL": signer.database_url, "NOTARY_SIGNER_ALIAS": "correct horse"}
    with signer.started_with(environment):
        yield signer


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_a_collection_is_published_and_read(signer: SignerProcess, tmp_path: Path, program: str) -> None:
    config = configuration(signer, signer.client, signer.port)
    environment = {"TROTH_SERVER_DATABASE_URL": f"sqlite:///{tmp_path}/server.db"}
    server = GoServer(tmp_path, config, program, environment)
    try:
        gun = f"localhost:5000/library/{program}"
        artifact = tmp_path / "artifact"
        artifact.write_bytes(b"something to sign\n")
        server.notary("init", gun, "--publish")
        server.notary("key", "rotate", gun, "snapshot", "--server-managed")
        server.notary("add", gun, "v1", artifact, "--publish")
        assert re.search(r"^v1 +[0-9a-f]{64} +18 +targets$", server.notary("list", gun), re.MULTILINE)
    finally:
        server.stop()
