# SPDX-License-Identifier: Apache-2.0
"""What commands need from their options: logins and CAs; for trust data also servers, keys and kept metadata.

The defaults are docker's: its trust folder, its logins, its variables, its rule for where the trust server is.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from trust.cache import FileCache
from trust.cli.logins import Logins
from trust.errors import SettingsError
from trust.images import Image
from trust.keyfolder import KeyFolder
from trust.keyuri import AskPin
from trust.names import Gun
from trust.oci import Registry
from trust.passphrases import Passphrases, first_of, from_environment, from_file, from_person
from trust.pins import Pins
from trust.reader import Reader
from trust.remote import NotaryServer
from trust.repository import Repository


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that use the key folder."""
    parser.add_argument(
        "--trust-dir", type=Path, metavar="DIR", help="keys and kept metadata (default: docker's, ~/.docker/trust)"
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="its first line opens all keys (default: docker's or notary's variables, else a prompt)",
    )


def add_server_options(parser: argparse.ArgumentParser, *, server: str = "--server") -> None:
    """The options of commands that ask a server; `server` names the one for its address."""
    add_folder_options(parser)
    parser.add_argument(
        server,
        dest="server",
        metavar="URL",
        help="the notary server (default: DOCKER_CONTENT_TRUST_SERVER, else the image's host)",
    )
    parser.add_argument(
        "--root-key", action="append", default=[], metavar="ID", help="believe this root key only; can be repeated"
    )
    add_login_options(parser)


def add_login_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that log in somewhere."""
    parser.add_argument("--tlscacert", type=Path, metavar="FILE", help="CA of the servers' certificates")
    parser.add_argument("--username", metavar="NAME", help="user (default: docker's login)")
    parser.add_argument("--password-stdin", action="store_true", help="read the user's password from standard input")


class Access:
    """Logins and CAs, from the options or where docker has them.

    Args:
        options: parsed with `add_login_options`.

    Raises:
        SettingsError: they do not go together.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        self.given = self._given_login()

    def login(self, host: str) -> tuple[str, str] | None:
        """User and password for a registry."""
        return self.given or Logins(self._docker).find(host)

    def authorities(self, host: str) -> list[Path]:
        """The CAs that a host's certificate may come from; none: the system's."""
        if self._options.tlscacert:
            return [self._options.tlscacert]
        return sorted((self._docker / "tls" / host).glob("*.crt"))  # where docker looks (NOTARY_V1 §5.2)

    def _given_login(self) -> tuple[str, str] | None:
        user = getattr(self._options, "username", None)
        if getattr(self._options, "password_stdin", False) != bool(user):
            raise SettingsError("--username and --password-stdin go together")
        return (user, sys.stdin.readline().rstrip("\r\n")) if user else None


class Session(Access):
    """One command's run.

    Args:
        options: parsed with the options above.

    Raises:
        SettingsError: they do not go together, or name files that cannot be read.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.folder: Path = options.trust_dir or self._docker / "trust"
        self.keys = KeyFolder(self.folder, self._passphrases(), ask_pin=self.ask_pin)
        self.cache = FileCache(self.folder)

    @property
    def ask_pin(self) -> AskPin | None:
        """Asks for the PIN of a token, if there is a person to ask."""
        return (lambda token: _prompt(f"PIN of the token {token}: ")) if sys.stdin.isatty() else None

    def server(self, gun: Gun) -> NotaryServer:
        """The notary server of a collection."""
        image = Image.parse(gun)
        url = self._options.server or os.environ.get("DOCKER_CONTENT_TRUST_SERVER") or image.server_url
        return NotaryServer(url, ca=self.authorities(image.host), credentials=self.login(image.host))

    def registry(self, image: Image) -> Registry:
        """The registry of an image."""
        return Registry(image.registry_url, ca=self.authorities(image.host), credentials=self.login(image.host))

    def reader(self, gun: Gun) -> Reader:
        """Reads and verifies a collection."""
        return Reader(gun, self.server(gun), self.cache, pins=self._pins(gun))

    def repository(self, gun: Gun) -> Repository:
        """Publishes to a collection."""
        return Repository(gun, self.server(gun), self.keys, self.cache, pins=self._pins(gun))

    def _pins(self, gun: Gun) -> Pins:
        keys = tuple(self._options.root_key)
        return Pins(certs={gun: keys}) if keys else Pins()

    def _passphrases(self) -> Passphrases:
        if self._options.passphrase_file:
            return from_file(self._options.passphrase_file)
        variables = from_environment(os.environ)
        return first_of(variables, from_person(_prompt)) if sys.stdin.isatty() else variables


def _prompt(text: str) -> str:
    try:
        return getpass.getpass(text)
    except EOFError as error:
        raise SettingsError("there is nobody to give the passphrase or PIN") from error
