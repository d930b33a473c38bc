# SPDX-License-Identifier: Apache-2.0
"""Who runs the jobs: a task for each kind, in every process that does background work.

    Worker(database, kinds, leases, clock).tasks()

A kind is run by whoever holds its lease.  With the lease comes what others left: a run that is still called running,
although its process is not heard of any more, is begun anew; after `MAX_ATTEMPTS` it is given up, since it may be
what kills processes.  Then come those that wait, and then the schedule.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Thread

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.background import Task
from registry.jobs.counts import count_run
from registry.jobs.kinds import Kind, Log, Options, Report, StoppedError, Turn, find_kind
from registry.jobs.models import RunRow
from registry.jobs.runs import SCHEDULE, Run, Runs, State, forget_old, new_run, value
from registry.jobs.schedules import Schedules
from registry.leases import Lease, Leases, LostLeaseError
from trust.errors import ConflictError, TrustError
from trust.web.caller import SERVICE, Who
from trust.web.database import Database

#: The pause between two looks whether there is something to do.
EVERY = timedelta(seconds=5)
#: How often a run is begun, before it is given up.
MAX_ATTEMPTS = 3
#: Told of each run that is over, in the transaction that says so.
OnEnd = Callable[[Session, Run], None]

_log = logging.getLogger("troth.jobs")


class Worker:
    """Runs jobs.

    Args:
        database: the registry's.
        kinds: the kinds of jobs that there are, by name.
        leases: say who may run a kind.
        clock: tells the time.
        on_end: told of each run that is over, in the transaction that says so.
        watch: how often a running job's log is kept, and asked whether it is still wanted.

    Attributes:
        kinds: as above.
        schedules: when they run.
        runs: what ran.
    """

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind],
        leases: Leases,
        clock: Callable[[], datetime],
        *,
        on_end: OnEnd = lambda _session, _run: None,
        watch: timedelta = timedelta(seconds=2),
    ) -> None:
        self.kinds = kinds
        self.schedules = Schedules(database, kinds, clock)
        self.runs = Runs(database, kinds, clock)
        self._database = database
        self._leases = leases
        self._clock = clock
        self._on_end = on_end
        self._watch = watch

    def tasks(self, every: timedelta = EVERY) -> list[Task]:
        """A task for each kind, so that a long job holds up no other."""
        return [Task(f"job {name}", every, partial(self.turn, name)) for name in self.kinds]

    def turn(self, name: str, stop: Event) -> None:
        """Run what there is to run of a kind, unless another process is at it."""
        if not self._is_due(name):
            return
        with self._leases.hold(_lease(name)) as lease:
            while lease is not None and not stop.is_set() and not lease.is_lost.is_set():
                run = self._database.transact(partial(self._claim, name=name, lease=lease))
                if run is None:
                    return
                if run.state.is_over:
                    count_run(run)
                else:
                    self._do(run, lease, stop)

    def run_now(self, name: str, options: Options, who: Who, stop: Event) -> Run:
        """Run a job in this very thread; once `stop` is set it is cancelled.

        Raises:
            InvalidError: there is no such kind, or it cannot have these options.
            ConflictError: one of this kind runs already.
            LostLeaseError: it was taken for dead, and another process begins it anew.
        """
        find_kind(self.kinds, name).check(options)
        with self._leases.hold(_lease(name)) as lease:
            if lease is None:
                raise ConflictError(f"{name} runs already, in another process")

            def begin(session: Session) -> Run:
                row = new_run(name, options, who.actor, self._clock())
                session.add(row)
                return _begun(session, row, self._clock())

            run = self._database.transact(begin)
            self._do(run, lease, stop, is_cancelled_by_stop=True)
        return self.runs.find(run.id)

    def _is_due(self, name: str) -> bool:
        query = select(RunRow.id).where(RunRow.kind == name, RunRow.state.in_((State.WAITING, State.RUNNING)))
        with self._database.read() as session:
            return session.scalar(query.limit(1)) is not None or self.schedules.is_due(session, name)

    def _claim(self, session: Session, *, name: str, lease: Lease) -> Run | None:
        """The next run; one that is over at once is passed over, and None is the end."""
        lease.confirm(session)
        now = self._clock()
        mine = select(RunRow).where(RunRow.kind == name).order_by(RunRow.id).limit(1).with_for_update()
        row = session.scalar(mine.where(RunRow.state == State.RUNNING))
        if row is not None:
            log = Log(row.log.decode())
            log.add(f"{now:%Y-%m-%dT%H:%M:%SZ} its process is not heard of any more (attempt {row.attempts})")
            row.log = log.text().encode()
            if row.is_unwanted or row.attempts >= MAX_ATTEMPTS:
                state = State.CANCELLED if row.is_unwanted else State.FAILED
                return self._end(session, row, state, {"error": f"{row.attempts} processes died of it, or with it"})
            return _begun(session, row, now)
        row = session.scalar(mine.where(RunRow.state == State.WAITING))
        if row is None:
            options = self.schedules.take(session, name)
            if options is None:
                return None
            row = new_run(name, options, SCHEDULE, now)
            session.add(row)
        return _begun(session, row, now)

    def _do(self, run: Run, lease: Lease, stop: Event, *, is_cancelled_by_stop: bool = False) -> None:
        with self._database.read() as session:
            log = Log(session.get_one(RunRow, run.id).log.decode())
        unwanted, over = Event(), Event()
        who = Who(SERVICE if run.actor == SCHEDULE else run.actor)
        events = (unwanted, lease.is_lost, stop)
        turn = Turn(run.id, run.options, who, self._clock, lambda: any(each.is_set() for each in events), log)
        watcher = Thread(target=self._watch_over, args=(run.id, log, unwanted, over), daemon=True)
        watcher.start()
        report: Report | None = None
        try:
            turn.log(f"{run.kind} begins, started by {run.actor} (attempt {run.attempts})")
            report = self.kinds[run.kind].run(turn)
            state = State.DONE
        except StoppedError:
            wanted = not unwanted.is_set() and not is_cancelled_by_stop
            state = State.WAITING if wanted else State.CANCELLED
        except TrustError as error:
            state, report = State.FAILED, {"error": error.message}
        except Exception as error:
            _log.exception("job run %d failed", run.id)
            state, report = State.FAILED, {"error": f"{type(error).__name__}; the service's log says more"}
        finally:
            over.set()
            watcher.join()
        if lease.is_lost.is_set():
            _log.error("job run %d was taken for dead; another process begins it anew", run.id)
            return
        said = f": {report['error']}" if report is not None and state is State.FAILED else ""
        turn.log(f"{run.kind} is {'put off' if state is State.WAITING else state.value}{said}")

        def end(session: Session) -> Run:
            lease.confirm(session)
            row = session.get_one(RunRow, run.id, with_for_update=True)
            row.log = log.text().encode()
            if state is State.WAITING and not row.is_unwanted:  # another process goes on with it
                row.state, row.attempts = state, row.attempts - 1
                return value(row)
            return self._end(session, row, State.CANCELLED if state is State.WAITING else state, report)

        try:
            ended = self._database.transact(end)
        except LostLeaseError as error:
            lease.is_lost.set()
            _log.error("job run %d ended too late: %s", run.id, error)
        else:
            count_run(ended)

    def _end(self, session: Session, row: RunRow, state: State, report: Report | None) -> Run:
        row.state, row.ended = state, self._clock()
        row.report = None if report is None else json.dumps(report).encode()
        session.flush()
        run = value(row)
        self._on_end(session, run)
        forget_old(session, row.kind)
        return run

    def _watch_over(self, number: int, log: Log, unwanted: Event, over: Event) -> None:
        kept = log.text()
        while not over.wait(self._watch.total_seconds()):
            text = log.text()
            try:
                if text != kept:
                    changed = update(RunRow).where(RunRow.id == number, RunRow.state == State.RUNNING)
                    self._database.transact(
                        lambda session, changed=changed, text=text: session.execute(  # type: ignore[misc]
                            changed.values(log=text.encode())
                        )
                    )
                    kept = text
                with self._database.read() as session:
                    if session.scalar(select(RunRow.is_unwanted).where(RunRow.id == number)):
                        unwanted.set()
            except TrustError as error:
                _log.warning("job run %d cannot be watched: %s", number, error)


def _begun(session: Session, row: RunRow, now: datetime) -> Run:
    row.state, row.started, row.attempts = State.RUNNING, now, row.attempts + 1
    session.flush()
    return value(row)


def _lease(name: str) -> str:
    return f"jobs/{name}"
