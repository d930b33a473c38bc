# SPDX-License-Identifier: Apache-2.0
"""Jobs as commands of `troth-registry`.

    troth-registry jobs list                                  # the kinds, their schedules and last runs
    troth-registry jobs run KIND [--options JSON] [--dry-run] [--json]
    troth-registry jobs history [KIND] [--limit N] [--json]
    troth-registry jobs log RUN [--json]
    troth-registry jobs cancel RUN
    troth-registry jobs schedule KIND [CRON] [--options JSON]
    troth-registry jobs enable|disable KIND
    troth-registry gc [--dry-run] [--grace-hours N] [--upload-grace-hours N] [--untagged] [--json]

`jobs run` runs the job itself, in the foreground, and is in the history like any other run.  `gc` is not, and may be
run any number of times at once.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

from registry.jobs.catalogue import collect
from registry.jobs.garbage import MIN_GRACE
from registry.jobs.kinds import Turn, find_kind
from registry.jobs.runs import Run, State, moment
from registry.jobs.trust import Parts
from registry.jobs.worker import Worker
from trust.web.caller import Who

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.job_handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Worker, argparse.Namespace], int]
#: The same for `arguments.gc_handler`.
CollectCommand = Callable[[Parts, argparse.Namespace], int]


def add_commands(subparsers: Subparsers) -> None:
    """Add `gc` and `jobs`; what is parsed has a `gc_handler` or a `job_handler`."""
    gc = subparsers.add_parser("gc", help="remove blobs that no manifest names, and stale uploads; online")
    gc.add_argument("--dry-run", action="store_true", help="change nothing; say what would be removed now")
    gc.add_argument("--grace-hours", type=_hours, default=24, metavar="N", help="how long a blob may be without one")
    gc.add_argument("--upload-grace-hours", type=_hours, default=168, metavar="N", help="and an upload silent")
    gc.add_argument("--untagged", action="store_true", help="also remove manifests that nothing needs")
    gc.add_argument("--json", action="store_true", help="the report as JSON")
    gc.set_defaults(gc_handler=_collect)
    jobs = subparsers.add_parser("jobs", help="what is done by itself, at set times: list, run, schedule")
    group = jobs.add_subparsers(required=True, metavar="COMMAND")
    _command(group, "list", "the kinds of jobs, when they run next, and how they ran last", _list)
    run = _command(group, "run", "run a job now, here", _run)
    run.add_argument("kind", metavar="KIND")
    run.add_argument("--options", type=_options, metavar="JSON", help="instead of those of its schedule")
    run.add_argument("--dry-run", action="store_true", help="change nothing; for kinds that know this option")
    run.add_argument("--json", action="store_true", help="the report as JSON alone")
    history = _command(group, "history", "what ran, the newest first", _history)
    history.add_argument("kind", metavar="KIND", nargs="?")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="how many; 20")
    history.add_argument("--json", action="store_true", help="a JSON object a line")
    log = _command(group, "log", "what a run said, and its report", _log)
    log.add_argument("run", metavar="RUN", type=int)
    log.add_argument("--json", action="store_true", help="the report as JSON alone")
    _command(group, "cancel", "let a run not begin, or end soon", _cancel).add_argument(
        "run", type=int, metavar="RUN"
    )
    schedule = _command(group, "schedule", "say when a kind of job runs, and with which options", _schedule)
    schedule.add_argument("kind", metavar="KIND")
    schedule.add_argument("cron", metavar="CRON", nargs="?", help="five fields, UTC: '17 3 * * *'")
    schedule.add_argument("--options", type=_options, metavar="JSON", help="what its runs are told")
    for word, enabled, help in (("enable", True, "let a job run by itself"), ("disable", False, "let it not")):
        switch = _command(group, word, help, _switch)
        switch.add_argument("kind", metavar="KIND")
        switch.set_defaults(enabled=enabled)


def _command(group: Subparsers, name: str, help: str, act: Command) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=help, allow_abbrev=False)
    parser.set_defaults(job_handler=act)
    return parser


def _collect(parts: Parts, arguments: argparse.Namespace) -> int:
    names = ("grace_hours", "upload_grace_hours", "untagged", "dry_run")
    options = {name: getattr(arguments, name) for name in names}
    report = collect(parts, Turn(0, options, Who(), parts.clock))
    if arguments.json:
        print(json.dumps(report))
        return 0
    would = "would be " if arguments.dry_run else ""
    if arguments.untagged:
        print(
            f"manifests: {report['manifests']} {would}removed, {report['manifests_marked']} {would}marked for later"
        )
    print(f"blobs:   {report['contents']} {would}removed, {report['content_bytes']} bytes")
    print(f"links:   {report['links']} {would}removed, {report['marked']} {would}marked for later")
    print(f"uploads: {report['uploads']} {would}removed")
    print(f"remains: {report['remains']} {would}removed, {report['remains_bytes']} bytes")
    return 0


def _list(worker: Worker, _arguments: argparse.Namespace) -> int:
    for schedule in worker.schedules.list():
        last = worker.runs.list(kind=schedule.kind, limit=1)
        _print(
            schedule.kind,
            schedule.cron if schedule.enabled else f"disabled ({schedule.cron})",
            f"next {_shown(schedule.due)}",
            f"last {last[0].id} {last[0].state} {_shown(last[0].ended or last[0].created)}" if last else "never ran",
            json.dumps(schedule.options),
            worker.kinds[schedule.kind].meaning,
        )
    return 0


def _run(worker: Worker, arguments: argparse.Namespace) -> int:
    find_kind(worker.kinds, arguments.kind)
    options = arguments.options
    if options is None:
        options = dict(worker.schedules.of(arguments.kind).options)
    if arguments.dry_run:
        options |= {"dry_run": True}
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    run = worker.run_now(arguments.kind, options, Who(), stop)
    _tell(worker, run, only_json=arguments.json)
    return 0 if run.state is State.DONE else 1


def _history(worker: Worker, arguments: argparse.Namespace) -> int:
    if arguments.kind is not None:
        find_kind(worker.kinds, arguments.kind)
    for run in worker.runs.list(kind=arguments.kind, limit=max(1, arguments.limit)):
        if arguments.json:
            print(json.dumps(run.facts()))
            continue
        _print(
            str(run.id),
            run.kind,
            run.state,
            f"by {run.actor}",
            f"started {_shown(run.started)}",
            f"ended {_shown(run.ended)}",
            json.dumps(run.options),
        )
    return 0


def _log(worker: Worker, arguments: argparse.Namespace) -> int:
    _tell(worker, worker.runs.find(arguments.run), only_json=arguments.json)
    return 0


def _cancel(worker: Worker, arguments: argparse.Namespace) -> int:
    run = worker.runs.cancel(arguments.run, Who())
    _print(str(run.id), run.kind, "ends soon" if run.state is State.RUNNING else run.state)
    return 0


def _schedule(worker: Worker, arguments: argparse.Namespace) -> int:
    given = {"cron": arguments.cron, "options": arguments.options}
    return _change(worker, arguments.kind, **given)


def _switch(worker: Worker, arguments: argparse.Namespace) -> int:
    return _change(worker, arguments.kind, enabled=arguments.enabled)


def _change(worker: Worker, kind: str, **given: Any) -> int:
    changed = worker.schedules.change(kind, who=Who(), **given)
    _print(
        changed.kind,
        changed.cron if changed.enabled else f"disabled ({changed.cron})",
        f"next {_shown(changed.due)}",
        json.dumps(changed.options),
    )
    return 0


def _tell(worker: Worker, run: Run, *, only_json: bool) -> None:
    if only_json:
        print(json.dumps(run.report))
        return
    print(worker.runs.log(run.id), end="")
    if run.report is not None:
        print(json.dumps(run.report, indent=2))


def _print(*columns: str) -> None:
    print("\t".join(columns))


def _shown(value: datetime | None) -> str:
    return moment(value) or "never"


def _options(text: str) -> Mapping[str, Any]:
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return options


def _hours(text: str) -> int:
    hours = int(text)
    if timedelta(hours=hours) < MIN_GRACE:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_GRACE}: pushes are under way")
    return hours
