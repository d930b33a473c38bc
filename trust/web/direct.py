# SPDX-License-Identifier: Apache-2.0
"""Statements that are run again and again, by the driver itself, and sent together where it can.

    later(session, insert(table), {"gun": gun})              # sent with the next question, or with the commit
    rows = ask(session, select(…).where(…), {"gun": gun})    # [("targets", 3), …]

SQLAlchemy makes of a statement what a database understands; here it does so once, and the rest is between us and the
driver: to run a statement through a session costs several times as much as to run it.  What is said `later` travels
with the question that follows.  That is so with psycopg; with the other drivers both are a session's `execute`.

It is for statements whose values and rows need no translation: text, numbers, bytes and times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Engine, Executable, Insert, Table, bindparam, insert
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

Values = Mapping[str, Any]
Rows = list[tuple[Any, ...]]

#: Where a session keeps what is to be sent.
_LATER = "troth.later"
#: And its connection, for which it takes long to ask it.
_CONNECTION = "troth.connection"
#: How many rows one statement adds.
_MAX_ROWS = 8


class _Said(NamedTuple):
    statement: Executable
    values: Values
    refused: Exception | None = None


def later(session: Session, statement: Executable, values: Values, *, refused: Exception | None = None) -> None:
    """Run a statement by the next `ask`, or by the end of the transaction: before that, ask the session nothing else.

    Args:
        session: of `Database.write`.
        statement: made once, and given again and again.
        values: by the names of its parameters.
        refused: what is raised, then, if a constraint of the database does not allow it.
    """
    if is_direct(_connection(session).dialect):
        session.info.setdefault(_LATER, []).append(_Said(statement, values, refused))
        return
    with _refusing(refused):
        session.execute(statement, values).close()


def add(session: Session, table: Table, rows: Sequence[Values], *, refused: Exception | None = None) -> None:
    """Add rows to a table, as `later` does.

    Args:
        session: of `Database.write`.
        table: where they belong.
        rows: by the names of its columns, of which all rows have the same.
        refused: see `later`.
    """
    if not is_direct(_connection(session).dialect):
        with _refusing(refused):
            session.execute(insert(table), [dict(row) for row in rows])
        return
    for begin in range(0, len(rows), _MAX_ROWS):
        some = rows[begin : begin + _MAX_ROWS]
        values = {f"{name}_{index}": value for index, row in enumerate(some) for name, value in row.items()}
        later(session, _insertion(table, tuple(some[0]), len(some)), values, refused=refused)


def ask(session: Session, statement: Executable, values: Values) -> Rows:
    """The rows of a statement, run after what was said `later` before.

    Args:
        session: of `Database.write` or `Database.read`.
        statement: made once, and given again and again.
        values: by the names of its parameters.
    """
    connection = _connection(session)
    if not is_direct(connection.dialect):
        return [tuple(row) for row in session.execute(statement, values)]
    return _send(connection, [*session.info.pop(_LATER, ()), _Said(statement, values)])


def settle(session: Session) -> None:
    """Run what was said `later`."""
    if said := session.info.pop(_LATER, ()):
        _send(_connection(session), said, wants=False)


def commit(session: Session) -> None:
    """Commit what was said `later`, and all the rest."""
    said = session.info.pop(_LATER, ())
    if said:
        session.flush()
        _send(_connection(session), said, wants=False, commits=True)
    session.commit()  # the driver has nothing left to commit, but SQLAlchemy wants to know


def ask_alone(engine: Engine, statement: Executable, values: Values) -> Rows:
    """The rows of a statement that is a transaction by itself; only where `is_direct`.

    Args:
        engine: the database's.
        statement: made once, and given again and again; it changes nothing.
        values: by the names of its parameters.
    """
    with engine.connect() as connection:
        driver = _driver(connection)
        driver.autocommit = True  # psycopg's own word: nothing is sent
        try:
            return _send(connection, [_Said(statement, values)])
        finally:
            if not driver.closed:
                driver.autocommit = False


def is_direct(dialect: Dialect) -> bool:
    """Whether statements go to the driver itself."""
    return dialect.driver == "psycopg"


@contextmanager
def _refusing(refused: Exception | None) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if refused is None:
            raise
        raise refused from error


def _connection(session: Session) -> Connection:
    """The session's, within its transaction."""
    found: Connection | None = session.info.get(_CONNECTION)
    if found is None:
        found = session.info[_CONNECTION] = session.connection()
    return found


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _send(connection: Connection, said: Sequence[_Said], *, wants: bool = True, commits: bool = False) -> Rows:
    """Send statements together; returns the last one's rows if they are wanted."""
    driver, dialect = _driver(connection), connection.dialect
    errors = dialect.loaded_dbapi.Error
    try:
        if len(said) == 1 and not commits:
            cursor = _execute(driver, dialect, said[0])
        else:
            cursor = _send_together(driver, dialect, said, commits=commits)
        return cursor.fetchall() if wants else []
    except errors as error:
        is_gone = dialect.is_disconnect(error, driver, None)
        if is_gone:  # and so are the others, as when SQLAlchemy finds that
            connection.invalidate(error)
            connection.engine.dispose()
        told = DBAPIError.instance(
            None, None, error, errors, hide_parameters=True, connection_invalidated=is_gone, dialect=dialect
        )
        refused = next((each.refused for each in said if each.refused), None)
        if refused is not None and isinstance(told, IntegrityError):
            raise refused from error
        raise told from error


def _send_together(driver: Any, dialect: Dialect, said: Sequence[_Said], *, commits: bool) -> Any:
    first: Exception | None = None
    cursor = None
    try:
        with driver.pipeline():
            try:
                for each in said:
                    cursor = _execute(driver, dialect, each)
                if commits:
                    driver.commit()
            except Exception as error:
                first = error  # what follows from it when the pipeline ends is of no interest
    except Exception as error:
        first = first or error
    if first is not None:
        raise first
    return cursor


def _execute(driver: Any, dialect: Dialect, said: _Said) -> Any:
    text, constants = _compiled(said.statement, dialect)
    return driver.execute(text, {**constants, **said.values} if constants else said.values)


@lru_cache(maxsize=64)
def _insertion(table: Table, names: tuple[str, ...], count: int) -> Insert:
    rows: list[Values] = [{name: bindparam(f"{name}_{index}") for name in names} for index in range(count)]
    # Nobody wants to know the numbers that the database gives to the rows.
    return insert(table).inline().values(rows)


@lru_cache(maxsize=256)
def _compiled(statement: Executable, dialect: Dialect) -> tuple[str, Values]:
    """What a database of that kind is sent, and the values that the statement has already."""
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # each that there is has it
    return str(compiled), {name: value for name, value in compiled.params.items() if value is not None}
