# SPDX-License-Identifier: Apache-2.0
"""The present state of a TUF 1.0 repository in a folder, verified, as its publisher starts from it.

As in trust.present: what has expired is refused unless it is to be revived, and a delegation below its threshold is
read and marked.  Roots are followed from the first one, or from the one that the publisher trusts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import DownloadHTTPError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from trust.errors import DelegationError, ExpiredError, FormatError, NotFoundError, RollbackError
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.standard.collection import MAX_ROLES
from trust.standard.failures import translated
from trust.standard.names import StandardRole
from trust.standard.places import Folder

_TYPES: Mapping[RoleName, type] = {ROOT: Root, SNAPSHOT: Snapshot, TIMESTAMP: Timestamp}


@dataclass(frozen=True, slots=True)
class StandardPresent:
    """The present state.

    Attributes:
        root: the newest root.
        timestamp: the timestamp.
        snapshot: the snapshot that it names.
        roles: `targets` and every delegation that has a file.
        unsigned: delegations whose file has too few valid signatures by their present keys.
    """

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    roles: Mapping[RoleName, Metadata[Targets]]
    unsigned: Mapping[RoleName, Metadata[Targets]]

    @classmethod
    def load(
        cls, metadata: Path, now: datetime, *, root: bytes | None = None, revive: bool = False
    ) -> StandardPresent:
        """Read and verify what is in the folder `metadata`.

        Args:
            metadata: the folder.
            now: the time.
            root: the root that is trusted first; None: the first one in the folder.
            revive: whether files may have expired, and may still be signed as the root before the newest says: a
                publish broke off between a new root and what it demands.

        Raises:
            NotFoundError: there is no repository.
            UntrustedError: it is not to be believed; the subclass says why.
            UnavailableError: it cannot be read.
        """
        roots = list(read_roots(metadata, root))
        if not roots:
            raise NotFoundError(f"there is no TUF repository in {metadata}")
        loading = _Loading(Folder(metadata), roots, now, revive)
        with translated([roots[-1].to_bytes()]):
            return loading.load()


def read_roots(metadata: Path, trusted: bytes | None = None) -> Iterator[Metadata[Root]]:
    """The roots in the folder `metadata`, each vouched for by the one before it.

    Raises:
        UntrustedError: a link does not hold, or the trusted root is newer than all of them.
    """
    folder = Folder(metadata)
    versions = sorted(
        int(path.name.partition(".")[0])
        for path in metadata.glob("*.root.json")
        if path.name.partition(".")[0].isdecimal()
    )
    with translated([trusted or b""]):
        if trusted is not None:
            link = Metadata[Root].from_bytes(trusted)
            if not isinstance(link.signed, Root):
                raise FormatError(f"the trusted root is of the type {link.signed.type}")
            if not versions:
                return
            if versions[-1] < link.signed.version:
                raise RollbackError(f"the newest root here is {versions[-1]}, older than {link.signed.version}")
            versions = [version for version in versions if version > link.signed.version]
            link.signed.verify_delegate(ROOT, link.signed_bytes, link.signatures)
            yield link
        previous = link.signed if trusted is not None else None
        for version in versions:
            meta = Metadata[Root].from_bytes(_content(folder, f"{version}.root.json"))
            if not isinstance(meta.signed, Root):
                raise FormatError(f"{version}.root.json is of the type {meta.signed.type}")
            if meta.signed.version != version or (previous is not None and version != previous.version + 1):
                raise RollbackError(f"the chain of roots does not go on with {version}.root.json")
            for judge in (previous, meta.signed):
                if judge is not None:
                    judge.verify_delegate(ROOT, meta.signed_bytes, meta.signatures)
            yield meta
            previous = meta.signed


class _Loading:
    def __init__(self, folder: Folder, roots: Sequence[Metadata[Root]], now: datetime, revive: bool) -> None:
        self.folder = folder
        self.root = roots[-1]
        self.judges = [meta.signed for meta in (roots[:-3:-1] if revive else roots[-1:])]
        self.now = now
        self.revive = revive

    def load(self) -> StandardPresent:
        self._check_fresh(ROOT, self.root)
        timestamp = self._top_level(TIMESTAMP, None)
        snapshot = self._top_level(SNAPSHOT, timestamp.signed.snapshot_meta)
        roles: dict[RoleName, Metadata[Targets]] = {}
        unsigned: dict[RoleName, Metadata[Targets]] = {}
        waiting: list[tuple[RoleName, Sequence[Root | Targets]]] = [(TARGETS, self.judges)]
        while waiting:
            role, judges = waiting.pop()
            if role in roles:
                continue
            if len(roles) + len(unsigned) > MAX_ROLES:
                raise DelegationError(f"more than {MAX_ROLES} delegations")
            entry = snapshot.signed.meta.get(f"{role}.json")
            if entry is None:
                raise DelegationError(f"{role} is delegated, and the snapshot does not name it")
            meta = self._described(role, entry, Targets)
            try:
                self._check_signed(role, meta, judges)
            except UnsignedMetadataError:
                if role == TARGETS:
                    raise
                unsigned[role] = meta
                continue
            self._check_fresh(role, meta)
            roles[role] = meta
            delegations = meta.signed.delegations
            children = delegations.roles if delegations else None
            waiting += [(StandardRole(name, role), [meta.signed]) for name in children or {}]
        return StandardPresent(self.root, timestamp, snapshot, roles, unsigned)

    def _top_level(self, role: RoleName, entry: MetaFile | None) -> Metadata[Any]:
        meta = self._described(role, entry, _TYPES[role])
        self._check_signed(role, meta, self.judges)
        self._check_fresh(role, meta)
        return meta

    def _described(self, role: RoleName, entry: MetaFile | None, type_: type) -> Metadata[Any]:
        prefix = f"{entry.version}." if entry and self.root.signed.consistent_snapshot else ""
        data = _content(self.folder, f"{prefix}{quote(role, safe='')}.json")
        if entry is not None:
            entry.verify_length_and_hashes(data)
        meta: Metadata[Any] = Metadata.from_bytes(data)
        type_found, version = meta.signed.type, meta.signed.version
        if not isinstance(meta.signed, type_):
            raise FormatError(f"{role} is of the type {type_found}")
        if entry is not None and version != entry.version:
            raise RollbackError(f"{role} is version {version} instead of {entry.version}")
        return meta

    def _check_signed(self, role: RoleName, meta: Metadata[Any], judges: Sequence[Root | Targets]) -> None:
        *others, last = judges
        for judge in others:
            try:
                judge.verify_delegate(role, meta.signed_bytes, meta.signatures)
            except UnsignedMetadataError:
                continue
            return
        last.verify_delegate(role, meta.signed_bytes, meta.signatures)

    def _check_fresh(self, role: RoleName, meta: Metadata[Any]) -> None:
        if not self.revive and meta.signed.is_expired(self.now):
            raise ExpiredError(role, meta.signed.expires)


def _content(folder: Folder, name: str) -> bytes:
    try:
        return b"".join(folder.read(name))
    except DownloadHTTPError as error:
        raise NotFoundError(f"the repository has no {name}") from error
