# SPDX-License-Identifier: Apache-2.0
"""Jobs are run when they are due, once, by one process, and by another if that one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event

import pytest
from sqlalchemy import update

from databases import new_database
from registry import migrations
from registry.background import Background, Task
from registry.jobs.kinds import MAX_LOG, Kind, Log, Report, Turn
from registry.jobs.runs import SCHEDULE, Run, State, forget_old, new_run
from registry.jobs.schedules import next_time
from registry.jobs.worker import MAX_ATTEMPTS, Worker
from registry.leases import LeaseRow, Leases, LostLeaseError
from registry.models import TRAIL
from registry.operations import object_schema
from trust.errors import ConflictError, InvalidError, UnavailableError
from trust.web.caller import Who
from trust.web.companion import live
from trust.web.database import Database
from trust.web.migrations import upgrade

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALICE = Who("alice")
OPTIONS = object_schema({"size": {"type": "integer"}})


@dataclass
class Site:
    """A registry's jobs: one kind, due every day at noon, whose runs are counted; a clock; any number of workers."""

    database: Database
    now: datetime = datetime(2026, 11, 24, 8, tzinfo=UTC)
    ran: list[Turn] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    act: Callable[[Turn], Report] = lambda _turn: {"done": True}

    def worker(self) -> Worker:
        """What one process has."""

        def run(turn: Turn) -> Report:
            self.ran.append(turn)
            return self.act(turn)

        kind = Kind("count", "counts", OPTIONS, "0 12 * * *", True, run)
        leases = Leases(self.database, lambda: self.now, timedelta(seconds=60))
        on_end = lambda _session, run: self.ended.append(run)  # noqa: E731
        watch = timedelta(seconds=0.02)
        return Worker(self.database, {"count": kind}, leases, lambda: self.now, on_end=on_end, watch=watch)

    def turn(self, stop: Event | None = None) -> None:
        """One turn of one process."""
        self.worker().turn("count", stop or Event())

    def actions(self) -> list[tuple[str, str]]:
        """Who did what, by the audit trail."""
        with self.database.read() as session:
            return [(record.actor, record.action) for record in TRAIL.records(session)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """On SQLite."""
    yield from _site(f"sqlite:///{tmp_path}/registry.db")


@pytest.fixture
def any_site(database_url: str) -> Iterator[Site]:
    """On each kind of database."""
    yield from _site(database_url)


def _site(url: str) -> Iterator[Site]:
    site = Site(Database(url))
    upgrade(site.database, migrations)
    yield site
    site.database.dispose()


def together(act: Callable[[], object], count: int = 6) -> list[object]:
    """Do `act` several times at once."""
    barrier = Barrier(count)

    def run(_number: int) -> object:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_job_runs_when_it_is_due_and_not_before(site: Site) -> None:
    site.turn()
    assert site.ran == []
    site.now += 4 * HOUR
    site.turn()
    site.turn()
    (run,) = site.worker().runs.list()
    assert (run.actor, run.state, run.started) == (SCHEDULE, State.DONE, site.now)
    assert [turn.who.actor for turn in site.ran] == ["(service)"]
    assert [each.report for each in site.ended] == [{"done": True}]
    assert site.worker().schedules.of("count").due == site.now + DAY


def test_times_that_were_missed_are_made_up_for_once(site: Site) -> None:
    site.turn()
    site.now += 10 * DAY
    site.turn()
    site.turn()
    assert len(site.ran) == 1
    site.now += DAY
    site.turn()
    assert len(site.ran) == 2


def test_of_many_processes_one_runs_what_is_due(any_site: Site) -> None:
    any_site.turn()
    any_site.now += DAY
    together(any_site.turn)
    together(any_site.turn)
    assert len(any_site.ran) == 1
    assert [run.state for run in any_site.worker().runs.list()] == [State.DONE]


def test_no_two_runs_of_a_kind_overlap(any_site: Site) -> None:
    at_once, most = [0], [0]

    def act(_turn: Turn) -> Report:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        at_once[0] -= 1
        return {}

    any_site.act = act
    any_site.worker().runs.start("count", {}, ALICE)

    def act_by_hand() -> object:
        any_site.turn()
        try:
            return any_site.worker().run_now("count", {}, ALICE, Event()).state
        except ConflictError as error:
            return str(error)

    said = together(act_by_hand, 4)
    assert most == [1]
    assert State.DONE in said
    assert set(said) <= {State.DONE, "count runs already, in another process"}


def test_a_run_by_hand_waits_for_a_process_and_tells_who_wanted_it(site: Site) -> None:
    site.act = lambda turn: {"size": turn.options["size"]}
    runs = site.worker().runs
    started = runs.start("count", {"size": 3}, ALICE)
    assert started.state is State.WAITING
    with pytest.raises(ConflictError):
        runs.start("count", {}, ALICE)
    site.turn()
    run = runs.find(started.id)
    assert (run.state, run.actor, run.report) == (State.DONE, "alice", {"size": 3})
    assert site.ran[0].who == ALICE
    assert "count begins, started by alice" in runs.log(run.id)
    assert site.actions() == [("alice", "job.run")]


@pytest.mark.parametrize("options", [{"size": "3"}, {"sise": 3}])
def test_options_that_a_kind_does_not_know_are_refused(site: Site, options: dict[str, object]) -> None:
    worker = site.worker()
    with pytest.raises(InvalidError):
        worker.runs.start("count", options, ALICE)
    with pytest.raises(InvalidError):
        worker.schedules.change("count", options=options, who=ALICE)
    with pytest.raises(InvalidError):
        worker.runs.start("nothing", {}, ALICE)
    assert site.actions() == []


def test_a_job_that_fails_is_in_the_history_and_runs_again_when_it_is_due(site: Site) -> None:
    def act(_turn: Turn) -> Report:
        raise UnavailableError("the storage does not answer")

    site.act = act
    site.turn()
    for _ in range(2):
        site.now += DAY
        site.turn()
    runs = site.worker().runs
    assert [run.state for run in runs.list()] == [State.FAILED, State.FAILED]
    assert runs.find(runs.list()[0].id).report == {"error": "the storage does not answer"}


def test_a_running_job_can_be_cancelled_and_its_log_be_read_meanwhile(site: Site) -> None:
    worker, read = site.worker(), []

    def act(turn: Turn) -> Report:
        turn.log("half of it is done")
        deadline = time.monotonic() + 20
        while "half" not in worker.runs.log(turn.run):  # another process would see it, too
            assert time.monotonic() < deadline
        read.append(True)
        worker.runs.cancel(turn.run, ALICE)
        while time.monotonic() < deadline:
            turn.check()
        return {}

    site.act = act
    run = worker.runs.start("count", {}, Who())
    site.turn()
    assert read
    assert worker.runs.find(run.id).state is State.CANCELLED
    assert site.actions() == [("(operator)", "job.run"), ("alice", "job.cancel")]
    with pytest.raises(ConflictError):
        worker.runs.cancel(run.id, ALICE)


def test_a_cancelled_run_that_waits_never_begins(site: Site) -> None:
    runs = site.worker().runs
    runs.cancel(runs.start("count", {}, ALICE).id, ALICE)
    site.turn()
    assert site.ran == []
    assert runs.list()[0].state is State.CANCELLED


def test_a_service_that_stops_leaves_its_run_to_another(site: Site) -> None:
    stop = Event()

    def act(turn: Turn) -> Report:
        stop.set()
        turn.check()
        return {}

    site.act = act
    site.worker().runs.start("count", {}, ALICE)
    site.turn(stop)
    assert site.worker().runs.list()[0].state is State.WAITING
    site.act = lambda _turn: {}
    site.turn()
    run = site.worker().runs.list()[0]
    assert (run.state, run.attempts) == (State.DONE, 1)


def test_a_run_whose_processes_die_is_given_up_in_the_end(site: Site) -> None:
    worker = site.worker()

    def die(_turn: Turn) -> Report:
        raise SystemExit  # passes every `except`, and leaves the run as a killed process does

    site.act = die
    run = worker.runs.start("count", {}, ALICE)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(SystemExit):
            site.turn()
        assert worker.runs.find(run.id).state is State.RUNNING
    site.turn()
    assert len(site.ran) == MAX_ATTEMPTS
    found = worker.runs.find(run.id)
    assert (found.state, found.attempts) == (State.FAILED, MAX_ATTEMPTS)
    assert [run.state for run in site.ended] == [State.FAILED]


def test_who_lost_the_lease_does_not_overwrite_what_another_does(site: Site) -> None:
    worker = site.worker()

    def act(turn: Turn) -> Report:
        with site.database.write() as session:  # what another process does once this one is taken for dead
            session.execute(update(LeaseRow).values(holder="another"))
        return {"mine": True}

    site.act = act
    run = worker.runs.start("count", {}, ALICE)
    site.turn()
    assert worker.runs.find(run.id).state is State.RUNNING
    assert site.ended == []


def test_of_the_runs_that_are_over_only_the_newest_are_remembered(site: Site) -> None:
    with site.database.write() as session:
        for number in range(6):
            row = new_run("count", {}, "alice", site.now)
            row.state = State.RUNNING if number == 1 else State.DONE
            session.add(row)
            session.flush()
        forget_old(session, "count", keep=2)
    assert [run.id for run in site.worker().runs.list()] == [6, 5, 2]
    site.turn()  # it goes on with the one that nobody is at
    site.worker().runs.start("count", {}, ALICE)
    site.turn()
    assert [run.id for run in site.worker().runs.list()] == [7, 6, 5, 2]


def test_a_schedule_is_changed_from_now_on_and_the_change_is_recorded(site: Site) -> None:
    schedules = site.worker().schedules
    changed = schedules.change("count", cron="30 9 * * MON", options={"size": 1}, who=ALICE)
    assert changed.due == datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
    assert schedules.change("count", enabled=False, who=ALICE).due is None
    site.now += 30 * DAY
    site.turn()
    assert site.ran == []
    assert schedules.change("count", enabled=True, who=ALICE).due == datetime(2026, 12, 28, 9, 30, tzinfo=UTC)
    site.now += 7 * DAY
    site.turn()
    assert [turn.options for turn in site.ran] == [{"size": 1}]
    assert site.actions() == [("alice", "job.schedule")] * 3


@pytest.mark.parametrize("cron", ["", "* * * *", "0 0 30 2 *", "*/5 * * * * *", "@daily", "61 * * * *", "x" * 200])
def test_what_is_no_cron_expression_of_five_fields_is_refused(cron: str) -> None:
    with pytest.raises(InvalidError):
        next_time(cron, datetime.now(UTC))


def test_cron_is_in_utc_whatever_zone_the_machine_is_in() -> None:
    after = datetime.fromisoformat("2026-11-24T23:30:00+05:00")  # 18:30 in UTC
    assert next_time("0 20 * * *", after) == datetime(2026, 11, 24, 20, tzinfo=UTC)


def test_a_log_keeps_its_beginning_and_its_end_within_bounds() -> None:
    log = Log()
    for number in range(20_000):
        log.add(f"line {number}")
    text = log.text()
    assert len(text) <= MAX_LOG + 100
    assert text.startswith("line 0\n")
    assert text.endswith("line 19999\n")
    assert "lines are left out" in text


def test_a_lease_is_held_by_one_until_it_is_given_back_or_its_holder_is_silent(any_site: Site) -> None:
    leases = Leases(any_site.database, lambda: any_site.now, timedelta(seconds=60))
    taken = [lease for lease in together(lambda: leases.take("work")) if lease is not None]
    assert len(taken) == 1
    any_site.now += timedelta(seconds=59)
    assert leases.take("work") is None
    any_site.now += timedelta(seconds=2)
    with leases.hold("work") as second:
        assert second is not None
        with any_site.database.write() as session, pytest.raises(LostLeaseError):
            taken[0].confirm(session)  # type: ignore[attr-defined]  # a lease
        assert leases.take("work") is None
    assert leases.take("work") is not None


def test_a_holder_is_heard_of_however_long_it_works(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/registry.db")
    upgrade(database, migrations)
    leases = Leases(database, length=timedelta(seconds=0.4))
    with leases.hold("work") as lease:
        assert lease is not None
        time.sleep(1)
        assert leases.take("work") is None
        assert not lease.is_lost.is_set()
        with database.write() as session:
            session.execute(update(LeaseRow).values(holder="another"))
        assert lease.is_lost.wait(5)
    database.dispose()


def test_a_task_that_fails_is_tried_again_and_harms_no_other() -> None:
    stop, turns = Event(), {"bad": 0, "good": 0}

    def bad(_stop: Event) -> None:
        turns["bad"] += 1
        raise RuntimeError("no good")

    def good(_stop: Event) -> None:
        turns["good"] += 1
        if min(turns.values()) >= 3:
            stop.set()

    pause = timedelta(seconds=0.01)
    Background([Task("bad", pause, bad), Task("good", pause, good)]).run(stop)
    assert min(turns.values()) >= 3


def _work(url: str, folder: Path, name: str) -> None:
    """A process that runs jobs; the job takes long where it is told to."""
    database = Database(url)

    def clock() -> datetime:
        return datetime.now(UTC)

    def run(turn: Turn) -> Report:
        with (folder / "began").open("a") as began:
            began.write(f"{name} {os.getpid()}\n")
        while not (folder / "go").exists():
            turn.check()
            time.sleep(0.02)
        return {"by": name}

    kind = Kind("count", "counts", OPTIONS, "0 12 * * *", False, run)
    worker = Worker(database, {"count": kind}, Leases(database, clock, timedelta(seconds=1)), clock)
    live(Background(worker.tasks(timedelta(seconds=0.1))).run)
    database.dispose()


@pytest.mark.client("postgresql")
def test_the_run_of_a_process_that_was_killed_is_taken_over_by_another(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(new_database("postgresql", request, tmp_path))
        site = stack.enter_context(contextmanager(_site)(url))
        runs = site.worker().runs
        run = runs.start("count", {}, ALICE)
        context = multiprocessing.get_context("spawn")
        processes = {name: context.Process(target=_work, args=(url, tmp_path, name)) for name in ("one", "two")}
        for process in processes.values():
            process.start()
            stack.callback(process.join, 30)
            stack.callback(process.terminate)
        _eventually(lambda: len(_began(tmp_path)) == 1)
        (first, pid), killed = _began(tmp_path)[0], time.monotonic()
        os.kill(int(pid), signal.SIGKILL)
        _eventually(lambda: len(_began(tmp_path)) == 2)
        assert time.monotonic() - killed < 10  # the lease's second, and turns
        (tmp_path / "go").touch()
        _eventually(lambda: runs.find(run.id).state is State.DONE)
        found = runs.find(run.id)
        (second,) = processes.keys() - {first}
        assert (found.report, found.attempts) == ({"by": second}, 2)
        assert "not heard of any more" in runs.log(run.id)


def _began(folder: Path) -> list[tuple[str, str]]:
    path = folder / "began"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, pid) for name, pid in map(str.split, lines)]


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
