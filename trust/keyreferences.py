# SPDX-License-Identifier: Apache-2.0
"""Keys of a key folder that are somewhere else: in hardware, or in a cloud's key management.

    references = KeyReferences(Path("~/.docker/trust").expanduser())
    references.add(KeyReference(uri, public, role="alice"))

One file a key, `hardware/<canonical ID>.json`: where the key is, its public half and whose it is, and no secret.
docker and notary look into `private` alone, and so take no notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from trust.ca import write_file
from trust.errors import InvalidError, UnavailableError
from trust.keys import PublicKey, bare_key

_MEMBERS = {"uri", "public", "role", "gun"}


@dataclass(frozen=True, slots=True)
class KeyReference:
    """Where a key is.

    Attributes:
        uri: opens it (trust.keyuri).
        public: its public half.
        role: the role, or the signer's name.
        gun: the collection it is for; empty for root and signers' keys.
    """

    uri: str
    public: PublicKey
    role: str
    gun: str = ""

    @property
    def key_id(self) -> str:
        """The canonical ID."""
        return bare_key(self.public).canonical_id

    @classmethod
    def from_json(cls, data: bytes) -> KeyReference:
        """Read it.

        Raises:
            InvalidError: it is none.
        """
        try:
            value = json.loads(data)
            if not isinstance(value, dict) or value.keys() != _MEMBERS:
                raise ValueError
            uri, pem, role, gun = (value[name] for name in ("uri", "public", "role", "gun"))
            if not all(isinstance(each, str) for each in (uri, pem, role, gun)):
                raise ValueError
            public = serialization.load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidError("this is no reference to a key") from error
        if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
            raise InvalidError("the key that is referred to is of a kind that Notary does not know")
        return cls(uri, public, role, gun)

    def to_json(self) -> bytes:
        """The content of its file."""
        pem = self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        value = {"uri": self.uri, "public": pem.decode(), "role": self.role, "gun": self.gun}
        return json.dumps(value, indent=2).encode() + b"\n"


class KeyReferences:
    """The references below a trust folder.

    Args:
        folder: such as `~/.docker/trust`.
    """

    def __init__(self, folder: Path) -> None:
        self._trust = folder
        self._folder = folder / "hardware"

    def __iter__(self) -> Iterator[tuple[Path, KeyReference]]:
        """All, with their files.

        Raises:
            UnavailableError: they cannot be read.
        """
        try:
            found = [(path, path.read_bytes()) for path in sorted(self._folder.glob("*.json"))]
        except OSError as error:
            raise UnavailableError(f"the keys in {self._folder} cannot be read: {error.strerror}") from error
        for path, data in found:
            try:
                reference = KeyReference.from_json(data)
            except InvalidError:
                continue  # whatever its name: there is nothing to sign with
            if path.stem == reference.key_id:
                yield path, reference

    def add(self, reference: KeyReference) -> Path:
        """Keep `reference`; returns its file.

        Raises:
            UnavailableError: it cannot be written.
        """
        path = self._folder / f"{reference.key_id}.json"
        try:
            for folder in (self._trust, self._folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Nobody else may say from where a module is loaded.
            write_file(path, reference.to_json(), mode=0o600)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
        return path
