# SPDX-License-Identifier: Apache-2.0
"""Starting: settings that do not go together, and files that are not there, are one sentence each (T27)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from notaryserver import NOW
from server.app import create_app, main, prepare
from server.settings import PREFIX, Settings
from trust.ca import Authority, new_authority
from trust.errors import SettingsError, UnavailableError
from trust.keystore import MemoryKeyStore
from trust.settings import load

NOT_USABLE = [
    ({"tls_certificate": Path("a")}, "tls_certificate and tls_key go together"),
    ({"tls_key": Path("a")}, "tls_certificate and tls_key go together"),
    ({"signer_client_key": Path("a")}, "signer_client_certificate and signer_client_key go together"),
    ({"token_certificate": Path("a")}, "token_realm must be the URL"),
    ({"listen": "4443"}, "listen must be host:port"),
    ({"log_level": "loud"}, "log_level must be one of"),
    ({"key_algorithm": "rsa"}, "key_algorithm must be one of ecdsa, ed25519"),
    ({"gun_prefixes": ("docker.io",)}, "must be a clean relative path"),
    ({"gun_prefixes": ("/docker.io/",)}, "must be a clean relative path"),
    ({"gun_prefixes": ("docker.io/../x/",)}, "must be a clean relative path"),
    ({"gun_prefixes": ("docker.io//",)}, "must be a clean relative path"),
    ({"max_parts": 0}, "max_parts must be at least 1"),
    ({"current_max_age": -1}, "current_max_age must be between 0 and 31536000"),
]


@pytest.mark.parametrize(("settings", "sentence"), NOT_USABLE)
def test_settings_that_do_not_go_together_are_refused(settings: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        Settings(database_url="sqlite://", **settings)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.metadata["help"] for field in fields(Settings))


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "TROTH_SERVER_DATABASE_URL": "sqlite://",
        "TROTH_SERVER_GUN_PREFIXES": "docker.io/,reg/",
        "TROTH_SERVER_MAX_PARTS": "7",
    }
    settings = load(Settings, prefix=PREFIX, environ=environ)
    assert (settings.gun_prefixes, settings.max_parts) == (("docker.io/", "reg/"), 7)


def test_t27_without_the_signers_certificates_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="signer_ca, signer_client_certificate and signer_client_key must be set"):
        create_app(Settings(database_url=f"sqlite:///{tmp_path / 'a.db'}"))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_t27_a_token_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    # "No auth" must be chosen; it never follows from a mistake.
    path = tmp_path / "token.crt"
    if content is not None:
        path.write_bytes(content)
    settings = Settings(database_url="sqlite://", token_certificate=path, token_realm="https://localhost/token")
    with pytest.raises(SettingsError):
        create_app(settings, keys=MemoryKeyStore())


def test_a_database_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="database"):
        prepare(Settings(database_url=f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'a.db'}"))


def write_config(folder: Path, **changes: str) -> Path:
    """A complete configuration, with certificates of a CA made for it."""
    authority = Authority(new_authority("test", NOW))
    pair = authority.issue("notary-server", ["localhost"], server=True, client=True, now=NOW)
    (folder / "ca.crt").write_bytes(new_authority("test", NOW).certificate_pem)
    (folder / "tls.crt").write_bytes(pair.certificate_pem)
    (folder / "tls.key").write_bytes(pair.key_pem)
    settings = {
        "listen": "127.0.0.1:0",
        "database_url": f"sqlite:///{folder / 'server.db'}",
        "signer_ca": "ca.crt",
        "signer_client_certificate": "tls.crt",
        "signer_client_key": "tls.key",
        "tls_certificate": "tls.crt",
        "tls_key": "tls.key",
        **changes,
    }
    path = folder / "server.toml"
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in settings.items()))
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tls_certificate": "missing.crt"}, "missing.crt or its key cannot be used"),
        ({"signer_ca": "missing.crt"}, "missing.crt cannot be used"),
        ({"signer_url": "http://localhost:4444"}, "must be https://host:port"),
        ({"bogus": "x"}, "unknown setting 'bogus'"),
        ({"max_parts": "many"}, "max_parts: must be of type int"),
    ],
)
def test_t27_what_is_wrong_is_one_sentence_and_status_one(
    tmp_path: Path, changes: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(write_config(tmp_path, **changes))]) == 1
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.startswith("troth-server: ")
    assert printed.count("\n") == 1


def test_a_missing_configuration_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 1
    assert "cannot read the settings" in capsys.readouterr().err


def test_importing_the_server_does_nothing(tmp_path: Path) -> None:
    code = "import server.app, sys; print(sorted(m for m in ('signer', 'registry') if m in sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []
