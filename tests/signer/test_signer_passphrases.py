# SPDX-License-Identifier: Apache-2.0
"""Where passphrases come from, and what is not taken for one (NOTARY_V1 §4.2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from signer.passphrases import Passphrases
from trust.errors import SettingsError


def _file(folder: Path, alias: str, content: bytes, mode: int = 0o600) -> Path:
    path = folder / alias
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("content", "expected"), [(b"secret\n", "secret"), (b" two words \r\n", " two words ")])
def test_a_passphrase_is_its_file_without_the_end_of_line(tmp_path: Path, content: bytes, expected: str) -> None:
    _file(tmp_path, "default", content)
    assert Passphrases(tmp_path, {}).of("default") == expected


def test_the_environment_wins_under_the_go_signers_name(tmp_path: Path) -> None:
    _file(tmp_path, "new-2", b"from the file")
    passphrases = Passphrases(tmp_path, {"NOTARY_SIGNER_NEW-2": "from the environment", "NOTARY_SIGNER_NEW": "no"})
    assert passphrases.of("new-2") == "from the environment"
    assert Passphrases(None, {"NOTARY_SIGNER_OLD": "x"}).of("old") == "x"


def test_an_empty_variable_is_an_error_and_not_the_file(tmp_path: Path) -> None:
    _file(tmp_path, "default", b"from the file")
    with pytest.raises(SettingsError, match="NOTARY_SIGNER_DEFAULT is empty"):
        Passphrases(tmp_path, {"NOTARY_SIGNER_DEFAULT": ""}).of("default")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o777, 0o610])
def test_a_file_that_others_can_touch_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    """T28."""
    path = _file(tmp_path, "default", b"secret", mode)
    with pytest.raises(SettingsError, match="mode 0600") as caught:
        Passphrases(tmp_path, {}).of("default")
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\n", b"\xff\xfesecret", b"s" * 5000])
def test_a_file_without_a_usable_passphrase_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    _file(tmp_path, "default", content)
    with pytest.raises(SettingsError) as caught:
        Passphrases(tmp_path, {}).of("default")
    assert "sss" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)  # reading it would wait for ever
    for alias in ("folder", "pipe"):
        with pytest.raises(SettingsError, match="not a regular file"):
            Passphrases(tmp_path, {}).of(alias)


def test_a_missing_file_and_a_missing_folder_say_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="or set NOTARY_SIGNER_OLD"):
        Passphrases(tmp_path, {}).of("old")
    with pytest.raises(SettingsError, match="set passphrase_folder, or NOTARY_SIGNER_OLD"):
        Passphrases(None, {}).of("old")


@pytest.mark.parametrize("alias", ["", "..", "../x", "/etc/passwd", "a/b", "a\0b", ".hidden", "a b", "x" * 51])
def test_an_alias_from_a_database_cannot_leave_the_folder(tmp_path: Path, alias: str) -> None:
    with pytest.raises(SettingsError, match="cannot be the alias"):
        Passphrases(tmp_path, {}).of(alias)
