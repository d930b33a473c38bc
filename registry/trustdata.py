# SPDX-License-Identifier: Apache-2.0
"""Verified trust collections, as they are now: the notary server is asked for every call.

    trust_data = TrustData(source, DatabaseCache(database))
    trust_data.of(gun, policy).lookup("1")

Nothing is believed for a while.  What is remembered is only that certain bytes were verified, so an unchanged
collection costs one small request, and a publish counts from the next request of every replica.  Pulls that come
while one is being answered share the next question, and its verification.  Only where the operator says so, an answer
of the notary server counts for a moment more (the setting `trust_age_seconds`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from registry.policies import Policy
from trust.cache import Cache
from trust.collection import Collection
from trust.errors import FormatError, RollbackError, UnavailableError
from trust.metadata import peek_version
from trust.names import ROOT, TIMESTAMP, Gun
from trust.pins import Pins
from trust.reader import Reader, Source
from trust.web import tracing
from trust.web.waves import Waves

#: How often a reader that looks as if it were shown old files begins again.
_OVERTAKEN = 3
#: Collections that a process remembers verified.
_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class _Answer:
    """A timestamp, and when it was asked for, by the monotonic clock."""

    asked: float
    data: bytes


class _Aged:
    """A source whose timestamps count for a while: for no time at all, unless there is an age."""

    def __init__(self, source: Source, age: float) -> None:
        self._source = source
        self._age = age
        self._answers: dict[Gun, _Answer] = {}

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `Source`."""
        if name != TIMESTAMP:
            tracing.takes_time()
            return self._source.fetch(gun, name, limit)
        answer = self._answers.get(gun)
        if answer is None or time.monotonic() - answer.asked >= self._age:
            answer = tracing.awaited((self, gun), lambda: self._ask(gun, limit))
            if self._age:
                if len(self._answers) >= _REMEMBERED:
                    self._answers.clear()
                self._answers[gun] = answer
        return answer.data

    def _ask(self, gun: Gun, limit: int) -> _Answer:
        asked = time.monotonic()  # an answer may be as old as its question
        return _Answer(asked, self._source.fetch(gun, TIMESTAMP, limit))

    def forget(self, gun: Gun) -> None:
        """Ask for the timestamp of `gun` the next time, whatever its age."""
        self._answers.pop(gun, None)


class TrustData:
    """The registry's readers of trust collections.

    Args:
        source: the notary server; None: there is none, so nothing can be known.
        cache: what was believed before.
        clock: gives the time, aware.
        age: for how many seconds an answer of the notary server counts for further pulls of this process; an answer
            that does not come counts for nobody.
        renew: called before what was believed is looked up for several pulls at once, since it must be no older than
            the last of them.
    """

    def __init__(
        self,
        source: Source | None,
        cache: Cache,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        age: float = 0.0,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = None if source is None else _Aged(source, age)
        self._cache = cache
        self._clock = clock
        self._renew = renew
        self._waves = Waves[Collection]()
        self._readers: OrderedDict[tuple[object, ...], Reader] = OrderedDict()
        self._lock = Lock()

    @property
    def has_source(self) -> bool:
        """Whether there is a notary server: where there is none, nothing can be signed."""
        return self._source is not None

    def of(self, gun: Gun, policy: Policy) -> Collection:
        """The collection as it is now, with the roles that count.

        Raises:
            NotFoundError: there is no trust data.
            UntrustedError: it is not to be believed.
            UnavailableError: it cannot be had.
            UnauthorizedError: the notary server does not let us read it.
        """
        reader = self._reader(gun, policy)
        if tracing.is_at_once():  # then its pull has a wave of its own (`trust.web.lane`)
            return reader.refresh()
        return self._waves.ask(reader, lambda: self._refreshed(gun, reader))

    def _refreshed(self, gun: Gun, reader: Reader) -> Collection:
        for _ in range(_OVERTAKEN):
            self._renew()
            try:
                return reader.refresh()
            except RollbackError:
                # Perhaps another thread or process kept a newer file while this one was still reading: then it only
                # has to read again.
                self._forget(gun)
        self._renew()
        return reader.refresh()

    def in_grace(self, collection: Collection) -> str | None:
        """What of a collection is believed although its time is over, as a sentence; None: nothing."""
        expired = collection.expired(self._clock())
        if not expired:
            return None
        return "; ".join(f"{role} expired at {moment.isoformat()}" for role, moment in expired.items())

    def believed_root(self, gun: Gun) -> int | None:
        """The version of the root that was believed last, which also binds while the server is out of reach."""
        kept = self._cache.load(gun, ROOT)
        try:
            return None if kept is None else peek_version(kept)
        except FormatError:
            return None

    def _forget(self, gun: Gun) -> None:
        if self._source is not None:
            self._source.forget(gun)

    def _reader(self, gun: Gun, policy: Policy) -> Reader:
        if self._source is None:
            raise UnavailableError("no notary server is configured")
        key = (gun, policy.pins, policy.roles, policy.grace)
        with self._lock:
            reader = self._readers.get(key)
            if reader is None:
                pins = Pins(certs={gun: policy.pins}) if policy.pins else Pins()
                reader = Reader(
                    gun,
                    self._source,
                    self._cache,
                    pins=pins,
                    roles=policy.roles,
                    grace=policy.grace,
                    clock=self._clock,
                )
                self._readers[key] = reader
                if len(self._readers) > _REMEMBERED:
                    self._readers.popitem(last=False)
            self._readers.move_to_end(key)
            return reader
