# SPDX-License-Identifier: Apache-2.0
"""What may be believed.

The rules, each a function that takes bytes already parsed and `now`, returns nothing and raises.  They read no file,
ask no server and own no clock; `reader` and `update` put them in the clients' and the server's order.

* a root is signed by certificates for its GUN that the pins allow, and by the keys of the root before it;
* a file is signed to the threshold of its delegator, and no key counts twice, whatever IDs it is filed under;
* an expired file may be replaced, but nothing may be read through it;
* a version never goes back;
* a file is the very bytes that the file above it names.

Sources: NOTARY_V1 §1.5-1.7, §3.1, §6.2-6.3; TUF 1.0 §5.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Role, Root, TargetFile, Targets

from trust.errors import (
    DelegationError,
    ExpiredError,
    HashError,
    KeyIdError,
    PinError,
    RollbackError,
    RotationError,
    SignatureError,
    SizeError,
)
from trust.keys import NotaryKey
from trust.metadata import NotaryMetadata
from trust.names import Gun, RoleName
from trust.pins import Pins, root_keys

_PATH = "could not validate the path to a trusted root: "


def check_signatures(delegator: Root | Targets, meta: NotaryMetadata[Any]) -> None:
    """`meta` is signed to the threshold that `delegator` sets for its role.

    Raises:
        DelegationError: the delegator does not delegate that role.
        SignatureError: too few valid signatures, one by a key that is filed under a wrong ID, or a delegation to a
            certificate that is not sound, whoever has signed (NOTARY_V1 §1.7).
    """
    try:
        delegated = delegator.get_delegated_role(meta.role)
    except ValueError as error:
        raise DelegationError(f"tuf: invalid role {meta.role}. delegation does not exist") from error
    if meta.role.is_delegation:
        for keyid in delegated.keyids:
            key = delegator.get_key(keyid)
            if isinstance(key, NotaryKey) and not key.is_sound:
                raise SignatureError(
                    f"{meta.role} is delegated to a certificate that is signed with SHA-1, ends before it begins, "
                    f"or holds too short a key: {keyid}"
                )
    if not meta.signatures:
        raise SignatureError("tuf: data has no signatures")
    result = delegator.get_verification_result(meta.role, meta.signed_bytes, meta.signatures)
    # A bare key and a certificate for it have two IDs and are one key, and so has one key in two encodings.
    distinct = {key.material if isinstance(key, NotaryKey) else keyid for keyid, key in result.signed.items()}
    if len(distinct) < result.threshold:
        raise SignatureError(
            f"valid signatures did not meet threshold for {meta.role}",
            detail={"role": meta.role, "threshold": result.threshold, "valid": len(distinct)},
        )


def check_root(
    root: NotaryMetadata[Root],
    gun: Gun,
    now: datetime,
    *,
    previous: Root | None = None,
    pins: Pins | None = None,
    allow_expired: bool = False,
) -> None:
    """`root` may be believed for `gun` (NOTARY_V1 §6.2).

    Args:
        root: the new root.
        gun: whose it must be.
        now: the time to check at.
        previous: the root before it, if one is known; the caller checks the versions.
        pins: whom to believe first; None believes any certificate for the GUN.
        allow_expired: whether root and certificates past their time are accepted, as for a link in a chain.

    Raises:
        RotationError: `previous` does not vouch for it.
        PinError: no certificate for the GUN is valid and allowed.
        SignatureError: its own threshold is not met.
        ExpiredError: its time is over.
    """
    keys = root_keys(root.signed, gun, now, allow_expired=allow_expired)
    if not keys:
        raise PinError(_PATH + "unable to retrieve valid leaf certificates")
    if previous is not None:
        before = root_keys(previous, gun, now, allow_expired=True)
        if not _is_signed_by(root, before, previous.roles["root"].threshold):
            raise RotationError(
                "could not rotate trust to a new trusted root: "
                "failed to validate data with current trusted certificates"
            )
    keys = (pins or Pins()).select(gun, keys, now, first=previous is None, allow_expired=allow_expired)
    if not _is_signed_by(root, keys, root.signed.roles["root"].threshold):
        raise SignatureError(_PATH + "failed to validate integrity of roots")
    if not allow_expired:
        check_fresh(root, now)


def check_fresh(meta: NotaryMetadata[Any], now: datetime) -> None:
    """`meta` has not expired at `now`.

    Raises:
        ExpiredError: it has.
    """
    if meta.signed.is_expired(now):
        raise ExpiredError(meta.role, meta.signed.expires)


def check_version(meta: NotaryMetadata[Any], least: int) -> None:
    """`meta` is not older than version `least`.

    Raises:
        RollbackError: it is.
    """
    if meta.signed.version < least:
        raise RollbackError(
            f"{meta.role} version {meta.signed.version} is lower than current version {least}",
            detail={"role": meta.role, "version": meta.signed.version, "seen": least},
        )


def check_described(role: RoleName, data: bytes, entry: MetaFile | TargetFile, *, length: bool = True) -> None:
    """`data` is what `entry` names: every hash that we know, and the length.

    Args:
        role: for messages.
        data: the file.
        entry: what the snapshot or timestamp says of it.
        length: whether the length must match, too (the reference's server does not look, §3.1).

    Raises:
        SizeError: longer or shorter than announced.
        HashError: other bytes.
    """
    if length and entry.length is not None and len(data) != entry.length:
        raise SizeError(f"{role} has {len(data)} bytes instead of {entry.length}")
    try:
        MetaFile(1, None, entry.hashes).verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        expected = (entry.hashes or {}).get("sha256", "")
        raise HashError(f"sha256 checksum for {role} did not match: expected {expected}") from error


def allowed_paths(parent: tuple[str, ...], paths: list[str] | None) -> tuple[str, ...]:
    """A delegation's paths, without those that its own delegator may not give away (NOTARY_V1 §1.7)."""
    return tuple(path for path in paths or () if any(path.startswith(prefix) for prefix in parent))


def _is_signed_by(root: NotaryMetadata[Root], keys: Mapping[str, NotaryKey], threshold: int) -> bool:
    """Whether `threshold` of these keys signed `root`; python-tuf's rule over a root role of just them."""
    roles = {name: Role([], 1) for name in ("targets", "snapshot", "timestamp")}
    roles["root"] = Role(list(keys), threshold)
    judge = Root(keys=dict(keys), roles=roles)
    try:
        check_signatures(judge, root)
    except KeyIdError:
        raise  # the whole check fails, whatever else is well signed (§1.4)
    except SignatureError:
        return False
    return True
