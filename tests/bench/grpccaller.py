# SPDX-License-Identifier: Apache-2.0
"""One gRPC call again and again over one connection, at so little cost that the server is what is measured.

The frames are made once; of the answer it is only seen that it ended with status 0.  `tests/grpcclient.py` is the
client that understands what it gets.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamReset, TrailersReceived

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Windows as wide as they can be, so that nothing is ever given back to them.
_WIDEST = 2**31 - 1


class Caller:
    """A method with its message, to be called.

    Args:
        port: where, on localhost.
        ca: the authority of its certificate.
        client: the certificate that is shown, and its key.
        path: the method.
        message: what it is called with.
    """

    def __init__(self, port: int, ca: Path, client: tuple[Path, Path], path: str, message: bytes) -> None:
        self._ask_once(port, ca, client, path, message)
        self._socket = _connect(port, ca, client)
        settings = (4).to_bytes(2, "big") + _WIDEST.to_bytes(4, "big")
        widen = (_WIDEST - 65_535).to_bytes(4, "big")
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(8, 0, 0, widen))
        fields = {
            ":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        self._headers = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
        self._body = bytes(1) + len(message).to_bytes(4, "big") + message
        self._stream, self._messages = -1, 0
        self._left = b""

    def __call__(self) -> None:
        """Call, and wait for the end of the answer."""
        self._stream += 2
        self._socket.sendall(
            _frame(_HEADERS, _END_HEADERS, self._stream, self._headers)
            + _frame(_DATA, _END_STREAM, self._stream, self._body)
        )
        while True:
            kind, flags, stream = self._read()
            if stream == self._stream and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                # Trailers alone would be an error: an answer has headers, a message and trailers.
                assert kind == _HEADERS, "the answer has no trailers"
                assert self._messages == 1, "the call failed"
                return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read(self) -> tuple[int, int, int]:
        while len(self._left) < 9 or len(self._left) < 9 + int.from_bytes(self._left[:3], "big"):
            data = self._socket.recv(65_536)
            assert data, "the connection was closed"
            self._left += data
        length, kind, flags = int.from_bytes(self._left[:3], "big"), self._left[3], self._left[4]
        stream, payload = int.from_bytes(self._left[5:9], "big"), self._left[9 : 9 + length]
        self._left = self._left[9 + length :]
        if kind == _SETTINGS and not flags & _ACK:
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _HEADERS and not flags & _END_STREAM:
            self._messages = 0
        elif kind == _DATA and payload:
            self._messages += 1
        assert kind not in (3, 7), f"the stream or the connection was ended: {payload!r}"
        return kind, flags, stream

    @staticmethod
    def _ask_once(port: int, ca: Path, client: tuple[Path, Path], path: str, message: bytes) -> None:
        """The same call by a client that understands the answer: it must succeed."""
        with _connect(port, ca, client) as connection:
            h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
            h2.initiate_connection()
            fields = [
                (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "localhost"),
                ("content-type", "application/grpc"), ("te", "trailers"),
            ]  # fmt: skip
            h2.send_headers(1, fields)
            h2.send_data(1, bytes(1) + len(message).to_bytes(4, "big") + message, end_stream=True)
            while True:
                connection.sendall(h2.data_to_send())
                for event in h2.receive_data(connection.recv(65_536)):
                    assert not isinstance(event, StreamReset), "the call was reset"
                    if isinstance(event, TrailersReceived):
                        assert ("grpc-status", "0") in [(str(name), str(value)) for name, value in event.headers]
                        return


def _connect(port: int, ca: Path, client: tuple[Path, Path]) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(*client)
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    # RFC 7541 §6.2.2: never indexed, so that the bytes are the same each time
    assert len(name) < 127
    assert len(value) < 127
    return bytes((0, len(name))) + name + bytes((len(value),)) + value
