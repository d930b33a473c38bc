# SPDX-License-Identifier: Apache-2.0
"""Whether an upload may be published: the notary server's rules, in its order (NOTARY_V1 §3.1, steps 1-4).

Root, then targets and delegations from the top down, then the publisher's snapshot.  What is stored may have
expired (so that it can be replaced); what is uploaded may not.  Steps 5-7, the server's own snapshot and timestamp
and the storing, are the server's.

Stricter than the reference in one point: a publisher's snapshot may name only files that the server holds, as they
are now or as they are uploaded.  The reference accepts others, and then nobody can download the role any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from tuf.api.metadata import Root, Snapshot, Targets

from trust.chain import check_described, check_fresh, check_root, check_signatures, check_version
from trust.errors import InvalidError, RollbackError, UntrustedError
from trust.metadata import (
    Decoded,
    NotaryMetadata,
    parse_decoded,
    parse_root,
    parse_snapshot,
    parse_targets,
    peek_version,
)
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName


class RefusedUpdateError(InvalidError):
    """The update is refused; on the wire 400 INVALID_UPDATE (NOTARY_V1 §2.2).

    Args:
        name: what clients tell errors apart by: `ErrValidation`, `ErrBadRoot`, `ErrBadTargets`, `ErrBadSnapshot`
            or `ErrBadHierarchy`.
        reason: why, for the user.
        missing: the missing role, for `ErrBadHierarchy`.
    """

    code = "INVALID_UPDATE"

    def __init__(self, name: str, reason: str, *, missing: str | None = None) -> None:
        inner = {"Missing": missing, "Msg": reason} if missing else {"Msg": reason}
        super().__init__("Update sent by the client is invalid.", detail={"Name": name, "Error": inner})
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CheckedUpdate:
    """An update that may be published.

    Attributes:
        root: the root in force after the update.
        before: the stored root; None: there is none.
        files: what is to be stored, by role, without a timestamp.
        loaded: every root and targets file that was uploaded or read as an ancestor: what a snapshot made by the
            server must name anew.
        snapshot: the publisher's own snapshot, if there is one.
    """

    root: NotaryMetadata[Root]
    before: NotaryMetadata[Root] | None
    files: dict[RoleName, bytes]
    loaded: dict[RoleName, bytes]
    snapshot: NotaryMetadata[Snapshot] | None


def check_update(
    gun: Gun,
    uploads: Mapping[RoleName, bytes],
    current: Callable[[RoleName], bytes | None],
    now: datetime,
    *,
    checked_root: NotaryMetadata[Root] | None = None,
    decoded: Mapping[RoleName, Decoded] | None = None,
) -> CheckedUpdate:
    """Check an upload against what is stored.

    Args:
        gun: the collection.
        uploads: the uploaded files; a timestamp among them is ignored.
        current: gives the stored current file of a role, or None.
        now: the time to check at.
        checked_root: the stored root, if an earlier call for this collection gave it; it is not checked again, as
            what is stored may have expired, and nothing else about it changes.
        decoded: the JSON of uploads, where it has been read already.

    Raises:
        RefusedUpdateError: it may not be published.
    """
    before = checked_root or _stored_root(gun, current(ROOT), now)
    root = _root(gun, uploads.get(ROOT), before, now)
    loaded = {ROOT: root.to_bytes()}
    parsed: dict[RoleName, NotaryMetadata[Targets]] = {}
    for role in sorted((r for r in uploads if r.is_targets), key=lambda r: (r.count("/"), r)):
        _load_ancestors(role, root.signed, uploads, current, loaded, parsed)
        try:
            meta = parse_decoded(role, (decoded or {}).get(role) or Decoded.of(uploads[role]))
            check_signatures(_delegator(role, root.signed, parsed), meta)
            check_fresh(meta, now)
        except UntrustedError as error:
            _refuse("ErrBadTargets", error)
        loaded[role], parsed[role] = uploads[role], meta
    files = {role: data for role, data in uploads.items() if role != TIMESTAMP}
    snapshot = None
    if SNAPSHOT in uploads:
        try:
            snapshot = _snapshot(uploads[SNAPSHOT], root.signed, loaded, current, now)
        except UntrustedError as error:
            _refuse("ErrBadSnapshot", error)
    return CheckedUpdate(root, before, files, loaded, snapshot)


def _stored_root(gun: Gun, stored: bytes | None, now: datetime) -> NotaryMetadata[Root] | None:
    if stored is None:
        return None
    try:
        root = parse_root(stored)
        check_root(root, gun, now, allow_expired=True)
    except UntrustedError as error:
        _refuse("ErrValidation", error)
    return root


def _root(
    gun: Gun, uploaded: bytes | None, before: NotaryMetadata[Root] | None, now: datetime
) -> NotaryMetadata[Root]:
    if uploaded is None:
        if before is None:
            raise RefusedUpdateError("ErrValidation", "no pre-existing root and no root provided in update.")
        return before
    least = before.signed.version if before else 1
    try:
        version = peek_version(uploaded)
        if version not in (least, least + 1):
            raise RollbackError(f"Root modifications must increment the version. Current {least}, new {version}")
        root = parse_root(uploaded)
        check_root(root, gun, now, previous=before.signed if before else None)
        check_version(root, least)
    except UntrustedError as error:
        _refuse("ErrBadRoot", error)
    return root


def _load_ancestors(
    role: RoleName,
    root: Root,
    uploads: Mapping[RoleName, bytes],
    current: Callable[[RoleName], bytes | None],
    loaded: dict[RoleName, bytes],
    parsed: dict[RoleName, NotaryMetadata[Targets]],
) -> None:
    """Load the stored files above `role`, top-down; what is missing or uploaded is passed over."""
    parts = role.split("/")
    for depth in range(1, len(parts)):
        ancestor = RoleName("/".join(parts[:depth]))
        if ancestor in parsed or ancestor in uploads:
            continue
        data = current(ancestor)
        if data is None:
            continue
        try:
            meta = parse_targets(ancestor, data)
            check_signatures(_delegator(ancestor, root, parsed), meta)
        except UntrustedError as error:
            _refuse("ErrBadTargets", error)
        loaded[ancestor], parsed[ancestor] = data, meta


def _delegator(role: RoleName, root: Root, parsed: Mapping[RoleName, NotaryMetadata[Targets]]) -> Root | Targets:
    if role == TARGETS:
        return root
    parent = parsed.get(role.parent)
    # An empty delegator answers that it delegates nothing, which is the truth.
    return parent.signed if parent else Targets()


def _snapshot(
    data: bytes,
    root: Root,
    loaded: Mapping[RoleName, bytes],
    current: Callable[[RoleName], bytes | None],
    now: datetime,
) -> NotaryMetadata[Snapshot]:
    meta = parse_snapshot(data)
    check_signatures(root, meta)
    check_fresh(meta, now)
    for role, file in loaded.items():
        if role not in meta.signed.meta:
            raise RollbackError(f"snapshot does not name {role}, which the update or its parent holds")
        check_described(role, file, meta.signed.meta[role], length=False)
    for name, entry in meta.signed.meta.items():
        if name in loaded:
            continue
        try:
            held = current(RoleName(name))
        except InvalidError:
            continue  # entries for other files are tolerated: nobody can ask for them
        if held is None:
            raise RollbackError(f"snapshot names {name[:80]}, which is neither stored nor in the update")
        check_described(RoleName(name), held, entry, length=False)
    return meta


def _refuse(name: str, error: UntrustedError) -> NoReturn:
    raise RefusedUpdateError(name, error.message) from error
