# SPDX-License-Identifier: Apache-2.0
"""The passphrases that keys are sealed under, by alias.

Each sealed key names the alias of its passphrase.  The passphrase is the value of `NOTARY_SIGNER_<ALIAS>` as the Go
signer has it (NOTARY_V1 §4.2), else the content of the file named like the alias in the passphrase folder.  A file
must be the owner's alone.  No passphrase is ever logged, shown or put into an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from trust.errors import SettingsError
from trust.secretfile import read_secret

# It becomes a file's name and comes from a database.
_ALIAS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,49}")


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
            found, where = read_secret(path, "passphrase", hint=f"; or set {variable}"), str(path)
        else:
            raise SettingsError(f"the passphrase {alias!r} is missing: set passphrase_folder, or {variable}")
        if not found:
            raise SettingsError(f"the passphrase in {where} is empty")
        return found
