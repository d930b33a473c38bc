# SPDX-License-Identifier: Apache-2.0
"""When each kind of job runs by itself.

    schedules.change("gc", cron="30 2 * * 0", who=who)

A kind has one schedule: a cron expression as Debian's cron reads it, in UTC, and the options that its runs get.  A
time that was missed, since no process was there or the last run took long, is made up for once, however often.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.inserts import insert_or_find
from registry.jobs.kinds import Kind, Options, find_kind
from registry.jobs.models import CRON_LENGTH, ScheduleRow
from registry.models import TRAIL
from trust.errors import InvalidError
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import Database


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a kind runs by itself, and with which options; `due` is the next time, or None."""

    kind: str
    cron: str
    options: Options
    enabled: bool
    due: datetime | None


class Schedules:
    """The schedules of a registry.

    Args:
        database: where they are.
        kinds: the kinds of jobs that there are, by name.
        clock: tells the time.
    """

    def __init__(self, database: Database, kinds: Mapping[str, Kind], clock: Callable[[], datetime]) -> None:
        self._database = database
        self._kinds = kinds
        self._clock = clock

    def list(self) -> list[Schedule]:
        """The schedule of each kind, in the kinds' order."""
        return [self.of(name) for name in self._kinds]

    def of(self, name: str) -> Schedule:
        """The schedule of a kind.

        Raises:
            InvalidError: there is no such kind.
        """
        kind = find_kind(self._kinds, name)
        with self._database.read() as session:
            return _value(session.get(ScheduleRow, kind.name) or _first(kind, self._clock()))

    def change(
        self,
        name: str,
        *,
        cron: str | None = None,
        options: Options | None = None,
        enabled: bool | None = None,
        who: Who,
    ) -> Schedule:
        """Set what is given.

        Args:
            name: the kind.
            cron: when it runs.
            options: what its runs are told; the old ones go.
            enabled: whether it runs by itself.
            who: who wants this.

        Raises:
            InvalidError: there is no such kind, `cron` is no expression that ever comes true, or the kind cannot have
                these options.
        """
        kind, now = find_kind(self._kinds, name), self._clock()
        if options is not None:
            kind.check(options)
        if cron is not None:
            next_time(cron, now)

        def work(session: Session) -> Schedule:
            row = _locked(session, kind, now)
            row.cron = row.cron if cron is None else cron
            row.options = row.options if options is None else json.dumps(options).encode()
            row.enabled = row.enabled if enabled is None else enabled
            row.due = next_time(row.cron, now) if row.enabled else None
            session.flush()
            deed = Deed(action="job.schedule", name=kind.name, detail={"cron": row.cron, "enabled": row.enabled})
            TRAIL.append(session, who, now, deed)
            return _value(row)

        return self._database.transact(work)

    def is_due(self, session: Session, name: str) -> bool:
        """Whether it is time for a kind; what was never looked at begins to count from now."""
        row = session.get(ScheduleRow, name)
        return row is None or (row.due is not None and row.due <= self._clock())

    def take(self, session: Session, name: str) -> Options | None:
        """Count one time of a kind's as come, and give its options; None: it is not time yet.

        Args:
            session: in a transaction that writes.
            name: the kind.
        """
        now = self._clock()
        row = _locked(session, self._kinds[name], now)
        if not row.enabled or row.due is None or row.due > now:
            return None
        row.due = next_time(row.cron, now)
        return _value(row).options


def next_time(cron: str, after: datetime) -> datetime:
    """The first time after another.

    Raises:
        InvalidError: it is no cron expression, or never comes true.
    """
    if not cron.isascii() or len(cron) > CRON_LENGTH or len(cron.split()) != 5:  # the library knows seconds, too
        raise InvalidError("a cron expression has five fields of ASCII")
    try:
        return next(CronSim(cron, after.astimezone(UTC)))
    except CronSimError as error:
        raise InvalidError(f"this is no cron expression: {error}") from error
    except StopIteration:
        raise InvalidError("this cron expression never comes true") from None


def _locked(session: Session, kind: Kind, now: datetime) -> ScheduleRow:
    find = select(ScheduleRow).where(ScheduleRow.kind == kind.name).with_for_update()
    return insert_or_find(session, _first(kind, now), find)


def _first(kind: Kind, now: datetime) -> ScheduleRow:
    due = next_time(kind.cron, now) if kind.enabled else None
    return ScheduleRow(kind=kind.name, cron=kind.cron, options=b"{}", enabled=kind.enabled, due=due)


def _value(row: ScheduleRow) -> Schedule:
    return Schedule(row.kind, row.cron, json.loads(row.options), row.enabled, row.due)
