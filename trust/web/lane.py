# SPDX-License-Identifier: Apache-2.0
"""One thread of a worker for all connections that are kept: it answers what is at hand, and nothing else.

    lane = Lane(ahead, hand_over, …)
    lane.start()
    lane.take(connection)          # until its next request

A small answer costs less than waking a thread for it, and threads of Python take turns anyhow.  So this one waits for
all kept connections at once.  Of those that have a request it asks the database one question, whether anything has
changed, and answers what was found before for the same state (`trust.web.ahead`).  Where another service must be
asked as well, one of the worker's threads asks once for all who want to know the same, and meanwhile the next who
want it gather: no answer is older than its asker.  All else goes with its connection to the worker's other threads,
as if it had not been here: what is not at hand, no GET or HEAD, not whole yet, or written in a way that is left to
gunicorn's own parser.  This thread waits for nobody but the database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import ssl
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from queue import Empty, SimpleQueue
from typing import Any

from gunicorn import SERVER, util

from trust.web import tracing
from trust.web.ahead import STATUS, Ahead, Answer
from trust.web.tracing import AwaitsError
from trust.web.watch import Look

#: Longest head of a request.
MAX_HEAD = 8190
#: The longest answer that is sent from here.
MAX_ANSWER = 128 << 10
#: For how many requests, at most, a connection is kept from the lane when it has brought nothing that is at hand.
MAX_DETOUR = 63

#: How many other answers a request may wait for.
_QUESTIONS = 2
_READ = 16 << 10  # a record of TLS
_HEAD = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9._~/:@!$&'()*+,;=-]*) HTTP/1\.1\r\n((?:[!-9;-~]+:[ -~]*\r\n)+)\r\n")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
#: Headers that an answer may follow from, by their names in a WSGI environment.
_MEANT = {
    "authorization": "HTTP_AUTHORIZATION",
    "if-none-match": "HTTP_IF_NONE_MATCH",
    "x-request-id": "HTTP_X_REQUEST_ID",
}
#: Headers that change nothing here; a request with any other is not for this thread.
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "cache-control", "docker-distribution-api-version", "user-agent"}
)  # fmt: skip
_WAITS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
_log = logging.getLogger("troth.lane")


def parse(data: bytes) -> dict[str, str] | None:
    """What `Ahead.at_once` needs of a request's head; None: it is left to a real parser.

    Args:
        data: all that has come.
    """
    if len(data) > MAX_HEAD or (match := _HEAD.fullmatch(data)) is None:
        return None
    method, path, lines = (part.decode("ascii") for part in match.groups())
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": ""}
    names = set()
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        if name in names:
            return None
        names.add(name)
        if (meant := _MEANT.get(name)) is not None:
            environ[meant] = value
        elif name == "host":
            if _HOST.fullmatch(value) is None:
                return None
        elif not (name in _HARMLESS or (name == "connection" and value.lower() == "keep-alive")):
            return None
    return environ if "host" in names else None


def head_of(answer: Answer) -> bytes:
    """The head of an answer, as gunicorn writes it."""
    lines = [
        f"HTTP/1.1 {STATUS[answer.status]}",
        f"Server: {SERVER}",
        f"Date: {_date(int(time.time()))}",
        "Connection: keep-alive",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise ValueError("a header has more than one line")
    return f"{head}\r\n\r\n".encode("latin-1")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return str(util.http_date(second))


@dataclass(slots=True)
class _Request:
    """A request that the lane has read.

    Attributes:
        conn: its connection.
        data: as it came.
        environ: what it says.
        row: the state that it is answered in.
        known: what was asked for it.
    """

    conn: Any
    data: bytes
    environ: dict[str, str]
    row: Look | None = None
    known: dict[object, object] = field(default_factory=dict)


class Lane:
    """See above.  A connection is gunicorn's; whoever has it owns it alone.

    Args:
        ahead: knows what is at hand.
        submit: has something done by another thread.
        hand_over: gets a connection whose request, which stands in its buffer, is for another thread.
        send: gets a connection and the rest of an answer, which its client is slow to take.
        lost: gets a connection that is over.
        give_back: gets a connection without a request, when the worker ends.
    """

    def __init__(
        self,
        ahead: Ahead,
        *,
        submit: Callable[[Callable[[], None]], object],
        hand_over: Callable[[Any], None],
        send: Callable[[Any, memoryview], None],
        lost: Callable[[Any], None],
        give_back: Callable[[Any], None],
    ) -> None:
        self._ahead = ahead
        self._submit = submit
        self._hand_over = hand_over
        self._send_rest = send
        self._lost = lost
        self._give_back = give_back
        self._lock = threading.Lock()
        self._is_open = True
        self._conns: dict[int, Any] = {}
        # By what they want to know: those for whom it is being asked, and those for whom it will be asked next.
        self._asking: dict[Hashable, list[_Request]] = {}
        self._gathering: dict[Hashable, tuple[AwaitsError, list[_Request]]] = {}
        self._known: SimpleQueue[tuple[Hashable, object, bool]] = SimpleQueue()
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)

    def __len__(self) -> int:
        return len(self._conns)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def suits(self, conn: Any) -> bool:
        """Whether a connection, to which this thread has just answered, should be given to the lane at once.

        Of those whose requests were not at hand, less and less often.
        """
        if not self._ahead.has_answered:
            return False
        conn.detour = getattr(conn, "detour", 0) - 1
        return bool(conn.detour < 0)

    def take(self, conn: Any) -> bool:
        """Wait for the next request of a connection, of which nothing was read yet.

        Returns:
            False: the worker ends, and the connection stays the caller's.
        """
        conn.sock.setblocking(False)
        with self._lock:
            if not self._is_open:
                return False
            self._add(conn)
        return True

    def end(self) -> None:
        """Give everything back; within a signal's handler, too."""
        self._is_open = False
        self._ring()

    def _run(self) -> None:
        swept = time.monotonic()
        while self._is_open:
            try:
                self._turn()
                if (now := time.monotonic()) - swept >= 1:
                    swept = now
                    for conn in [each for each in list(self._conns.values()) if each.timeout < now]:
                        self._lose(conn)
            except Exception:  # the thread is needed
                _log.exception("a turn of the lane failed")
        with self._lock:
            conns, self._conns = list(self._conns.values()), {}
            for conn in conns:
                self._poll.unregister(conn.sock)
        for conn in conns:
            self._give_back(conn)
        waiting = [*self._asking.values(), *(requests for _, requests in self._gathering.values())]
        for asked in [each for requests in waiting for each in requests]:
            self._pass_on(asked.conn, asked.data)

    def _turn(self) -> None:
        asked = []
        for number, _ in self._poll.poll(1):
            if number == self._bell:
                os.eventfd_read(self._bell)
                self._learn()
                continue
            conn = self._conns.get(number)
            if conn is None or (data := self._read(conn)) is None:
                continue
            if (environ := parse(data)) is None:
                self._pass_on(conn, data)
            else:
                environ["REMOTE_ADDR"] = conn.client[0] if isinstance(conn.client, tuple) else ""
                asked.append(_Request(conn, data, environ))
        if asked:
            row = None
            try:
                row = self._ahead.look()
            except Exception:  # what was read must not be lost; the others meet it, too
                _log.exception("the lane cannot look")
            for each in asked:
                each.row = row
                self._try(each)
        for key in [each for each in self._gathering if each not in self._asking]:
            wanted, self._asking[key] = self._gathering.pop(key)
            self._submit(partial(self._ask, wanted))

    def _try(self, asked: _Request) -> None:
        """Answer it, or see to it that somebody does."""
        answer = None
        if asked.row is not None and self._is_open:
            answer = self._ahead.at_once(asked.environ, asked.row, asked.known)
        if answer is None or (isinstance(answer, AwaitsError) and len(asked.known) == _QUESTIONS):
            self._pass_on(asked.conn, asked.data)
        elif isinstance(answer, AwaitsError):
            self._drop(asked.conn)
            asked.environ["HTTP_X_REQUEST_ID"] = answer.request_id
            self._gathering.setdefault(answer.key, (answer, []))[1].append(asked)
        else:
            try:
                self._answer(asked.conn, asked.environ["REQUEST_METHOD"] == "HEAD", answer)
            except Exception:  # the others wait for their answers
                _log.exception("an answer cannot be sent")
                self._lose(asked.conn)

    def _ask(self, wanted: AwaitsError) -> None:
        """Ask another service; in another thread."""
        answer, is_known = None, False
        facts = tracing.enter(self._ahead.service, wanted.request_id)
        try:
            answer, is_known = wanted.ask(), True
        except Exception as error:  # each of those who wait asks for itself, and tells
            _log.debug("%s could not be asked: %s", wanted.key, type(error).__name__)
        finally:
            tracing.leave(facts)
            self._known.put((wanted.key, answer, is_known))
            self._ring()

    def _learn(self) -> None:
        """Go on with those who waited for what is known now."""
        with contextlib.suppress(Empty):
            while True:
                key, answer, is_known = self._known.get_nowait()
                for asked in self._asking.pop(key):
                    if is_known:
                        asked.known[key] = answer
                        self._try(asked)
                    else:
                        self._pass_on(asked.conn, asked.data)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_write(self._bell, 1)

    def _read(self, conn: Any) -> bytes | None:
        """What has come; None: nothing that means something, or the connection is over."""
        try:
            data: bytes = conn.sock.recv(_READ)
        except _WAITS:
            return None
        except OSError:
            data = b""
        if data:
            return data
        self._lose(conn)
        return None

    def _answer(self, conn: Any, is_head: bool, answer: Answer) -> None:
        rest = memoryview(head_of(answer) + (b"" if is_head else answer.body))
        try:
            while rest and len(rest) <= MAX_ANSWER:
                rest = rest[conn.sock.send(rest) :]
        except _WAITS:
            pass
        except OSError:
            self._lose(conn)
            return
        conn.penalty = 0
        if rest:
            self._drop(conn)
            self._send_rest(conn, rest)
        else:
            with self._lock:
                self._add(conn)

    def _pass_on(self, conn: Any, data: bytes) -> None:
        self._drop(conn)
        conn.detour = getattr(conn, "penalty", 0)
        conn.penalty = min(2 * conn.detour + 1, MAX_DETOUR)
        conn.parser.unreader.unread(data)
        self._hand_over(conn)

    def _add(self, conn: Any) -> None:
        conn.set_timeout()
        number = conn.sock.fileno()
        if number not in self._conns:
            self._conns[number] = conn
            self._poll.register(number, select.EPOLLIN)

    def _lose(self, conn: Any) -> None:
        self._drop(conn)
        self._lost(conn)

    def _drop(self, conn: Any) -> None:
        with self._lock:
            number = conn.sock.fileno()
            if self._conns.pop(number, None) is not None:
                self._poll.unregister(number)
