# SPDX-License-Identifier: Apache-2.0
"""The original pair, Debian's notary-server and notary-signer, over a database; and ours, put in its place.

with GoPair(folder, place, server_url, signer_url):      # URLs of empty databases
    client("publish", gun)
with OurPair(folder, place, …):                          # at the same address, with the same certificate
    client("publish", gun)
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.stack import free_ports, wait_until
from gotables import go_url, make_tables
from trust.ca import Authority, new_authority
from warm import LEAN

#: Name and value of the passphrase that the original signer seals keys under.
ALIAS, SECRET = "timestamp_1", "a passphrase that stays where it is"


class Place:
    """An address and the certificates for it, which whoever serves there uses.

    Args:
        folder: for the certificates.
    """

    def __init__(self, folder: Path) -> None:
        self.port, self.signer_port, self.health_port = free_ports(3)
        self.url = f"https://localhost:{self.port}"
        self.ca = folder / "ca.crt"
        now = datetime.now(UTC)
        authority = Authority(new_authority("the site's authority", now))
        self.ca.write_bytes(authority.certificate_pem)
        hosts = ["localhost", "127.0.0.1"]
        self.files: dict[str, tuple[Path, Path]] = {}
        for name, server in (("notary-server", True), ("notary-signer", True), ("client", False)):
            paths = folder / f"{name}.crt", folder / f"{name}.key"
            common_name = "notary-server" if name == "client" else name
            issued = authority.issue(common_name, hosts if server else [], server=server, client=not server, now=now)
            issued.write(*paths)
            self.files[name] = paths


class _Pair:
    """A server and a signer that run within a `with` block.

    Attributes:
        databases: by `server` and `signer`, the URL of its database, where it has one.
    """

    def __init__(self, folder: Path, place: Place, databases: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.place = place
        self.databases = databases or {}
        self._running: list[subprocess.Popen[bytes]] = []
        self._started: list[tuple[list[str | Path], int, Mapping[str, str]]] = []

    @property
    def pids(self) -> list[int]:
        """The signer's process id if there is a signer, then the server's."""
        return [process.pid for process in self._running]

    def _start(self, command: list[str | Path], port: int, environment: Mapping[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "NOTARY_"))}
        path = self.folder / f"{Path(command[0]).name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(command, env=kept | LEAN | dict(environment), stdout=log, stderr=log)
        self._running.append(process)
        self._started.append((command, port, environment))
        wait_until(lambda: listens(port) or process.poll() is not None, f"{command[0]} listens", 30)
        assert process.poll() is None, path.read_text()[-3000:]

    def revive(self) -> bool:
        """Start again what has ended by itself; whether anything had."""
        ended = [place for place, process in enumerate(self._running) if process.poll() is not None]
        for place in ended:
            self._start(*self._started[place])
            self._running[place], self._started[place] = self._running.pop(), self._started.pop()
        return bool(ended)

    def _begin(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            if error is not None and process.poll() is not None:
                error.add_note(f"process {process.pid} had ended ({process.returncode})")
                for log in self.folder.glob("*.log"):
                    error.add_note(f"{log.name}: {log.read_text()[-3000:]}")
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


class GoPair(_Pair):
    """The original.

    Args:
        folder: for its configuration and logs.
        place: where it is.
        databases: by `server` and `signer`, the URL of an empty database.
    """

    def __init__(self, folder: Path, place: Place, databases: Mapping[str, str]) -> None:
        super().__init__(folder, place, databases)
        client, server, signer = (place.files[name] for name in ("client", "notary-server", "notary-signer"))
        storage = {}
        for program, url in databases.items():
            make_tables(url, program)
            backend = "postgres" if url.startswith("postgresql") else "mysql"
            storage[program] = {"backend": backend, "db_url": go_url(url)}
        self.configurations = {
            "server": {
                "server": {
                    "http_addr": f"localhost:{place.port}",
                    "tls_cert_file": str(server[0]),
                    "tls_key_file": str(server[1]),
                },
                "trust_service": {
                    "type": "remote",
                    "hostname": "localhost",
                    "port": str(place.signer_port),
                    "key_algorithm": "ecdsa",
                    "tls_ca_file": str(place.ca),
                    "tls_client_cert": str(client[0]),
                    "tls_client_key": str(client[1]),
                },
                "storage": storage["server"],
                "logging": {"level": "info"},
            },
            "signer": {
                "server": {
                    "grpc_addr": f"localhost:{place.signer_port}",
                    "tls_cert_file": str(signer[0]),
                    "tls_key_file": str(signer[1]),
                    "client_ca_file": str(place.ca),
                },
                "storage": storage["signer"] | {"default_alias": ALIAS},
                "logging": {"level": "info"},
            },
        }
        for program, configuration in self.configurations.items():
            self.configuration(program).write_text(json.dumps(configuration))

    def configuration(self, program: str) -> Path:
        """The configuration file of `server` or `signer`."""
        return self.folder / f"go-{program}.json"

    def _begin(self) -> None:
        secret = {f"NOTARY_SIGNER_{ALIAS.upper()}": SECRET}
        for program, port in (("signer", self.place.signer_port), ("server", self.place.port)):
            self._start([f"/usr/bin/notary-{program}", "-config", self.configuration(program)], port, secret)


class GoAlone(_Pair):
    """The original server without a signer and a database: it forgets everything, its keys first, when it ends."""

    def _begin(self) -> None:
        certificate, key = self.place.files["notary-server"]
        configuration = {
            "server": {
                "http_addr": f"localhost:{self.place.port}",
                "tls_cert_file": str(certificate),
                "tls_key_file": str(key),
            },
            "trust_service": {"type": "local"},
            "storage": {"backend": "memory"},
            "logging": {"level": "info"},
        }
        path = self.folder / "go-alone.json"
        path.write_text(json.dumps(configuration))
        self._start(["/usr/bin/notary-server", "-config", path], self.place.port, {})


class OurPair(_Pair):
    """Ours.

    Args:
        folder: for its settings, passphrases and logs.
        place: where it is.
        databases: by `server` and `signer`, the URL of a database.
    """

    def __init__(self, folder: Path, place: Place, databases: Mapping[str, str]) -> None:
        super().__init__(folder, place, databases)
        client, server, signer = (place.files[name] for name in ("client", "notary-server", "notary-signer"))
        passphrases = folder / "passphrases"
        passphrases.mkdir(mode=0o700)
        for alias, secret in (("default", "for new keys"), (ALIAS, SECRET)):
            path = passphrases / alias
            path.touch(mode=0o600)
            path.write_text(secret + "\n")
        settings = {
            "server": {
                "listen": f"127.0.0.1:{place.port}",
                "tls_certificate": str(server[0]),
                "tls_key": str(server[1]),
                "signer_url": f"https://localhost:{place.signer_port}",
                "signer_ca": str(place.ca),
                "signer_client_certificate": str(client[0]),
                "signer_client_key": str(client[1]),
            },
            "signer": {
                "listen": f"127.0.0.1:{place.signer_port}",
                "tls_certificate": str(signer[0]),
                "tls_key": str(signer[1]),
                "client_ca": str(place.ca),
                "passphrase_folder": str(passphrases),
            },
        }
        for program, values in settings.items():
            lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
            lines.append(f"database_url = {json.dumps(databases[program])}\n")
            self.configuration(program).write_text("".join(lines))

    def configuration(self, program: str) -> Path:
        """The settings of `server` or `signer`."""
        return self.folder / f"{program}.toml"

    def run(self, program: str, *arguments: str | Path, **environment: str) -> tuple[int, str]:
        """Run a program of ours that comes to an end; returns its status, and what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "NOTARY_"))}
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments],
            env=kept | LEAN | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def _begin(self) -> None:
        for program, port in (("signer", self.place.signer_port), ("server", self.place.port)):
            command = Path(sys.executable).parent / f"troth-{program}"
            self._start([command, "serve", "--config", self.configuration(program)], port, {})


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
