# SPDX-License-Identifier: Apache-2.0
"""The API's operations on jobs; all are for administrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from registry.jobs.kinds import Kind
from registry.jobs.models import CRON_LENGTH
from registry.jobs.runs import Runs, State, moment
from registry.jobs.schedules import Schedule, Schedules
from registry.operations import Answer, Api, Call, Schema, object_schema, ref
from trust.errors import InvalidError
from trust.web.caller import caller
from trust.web.database import Database

MAX_PAGE = 100

_TEXT: Schema = {"type": "string"}
_ANY: Schema = {"type": "object"}
_MAYBE: Schema = {"type": ["string", "null"], "format": "date-time"}
_NUMBER: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_SWITCH: Schema = {"type": "boolean"}


def declare(api: Api, database: Database, kinds: Mapping[str, Kind], clock: Callable[[], datetime]) -> None:
    """Declare the operations on these kinds of jobs."""
    schedules, runs = Schedules(database, kinds, clock), Runs(database, kinds, clock)
    api.add_schemas(_schemas(kinds), {"kind": ref("JobKind"), "run": _NUMBER})

    def described(schedule: Schedule) -> dict[str, object]:
        return {
            "kind": schedule.kind,
            "meaning": kinds[schedule.kind].meaning,
            "cron": schedule.cron,
            "enabled": schedule.enabled,
            "options": schedule.options,
            "due": moment(schedule.due),
        }

    @api.operation("GET", "/jobs", "the kinds of jobs, and when they run, for administrators", answers={200: "Jobs"})
    def jobs(call: Call) -> Answer:
        call.require_administrator()
        return 200, {"jobs": [described(schedule) for schedule in schedules.list()]}

    @api.operation("GET", "/jobs/{kind}", "a kind of job, as an administrator", answers={200: "Job"})
    def job(call: Call, kind: str) -> Answer:
        call.require_administrator()
        return 200, described(schedules.of(kind))

    @api.operation(
        "PATCH", "/jobs/{kind}", "say when a job runs, and with which options, as an administrator",
        body="NewSchedule", answers={200: "Job"},
    )  # fmt: skip
    def change(call: Call, kind: str) -> Answer:
        call.require_administrator()
        return 200, described(schedules.change(kind, who=caller(), **call.body))

    @api.operation(
        "POST", "/jobs/{kind}/runs", "run a job as soon as a process is free for it, as an administrator",
        body="NewRun", answers={202: "JobRun"},
    )  # fmt: skip
    def start(call: Call, kind: str) -> Answer:
        call.require_administrator()
        options = call.body.get("options")
        if options is None:
            options = schedules.of(kind).options
        return 202, runs.start(kind, options, caller()).facts()

    @api.operation(
        "GET", "/job-runs", "what ran, the newest first, without reports, for administrators",
        answers={200: "JobRuns"},
        query={
            "kind": {"type": "string", "enum": ["", *kinds], "default": "", "description": "of this kind only"},
            "n": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20},
            "before": {**_NUMBER, "default": 2**31 - 1, "description": "with lower numbers only"},
        },
    )  # fmt: skip
    def history(call: Call) -> Answer:
        call.require_administrator()
        kind = call.query.get("kind", "")
        if kind not in ("", *kinds):
            raise InvalidError("there is no such kind of job")
        number, before = _number(call, "n", 20, MAX_PAGE), _number(call, "before", 2**31 - 1, 2**31 - 1)
        found = runs.list(kind=kind or None, before=before, limit=number)
        return 200, {"runs": [run.facts() for run in found]}

    @api.operation("GET", "/job-runs/{run}", "a run and its report, for administrators", answers={200: "JobRun"})
    def run(call: Call, run: int) -> Answer:
        call.require_administrator()
        return 200, runs.find(run).facts()

    @api.operation(
        "GET", "/job-runs/{run}/log", "what a run has said so far, for administrators", answers={200: "JobLog"}
    )
    def log(call: Call, run: int) -> Answer:
        call.require_administrator()
        return 200, {"lines": runs.log(run).splitlines()}

    @api.operation(
        "DELETE", "/job-runs/{run}", "let a run not begin, or end soon, as an administrator",
        answers={202: "JobRun"},
    )  # fmt: skip
    def cancel(call: Call, run: int) -> Answer:
        call.require_administrator()
        return 202, runs.cancel(run, caller()).facts()


def _schemas(kinds: Mapping[str, Kind]) -> dict[str, Schema]:
    cron: Schema = {
        "type": "string",
        "minLength": 9,
        "maxLength": CRON_LENGTH,
        "description": "five fields as Debian's cron reads them, in UTC",
    }
    options: Schema = {
        "type": "object",
        "description": "what the job is told",
        "anyOf": [{**kind.options, "title": kind.name} for kind in kinds.values()],
    }
    return {
        "JobKind": {"type": "string", "enum": list(kinds)},
        "Job": object_schema(
            kind=ref("JobKind"), meaning=_TEXT, cron=_TEXT, enabled=_SWITCH, options=_ANY, due=_MAYBE
        ),
        "Jobs": object_schema(jobs={"type": "array", "items": ref("Job")}),
        "NewSchedule": object_schema({"cron": cron, "enabled": _SWITCH, "options": options}),
        "NewRun": object_schema({"options": {**options, "description": "without them: those of its schedule"}}),
        "JobRun": object_schema(
            id=_NUMBER, kind=ref("JobKind"), options=_ANY, actor=_TEXT,
            state={"type": "string", "enum": [state.value for state in State]},
            attempts={"type": "integer"}, created={"type": "string", "format": "date-time"}, started=_MAYBE,
            ended=_MAYBE, report={"type": ["object", "null"]},
        ),
        "JobRuns": object_schema(runs={"type": "array", "items": ref("JobRun")}),
        "JobLog": object_schema(lines={"type": "array", "items": _TEXT}),
    }  # fmt: skip


def _number(call: Call, name: str, default: int, most: int) -> int:
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and 0 < int(text) <= most):
        raise InvalidError(f"{name} is a number from 1 to {most}")
    return int(text)
