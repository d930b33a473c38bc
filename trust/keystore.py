# SPDX-License-Identifier: Apache-2.0
"""Homes of the keys that a service signs with, and the one rule of what they sign.

A `KeyStore` makes keys for one role of one trust collection and signs with them; private keys never leave it.
Its homes are `MemoryKeyStore` here, `RemoteKeyStore` (trust.remotekeys, a notary-signer over TLS) and the signer's
own `Vault`.  All keep these rules:

* keys are for the roles timestamp and snapshot; every other role is signed by people;
* `create` hands out the same pending key until it has signed once, so that a rotation which was asked for twice
  does not end with two keys (NOTARY_V1 §4.2);
* a key signs for the GUN and role that it was made for; any other key is "not found", whether or not it exists;
* it signs canonical, well-formed metadata of that role which expires soon enough, and nothing else
  (`check_payload`): whoever takes over the server gains timestamps, not an oracle.

    keys = MemoryKeyStore()
    key = keys.create(gun, TIMESTAMP, "ecdsa")
    signature = keys.sign(gun, TIMESTAMP, key.keyid, draft(TIMESTAMP, timestamp).signed_bytes)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Protocol

from tuf.api.metadata import Snapshot, Timestamp

from trust.canonical import decode, encode
from trust.dialect import from_notary, to_notary
from trust.errors import DeniedError, FormatError, InvalidError, NotFoundError
from trust.keys import NotaryKey, NotarySignature, NotarySigner, PrivateKey, generate_private, public_key_of
from trust.names import SNAPSHOT, TIMESTAMP, Gun, RoleName

#: What keys are made of; RSA keys are only ever imported by people (NOTARY_V1 §1.4).
ALGORITHMS = ("ecdsa", "ed25519")
#: The roles that a service may sign.
ONLINE_ROLES = (TIMESTAMP, SNAPSHOT)


class KeyStore(Protocol):
    """Makes keys and signs with them.  Safe to be used by several threads."""

    def create(self, gun: Gun, role: RoleName, algorithm: str) -> NotaryKey:
        """A key for `role` of `gun`: the one that was never used yet, or a new one.

        Raises:
            DeniedError: the role is not signed by services.
            InvalidError: the algorithm is not supported.
            UnavailableError: the home does not answer.
        """
        ...

    def find(self, gun: Gun, role: RoleName, key_ids: Iterable[str]) -> list[NotaryKey]:
        """Those of `key_ids` that this home holds for `role` of `gun`, in that order.

        Raises:
            UnavailableError: the home does not answer.
        """
        ...

    def sign(self, gun: Gun, role: RoleName, key_id: str, payload: bytes) -> NotarySignature:
        """Sign `payload`, the canonical bytes of `signed`.

        Raises:
            NotFoundError: no such key is held for that GUN and role.
            DeniedError: the payload is not what the key may sign.
            UnavailableError: the home does not answer, or cannot open the key.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How far ahead a signed file may expire; generous beside the usual lifetimes (NOTARY_V1 §1.2).

    A stolen server could have timestamps made for later: these bound for how much later.
    """

    timestamp: timedelta = timedelta(days=31)
    snapshot: timedelta = timedelta(days=4 * 366)

    def of(self, role: RoleName) -> timedelta:
        """The limit for an online role."""
        return self.timestamp if role == TIMESTAMP else self.snapshot


def check_key(role: RoleName, algorithm: str) -> None:
    """Whether a key of this kind may be made at all.

    Raises:
        DeniedError: the role is not signed by services.
        InvalidError: the algorithm is not supported.
    """
    if role not in ONLINE_ROLES:
        raise DeniedError(f"keys are kept here for timestamp and snapshot, not for {role}")
    if algorithm not in ALGORITHMS:
        raise InvalidError(f"algorithm {algorithm[:40]} not supported for create key")


def check_payload(role: RoleName, payload: bytes, now: datetime, limits: Limits) -> Timestamp | Snapshot:
    """Whether a key of `role` may sign `payload`, and what it says.

    Args:
        role: the role that the key was made for.
        payload: the bytes to be signed.
        now: the time.
        limits: how far ahead it may expire.

    Raises:
        DeniedError: it may not; the message says which rule is broken.
    """
    if role not in ONLINE_ROLES:
        raise DeniedError(f"{role} is not signed here, only timestamp and snapshot")
    try:
        value = decode(payload)
        signed = from_notary(role, value)
        # Only what is canonical comes out as it came in.
        if signed.unrecognized_fields.keys() != {"expires"} or encode(to_notary(signed)) != payload:
            if encode(value) != payload:
                raise DeniedError(f"the {role} to sign is not canonical JSON")
            raise DeniedError(f"the {role} to sign has members that do not belong to a {role}")
    except FormatError as error:
        raise DeniedError(f"the {role} to sign is malformed: {error.message}") from error
    assert isinstance(signed, Timestamp | Snapshot)
    if isinstance(signed, Snapshot):
        _check_names(signed)
    if signed.expires <= now:
        raise DeniedError(f"the {role} to sign has expired already")
    if signed.expires > now + limits.of(role):
        raise DeniedError(f"the {role} to sign expires more than {limits.of(role).days} days ahead")
    return signed


def _check_names(snapshot: Snapshot) -> None:
    for name in snapshot.meta:
        try:
            role = RoleName(name)
        except InvalidError as error:
            raise DeniedError("the snapshot to sign names something that is no role") from error
        if role in ONLINE_ROLES:  # neither is ever inside a snapshot (NOTARY_V1 §1.2)
            raise DeniedError(f"the snapshot to sign names {role}")


@dataclass(slots=True)
class _Held:
    gun: Gun
    role: RoleName
    algorithm: str
    private: PrivateKey
    key: NotaryKey
    used: bool = False


class MemoryKeyStore:
    """Keys that live and die with the process: for the library's own use, and for tests.

    Args:
        clock: tells the time.
        limits: how far ahead a signed file may expire.
    """

    def __init__(
        self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), limits: Limits | None = None
    ) -> None:
        self._clock = clock
        self._limits = limits or Limits()
        self._keys: dict[str, _Held] = {}
        self._lock = Lock()

    def create(self, gun: Gun, role: RoleName, algorithm: str) -> NotaryKey:
        """See `KeyStore.create`; always answers."""
        check_key(role, algorithm)
        wanted = (gun, role, algorithm, False)
        with self._lock:
            for held in self._keys.values():
                if (held.gun, held.role, held.algorithm, held.used) == wanted:
                    return held.key
            private = generate_private(algorithm)
            key = public_key_of(private)
            self._keys[key.keyid] = _Held(gun, role, algorithm, private, key)
            return key

    def find(self, gun: Gun, role: RoleName, key_ids: Iterable[str]) -> list[NotaryKey]:
        """See `KeyStore.find`; always answers."""
        held = (self._held(gun, role, key_id) for key_id in dict.fromkeys(key_ids))
        return [each.key for each in held if each is not None]

    def sign(self, gun: Gun, role: RoleName, key_id: str, payload: bytes) -> NotarySignature:
        """See `KeyStore.sign`; always answers."""
        held = self._held(gun, role, key_id)
        if held is None:
            raise key_not_found(key_id)
        check_payload(role, payload, self._clock(), self._limits)
        signature = NotarySigner(held.private).sign(payload)
        with self._lock:
            held.used = True
        return signature

    def _held(self, gun: Gun, role: RoleName, key_id: str) -> _Held | None:
        held = self._keys.get(key_id)
        return held if held is not None and (held.gun, held.role) == (gun, role) else None


def key_not_found(key_id: str) -> NotFoundError:
    """The one answer for a key that does not exist and for one that is somebody else's."""
    return NotFoundError(f"signing key not found: {key_id[:64]}")
