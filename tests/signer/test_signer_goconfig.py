# SPDX-License-Identifier: Apache-2.0
"""The configuration file of Go's notary-signer means in our signer what it meant there (NOTARY_V1 §4.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from grpcclient import GrpcClient
from signer.goconfig import GO_PREFIX, PREFIX, translate
from signer.protobuf import field
from signer.settings import Settings
from signerprocess import SignerProcess, payload
from trust.errors import SettingsError
from trust.goconfig import load
from trust.names import TIMESTAMP, Gun


@pytest.fixture
def signer(tmp_path: Path) -> SignerProcess:
    return SignerProcess(tmp_path)


def _go(signer: SignerProcess) -> dict[str, Any]:
    """A whole file, as an operator has it."""
    return {
        "server": {
            "grpc_addr": f"127.0.0.1:{signer.port}",
            "tls_cert_file": signer.certificate.name,
            "tls_key_file": f"./{signer.key.name}",
            "client_ca_file": signer.tls.ca.name,
        },
        "logging": {"level": "info"},
        "storage": {
            "backend": "postgres",
            "db_url": "postgres://signer:pw@db:5432/notarysigner?sslmode=disable",
            "default_alias": "passwordalias1",
        },
    }


def _write(signer: SignerProcess, config: object) -> Path:
    path = signer.folder / "signer.json"
    path.write_text(json.dumps(config))
    return path


def _load(
    signer: SignerProcess, config: object, environ: Mapping[str, str] | None = None
) -> tuple[Settings, list[str]]:
    path = _write(signer, config)
    return load(Settings, path, prefix=PREFIX, go_prefix=GO_PREFIX, translate=translate, environ=environ or {})


def test_a_whole_file_is_understood(signer: SignerProcess) -> None:
    settings, notes = _load(signer, _go(signer))
    assert settings == Settings(
        listen=f"127.0.0.1:{signer.port}",
        grpc_listen=f"127.0.0.1:{signer.port}",
        tls_certificate=signer.certificate,
        tls_key=signer.folder / signer.key.name,
        client_ca=signer.tls.ca,
        database_url="postgresql+psycopg://signer:pw@db:5432/notarysigner?sslmode=disable",
        default_alias="passwordalias1",
        log_level="info",
    )
    (note,) = notes
    assert "only those with the common name notary-server are let in" in note


def test_the_environment_wins_over_the_file(signer: SignerProcess) -> None:
    environ = {
        "NOTARY_SIGNER_SERVER_GRPC_ADDR": ":7899",
        "NOTARY_SIGNER_STORAGE_DB_URL": "postgres://other/db",
        "NOTARY_SIGNER_STORAGE_DEFAULT_ALIAS": "other",
        "TROTH_SIGNER_CLIENTS": "server-1,server-2",
    }
    settings, notes = _load(signer, _go(signer), environ)
    assert (settings.listen, settings.grpc_listen) == ("0.0.0.0:7899", "0.0.0.0:7899")
    assert settings.database_url == "postgresql+psycopg://other/db?sslmode=require"
    assert (settings.default_alias, settings.clients) == ("other", ("server-1", "server-2"))
    assert [note.partition(":")[0] for note in notes] == ["server.grpc_addr"]


def test_the_default_alias_may_be_in_the_oldest_variable(signer: SignerProcess) -> None:
    config = _go(signer)
    environ = {"NOTARY_SIGNER_DEFAULT_ALIAS": "oldest"}
    assert _load(signer, config, environ)[0].default_alias == "passwordalias1"
    del config["storage"]["default_alias"]
    assert _load(signer, config, environ)[0].default_alias == "oldest"


def test_all_that_is_wrong_is_said_at_once(signer: SignerProcess) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(signer, {"server": {}, "storage": {"backend": "memory"}})
    problems = caught.value.detail
    assert isinstance(problems, list)
    wrong = [
        "server.grpc_addr is missing", "server.tls_cert_file is missing", "server.tls_key_file is missing",
        "without mutual TLS anybody", "storage.default_alias is missing", "'memory' is not supported",
    ]  # fmt: skip
    assert [each for each in wrong if not any(each in problem for problem in problems)] == []
    assert len(problems) == len(wrong)


def test_check_says_what_is_missing_and_then_nothing(signer: SignerProcess) -> None:
    path = _write(signer, _go(signer))
    ended = signer.run("-config", str(path), "--check")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "the passphrase 'passwordalias1' is missing" in ended.stdout
    ended = signer.run("-config", str(path), "-logf", "json", "--check", NOTARY_SIGNER_PASSWORDALIAS1="hunter2")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "nothing is wrong with the settings" in ended.stdout
    assert "hunter2" not in ended.stdout


def test_check_lists_what_is_wrong_in_our_own_format(signer: SignerProcess) -> None:
    assert signer.run("--config", str(signer.config), "--check").returncode == 0
    signer.key.write_text("nonsense")
    signer.passphrase_file.chmod(0o644)
    ended = signer.run("--config", str(signer.config), "--check", TROTH_SIGNER_DATABASE_URL="nonsense")
    assert (ended.returncode, len(ended.stdout.splitlines())) == (1, 3)
    ended = signer.run("--config", str(signer.config), "--check", TROTH_SIGNER_LISTEN="x", TROTH_SIGNER_WORKERS="0")
    assert (ended.returncode, len(ended.stdout.splitlines())) == (1, 2)


def test_started_from_gos_file_it_answers_both_protocols_at_the_one_address(signer: SignerProcess) -> None:
    signer.config = _write(signer, _go(signer))
    environment = {
        "TROTH_SIGNER_DATABASE_URL": signer.database_url,
        "NOTARY_SIGNER_PASSWORDALIAS1": "correct horse battery staple",
    }
    with signer.started_with(environment):
        keys = signer.open_store()
        key = keys.create(Gun("localhost:5000/library/app"), TIMESTAMP, "ecdsa")
        data = payload(TIMESTAMP)
        key.verify_signature(keys.sign(Gun("localhost:5000/library/app"), TIMESTAMP, key.keyid, data), data)
        with GrpcClient(signer, signer.client, signer.port) as client:
            assert client.call("/proto.KeyManagement/GetKeyInfo", field(1, key.keyid)).status == 0
    assert "server.client_ca_file: of its certificates only" in signer.log.read_text()
