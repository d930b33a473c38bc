# SPDX-License-Identifier: Apache-2.0
"""What the registry does without being asked: tasks that are done again and again, each in a thread of its own.

    Background([Task("jobs", timedelta(seconds=5), jobs.turn)]).run(stop)

`troth-registry serve` runs this in a process beside its workers, `troth-registry work` in the foreground.  Every
replica may do so: a task that must not be done by two at once takes a lease (`registry.leases`), or claims the rows
that it works at.  A task that fails is logged and tried again at its next turn; it never stops another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread

from trust.errors import TrustError

#: How long the tasks together may take to end, once they are told to.
END_SECONDS = 15.0

_log = logging.getLogger("troth.background")


@dataclass(frozen=True, slots=True)
class Task:
    """Something that is done again and again.

    Attributes:
        name: for the log.
        every: the pause between the end of a turn and the next one.
        work: one turn.  It is given an event and ends soon once that is set.
    """

    name: str
    every: timedelta
    work: Callable[[Event], object]


class Background:
    """The tasks of one process.

    Args:
        tasks: what is done.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks

    def run(self, stop: Event) -> None:
        """Do the tasks until `stop` is set; then wait for their ends, for `END_SECONDS` at the most."""
        threads = [
            Thread(target=_repeat, args=(task, stop), name=f"task {task.name}", daemon=True) for task in self._tasks
        ]
        for thread in threads:
            thread.start()
        _log.info("background work begins: %s", ", ".join(task.name for task in self._tasks))
        while not stop.wait(1.0):  # signals are obeyed in between
            pass
        deadline = time.monotonic() + END_SECONDS
        for task, thread in zip(self._tasks, threads, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.warning("the background task %s did not end in time, and is left", task.name)
        _log.info("background work ends")


def _repeat(task: Task, stop: Event) -> None:
    while not stop.is_set():
        try:
            task.work(stop)
        except TrustError as error:
            _log.warning("the background task %s failed: %s", task.name, error)
        except Exception:
            _log.exception("the background task %s failed", task.name)
        stop.wait(task.every.total_seconds())
