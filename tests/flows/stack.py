# SPDX-License-Identifier: Apache-2.0
"""A running `troth up` on free ports, as a user would start it; killed, restarted and looked into by tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from warm import LEAN

TROTH = Path(sys.executable).parent / "troth"
PROGRAMS = ("troth-signer", "troth-server", "troth-registry")


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for `true`, and fail with `what` if it takes too long."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for this: {what}"
        time.sleep(0.05)


class Stack:
    """One state folder and its `troth up`.

    Args:
        folder: where `var`, and the output, are kept.
        environment: added to the environment of `troth up`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.state = folder / "var"
        registry, server, signer = free_ports(3)
        self.registry, self.server, self.signer = (f"localhost:{port}" for port in (registry, server, signer))
        self.registry_url, self.server_url = f"https://{self.registry}", f"https://{self.server}"
        self.ca = self.state / "ca/ca.crt"
        self._output, self._complaints = folder / "up.out", folder / "up.err"
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str | Path]:
        """The command line of `troth up`."""
        return [
            TROTH, "up", "--state", self.state,
            "--registry", self.registry, "--server", self.server, "--signer", self.signer,
        ]  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """The environment of `troth up`, without settings of the one who runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "NOTARY_"))}
        return kept | LEAN | self._environment

    @property
    def password(self) -> str:
        """The administrator's."""
        return (self.state / "admin-password").read_text().strip()

    @property
    def output(self) -> str:
        """What `troth up` printed since its last start."""
        return self._output.read_text()

    @property
    def complaints(self) -> str:
        """What `troth up` and the services wrote to standard error since the last start."""
        return self._complaints.read_text()

    @property
    def pid(self) -> int:
        """The process id of `troth up`."""
        assert self._process is not None, "troth up is not running"
        return self._process.pid

    def start(self) -> None:
        """Start `troth up` and wait until it says that it is ready."""
        with self._output.open("wb") as output, self._complaints.open("wb") as complaints:
            self._process = process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints
            )
        wait_until(lambda: "Ready." in self.output or process.poll() is not None, "troth up is ready")
        assert process.poll() is None, f"troth up ended with {process.returncode}: {self.complaints[-2000:]}"

    def stop(self) -> int:
        """Stop `troth up` as `kill` does, and return its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL `troth up` itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait until `troth up` has ended, and return its exit status."""
        assert self._process is not None, "troth up is not running"
        status = self._process.wait(90)
        self._process = None
        return status

    def service(self, program: str) -> int:
        """The process id of a service (of gunicorn's master)."""
        for process in descendants(self.pid):
            if parent(process) == self.pid and any(part.endswith(program) for part in arguments(process)):
                return process
        raise AssertionError(f"{program} is not running")


def arguments(process: int) -> list[str]:
    """The command line of a process; nothing in it when the process is gone or dead."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def parent(process: int) -> int:
    """The parent's process id; 0 when the process is gone."""
    try:
        # The second field is the program's name in parentheses, and may hold anything.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def descendants(process: int) -> list[int]:
    """The children of a process, and theirs."""
    family = {pid: parent(pid) for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())}
    found, new = [], [process]
    while new:
        new = [pid for pid, its_parent in family.items() if its_parent in new]
        found += new
    return found


def alive(process: int) -> bool:
    """Whether a process runs (one that is dead but not yet waited for does not)."""
    return any(arguments(process))
