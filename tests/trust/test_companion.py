# SPDX-License-Identifier: Apache-2.0
"""The process beside gunicorn's workers: watched over by the master, and gone when the master is."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from trust.web import companion
from trust.web.app import create_base_app
from trust.web.run import configure_logging, run


def _serve(folder: Path, port: int) -> None:
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    configure_logging("info")
    companion.PAUSES = (0.1, 60.0)

    def work(stop: Event) -> None:
        with (folder / "begun").open("a") as begun:
            begun.write(f"{os.getpid()}\n")
        if (folder / "fail").exists():
            (folder / "fail").unlink()
            raise RuntimeError("no good")
        stop.wait()
        (folder / "ended").write_text(str(os.getpid()))

    listen = f"127.0.0.1:{port}"
    run("test", lambda: create_base_app("test"), listen=listen, tls=None, workers=1, companion=work)


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder, port))
    process.start()
    try:
        _eventually(lambda: _begun(folder) != [])
        yield process
    finally:
        process.terminate()
        process.join(30)


def _begun(folder: Path) -> list[int]:
    path = folder / "begun"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_companion_that_fails_or_dies_is_started_anew_and_ends_with_the_service(tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    with _service(tmp_path) as service:
        _eventually(lambda: len(_begun(tmp_path)) == 2)
        os.kill(_begun(tmp_path)[1], signal.SIGKILL)
        _eventually(lambda: len(_begun(tmp_path)) == 3)
    last, log = _begun(tmp_path)[2], (tmp_path / "log").read_text()
    assert service.exitcode == 0
    assert (tmp_path / "ended").read_text() == str(last)
    assert not _lives(last)
    assert "RuntimeError: no good" in log
    # The pause grows, and the end of the service is no reason to begin another.
    ends = re.findall(r"ended \(status ([0-9]+)\); another begins in ([0-9.]+)s", log)
    assert ends == [("256", "0.1"), ("9", "0.2")]


def _wait(stop: Event) -> None:
    stop.wait(60)


def _end_at_once() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)  # as a master's handlers, which only take note
    for _ in range(20):
        process = companion.Companion(_wait)
        process.watch([])
        process.end()
        begun = time.monotonic()
        process.wait(5)
        assert time.monotonic() - begun < 5


def test_a_companion_that_is_told_to_end_while_it_begins_does_so() -> None:
    process = multiprocessing.get_context("spawn").Process(target=_end_at_once)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def test_a_companion_does_not_outlive_a_master_that_was_killed(tmp_path: Path) -> None:
    with _service(tmp_path) as service:
        assert service.pid is not None
        os.kill(service.pid, signal.SIGKILL)
        (pid,) = _begun(tmp_path)
        _eventually(lambda: not _lives(pid))
    assert (tmp_path / "ended").read_text() == str(pid)  # it was told, and came to its end
