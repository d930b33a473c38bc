# SPDX-License-Identifier: Apache-2.0
"""A notary-server that is told by Go's configuration file what to do, Go's own or ours, and a client of it.

server = GoServer(tmp_path, configuration(signer, signer.client))
server.notary("init", "localhost:5000/library/app", "--publish")
server.stop()
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signerprocess import SignerProcess

_ROOT = Path(__file__).parent.parent
#: Debian's, and ours.
PROGRAMS = {"go": ["notary-server"], "ours": [sys.executable, "-m", "server.app"]}


def configuration(signer: SignerProcess, client: tuple[Path, Path], port: int | None = None) -> dict[str, Any]:
    """A configuration with Go's memory for a database.

    Args:
        signer: the signer to use.
        client: the certificate to show to it, and its key.
        port: the signer's, if not that of its gRPC.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own = int(probe.getsockname()[1])
    return {
        "server": {"http_addr": f"127.0.0.1:{own}"},
        "trust_service": {
            "type": "remote",
            "hostname": "localhost",
            "port": str(port or signer.grpc_port),
            "key_algorithm": "ecdsa",
            "tls_ca_file": str(signer.tls.ca),
            "tls_client_cert": str(client[0]),
            "tls_client_key": str(client[1]),
        },
        "storage": {"backend": "memory"},
        "logging": {"level": "debug"},
    }


class GoServer:
    """A running notary-server, and the home of a client.

    Args:
        folder: an empty folder.
        config: what its file says.
        program: `go` or `ours`.
        environment: added to its environment.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        program: str = "go",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        host, _, port = config["server"]["http_addr"].partition(":")
        self.url = f"http://{host}:{port}"
        self._folder = folder
        path = folder / "server.json"
        path.write_text(json.dumps(config))
        self.log = folder / f"{program}-server.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "NOTARY_"))}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*PROGRAMS[program], "-config", str(path)],
                env=kept | {"PYTHONPATH": str(_ROOT)} | dict(environment or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                assert self._process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def notary(self, *arguments: str | Path, succeeds: bool = True) -> str:
        """Run the client; returns what it printed."""
        passphrases = {f"NOTARY_{role}_PASSPHRASE": "correct horse" for role in ("ROOT", "TARGETS", "SNAPSHOT")}
        done = subprocess.run(
            ["notary", "--server", self.url, "--trustDir", self._folder / "trust", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), **passphrases},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, f"{done.stdout}\n{self.log.read_text()[-3000:]}"
        return done.stdout
