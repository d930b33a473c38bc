# SPDX-License-Identifier: Apache-2.0
"""Seal a private key under a passphrase, in the form of the Go signer's database (NOTARY_V1 §4.2).

A sealed key is a JWE in compact form:

    base64url(header) . base64url(wrapped key) . base64url(IV) . base64url(ciphertext) . base64url(tag)

* header: `{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2c":8192,"p2s":"…"}`, and it is authenticated;
* PBKDF2 with HMAC-SHA-256 makes a key of 16 bytes from the passphrase; it wraps a fresh key of 32 bytes;
* that key encrypts with AES-256-GCM: SEC1 DER for ecdsa, public, seed and public (96 bytes) for ed25519.

8192 rounds are few for a passphrase that a person made up; ours are random.  More would lock the Go signer out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from trust.errors import UnavailableError
from trust.keys import PrivateKey

KEYWRAP_ALGORITHM = "PBES2-HS256+A128KW"
ENCRYPTION_ALGORITHM = "A256GCM"

_ROUNDS = 8192
# Below is not worth the name; above, one row could keep a worker busy for a minute.
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 2_000_000
_SALT_BYTES, _IV_BYTES, _TAG_BYTES = 12, 12, 16


class SealError(UnavailableError):
    """A stored key cannot be opened: the wrong passphrase, or not the bytes that were stored."""


def seal(key: PrivateKey, passphrase: str) -> bytes:
    """`key` as a JWE under `passphrase`."""
    salt, iv, content_key = os.urandom(_SALT_BYTES), os.urandom(_IV_BYTES), AESGCM.generate_key(256)
    fields = {"alg": KEYWRAP_ALGORITHM, "enc": ENCRYPTION_ALGORITHM, "p2c": _ROUNDS, "p2s": _to_text(salt)}
    header = _to_text(json.dumps(fields, separators=(",", ":")).encode())
    wrapped = aes_key_wrap(_wrapping_key(passphrase, salt, _ROUNDS), content_key)
    encrypted = AESGCM(content_key).encrypt(iv, _plaintext(key), header.encode())
    parts = (wrapped, iv, encrypted[:-_TAG_BYTES], encrypted[-_TAG_BYTES:])
    return ".".join((header, *map(_to_text, parts))).encode()


def unseal(sealed: bytes, algorithm: str, passphrase: str) -> PrivateKey:
    """The key in the JWE `sealed`.

    Args:
        sealed: what `seal` or the Go signer wrote.
        algorithm: what the key must be: `ecdsa` or `ed25519`.
        passphrase: the passphrase of its alias.

    Raises:
        SealError: it cannot be opened, or holds something else.
    """
    try:
        header, *parts = sealed.decode("ascii").split(".")
        wrapped, iv, ciphertext, tag = map(_from_text, parts)
        salt, rounds = _read_header(_from_text(header))
        content_key = aes_key_unwrap(_wrapping_key(passphrase, salt, rounds), wrapped)
        if len(content_key) != 32 or len(iv) != _IV_BYTES or len(tag) != _TAG_BYTES:
            raise ValueError("a part of another length")
        plaintext = AESGCM(content_key).decrypt(iv, ciphertext + tag, header.encode())
    except (InvalidUnwrap, InvalidTag):
        raise SealError("a stored key cannot be opened: wrong passphrase, or tampered with") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The cause is left out: what it quotes is the key's.
        raise SealError("a stored key cannot be opened: it is not sealed in the form that is known here") from None
    return _from_plaintext(plaintext, algorithm)


def _read_header(encoded: bytes) -> tuple[bytes, int]:
    fields: dict[str, Any] = json.loads(encoded)
    salt, rounds = _from_text(fields.pop("p2s")), fields.pop("p2c")
    # Nothing else: a further member (zip, crit) would change what the parts mean.
    if fields != {"alg": KEYWRAP_ALGORITHM, "enc": ENCRYPTION_ALGORITHM}:
        raise ValueError("another algorithm")
    if type(rounds) is not int or not _MIN_ROUNDS <= rounds <= _MAX_ROUNDS or len(salt) < 8:
        raise ValueError("another number of rounds, or too short a salt")
    return salt, rounds


def _wrapping_key(passphrase: str, salt: bytes, rounds: int) -> bytes:
    salt = KEYWRAP_ALGORITHM.encode() + b"\0" + salt  # RFC 7518 §4.8.1.1
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, rounds, 16)


def _plaintext(key: PrivateKey) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,  # SEC1
            serialization.NoEncryption(),
        )
    assert isinstance(key, ed25519.Ed25519PrivateKey)  # no home makes RSA keys
    public = key.public_key().public_bytes_raw()
    return public + key.private_bytes_raw() + public


def _from_plaintext(plaintext: bytes, algorithm: str) -> PrivateKey:
    key: object = None
    try:
        if algorithm == "ecdsa":
            key = serialization.load_der_private_key(plaintext, password=None)
        elif algorithm == "ed25519" and len(plaintext) == 96:
            key = ed25519.Ed25519PrivateKey.from_private_bytes(plaintext[32:64])
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass  # said below, without the cause: it may quote the key
    if algorithm == "ecdsa" and isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey) and algorithm == "ed25519" and _plaintext(key) == plaintext:
        return key
    raise SealError("a stored key was opened, and is not of the kind that its row says")


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder skips foreign letters and loose bits; one text for one value keeps tampering visible.
    if _to_text(data) != text:
        raise binascii.Error("not base64url")
    return data
