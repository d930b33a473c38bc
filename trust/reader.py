# SPDX-License-Identifier: Apache-2.0
"""Fetch, believe, look up: the client's side of Notary v1 (NOTARY_V1 §6.3).

    reader = Reader(gun, server, FileCache(folder), pins=pins)
    reader.refresh().lookup("v1").digest

The order, with one retry after a root update:

1. the root that was believed before, or the server's first one by the pins;
2. the timestamp: always asked for, signed, not expired, not older than the one before;
3. the snapshot that it names: these very bytes, and of the root in use;
4. targets and the delegations below it, each the bytes that the snapshot names and signed as its parent says; a
   delegation that is expired or below threshold is skipped and says nothing.

A root is followed link by link, so that every rotation is vouched for by the keys before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from trust.cache import Cache
from trust.chain import allowed_paths, check_described, check_fresh, check_root, check_signatures, check_version
from trust.collection import Collection
from trust.errors import (
    DelegationError,
    ExpiredError,
    FormatError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    UnavailableError,
    UntrustedError,
)
from trust.metadata import (
    NotaryMetadata,
    parse,
    parse_root,
    parse_snapshot,
    parse_targets,
    parse_timestamp,
    peek_version,
)
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.pins import Pins

#: Size limits in bytes (§1.2); other files are limited by what the referring file says.
TIMESTAMP_LIMIT = 2**20
ROOT_LIMIT = 100 * 2**20
#: A chain of roots or a tree of delegations longer than this is not followed.
MAX_ROOTS = 1000
MAX_ROLES = 1000


class Source(Protocol):
    """Where files come from: a `NotaryServer`, or anything that has them.

    Nothing that a source gives is believed before it is verified.

    Examples:
        >>> class Diary:
        ...     def fetch(self, gun, name, limit):
        ...         print(name.partition(".")[0])
        ...         return server.fetch(gun, name, limit)
        >>> _ = trust.Reader(image.gun, Diary(), trust.MemoryCache(), roles=[trust.RELEASES]).refresh()
        root
        timestamp
        snapshot
        targets
        targets/releases
    """

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """A file of a collection (NOTARY_V1 §2.1).

        Args:
            gun: the collection.
            name: what stands before `.json`: a role, `<role>.<sha256>` or `<version>.root`.
            limit: the most bytes to take.

        Returns:
            The file's bytes, as they were published.

        Raises:
            NotFoundError: there is no such file.
            SizeError: it is longer than `limit`.
            UnavailableError: it cannot be found out.

        Examples:
            >>> server.fetch(image.gun, "timestamp", limit=2**20)[:30]
            b'{"signed":{"_type":"Timestamp"'
        """


class Reader:
    """A reader of one trust collection.

    Args:
        gun: the collection.
        source: where its files come from.
        cache: what was believed before.
        pins: whom to believe first.
        roles: the targets roles that are of interest; None is all.  Others are read only to get there.
        offline: whether the kept timestamp does, while it is valid, when the server does not answer.
        grace: for how long all but the root is believed after its time; `Collection.expired` says what was.
        clock: gives the time, aware.

    `open_reader` is the short way to one.

    Examples:
        >>> reader = trust.Reader(image.gun, server, trust.FileCache("kept"), offline=True)
        >>> reader.refresh().lookup("1").signers
        ('alice',)
    """

    def __init__(
        self,
        gun: Gun,
        source: Source,
        cache: Cache,
        *,
        pins: Pins | None = None,
        roles: Sequence[RoleName] | None = None,
        offline: bool = False,
        grace: timedelta = timedelta(),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gun = gun
        self._source = source
        self._cache = cache
        self._pins = pins or Pins()
        self._roles = tuple(roles) if roles is not None else None
        self._offline = offline
        self._grace = grace
        self._clock = clock
        self._last: Collection | None = None
        self._root: NotaryMetadata[Root] | None = None

    def refresh(self) -> Collection:
        """Ask the server for the newest state and verify it (NOTARY_V1 §6.3).

        Returns:
            The verified state; the same object as before if nothing has changed.

        Raises:
            UntrustedError: it is not to be believed; the subclass says why.
            NotFoundError: the server has no trust data for the GUN.
            UnauthorizedError: the server wants other credentials.
            UnavailableError: the server does not answer.

        Examples:
            >>> reader = trust.open_reader(image.gun, ca=ca, credentials=login, root_keys=["0" * 64])
            >>> reader.refresh()
            Traceback (most recent call last):
            trust.errors.PinError: could not validate the path to a trusted root: ...
        """
        now = self._clock()
        root = self._trusted_root(now)
        if not root.signed.is_expired(now):
            try:
                return self._update(root, now)
            except UntrustedError:
                pass  # perhaps the root has changed: once more with the newest
        return self._update(self._newest_root(root, now), now)

    def _trusted_root(self, now: datetime) -> NotaryMetadata[Root]:
        kept = self._cache.load(self.gun, ROOT)
        if kept is not None:
            last = self._root
            if last is not None and last.to_bytes() == kept:
                return last
            root = parse_root(kept)
            # It vouches for itself; pins that were set later bind it all the same.
            check_root(root, self.gun, now, previous=root.signed, pins=self._pins, allow_expired=True)
            if not self._pins.ca:  # whether a CA's certificate is good depends on the time
                self._root = root
            return root
        root = parse_root(self._source.fetch(self.gun, ROOT, ROOT_LIMIT))
        check_root(root, self.gun, now, pins=self._pins)
        self._keep(root)
        return root

    def _newest_root(self, trusted: NotaryMetadata[Root], now: datetime) -> NotaryMetadata[Root]:
        newest = parse_root(self._source.fetch(self.gun, ROOT, ROOT_LIMIT))
        follow_root(self._source, self.gun, trusted, newest, now, self._pins)
        self._keep(newest)
        return newest

    def _update(self, root: NotaryMetadata[Root], now: datetime) -> Collection:
        timestamp = self._timestamp(root, now)
        last = self._last
        if last is not None and (last.root.to_bytes(), last.timestamp.to_bytes()) == (
            root.to_bytes(),
            timestamp.to_bytes(),
        ):
            try:
                last.check_fresh(now, self._grace)
                return last
            except ExpiredError:
                pass
        snapshot = self._snapshot(root, timestamp, now)
        roles: dict[RoleName, NotaryMetadata[Targets]] = {}
        paths: dict[RoleName, tuple[str, ...]] = {TARGETS: ("",)}
        skipped: dict[RoleName, UntrustedError] = {}
        waiting: list[tuple[RoleName, Root | Targets]] = [(TARGETS, root.signed)]
        while waiting:
            role, delegator = waiting.pop()
            if role not in snapshot.signed.meta:  # delegated, and nothing signed yet; never so for targets
                continue
            if len(roles) + len(skipped) >= MAX_ROLES:
                raise DelegationError(f"more than {MAX_ROLES} delegations")
            try:
                meta = self._targets(role, delegator, snapshot.signed.meta[role], now)
            except (ExpiredError, SignatureError) as error:
                if role == TARGETS:
                    raise
                skipped[role] = error
                continue
            roles[role] = meta
            children = meta.signed.delegations.roles if meta.signed.delegations else None
            for child in reversed((children or {}).values()):
                name = RoleName(child.name)
                paths[name] = allowed_paths(paths[role], child.paths)
                if self._is_wanted(name):
                    waiting.append((name, meta.signed))
        self._last = Collection(self.gun, root, timestamp, snapshot, roles, paths, skipped)
        return self._last

    def _timestamp(self, root: NotaryMetadata[Root], now: datetime) -> NotaryMetadata[Timestamp]:
        kept = self._cache.load(self.gun, TIMESTAMP)
        try:
            data = self._source.fetch(self.gun, TIMESTAMP, TIMESTAMP_LIMIT)
        except (NotFoundError, UnavailableError):
            if kept is None or not self._offline:
                raise
            data = kept
        last = self._last
        if last is not None and (last.root.to_bytes(), last.timestamp.to_bytes()) == (root.to_bytes(), data):
            meta = last.timestamp  # these very bytes were verified by this very root
        else:
            meta = parse_timestamp(data)
            check_signatures(root.signed, meta)
        check_fresh(meta, now - self._grace)
        self._check_not_older(root.signed, meta, kept)
        self._keep(meta, kept)
        return meta

    def _snapshot(
        self, root: NotaryMetadata[Root], timestamp: NotaryMetadata[Timestamp], now: datetime
    ) -> NotaryMetadata[Snapshot]:
        entry = timestamp.signed.snapshot_meta
        kept = self._cache.load(self.gun, SNAPSHOT)
        meta = parse_snapshot(self._described(SNAPSHOT, entry, kept))
        check_signatures(root.signed, meta)
        check_fresh(meta, now - self._grace)
        self._check_not_older(root.signed, meta, kept)
        check_described(ROOT, root.to_bytes(), meta.signed.meta[ROOT])
        self._keep(meta, kept)
        return meta

    def _targets(
        self, role: RoleName, delegator: Root | Targets, entry: MetaFile, now: datetime
    ) -> NotaryMetadata[Targets]:
        kept = self._cache.load(self.gun, role)
        meta = parse_targets(role, self._described(role, entry, kept))
        check_signatures(delegator, meta)
        self._check_not_older(delegator, meta, kept)
        check_fresh(meta, now - self._grace)
        self._keep(meta, kept)
        return meta

    def _described(self, role: RoleName, entry: MetaFile, kept: bytes | None) -> bytes:
        """The bytes that `entry` names: the kept ones if they are, else the server's."""
        if kept is not None:
            try:
                check_described(role, kept, entry)
                return kept
            except UntrustedError:
                pass
        hashes = entry.hashes or {}
        if "sha256" not in hashes:
            raise SignatureError(f"{role} is named without a sha256 hash")
        limit = ROOT_LIMIT if entry.length is None else entry.length
        try:
            data = self._source.fetch(self.gun, f"{role}.{hashes['sha256']}", limit)
        except NotFoundError as error:
            raise UnavailableError(f"{role} is named by signed metadata and the server does not have it") from error
        check_described(role, data, entry)
        return data

    def _check_not_older(self, delegator: Root | Targets, meta: NotaryMetadata[Any], kept: bytes | None) -> None:
        """`meta` is not behind the kept file, unless that one's keys were replaced.

        What a replaced key signed binds no more: so a fast-forward is undone by new keys (TUF 5.3.11).
        """
        if kept is None or meta.to_bytes() == kept or meta.signed.version > (least := _version(kept)):
            return
        if meta.signed.version == least and meta.role != TIMESTAMP:
            return
        if _is_signed(delegator, meta.role, kept):
            check_version(meta, least)
            raise RollbackError("there are two different timestamps of the same version")
        self._cache.drop(self.gun, meta.role)

    def _is_wanted(self, role: RoleName) -> bool:
        return self._roles is None or any(w == role or w.startswith(role + "/") for w in self._roles)

    def _keep(self, meta: NotaryMetadata[Any], kept: bytes | None = None) -> None:
        if meta.to_bytes() != kept:
            self._cache.save(self.gun, meta.role, meta.signed.version, meta.to_bytes())


def follow_root(
    source: Source,
    gun: Gun,
    trusted: NotaryMetadata[Root],
    newest: NotaryMetadata[Root],
    now: datetime,
    pins: Pins,
    *,
    allow_expired: bool = False,
) -> None:
    """`newest` is `trusted` or follows from it, if need be link by link.

    Args:
        source: has the links.
        gun: the collection.
        trusted: the root that is believed.
        newest: the root that shall be.
        now: the time.
        pins: whom to believe at all.
        allow_expired: whether `newest` may have expired; links may, always.

    Raises:
        UntrustedError: it does not; the subclass says why.
        UnavailableError: the source does not answer.
    """
    check_version(newest, trusted.signed.version)
    try:
        check_root(newest, gun, now, previous=trusted.signed, pins=pins, allow_expired=allow_expired)
    except RotationError:
        # Not signed by the keys that we know: follow the rotations in between.
        link, first, last = trusted, trusted.signed.version + 1, newest.signed.version
        if not first < last <= first + MAX_ROOTS:
            raise
        for version in range(first, last):
            previous, link = link, _link(source, gun, version)
            check_root(link, gun, now, previous=previous.signed, pins=pins, allow_expired=True)
        check_root(newest, gun, now, previous=link.signed, pins=pins, allow_expired=allow_expired)
    if newest.signed.version == trusted.signed.version and newest.to_bytes() != trusted.to_bytes():
        raise RollbackError("there are two different roots of the same version")


def _link(source: Source, gun: Gun, version: int) -> NotaryMetadata[Root]:
    try:
        link = parse_root(source.fetch(gun, f"{version}.root", ROOT_LIMIT))
    except NotFoundError as error:
        # Not "no trust data": there is a root, but nothing that leads to it.
        raise RotationError(
            f"could not rotate trust to a new trusted root: the server has no root {version}"
        ) from error
    if link.signed.version != version:
        raise RollbackError(f"root {version} says that it is version {link.signed.version}")
    return link


def _version(kept: bytes | None) -> int:
    try:
        return peek_version(kept) if kept is not None else 0
    except FormatError:
        return 0  # a damaged file protects nothing and will be replaced


def _is_signed(delegator: Root | Targets, role: RoleName, kept: bytes) -> bool:
    try:
        check_signatures(delegator, parse(role, kept))
    except UntrustedError:
        return False
    return True
