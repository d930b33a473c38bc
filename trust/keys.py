# SPDX-License-Identifier: Apache-2.0
"""Notary's keys and signatures, as securesystemslib `Key`, `Signature` and `Signer` (NOTARY_V1 §1.4-1.6).

`NotaryKey` is a public key as metadata writes it.  It knows its two IDs: the TUF ID, over the key as written, and
the canonical ID, over the bare key inside a certificate.  `NotarySignature` keeps the `method`, and every signature
that a file holds under one key ID, since Notary accepts a file when any of them is good.  `NotarySigner` signs with
a private key of `cryptography` in Notary's encodings (raw r and s, PSS with a 32 byte salt).

securesystemslib's own table of key types is left alone: Notary's keys have no scheme, and registering them would
change how a malformed TUF 1.0 key is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import warnings
from functools import lru_cache
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

from trust.canonical import encode
from trust.errors import FormatError, InvalidError, KeyIdError

#: The public keys of `cryptography` that Notary knows.
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
#: The private keys of `cryptography` that Notary knows.
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

#: Signature method by key type, for signatures that we make.
METHODS = {"ecdsa": "ecdsa", "ecdsa-x509": "ecdsa", "rsa": "rsapss", "rsa-x509": "rsapss", "ed25519": "eddsa"}
MIN_RSA_BITS = 2048
#: More signatures under one key ID than this are an attack, not a re-signing.
MAX_SIGNATURES_PER_KEY = 16

_NIST_CURVES = (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SALT_BYTES = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


class NotaryKey(Key):
    """A public key in Notary's form.

    Attributes:
        keyid: the ID under which the metadata files it.
        keytype: `ecdsa`, `rsa`, `ed25519`, `ecdsa-x509` or `rsa-x509`; other types are kept and verify nothing.
        public: the content of `keyval.public` after base64: DER, PEM text or 32 raw bytes by type.

    Examples:
        >>> alice = trust.read_public_key(Path("alice.pub").read_bytes())
        >>> alice.keytype, alice.keyid == alice.canonical_id
        ('ecdsa', True)
    """

    def __init__(self, keyid: str, keytype: str, public: bytes) -> None:
        self.public = public
        self._id_matches = False
        encoded = base64.b64encode(public).decode()
        super().__init__(keyid, keytype, METHODS.get(keytype, ""), {"private": None, "public": encoded})

    @classmethod
    def from_public(cls, keytype: str, public: bytes) -> Self:
        """The key with the ID that follows from its content (NOTARY_V1 §1.4).

        Args:
            keytype: see the class.
            public: see the class.

        Returns:
            The key.

        Examples:
            >>> alice = trust.read_public_key(Path("alice.pub").read_bytes())
            >>> trust.NotaryKey.from_public("ecdsa", alice.public) == alice
            True
        """
        return cls(key_id(keytype, public), keytype, public)

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> Self:
        """Read `{"keytype": …, "keyval": {"private": null, "public": "<base64>"}}` (NOTARY_V1 §1.4).

        Args:
            keyid: the ID under which it is filed; whether it is the right one shows when it verifies.
            key_dict: decoded JSON.

        Returns:
            The key.

        Raises:
            FormatError: it is not of this form.

        Examples:
            >>> alice = trust.read_public_key(Path("alice.pub").read_bytes())
            >>> trust.NotaryKey.from_dict(alice.keyid, alice.to_dict()) == alice
            True
        """
        try:
            keytype, encoded = key_dict["keytype"], key_dict["keyval"]["public"]
            public = base64.b64decode(encoded, validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise FormatError(f"key {keyid[:64]} is malformed") from error
        if not isinstance(keytype, str):
            raise FormatError(f"key {keyid[:64]} is malformed")
        return cls(keyid, keytype, public)

    def to_dict(self) -> dict[str, Any]:
        """The key as canonical metadata writes it (NOTARY_V1 §1.4).

        Returns:
            An object for JSON.

        Examples:
            >>> trust.read_public_key(Path("alice.pub").read_bytes()).to_dict()
            {'keytype': 'ecdsa', 'keyval': {'private': None, 'public': '...'}}
        """
        return {"keytype": self.keytype, "keyval": dict(self.keyval)}

    @property
    def canonical_id(self) -> str:
        """The ID of the bare key: what names key files and tells one key from another (NOTARY_V1 §1.4).

        Raises:
            FormatError: the certificate cannot be read.

        Examples:
            >>> (root,) = keys.held(role="root")
            >>> [key.canonical_id for key in collection.root.signed.keys.values()].count(root.key_id)
            1
        """
        if not self.keytype.endswith("-x509"):
            return self.keyid
        spki = (
            self.certificates[0]
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return key_id(self.keytype.removesuffix("-x509"), spki)

    @property
    def certificates(self) -> list[x509.Certificate]:
        """The certificates of an `-x509` key, leaf first; empty for a bare key (NOTARY_V1 §1.6).

        Raises:
            FormatError: they cannot be read.

        Examples:
            >>> trust.read_public_key(Path("alice.pub").read_bytes()).certificates
            []
        """
        return _load_certificates(self.public) if self.keytype.endswith("-x509") else []

    @property
    def is_sound(self) -> bool:
        """Whether a certificate in this key is one that Notary takes: it ends after it begins, no SHA-1 signature is
        on it, an RSA key has 2048 bits (§1.6, §1.7).

        So is a bare key, and what cannot be read at all: that verifies nothing.

        Examples:
            >>> trust.read_public_key(Path("alice.pub").read_bytes()).is_sound
            True
        """
        return not self.keytype.endswith("-x509") or _is_sound(self.public)

    @property
    def public_key(self) -> PublicKey:
        """The key for `cryptography`.

        Raises:
            FormatError: it cannot be read, or is of a kind that Notary does not allow.

        Examples:
            >>> trust.read_public_key(Path("alice.pub").read_bytes()).public_key.key_size
            256
        """
        return _load_public(self.keytype, self.public)

    @property
    def material(self) -> bytes:
        """The public key itself, the same bytes however the metadata encodes it: what counts for a threshold.

        Raises:
            FormatError: see `public_key`.

        Examples:
            >>> alice = trust.read_public_key(Path("alice.pub").read_bytes())
            >>> alice.material == keys.signer(alice.keyid).public_key.material
            True
        """
        return self.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Check that one of the signatures under this key's ID is over some bytes (NOTARY_V1 §1.5).

        Args:
            signature: a `NotarySignature`.
            data: the bytes that were signed.

        Raises:
            KeyIdError: the key is filed under an ID that is not its own; the whole check must fail (§1.4).
            UnverifiedSignatureError: none is valid (securesystemslib's error).

        Examples:
            >>> alice = keys.signer(keys.held(role="alice")[0].key_id)
            >>> alice.public_key.verify_signature(alice.sign(b"bytes"), b"bytes")
        """
        if not self._id_matches:
            if key_id(self.keytype, self.public) != self.keyid:
                raise KeyIdError(f"key ID is not valid for key content: {self.keyid[:64]}")
            self._id_matches = True
        candidates = signature.candidates if isinstance(signature, NotarySignature) else ()
        try:
            key = self.public_key if candidates else None
        except FormatError as error:
            raise UnverifiedSignatureError(str(error)) from error
        if key is None or not any(_is_valid(key, method, raw, data) for method, raw in candidates):
            raise UnverifiedSignatureError(f"no valid signature by key {self.keyid}")


class NotarySignature(Signature):
    """All signatures in one file under one key ID (NOTARY_V1 §1.5).

    Args:
        keyid: the ID.
        candidates: method and raw bytes of each; one that is good is enough.

    Examples:
        >>> [signature.keyid for signature in collection.roles[trust.RELEASES].signatures.values()] == [
        ...     held.key_id for held in keys.held(role="alice")]
        True
    """

    def __init__(self, keyid: str, candidates: tuple[tuple[str, bytes], ...]) -> None:
        self.candidates = candidates
        super().__init__(keyid, candidates[-1][1].hex())

    def to_list(self) -> list[dict[str, str]]:
        """The signature objects as an envelope writes them, members in Notary's order (NOTARY_V1 §1.1).

        Returns:
            Objects for JSON.

        Examples:
            >>> alice = keys.signer(keys.held(role="alice")[0].key_id)
            >>> alice.sign(b"bytes").to_list()
            [{'keyid': '...', 'method': 'ecdsa', 'sig': '...'}]
        """
        return [
            {"keyid": self.keyid, "method": method, "sig": base64.b64encode(raw).decode()}
            for method, raw in self.candidates
        ]


class NotarySigner(Signer):
    """Signs in Notary's encodings with a private key held in memory.

    Args:
        key: the private key.
        public_key: how metadata names it, when that is not the bare key: a certificate.

    Examples:
        >>> signer = trust.NotarySigner(trust.generate_private("ecdsa"))
        >>> signer.public_key.keytype
        'ecdsa'
    """

    def __init__(self, key: PrivateKey, public_key: NotaryKey | None = None) -> None:
        self._private = key
        self._public = public_key or public_key_of(key)

    @property
    def public_key(self) -> NotaryKey:
        """The public half, as metadata names it.

        Examples:
            >>> keys.signer(keys.held(role="alice")[0].key_id).public_key == trust.read_public_key(
            ...     Path("alice.pub").read_bytes())
            True
        """
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Self:
        """Not supported: `KeyFolder.signer` and other homes of keys hand out signers themselves.

        Args:
            priv_key_uri: not used.
            public_key: not used.
            secrets_handler: not used.

        Returns:
            Never.

        Raises:
            InvalidError: always.

        Examples:
            >>> trust.NotarySigner.from_priv_key_uri("file:alice.key", collection.root.signed.keys)
            Traceback (most recent call last):
            trust.errors.InvalidError: a Notary key is not opened by URI; ask its key store
        """
        raise InvalidError("a Notary key is not opened by URI; ask its key store")

    def sign(self, payload: bytes) -> NotarySignature:
        """Sign bytes in Notary's encoding for the kind of key (NOTARY_V1 §1.5).

        Args:
            payload: the bytes; for metadata the canonical form of `signed` (`NotaryMetadata.signed_bytes`).

        Returns:
            The signature, under the key's ID.

        Examples:
            >>> signer = trust.NotarySigner(trust.generate_private("ed25519"))
            >>> signer.sign(b"bytes").keyid == signer.public_key.keyid
            True
        """
        return NotarySignature(
            self._public.keyid, ((METHODS[self._public.keytype], sign_raw(self._private, payload)),)
        )


def sign_raw(key: PrivateKey, payload: bytes) -> bytes:
    """The signature of `payload` in Notary's encoding for the kind of `key` (§1.5)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(payload)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(payload, padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES), hashes.SHA256())
    # SHA-256 whatever the curve, and raw r and s instead of DER.
    r, s = decode_dss_signature(key.sign(payload, _ECDSA))
    width = (key.curve.key_size + 7) // 8
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def public_key_of(key: PrivateKey) -> NotaryKey:
    """The bare public key of a private one."""
    return bare_key(key.public_key())


def bare_key(key: PublicKey) -> NotaryKey:
    """A public key without a certificate, in Notary's form."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return NotaryKey.from_public("ed25519", raw)
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return NotaryKey.from_public("rsa" if isinstance(key, rsa.RSAPublicKey) else "ecdsa", spki)


def certificate_key(certificates_pem: bytes) -> NotaryKey:
    """The `-x509` key of a PEM certificate chain, leaf first.

    Raises:
        FormatError: it cannot be read or its key is of another kind.
    """
    leaf = _load_certificates(certificates_pem)[0].public_key()
    if isinstance(leaf, rsa.RSAPublicKey):
        return NotaryKey.from_public("rsa-x509", certificates_pem)
    if isinstance(leaf, ec.EllipticCurvePublicKey):
        return NotaryKey.from_public("ecdsa-x509", certificates_pem)
    raise FormatError("a root certificate must hold an ECDSA or RSA key")


def generate_private(algorithm: str) -> PrivateKey:
    """A new private key; `KeyFolder.add` keeps it.

    Args:
        algorithm: `ecdsa` (P-256) or `ed25519`; docker and notary sign with the first alone.

    Returns:
        The key, for `cryptography`.

    Raises:
        InvalidError: any other algorithm (Notary generates no RSA keys, NOTARY_V1 §1.4).

    Examples:
        >>> keys.add(trust.generate_private("ecdsa"), role="bob").role
        'bob'
    """
    if algorithm == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise InvalidError(f"algorithm {algorithm[:40]} not supported for create key")


@lru_cache(maxsize=4096)
def key_id(keytype: str, public: bytes) -> str:
    """The TUF ID: SHA-256 over the key's canonical JSON, `private` before `public` (§1.4)."""
    encoded = base64.b64encode(public).decode()
    return hashlib.sha256(encode({"keytype": keytype, "keyval": {"private": None, "public": encoded}})).hexdigest()


@lru_cache(maxsize=4096)
def _load_public(keytype: str, public: bytes) -> PublicKey:
    try:
        if keytype == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(public)
        if keytype.endswith("-x509"):
            key: object = _load_certificates(public)[0].public_key()
        elif public.startswith(b"-----BEGIN"):
            # Only the legacy method "pycrypto-pkcs#1 pss" has PEM here (§1.5).
            key = serialization.load_pem_public_key(public)
        else:
            key = serialization.load_der_public_key(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"a public key of type {keytype[:40]} cannot be read") from error
    kind = keytype.removesuffix("-x509")
    if kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _NIST_CURVES):
        return key
    if kind == "rsa" and isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return key
    raise FormatError(f"a public key of type {keytype[:40]} holds a key of another kind, curve or size")


@lru_cache(maxsize=1024)
def _load_certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old serial numbers; Notary does not look at them
            certificates = x509.load_pem_x509_certificates(pem)
            certificates[0].public_key()
        return certificates
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("a certificate cannot be read") from error


@lru_cache(maxsize=1024)
def _is_sound(pem: bytes) -> bool:
    try:
        leaf = _load_certificates(pem)[0]
    except FormatError:
        return True
    try:
        key, digest = leaf.public_key(), leaf.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return False
    if isinstance(digest, hashes.SHA1 | hashes.MD5) or leaf.not_valid_before_utc >= leaf.not_valid_after_utc:
        return False
    return not isinstance(key, rsa.RSAPublicKey) or key.key_size >= MIN_RSA_BITS


def _is_valid(key: PublicKey, method: str, raw: bytes, data: bytes) -> bool:
    """Whether `raw` is a signature by `key`, which must be of the kind that `method` says (§1.5)."""
    try:
        if method == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            width = (key.curve.key_size + 7) // 8
            if len(raw) != 2 * width:
                return False
            r, s = int.from_bytes(raw[:width], "big"), int.from_bytes(raw[width:], "big")
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        elif method == "eddsa" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, data)
        elif method in ("rsapss", "pycrypto-pkcs#1 pss") and isinstance(key, rsa.RSAPublicKey):
            if len(raw) < MIN_RSA_BITS // 8:
                return False
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)
            key.verify(raw, data, pss, hashes.SHA256())
        elif method == "rsapkcs1v15" and isinstance(key, rsa.RSAPublicKey):
            key.verify(raw, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True
