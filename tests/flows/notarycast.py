# SPDX-License-Identifier: Apache-2.0
"""Who takes part in the story of the notary client (notarystory.py), and their homes, keys and files."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from flows.clients import PASSPHRASE, Client, notary
from flows.sites import CONSUMER, DELEGATE, Site
from trust.cache import MemoryCache
from trust.changes import SetTarget
from trust.keyfolder import KeyFolder
from trust.keys import PrivateKey
from trust.names import TARGETS, Gun, RoleName
from trust.remote import NotaryServer
from trust.repository import Repository
from trust.rootcerts import certify

KEYS: dict[str, Callable[[], PrivateKey]] = {
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSA P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSA P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


@dataclass(frozen=True)
class Cast:
    """Who takes part.

    Attributes:
        gun: the collection that most is about.
        artifact: a file to sign.
    """

    site: Site
    folder: Path
    gun: str
    artifact: Path

    def person(
        self, name: str, user: str, *, other_address: bool = False, pinning: dict[str, object] | None = None
    ) -> Client:
        """A client with a home of its own."""
        stack = self.site.stack
        at_registry = (self.site.kind == "postgresql") != other_address
        url = stack.registry_url if at_registry else stack.server_url
        password = self.site.credentials(user)[1]
        config = {"trust_pinning": pinning} if pinning else None
        return notary(stack, self.folder / name, url, user=user, password=password, config=config)

    @property
    def publisher(self) -> Client:
        """The administrator's."""
        return self.person("publisher", "admin")

    @property
    def delegate(self) -> Client:
        """The delegate's."""
        return self.person("delegate", DELEGATE)

    def reader(self, name: str = "reader", pinning: dict[str, object] | None = None) -> Client:
        """A consumer's."""
        return self.person(name, CONSUMER, other_address=True, pinning=pinning)

    def listed(self, gun: str = "", *arguments: str, reader: str = "reader") -> dict[str, str]:
        """Names and roles that a reader finds."""
        said = self.reader(reader)("list", gun or self.gun, *arguments)
        return dict(re.findall(r"^(\S+) +[0-9a-f]{64} +\d+ +(\S+)$", said, re.MULTILINE))

    def version(self, role: str, reader: str = "reader") -> int:
        """The version of a role that a reader has kept."""
        path = self.folder / reader / ".notary/tuf" / self.gun / f"metadata/{role}.json"
        version: int = json.loads(path.read_bytes())["signed"]["version"]
        return version

    def library(self, gun: str, clock: Callable[[], datetime]) -> Repository:
        """The same collection in the hands of our library, with the publisher's keys."""
        stack = self.site.stack
        server = NotaryServer(stack.server_url, ca=[stack.ca], credentials=self.site.credentials("admin"))
        return Repository(Gun(gun), server, self.keys("publisher"), MemoryCache(), clock=clock)

    def keys(self, person: str) -> KeyFolder:
        """Somebody's key folder."""
        return KeyFolder(self.folder / person / ".notary", lambda _: PASSPHRASE)


def version() -> str:
    """The client's version, which is the Debian package's: the program does not know its own."""
    query = ["dpkg-query", "--show", "--showformat=${Version}", "notary"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def target(cast: Cast, name: str) -> SetTarget:
    """The artifact as a target of `targets`."""
    data = cast.artifact.read_bytes()
    return SetTarget(TARGETS, name, {"sha256": hashlib.sha256(data).hexdigest()}, len(data))


def leaf(role: RoleName) -> str:
    """The last part of a role's name."""
    return role.rpartition("/")[2]


def certificate(folder: Path, role: RoleName, key: PrivateKey) -> Path:
    """A file with a certificate of the key."""
    path = folder / f"{role.replace('/', '-')}.crt"
    (made,) = certify(key, Gun(role), now()).certificates
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def private_key(folder: Path, role: RoleName, key: PrivateKey) -> Path:
    """A file with the key, as OpenSSL writes it."""
    path = folder / f"{role.replace('/', '-')}.key"
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return path
