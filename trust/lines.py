# SPDX-License-Identifier: Apache-2.0
"""Short exchanges with one service over TLS, again and again, on connections that are kept.

    lines = Lines("signer", 4444, context, timeout=10.0, longest=30.0)
    status, body = lines.post("/v1/sign", {"Content-Type": "application/json"}, body, most=2**20)

A third of what urllib3 costs: the request goes out in one piece, and of the answer what `http.client` reads is all
that is looked at.  No redirects, no proxies, no coding.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from threading import Lock

from trust.deadline import Exchange

#: How many connections are kept.
_KEPT = 8
#: What a connection does that the service closed while nobody used it.
_CLOSED = (ConnectionError, HTTPException, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Lines:
    """Connections to a service; make it after a fork, not before.

    Args:
        host: name or address; IPv6 without brackets.
        port: where it listens.
        context: says whom to trust, and shows our own certificate.
        timeout: seconds to wait for a connection, and for each part of an answer.
        longest: seconds for a whole answer.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, *, timeout: float, longest: float) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._timeout = timeout
        self._longest = longest
        name = f"[{host}]" if ":" in host else host
        self._named = f"Host: {name}:{port}\r\nAccept-Encoding: identity\r\n"
        self._lock = Lock()
        self._kept: list[ssl.SSLSocket] = []

    def post(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> tuple[int, bytes]:
        """Status and body of the answer to a POST that may as well be answered twice; as for `get`.

        Args:
            path: without anything that would have to be quoted.
            headers: more of them.
            body: what is sent.
            most: of a longer answer, one byte more than this is given.
        """
        return self._ask("POST", path, {**headers, "Content-Length": str(len(body))}, body, most)

    def get(self, path: str, headers: Mapping[str, str], *, most: int) -> tuple[int, bytes]:
        """Status and body of the answer to a GET.

        It is sent once more if a kept connection turns out to be closed.

        Args:
            path: without anything that would have to be quoted.
            headers: more of them.
            most: of a longer answer, one byte more than this is given.

        Raises:
            ssl.SSLError: we do not trust each other.
            OSError: there is no answer, or not in time.
            http.client.HTTPException: what comes is no answer.
        """
        return self._ask("GET", path, headers, b"", most)

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept, self._kept = self._kept, []
        for line in kept:
            line.close()

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes, most: int) -> tuple[int, bytes]:
        request = self._head(method, path, headers) + body
        if (line := self._take()) is not None:
            with contextlib.suppress(*_CLOSED):
                return self._exchange(line, method, request, most)
        return self._exchange(None, method, request, most)

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise ValueError("a header holds what no header can")
        more = "".join(f"{line}\r\n" for line in lines)
        return f"{method} {path} HTTP/1.1\r\n{self._named}{more}\r\n".encode("ascii")

    def _exchange(self, line: ssl.SSLSocket | None, method: str, request: bytes, most: int) -> tuple[int, bytes]:
        with Exchange(self._longest) as exchange, contextlib.ExitStack() as exits:
            try:
                if line is None:
                    line = self._open(exchange)
                else:
                    exchange.watch(line)
                exits.callback(line.close)
                line.sendall(request)
                response = HTTPResponse(line, method=method)
                exits.callback(response.close)
                response.begin()
                answer = response.read(most + 1)
                if response.length and len(answer) <= most:
                    raise ConnectionResetError("the answer broke off")
            except OSError as error:
                if exchange.passed:
                    raise TimeoutError("the answer took too long") from error
                raise
            if exchange.passed:  # what was read ended with the connection, and looked whole
                raise TimeoutError("the answer took too long")
            if response.isclosed() and not response.will_close:
                exits.pop_all()
                self._give(line)
        return response.status, answer

    def _open(self, exchange: Exchange) -> ssl.SSLSocket:
        plain = socket.create_connection((self._host, self._port), self._timeout)
        try:
            exchange.watch(plain)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    def _take(self) -> ssl.SSLSocket | None:
        """A kept connection on which nothing has come since."""
        while True:
            with self._lock:
                if not self._kept:
                    return None
                line = self._kept.pop()
            poll = select.poll()
            poll.register(line, select.POLLIN)
            if not poll.poll(0):
                return line
            line.close()

    def _give(self, line: ssl.SSLSocket) -> None:
        with self._lock:
            if len(self._kept) < _KEPT:
                self._kept.append(line)
                return
        line.close()
