# SPDX-License-Identifier: Apache-2.0
"""What a kind of job is, and what a running job is given.

    GC = Kind("gc", "remove what nobody needs", options=SCHEMA, cron="17 3 * * *", enabled=True, run=collect)

    def collect(turn: Turn) -> Report:
        for batch in batches():
            turn.check()                        # somebody wants it to end; the service stops
            turn.log(f"removed {len(batch)}")
        return {"removed": 3, "findings": []}

A job may be ended at any `check`, killed at any moment, and begun anew by another process; so each step of its work
is whole in itself, and what is done already is passed over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from jsonschema import Draft202012Validator

from registry.operations import Schema
from trust.errors import InvalidError
from trust.web.caller import Who

#: What a job has done and found, JSON-able.  `findings`, if there are any, is a list of `Finding.facts`.
Report = Mapping[str, Any]
Options = Mapping[str, Any]

#: The kinds of jobs that there are.
NAMES = ("gc", "prune", "refresh", "drift")
#: The longest log that is kept, in bytes: its first half, and its newest lines.
MAX_LOG = 64 * 1024
#: The longest options, in bytes of JSON.
MAX_OPTIONS = 32 * 1024

_log = logging.getLogger("troth.jobs")


class StoppedError(Exception):
    """The job must not go on."""


class Log:
    """A job's lines, of which the first and the newest are kept; several threads may use it."""

    def __init__(self, text: str = "", limit: int = MAX_LOG) -> None:
        self._half = limit // 2
        self._head, self._tail, self._left_out = "", "", 0
        self._lock = Lock()
        for line in text.splitlines():
            self.add(line)

    def add(self, line: str) -> None:
        """Add a line."""
        line = "".join(c if c.isprintable() else "?" for c in line[:1000]) + "\n"
        with self._lock:
            if not self._tail and not self._left_out and len(self._head) + len(line) <= self._half:
                self._head += line
                return
            self._tail += line
            while len(self._tail) > self._half:
                _, _, self._tail = self._tail.partition("\n")
                self._left_out += 1

    def text(self) -> str:
        """What is kept."""
        with self._lock:
            gap = f"… {self._left_out} lines are left out …\n" if self._left_out else ""
            return self._head + gap + self._tail


@dataclass(frozen=True, slots=True)
class Turn:
    """A run of a job, as the job sees it.

    Attributes:
        run: its number.
        options: what it was started with; they fit the kind's schema.
        who: on whose behalf, for the audit trail.
        clock: tells the time.
        must_stop: whether the job must not go on.
        lines: its log.
    """

    run: int
    options: Options
    who: Who
    clock: Callable[[], datetime]
    must_stop: Callable[[], bool] = lambda: False
    lines: Log = field(default_factory=Log)

    def log(self, line: str) -> None:
        """Say something, in the run's log and the service's."""
        self.lines.add(f"{self.clock():%Y-%m-%dT%H:%M:%SZ} {line}")
        _log.info("job run %d: %s", self.run, line)

    def check(self) -> None:
        """Go on, or not.

        Raises:
            StoppedError: not.
        """
        if self.must_stop():
            raise StoppedError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes:
        name: a short word.
        meaning: what it does, in a phrase.
        options: the JSON Schema of what it can be told.
        cron: when it runs unless somebody says otherwise.
        enabled: whether it runs by itself unless somebody says otherwise.
        run: does it.
    """

    name: str
    meaning: str
    options: Schema
    cron: str
    enabled: bool
    run: Callable[[Turn], Report]

    def check(self, options: Options) -> None:
        """Whether the job can be told so.

        Raises:
            InvalidError: it cannot.
        """
        if len(json.dumps(options)) > MAX_OPTIONS:
            raise InvalidError(f"the options of {self.name} are too long")
        problem = next(Draft202012Validator(self.options).iter_errors(options), None)
        if problem is not None:
            rule = json.dumps(problem.validator_value)[:200]
            raise InvalidError(
                f"{self.name} cannot have these options: at {problem.json_path}, {problem.validator} {rule}"
            )


def find_kind(kinds: Mapping[str, Kind], name: str) -> Kind:
    """The kind of this name.

    Raises:
        InvalidError: there is none.
    """
    if name not in kinds:
        raise InvalidError(f"there is no job {name[:40]!r}; there are {', '.join(kinds)}")
    return kinds[name]
