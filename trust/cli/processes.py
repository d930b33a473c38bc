# SPDX-License-Identifier: Apache-2.0
"""The services as child processes: started, asked until they answer, and stopped in reverse order.

They do not outlive their parent: the kernel tells each of them when it dies, however it dies, and gunicorn's
workers follow their master by themselves.  Each is in a process group of its own, so that Ctrl-C in a terminal
reaches the parent alone, which then stops them in order and lets them finish what they were doing.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trust.cli.address import Address
from trust.errors import SettingsError, UnavailableError

_START = 60.0  # seconds that a service has until it answers
_STOP = 25.0  # seconds that it has to end; it gives its own requests 20
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Service:
    """A program, its settings, and the question by which one knows that it is ready."""

    program: str
    settings: Path
    address: Address
    path: str
    statuses: frozenset[int]
    tls: ssl.SSLContext


class Processes:
    """The running services.

    Args:
        lock: a descriptor that they inherit, and so keep open while any of them lives.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._running: list[tuple[Service, subprocess.Popen[bytes]]] = []

    def start(self, service: Service) -> None:
        """Start `service`.

        Raises:
            SettingsError: its program is not installed beside this one.
        """
        # Beside this interpreter and never through PATH, where a stranger's program may have the name.
        program = Path(sys.executable).parent / service.program
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program, no shell
                [program, "--config", service.settings],
                stdin=subprocess.DEVNULL,
                pass_fds=[self._lock],
                process_group=0,
                umask=0o077,  # databases and content are for their owner
                preexec_fn=_follow_parent(),  # safe: this process has one thread
            )
        except OSError as error:
            raise SettingsError(f"{program} cannot be started: {error.strerror}; install troth[services]") from error
        self._running.append((service, process))

    def wait_until_ready(self, interrupted: Callable[[], bool]) -> bool:
        """Wait until every service answers; False if `interrupted` said so before.

        Raises:
            UnavailableError: one ended, or does not answer in time.
        """
        deadline = time.monotonic() + _START
        for service, _ in self._running:
            while (problem := _ask(service)) is not None:
                if interrupted():
                    return False
                self.check()
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{service.program} does not become ready: {problem}")
                time.sleep(0.1)
        return True

    def check(self) -> None:
        """Look whether all services still run.

        Raises:
            UnavailableError: one has ended.
        """
        for service, process in self._running:
            status = process.poll()
            if status is not None:
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                raise UnavailableError(f"{service.program} {how}; what it said stands above")

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the services, each with the time to finish its requests.

        Args:
            at_once: all together, for when they can no longer count on one another; else the last one first, so that
                each finds those it needs until it has ended.
        """
        if at_once:
            for _, process in self._running:
                process.terminate()
        for _, process in reversed(self._running):
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def _follow_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # All that takes a lock (loading, looking up) is done before the fork.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return follow


def _ask(service: Service) -> str | None:
    """What is wrong with the answer of `service`; None when it is ready."""
    address = service.address
    connection = http.client.HTTPSConnection(address.near, address.port, timeout=5, context=service.tls)
    try:
        connection.request("GET", service.path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{address.url}{service.path}: {error}"
    finally:
        connection.close()
    if response.status not in service.statuses:
        return f"{address.url}{service.path} answers {response.status}"
    return None
