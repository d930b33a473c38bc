# SPDX-License-Identifier: Apache-2.0
"""A secret in a file of its own: a passphrase, or the PIN of a token.

The file must be a regular one and its owner's alone.  What it holds never gets into an error.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trust.errors import SettingsError

_MAX_BYTES = 4096


def read_secret(path: Path, what: str, *, hint: str = "") -> str:
    """The content of `path`, without the end of its line.

    Args:
        path: the file.
        what: what it holds, for errors: `passphrase`, `PIN`.
        hint: what else can be done where it cannot be read, for the error.

    Raises:
        SettingsError: it cannot be read, is too long, is no text, or others can read it.
    """
    try:
        # A pipe must not make the start hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"the {what} {path} cannot be read: {error.strerror}{hint}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"the {what} {path} is not a regular file")
        if status.st_mode & 0o077:
            raise SettingsError(f"the {what} {path} can be read by others: it must have mode 0600")
        content = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise SettingsError(f"the {what} {path} is longer than {_MAX_BYTES} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(f"the {what} {path} is not UTF-8 text") from None  # the cause would show it
