# SPDX-License-Identifier: Apache-2.0
"""One database, two doors: `read()` and `write()`.

    database = Database("sqlite:////var/lib/troth/server.db")
    database.create(Base.metadata)
    with database.write() as session:      # one transaction; commits at the end, rolls back on an error
        session.add(row)

On SQLite, `write()` takes the write lock at its beginning (BEGIN IMMEDIATE), so that what it read stays true until
it commits; other databases get their default isolation, and constraints decide races.  An engine must not cross a
fork: make the `Database` in the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from trust.errors import SettingsError, UnavailableError


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

    def create(self, metadata: MetaData) -> None:
        """Create the tables of `metadata` that are not there yet.

        Raises:
            UnavailableError: the database cannot be reached or written.
        """
        try:
            metadata.create_all(self.engine)
        except SQLAlchemyError as error:
            raise UnavailableError(f"the database cannot be used: {_cause(error)}") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with self._session(write=False) as session:
            yield session
            session.rollback()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are kept together at the end, or not at all."""
        with self._session(write=True) as session:
            yield session
            session.commit()

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            UnavailableError: there is none.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        try:
            with self.engine.connect() as connection:
                connection.execution_options(troth_write=write)
                with Session(bind=connection, expire_on_commit=False) as session:
                    yield session
        except OperationalError as error:
            raise UnavailableError(f"the database does not answer: {_cause(error)}") from error


def _cause(error: SQLAlchemyError) -> str:
    # The driver's own words: SQLAlchemy's would add the statement and its parameters.
    return str(getattr(error, "orig", None) or type(error).__name__)


def _open(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # pysqlite's own BEGIN comes too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("troth_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
