# SPDX-License-Identifier: Apache-2.0
"""A time by which something on a connection must be over, however little by little it goes on.

A socket's own timeout is between two bytes: a peer that sends one now and then holds a thread for ever.  A `Limit`
has something done, such as shutting the connection down, if it is still there when its time comes:

    with Limit(60, lambda: connection.shutdown(socket.SHUT_RDWR)) as limit:
        data = read_all(connection)
    limit.passed

`LIMITED` are urllib3's connections which a limit of the same thread ends, in whatever they are at: the handshake, the
headers, the body.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

_here = threading.local()


class Limit:
    """What must be over in some time; a context manager.

    Args:
        seconds: how long it may take.
        end: called, from another thread, if it takes longer; never after the `with` block.

    Attributes:
        passed: whether it took longer.
    """

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self.when = time.monotonic() + seconds
        self.passed = False
        self._end = end
        self._lock = threading.Lock()
        self._lifted = False

    def __enter__(self) -> Self:
        _watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    def lift(self) -> None:
        """From here on it may take as long as it will."""
        _watch.remove(self)
        with self._lock:
            self._lifted = True

    def expire(self) -> None:
        """The time has come; for the watch alone."""
        with self._lock:
            if not self._lifted:
                self.passed = True
                self._end()


class _Watch:
    """One thread for all limits of a process, begun with the first."""

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes = 0.0

    def add(self, limit: Limit) -> None:
        with self._changed:
            self._limits.add(limit)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif limit.when < self._wakes:
                self._changed.notify()

    def remove(self, limit: Limit) -> None:
        with self._changed:
            self._limits.discard(limit)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for limit in [each for each in self._limits if each.when <= now]:
                    self._limits.discard(limit)
                    limit.expire()
                self._wakes = min((each.when for each in self._limits), default=now + 3600)
                self._changed.wait(self._wakes - now)


class Exchange:
    """A limit for one exchange over whichever `LIMITED` connection it takes; a context manager.

    Args:
        seconds: how long it may take, from the connecting to the last byte.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = Limit(seconds, self._cut)
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._outer: Exchange | None = None

    @property
    def passed(self) -> bool:
        """Whether it took longer and was ended."""
        return self._limit.passed

    def __enter__(self) -> Self:
        self._outer = getattr(_here, "exchange", None)
        _here.exchange = self
        self._limit.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.lift()
        _here.exchange = self._outer
        self._take(None)

    def watch(self, line: socket.socket) -> None:
        """This is the connection that is used now.

        Raises:
            TimeoutError: it is too late for another.
        """
        # A descriptor of our own: urllib3 may close or wrap its socket at any moment.
        self._take(socket.socket(fileno=os.dup(line.fileno())))
        if self.passed:
            raise TimeoutError("there is no time left")

    def _take(self, line: socket.socket | None) -> None:
        with self._lock:
            before, self._line = self._line, line
        if before is not None:
            before.close()

    def _cut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._line is not None:
                self._line.shutdown(socket.SHUT_RDWR)


def _watch_here(line: socket.socket | None) -> None:
    exchange: Exchange | None = getattr(_here, "exchange", None)
    if exchange is not None and line is not None:
        exchange.watch(line)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        line = super()._new_conn()
        try:
            _watch_here(line)
        except TimeoutError:
            line.close()
            raise
        return line

    def request(self, *arguments: Any, **options: Any) -> None:
        _watch_here(self.sock)
        super().request(*arguments, **options)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class HttpPool(urllib3.HTTPConnectionPool):
    """Connections that an `Exchange` can end."""

    ConnectionCls = _Connection


class HttpsPool(urllib3.HTTPSConnectionPool):
    """Connections that an `Exchange` can end."""

    ConnectionCls = _SecureConnection


#: For `urllib3.PoolManager.pool_classes_by_scheme`.
LIMITED: dict[str, type[urllib3.HTTPConnectionPool]] = {"http": HttpPool, "https": HttpsPool}

_watch = _Watch()
os.register_at_fork(after_in_child=_watch.__init__)  # type: ignore[misc]  # its thread stayed behind
