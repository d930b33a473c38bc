# SPDX-License-Identifier: Apache-2.0
"""A gRPC client for tests, on h2 alone, that can also send what no gRPC client would.

with GrpcClient(signer, signer.client) as client:
    client.call("/proto.Signer/Sign", request).status
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.settings

from signerprocess import SignerProcess

Headers = dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What came back on one stream."""

    headers: Headers
    body: bytes
    trailers: Headers

    @property
    def status(self) -> int:
        """gRPC's."""
        return int(self.trailers["grpc-status"])

    @property
    def text(self) -> str:
        """The status' message."""
        return unquote(self.trailers.get("grpc-message", ""))

    @property
    def message(self) -> bytes:
        """The one message of a call that succeeded."""
        assert self.status == 0, (self.status, self.text)
        assert self.body[:5] == bytes(1) + (len(self.body) - 5).to_bytes(4, "big")
        return self.body[5:]


def framed(message: bytes) -> bytes:
    """A message behind its prefix."""
    return bytes(1) + len(message).to_bytes(4, "big") + message


class GrpcClient:
    """One connection.

    Args:
        signer: whose second door it knocks at.
        client: the certificate that it shows, and its key; None: none.
        port: another door.
        window: how much of an answer may be sent before this client asks for more.

    Attributes:
        pieces: how many it has received.
    """

    def __init__(
        self,
        signer: SignerProcess,
        client: tuple[Path, Path] | None,
        port: int | None = None,
        *,
        window: int | None = None,
    ) -> None:
        context = signer.client_context(client)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port or signer.grpc_port), timeout=15)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self.protocol = self._socket.selected_alpn_protocol()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        if window is not None:
            self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.pieces = 0
        self._replies: dict[int, tuple[Headers, bytearray, Headers]] = {}
        self._ended: set[int] = set()

    def call(self, path: str, message: bytes = b"", **changes: str) -> Reply:
        """Call a method with one message."""
        return self.receive(self.send(path, framed(message), **changes))

    def begin(self, path: str, **changes: str) -> int:
        """Send a request's headers, of which `changes` differ, and no body yet; returns the stream's number."""
        stream = self._begin(path, changes)
        self._socket.sendall(self._h2.data_to_send())
        return stream

    def reset(self, stream: int) -> None:
        """Give a request up."""
        self._h2.reset_stream(stream)

    def ping(self, times: int) -> None:
        """Ask so many times whether the other end is there, and wait for something of it."""
        for _ in range(times):
            self._h2.ping(bytes(8))
        self._exchange()

    def send(self, path: str, body: bytes, **changes: str) -> int:
        """Send a request, of which `changes` differ, with a body as it is; returns the stream's number."""
        stream = self._begin(path, changes, end_stream=not body)
        sent = 0
        while sent < len(body):
            while not (window := self._h2.local_flow_control_window(stream)):
                self._exchange()
                if stream in self._ended:
                    return stream
            size = min(window, self._h2.max_outbound_frame_size)
            part = body[sent : sent + size]
            sent += len(part)
            self._h2.send_data(stream, part, end_stream=sent == len(body))
        return stream

    def _begin(self, path: str, changes: dict[str, str], *, end_stream: bool = False) -> int:
        headers = {
            ":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        headers |= {{"method": ":method"}.get(name, name.replace("_", "-")): value for name, value in changes.items()}
        stream = self._h2.get_next_available_stream_id()
        self._replies[stream] = ({}, bytearray(), {})
        self._h2.send_headers(stream, list(headers.items()), end_stream=end_stream)
        return stream

    def receive(self, stream: int) -> Reply:
        """Wait for the end of a stream."""
        while stream not in self._ended:
            self._exchange()
        headers, body, trailers = self._replies[stream]
        return Reply(headers, bytes(body), trailers)

    def _exchange(self) -> None:
        self._socket.sendall(self._h2.data_to_send())
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed")
        self.pieces += 1
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    self._replies[event.stream_id][0].update(_texts(event.headers))
                case h2.events.DataReceived():
                    self._replies[event.stream_id][1].extend(event.data)
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.TrailersReceived():
                    self._replies[event.stream_id][2].update(_texts(event.headers))
                case h2.events.ConnectionTerminated():
                    raise ConnectionError(f"the connection was ended: {event.error_code}")
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    self._ended.add(event.stream_id)
        self._socket.sendall(self._h2.data_to_send())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def _texts(headers: Sequence[tuple[str | bytes, str | bytes]]) -> Headers:
    return {_text(name): _text(value) for name, value in headers}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
