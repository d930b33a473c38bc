# SPDX-License-Identifier: Apache-2.0
"""The signer's keys on a PKCS#11 token: made there, named after their role and GUN, and never seen outside.

    home = TokenHome(module, "troth", pin_file)
    key, where = home.make(gun, TIMESTAMP, "ecdsa")      # `where` is what the vault's row keeps
    NotarySigner(home.open(where, key.public_key)).sign(payload)

A row names the token as well as the key, so that a key is never looked for on another token.
"""

from __future__ import annotations

from pathlib import Path

from trust.errors import InvalidError, SettingsError, UnavailableError
from trust.keys import NotaryKey, PrivateKey, PublicKey, public_key_of
from trust.keyuri import TokenUri
from trust.names import Gun, RoleName
from trust.pkcs11 import Token
from trust.secretfile import read_secret

#: Stands where a row of a sealed key names the algorithms.
ON_TOKEN = "pkcs11"  # noqa: S105  # no password


class TokenHome:
    """A token of the signer's own.

    Args:
        module: its PKCS#11 module.
        label: its label.
        pin_file: holds its user PIN; read whenever the token is opened.
    """

    def __init__(self, module: Path, label: str, pin_file: Path) -> None:
        self._label = label
        self._pin_file = pin_file
        self._token = Token(module, label, self._pin)

    def make(self, gun: Gun, role: RoleName, algorithm: str) -> tuple[NotaryKey, bytes]:
        """A new key, and where it is.

        Raises:
            InvalidError: the token makes no such keys.
            UnavailableError: the token does not answer.
        """
        label = f"{role} {gun}"
        key_id, key = self._token.generate(label, algorithm)
        return public_key_of(key), str(TokenUri(self._label, object=label, id=key_id)).encode()

    def open(self, where: bytes, public: PublicKey) -> PrivateKey:
        """The key there; the token is not asked before it signs.

        Raises:
            UnavailableError: it is not on this token.
        """
        return self._token.key(key_id=self._id(where), public=public)

    def check(self, where: bytes = b"") -> None:
        """Whether the token can be used now, and holds the key there, if one is named.

        Raises:
            UnavailableError: not so.
        """
        self._token.check(self._id(where) if where else b"")

    def _id(self, where: bytes) -> bytes:
        try:
            uri = TokenUri.parse(where.decode())
        except (InvalidError, UnicodeDecodeError) as error:
            raise UnavailableError("a stored key does not say where it is") from error
        if uri.token != self._label or not uri.id:
            raise UnavailableError(f"a stored key is on the token {uri.token!r}, not on {self._label!r}")
        return uri.id

    def _pin(self) -> str:
        try:
            return read_secret(self._pin_file, "PIN")
        except SettingsError as error:
            # The operator's fault, and not the client's, as a SettingsError would be on the wire.
            raise UnavailableError(error.message) from error
