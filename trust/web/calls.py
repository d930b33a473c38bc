# SPDX-License-Identifier: Apache-2.0
"""A shorter way to the answers of gRPC calls: past WSGI, and each answer sent at once.

    app.extensions[CALLS] = door                    # has `paths`, and `call`, which answers
    run(NAME, factory, …, http2_listen=…, worker=CallWorker)

HTTP/2 itself is gunicorn's, with its limits against clients that are slow or send too much: floods of frames, bodies
and answers that do not move, idle connections.  Here is only what becomes of a request whose path is one of a door's:
no WSGI environment is made of it, headers, message and trailers leave in one piece instead of three, and the client's
leave to send more is renewed now and then instead of twice for each call.  What is in any way unusual is left to
gunicorn and the app.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from gunicorn.http2.connection import HTTP2ServerConnection
from gunicorn.http2.errors import HTTP2StreamError
from gunicorn.http2.request import HTTP2Body
from gunicorn.http2.stream import HTTP2Stream
from h2.exceptions import ProtocolError

from trust.web.worker import Worker

#: Where an app keeps its `Door`, among its extensions.
CALLS = "troth.calls"
#: What a call's content is, and may also be called.
TYPES = ("application/grpc", "application/grpc+proto")

#: How many bytes may have come on a connection before its client may send so many more; half of what it may at first.
_CREDIT_BYTES = 2**15
_ANSWER = (("content-type", TYPES[0]),)


class Call:
    """A call whose headers are there.

    Args:
        stream: gunicorn's.
        fields: the headers.
        address: the client's.

    Attributes:
        method: HTTP's, always POST.
        path: what is called.
        request_id: as it was sent, or empty.
        body: to be read.
    """

    method = "POST"

    def __init__(self, stream: Any, fields: dict[str, str], address: str) -> None:
        self.stream = stream
        self.path = fields[":path"]
        self.request_id = fields.get("x-request-id", "")
        self.address = address
        self.body = cast(BinaryIO, HTTP2Body(stream))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: a message behind its prefix, or nothing, and the trailers."""

    body: bytes
    trailers: list[tuple[str, str]]


class Door(Protocol):
    """Answers calls.

    Attributes:
        paths: what can be called.
    """

    paths: Collection[str]

    def call(self, call: Call, connection: object) -> Answer:
        """Answer a call, whatever it is, that came through `connection`."""
        ...


class CallWorker(Worker):
    """A worker that answers calls."""

    def handle_http2(self, conn: Any) -> Any:
        """See gunicorn."""
        door: Door | None = self.wsgi.extensions.get(CALLS)
        if door is not None:
            conn.parser = _Connection(self.cfg, conn, door.paths)
        return super().handle_http2(conn)

    def handle_http2_request(self, req: Any, conn: Any, h2_conn: Any) -> None:
        """See gunicorn."""
        if not isinstance(req, Call):
            super().handle_http2_request(req, conn, h2_conn)
            return
        door: Door = self.wsgi.extensions[CALLS]
        self.nr += 1
        self.cfg.pre_request(self, req)
        try:
            h2_conn.answer(req.stream.stream_id, door.call(req, conn.sock))
        finally:
            self.cfg.post_request(self, req, {}, None)


class _Connection(HTTP2ServerConnection):  # type: ignore[misc]  # gunicorn has no types
    """A connection of gunicorn's on which calls are known.

    Args:
        config: gunicorn's.
        conn: the connection so far, on which nothing has been received.
        paths: what can be called.
    """

    def __init__(self, config: Any, conn: Any, paths: Collection[str]) -> None:
        super().__init__(config, conn.sock, conn.client)
        self.h2_conn, self._initialized = conn.parser.h2_conn, True  # it has told the client its settings
        self._paths = paths
        self._owed = 0
        self._holds = False

    def answer(self, stream_id: int, answer: Answer) -> None:
        """Send an answer in one piece.

        Raises:
            HTTP2StreamError: the client is gone, or does not take it.
        """
        self._holds = True
        try:
            sent = (
                self.send_response_headers(stream_id, 200, _ANSWER)
                and self.send_data(stream_id, answer.body)
                and self.send_trailers(stream_id, answer.trailers)
            )
        finally:
            self._holds = False
        self._send_pending_data()
        if not sent:
            raise HTTP2StreamError(stream_id, "the answer was not taken")

    def acknowledge_data(self, stream_id: int, size: int) -> None:
        """See gunicorn; who has sent all needs no leave to send more."""
        stream = self.streams.get(stream_id)
        if stream is None or not stream.body_complete:
            super().acknowledge_data(stream_id, size)

    def _handle_request_received(self, event: Any) -> Any:
        fields: dict[str, str] = dict(event.headers)
        if (
            self.draining
            or fields.get(":path") not in self._paths
            or fields.get(":method") != "POST"
            or fields.get("content-type") not in TYPES
            or "expect" in fields
            or not len(fields) == len(event.headers) <= self.cfg.limit_request_fields
            or max(map(len, fields.values())) > self.cfg.limit_request_field_size
        ):
            return super()._handle_request_received(event)
        stream = self.streams[event.stream_id] = HTTP2Stream(event.stream_id, self)
        stream.receive_headers(event.headers, end_stream=False)
        return Call(stream, fields, self.client_addr[0])

    def _handle_data_received(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        length = event.flow_controlled_length
        if stream is None or length != len(event.data):  # padded
            super()._handle_data_received(event)
            return
        stream.receive_data(event.data, end_stream=False)
        self._owed += length
        if self._owed >= _CREDIT_BYTES:
            owed, self._owed = self._owed, 0
            with contextlib.suppress(ValueError, ProtocolError):  # the client has ended the connection behind it
                self.h2_conn.increment_flow_control_window(owed)

    def _send_pending_data(self) -> None:
        if not self._holds:
            super()._send_pending_data()

    def _wait_for_flow_control_window(self, stream_id: int, deadline: float | None = None) -> Any:
        self._holds = False  # the client makes room for more when it has got this
        self._send_pending_data()
        return super()._wait_for_flow_control_window(stream_id, deadline)
