# SPDX-License-Identifier: Apache-2.0
"""gunicorn's worker, as the services run it."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask, request

from trust.web import verbosity, worker
from trust.web.app import create_base_app
from trust.web.run import configure_logging, run

REQUEST = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _app() -> Flask:
    app = create_base_app("test")
    app.post("/")(lambda: f"{len(request.get_data())} bytes")

    @app.get("/collect")
    def _collect() -> dict[str, float]:
        before = _private()
        gc.collect()
        return {"before": before, "after": _private()}

    return app


def _private() -> float:
    """MB that this process shares with no other."""
    found = re.search(r"Private_Dirty:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _serve(port: int, log: Path, headers_seconds: float, idle_seconds: float) -> None:
    worker.HEADERS_SECONDS, worker.IDLE_SECONDS = headers_seconds, idle_seconds
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    configure_logging("warning")
    run("test", _app, listen=f"127.0.0.1:{port}", tls=None, workers=1, threads=2)


@contextlib.contextmanager
def _service(log: Path, *, headers_seconds: float = 30, idle_seconds: float = 120) -> Iterator[tuple[int, int]]:
    """A service with one worker: its process and its port, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (port, log, headers_seconds, idle_seconds)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
    process.start()
    assert process.pid is not None
    try:
        _eventually(lambda: _answers(port))
        yield process.pid, port
    finally:
        process.terminate()
        process.join(30)
    assert process.exitcode == 0


def _answers(port: int) -> bool:
    try:
        with _ask(port) as client:
            _read(client)
    except ConnectionError:
        return False
    return True


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _ask(port: int, data: bytes = REQUEST) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(data)
    return client


def _read(client: socket.socket) -> None:
    """Read the answer, and keep our end open as Go's clients do."""
    assert client.recv(65536).startswith(b"HTTP/1.1 404")


def test_clients_that_keep_their_end_open_hold_up_nobody(tmp_path: Path) -> None:
    # If each good-bye stood in the way of the next answer for two seconds, the last would come after thirty.
    with _service(tmp_path / "log") as (_, port), contextlib.ExitStack() as open_ends:
        begun = time.monotonic()
        for _ in range(16):
            _read(open_ends.enter_context(_ask(port)))
        assert time.monotonic() - begun < 15


def test_a_worker_that_collects_its_garbage_goes_on_sharing_what_was_there_before_it(tmp_path: Path) -> None:
    with _service(tmp_path / "log") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/collect")
        told = json.loads(connection.getresponse().read())
        connection.close()
    # A collector that looks through all of it writes into 20 MB.
    assert told["after"] - told["before"] < 5


def test_connections_that_never_pause_keep_no_thread_from_a_newcomer(tmp_path: Path) -> None:
    over = threading.Event()

    def keep_asking(port: int) -> int:
        answers = 0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
            while not over.is_set():
                client.request("GET", "/nothing")
                answers += client.getresponse().read() != b""
        return answers

    with _service(tmp_path / "log") as (_, port), ThreadPoolExecutor(6) as busy:  # for two threads there
        kept = [busy.submit(keep_asking, port) for _ in range(6)]
        try:
            for _ in range(20):
                time.sleep(0.05)
                begun = time.monotonic()
                with _ask(port) as newcomer:
                    _read(newcomer)
                assert time.monotonic() - begun < 3
        finally:
            over.set()
        answers = [each.result() for each in kept]
        assert min(answers) > max(answers) / 5 > 1, answers


def test_signals_raise_and_lower_what_is_logged_as_in_the_original(tmp_path: Path) -> None:
    # NOTARY_V1 §4.3
    log = tmp_path / "log"

    def said(words: str) -> bool:
        return log.read_text().count(words) == 2  # master and worker

    with _service(log) as (master, port):
        assert "GET /nothing" not in log.read_text()  # a warning at least
        os.kill(master, signal.SIGUSR1)
        _eventually(lambda: said("log level: info"))
        assert _answers(port)
        _eventually(lambda: log.read_text().count("GET /nothing") == 1)
        for level in ("warning", "error"):
            os.kill(master, signal.SIGUSR2)
            _eventually(lambda level=level: said(f"log level: {level}"))  # type: ignore[misc]
        assert _answers(port)
    assert log.read_text().count("GET /nothing") == 1


def test_no_signal_goes_beyond_the_levels_that_there_are() -> None:
    root = logging.getLogger()
    level = root.level
    try:
        for move, end in ((verbosity.more, logging.DEBUG), (verbosity.less, logging.ERROR)):
            for _ in range(9):
                move()
            assert root.level == end
    finally:
        root.setLevel(level)


@pytest.mark.parametrize(
    "beginning",
    [b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx"],
    ids=["request line", "header", "body"],
)
def test_t08_clients_that_stop_in_the_middle_hold_up_nobody_for_ever(tmp_path: Path, beginning: bytes) -> None:
    limits = {"headers_seconds": 1.0, "idle_seconds": 1.0}
    with _service(tmp_path / "log", **limits) as (_, port), contextlib.ExitStack() as stalled:
        for _ in range(4):  # twice as many as there are threads
            stalled.enter_context(_ask(port, beginning))
        begun = time.monotonic()
        with _ask(port) as client:
            _read(client)
        assert time.monotonic() - begun < 8


def test_t08_headers_that_trickle_in_are_cut_off_and_a_slow_body_is_not(tmp_path: Path) -> None:
    with _service(tmp_path / "log", headers_seconds=1) as (_, port):
        with _ask(port, b"GET / HTTP/1.1\r\n") as client:
            stop = threading.Event()

            def trickle() -> None:
                with contextlib.suppress(OSError):
                    while not stop.wait(0.2):
                        client.sendall(b"x")

            thread = threading.Thread(target=trickle)
            thread.start()
            begun = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
            assert time.monotonic() - begun < 5
            stop.set()
            thread.join()
        with _ask(port, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n") as client:
            for _ in range(10):
                time.sleep(0.2)
                client.sendall(b"x")
            assert client.makefile("rb").read().endswith(b"10 bytes")


def test_what_the_server_itself_refuses_is_told_in_the_envelope(tmp_path: Path) -> None:
    line = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    refused = {
        line % (b"x" * 9000, b""): (414, "Request Line is too large"),
        line % (b"", b"X: 1\r\n" * 101): (431, "limit request headers fields"),
        line % (b"", b"X: %s\r\n" % (b"x" * 9000)): (431, "limit request headers fields size"),
        line % (b"", b"X Y: <b>\r\n"): (400, "Invalid HTTP header name: 'X Y'"),
        b"\xff\xfe \x00\r\n\r\n": (400, "Invalid"),
    }
    with _service(tmp_path / "log") as (_, port):
        for request, (status, words) in refused.items():
            with _ask(port, request) as client, client.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), request[:40]
            assert b"Content-Type: application/json" in head
            assert f"Content-Length: {len(body)}".encode() in head
            (error,) = json.loads(body)["errors"]
            assert error["code"] == "UNKNOWN"
            assert words in error["message"]
