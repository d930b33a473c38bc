# SPDX-License-Identifier: Apache-2.0
"""Who does what alone: leases in the database, for work that several replicas must not do at once.

    leases = Leases(database, clock)
    with leases.hold("jobs/gc") as lease:          # None: somebody else holds it
        if lease is not None:
            while not lease.is_lost.is_set(): …

A lease ends a while after its holder was last heard of; a thread of the holder's is heard of all the time, however
long the work takes.  So the work of a process that was killed is taken over by another, after `LENGTH` at the latest.
A holder that was held up for longer finds its lease lost; what it writes at its end it writes in a transaction that
begins with `Lease.confirm`, so that nobody's result is overwritten.

The clocks of all machines must agree to within a part of `LENGTH`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread

from sqlalchemy import select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.base import Base
from registry.inserts import insert_or_find
from registry.models import Moment, ascii_text
from trust.errors import TrustError, UnavailableError
from trust.web.database import Database

#: How long a holder may be silent.
LENGTH = timedelta(seconds=60)

_log = logging.getLogger("troth.leases")


class LeaseRow(Base):
    """What is done by one process at a time; `holder` is null while nobody does it."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(ascii_text(64), primary_key=True)
    holder: Mapped[str | None] = mapped_column(ascii_text(64))
    until: Mapped[datetime] = mapped_column(Moment)


class LostLeaseError(UnavailableError):
    """The lease has ended, and perhaps somebody else holds it."""


class Lease:
    """A lease that is held.

    Args:
        leases: where it comes from.
        name: what for.
        holder: by whom.

    Attributes:
        is_lost: set once it is not certain any more that nobody else does the same.
    """

    def __init__(self, leases: Leases, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        self.is_lost = Event()
        self._leases = leases

    def confirm(self, session: Session) -> None:
        """Keep others out until the session's transaction ends.

        Raises:
            LostLeaseError: it is too late.
        """
        row = session.scalar(select(LeaseRow).where(LeaseRow.name == self.name).with_for_update())
        if row is None or row.holder != self.holder:
            raise LostLeaseError(f"the lease on {self.name} was lost")


class Leases:
    """The leases of a registry.

    Args:
        database: where they are.
        clock: tells the time.
        length: how long a holder may be silent.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        length: timedelta = LENGTH,
    ) -> None:
        self._database = database
        self._clock = clock
        self._length = length

    @contextmanager
    def hold(self, name: str) -> Iterator[Lease | None]:
        """Hold a lease while the block runs; None: somebody else holds it, and nothing was done."""
        lease = self.take(name)
        if lease is None:
            yield None
            return
        ended = Event()
        beats = Thread(target=self._beat, args=(lease, ended), name=f"lease {name}", daemon=True)
        beats.start()
        try:
            yield lease
        finally:
            ended.set()
            beats.join()
            self._release(lease)

    def alone(self, name: str, work: Callable[[Event], object]) -> Callable[[Event], None]:
        """`work` as something that no two processes do at once; whoever comes second does nothing."""

        def work_alone(stop: Event) -> None:
            with self.hold(name) as lease:
                if lease is not None:
                    work(stop)

        return work_alone

    def take(self, name: str) -> Lease | None:
        """Take a lease that nobody holds, without being heard of from then on; None: somebody holds it."""
        lease = Lease(self, name, uuid.uuid4().hex)

        def work(session: Session) -> bool:
            now = self._clock()
            find = select(LeaseRow).where(LeaseRow.name == name).with_for_update()
            fresh = LeaseRow(name=name, holder=lease.holder, until=now + self._length)
            row = insert_or_find(session, fresh, find)
            if row is not fresh:
                if row.holder is not None and row.until >= now:
                    return False
                if row.holder is not None:
                    _log.warning("the lease on %s is taken over from a process that was not heard of", name)
                row.holder, row.until = lease.holder, now + self._length
            return True

        return lease if self._database.transact(work) else None

    def _beat(self, lease: Lease, ended: Event) -> None:
        heard, pause = self._clock(), self._length.total_seconds() / 4
        while not ended.wait(pause):
            now = self._clock()
            try:
                held = self._database.transact(partial(self._prolong, lease=lease, now=now))
            except TrustError as error:
                _log.warning("the lease on %s cannot be prolonged: %s", lease.name, error)
                held = now - heard < self._length
            else:
                heard = now
            if not held:
                _log.error("the lease on %s was lost", lease.name)
                lease.is_lost.set()
                return

    def _prolong(self, session: Session, *, lease: Lease, now: datetime) -> bool:
        mine = (LeaseRow.name == lease.name) & (LeaseRow.holder == lease.holder)
        changed = session.execute(update(LeaseRow).where(mine).values(until=now + self._length))
        return bool(changed.rowcount)  # type: ignore[attr-defined]  # an update's result has it

    def _release(self, lease: Lease) -> None:
        mine = (LeaseRow.name == lease.name) & (LeaseRow.holder == lease.holder)
        try:
            self._database.transact(lambda session: session.execute(update(LeaseRow).where(mine).values(holder=None)))
        except TrustError as error:  # then it ends by itself
            _log.warning("the lease on %s cannot be given back: %s", lease.name, error)
