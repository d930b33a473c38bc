# SPDX-License-Identifier: Apache-2.0
"""Real databases to test with: SQLite files, and one PostgreSQL and one MariaDB server that last as long as the run.

    def test_…(database_url: str) -> None:          # three tests, each with an empty database of its own

The servers are Debian's, have no network, keep nothing safe from a loss of power, and are thrown away.  They refuse
to be root; where the tests are run by root, they get the user that Debian made for them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

MARIADB = Path("/usr/sbin/mariadbd")


def postgres() -> Path:
    """The newest PostgreSQL server that is installed; where there is none, a path where there is nothing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1] if found else Path("/usr/lib/postgresql/bin/postgres")


class Server:
    """A running database server.

    Args:
        url: of a database in it, with `{name}` where the database's name belongs.
        home: the name of a database that is always there.
    """

    def __init__(self, url: str, home: str) -> None:
        self._url = url
        self._engine = create_engine(url.format(name=home), isolation_level="AUTOCOMMIT")
        self._numbers = count(1)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, which is dropped afterwards."""
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self._url.format(name=name)
        finally:
            # FORCE: a process that the test has killed may not be gone yet.
            self.run(f"DROP DATABASE {name}{' WITH (FORCE)' if self._engine.name == 'postgresql' else ''}")

    def run(self, statement: str) -> None:
        """Run a statement about databases."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def close(self) -> None:
        """Let the server go."""
        self._engine.dispose()


@contextmanager
def running_postgresql() -> Iterator[Server]:
    """A PostgreSQL server."""
    program = postgres()
    with _folder("postgres") as (folder, become):
        data = folder / "data"
        _run([*become, program.parent / "initdb", "-D", data, "-U", "postgres", "--no-sync", "-E", "UTF8"], folder)
        quick = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        command = [*become, program, "-D", data, "-k", folder, "-c", "listen_addresses=", *quick]
        server = Server(f"postgresql+psycopg://postgres@/{{name}}?host={folder}", "postgres")
        # SIGQUIT: PostgreSQL's processes leave at once, but together.
        with _process(
            [*command, "-c", "max_connections=200"], folder, server, folder / ".s.PGSQL.5432", signal.SIGQUIT
        ):
            yield server


@contextmanager
def running_mariadb() -> Iterator[Server]:
    """A MariaDB server."""
    with _folder("mysql") as (folder, become):
        data, address = folder / "data", folder / "socket"
        install: list[str | Path] = [
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        _run([*become, *install, f"--datadir={data}", f"--tmpdir={folder}"], folder)
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--debug-no-sync"]
        # The collation that the server chooses itself folds case, as most sites will have it.
        command = [*become, MARIADB, "--no-defaults", f"--datadir={data}", f"--socket={address}", "--skip-networking"]
        server = Server(f"mariadb+pymysql://root@localhost/{{name}}?unix_socket={address}", "mysql")
        names = [f"--pid-file={folder}/pid", f"--tmpdir={folder}", "--character-set-server=utf8mb4"]
        with _process([*command, *quick, *names, "--max-connections=200"], folder, server, address, signal.SIGKILL):
            yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """The PostgreSQL server of this run."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """The MariaDB server of this run."""
    with running_mariadb() as server:
        yield server


#: The databases that our services run on, as parameters of a fixture or a test.
KINDS = (
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.client("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.client("mariadb-server")),
)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database; a test with it is run on every kind."""
    with new_database(request.param, request, tmp_path) as url:
        yield url


@contextmanager
def new_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of an empty database of that kind, for a fixture with parameters of its own."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/database.db"
        return
    server: Server = request.getfixturevalue(f"{kind}_server")
    with server.database() as url:
        yield url


@contextmanager
def _folder(user: str) -> Iterator[tuple[Path, list[str | Path]]]:
    """A short path, since it is a socket's too, and how to become the one to whom it belongs.

    It is in memory where there is enough of it: MariaDB makes a file for each table.
    """
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30 else Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix=f"troth-{user}-", dir=parent))
    # A server must not outlive a run that was killed.
    become: list[str | Path] = ["setpriv", "--pdeathsig=QUIT"]
    if os.geteuid() == 0:
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        become += [f"--reuid={user}", f"--regid={owner.pw_gid}", "--clear-groups"]
    try:
        yield folder, become
    finally:
        shutil.rmtree(folder)


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _process(
    command: list[str | Path], folder: Path, server: Server, address: Path, end: signal.Signals
) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=folder, stdout=out, stderr=out) as process:
        try:
            _wait(server, address, process, log)
            yield
        finally:
            server.close()
            process.send_signal(end)  # it has nothing to lose


def _wait(server: Server, address: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            # Before the driver: PyMySQL forgets to close a socket that nobody answers.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(address))
            return server.run("SELECT 1")
        except (OSError, OperationalError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
