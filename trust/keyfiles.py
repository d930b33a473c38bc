# SPDX-License-Identifier: Apache-2.0
"""Private keys in files, as docker and notary read and write them (NOTARY_V1 §6.1).

A key file is PEM with headers that say whose key it is:

    -----BEGIN ENCRYPTED PRIVATE KEY-----
    gun: localhost:5000/library/app
    role: targets

    MIHuMEkGCSqGSIb3DQEFDTA8…

    file = parse(path.read_bytes())
    file.role, file.gun, file.is_encrypted
    key = file.open(passphrase)
    path.write_bytes(seal(key, passphrase, role="targets", gun=gun))

Read are PKCS #8, encrypted (PBES2) or not, in the Go programs' own variants too: elliptic curve keys of version 1,
Ed25519 keys under Notary's own OID.  So are the older `EC`, `RSA` and `ED25519 PRIVATE KEY`, encrypted by RFC 1421
or not.  Written is what both old and new Go programs read: PBKDF2 with HMAC-SHA1, named by leaving it out, and
AES-256 in CBC.  That is weak by today's measure (2048 rounds); the passphrase must be strong, or the disk
encrypted.

Pure: bytes in, bytes out.  No error ever holds a passphrase or a piece of a key.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from trust import der
from trust.errors import InvalidError
from trust.keys import MIN_RSA_BITS, PrivateKey
from trust.pem import blocks, write

_PBES2, _PBKDF2 = der.oid("1.2.840.113549.1.5.13"), der.oid("1.2.840.113549.1.5.12")
_AES_CBC = {
    der.oid("2.16.840.1.101.3.4.1.2"): 16, der.oid("2.16.840.1.101.3.4.1.22"): 24,
    der.oid("2.16.840.1.101.3.4.1.42"): 32,
}  # fmt: skip
_AES_256 = der.oid("2.16.840.1.101.3.4.1.42")
_PRF = {
    der.oid("1.2.840.113549.2.7"): "sha1", der.oid("1.2.840.113549.2.9"): "sha256",
    der.oid("1.2.840.113549.2.10"): "sha384", der.oid("1.2.840.113549.2.11"): "sha512",
}  # fmt: skip
_RSA, _EC, _ED25519 = der.oid("1.2.840.113549.1.1.1"), der.oid("1.2.840.10045.2.1"), der.oid("1.3.101.112")
#: The OID that Notary took for Ed25519 keys, before there was one.
_NOTARY_ED25519 = der.oid("1.3.6.1.4.1.11591.15.1")
_CURVES: dict[bytes, type[ec.EllipticCurve]] = {
    der.oid("1.3.132.0.33"): ec.SECP224R1, der.oid("1.2.840.10045.3.1.7"): ec.SECP256R1,
    der.oid("1.3.132.0.34"): ec.SECP384R1, der.oid("1.3.132.0.35"): ec.SECP521R1,
}  # fmt: skip

_ROUNDS = 2048
#: Enough for any honest file; a forged one must not keep us busy for hours.
_MAX_ROUNDS = 10_000_000
_KINDS = ("ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ED25519 PRIVATE KEY")


class PassphraseError(InvalidError):
    """A key cannot be opened: its passphrase is missing or wrong.

    Examples:
        >>> nobody = trust.KeyFolder(keys.folder, lambda question: None)
        >>> nobody.open(keys.held(role="alice")[0].key_id)
        Traceback (most recent call last):
        trust.keyfiles.PassphraseError: the passphrase of the alice key ... is not known
    """


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key as it lies in a file, perhaps encrypted.

    Attributes:
        role: the role that it is for, or the signer's name; empty where the file does not say.
        gun: the collection that it is for; empty for keys of all collections.
        kind: what PEM calls it, such as `ENCRYPTED PRIVATE KEY`.
        headers: all headers of the PEM block.
    """

    role: str
    gun: str
    kind: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether `open` needs a passphrase."""
        return self.kind == "ENCRYPTED PRIVATE KEY" or "DEK-Info" in self.headers

    def open(self, passphrase: str | None = None) -> PrivateKey:
        """The private key.

        Args:
            passphrase: for an encrypted one.

        Raises:
            PassphraseError: it is missing or wrong.
            InvalidError: this is not a key of a kind that Notary knows.
        """
        body = self.body
        if self.is_encrypted:
            if passphrase is None:
                raise PassphraseError("the key is encrypted and no passphrase was given")
            try:
                if self.kind == "ENCRYPTED PRIVATE KEY":
                    body = _decrypt_pkcs8(body, passphrase)
                else:
                    body = _decrypt_rfc1421(body, self.headers["DEK-Info"], passphrase)
                if self.kind != "ED25519 PRIVATE KEY":
                    der.read(body, der.SEQUENCE)
            except _UnknownCipherError:
                raise
            except (_WrongPaddingError, InvalidError):
                # A wrong passphrase gives wrong padding, or by chance good padding around noise.
                raise PassphraseError("the passphrase is wrong, or the file is damaged") from None
        if self.kind == "EC PRIVATE KEY":
            return _sec1(body, None)
        if self.kind == "RSA PRIVATE KEY":
            return _pkcs1(body)
        if self.kind == "ED25519 PRIVATE KEY":
            return _notary_ed25519(body)
        return _pkcs8(body)


class _WrongPaddingError(Exception):
    """What was decrypted does not end as it should."""


class _UnknownCipherError(InvalidError):
    """Encrypted in a way that is not known here."""


def parse(pem: bytes) -> KeyFile:
    """Read the first private key in `pem`; nothing is decrypted yet.

    Raises:
        InvalidError: there is none, or it is malformed.
    """
    for block in blocks(pem):
        if block.kind in _KINDS:
            headers = block.headers
            return KeyFile(headers.get("role", ""), headers.get("gun", ""), block.kind, headers, block.body)
    raise InvalidError("there is no private key in PEM in this file")


def seal(key: PrivateKey, passphrase: str, *, role: str, gun: str = "", path: str = "") -> bytes:
    """A key file, encrypted, in the form that the Go programs read.

    Args:
        key: the private key.
        passphrase: what opens it again.
        role: the role that it is for, or the signer's name.
        gun: the collection, for keys of targets, snapshot and timestamp.
        path: where an import puts it; docker imports an encrypted key only if the file says so.

    Raises:
        InvalidError: an empty passphrase, or a role, GUN or path that no header can hold.
    """
    if not passphrase:
        raise PassphraseError("an empty passphrase protects nothing")
    salt, iv = os.urandom(8), os.urandom(16)
    secret = hashlib.pbkdf2_hmac("sha1", passphrase.encode(), salt, _ROUNDS, 32)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(_private_key_info(key)) + padder.finalize()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
    # No PRF is named: Go takes SHA-1 whatever stands there.
    derivation = der.element(
        der.SEQUENCE, _PBKDF2, der.element(der.SEQUENCE, der.element(der.OCTETS, salt), der.integer(_ROUNDS))
    )
    cipher = der.element(der.SEQUENCE, _AES_256, der.element(der.OCTETS, iv))
    algorithm = der.element(der.SEQUENCE, _PBES2, der.element(der.SEQUENCE, derivation, cipher))
    sealed = encryptor.update(padded) + encryptor.finalize()
    body = der.element(der.SEQUENCE, algorithm, der.element(der.OCTETS, sealed))
    return write("ENCRYPTED PRIVATE KEY", body, {"gun": gun, "path": path, "role": role})


def public_pem(key: PrivateKey, *, role: str = "") -> bytes:
    """The public half as `docker trust key generate` writes it, for `signer add`.

    Raises:
        InvalidError: a role that no header can hold.
    """
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return write("PUBLIC KEY", spki, {"role": role})


def read_public(pem: bytes) -> tuple[str, bytes]:
    """The first public key or certificate in `pem`: `PUBLIC KEY` or `CERTIFICATE`, and its DER.

    Raises:
        InvalidError: there is none, or it is malformed.
    """
    for block in blocks(pem):
        if block.kind in ("PUBLIC KEY", "CERTIFICATE"):
            return block.kind, block.body
    raise InvalidError("there is no public key or certificate in PEM in this file")


def _decrypt_pkcs8(body: bytes, passphrase: str) -> bytes:
    try:
        algorithm, sealed = _row(der.read(body, der.SEQUENCE), der.SEQUENCE, der.OCTETS)
        scheme, parameters = _row(algorithm, der.OID, der.SEQUENCE)
        derivation, cipher = _row(parameters, der.SEQUENCE, der.SEQUENCE)
        function, settings = _row(derivation, der.OID, der.SEQUENCE)
        cipher_oid, iv = _row(cipher, der.OID, der.OCTETS)
        (salt_tag, salt), (rounds_tag, rounds_bytes), *others = der.items(settings)
        rounds = int.from_bytes(rounds_bytes, "big")
        prf = "sha1"
        for tag, content in others:
            if tag == der.SEQUENCE:
                prf = _PRF.get(der.element(der.OID, der.items(content)[0][1]), "")
        size = _AES_CBC.get(der.element(der.OID, cipher_oid))
    except (ValueError, IndexError, InvalidError) as error:
        raise _UnknownCipherError("the encrypted key is malformed, or its cipher is not known") from error
    known = (scheme, function) == (_PBES2[2:], _PBKDF2[2:]) and (salt_tag, rounds_tag) == (der.OCTETS, der.INTEGER)
    if not known or not prf or size is None or not 0 < rounds <= _MAX_ROUNDS:
        raise _UnknownCipherError("the key is not encrypted by PBES2 with PBKDF2 and AES-CBC")
    secret = hashlib.pbkdf2_hmac(prf, _encode(passphrase), salt, rounds, size)
    return _decrypt_aes(secret, iv, sealed)


def _decrypt_rfc1421(body: bytes, info: str, passphrase: str) -> bytes:
    match = re.fullmatch(r"AES-(128|192|256)-CBC,([0-9A-Fa-f]{32})", info)
    if match is None:
        raise _UnknownCipherError("the key is not encrypted by AES-CBC")
    size, iv = int(match[1]) // 8, bytes.fromhex(match[2])
    secret = block = b""
    while len(secret) < size:
        block = hashlib.md5(block + _encode(passphrase) + iv[:8], usedforsecurity=False).digest()
        secret += block
    return _decrypt_aes(secret[:size], iv, body)


def _encode(passphrase: str) -> bytes:
    # What came from the environment in another encoding goes back into the bytes that it was.
    return passphrase.encode("utf-8", "surrogateescape")


def _decrypt_aes(secret: bytes, iv: bytes, sealed: bytes) -> bytes:
    if len(iv) != 16 or not sealed or len(sealed) % 16:
        raise _UnknownCipherError("the encrypted key is cut short")
    decryptor = Cipher(algorithms.AES(secret), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise _WrongPaddingError from None


def _pkcs8(body: bytes) -> PrivateKey:
    found = der.items(der.read(body, der.SEQUENCE))
    if [tag for tag, _ in found[:3]] != [der.INTEGER, der.SEQUENCE, der.OCTETS]:
        raise InvalidError("the private key is not PKCS #8")
    algorithm, inner = der.items(found[1][1]), found[2][1]
    kind = der.element(*algorithm[0]) if algorithm else b""
    if kind == _RSA:
        return _pkcs1(inner)
    if kind == _EC and len(algorithm) > 1:
        return _sec1(inner, der.element(*algorithm[1]))
    if kind == _NOTARY_ED25519:
        return _notary_ed25519(inner)
    if kind == _ED25519:
        return _seed(der.read(inner, der.OCTETS))
    raise InvalidError("the private key is of a kind that Notary does not know")


def _sec1(body: bytes, curve: bytes | None) -> PrivateKey:
    found = der.items(der.read(body, der.SEQUENCE))
    if [tag for tag, _ in found[:2]] != [der.INTEGER, der.OCTETS]:
        raise InvalidError("the elliptic curve key is malformed")
    for tag, content in found[2:]:
        if tag == der.CONTEXT_0 and curve is None:
            curve = content
    known = _CURVES.get(curve or b"")
    if known is None:
        raise InvalidError("the key is on a curve that Notary does not know")
    try:
        return ec.derive_private_key(int.from_bytes(found[1][1], "big"), known())
    except ValueError:
        raise InvalidError("the elliptic curve key is malformed") from None


def _pkcs1(body: bytes) -> PrivateKey:
    try:
        key = serialization.load_der_private_key(body, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidError("the RSA key is malformed") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise InvalidError(f"an RSA key of at least {MIN_RSA_BITS} bits is needed")
    return key


def _notary_ed25519(body: bytes) -> PrivateKey:
    if len(body) != 96:
        raise InvalidError("the Ed25519 key is malformed")
    key = _seed(body[32:64])
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    if not body[:32] == body[64:] == public:
        raise InvalidError("the Ed25519 key is malformed")
    return key


def _seed(seed: bytes) -> ed25519.Ed25519PrivateKey:
    if len(seed) != 32:
        raise InvalidError("the Ed25519 key is malformed")
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


def _private_key_info(key: PrivateKey) -> bytes:
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    algorithm = der.element(der.SEQUENCE, _NOTARY_ED25519)
    inner = der.element(der.OCTETS, public, key.private_bytes_raw(), public)
    return der.element(der.SEQUENCE, der.integer(0), algorithm, inner)


def _row(content: bytes, *tags: int) -> list[bytes]:
    found = der.items(content)
    if [tag for tag, _ in found] != list(tags):
        raise InvalidError("malformed DER: other elements were expected")
    return [item for _, item in found]
