# SPDX-License-Identifier: Apache-2.0
"""Credentials where docker keeps them: `config.json`, or a credential helper that it names.

Logins(Path("~/.docker").expanduser()).find("localhost:5000")
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from trust.errors import SettingsError
from trust.site import TOKEN_USER

_HUB = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9._-]+")


class Logins:
    """The logins of one docker configuration.

    Args:
        folder: `$DOCKER_CONFIG`, or `~/.docker`.

    Raises:
        SettingsError: its config.json cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "config.json"
        try:
            self._config: Any = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            self._config = {}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self._path} cannot be read") from error
        if not isinstance(self._config, dict):
            raise SettingsError(f"{self._path} is not docker's configuration")

    def find(self, host: str) -> tuple[str, str] | None:
        """User and password for a registry, or None; an identity token comes with the user `<token>`.

        Raises:
            SettingsError: the entry is malformed, or the helper that has it fails.
        """
        names = [_HUB] if host == "docker.io" else [host, f"https://{host}", f"https://{host}/v1/"]
        helpers = self._section("credHelpers")
        for name in names:
            if name in helpers:
                return self._ask(str(helpers[name]), name)
        if self._config.get("credsStore"):
            for name in names:
                found = self._ask(str(self._config["credsStore"]), name)
                if found is not None:
                    return found
        entries = self._section("auths")
        return next((self._decode(entries[name]) for name in names if entries.get(name)), None)

    def _section(self, name: str) -> dict[str, Any]:
        found = self._config.get(name) or {}
        if not isinstance(found, dict):
            raise SettingsError(f"{name} in {self._path} is malformed")
        return found

    def _decode(self, entry: Any) -> tuple[str, str] | None:
        try:
            if entry.get("identitytoken"):
                return TOKEN_USER, str(entry["identitytoken"])
            if not entry.get("auth"):
                return None
            user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (AttributeError, TypeError, ValueError, binascii.Error) as error:
            raise SettingsError(f"a login in {self._path} is malformed") from error
        return (user, password.rstrip("\0")) if colon else None

    def _ask(self, helper: str, name: str) -> tuple[str, str] | None:
        # A helper's name is a part of a program's: no path may hide in it.
        program = shutil.which(f"docker-credential-{helper}") if _HELPER.fullmatch(helper) else None
        if program is None:
            raise SettingsError(f"the credential helper docker-credential-{helper[:40]} is not installed")
        try:
            done = subprocess.run(  # noqa: S603  # what docker would run, too
                [program, "get"], input=name.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SettingsError(f"{program} cannot be run") from error
        if done.returncode != 0:
            if b"credentials not found" in done.stdout:
                return None
            raise SettingsError(f"{program} failed with status {done.returncode}")
        try:
            answer = json.loads(done.stdout)
            return str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{program} answered something else than credentials") from error
