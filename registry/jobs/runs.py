# SPDX-License-Identifier: Apache-2.0
"""What ran, runs and will run.

    run = runs.start("gc", {"dry_run": True}, who)      # waits until a process takes it
    runs.list(kind="gc")[0].state                       # the newest first
    runs.cancel(run.id, who)

The states: `waiting`, `running`, and in the end `done`, `failed` or `cancelled`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer

from registry.jobs.kinds import Kind, Options, Report, find_kind
from registry.jobs.models import RunRow
from registry.models import TRAIL
from trust.errors import ConflictError, NotFoundError
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import Database

#: The actor of a run that nobody started.
SCHEDULE = "(schedule)"
#: So many runs of a kind are remembered.
KEPT = 100


class State(StrEnum):
    """How far a run is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Run:
    """A run.

    Attributes:
        id: its number; later runs have higher ones.
        kind: of job.
        options: what it was told.
        actor: who started it; `SCHEDULE` if nobody did.
        state: how far it is.
        is_unwanted: whether somebody wants it to end.
        attempts: how many processes have begun it.
        created: when it was asked for.
        started: when it was begun last.
        ended: when it was over.
        report: what it says; of a failed one, `{"error": "…"}`.
    """

    id: int
    kind: str
    options: Options
    actor: str
    state: State
    is_unwanted: bool
    attempts: int
    created: datetime
    started: datetime | None
    ended: datetime | None
    report: Report | None

    def facts(self) -> dict[str, object]:
        """All of it for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "options": self.options,
            "actor": self.actor,
            "state": self.state.value,
            "attempts": self.attempts,
            "created": moment(self.created),
            "started": moment(self.started),
            "ended": moment(self.ended),
            "report": self.report,
        }


class Runs:
    """The runs of a registry's jobs.

    Args:
        database: where they are.
        kinds: the kinds of jobs that there are, by name.
        clock: tells the time.
    """

    def __init__(self, database: Database, kinds: Mapping[str, Kind], clock: Callable[[], datetime]) -> None:
        self._database = database
        self._kinds = kinds
        self._clock = clock

    def start(self, name: str, options: Options, who: Who) -> Run:
        """Have a job run as soon as a process takes it.

        Raises:
            InvalidError: there is no such kind, or it cannot have these options.
            ConflictError: one of this kind waits already.
        """
        kind, now = find_kind(self._kinds, name), self._clock()
        kind.check(options)

        def work(session: Session) -> Run:
            waiting = select(RunRow.id).where(RunRow.kind == name, RunRow.state == State.WAITING)
            if (before := session.scalar(waiting.limit(1))) is not None:
                raise ConflictError(f"run {before} of {name} waits already")
            row = new_run(name, options, who.actor, now)
            session.add(row)
            session.flush()
            TRAIL.append(session, who, now, Deed(action="job.run", name=name, detail={"run": row.id}))
            return value(row)

        return self._database.transact(work)

    def list(self, *, kind: str | None = None, before: int | None = None, limit: int = 20) -> list[Run]:
        """Runs, the newest first; without their reports.

        Args:
            kind: of this kind only.
            before: with lower numbers only.
            limit: at most so many.
        """
        query = select(RunRow).order_by(RunRow.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(RunRow.kind == kind)
        if before is not None:
            query = query.where(RunRow.id < before)
        with self._database.read() as session:
            return [
                value(row, report=False)
                for row in session.scalars(query.options(defer(RunRow.log), defer(RunRow.report)))
            ]

    def find(self, number: int) -> Run:
        """A run.

        Raises:
            NotFoundError: there is none of this number, or it is forgotten.
        """
        with self._database.read() as session:
            return value(_find(session, number))

    def log(self, number: int) -> str:
        """What a run has said so far; errors as for `find`."""
        with self._database.read() as session:
            return _find(session, number).log.decode()

    def cancel(self, number: int, who: Who) -> Run:
        """Let a run that waits not begin, and one that runs end soon.

        Raises:
            NotFoundError: there is none of this number.
            ConflictError: it is over.
        """

        def work(session: Session) -> Run:
            row = _find(session, number, lock=True)
            if State(row.state).is_over:
                raise ConflictError(f"run {number} is over: {row.state}")
            row.is_unwanted, now = True, self._clock()
            if row.state == State.WAITING:
                row.state, row.ended = State.CANCELLED, now
            session.flush()
            TRAIL.append(session, who, now, Deed(action="job.cancel", name=row.kind, detail={"run": row.id}))
            return value(row)

        return self._database.transact(work)


def new_run(kind: str, options: Options, actor: str, now: datetime) -> RunRow:
    """A row for a run that waits."""
    return RunRow(
        kind=kind,
        options=json.dumps(options).encode(),
        actor=actor[:255],
        state=State.WAITING,
        is_unwanted=False,
        attempts=0,
        created=now,
        log=b"",
    )


def forget_old(session: Session, kind: str, keep: int = KEPT) -> None:
    """Forget the oldest runs of a kind that are over."""
    newest = select(RunRow.id).where(RunRow.kind == kind).order_by(RunRow.id.desc()).limit(1).offset(keep)
    last = session.scalar(newest)
    if last is not None:
        over = [state for state in State if state.is_over]
        session.execute(delete(RunRow).where(RunRow.kind == kind, RunRow.id <= last, RunRow.state.in_(over)))


def value(row: RunRow, *, report: bool = True) -> Run:
    """A row as a value."""
    return Run(
        id=row.id,
        kind=row.kind,
        options=json.loads(row.options),
        actor=row.actor,
        state=State(row.state),
        is_unwanted=row.is_unwanted,
        attempts=row.attempts,
        created=row.created,
        started=row.started,
        ended=row.ended,
        report=json.loads(row.report) if report and row.report is not None else None,
    )


def moment(value: datetime | None) -> str | None:
    """As JSON has it: UTC, to the second."""
    return None if value is None else f"{value:%Y-%m-%dT%H:%M:%SZ}"


def _find(session: Session, number: int, *, lock: bool = False) -> RunRow:
    query = select(RunRow).where(RunRow.id == number)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError(f"there is no run {number}")
    return row
