# SPDX-License-Identifier: Apache-2.0
"""How `troth-signer` starts, and when it does not."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signerprocess import SignerProcess
from trust.names import TIMESTAMP, Gun

_ROOT = Path(__file__).parent.parent.parent
_PR_GET_DUMPABLE = 3


@pytest.fixture
def signer(tmp_path: Path) -> SignerProcess:
    return SignerProcess(tmp_path)


def _complaint(signer: SignerProcess, **environment: str) -> str:
    """The one line with which the signer refuses to start."""
    ended = signer.run("--config", str(signer.config), **environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("troth-signer: ")
    return line


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "client_ca"])
def test_it_does_not_start_without_tls_material(signer: SignerProcess, name: str) -> None:
    settings = [line for line in signer.config.read_text().splitlines() if not line.startswith(name)]
    signer.config.write_text("\n".join(settings))
    assert f"{name} is missing" in _complaint(signer)
    missing = signer.folder / "missing.pem"
    assert f"{name}: there is no file {missing}" in _complaint(
        signer, **{f"TROTH_SIGNER_{name.upper()}": str(missing)}
    )


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "client_ca"])
def test_it_does_not_start_with_tls_material_that_is_none(signer: SignerProcess, name: str) -> None:
    broken = signer.folder / "broken.pem"
    broken.write_text("-----BEGIN NONSENSE-----\n")
    assert "cannot be used" in _complaint(signer, **{f"TROTH_SIGNER_{name.upper()}": str(broken)})


def test_it_does_not_start_without_the_passphrase_for_new_keys(signer: SignerProcess) -> None:
    assert "or set NOTARY_SIGNER_OTHER" in _complaint(signer, TROTH_SIGNER_DEFAULT_ALIAS="other")
    signer.passphrase_file.chmod(0o640)
    assert f"{signer.passphrase_file} can be read by others" in _complaint(signer)
    assert "NOTARY_SIGNER_DEFAULT is empty" in _complaint(signer, NOTARY_SIGNER_DEFAULT="")


def test_it_does_not_start_when_nobody_is_let_in(signer: SignerProcess) -> None:
    assert "nobody is" in _complaint(signer, TROTH_SIGNER_CLIENTS="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", "0"),
        ("cached_keys", "-1"),
        ("log_level", "loud"),
        ("timestamp_max_days", "99999"),
        ("listen", ""),
        ("listen", ":4444"),
        ("listen", "unix:/x"),
    ],
)
def test_it_does_not_start_with_settings_that_make_no_sense(signer: SignerProcess, name: str, value: str) -> None:
    assert name in _complaint(signer, **{f"TROTH_SIGNER_{name.upper()}": value})


def test_it_does_not_start_on_a_database_that_it_cannot_write(signer: SignerProcess) -> None:
    url = f"sqlite:///{signer.folder}/missing/signer.db"
    assert "the database cannot be used" in _complaint(signer, TROTH_SIGNER_DATABASE_URL=url)


def test_it_tells_its_version(signer: SignerProcess) -> None:
    for option in ("--version", "-version"):  # NOTARY_V1 §4.3, the flags
        ended = signer.run(option)
        assert (ended.returncode, ended.stdout.split()[0]) == (0, "troth-signer")


def test_debuggers_of_its_user_are_kept_out() -> None:
    # NOTARY_V1 §4.2, the end
    # Asked within the process itself: as root, nothing outside shows the difference.
    code = "import ctypes; from signer.app import _close_memory; g = ctypes.CDLL(None).prctl\n"
    code += f"print(g({_PR_GET_DUMPABLE})); _close_memory(); print(g({_PR_GET_DUMPABLE}))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1", "0"]


def workers(signer: SignerProcess, count: int) -> list[str]:
    """The process IDs of all its workers; the first may answer before the last is there."""
    deadline = time.monotonic() + 20
    while True:
        children = Path(f"/proc/{signer.pid}/task/{signer.pid}/children").read_text().split()
        if len(children) == count:
            return children
        assert time.monotonic() < deadline, f"{len(children)} workers instead of {count}"
        time.sleep(0.05)


def test_its_memory_and_its_database_are_closed_to_others(signer: SignerProcess) -> None:
    with signer:
        signer.open_store().create(Gun("localhost:5000/library/app"), TIMESTAMP, "ecdsa")
        for pid in (str(signer.pid), *workers(signer, 2)):
            limits = Path(f"/proc/{pid}/limits").read_text()
            (core,) = (line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
            assert core[4:6] == ["0", "0"]
        mode = (signer.folder / "signer.db").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600


def test_no_secret_is_logged_or_on_the_command_line(tmp_path: Path) -> None:
    """T28."""
    with SignerProcess(tmp_path, forked=False) as signer:
        signer.open_store().create(Gun("localhost:5000/library/app"), TIMESTAMP, "ecdsa")
        command = Path(f"/proc/{signer.pid}/cmdline").read_bytes()
    assert str(signer.config).encode() in command  # it is the signer's own
    log = signer.log.read_text()
    assert "is given to 'notary-server'" in log
    for secret in ("correct horse", "PRIVATE KEY"):
        assert secret not in log
        assert secret.encode() not in command
