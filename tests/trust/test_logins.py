# SPDX-License-Identifier: Apache-2.0
"""Credentials are found where docker keeps them (NOTARY_V1 §5.2)."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from trust.cli.logins import Logins
from trust.errors import SettingsError


def configure(folder: Path, **config: object) -> Logins:
    (folder / "config.json").write_text(json.dumps(config))
    return Logins(folder)


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_without_a_configuration_there_is_no_login(tmp_path: Path) -> None:
    assert Logins(tmp_path).find("localhost:5000") is None


def test_a_login_is_found_by_its_host_alone(tmp_path: Path) -> None:
    auth = base64.b64encode(b"alice:pass:word").decode()
    logins = configure(
        tmp_path, auths={"localhost:5000": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}}
    )
    assert logins.find("localhost:5000") == ("alice", "pass:word")
    assert logins.find("docker.io") == ("alice", "pass:word")
    assert logins.find("localhost:500") is None


def test_an_identity_token_comes_as_such(tmp_path: Path) -> None:
    logins = configure(tmp_path, auths={"localhost:5000": {"auth": "", "identitytoken": "opaque"}})
    assert logins.find("localhost:5000") == ("<token>", "opaque")


@pytest.mark.parametrize("where", ["credsStore", "credHelpers"])
def test_a_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    helper(tmp_path, monkeypatch, 'read host; echo "{\\"Username\\":\\"$1\\",\\"Secret\\":\\"$host\\"}"')
    logins = configure(tmp_path, **{where: "test" if where == "credsStore" else {"localhost:5000": "test"}})
    assert logins.find("localhost:5000") == ("get", "localhost:5000")


def test_a_helper_that_has_nothing_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert configure(tmp_path, credsStore="test").find("localhost:5000") is None
    helper(tmp_path, monkeypatch, "echo locked; exit 1")
    with pytest.raises(SettingsError, match="status 1"):
        configure(tmp_path, credsStore="test").find("localhost:5000")
    for name in ("missing", "../../bin/sh"):
        with pytest.raises(SettingsError, match="not installed"):
            configure(tmp_path, credsStore=name).find("localhost:5000")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"auths": 1}', '{"auths": {"h": 1}}', '{"auths": {"h": {"auth": "?"}}}']
)
def test_a_broken_configuration_is_told_without_its_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SettingsError, match=r"config\.json"):
        Logins(tmp_path).find("h")
