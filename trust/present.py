# SPDX-License-Identifier: Apache-2.0
"""What a publisher starts from: the newest state of a collection, verified, and ready to be edited.

A reader (trust.reader) believes nothing that has expired or that too few keys have signed.  Who is about to sign
anew must see such files as well: to revive an expired role, or to sign a delegation whose keys have changed.  So
here every file is verified in the same way but for its time, and a delegation below its threshold is read and marked.

`Present.load` keeps what it has verified in the cache, so that a publisher never signs a state older than one seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.metadata import Root, Snapshot, Targets

from trust.cache import Cache
from trust.chain import check_described, check_fresh, check_root, check_signatures, check_version
from trust.changes import Draft
from trust.errors import NotFoundError, SignatureError, UnavailableError, UntrustedError
from trust.metadata import (
    NotaryMetadata,
    parse_root,
    parse_snapshot,
    parse_targets,
    parse_timestamp,
    peek_version,
)
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.pins import Pins
from trust.reader import MAX_ROLES, ROOT_LIMIT, TIMESTAMP_LIMIT, Source, follow_root


@dataclass(frozen=True, slots=True)
class Present:
    """The present state of a collection.

    Attributes:
        root: the newest root.
        timestamp: its version, or 0 where the server could give none.
        snapshot: None where it could not be read, because the server has no valid timestamp any more.
        roles: `targets` and every delegation that has a file, expired or not.
        unsigned: delegations whose file has too few valid signatures by their present keys.

    Examples:
        >>> present = repository.present()
        >>> sorted(present.roles), present.unsigned
        (['targets', 'targets/alice', 'targets/releases'], {})
    """

    root: NotaryMetadata[Root]
    timestamp: int
    snapshot: NotaryMetadata[Snapshot] | None
    roles: Mapping[RoleName, NotaryMetadata[Targets]]
    unsigned: Mapping[RoleName, NotaryMetadata[Targets]]

    @classmethod
    def load(
        cls, gun: Gun, source: Source, cache: Cache, pins: Pins, now: datetime, *, revive: bool = False
    ) -> Present:
        """Ask the server for the newest state and verify it.

        Args:
            gun: the collection.
            source: where its files come from.
            cache: what was believed before; versions never go back behind it.
            pins: whom to believe first.
            now: the time.
            revive: whether root, timestamp, snapshot and targets may have expired.  Then a server that has no valid
                timestamp is taken at its word for which files are the newest; their signatures are checked.

        Returns:
            The state.

        Raises:
            NotFoundError: the server has no trust data for the GUN.
            UntrustedError: it is not to be believed; the subclass says why.
            UnavailableError: the server does not answer.

        Examples:
            >>> present = trust.Present.load(
            ...     image.gun, server, trust.MemoryCache(), trust.Pins(), datetime.now(UTC))
            >>> present.root.signed.version
            1
        """
        return _Loading(gun, source, cache, pins, now, revive).load()

    @property
    def state(self) -> tuple[int, ...]:
        """What differs as soon as somebody has published.

        Examples:
            >>> before = repository.present().state
            >>> _ = repository.publish(trust.Witness(trust.RELEASES))
            >>> repository.present().state == before
            False
        """
        versions = [meta.signed.version for _, meta in sorted({**self.roles, **self.unsigned}.items())]
        return self.root.signed.version, self.timestamp, *versions

    def draft(self) -> Draft:
        """The next state, so far like this one: to see what a change would touch, before it is published.

        Returns:
            A draft of its own; what is done to it changes nothing else.

        Examples:
            >>> draft = repository.present().draft()
            >>> trust.RevokeTag(keys, ["1"]).apply(draft)
            >>> sorted(draft.changed)
            ['targets/alice', 'targets/releases']
        """
        roles = {role: meta.signed for role, meta in self.roles.items()}
        return Draft(self.root.signed, roles, {role: meta.signed for role, meta in self.unsigned.items()})


@dataclass(frozen=True, slots=True)
class _Loading:
    gun: Gun
    source: Source
    cache: Cache
    pins: Pins
    now: datetime
    revive: bool

    def load(self) -> Present:
        root = self._root()
        version, snapshot = 0, None
        try:
            version, snapshot = self._snapshot(root)
        except (UnavailableError, NotFoundError):
            # With an expired root the server signs no timestamp (NOTARY_V1 §3.3).
            if not self.revive:
                raise
        roles: dict[RoleName, NotaryMetadata[Targets]] = {}
        unsigned: dict[RoleName, NotaryMetadata[Targets]] = {}
        waiting: list[tuple[RoleName, Root | Targets]] = [(TARGETS, root.signed)]
        while waiting:
            role, delegator = waiting.pop()
            meta = self._targets(role, snapshot)
            if meta is None:
                continue
            if len(roles) + len(unsigned) >= MAX_ROLES:
                raise SignatureError(f"more than {MAX_ROLES} delegations")
            try:
                check_signatures(delegator, meta)
            except SignatureError:
                if role == TARGETS:
                    raise
                unsigned[role] = meta
                continue
            if role == TARGETS:
                self._check_fresh(meta)
            self._keep(meta)
            roles[role] = meta
            children = meta.signed.delegations.roles if meta.signed.delegations else None
            waiting += [(RoleName(child), meta.signed) for child in children or {}]
        return Present(root, version, snapshot, roles, unsigned)

    def _root(self) -> NotaryMetadata[Root]:
        newest = parse_root(self.source.fetch(self.gun, ROOT, ROOT_LIMIT))
        kept = self.cache.load(self.gun, ROOT)
        if kept is None:
            check_root(newest, self.gun, self.now, pins=self.pins, allow_expired=True)
        else:
            trusted = parse_root(kept)
            check_root(trusted, self.gun, self.now, previous=trusted.signed, pins=self.pins, allow_expired=True)
            follow_root(self.source, self.gun, trusted, newest, self.now, self.pins, allow_expired=True)
            for role in (TIMESTAMP, SNAPSHOT):
                if set(trusted.signed.roles[role].keyids) != set(newest.signed.roles[role].keyids):
                    self.cache.drop(self.gun, role)  # TUF 5.3.11
        self._check_fresh(newest)
        self._keep(newest)
        return newest

    def _snapshot(self, root: NotaryMetadata[Root]) -> tuple[int, NotaryMetadata[Snapshot]]:
        timestamp = parse_timestamp(self.source.fetch(self.gun, TIMESTAMP, TIMESTAMP_LIMIT))
        check_signatures(root.signed, timestamp)
        check_version(timestamp, self._seen(TIMESTAMP))
        self._check_fresh(timestamp)
        entry = timestamp.signed.snapshot_meta
        data = self._fetch(SNAPSHOT, (entry.hashes or {})["sha256"])
        check_described(SNAPSHOT, data, entry)
        snapshot = parse_snapshot(data)
        check_signatures(root.signed, snapshot)
        check_version(snapshot, self._seen(SNAPSHOT))
        self._check_fresh(snapshot)
        check_described(ROOT, root.to_bytes(), snapshot.signed.meta[ROOT])
        self._keep(timestamp)
        self._keep(snapshot)
        return timestamp.signed.version, snapshot

    def _targets(self, role: RoleName, snapshot: NotaryMetadata[Snapshot] | None) -> NotaryMetadata[Targets] | None:
        if snapshot is None:
            try:
                data = self.source.fetch(self.gun, role, ROOT_LIMIT)
            except NotFoundError:
                if role == TARGETS:
                    raise
                return None
        elif role not in snapshot.signed.meta:
            return None  # delegated, and nothing signed yet
        else:
            entry = snapshot.signed.meta[role]
            sha256 = (entry.hashes or {}).get("sha256")
            if sha256 is None:
                raise SignatureError(f"{role} is named without a sha256 hash")
            data = self._fetch(role, sha256)
            check_described(role, data, entry)
        meta = parse_targets(role, data)
        check_version(meta, self._seen(role))
        return meta

    def _fetch(self, role: RoleName, sha256: str) -> bytes:
        try:
            return self.source.fetch(self.gun, f"{role}.{sha256}", ROOT_LIMIT)
        except NotFoundError as error:
            raise UnavailableError(f"{role} is named by signed metadata and the server does not have it") from error

    def _check_fresh(self, meta: NotaryMetadata[Any]) -> None:
        if not self.revive:
            check_fresh(meta, self.now)

    def _seen(self, role: RoleName) -> int:
        kept = self.cache.load(self.gun, role)
        try:
            return peek_version(kept) if kept is not None else 0
        except UntrustedError:
            return 0

    def _keep(self, meta: NotaryMetadata[Any]) -> None:
        self.cache.save(self.gun, meta.role, meta.signed.version, meta.to_bytes())
