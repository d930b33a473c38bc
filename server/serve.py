# SPDX-License-Identifier: Apache-2.0
"""Give out the current metadata, with the timestamp renewed in time (NOTARY_V1 §3.3).

The reference renews a timestamp when somebody asks for it after it has expired, and answers 500 when that fails.
Here:

* a timestamp, or a snapshot that we can sign, is renewed by the first reader after half of its life;
* when that fails and what is stored is still valid, what is stored is served, the failure is logged, and the next
  attempt waits a little, so that an absent signer costs one reader in a minute and not all of them;
* when what is stored has expired, the answer is 503 UNAVAILABLE with the reason;
* of several readers that renew at once one wins, and all serve the winner's files;
* an expired root renews nothing: its owner must act.

Nothing is locked while the signer is being waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from tuf.api.metadata import Root, Snapshot, Timestamp

from server.counts import LOST_RACES, stored
from server.errors import LostRaceError, MetadataNotFoundError, VersionError
from server.models import TRAIL
from server.online import SNAPSHOT_LIFETIME, TIMESTAMP_LIFETIME, Online
from server.publish import publish_deeds
from server.shelf import Kept, Shelf
from server.store import Chain, Store, StoredFile
from trust.chain import check_fresh, check_root, check_signatures
from trust.errors import TrustError, UnavailableError
from trust.metadata import NotaryMetadata, parse_root, parse_snapshot, parse_timestamp
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun, RoleName
from trust.update import RefusedUpdateError
from trust.web.caller import SERVICE, Who
from trust.web.database import BrokenOffError, Database

#: How long a failed renewal is not tried again while the stored files are good.
PAUSE = timedelta(minutes=1)
_MAX_PAUSES = 10_000
_MAX_ATTEMPTS = 3

_log = logging.getLogger("troth.server")


class Current:
    """The current files of every collection.

    Args:
        database: where they are stored.
        online: makes new snapshots and timestamps.
        clock: tells the time.
        shelf: keeps what was given out.
    """

    def __init__(self, database: Database, online: Online, clock: Callable[[], datetime], shelf: Shelf) -> None:
        self._database = database
        self._online = online
        self._clock = clock
        self._shelf = shelf
        self._pauses = _Pauses()

    def get(self, gun: Gun, role: RoleName) -> StoredFile:
        """The current file of `role`; a timestamp or snapshot is renewed first if it is due.

        Raises:
            MetadataNotFoundError: there is none.
            UnavailableError: it has expired and cannot be renewed.
        """
        found = self._shelf.get((gun, role), lambda: self._find(gun, role))
        if found is None:
            raise MetadataNotFoundError({})
        return found

    def _find(self, gun: Gun, role: RoleName) -> Kept | None:
        chain, until = self._read(gun, role), None
        if role in (TIMESTAMP, SNAPSHOT):
            chain, until = self._renewed_if_due(gun, role, chain)
        return None if chain.file is None else Kept(chain.file, until)

    def _read(self, gun: Gun, role: RoleName) -> Chain:
        with self._database.read() as session:
            chain = Store(session).current(gun, role)
        if chain is None:
            raise MetadataNotFoundError({})
        return chain

    def _renewed_if_due(self, gun: Gun, role: RoleName, chain: Chain) -> tuple[Chain, datetime]:
        """The chain, renewed if it had to be and could be, and when it is due."""
        for _ in range(_MAX_ATTEMPTS):
            now = self._clock()
            pair = _pair(chain)
            expired = pair.expired(now)
            if now < pair.due or not self._pauses.may_try(gun, now, urgent=expired is not None):
                return chain, pair.due
            try:
                self._renew(gun, pair, now)
            except (LostRaceError, VersionError, BrokenOffError):
                LOST_RACES.labels("renewal").inc()
                self._pauses.done(gun)  # read what the winner wrote
            except TrustError as error:
                self._pauses.failed(gun, now)
                if expired is not None:
                    # The reference answers 500 here.
                    raise UnavailableError(f"the {expired} and cannot be renewed: {_reason(error)}") from error
                _log.warning("%s: the timestamp is due and cannot be renewed: %s", gun, _reason(error))
                return chain, pair.due
            except BaseException:
                self._pauses.done(gun)
                raise
            else:
                self._pauses.done(gun)
            chain = self._read(gun, role)
        pair = _pair(chain)
        if (expired := pair.expired(self._clock())) is not None:
            raise UnavailableError(f"the {expired}, and others keep changing the collection")
        return chain, pair.due

    def _renew(self, gun: Gun, due: _Pair, now: datetime) -> None:
        """Write a new timestamp, and a new snapshot if that is due and its key is here.

        Raises:
            LostRaceError: somebody else was faster.
            TrustError: it cannot be done; see `_reason`.
        """
        root = self._root(gun, due.snapshot, now)
        files: dict[RoleName, tuple[int, bytes]] = {}
        snapshot = due.snapshot
        if due.snapshot_due <= now:
            try:
                # Only root's entry is made anew: nothing else has changed (§3.3 step 2).
                snapshot = self._online.next_snapshot(
                    gun, root.signed, due.snapshot.signed, {ROOT: root.to_bytes()}, now
                )
                files[SNAPSHOT] = (snapshot.signed.version, snapshot.to_bytes())
            except RefusedUpdateError:
                check_fresh(due.snapshot, now)  # its key is its owner's; it may still have some of its life
                if now < due.timestamp_due:
                    raise
        check_signatures(root.signed, snapshot)
        timestamp = self._online.next_timestamp(
            gun, root.signed, due.timestamp.signed.version, snapshot.to_bytes(), now
        )
        files[TIMESTAMP] = (timestamp.signed.version, timestamp.to_bytes())
        with self._database.write() as session:
            hashes = Store(session).put_all(gun, files, now, after=due.timestamp.signed.version)
            # Whoever reads first after half of its life has not asked for it.
            TRAIL.append(session, Who(SERVICE), now, *publish_deeds(gun, files, hashes, by_server=files))
        stored(files)

    def _root(self, gun: Gun, snapshot: NotaryMetadata[Snapshot], now: datetime) -> NotaryMetadata[Root]:
        with self._database.read() as session:
            stored = Store(session).named(gun, ROOT, snapshot.signed.meta["root"])
        if stored is None:
            raise UnavailableError("its root is missing")
        root = parse_root(stored.data)
        check_root(root, gun, now)
        return root


@dataclass(frozen=True, slots=True)
class _Pair:
    """A timestamp and the snapshot that it names; they are due at half of their lives."""

    timestamp: NotaryMetadata[Timestamp]
    snapshot: NotaryMetadata[Snapshot]

    @property
    def timestamp_due(self) -> datetime:
        return self.timestamp.signed.expires - TIMESTAMP_LIFETIME / 2

    @property
    def snapshot_due(self) -> datetime:
        return self.snapshot.signed.expires - SNAPSHOT_LIFETIME / 2

    @property
    def due(self) -> datetime:
        """When the first of them is."""
        return min(self.timestamp_due, self.snapshot_due)

    def expired(self, now: datetime) -> str | None:
        """Which is over already, and since when; None if none is."""
        expired = None
        for meta in (self.timestamp, self.snapshot):
            try:
                check_fresh(meta, now)
            except TrustError as error:
                expired = error.message
        return expired


def _pair(chain: Chain) -> _Pair:
    if chain.snapshot is None:
        raise UnavailableError("the snapshot that the timestamp names is missing")
    return _Pair(parse_timestamp(chain.timestamp.data), parse_snapshot(chain.snapshot.data))


def _reason(error: TrustError) -> str:
    return error.reason if isinstance(error, RefusedUpdateError) else error.message


class _Pauses:
    """Which collections are being renewed, or could not be a moment ago."""

    def __init__(self) -> None:
        self._until: dict[Gun, datetime | None] = {}
        self._lock = Lock()

    def may_try(self, gun: Gun, now: datetime, *, urgent: bool) -> bool:
        """Whether to renew now; the urgent always may."""
        with self._lock:
            if not urgent and gun in self._until:
                until = self._until[gun]
                if until is None or now < until:
                    return False
            self._until[gun] = None
            return True

    def done(self, gun: Gun) -> None:
        """The collection was renewed, or somebody else did it."""
        with self._lock:
            self._until.pop(gun, None)

    def failed(self, gun: Gun, now: datetime) -> None:
        """It could not be renewed."""
        with self._lock:
            if len(self._until) >= _MAX_PAUSES:
                self._until = {g: until for g, until in self._until.items() if until is None or until > now}
            self._until[gun] = now + PAUSE
