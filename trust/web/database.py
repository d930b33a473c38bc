# SPDX-License-Identifier: Apache-2.0
"""One database, two doors: `read()` and `write()`.

    database = Database("sqlite:////var/lib/troth/server.db")
    with database.write() as session:      # one transaction; commits at the end, rolls back on an error
        session.add(row)

A reader sees one state of the database until it ends.  On SQLite, `write()` takes the write lock at its beginning
(BEGIN IMMEDIATE), so that what it read stays true until it commits.  On PostgreSQL and MariaDB each statement of a
writer sees what is committed by then (READ COMMITTED): a row is locked first and read after, and constraints decide
races.  Two writers may still wait for each other; the database then breaks one off, and `transact` begins it anew.

An engine must not cross a fork: make the `Database` in the worker.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Select, create_engine, event, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    InterfaceError,
    InternalError,
    InvalidatePoolError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from trust.errors import InvalidError, SettingsError, UnavailableError
from trust.web import direct, tracing
from trust.web.readings import Readings
from trust.web.watch import Lookup, Watch

R = TypeVar("R")
#: psycopg's words for a writer's transaction and a reader's; the numbers are its `IsolationLevel`.
_LEVELS = {True: {"isolation_level": 2, "read_only": False}, False: {"isolation_level": 3, "read_only": True}}
#: Where a connection's record keeps when it was given back.
_LEFT = "troth.left"
_connections = count(1)
#: What is done at the end of a transaction; it returns what is done once that is committed.
Work = Callable[[Session], Callable[[], None]]

#: Where a session keeps them.
_AT_END = "troth.at_end"
#: Seconds that SQLite's connections wait for each other.
_PATIENCE = 30
#: How often `transact` tries.
_ATTEMPTS = 10
#: Seconds for which a connection that has just been used is taken to be alive.  A server that ends meanwhile fails
#: one request, after which all its connections are given up.
_ALIVE = 1.0
# PostgreSQL's serialization failure and deadlock; MySQL's deadlock, lock wait timeout, and the savepoint that went
# with the transaction when it was broken off.
_BROKEN_OFF = {"40001", "40P01", 1213, 1205, 1305}
#: What is another after every commit.  SQLite counts them for each connection (sqlite.org/pragma.html), so the
#: connection's number goes with it; two equal snapshots of one server of PostgreSQL see the same transactions.
_CHANGES = {
    "sqlite": "SELECT troth_connection(), data_version FROM pragma_data_version",
    "postgresql": "SELECT pg_postmaster_start_time()::text, pg_current_snapshot()::text",
}
# All that is not about the values: no connection, no such table, no right to it.
_FAILURES = (OperationalError, ProgrammingError, InterfaceError, InternalError, NoConnectionError)


class BrokenOffError(UnavailableError):
    """The database broke a transaction off in favour of another; nothing of it was kept, and it may be tried anew."""


class Database:
    """An engine for `url` and the two ways to use it.

    Args:
        url: an SQLAlchemy database URL.

    Raises:
        SettingsError: it is not one, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = _open(url)
        except (ArgumentError, ImportError, ValueError) as error:
            # Without the URL itself: it may hold a password.
            raise SettingsError(f"the database URL cannot be used: {type(error).__name__}") from error
        self._watches: list[Watch | Lookup] = []
        #: what was read before, for requests
        self.readings = Readings(self.changes())

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with self._session(write=False) as session:
            yield session
            session.rollback()

    def ask(self, statement: Executable, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement that is made once and asked again and again (`trust.web.direct`)."""
        if not direct.is_direct(self.engine.dialect):
            with self.read() as session:
                return direct.ask(session, statement, values)
        tracing.takes_time()
        with _translated():
            return direct.ask_alone(self.engine, statement, values)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are kept together at the end, or not at all.

        What `at_end` was given is done last, in the same transaction.
        """
        with self._session(write=True) as session:
            yield session
            works: list[Work] = session.info.pop(_AT_END, [])
            if works:
                session.flush()
            afterwards = [work(session) for work in works]
            direct.commit(session)
        for each in afterwards:
            each()

    def transact(self, work: Callable[[Session], R]) -> R:
        """Do `work` within `write()`; from its beginning again if the database broke it off for another's sake.

        Args:
            work: changes nothing but the database, since it may be done several times.

        Raises:
            BrokenOffError: it was broken off every time.
        """
        for attempt in range(1, _ATTEMPTS):
            try:
                with self.write() as session:
                    return work(session)
            except BrokenOffError:
                time.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311  # no secret
        with self.write() as session:
            return work(session)

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            UnavailableError: there is none.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def watch(self, statement: str) -> Watch:
        """A row to be asked for again and again (`trust.web.watch`).

        Args:
            statement: gives it; without parameters, and quick.
        """
        watch = Watch(self.engine, statement)
        self._watches.append(watch)
        return watch

    def lookup(self, statement: Select[*tuple[Any, ...]]) -> Lookup:
        """Rows to be asked for again and again (`trust.web.watch`).

        Args:
            statement: gives them; with a `bindparam` for each value, and quick.
        """
        lookup = Lookup(self.engine, statement)
        self._watches.append(lookup)
        return lookup

    def changes(self) -> Watch | None:
        """A row that is another one after every commit to this database, by whomever; None: it has no such row."""
        statement = _CHANGES.get(self.engine.dialect.name)
        if statement is None:
            return None
        return self.watch(statement)

    def dispose(self) -> None:
        """Close all connections."""
        for watch in self._watches:
            watch.close()
        self.engine.dispose()

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        tracing.takes_time()
        with _translated(), self.engine.connect() as connection:
            connection.execution_options(troth_write=write)
            with Session(bind=connection, expire_on_commit=False) as session:
                yield session


@contextmanager
def _translated() -> Iterator[None]:
    """What SQLAlchemy raises becomes what the services say."""
    try:
        yield
    except DataError as error:
        # Such as the character NUL, which PostgreSQL has no text with: somebody asked for it.
        raise InvalidError("a value has a length or characters that no name here has") from error
    except _FAILURES as error:
        if is_broken_off(error):
            raise BrokenOffError("the database is busy; try again") from error
        raise UnavailableError(f"the database does not answer: {cause(error)}") from error


def at_end(session: Session, work: Work) -> None:
    """Have `work` done as the last thing before the session of a `Database.write` commits, and only if it does.

    It is for locks that everybody needs: they are held for a moment only, and never while another is waited for.
    """
    session.info.setdefault(_AT_END, []).append(work)


def cause(error: SQLAlchemyError) -> str:
    """What the driver says, on one line; SQLAlchemy's own words would add the statement and its parameters."""
    return " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())


def is_broken_off(error: SQLAlchemyError) -> bool:
    """Whether the database broke the transaction off in favour of another."""
    original = getattr(error, "orig", None)
    return original is not None and (
        getattr(original, "sqlstate", None) in _BROKEN_OFF
        or (bool(original.args) and original.args[0] in _BROKEN_OFF)
    )


def _open(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return _isolated(_pinged(create_engine(url, hide_parameters=True)))
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _PATIENCE})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # pysqlite's own BEGIN comes too late
        number = next(_connections)
        connection.create_function("troth_connection", 0, lambda: number)
        _keep_log(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("troth_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _keep_log(connection: sqlite3.Connection) -> None:
    """Let readers and the writer not wait for each other.

    A new file is switched to this once.  Of several who do so at once all but one are told that it is locked, and
    SQLite does not wait here as it does elsewhere.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _pinged(engine: Engine) -> Engine:
    """Ask a connection that has lain idle whether it is alive before it is used: a rarer `pool_pre_ping`."""

    @event.listens_for(engine, "checkin")
    def _left(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_LEFT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        left = record.info.get(_LEFT)
        if left is None or time.monotonic() - left < _ALIVE:
            return
        try:
            if engine.dialect.do_ping(connection):
                return
        except engine.dialect.loaded_dbapi.Error as error:
            if not engine.dialect.is_disconnect(error, connection, None):
                raise
        raise InvalidatePoolError("the database has closed an idle connection")

    return engine


def _isolated(engine: Engine) -> Engine:
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("troth_write", True)
        if engine.dialect.driver == "psycopg":  # it says so in its BEGIN: one question less
            driver: Any = connection.connection.dbapi_connection
            for name, value in _LEVELS[write].items():
                if getattr(driver, name) != value:
                    setattr(driver, name, value)
            return
        # MariaDB's default, REPEATABLE READ, would show a writer an old state and lock the gaps between rows.
        level = "READ COMMITTED" if write else "REPEATABLE READ, READ ONLY"
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")

    return engine
