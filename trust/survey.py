# SPDX-License-Identifier: Apache-2.0
"""Look a whole collection over: every root, and everything that is in force, link by link.

    found = survey(gun, source, now)
    found.roots, found.targets, found.expired

A reader stops at the first file whose time is over.  Whoever moves a collection must know whether it is whole all
the same: so here expiry is noted and everything else is checked as a reader does (NOTARY_V1 §6.2-6.3), and the roots
from the first one on, since a client may have seen any of them last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from trust.chain import check_described, check_fresh, check_root, check_signatures
from trust.errors import (
    DelegationError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    UnavailableError,
    UntrustedError,
)
from trust.metadata import NotaryMetadata, parse_root, parse_snapshot, parse_targets, parse_timestamp
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.reader import MAX_ROLES, MAX_ROOTS, ROOT_LIMIT, TIMESTAMP_LIMIT, Source


@dataclass(frozen=True, slots=True)
class Survey:
    """A collection that holds together.

    Attributes:
        gun: the collection.
        roots: every root, the first one first, the one in force last.
        timestamp: the current timestamp.
        snapshot: the one that it names.
        targets: targets and the delegations that readers believe, expired ones included.
        skipped: delegations that readers pass over, since too few of their keys signed, with the reason.
        expired: what is past its time; a reader would stop there.
    """

    gun: Gun
    roots: tuple[NotaryMetadata[Root], ...]
    timestamp: NotaryMetadata[Timestamp]
    snapshot: NotaryMetadata[Snapshot]
    targets: dict[RoleName, NotaryMetadata[Targets]]
    skipped: dict[RoleName, SignatureError]
    expired: tuple[UntrustedError, ...]

    @property
    def root(self) -> NotaryMetadata[Root]:
        """The root in force."""
        return self.roots[-1]

    @property
    def in_force(self) -> list[NotaryMetadata[Any]]:
        """Every file in force but the skipped delegations."""
        return [self.root, self.timestamp, self.snapshot, *self.targets.values()]

    def key_ids(self, role: RoleName) -> tuple[str, ...]:
        """The keys that the root in force names for a top-level role."""
        return tuple(self.root.signed.roles[role].keyids)


def survey(gun: Gun, source: Source, now: datetime) -> Survey:
    """Check all that `source` has of a collection.

    Raises:
        UntrustedError: it does not hold together; the subclass says why.
        NotFoundError: there is no such collection.
        UnavailableError: a file that is named is not there, or the source does not answer.
    """
    expired: list[UntrustedError] = []

    def note(check: Callable[[], None]) -> None:
        try:
            check()
        except UntrustedError as error:
            expired.append(error)

    roots = _roots(gun, source, now)
    root = roots[-1]
    # Without its time it is good; so what is wrong with it now is time, of itself or of its certificates.
    note(lambda: check_root(root, gun, now))
    timestamp = parse_timestamp(source.fetch(gun, TIMESTAMP, TIMESTAMP_LIMIT))
    check_signatures(root.signed, timestamp)
    note(lambda: check_fresh(timestamp, now))
    snapshot = parse_snapshot(_described(gun, source, SNAPSHOT, timestamp.signed.snapshot_meta))
    check_signatures(root.signed, snapshot)
    check_described(ROOT, root.to_bytes(), snapshot.signed.meta[ROOT])
    note(lambda: check_fresh(snapshot, now))
    targets: dict[RoleName, NotaryMetadata[Targets]] = {}
    skipped: dict[RoleName, SignatureError] = {}
    waiting: list[tuple[RoleName, Root | Targets]] = [(TARGETS, root.signed)]
    while waiting:
        role, delegator = waiting.pop()
        if role not in snapshot.signed.meta:  # delegated, and nothing signed yet; never so for targets
            continue
        if len(targets) + len(skipped) >= MAX_ROLES:
            raise DelegationError(f"more than {MAX_ROLES} delegations")
        meta = parse_targets(role, _described(gun, source, role, snapshot.signed.meta[role]))
        try:
            check_signatures(delegator, meta)
        except SignatureError as error:
            if role == TARGETS:
                raise
            skipped[role] = error
            continue
        targets[role] = meta
        note(lambda meta=meta: check_fresh(meta, now))  # type: ignore[misc]  # mypy cannot infer the default's type
        children = meta.signed.delegations.roles if meta.signed.delegations else None
        waiting += [(RoleName(child.name), meta.signed) for child in reversed((children or {}).values())]
    return Survey(gun, roots, timestamp, snapshot, targets, skipped, tuple(expired))


def named_file(gun: Gun, source: Source, role: RoleName, entry: MetaFile) -> bytes:
    """The file that `entry` of a snapshot or timestamp names, checked to be these bytes.

    Raises:
        UntrustedError: it is named without a hash, or other bytes came.
        NotFoundError: the source does not have it.
        UnavailableError: the source does not answer.
    """
    sha256 = (entry.hashes or {}).get("sha256")
    if sha256 is None:
        raise SignatureError(f"{role} is named without a sha256 hash")
    data = source.fetch(gun, f"{role}.{sha256}", ROOT_LIMIT if entry.length is None else entry.length)
    check_described(role, data, entry)
    return data


def _described(gun: Gun, source: Source, role: RoleName, entry: MetaFile) -> bytes:
    try:
        return named_file(gun, source, role, entry)
    except NotFoundError as error:
        raise UnavailableError(f"{role} is named by signed metadata and is not there") from error


def _roots(gun: Gun, source: Source, now: datetime) -> tuple[NotaryMetadata[Root], ...]:
    newest = parse_root(source.fetch(gun, ROOT, ROOT_LIMIT))
    last = newest.signed.version
    if last > MAX_ROOTS:
        raise RotationError(f"more than {MAX_ROOTS} roots")
    roots: list[NotaryMetadata[Root]] = []
    for version in range(1, last + 1):
        try:
            root = newest if version == last else parse_root(source.fetch(gun, f"{version}.root", ROOT_LIMIT))
        except NotFoundError as error:
            if version == 1:  # the reference takes a first root of version 2, too (§3.1 step 2)
                continue
            raise RotationError(f"root {version} is not there") from error
        if root.signed.version != version:
            raise RollbackError(f"root {version} says that it is version {root.signed.version}")
        previous = roots[-1].signed if roots else None
        check_root(root, gun, now, previous=previous, allow_expired=True)
        roots.append(root)
    return tuple(roots)
