# SPDX-License-Identifier: Apache-2.0
"""Kept connections to a service: what is sent once more, and what is no answer."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from threading import Thread

import pytest

from signerprocess import Tls
from trust.lines import Lines

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A TLS server that gives each connection its own list of answers, and keeps what it was sent.

    An answer of None closes the connection before a request is read; `b""` after it.
    """

    def __init__(self, folder: Path, *connections: list[bytes | None]) -> None:
        tls = Tls(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*tls.issue("localhost", server=True, client=False))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.client_context = ssl.create_default_context(cafile=tls.ca)
        self.requests: list[list[bytes]] = []
        self._thread = Thread(target=self._serve, args=(connections,), daemon=True)
        self._thread.start()

    def _serve(self, connections: tuple[list[bytes | None], ...]) -> None:
        for answers in connections:
            plain, _ = self._listener.accept()
            received: list[bytes] = []
            self.requests.append(received)
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as line:
                for answer in answers:
                    if answer is None:
                        break
                    received.append(line.recv(65536))
                    line.sendall(answer)
                else:
                    line.recv(1)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def talk(folder: Path, *connections: list[bytes | None], longest: float = 10.0) -> Iterator[tuple[Lines, Peer]]:
    peer = Peer(folder, *connections)
    lines = Lines("localhost", peer.port, peer.client_context, timeout=5, longest=longest)
    yield lines, peer
    lines.close()
    peer.close()


def ask(lines: Lines, most: int = 100) -> tuple[int, bytes]:
    return lines.post("/path", {"X-Name": "value"}, b"body", most=most)


def test_requests_go_out_in_one_piece_over_one_connection(tmp_path: Path) -> None:
    chunked = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    with talk(tmp_path, [OK, chunked, OK]) as (lines, peer):
        assert [ask(lines) for _ in range(3)] == [(200, b"ok"), (404, b"no"), (200, b"ok")]
    head = (
        f"POST /path HTTP/1.1\r\nHost: localhost:{peer.port}\r\nAccept-Encoding: identity\r\nX-Name: value\r\n"
        "Content-Length: 4\r\n\r\nbody"
    )
    assert peer.requests == [[head.encode()] * 3]


@pytest.mark.parametrize("ending", [[OK, None], [OK, b""], [OK, OK[:-1]], [OK, b"HTTP/1.1 2"]], ids=str)
def test_a_kept_connection_that_breaks_is_replaced_once(tmp_path: Path, ending: list[bytes | None]) -> None:
    last = [*ending, None]
    with talk(tmp_path, last, [OK]) as (lines, peer):
        assert [ask(lines), ask(lines)] == [(200, b"ok"), (200, b"ok")]
        assert len(peer.requests) == 2


def test_a_connection_that_the_service_ends_or_that_speaks_unasked_is_not_kept(tmp_path: Path) -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with talk(tmp_path, [closing], [OK + OK], [OK]) as (lines, peer):
        assert [ask(lines) for _ in range(3)] == [(200, b"ok")] * 3
        assert len(peer.requests) == 3


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n\r\n", OK[:-1], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"], ids=repr
)
def test_what_is_no_whole_answer_is_an_error_at_the_first_time(tmp_path: Path, answer: bytes) -> None:
    with talk(tmp_path, [answer, None]) as (lines, _), pytest.raises((OSError, HTTPException)):
        ask(lines)


def test_of_a_long_answer_no_more_is_read_than_shows_that_it_is_too_long(tmp_path: Path) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    with talk(tmp_path, [long, None], [OK]) as (lines, peer):
        assert ask(lines, most=10) == (200, b"x" * 11)
        assert ask(lines) == (200, b"ok")
        assert len(peer.requests) == 2


def test_an_answer_that_trickles_in_ends_with_its_time(tmp_path: Path) -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"
    with talk(tmp_path, [begun], longest=0.3) as (lines, _), pytest.raises(TimeoutError):
        ask(lines)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\0", "é"], ids=ascii)
def test_a_header_that_would_be_more_than_one_is_not_sent(tmp_path: Path, value: str) -> None:
    lines = Lines("localhost", 1, ssl.create_default_context(), timeout=1, longest=1)
    with pytest.raises(ValueError, match="header"):
        lines.post("/", {"X-Name": value}, b"", most=1)
