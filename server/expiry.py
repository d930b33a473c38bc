# SPDX-License-Identifier: Apache-2.0
"""When what people signed will end: gauges, so that somebody acts while it can still be signed anew.

    expiry = Expiry(database, keys, clock, timedelta(minutes=5))
    expiry.collect()             # at each scrape: what was found last; and somebody is sent to look again, if due

Of each collection the role counts that ends first, among those that people sign: root, targets, delegations whose
signatures count, and the snapshot if its key is not in the signer.  What the server signs it renews by itself.

To look is not a scrape's business: it happens in a thread beside it, in one worker at a time, no more often than
asked.  What was found is kept in a file beside the workers' counters, so that each of them can show it and the next
look is at those collections only that the changefeed names since.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from tuf.api.metadata import Root, Targets

from server.store import MAX_CHANGES, Store
from trust.chain import check_signatures
from trust.errors import InvalidError, SignatureError, TrustError, UntrustedError
from trust.keystore import KeyStore
from trust.metadata import parse_root, parse_snapshot, parse_targets
from trust.names import ROOT, SNAPSHOT, TARGETS, Gun, RoleName
from trust.reader import MAX_ROLES
from trust.web.database import Database
from trust.web.metrics import gauge, shared_folder

#: Days within which a collection is said to end, from the nearest.
WITHIN = (7, 30, 90, 180)
#: How many collections have a gauge of their own.
MAX_NAMED = 1000

_SERVICE = "troth-server"
_DAY = timedelta(days=1).total_seconds()
_SOON = WITHIN[-1] * _DAY
#: So many changes are looked at again: one with a lower ID may be committed after one with a higher.
_OVERLAP = 200
_log = logging.getLogger("troth.server")

_TOTAL = gauge("troth_collections", "collections on this server", service=_SERVICE)
_BROKEN = gauge("troth_collections_unreadable", "collections whose current files cannot be read", service=_SERVICE)
_EXPIRING = gauge(
    "troth_collections_expiring",
    "collections in which something that people sign ends within that time (7d also counts in 30d), or has ended",
    service=_SERVICE,
    within=(*(f"{days}d" for days in WITHIN), "expired"),
)
_LEFT = gauge(
    "troth_collection_expires_in_seconds",
    f"seconds until the role that ends first in a collection does, negative when it has; the nearest {MAX_NAMED} of "
    f"those within {WITHIN[-1]} days",
    service=_SERVICE,
    gun=(),
    role=(),
)
_LOOKED = gauge(
    "troth_expiry_refreshed_timestamp_seconds", "when the server last looked what ends when", service=_SERVICE
)


@dataclass(slots=True)
class _Ends:
    """When a collection ends, in seconds since 1970.

    Attributes:
        role: the role of root and targets that ends first.
        at: when that is.
        snapshot: when its snapshot ends; None when the server signs that.
    """

    role: str
    at: float
    snapshot: float | None

    def first(self) -> tuple[str, float]:
        """The role that ends first, and when."""
        if self.snapshot is not None and self.snapshot < self.at:
            return SNAPSHOT, self.snapshot
        return self.role, self.at


@dataclass(slots=True)
class _Found:
    """All that is known.

    Attributes:
        change: ID of the newest change that was seen.
        seen: that and others shortly before.
        ends: by GUN; None for a collection that cannot be read.
        looked: when, in seconds since 1970.
    """

    change: int = -1
    seen: list[int] = field(default_factory=list)
    ends: dict[str, _Ends | None] = field(default_factory=dict)
    looked: float = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> _Found:
        fields: dict[str, Any] = json.loads(text)
        ends = {gun: None if each is None else _Ends(**each) for gun, each in fields.pop("ends").items()}
        return cls(ends=ends, **fields)


class Expiry(Collector):
    """The gauges.

    Args:
        database: the server's.
        keys: tells whose the snapshot keys are.
        clock: tells the time.
        interval: the shortest time between two looks.
        folder: where the workers meet; None: where they count.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyStore,
        clock: Callable[[], datetime],
        interval: timedelta,
        folder: Path | None = None,
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._interval = interval
        self._given = folder

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client`."""
        threading.Thread(target=self._refresh_aside, name="expiry", daemon=True).start()
        yield from self.known()

    def known(self) -> Iterator[Metric]:
        """What was found last."""
        found = self._load()
        if found is not None:  # else nobody has looked yet, and zeros would be a lie
            yield from _gauges(found, self._clock().timestamp())

    def refresh(self) -> bool:
        """Look again, if that is due and nobody else is at it.

        Returns:
            whether it was done.
        """
        with (self._folder / "expiry.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            lock.seek(0)
            now = self._clock().timestamp()
            if now - float(lock.read() or "-inf") < self._interval.total_seconds():
                return False
            lock.truncate(0)
            lock.write(repr(now))  # a look that fails is not repeated at once, either
            lock.flush()
            try:
                self._store(self._look(self._load() or _Found(), now))
            except TrustError as error:
                _log.warning("what expires when could not be looked up: %s", error)
                return False
            return True

    def _refresh_aside(self) -> None:
        try:
            self.refresh()
        except Exception:  # nobody waits for this thread
            _log.exception("what expires when could not be looked up")

    @property
    def _folder(self) -> Path:
        folder = self._given or shared_folder()
        assert folder is not None, "scraped without a folder"
        return folder

    def _load(self) -> _Found | None:
        try:
            return _Found.from_json((self._folder / "expiry.json").read_text())
        except FileNotFoundError:
            return None

    def _store(self, found: _Found) -> None:
        new = self._folder / "expiry.new"
        new.write_text(found.to_json())
        os.replace(new, self._folder / "expiry.json")

    def _look(self, found: _Found, now: float) -> _Found:
        with self._database.read() as session:
            store = Store(session)
            newest = [change.id for change in store.changes(None, 0, -_OVERLAP)]
            if found.change < 0 or max(newest, default=0) < found.change:  # the latter: another database, or a backup
                guns, found = set(store.guns()), _Found()
            else:
                guns = _changed(store, found)
        found.change, found.seen, found.looked = max(newest, default=0), newest, now
        for gun in sorted(guns):
            found.ends.pop(gun, None)
            try:
                ends = self._ends(Gun(gun))
            except (InvalidError, UntrustedError, KeyError) as error:
                _log.warning("what expires when in %r cannot be told: %s", gun, error)
                found.ends[gun] = None
            else:
                if ends is not None:  # else it was deleted
                    found.ends[gun] = ends
        self._ask_for_snapshots(found, now)
        return found

    def _ends(self, gun: Gun) -> _Ends | None:
        with self._database.read() as session:
            store = Store(session)
            chain = store.current(gun, ROOT)
            if chain is None:
                return None
            if chain.snapshot is None or chain.file is None:
                raise UntrustedError("a file that is named is missing")
            root = parse_root(chain.file.data).signed
            snapshot = parse_snapshot(chain.snapshot.data).signed
            ends = [(root.expires, ROOT)]
            waiting: list[tuple[RoleName, Root | Targets]] = [(TARGETS, root)]
            while waiting and len(ends) <= MAX_ROLES:
                role, delegator = waiting.pop()
                if role not in snapshot.meta and role != TARGETS:
                    continue  # delegated, and nothing signed yet
                stored = store.named(gun, role, snapshot.meta[role])
                if stored is None:
                    raise UntrustedError(f"{role} is named and missing")
                meta = parse_targets(role, stored.data)
                try:
                    check_signatures(delegator, meta)
                except SignatureError:
                    if role == TARGETS:
                        raise
                    continue  # readers pass it over
                ends.append((meta.signed.expires, role))
                children = meta.signed.delegations.roles if meta.signed.delegations else None
                waiting += [(RoleName(child.name), meta.signed) for child in (children or {}).values()]
        at, role = min(ends)
        return _Ends(role, at.timestamp(), snapshot.expires.timestamp())

    def _ask_for_snapshots(self, found: _Found, now: float) -> None:
        """Ask the signer, once a snapshot would be what ends first, whether the server signs it."""
        for gun, ends in found.ends.items():
            if ends is None or ends.first()[0] != SNAPSHOT or ends.first()[1] - now > _SOON:
                continue
            with self._database.read() as session:
                chain = Store(session).current(Gun(gun), ROOT)
            if chain is None or chain.file is None:
                continue  # deleted a moment ago
            role = parse_root(chain.file.data).signed.roles[SNAPSHOT]
            if len(self._keys.find(Gun(gun), SNAPSHOT, role.keyids)) >= role.threshold:
                ends.snapshot = None


def _changed(store: Store, found: _Found) -> set[str]:
    guns: set[str] = set()
    at, seen = max(0, found.change - _OVERLAP), set(found.seen)
    while changes := store.changes(None, at, MAX_CHANGES):
        guns |= {change.gun for change in changes if change.id not in seen}
        at = changes[-1].id
    return guns


def _gauges(found: _Found, now: float) -> Iterator[Metric]:
    firsts = [(gun, *ends.first()) for gun, ends in found.ends.items() if ends is not None]
    counts = {f"{days}d": sum(0 < at - now <= days * _DAY for _, _, at in firsts) for days in WITHIN}
    counts["expired"] = sum(at <= now for _, _, at in firsts)
    # First those with which something can still be done in time, then what ended last.
    soon = sorted(
        ((at - now, gun, role) for gun, role, at in firsts if at - now <= _SOON),
        key=lambda each: (each[0] <= 0, abs(each[0])),
    )
    for family, value in (
        (_TOTAL, len(found.ends)),
        (_BROKEN, sum(ends is None for ends in found.ends.values())),
        (_LOOKED, found.looked),
    ):
        samples = family.samples()
        samples.add_metric([], value)
        yield samples
    samples = _EXPIRING.samples()
    for within, count in counts.items():
        samples.add_metric([within], count)
    yield samples
    samples = _LEFT.samples()
    for left, gun, role in soon[:MAX_NAMED]:
        samples.add_metric([gun, role], left)
    yield samples
