# SPDX-License-Identifier: Apache-2.0
"""A process beside gunicorn's workers, for what is done without being asked.

    run("troth-registry", factory, …, companion=work)      # trust.web.run

    def work(stop: Event) -> None:
        tasks = make_tasks()           # after the fork: with database connections of its own
        while not stop.wait(1): …

The master forks it, watches over it as over its workers, starts it anew when it has died, after a pause, and ends it
on SIGTERM.  It inherits no socket, and ends by itself when the master is gone, so that nothing keeps an address.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from trust.web.verbosity import Master, listen_in_worker

#: What a companion does until the event is set; it must come to its end within `END_SECONDS` then.
Work = Callable[[threading.Event], None]

#: How long a companion may take to end before it is killed.
END_SECONDS = 20.0
#: Seconds before one that died is started anew: the first time, and at most.
PAUSES = (1.0, 60.0)

#: What a companion obeys.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

_log = logging.getLogger("troth.background")


class Companion:
    """The process, as its master sees it.

    Args:
        work: what is done in it.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pid: int | None = None
        self._begun = 0.0
        self._pause = PAUSES[0]
        self._next = 0.0
        self._is_wanted = True

    def watch(self, listeners: list[Any]) -> None:
        """Start it, if it does not run and no pause is to be kept; the master does this every second.

        Args:
            listeners: the sockets that it must not keep open.
        """
        self.reap()
        if self._pid is not None or not self._is_wanted or time.monotonic() < self._next:
            return
        master, self._begun = os.getpid(), time.monotonic()
        # They wait until it can obey: the master's handlers, which it has at first, would swallow them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._pid = pid
            return
        status = 1
        try:
            for each in listeners:
                each.close()
            _live(self._work, master)
            status = 0
        except Exception:
            _log.exception("the background process failed")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            # Not by an exception: what is above on the stack is the master's.
            os._exit(status)

    def reap(self) -> None:
        """Notice that it has ended."""
        if self._pid is None:
            return
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:  # gunicorn waits for all children, and was faster
            pid, status = self._pid, -1
        if not pid:
            return
        if not self._is_wanted:
            self._pid = None
            return
        now = time.monotonic()
        if now - self._begun > PAUSES[1]:
            self._pause = PAUSES[0]
        _log.error("the background process %d ended (status %d); another begins in %.1fs", pid, status, self._pause)
        self._pid, self._next = None, now + self._pause
        self._pause = min(2 * self._pause, PAUSES[1])

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._pid is not None:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                self._pid = None

    def end(self) -> None:
        """Tell it to end, for good."""
        self._is_wanted = False
        self.signal(signal.SIGTERM)

    def wait(self, seconds: float = END_SECONDS) -> None:
        """Wait for its end; kill it if there is none in time."""
        deadline = time.monotonic() + seconds
        while self._pid is not None:
            try:
                if os.waitpid(self._pid, os.WNOHANG)[0]:
                    self._pid = None
            except ChildProcessError:
                self._pid = None
            if self._pid is not None and time.monotonic() > deadline:
                _log.error("the background process %d does not end, and is killed", self._pid)
                self.signal(signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.02)


class MasterWithCompanion(Master):
    """gunicorn's master, with one process more to watch.

    Args:
        app: gunicorn's.
        companion: that process.
    """

    def __init__(self, app: Any, companion: Companion) -> None:
        super().__init__(app)
        self._companion = companion

    def manage_workers(self) -> None:
        """See gunicorn; it is called every second."""
        super().manage_workers()
        self._companion.watch(self.LISTENERS)

    def reap_workers(self) -> None:
        """See gunicorn."""
        self._companion.reap()  # first: gunicorn would throw its status away
        super().reap_workers()

    def stop(self, graceful: bool = True) -> None:
        """See gunicorn; the workers and the companion end side by side."""
        self._companion.end()
        super().stop(graceful)
        self._companion.wait(END_SECONDS if graceful else 1.0)

    def handle_usr1(self) -> None:
        """Log more."""
        super().handle_usr1()
        self._companion.signal(signal.SIGUSR1)

    def handle_usr2(self) -> None:
        """Log less."""
        super().handle_usr2()
        self._companion.signal(signal.SIGUSR2)


def live(work: Work) -> None:
    """Do `work` in this process until SIGTERM or SIGINT; SIGUSR1 and SIGUSR2 make it log more and less."""
    stop = threading.Event()
    told: SimpleQueue[int] = SimpleQueue()

    def pass_on() -> None:
        told.get()
        stop.set()

    # Not from the handler itself: it may interrupt the very thread that is about to wait for the event, and holds
    # its lock.  A simple queue takes it.
    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: told.put(number))
    listen_in_worker()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    work(stop)


def _live(work: Work, master: int) -> None:
    for number in MasterWithCompanion.SIGNALS:  # the master's handlers are inherited
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def watch_over() -> None:
        while os.getppid() == master:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_over, name="orphan", daemon=True).start()
    live(work)
