# SPDX-License-Identifier: Apache-2.0
"""The commands `troth admin job …`: what runs at set times, what ran, and how it went (docs/how-to/jobs.md)."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from typing import Any

from trust.cli.admincommand import Command, Rows, columns


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise ArgumentTypeError("must be a JSON object")
    return options


_KIND = ("kind", {"metavar": "KIND", "help": "as in `job list`"})
_RUN = ("number", {"metavar": "RUN", "type": int, "help": "as in `job runs`"})
_TOLD = {"type": _options, "metavar": "JSON"}


def _given(given: Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _schedules(entries: list[Any]) -> Rows:
    rows: Rows = [["KIND", "SCHEDULE", "DUE", "OPTIONS", "MEANING"]]
    for each in entries:
        cron = each["cron"] if each["enabled"] else f"disabled ({each['cron']})"
        rows.append([each["kind"], cron, each["due"], each["options"], each["meaning"]])
    return rows


def _runs(entries: list[Any]) -> Rows:
    return columns(
        "runs", RUN="id", KIND="kind", STATE="state", BY="actor", CREATED="created", STARTED="started",
        ENDED="ended", OPTIONS="options",
    )({"runs": entries})  # fmt: skip


def _report(answer: Any, _given: Namespace) -> list[str]:
    begun, ended = answer["started"] or "-", answer["ended"] or "-"
    report = [] if answer["report"] is None else json.dumps(answer["report"], indent=2).splitlines()
    return [f"{answer['kind']} {answer['state']}, started {begun}, ended {ended}", *report]


def _switch(word: str, help: str, enabled: bool) -> Command:
    return Command(f"job {word}", help, "PATCH", "/jobs/{kind}", (_KIND,), body=lambda _: {"enabled": enabled})


JOBS = [
    Command("job list", "the kinds of jobs, and when they run", "GET", "/jobs",
            rows=lambda answer: _schedules(answer["jobs"])),
    Command("job show", "one kind", "GET", "/jobs/{kind}", (_KIND,), rows=lambda answer: _schedules([answer])),
    Command(
        "job schedule", "say when a job runs, and with which options", "PATCH", "/jobs/{kind}",
        (_KIND, ("cron", {"metavar": "CRON", "nargs": "?", "help": "five fields, UTC: '17 3 * * *'"}),
         ("--options", {**_TOLD, "help": "what its runs are told"})),
        body=lambda given: _given(given, "cron", "options"), rows=lambda answer: _schedules([answer]),
    ),
    _switch("enable", "let a job run by itself", True),
    _switch("disable", "let it not", False),
    Command(
        "job run", "run a job as soon as a process is free for it; prints the run", "POST", "/jobs/{kind}/runs",
        (_KIND, ("--options", {**_TOLD, "help": "instead of those of its schedule"})),
        body=lambda given: _given(given, "options"), rows=lambda answer: _runs([answer]),
    ),
    Command(
        "job runs", "what ran, the newest first", "GET", "/job-runs",
        (("kind", {"metavar": "KIND", "nargs": "?", "help": "of this kind only"}),
         ("--count", {"type": int, "metavar": "N", "help": "how many, at most 100; default: 20"}),
         ("--before", {"type": int, "metavar": "RUN", "help": "with lower numbers only"})),
        query=lambda given: {"kind": given.kind, "n": given.count, "before": given.before},
        rows=lambda answer: _runs(answer["runs"]),
    ),
    Command("job report", "how a run went", "GET", "/job-runs/{number}", (_RUN,), text=_report),
    Command("job log", "what a run has said so far", "GET", "/job-runs/{number}/log", (_RUN,),
            text=lambda answer, _: list(answer["lines"])),
    Command("job cancel", "let a run not begin, or end soon", "DELETE", "/job-runs/{number}", (_RUN,),
            rows=lambda answer: _runs([answer])),
]  # fmt: skip
