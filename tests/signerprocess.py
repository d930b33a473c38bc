# SPDX-License-Identifier: Apache-2.0
"""A notary-signer for tests: its certificates, its settings, its process.

    with SignerProcess(tmp_path) as signer:
        keys = signer.open_store()
        keys.create(gun, TIMESTAMP, "ecdsa")

The process is the real one, behind gunicorn and TLS; `kill` ends it as a power cut would and `start` brings it back
at the same port.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from tuf.api.metadata import Snapshot, Timestamp

import warm
from signer.settings import Settings
from trust.ca import Authority, Pair, new_authority
from trust.metadata import describe, draft
from trust.names import SNAPSHOT, TIMESTAMP, RoleName
from trust.remotekeys import RemoteKeyStore

_ROOT = Path(__file__).parent.parent
_PLAIN = """
import sys
from pathlib import Path

from signer.app import create_app, prepare
from signer.settings import Settings
from trust.settings import load
from trust.web.run import run

settings = load(Settings, prefix="TROTH_SIGNER", path=Path(sys.argv[1]))
prepare(settings)
run("signer", lambda: create_app(settings), listen=settings.listen, tls=None)
"""


def payload(role: RoleName, *, version: int = 1, days: float = 7, now: datetime | None = None) -> bytes:
    """What a server would have signed."""
    expires = (now or datetime.now(UTC)) + timedelta(days=days)
    if role == TIMESTAMP:
        timestamp = Timestamp(version=version, expires=expires, snapshot_meta=describe(b"snapshot"))
        return draft(TIMESTAMP, timestamp).signed_bytes
    meta = {name: describe(name.encode()) for name in ("root", "targets", "targets/releases")}
    return draft(SNAPSHOT, Snapshot(version=version, expires=expires, meta=meta)).signed_bytes


class Tls:
    """An authority, and the files of whatever it issues.

    Args:
        folder: where the files go.
        name: the authority's.
    """

    def __init__(self, folder: Path, name: str = "the right one") -> None:
        self.folder = folder
        self._issued = 0
        # Begun long ago, so that it can issue what has expired by now.
        self._made = datetime.now(UTC) - timedelta(days=1500)
        self._authority = Authority(new_authority(name, self._made))
        self.ca = folder / f"{name}.crt".replace(" ", "-")
        self.ca.write_bytes(self._authority.certificate_pem)

    def issue(
        self, name: str, *, server: bool = False, client: bool = True, expired: bool = False
    ) -> tuple[Path, Path]:
        """Issue a certificate for localhost; returns its file and its key's."""
        now = self._made if expired else datetime.now(UTC)
        hosts = ["localhost", "127.0.0.1"] if server else []
        return self._write(self._authority.issue(name, hosts, server=server, client=client, now=now))

    def _write(self, pair: Pair) -> tuple[Path, Path]:
        self._issued += 1
        stem = f"{self.ca.stem}-{self._issued}"
        certificate, key = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        pair.write(certificate, key)
        return certificate, key


class SignerProcess:
    """A signer's state, and its process while the `with` block runs.

    Args:
        folder: an empty folder.
        plain: serve without TLS, which no operator can: to see that nothing is answered then.
        grpc: open the second door, too.
        forked: start at once (tests/warm.py); else from nothing, with a command line of its own.
    """

    def __init__(self, folder: Path, *, plain: bool = False, grpc: bool = False, forked: bool = True) -> None:
        self.folder = folder
        self.tls = Tls(folder)
        self.certificate, self.key = self.tls.issue("notary-signer", server=True, client=False)
        self.client = self.tls.issue("notary-server")
        passphrases = folder / "passphrases"
        passphrases.mkdir(mode=0o700)
        self.passphrase_file = passphrases / "default"
        self.passphrase_file.touch(mode=0o600)
        self.passphrase_file.write_text("correct horse battery staple\n")
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            self.port, self.grpc_port = (int(probe.getsockname()[1]) for probe in (one, other))
        self.url = f"https://localhost:{self.port}"
        self.config = folder / "signer.toml"
        self.database_url = f"sqlite:///{folder}/signer.db"
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\ntls_certificate = "{self.certificate.name}"\n'
            f'tls_key = "{self.key.name}"\nclient_ca = "{self.tls.ca.name}"\n'
            f'database_url = "{self.database_url}"\npassphrase_folder = "passphrases"\n'
            + (f'grpc_listen = "127.0.0.1:{self.grpc_port}"\n' if grpc else "")
        )
        self.log = folder / "signer.log"
        self._plain = plain
        self._forked = forked and not plain
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | warm.Started | None = None
        self._stores: list[RemoteKeyStore] = []

    @property
    def settings(self) -> Settings:
        """The same settings, for an app in this process."""
        return Settings(
            tls_certificate=self.certificate,
            tls_key=self.key,
            client_ca=self.tls.ca,
            database_url=self.database_url,
            passphrase_folder=self.passphrase_file.parent,
        )

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def open_store(self, client: tuple[Path, Path] | None = None, timeout: float = 10) -> RemoteKeyStore:
        """A `RemoteKeyStore` that shows `client`, or the right certificate; closed with the process."""
        certificate, key = client or self.client
        store = RemoteKeyStore(self.url, self.tls.ca, certificate, key, timeout)
        self._stores.append(store)
        return store

    def client_context(self, client: tuple[Path, Path] | None) -> ssl.SSLContext:
        """TLS as a client does it that shows `client`, or nothing."""
        context = ssl.create_default_context(cafile=self.tls.ca)
        if client is not None:
            context.load_cert_chain(*client)
        return context

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `troth-signer` with `arguments` and wait for its end."""
        return warm.run("signer.app", *arguments, env=_environment() | environment)

    def start(self) -> None:
        """Start the process and wait until it listens."""
        environment = _environment() | self._environment
        with self.log.open("ab") as log:
            if self._forked:
                self._process = warm.start("signer.app", "--config", self.config, env=environment, stderr=log)
            else:
                program = ["-c", _PLAIN] if self._plain else ["-m", "signer.app", "--config"]
                command = [sys.executable, *program, str(self.config)]
                self._process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the signer does not listen"
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the process and its workers at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: nobody else is in it
            self._process.wait()
            self._process = None
            while self._listens():  # a worker may die after its master, and must not be taken for the next one
                time.sleep(0.01)

    def started_with(self, environment: dict[str, str]) -> Self:
        """The same, to be started with more in its environment."""
        self._environment = environment
        return self

    def stop(self) -> int:
        """Stop the process as an operator does, and return its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(30)
        self._process = None
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for store in self._stores:
            store.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


def tls_connection(signer: SignerProcess, client: tuple[Path, Path]) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends, the server's first, of a TLS connection within this process."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=signer.tls.ca)
    context.load_cert_chain(signer.certificate, signer.key)
    context.verify_mode = ssl.CERT_REQUIRED
    near, far = socket.socketpair()
    ends: list[ssl.SSLSocket] = []

    def accept() -> None:
        ends.append(context.wrap_socket(near, server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    other = signer.client_context(client).wrap_socket(far, server_hostname="localhost")
    thread.join()
    return ends[0], other


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "NOTARY_"))}
    return kept | {"PYTHONPATH": str(_ROOT)}
