# SPDX-License-Identifier: Apache-2.0
"""What jobs find is told to webhooks: once when it is new, and what ends soon again as its end comes near.

    Worker(…, on_end=tell_findings)

New is what neither the last `drift` nor the last `refresh` before had in its report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.events import outbox
from registry.events.event import Event, Kind
from registry.jobs.models import RunRow
from registry.jobs.runs import Run, State, value

#: Days before its end that something is told of again.
DAYS = (30, 7, 1, 0)

_JOBS = ("drift", "refresh")
_EXPIRING = frozenset({"expiring", "not-renewed"})
_Finding = Mapping[str, Any]


def tell_findings(session: Session, run: Run) -> None:
    """Have what is new in a run's report told.

    Args:
        session: in the transaction that says that the run is over.
        run: a run that is over.
    """
    found = dict(_findings(run))
    if not found:
        return
    known = {key for before in _last(session, run) for key, _ in _findings(before)}
    now = run.ended or run.created
    outbox.tell(session, *(_event(finding, now) for key, finding in found.items() if key not in known))


def _findings(run: Run) -> Iterator[tuple[tuple[object, ...], _Finding]]:
    """The findings of a run, by what makes them the same."""
    if run.state is State.DONE and run.report is not None and run.ended is not None:
        for finding in run.report.get("findings", ()):
            left = _left(finding, run.ended)
            passed = 0 if left is None else sum(left <= timedelta(days=days) for days in DAYS)
            yield (finding["id"], passed), finding


def _left(finding: _Finding, now: datetime) -> timedelta | None:
    return datetime.fromisoformat(finding["expires"]) - now if "expires" in finding else None


def _last(session: Session, run: Run) -> Iterator[Run]:
    """The last run of each job that finds something, before this one."""
    for kind in _JOBS:
        query = select(RunRow).where(RunRow.kind == kind, RunRow.state == State.DONE, RunRow.id < run.id)
        row = session.scalar(query.order_by(RunRow.id.desc()).limit(1))
        if row is not None:
            yield value(row)


def _event(finding: _Finding, now: datetime) -> Event:
    own = {"id", "repository", "tag", "digest"}
    return Event(
        kind=Kind.EXPIRING if finding["finding"] in _EXPIRING else Kind.DRIFT,
        repository=finding["repository"],
        tag=finding.get("tag"),
        digest=finding.get("digest"),
        time=now,
        detail={name: each for name, each in finding.items() if name not in own},
    )
