# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks: a real HTTP server on a loopback address, which says what came to it.

with Receiver() as receiver:
    receiver.answers = [500, 204]              # one after the other; after the last, the last again and again
    …
    receiver.events()                          # what came, each with its signature checked
    receiver.requests[0].headers["Host"]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(b"a secret for tests, 32 bytes long").decode()


@dataclass(frozen=True)
class Received:
    """One request; `server_name` is what TLS was asked for."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None


class Receiver:
    """The receiver, listening between `with` and its end.

    Args:
        address: of the loopback network.
        tls: with the server's certificate.

    Attributes:
        requests: what came so far.
        answers: the statuses that it answers with, or what to do instead of answering.
        headers: of its answers.
    """

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.answers: list[int | Callable[[BaseHTTPRequestHandler], None]] = [204]
        self.headers: dict[str, str] = {}
        self._names: list[str | None] = []
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            tls.sni_callback = lambda _line, name, _context: self._names.append(name)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://{address}:{self.port}/hook?key=1"

    def events(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """The events that came, after a look at their signatures, as a receiver of Standard Webhooks takes it."""
        for each in self.requests:
            assert signature(secret, each) == each.headers["webhook-signature"]
            assert each.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
        return [json.loads(each.body) for each in self.requests]

    def sequences(self) -> list[int]:
        """The numbers of the events that came."""
        return [int(event["sequence"]) for event in self.events()]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # who asked went away
                    self.close_connection = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                name = receiver._names[-1] if receiver._names else None
                receiver.requests.append(Received(self.command, self.path, dict(self.headers), body, name))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if callable(answer):
                    return answer(self)
                self.send_response(answer)
                for header, value in receiver.headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_CONNECT = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def signature(secret: str, received: Received) -> str:
    """What the signature of a request must be (https://www.standardwebhooks.com)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
