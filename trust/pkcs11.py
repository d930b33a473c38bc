# SPDX-License-Identifier: Apache-2.0
"""A PKCS#11 token: a hardware security module, a smart card, a YubiKey, or SoftHSM for tests.

    token = Token(Path("/usr/lib/softhsm/libsofthsm2.so"), "troth", pin=lambda: read_secret(path, "PIN"))
    key_id, key = token.generate("timestamp localhost:5000/library/app", "ecdsa")
    key = token.key(key_id=key_id)
    NotarySigner(key).sign(payload)

The rules:

* a module is entered by one thread, which does nothing else, and a token through one session, which stays open:
  PKCS#11 modules are not to be trusted with more (SoftHSM crashes).  Many use OpenSSL, as Python does, and leave
  errors in the thread's queue; where that thread reads from a TLS connection next, waiting looks like a failure;
* a module is loaded by the process that uses it, after the fork;
* after an error the module is begun anew, once, so that a token that was away is found when it returns;
* a PIN that was refused is not tried again, since tokens lock themselves after a few wrong ones; a changed one is;
* keys are made on the token, cannot leave it, and only sign.

The package `python-pkcs11` comes with the extra `hsm`; it is imported when the first token is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from trust import der
from trust.errors import InvalidError, NotFoundError, SettingsError, UnavailableError
from trust.hardware import (
    ECDSA_SHA256,
    ECDSA_SHA384,
    ECDSA_SHA512,
    ED25519,
    RSA_PKCS1_SHA256,
    RSA_PSS_SHA256,
    hardware_key,
)
from trust.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    import pkcs11

R = TypeVar("R")

_P256, _ED25519 = der.oid("1.2.840.10045.3.1.7"), der.oid("1.3.101.112")
_CURVES: dict[bytes, ec.EllipticCurve] = {
    _P256: ec.SECP256R1(), der.oid("1.3.132.0.34"): ec.SECP384R1(), der.oid("1.3.132.0.35"): ec.SECP521R1(),
}  # fmt: skip
_HASHES = {ECDSA_SHA256: "sha256", ECDSA_SHA384: "sha384", ECDSA_SHA512: "sha512", RSA_PSS_SHA256: "sha256"}
_ID_BYTES = 16


@dataclass
class _Module:
    """A loaded module: what all tokens that it shows have in common."""

    path: Path
    #: How often it was begun anew; sessions of an earlier time are gone.
    age: int = 0
    _lock: Lock = field(default_factory=Lock)
    _thread: ThreadPoolExecutor | None = None
    _process: int = 0

    def run(self, work: Callable[[], R]) -> R:
        """Do `work` in the module's own thread."""
        with self._lock:
            if self._thread is None or self._process != os.getpid():  # no thread crosses a fork
                self._thread, self._process = ThreadPoolExecutor(1, "pkcs11"), os.getpid()
            thread = self._thread
        return thread.submit(work).result()

    def load(self) -> Any:
        return _package().lib(str(self.path))  # begins it, if it is not

    def begin_anew(self) -> None:
        self.age += 1
        with suppress(RuntimeError):  # it was not begun, or cannot end: the next use will tell
            self.load().finalize()


_modules: dict[Path, _Module] = {}


class Token:
    """One token.  Safe to be used by several threads; nothing is opened before it is needed.

    Args:
        module: the PKCS#11 module that knows it, a shared library.
        label: the token's label.
        pin: gives the user PIN, whenever the token is opened.
        serial: the token's serial number, where the label alone is not enough.
    """

    def __init__(self, module: Path, label: str, pin: Callable[[], str], *, serial: str = "") -> None:
        self.label = label
        self._serial = serial
        self._pin = pin
        self._given = ""
        self._refused: str | None = None
        self._module = _modules.setdefault(module, _Module(module))
        self._session: pkcs11.Session | None = None
        self._age = -1
        self._handles: dict[tuple[bytes, str], tuple[Any, bool]] = {}

    def generate(self, label: str, algorithm: str) -> tuple[bytes, PrivateKey]:
        """Make a key on the token.

        Args:
            label: what it shall be called, for people.
            algorithm: `ecdsa` (P-256) or `ed25519`.

        Returns:
            its ID on the token, random, and the key.

        Raises:
            InvalidError: the token makes no such keys.
            UnavailableError: the token does not answer, or does not let us in.
        """
        key_id = os.urandom(_ID_BYTES)
        public = self._do(lambda session: _generate(session, label, key_id, algorithm))
        return key_id, self.key(key_id=key_id, public=public)

    def key(self, *, key_id: bytes = b"", label: str = "", public: PublicKey | None = None) -> PrivateKey:
        """A key on the token.

        Args:
            key_id: its ID on the token (CKA_ID).
            label: its label (CKA_LABEL); one of the two must be given, and only one key may have it.
            public: its public half, if it is known: then the token is not asked before the first signature.

        Raises:
            NotFoundError: there is no such key, or more than one.
            InvalidError: Notary has no keys of its kind.
            UnavailableError: the token does not answer, or does not let us in.
        """
        wanted = (key_id, label)
        if public is None:
            public = self._do(lambda session: _read_public(_find(session, "PUBLIC_KEY", wanted)))
        name = f"{label or key_id.hex()} on the token {self.label}"
        return hardware_key(public, lambda data, scheme: self._sign(wanted, data, scheme), name)

    def check(self, key_id: bytes = b"") -> None:
        """Whether the token can be used now; and whether it holds the private key `key_id`, if one is given.

        Raises:
            UnavailableError: the token does not answer, or does not let us in, or the key is gone.
        """
        self._do(lambda session: _find(session, "PRIVATE_KEY", (key_id, "")) if key_id else None, known=True)

    def _sign(self, wanted: tuple[bytes, str], data: bytes, scheme: str) -> bytes:
        def sign(session: pkcs11.Session) -> bytes:
            if wanted not in self._handles:
                key = _find(session, "PRIVATE_KEY", wanted)
                self._handles[wanted] = (key, _wants_pin(key))
            key, wants_pin = self._handles[wanted]
            return _sign(key, data, scheme, self._usable_pin() if wants_pin else None)

        return self._do(sign, known=True)

    def _do(self, work: Callable[[pkcs11.Session], R], *, known: bool = False) -> R:
        """Do `work`; once more with everything opened anew, if it fails.

        Args:
            work: what to do.
            known: that the key was there before: that it is not found is a failure of the token then.
        """
        return self._module.run(lambda: self._attempt(work, known))

    def _attempt(self, work: Callable[[pkcs11.Session], R], known: bool) -> R:
        errors = _package().exceptions
        problem = ""
        for _ in range(2):
            try:
                return work(self._opened())
            except (errors.MechanismInvalid, errors.MechanismParamInvalid) as error:
                raise InvalidError(f"the token {self.label} has no such algorithm") from error
            except (
                errors.PinIncorrect, errors.PinInvalid, errors.PinLenRange, errors.PinLocked, errors.PinExpired
            ) as error:  # fmt: skip
                self._refused = self._given
                raise UnavailableError(f"the token {self.label} refuses the PIN: {type(error).__name__}") from error
            except NotFoundError as error:
                if not known:
                    raise
                problem = error.message  # SoftHSM does not say that its token is away: it has no keys then
            except RuntimeError as error:
                problem = f"{type(error).__name__} {error}".rstrip()
            # What failed is forgotten by now.  Kept as a cause, it would hold a search of python-pkcs11 that still
            # ends in the module when it is thrown away, whoever may be in there.
            self._module.begin_anew()
        raise UnavailableError(f"the token {self.label} cannot be used: {problem}")

    def _opened(self) -> pkcs11.Session:
        module = self._module.load()
        if self._session is None or self._age != self._module.age:
            self._handles.clear()
            self._session = None  # it ended with the module
            self._session = self._log_in(module)
            self._age = self._module.age
        return self._session

    def _log_in(self, module: Any) -> pkcs11.Session:
        token = module.get_token(token_label=self.label, token_serial=self._serial.encode() or None)
        try:
            return _open(token, self._usable_pin())
        except _package().exceptions.UserAlreadyLoggedIn:
            return _open(token, None)  # through another `Token` of this process

    def _usable_pin(self) -> str:
        self._given = self._pin()
        if self._given == self._refused:
            raise UnavailableError(f"the token {self.label} has refused this PIN, and it is not tried again")
        return self._given


def _package() -> Any:
    try:
        import pkcs11
    except ImportError as error:
        raise SettingsError("PKCS#11 tokens need the extra hsm: pip install 'troth[hsm]'") from error
    return pkcs11


def _open(token: pkcs11.Token, pin: str | None) -> pkcs11.Session:
    try:
        return token.open(rw=True, user_pin=pin)
    except _package().exceptions.TokenWriteProtected:
        return token.open(user_pin=pin)


def _find(session: pkcs11.Session, kind: str, wanted: tuple[bytes, str]) -> Any:
    from pkcs11 import Attribute, ObjectClass

    key_id, label = wanted
    template: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass[kind]}
    if key_id:
        template[Attribute.ID] = key_id
    if label:
        template[Attribute.LABEL] = label
    found = list(session.get_objects(template))
    if len(found) != 1:
        how = "more than one key is" if found else "there is no key"
        what = f"ID {key_id.hex()}" if key_id else f"label {label!r}"
        raise NotFoundError(f"{how} with {what} on the token {session.token.label}")
    return found[0]


def _generate(session: pkcs11.Session, label: str, key_id: bytes, algorithm: str) -> PublicKey:
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

    kinds = {
        "ecdsa": (KeyType.EC, _P256, Mechanism.EC_KEY_PAIR_GEN),
        "ed25519": (KeyType.EC_EDWARDS, _ED25519, Mechanism.EC_EDWARDS_KEY_PAIR_GEN),
    }
    if algorithm not in kinds:
        raise InvalidError(f"algorithm {algorithm[:40]} not supported for create key")
    kind, curve, mechanism = kinds[algorithm]
    domain = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: curve}, local=True)
    public, _ = domain.generate_keypair(
        id=key_id,
        label=label,
        store=True,
        mechanism=mechanism,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    return _read_public(public)


def _read_public(key: Any) -> PublicKey:
    """A public key object of the token, for `cryptography`."""
    from pkcs11 import Attribute, KeyType

    try:
        kind = key[Attribute.KEY_TYPE]
        if kind == KeyType.RSA:
            exponent, modulus = (int.from_bytes(key[each]) for each in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
            return rsa.RSAPublicNumbers(exponent, modulus).public_key()
        point = key[Attribute.EC_POINT]
        with suppress(InvalidError):  # some modules leave out the OCTET STRING that ought to be around it
            point = der.read(point, der.OCTETS)
        if kind == KeyType.EC_EDWARDS:
            return ed25519.Ed25519PublicKey.from_public_bytes(point)
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[key[Attribute.EC_PARAMS]], point)
    except (KeyError, ValueError) as error:
        raise InvalidError(f"the key {key.label!r} on the token is of a kind that Notary does not know") from error


def _wants_pin(key: Any) -> bool:
    """Whether the token wants the PIN before each signature of this key, as a YubiKey may."""
    from pkcs11 import Attribute

    try:
        return bool(key[Attribute.ALWAYS_AUTHENTICATE])
    except RuntimeError:  # it does not know the question; or it is away, which the signature will tell
        return False


def _sign(key: Any, data: bytes, scheme: str, pin: str | None) -> bytes:
    from pkcs11 import MGF, Mechanism

    if scheme == ED25519:
        return bytes(key.sign(data, mechanism=Mechanism.EDDSA, pin=pin))
    if scheme == RSA_PKCS1_SHA256:
        return bytes(key.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS, pin=pin))
    digest = hashlib.new(_HASHES[scheme], data).digest()
    if scheme == RSA_PSS_SHA256:
        parameters = (Mechanism.SHA256, MGF.SHA256, 32)
        return bytes(key.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters, pin=pin))
    raw = bytes(key.sign(digest, mechanism=Mechanism.ECDSA, pin=pin))
    r, s = raw[: len(raw) // 2], raw[len(raw) // 2 :]
    return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
