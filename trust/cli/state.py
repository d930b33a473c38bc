# SPDX-License-Identifier: Apache-2.0
"""The state folder of `troth up`: made when it is missing, found again at every later start.

    ca/ tls/ tokens/                certificates (see `trust.cli.certs`)
    passphrases/default             what notary-signer's keys are sealed under
    admin-password                  the first password of the administrator `admin`
    {signer,server,registry}.toml   the services' settings, written anew at each start
    {signer,server,registry}.db     their databases; content/ the registry's blobs

The rules:
* one `troth up` uses a folder at a time; its services hold on to the lock too, so that nothing starts beside the
  remains of a run that was killed;
* a secret is in a file with mode 0600 from its first moment;
* what cannot be made again is never made again: a passphrase that is missing beside the database that needs it is
  an error.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trust.ca import write_file
from trust.cli import certs
from trust.cli.address import Address
from trust.errors import ConflictError, SettingsError

_LINGER = 30.0  # seconds; the services give their last requests 20


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three services are found."""

    registry: Address
    server: Address
    signer: Address


class State:
    """The folder, locked for this process and those that inherit `lock`.

    Args:
        folder: made if missing.

    Raises:
        ConflictError: another `troth up` uses it.
        SettingsError: it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        # An absolute path: it goes into the services' settings, and is printed for pasting elsewhere.
        self.folder = folder.absolute()
        if "?" in str(self.folder):
            raise SettingsError(f"the state folder {self.folder} must not have a ? in its path")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            _lock(self.lock, self.folder)
        except OSError as error:
            raise _unusable(self.folder, error) from error

    @property
    def authority(self) -> Path:
        """The certificate that clients must know."""
        return self.folder / "ca/ca.crt"

    @property
    def password(self) -> Path:
        """The administrator's first password; the file may be gone."""
        return self.folder / "admin-password"

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.lock)

    def prepare(self, addresses: Addresses, hosts: list[str], now: datetime) -> None:
        """Make what is missing, renew what is near its end, and write the services' settings.

        Args:
            addresses: where the services will be.
            hosts: the names and IP addresses that their certificates must carry.
            now: the time.

        Raises:
            SettingsError: a part is missing that cannot be made again, or the folder cannot be written.
            InvalidError: one of `hosts` is neither a DNS name nor an IP address.
        """
        try:
            certs.prepare(self.folder, hosts, now)
            passphrases = self.folder / "passphrases"
            passphrases.mkdir(mode=0o700, exist_ok=True)
            if not (passphrases / "default").exists():
                self._passphrase(passphrases / "default", self.folder / "signer.db")
            # The registry reads the file once, to make the administrator; later it may be removed.
            if not self.password.exists() and not (self.folder / "registry.db").exists():
                write_file(self.password, secrets.token_urlsafe(18).encode() + b"\n", mode=0o600)
            (self.folder / "content").mkdir(mode=0o700, exist_ok=True)
            for service, settings in self._settings(addresses, hosts).items():
                write_file(self.folder / f"{service}.toml", _toml(service, settings), mode=0o644)
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def _passphrase(self, path: Path, database: Path) -> None:
        if database.exists():
            raise SettingsError(
                f"{database} is there, but {path}, which its keys are sealed under, is not: put it back"
            )
        write_file(path, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)

    def _settings(self, addresses: Addresses, hosts: list[str]) -> dict[str, dict[str, str | list[str]]]:
        names = [addresses.registry.host, *hosts]
        # Relative paths are relative to the settings' file, which is in this folder.
        tokens: dict[str, str | list[str]] = {
            # All names mean the same repositories; the first stands in the names of their trust collections.
            "hosts": list(dict.fromkeys(Address(host, addresses.registry.port).name for host in names)),
            "token_certificate": "tokens/token.crt",
            "token_realm": f"{addresses.registry.url}/auth/token",
        }
        return {
            "signer": self._common("signer", addresses.signer)
            | {"client_ca": "ca/ca.crt", "clients": [certs.CLIENT], "passphrase_folder": "passphrases"},
            "server": self._common("server", addresses.server)
            | {
                "signer_url": addresses.signer.url,
                "signer_ca": "ca/ca.crt",
                "signer_client_certificate": "tls/server-client.crt",
                "signer_client_key": "tls/server-client.key",
            }
            | tokens,
            "registry": self._common("registry", addresses.registry)
            | {
                "content_folder": "content",
                "notary_url": addresses.server.url,
                "notary_ca": "ca/ca.crt",
                "token_key": "tokens/token.key",
                "admin_password_file": "admin-password",
            }
            | tokens,
        }

    def _common(self, service: str, address: Address) -> dict[str, str | list[str]]:
        return {
            "listen": address.listen,
            "tls_certificate": f"tls/{service}.crt",
            "tls_key": f"tls/{service}.key",
            "database_url": f"sqlite:///{self.folder / service}.db",
        }


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + _LINGER
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if _holder_lives(descriptor) or time.monotonic() > deadline:
                raise ConflictError(
                    f"the state folder {folder} is in use by another `troth up`; stop that one, or choose another "
                    "folder with --state"
                ) from None
        # The holder was killed, and its services are ending.
        time.sleep(0.2)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder_lives(descriptor: int) -> bool:
    try:
        os.kill(int(os.pread(descriptor, 20, 0)), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def _unusable(folder: Path, error: OSError) -> SettingsError:
    where = ""
    with suppress(ValueError, TypeError):
        where = f" ({Path(os.fsdecode(error.filename)).relative_to(folder)})"
    return SettingsError(f"the state folder {folder} cannot be used: {error.strerror}{where}")


def _toml(service: str, settings: dict[str, str | list[str]]) -> bytes:
    head = (
        "# Written by `troth up` at each start: changes made here are lost.\n"
        f"# The environment wins over this file: TROTH_{service.upper()}_LISTEN=127.0.0.1:6000 sets `listen`.\n\n"
    )
    # A JSON string or list of strings is also TOML's.
    return (head + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())).encode()
