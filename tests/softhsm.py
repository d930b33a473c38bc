# SPDX-License-Identifier: Apache-2.0
"""SoftHSM, Debian's PKCS#11 token in software, with tokens of the tests' own.

    token = softhsm.token("alice")
    token.uri("release")                # of the key with this label
    with token.away():                  # somebody has pulled it out
        …

There is one folder of tokens for all tests of a process, in memory, since SoftHSM makes sure of every file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from trust.keyuri import TokenUri
from trust.pkcs11 import Token

UTIL = Path("/usr/bin/softhsm2-util")
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
CONFIGURATION = "SOFTHSM2_CONF"
PIN = "not-hex-2468"  # in no digest that a log may hold


class SoftToken:
    """A token.

    Args:
        label: its label.
        folder: where all tokens are.
        pin_file: holds its PIN.
    """

    def __init__(self, label: str, folder: Path, pin_file: Path) -> None:
        self.label = label
        self.pin_file = pin_file
        self._folder = folder

    def open(self) -> Token:
        """The token, as the library opens it."""
        return Token(MODULE, self.label, self.pin_file.read_text)

    def uri(self, label: str, *, pin_file: bool = True) -> str:
        """The URI of the key that is called `label`."""
        return str(TokenUri(self.label, object=label, module=MODULE, pin_file=self.pin_file if pin_file else None))

    @contextmanager
    def away(self) -> Iterator[None]:
        """All tokens are gone for a while."""
        elsewhere = self._folder.with_name("elsewhere")
        self._folder.rename(elsewhere)
        try:
            yield
        finally:
            elsewhere.rename(self._folder)


class SoftHsm:
    """All tokens of this process.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokens = folder / "tokens"
        self._tokens.mkdir()
        self._numbers = count(1)
        self.configuration = folder / "softhsm2.conf"
        self.configuration.write_text(f"directories.tokendir = {self._tokens}\nlog.level = ERROR\n")

    def token(self, name: str = "token") -> SoftToken:
        """A new token."""
        label = f"{name}-{next(self._numbers)}"
        pin_file = self._folder / f"{label}.pin"
        pin_file.touch(mode=0o600)
        pin_file.write_text(PIN)
        subprocess.run(
            [UTIL, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "13579"],
            check=True, capture_output=True,
        )  # fmt: skip
        return SoftToken(label, self._tokens, pin_file)


@pytest.fixture(scope="session")
def softhsm() -> Iterator[SoftHsm]:
    """SoftHSM; for tests that are marked with `client("softhsm2")`."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="troth-softhsm-", dir=memory if memory.is_dir() else None))
    before = os.environ.get(CONFIGURATION)
    try:
        found = SoftHsm(folder)
        os.environ[CONFIGURATION] = str(found.configuration)
        yield found
    finally:
        if before is None:
            os.environ.pop(CONFIGURATION, None)
        else:
            os.environ[CONFIGURATION] = before
        shutil.rmtree(folder)
