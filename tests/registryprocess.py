# SPDX-License-Identifier: Apache-2.0
"""`troth-registry` as a process of its own, for tests that kill it, measure it, or need its real sockets.

process = Process(tmp_path, WORKERS="2")
process.start()
process.push_blob(b"data")
process.kill()                              # with all its workers, at once
"""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import warm
from flows.stack import descendants
from pushes import Headers, digest_of

APP = "library/app"
UPLOADS = f"/v2/{APP}/blobs/uploads/"
MIB = 1 << 20


class Process:
    """A registry that serves `folder`, without tokens and enforcement.

    Args:
        folder: for its state.
        settings: of the environment; None: without one that it would have.
    """

    def __init__(self, folder: Path, **settings: str | None) -> None:
        self.folder = folder
        self.port = _free_port()
        self.ca: Path | None = None
        defaults = {
            "LISTEN": f"127.0.0.1:{self.port}",
            "DATABASE_URL": f"sqlite:///{folder}/registry.db",
            "CONTENT_FOLDER": str(folder / "content"),
            "TRUST_MODE": "disabled",
            "WORKERS": "1",
        }
        self._settings: dict[str, str | None] = {**defaults, **settings}
        self._process: warm.Started | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        environ = os.environ | {f"TROTH_REGISTRY_{name}": value for name, value in self._settings.items() if value}
        with (self.folder / "log").open("ab") as log:
            self._process = warm.start("registry.app", env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log()
            try:
                if self.ask("GET", "/v2/")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"no answer: {self.log()}")

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it with all its workers, and return its exit status."""
        assert self._process is not None
        if number == signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        return self._process.wait(30)

    def kill_workers(self) -> None:
        """SIGKILL the workers; gunicorn's master replaces them."""
        assert self._process is not None
        for worker in descendants(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()

    def peak_memory(self) -> int:
        """The most memory that any of its processes has had, in bytes."""
        assert self._process is not None
        peaks = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            except OSError:  # ended meanwhile
                continue
            if self._process.pid in (int(fields["Pid"]), int(fields["PPid"])):
                peaks.append(int(fields["VmHWM"].split()[0]) * 1024)
        return max(peaks)

    def connect(self) -> http.client.HTTPConnection:
        """A connection."""
        if self.ca is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: Headers | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request; an iterator goes out chunked, without a length."""
        connection = self.connect()
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def upload(self) -> str:
        """Begin an upload, and return where it is."""
        status, headers, _ = self.ask("POST", UPLOADS)
        assert status == 202
        return str(headers["Location"])

    def push_blob(self, data: bytes) -> None:
        """Push a blob."""
        status, _, body = self.ask("PUT", f"{self.upload()}?digest={digest_of(data)}", data)
        assert status == 201, body

    def hang_up(self, head: str, body: bytes) -> None:
        """Send a request without its end, and wait until the server has taken it all in."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def blocks(count: int) -> Iterator[bytes]:
    """So many MiB, none like the other."""
    for number in range(count):
        yield hashlib.sha256(number.to_bytes(4, "big")).digest() * (MIB // 32)
