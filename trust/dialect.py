# SPDX-License-Identifier: Apache-2.0
"""Notary v1's `signed` object, translated to python-tuf's model and back (NOTARY_V1 §1.2).

The differences that are bridged here:

* `_type` is capitalised, there is no `spec_version`, `meta` names roles without `.json` and without versions;
* hashes are base64 of the digest, unknown algorithms beside a known one are ignored;
* an expiry has up to nine fraction digits and any offset; python-tuf keeps whole seconds, so the text is kept beside
  it and written again as long as it names the same second;
* lists and maps may be null or absent; key IDs may repeat; roots may name further roles;
* a delegation's paths are plain prefixes.

Pure: it takes and gives decoded JSON.  What it does not understand in `signed` it keeps in `unrecognized_fields`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from trust.errors import FormatError, InvalidError
from trust.keys import NotaryKey
from trust.names import TOP_LEVEL, RoleName

Payload = Root | Targets | Snapshot | Timestamp

TYPES: dict[type[Payload], str] = {
    Root: "Root", Targets: "Targets", Snapshot: "Snapshot", Timestamp: "Timestamp"
}  # fmt: skip
#: The highest version that the reference's database column can hold.
MAX_VERSION = 2**31 - 1

_HASH_SIZES = {"sha256": 32, "sha512": 64}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)


class PrefixRole(DelegatedRole):
    """A delegation whose `paths` are plain prefixes of target names (NOTARY_V1 §1.7)."""

    def is_delegated_path(self, target_filepath: str) -> bool:
        """Whether the name begins with one of the paths; `""` matches all, no paths match nothing."""
        return any(target_filepath.startswith(path) for path in self.paths or ())


def type_of(role: RoleName) -> type[Payload]:
    """The class of `role`'s payload."""
    if role.is_targets:
        return Targets
    return {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}[role]  # type: ignore[return-value]  # union


def parse_time(text: object) -> datetime:
    """An RFC 3339 time, truncated to microseconds, in UTC.

    Raises:
        FormatError: it is not one.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise FormatError("expires is not an RFC 3339 time")
    date, clock, fraction, sign, hours, minutes = match.groups()
    try:
        zone = UTC
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(-offset if sign == "-" else offset)
        moment = datetime.fromisoformat(f"{date}T{clock}").replace(
            microsecond=int((fraction or "")[:6].ljust(6, "0")), tzinfo=zone
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise FormatError("expires is not an RFC 3339 time") from error


def from_notary(role: RoleName, signed: object) -> Payload:
    """Translate a decoded `signed` object.

    Args:
        role: what it must be.
        signed: decoded JSON; it is not changed.

    Raises:
        FormatError: it is not well-formed metadata of that role.
    """
    try:
        return _from_notary(role, signed)
    except FormatError as error:
        raise FormatError(f"{role} type metadata invalid: {error.message}") from error
    except (ValueError, TypeError, KeyError, AttributeError, InvalidError) as error:
        raise FormatError(f"{role} type metadata invalid: {error}") from error


def to_notary(payload: Payload) -> dict[str, Any]:
    """The `signed` object of `payload` in Notary's form, ready for canonical JSON."""
    fields = dict(payload.unrecognized_fields)
    kept = fields.pop("expires", None)
    if kept is None or parse_time(kept).replace(microsecond=0) != payload.expires:
        kept = f"{payload.expires:%Y-%m-%dT%H:%M:%SZ}"
    fields |= {"_type": TYPES[type(payload)], "expires": kept, "version": payload.version}
    if isinstance(payload, Root):
        fields["consistent_snapshot"] = bool(payload.consistent_snapshot)
        fields["keys"] = {keyid: key.to_dict() for keyid, key in payload.keys.items()}
        fields["roles"] = {
            name: {"keyids": list(role.keyids), "threshold": role.threshold} for name, role in payload.roles.items()
        }
    elif isinstance(payload, Targets):
        fields["delegations"] = _delegations_to_notary(payload.delegations)
        fields["targets"] = {name: _file_to_notary(file) for name, file in payload.targets.items()}
    elif isinstance(payload, Snapshot):
        fields["meta"] = {name: _file_to_notary(file) for name, file in payload.meta.items()}
    else:
        fields["meta"] = {"snapshot": _file_to_notary(payload.snapshot_meta)}
    return fields


def _from_notary(role: RoleName, signed: object) -> Payload:
    cls = type_of(role)
    fields = dict(_object(signed, "signed"))
    found = fields.pop("_type", "")
    if found != TYPES[cls]:
        raise FormatError(f"expected type {TYPES[cls]}, not {str(found)[:40]}")
    version = _integer(fields.pop("version", 0), "version")
    if version < 1:
        raise FormatError("version cannot be less than one")
    if version > MAX_VERSION:
        raise FormatError(f"version cannot be more than {MAX_VERSION}")
    expires = parse_time(fields.get("expires"))
    payload = _FILL[cls](fields, role)
    payload.version, payload.expires = version, expires
    payload.unrecognized_fields = fields
    return payload


def _root(fields: dict[str, Any], _role: RoleName) -> Root:
    consistent = fields.pop("consistent_snapshot", False)
    keys = _keys(fields.pop("keys", None))
    roles: dict[str, Role] = {}
    for name, value in _object(fields.pop("roles", None), "roles").items():
        role = _object(value, f"role {name[:80]}")
        if name in TOP_LEVEL:  # others are tolerated and mean nothing
            roles[name] = Role(_keyids(role), _threshold(role))
    for name in TOP_LEVEL:
        if name not in roles:
            raise FormatError(f"missing {name} role specification")
        for keyid in roles[name].keyids:
            if keyid not in keys:
                raise FormatError(f"key ID {keyid[:64]} specified in {name} without corresponding key")
    return Root(keys=keys, roles=roles, consistent_snapshot=bool(consistent))


def _targets(fields: dict[str, Any], role: RoleName) -> Targets:
    targets = {
        name: _target_file(name, value) for name, value in _object(fields.pop("targets", None), "targets").items()
    }
    delegations = _object(fields.pop("delegations", None), "delegations")
    keys = _keys(delegations.get("keys"))
    roles: dict[str, DelegatedRole] = {}
    for value in _list(delegations.get("roles"), "delegations.roles"):
        entry = _object(value, "delegation")
        name = RoleName(_text(entry.get("name"), "delegation name"))
        if not name.is_delegation or name.parent != role:
            raise FormatError(f"delegation {name[:80]} is not a direct child of {role}")
        if name in roles:
            raise FormatError(f"delegation {name[:80]} is listed twice")
        paths = [_text(path, "path") for path in _list(entry.get("paths"), "paths")]
        roles[name] = PrefixRole(name, _keyids(entry), _threshold(entry), terminating=False, paths=paths)
        for keyid in roles[name].keyids:
            if keyid not in keys:
                raise FormatError(f"key ID {keyid[:64]} specified in {name} without corresponding key")
    return Targets(targets=targets, delegations=Delegations(keys, roles))


def _snapshot(fields: dict[str, Any], _role: RoleName) -> Snapshot:
    entries = _object(fields.pop("meta", None), "meta")
    for name in ("root", "targets"):
        if name not in entries:
            raise FormatError(f"missing {name} sha256 checksum information")
    meta = {}
    for name, value in entries.items():
        meta[name] = _meta_file(value, name, must_sha256=name in ("root", "targets"))
    return Snapshot(meta=meta)


def _timestamp(fields: dict[str, Any], _role: RoleName) -> Timestamp:
    entries = _object(fields.pop("meta", None), "meta")
    if "snapshot" not in entries:
        raise FormatError("missing snapshot sha256 checksum information")
    return Timestamp(snapshot_meta=_meta_file(entries["snapshot"], "snapshot", must_sha256=True))


_FILL: dict[type[Payload], Callable[[dict[str, Any], RoleName], Payload]] = {
    Root: _root, Targets: _targets, Snapshot: _snapshot, Timestamp: _timestamp
}  # fmt: skip


def _meta_file(value: object, name: str, *, must_sha256: bool) -> MetaFile:
    entry = _object(value, name)
    hashes = _hashes(entry, name)
    if must_sha256 and "sha256" not in hashes:
        raise FormatError(f"missing {name} sha256 checksum information")
    return MetaFile(1, _length(entry, name), hashes)


def _target_file(name: str, value: object) -> TargetFile:
    entry = _object(value, name)
    kept = {"custom": entry["custom"]} if entry.get("custom") is not None else {}
    return TargetFile(_length(entry, name), _hashes(entry, name), name, kept)


def _hashes(entry: dict[str, Any], name: str) -> dict[str, str]:
    hashes = {}
    for algorithm, encoded in _object(entry.get("hashes"), "hashes").items():
        size = _HASH_SIZES.get(algorithm)
        if size is None:
            continue  # an algorithm that we do not know says nothing to us
        try:
            digest = binascii.a2b_base64(encoded, strict_mode=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise FormatError(f"{algorithm} checksum for {name[:80]} is not base64") from error
        if len(digest) != size:
            raise FormatError(f"invalid length for {algorithm} checksum of {name[:80]}")
        hashes[algorithm] = digest.hex()
    if not hashes:
        raise FormatError(f"no supported checksum for {name[:80]}")
    return hashes


def _file_to_notary(file: MetaFile | TargetFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "hashes": {a: base64.b64encode(bytes.fromhex(h)).decode() for a, h in (file.hashes or {}).items()},
        "length": file.length or 0,
    }
    if isinstance(file, TargetFile) and file.custom is not None:
        entry["custom"] = file.custom
    return entry


def _delegations_to_notary(delegations: Delegations | None) -> dict[str, Any]:
    if delegations is None:
        return {"keys": {}, "roles": []}
    roles = []
    for role in (delegations.roles or {}).values():
        entry: dict[str, Any] = {
            "keyids": list(role.keyids), "name": role.name, "threshold": role.threshold
        }  # fmt: skip
        if role.paths:
            entry["paths"] = list(role.paths)
        roles.append(entry)
    return {"keys": {keyid: key.to_dict() for keyid, key in delegations.keys.items()}, "roles": roles}


def _keys(value: object) -> dict[str, Key]:
    return {keyid: NotaryKey.from_dict(keyid, entry) for keyid, entry in _object(value, "keys").items()}


def _keyids(entry: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(_text(keyid, "key ID") for keyid in _list(entry.get("keyids"), "keyids")))


def _threshold(entry: dict[str, Any]) -> int:
    threshold = _integer(entry.get("threshold", 0), "threshold")
    if threshold < 1:
        raise FormatError("threshold cannot be less than one")
    return threshold


def _length(entry: dict[str, Any], name: str) -> int:
    length = _integer(entry.get("length", 0), f"length of {name[:80]}")
    if length < 0:
        raise FormatError(f"length of {name[:80]} is negative")
    return length


def _object(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{what[:80]} is not an object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError(f"{what} is not a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{what} is not a string")
    return value


def _integer(value: object, what: str) -> int:
    if type(value) is not int:  # True is an int to isinstance
        raise FormatError(f"{what} is not an integer")
    return value
