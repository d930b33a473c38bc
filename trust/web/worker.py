# SPDX-License-Identifier: Apache-2.0
"""gunicorn's threaded worker, but one that says good-bye to a client aside.

Before it closes a connection, gunicorn waits up to two seconds for the client to close its own end, so that unread
bytes do not cut off the answer.  It does so on the one thread that accepts and dispatches everything, and meanwhile
the whole worker stands still.  Go's clients (docker, notary) keep their end open while they ask the next question:
with them, that is every request.  Here a thread of its own waits; beyond a limit nobody waits.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from trust.web.verbosity import listen_in_worker

_LIMIT = 64  # connections that a worker says good-bye to at a time


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See above."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leaving = threading.BoundedSemaphore(_LIMIT)

    def init_signals(self) -> None:
        """See gunicorn; SIGUSR1 and SIGUSR2 are ours."""
        super().init_signals()
        listen_in_worker()

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """See gunicorn; `conn.close` does not block here."""
        close = type(conn).close

        def close_aside(graceful: bool = False) -> None:
            if not graceful or not self._leaving.acquire(blocking=False):
                close(conn)
                return

            def linger() -> None:
                try:
                    with contextlib.suppress(OSError):  # the client went, and took the connection with it
                        close(conn, graceful=True)
                finally:
                    self._leaving.release()

            threading.Thread(target=linger, name="good-bye", daemon=True).start()

        conn.close = close_aside
        super().finish_request(conn, fs)
