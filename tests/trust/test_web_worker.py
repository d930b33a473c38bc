# SPDX-License-Identifier: Apache-2.0
"""gunicorn's worker, as the services run it."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time

from trust.web.app import create_base_app
from trust.web.run import run

REQUEST = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _serve(port: int) -> None:
    run("test", lambda: create_base_app("test"), listen=f"127.0.0.1:{port}", tls=None, workers=1, threads=2)


def _ask(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(REQUEST)
    return client


def _read(client: socket.socket) -> None:
    """Read the answer, and keep our end open as Go's clients do."""
    assert client.recv(65536).startswith(b"HTTP/1.1 404")


def test_clients_that_keep_their_end_open_hold_up_nobody() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,))
    process.start()
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with _ask(port) as client:
                    _read(client)
                break
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        # If each good-bye stood in the way of the next answer for two seconds, the last would come after thirty.
        begun = time.monotonic()
        with contextlib.ExitStack() as open_ends:
            for _ in range(16):
                _read(open_ends.enter_context(_ask(port)))
        assert time.monotonic() - begun < 15
    finally:
        process.terminate()
        process.join(30)
    assert process.exitcode is not None
