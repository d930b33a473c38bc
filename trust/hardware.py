# SPDX-License-Identifier: Apache-2.0
"""Private keys that do not leave their hardware, in the form of `cryptography`'s.

    key = hardware_key(public, sign, "pkcs11:token=release;object=alice")
    NotarySigner(key).sign(payload)
    certify(key, gun, now)

To whatever signs with a private key (`trust.keys`, `trust.rootcerts`, `cryptography` itself) such a key looks like
any other.  It only signs, though: it cannot be written, copied or used for anything else.

Every signature is verified before it is handed out.  A home that signs wrongly, or with another key, must not get
anything published: a file whose signature is bad locks everybody out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from trust.errors import InvalidError, UnavailableError
from trust.keys import MIN_RSA_BITS, PrivateKey, PublicKey

if TYPE_CHECKING:
    from cryptography.utils import Buffer

ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = "ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512"
#: With MGF1 of the same hash and a salt of 32 bytes, as Notary has it.
RSA_PSS_SHA256 = "rsa-pss-sha256"
#: Certificates of RSA root keys are signed so.
RSA_PKCS1_SHA256 = "rsa-pkcs1-sha256"
ED25519 = "ed25519"

#: Signs data by one of the schemes above; ECDSA signatures are in DER.  It may raise InvalidError for a scheme that
#: it does not have, and UnavailableError where the hardware does not answer.
Sign = Callable[[bytes, str], bytes]

_ECDSA = {"sha256": ECDSA_SHA256, "sha384": ECDSA_SHA384, "sha512": ECDSA_SHA512}
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def hardware_key(public: PublicKey, sign: Sign, where: str) -> PrivateKey:
    """A key that signs by `sign`.

    Args:
        public: its public half.
        sign: has the hardware sign.
        where: the place of the key, for errors.

    Raises:
        InvalidError: Notary has no such keys.
    """
    if isinstance(public, ed25519.Ed25519PublicKey):
        return _Ed25519Key(public, sign, where)
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        return _RSAKey(public, sign, where)
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, _CURVES):
        return _ECKey(public, sign, where)
    raise InvalidError(f"the key {where} is of a kind, curve or size that Notary cannot sign with")


class _Stays:
    """What every hardware key refuses."""

    _where: str

    def _refuse(self) -> NoReturn:
        raise InvalidError(f"the key {self._where} is in hardware: it can sign, and nothing else")

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        self._refuse()

    def private_bytes_raw(self) -> NoReturn:
        self._refuse()

    def private_numbers(self) -> NoReturn:
        self._refuse()

    def exchange(self, *_: object) -> NoReturn:
        self._refuse()

    def decrypt(self, *_: object) -> NoReturn:
        self._refuse()

    def _no_scheme(self) -> NoReturn:
        raise InvalidError(f"the key {self._where} does not sign in this way")

    def _wrong(self, error: InvalidSignature) -> NoReturn:
        raise UnavailableError(
            f"the key {self._where} made a signature that is not valid: nothing was signed"
        ) from error

    # A key is a value: there is nothing to copy.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class _ECKey(_Stays, ec.EllipticCurvePrivateKey):
    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Sign, where: str) -> None:
        self._public, self._sign, self._where = public, sign, where

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, utils.Prehashed) or algorithm.name not in _ECDSA:
            self._no_scheme()
        signature = self._sign(bytes(data), _ECDSA[algorithm.name])
        try:
            self._public.verify(signature, data, signature_algorithm)
        except InvalidSignature as error:
            self._wrong(error)
        return signature


class _RSAKey(_Stays, rsa.RSAPrivateKey):
    def __init__(self, public: rsa.RSAPublicKey, sign: Sign, where: str) -> None:
        self._public, self._sign, self._where = public, sign, where

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    def sign(
        self,
        data: Buffer,
        padding_: padding.AsymmetricPadding,
        algorithm: utils.Prehashed | hashes.HashAlgorithm | utils.NoDigestInfo,
    ) -> bytes:
        if not isinstance(algorithm, hashes.SHA256):
            self._no_scheme()
        # A salt of another length than Notary's does not verify, and so does not get out.
        scheme = RSA_PSS_SHA256 if isinstance(padding_, padding.PSS) else RSA_PKCS1_SHA256
        signature = self._sign(bytes(data), scheme)
        try:
            self._public.verify(signature, bytes(data), padding_, algorithm)
        except InvalidSignature as error:
            self._wrong(error)
        return signature


class _Ed25519Key(_Stays, ed25519.Ed25519PrivateKey):
    def __init__(self, public: ed25519.Ed25519PublicKey, sign: Sign, where: str) -> None:
        self._public, self._sign, self._where = public, sign, where

    def public_key(self) -> ed25519.Ed25519PublicKey:
        return self._public

    def sign(self, data: Buffer) -> bytes:
        signature = self._sign(bytes(data), ED25519)
        try:
            self._public.verify(signature, data)
        except InvalidSignature as error:
            self._wrong(error)
        return signature
