# SPDX-License-Identifier: Apache-2.0
"""Rows of a database, asked for again and again, at the least cost.

    head = database.watch("SELECT seq, hash FROM server_audit_head")
    head.look()                  # (7, "5f3a…"): what was committed when this was called, or later
    keys = database.lookup(select(…).where(Key.key_id == bindparam("key_id")))
    keys.rows(key_id="…")        # [(…)], likewise

What was read before may be given out again for as long as such a row, which every change changes, is still the same:
in whatever process or replica the change was made, since the database itself is asked each time.

The rows are read by a connection of its own, outside of transactions and of SQLAlchemy's session.  Threads that ask
while a question is under way wait for the next one, which is asked once for all of them: no answer is older than the
question that it is given to.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection, Select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

from trust.errors import UnavailableError
from trust.web import tracing
from trust.web.waves import Waves

Look = tuple[Any, ...]


class _Line:
    """A connection of its own, for one thread at a time; opened when it is needed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None

    def ask(self, statement: str, values: Any = ()) -> list[Look]:
        """The rows of a statement that changes nothing.

        Raises:
            UnavailableError: the database does not answer.
        """
        for is_last in (False, True):  # the connection may have been closed since the last time
            try:
                if self._connection is None:
                    self._open()
                self._cursor.execute(statement, values)
                return [tuple(row) for row in self._cursor.fetchall()]  # all: SQLite's transaction would stay open
            except (self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError) as error:
                self.drop()
                if is_last:
                    said = " ".join(str(getattr(error, "orig", None) or error).split())
                    raise UnavailableError(f"the database does not answer: {said}") from error
            except BaseException:
                self.drop()
                raise
        raise AssertionError

    def drop(self) -> None:
        """Close the connection; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError):
                connection.close()

    def _open(self) -> None:
        connection = self._engine.raw_connection()
        connection.detach()  # it is not the pool's any more
        self._connection = connection
        self._engine.dialect.set_isolation_level(cast(DBAPIConnection, connection.dbapi_connection), "AUTOCOMMIT")
        self._cursor = connection.cursor()


class Lookup:
    """A statement with values, and whoever asks for its rows.

    Args:
        engine: the database's; in the process that asks.
        statement: with a `bindparam` for each value; its rows come as the driver has them.
    """

    def __init__(self, engine: Engine, statement: Select[*tuple[Any, ...]] | str) -> None:
        self._line = _Line(engine)
        self._names: tuple[str, ...] = ()
        self._is_positional = False
        if isinstance(statement, str):
            self._statement = statement
        else:
            compiled = statement.compile(dialect=engine.dialect)
            self._statement, self._is_positional = str(compiled), compiled.positional
            self._names = tuple(compiled.positiontup or () if compiled.positional else compiled.params)
        self._waves = Waves[list[Look]]()
        self._turn = threading.Lock()

    def rows(self, **values: str) -> list[Look]:
        """The rows as they are now.

        Args:
            values: by the names of the parameters.

        Raises:
            UnavailableError: the database does not answer.
        """
        wanted = tuple(values[name] for name in self._names)
        return self._waves.ask(wanted, partial(self._ask, wanted))

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        with self._turn:
            self._line.drop()

    def _ask(self, values: tuple[Any, ...]) -> list[Look]:
        given = values if self._is_positional or not values else dict(zip(self._names, values, strict=True))
        with self._turn:
            return self._line.ask(self._statement, given)


class Watch:
    """A statement that gives one row, and whoever asks for it.

    Args:
        engine: the database's; in the process that asks.
        statement: without parameters.
    """

    def __init__(self, engine: Engine, statement: str) -> None:
        self._lookup = Lookup(engine, statement)

    def look(self) -> Look | None:
        """The row as it is now; None when there is none, or the database does not answer."""
        try:
            rows = self._lookup.rows()
        except UnavailableError:
            return None
        return rows[0] if rows else None

    def seen(self) -> Look | None:
        """The row as it was when it was first asked for within this request; outside of one as it is now."""
        facts = tracing.current()
        if facts is None:
            return self.look()
        row = facts.seen.get(self)
        if row is None and (row := self.look()) is not None:
            facts.seen[self] = row
        return row

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        self._lookup.close()
