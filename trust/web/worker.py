# SPDX-License-Identifier: Apache-2.0
"""gunicorn's threaded worker, but one that says good-bye to a client aside.

Before it closes a connection, gunicorn waits up to two seconds for the client to close its own end, so that unread
bytes do not cut off the answer.  It does so on the one thread that accepts and dispatches everything, and meanwhile
the whole worker stands still.  Go's clients (docker, notary) keep their end open while they ask the next question:
with them, that is every request.  Here a thread of its own waits; beyond a limit nobody waits.

And gunicorn waits for a handshake, for headers and for bodies without end: as many clients as there are threads, who
each begin to say something and stop, would silence a service.  Here the headers must be there in `HEADERS_SECONDS`,
and a body, in either direction, may pause for `IDLE_SECONDS`.

And gunicorn hands each request of a connection from thread to thread, which costs as much as all that it does with a
small one.  Here one thread answers what is at hand for all kept connections (`trust.web.lane`); for the rest, a
thread stays with its connection for `STAY_SECONDS`, unless somebody waits for a thread.

What gunicorn refuses by itself, since it is no HTTP or beyond the limits of a head, it would refuse in HTML: here it
is the envelope that clients read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from concurrent.futures import Future
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from trust.deadline import Limit
from trust.web.ahead import Ahead
from trust.web.app import JSON_TYPE, envelope
from trust.web.bodies import straighten
from trust.web.lane import Lane
from trust.web.verbosity import listen_in_worker

#: From the first byte of a connection, or of a further request on it, to the last of the headers.
HEADERS_SECONDS = 30.0
#: How long a thread waits for its connection's next request.
STAY_SECONDS = 0.005
#: Between two bytes of a body; for an answer over plain HTTP, for each part that is sent at once.
IDLE_SECONDS = 120.0

_TAKEN = object()  # the lane has the connection
_LIMIT = 64  # connections that a worker says good-bye to at a time


def _write_error(client: Any, status: int, reason: str, message: str) -> None:
    """In the place of gunicorn's function of this name."""
    body = envelope(("UNKNOWN", message or reason, None)).encode()
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {JSON_TYPE}\r\n"
    util.write_nonblock(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


util.write_error = _write_error


def _done(result: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _has_more(conn: Any) -> bool:
    """Whether more of a connection was read than its last request."""
    return bool(conn.parser.unreader.buf.getvalue()) or (
        isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending() > 0
    )


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See above."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leaving = threading.BoundedSemaphore(_LIMIT)
        self._lane: Lane | None = None

    @property
    def max_keepalived(self) -> int:
        """How many connections gunicorn itself may keep."""
        return self._max_keepalived - (0 if self._lane is None else len(self._lane))

    @max_keepalived.setter
    def max_keepalived(self, value: int) -> None:
        self._max_keepalived = value

    def run(self) -> None:
        """See gunicorn; the app is there."""
        ahead = getattr(self.wsgi, "wsgi_app", None)
        if isinstance(ahead, Ahead) and ahead.gives_again:
            self._lane = Lane(
                ahead,
                submit=self.tpool.submit,
                hand_over=self.enqueue_req,
                send=self._send_aside,
                lost=lambda conn: self.method_queue.defer(self._lose, conn),
                give_back=lambda conn: self.method_queue.defer(self.finish_request, conn, _done(True)),
            )
            self._lane.start()
        super().run()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """See gunicorn; it is a signal's handler."""
        super().handle_exit(sig, frame)
        if self._lane is not None:
            self._lane.end()

    def init_signals(self) -> None:
        """See gunicorn; SIGUSR1 and SIGUSR2 are ours."""
        super().init_signals()
        listen_in_worker()

    def handle(self, conn: Any) -> Any:
        """See gunicorn; a client who takes too long is cut off."""
        init = type(conn).init

        def init_and_limit() -> None:
            init(conn)
            if not conn.is_http2:  # there gunicorn itself closes what is idle
                conn.sock.settimeout(IDLE_SECONDS)

        def cut() -> None:
            with contextlib.suppress(OSError):
                # The socket's own method: a TLS socket would go on without TLS after it.
                socket.socket.shutdown(conn.sock, socket.SHUT_RDWR)

        conn.init = init_and_limit
        while True:
            with Limit(HEADERS_SECONDS, cut) as conn.limit:
                kept = super().handle(conn)
            if kept is not True:
                return kept
            if _has_more(conn):
                continue
            if (self._lane is not None and self._lane.suits(conn)) or not self._stays(conn):
                return self._parted(conn)

    def _parted(self, conn: Any) -> object:
        """What becomes of a connection that this thread does not wait for: the lane waits, or gunicorn."""
        return _TAKEN if self._lane is not None and self._lane.take(conn) else True

    def _stays(self, conn: Any) -> bool:
        """Whether the next request comes on this connection in a moment, and nobody else wants the thread."""
        if not self.alive or self.tpool._work_queue.qsize():
            return False
        try:
            coming = select.poll()
            coming.register(conn.sock, select.POLLIN)
            return bool(coming.poll(STAY_SECONDS * 1000))
        except (OSError, ValueError):  # it is closed
            return False

    def handle_request(self, req: Any, conn: Any) -> Any:
        """See gunicorn; the headers are there."""
        conn.limit.lift()
        straighten(req)
        return super().handle_request(req, conn)

    def handle_http2(self, conn: Any) -> Any:
        """See gunicorn; one connection, many requests."""
        conn.limit.lift()
        return super().handle_http2(conn)

    def _send_aside(self, conn: Any, rest: memoryview) -> None:
        """Send what its client is slow to take, from a thread that may wait."""

        def send() -> object:
            with contextlib.suppress(OSError):
                conn.sock.settimeout(IDLE_SECONDS)
                conn.sock.sendall(rest)
                return self._parted(conn)
            return False

        fs = self.tpool.submit(send)
        fs.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _lose(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """See gunicorn; `conn.close` does not block here."""
        if not fs.cancelled() and fs.exception() is None and fs.result() is _TAKEN:
            return
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
