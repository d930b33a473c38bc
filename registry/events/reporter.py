# SPDX-License-Identifier: Apache-2.0
"""Pulls and refusals: events that no transaction carries.

A pull changes nothing, so nothing is written while somebody waits for it.  Each process collects such events, and
writes them down together a second later, or when it ends.  A process that is killed takes that second with it; one
whose database does not answer keeps the newest `MAX_WAITING`.  Where nobody wants them, nothing is collected: each
process asks for that at most every ten seconds, so a new endpoint may miss the first pulls.

Refusals are bounded, as a client that is refused tries again and again: each process tells of the same one once in
five minutes, and of so many in all; how many were left out since stands in the next.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial
from itertools import islice

from sqlalchemy.orm import Session

from registry.events import outbox
from registry.events.event import Event, Kind
from trust.errors import TrustError
from trust.web import tracing
from trust.web.database import Database
from trust.web.metrics import counter

#: Events that a process collects.
MAX_WAITING = 10_000
#: Seconds in which a refusal is told once, and how many there are in all.
PERIOD, REFUSALS = 300.0, 200

_DELAY = 1.0
_ASKED_EVERY = 10.0
_BATCH = 200

_LOST = counter(
    "troth_webhook_lost", "pulls and refusals that could not be written down for endpoints", service="troth-registry"
)
_log = logging.getLogger("troth.events")


class Reporter:
    """Collects events, and tells of them in the background.

    Args:
        database: the registry's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._events: deque[Event] = deque()
        self._timer: threading.Timer | None = None
        self._wanted: dict[Kind, tuple[float, bool]] = {}
        self._begun = float("-inf")
        self._told: set[tuple[object, ...]] = set()
        self._left_out = 0

    def report(self, event: Event) -> None:
        """Have an event told soon, if anybody wants to know; never fails, and waits for nothing but a short query."""
        if not self.is_wanted(event.kind):
            return
        with self._lock:
            if event.kind is Kind.DENIED:
                admitted = self._admit(event)
                if admitted is None:
                    return
                event = admitted
            self._events.append(event)
            self._drop()
            self._wind()

    def is_wanted(self, kind: Kind) -> bool:
        """Whether anybody wants such events, as far as was known ten seconds ago."""
        now = time.monotonic()
        asked, known = self._wanted.get(kind, (float("-inf"), False))
        if now - asked > _ASKED_EVERY:
            tracing.takes_time()
            self._wanted[kind] = now, known  # the other threads go on with what is known
            try:
                with self._database.read() as session:
                    known = outbox.wanted(session, kind)
            except TrustError as error:
                _log.warning("whether %s is wanted cannot be told: %s", kind, error)
            self._wanted[kind] = now, known
        return known

    def flush(self) -> None:
        """Write down what was collected."""
        with self._flushing:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = None
                events, self._events = self._events, deque()
            while events:
                batch = list(islice(events, _BATCH))
                try:
                    self._database.transact(partial(_tell, batch))
                except TrustError as error:
                    _log.warning("%s events wait to be written down: %s", len(events), error)
                    with self._lock:
                        self._events.extendleft(reversed(events))
                        self._drop()
                        self._wind()
                    return
                for _ in batch:
                    events.popleft()

    def _drop(self) -> None:
        while len(self._events) > MAX_WAITING:
            self._events.popleft()
            _LOST.inc()

    def _wind(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_DELAY, self.flush)
            self._timer.daemon = True
            self._timer.start()
            atexit.unregister(self.flush)
            atexit.register(self.flush)

    def _admit(self, event: Event) -> Event | None:
        """The refusal as it is told; None: it is left out."""
        now = time.monotonic()
        if now - self._begun > PERIOD:
            self._begun = now
            self._told.clear()
        key = (event.repository, event.tag, event.digest, event.actor, event.detail.get("reason"))
        if key in self._told or len(self._told) >= REFUSALS:
            self._left_out += 1
            return None
        self._told.add(key)
        left_out, self._left_out = self._left_out, 0
        return replace(event, detail={**event.detail, "left_out": left_out}) if left_out else event


def _tell(events: list[Event], session: Session) -> None:
    outbox.tell(session, *events)
