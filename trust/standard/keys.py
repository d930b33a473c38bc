# SPDX-License-Identifier: Apache-2.0
"""One key, two names: TUF 1.0's key with its scheme, and Notary's, after which the key folder files it.

The edits of trust.changes know Notary's keys.  So a payload is edited with those (`KeyNames.to_notary`) and gets the
standard's keys back before it is signed (`KeyNames.to_standard`): the ones that it had, or new ones in the default
scheme of their kind.  Keys of other kinds than Notary's (Sigstore, GPG, ML-DSA, …) are left as they are.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Delegations, Role, Root

from trust.errors import FormatError, InvalidError
from trust.keys import NotaryKey, PublicKey

_DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def standard_key(key: NotaryKey) -> SSlibKey:
    """`key` as TUF 1.0 writes it: ed25519, ecdsa-sha2-nistp… by its curve, or rsassa-pss-sha256.

    Raises:
        InvalidError: it is a certificate, or of a kind or curve that TUF 1.0 does not have.
    """
    if key.keytype.endswith("-x509"):
        raise InvalidError(f"{key.keyid[:7]} is a certificate: TUF 1.0 wants the bare key")
    try:
        return SSlibKey.from_crypto(key.public_key)
    except (ValueError, FormatError) as error:
        raise InvalidError(f"the key {key.keyid[:7]} cannot be one of TUF 1.0: {error}") from error


def notary_key(key: Key) -> NotaryKey | None:
    """`key` as Notary names it; None where Notary has no such keys."""
    public = _public(key)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return NotaryKey.from_public("ed25519", public.public_bytes_raw())
    if isinstance(public, rsa.RSAPublicKey):
        return NotaryKey.from_public("rsa", public.public_bytes(*_DER))
    if isinstance(public, ec.EllipticCurvePublicKey):
        return NotaryKey.from_public("ecdsa", public.public_bytes(*_DER))
    return None


class KeyNames:
    """Translates the keys of payloads, and remembers how they were written."""

    def __init__(self) -> None:
        self._written: dict[str, Key] = {}

    def to_notary(self, payload: Root | Delegations) -> None:
        """Give `payload` Notary's keys."""
        names: dict[str, str] = {}
        keys: dict[str, Key] = {}
        for keyid, key in payload.keys.items():
            known = notary_key(key)
            # A key that is listed twice stays twice: to count it once is not for an editor to decide.
            if known is None or known.keyid in keys or self._written.get(known.keyid, key) != key:
                keys[keyid] = key
                continue
            self._written[known.keyid] = key
            names[keyid] = known.keyid
            keys[known.keyid] = known
        _rename(payload, keys, names)

    def to_standard(self, payload: Root | Delegations) -> None:
        """Give `payload` the standard's keys, and none that no role names.

        Raises:
            InvalidError: one cannot be a key of TUF 1.0.
        """
        named = {keyid for role in _roles(payload) for keyid in role.keyids}
        names: dict[str, str] = {}
        keys: dict[str, Key] = {}
        for keyid, key in payload.keys.items():
            if keyid not in named:
                continue
            written = self.written(key)
            names[keyid] = written.keyid
            keys[written.keyid] = written
        _rename(payload, keys, names)

    def written(self, key: Key) -> Key:
        """`key` as the repository writes it, or will.

        Raises:
            InvalidError: it cannot be a key of TUF 1.0.
        """
        if not isinstance(key, NotaryKey):
            return key
        return self._written.get(key.keyid) or standard_key(key)


def _public(key: Key) -> PublicKey | None:
    public = key.keyval.get("public")
    if not isinstance(key, SSlibKey) or not isinstance(public, str):
        return None
    try:
        if key.keytype == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        loaded = serialization.load_pem_public_key(public.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return loaded if isinstance(loaded, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else None


def _roles(payload: Root | Delegations) -> list[Role]:
    if isinstance(payload, Delegations) and payload.succinct_roles is not None:
        return [payload.succinct_roles]
    return list((payload.roles or {}).values())


def _rename(payload: Root | Delegations, keys: dict[str, Key], names: dict[str, str]) -> None:
    payload.keys = keys
    for role in _roles(payload):
        role.keyids = [names.get(keyid, keyid) for keyid in role.keyids]
