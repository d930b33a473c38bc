# SPDX-License-Identifier: Apache-2.0
"""A real docker engine without networking or containers: enough to load, tag, push, pull and sign.

It needs root and Debian's docker.io.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from flows.stack import wait_until

DOCKERD = "/usr/sbin/dockerd"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Engine:
    """The engine's process.

    Args:
        folder: for its data and socket; short, for a socket's path has at most 107 bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._log = folder / "dockerd.log"
        options = {
            "bridge": "none", "iptables": "false", "ip6tables": "false", "ip-forward": "false", "ip-masq": "false",
            "storage-driver": "vfs", "data-root": f"{folder}/data", "exec-root": f"{folder}/exec",
            "pidfile": f"{folder}/dockerd.pid", "host": self.host,
        }  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [DOCKERD, *(f"--{name}={value}" for name, value in options.items())],
                # Nothing of the caller's environment: a proxy there would come between engine and registry.
                env={"PATH": PATH, "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self._answers() or self._process.poll() is not None, "docker's engine answers", 90)
        assert self._process.poll() is None, f"docker's engine ended: {self._log.read_text()[-2000:]}"

    def stop(self) -> None:
        """Stop the engine."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        command = ["/usr/bin/docker", "--host", self.host, "version"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
