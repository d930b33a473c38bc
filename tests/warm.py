# SPDX-License-Identifier: Apache-2.0
"""Programs of ours that start at once: processes of their own, forked from one that has imported everything already.

    done = warm.run("trust.cli.main", "status", gun, env=environment)
    service = warm.start("signer.app", "--config", path, env=environment, stderr=log)
    service.terminate()
    assert service.wait(30) == 0

Nine tenths of the time in which a command of ours says what is wrong with its settings, Python imports modules.  Here
one process for each pytest process does so once, and forks for each start: a process with its own arguments,
environment, folder, files, session and exit status, which calls the `main` that the console script calls.  What is
not as in a start from nothing: its command line in /proc, variables for Python itself, and how much memory it has
from its beginning.  A test about one of these starts the program itself, as those of `troth up` do.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parent.parent
#: In the environment of a program of ours, so that it starts as where no test needs boto3 (lean/sitecustomize.py).
LEAN = {"PYTHONPATH": str(_ROOT / "tests/lean")}


class Started:
    """A process that runs, with the words of `subprocess.Popen`; made by `start`.

    Args:
        line: its monitor's end tells its process ID, and its exit status when it has ended.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.pid = int(_receive(line))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.returncode = int(_receive(self._line))
            self._line.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit status, or minus the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it runs still, after so many seconds.
        """
        if self.returncode is None and not select.select([self._line], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    module: str,
    *arguments: str | Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Started:
    """Start a program, in a session of its own.

    Args:
        module: has its `main`.
        arguments: after its name.
        env: its whole environment.
        cwd: its folder; None: this process's.
        stdin: a file; None: nothing to read.
        stdout: a file; None: this process's.
        stderr: a file; None: this process's.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    given = [str(each) for each in arguments]
    order = {"module": module, "arguments": given, "env": dict(env), "cwd": str(cwd or Path.cwd())}
    with theirs, tempfile.TemporaryFile() as file, open(os.devnull, "rb") as nothing:
        file.write(json.dumps(order).encode())
        file.flush()
        files = (stdin or nothing, stdout or 1, stderr or 2)
        numbers = [each if isinstance(each, int) else each.fileno() for each in files]
        socket.send_fds(_forker(), [b"start"], [theirs.fileno(), file.fileno(), *numbers])
        ours.settimeout(60)
        started = Started(ours)
    ours.settimeout(None)
    return started


def run(
    module: str, *arguments: str | Path, env: Mapping[str, str], cwd: Path | None = None, text: str = "",
    together: bool = False, timeout: float = 120,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a program to its end.

    Args:
        module: has its `main`.
        arguments: after its name.
        env: its whole environment.
        cwd: its folder; None: this process's.
        text: what it reads.
        together: have its standard error in its output, in order.
        timeout: after so many seconds it is killed.

    Raises:
        subprocess.TimeoutExpired: it had to be.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(text.encode())
        given.seek(0)
        complaints = out if together else err
        process = start(module, *arguments, env=env, cwd=cwd, stdin=given, stdout=out, stderr=complaints)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        said = out.read().decode(), err.read().decode()
    return subprocess.CompletedProcess([module, *map(str, arguments)], status, *said)


@cache
def _forker() -> socket.socket:
    """The way to the process that forks; it ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=_ROOT, env=os.environ | LEAN
        )

    @atexit.register
    def _end() -> None:
        ours.close()
        process.wait()

    return ours


def _receive(line: socket.socket) -> bytes:
    got = line.recv(100)
    assert got, "the program could not be started"
    return got


# What follows runs in the process that forks, and in those that it forks.


def _serve(orders: socket.socket) -> None:
    """Fork for each order; returns in the program's own process, when `sys.argv` and all else are its own."""
    while True:
        word, numbers, _flags, _address = socket.recv_fds(orders, 100, 5)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # monitors that have ended
                pass
        if not word:
            os._exit(0)
        line, file, *standard = numbers
        with open(file, encoding="utf-8") as source:
            source.seek(0)
            order = json.load(source)
        importlib.import_module(order["module"])  # once, here, and not in each process
        gc.freeze()  # what is there is not looked through in each of them
        if os.fork() == 0:
            orders.close()
            return _begin(order, socket.socket(fileno=line), standard)
        for number in (line, *standard):
            os.close(number)


def _begin(order: Mapping[str, object], line: socket.socket, standard: Iterable[int]) -> None:
    """Be the monitor, which ends here, or else the program."""
    if child := os.fork():
        for number in (0, 1, 2, *standard):
            os.close(number)
        line.send(str(child).encode())
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
        os._exit(0)
    line.close()
    os.setsid()
    for target, number in enumerate(standard):
        os.dup2(number, target)
        os.close(number)
    arguments, env, cwd = order["arguments"], order["env"], order["cwd"]
    assert isinstance(arguments, list)
    assert isinstance(env, dict)
    os.chdir(str(cwd))
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(order["module"]), *arguments]


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(sys.modules[sys.argv[0]].main())
