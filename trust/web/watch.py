# SPDX-License-Identifier: Apache-2.0
"""One row of a database, asked for again and again, at the least cost.

    head = database.watch("SELECT seq, hash FROM server_audit_head")
    head.look()                  # (7, "5f3a…"): what was committed when this was called, or later

What was read before may be given out again for as long as such a row, which every change changes, is still the same:
in whatever process or replica the change was made, since the database itself is asked each time.

The row is read by a connection of its own, outside of transactions and of SQLAlchemy's session.  Threads that ask
while a question is under way wait for the next one, which is asked once for all of them: no answer is older than the
question that it is given to.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

Look = tuple[Any, ...]


class Watch:
    """A statement that gives one row, and whoever asks for it.

    Args:
        engine: the database's; in the process that asks.
        statement: without parameters.
    """

    def __init__(self, engine: Engine, statement: str) -> None:
        self._engine = engine
        self._statement = statement
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None
        self._turn = threading.Condition(threading.Lock())
        self._is_asking = False
        self._asked = self._answered = 0
        self._row: Look | None = None

    def look(self) -> Look | None:
        """The row as it is now; None when there is none, or the database does not answer."""
        with self._turn:
            # A question that is under way may have been asked before something that the caller knows of.
            number = self._asked + 1
            while self._answered < number:
                if not self._is_asking:
                    self._is_asking = True
                    self._asked += 1
                    break
                self._turn.wait()
            else:
                return self._row
        row = None
        try:
            row = self._ask()
        finally:
            with self._turn:
                self._is_asking = False
                self._answered, self._row = self._asked, row
                self._turn.notify_all()
        return row

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        with self._turn:
            while self._is_asking:
                self._turn.wait()
            self._drop()

    def _ask(self) -> Look | None:
        for _ in range(2):  # the connection may have been closed since the last time
            try:
                if self._connection is None:
                    self._open()
                self._cursor.execute(self._statement)
                rows = self._cursor.fetchall()  # to the end: SQLite's transaction would stay open
                return tuple(rows[0]) if rows else None
            except (self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError):
                self._drop()
            except BaseException:
                self._drop()
                raise
        return None

    def _open(self) -> None:
        connection = self._engine.raw_connection()
        connection.detach()  # it is not the pool's any more
        self._connection = connection
        self._engine.dialect.set_isolation_level(cast(DBAPIConnection, connection.dbapi_connection), "AUTOCOMMIT")
        self._cursor = connection.cursor()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError):
                connection.close()
