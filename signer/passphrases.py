# SPDX-License-Identifier: Apache-2.0
"""The passphrases that keys are sealed under, by alias.

Each sealed key names the alias of its passphrase.  The passphrase is the value of `NOTARY_SIGNER_<ALIAS>` as the Go
signer has it (NOTARY_V1 §4.2), else the content of the file named like the alias in the passphrase folder.  A file
must be the owner's alone.  No passphrase is ever logged, shown or put into an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from trust.errors import SettingsError

# It becomes a file's name and comes from a database.
_ALIAS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,49}")
_MAX_BYTES = 4096


class Passphrases:
    """Looks passphrases up each time, so that one which was put back is found without a restart.

    Args:
        folder: where the files are, or None.
        environ: the environment.
    """

    def __init__(self, folder: Path | None, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ

    def of(self, alias: str) -> str:
        """The passphrase called `alias`.

        Raises:
            SettingsError: there is none, it is empty, or others can read its file.
        """
        if not _ALIAS.fullmatch(alias):
            raise SettingsError(f"{alias[:60]!r} cannot be the alias of a passphrase")
        variable = f"NOTARY_SIGNER_{alias.upper()}"
        if variable in self._environ:
            found, where = self._environ[variable], variable
        elif self._folder is not None:
            path = self._folder / alias
            found, where = _read(path, variable), str(path)
        else:
            raise SettingsError(f"the passphrase {alias!r} is missing: set passphrase_folder, or {variable}")
        if not found:
            raise SettingsError(f"the passphrase in {where} is empty")
        return found


def _read(path: Path, variable: str) -> str:
    try:
        # A pipe must not make the start hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"the passphrase {path} cannot be read: {error.strerror}; or set {variable}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"the passphrase {path} is not a regular file")
        if status.st_mode & 0o077:
            raise SettingsError(f"the passphrase {path} can be read by others: it must have mode 0600")
        content = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise SettingsError(f"the passphrase {path} is longer than {_MAX_BYTES} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(f"the passphrase {path} is not UTF-8 text") from None  # the cause would show it
