# SPDX-License-Identifier: Apache-2.0
"""Statements that are run by the driver itself, and sent together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, bindparam, func, select, text, update

from databases import Server
from trust.errors import InvalidError, UnavailableError
from trust.web.database import Database
from trust.web.direct import add, ask, later

METADATA = MetaData()
THINGS = Table(
    "things",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False, unique=True),
    Column("data", LargeBinary),
)
COUNT = select(func.count()).select_from(THINGS).where(THINGS.c.id > 0)
NAMED = select(THINGS.c.id, THINGS.c.data).where(THINGS.c.name == bindparam("name"))
RENAME = update(THINGS).where(THINGS.c.id == 1).values(name=bindparam("new"))


class TakenError(Exception):
    pass


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    METADATA.create_all(database.engine)
    yield database
    database.dispose()


def rows(*numbers: int) -> list[dict[str, object]]:
    return [{"id": number, "name": f"n{number}", "data": bytes([0, number, 255])} for number in numbers]


def test_what_is_said_later_is_done_in_its_order_and_seen_by_the_next_question(database: Database) -> None:
    with database.write() as session:
        add(session, THINGS, rows(*range(1, 21)))
        later(session, RENAME, {"new": "first"})
        assert ask(session, NAMED, {"name": "first"}) == [(1, b"\0\1\377")]
        assert ask(session, NAMED, {"name": "n1"}) == []
        later(session, RENAME, {"new": "last"})
    assert database.ask(NAMED, {"name": "last"}) == [(1, b"\0\1\377")]
    assert database.ask(COUNT, {}) == [(20,)]


@pytest.mark.parametrize("asks", [True, False], ids=["by a question", "at the end"])
def test_what_a_constraint_refuses_raises_what_was_asked_for_and_nothing_is_kept(
    database: Database, asks: bool
) -> None:
    with database.write() as session:
        add(session, THINGS, rows(1))

    def attempt() -> None:
        with database.write() as session:
            add(session, THINGS, rows(2))
            add(session, THINGS, [{"id": 3, "name": "n1", "data": None}], refused=TakenError())
            add(session, THINGS, rows(4))
            if asks:
                ask(session, COUNT, {})

    with pytest.raises(TakenError):
        attempt()
    assert database.ask(COUNT, {}) == [(1,)]


def test_what_the_block_gives_up_is_not_done(database: Database) -> None:
    def attempt() -> None:
        with database.write() as session:
            add(session, THINGS, rows(1))
            raise TakenError

    with pytest.raises(TakenError):
        attempt()
    assert database.ask(COUNT, {}) == [(0,)]


def test_a_lost_connection_fails_one_transaction_and_is_replaced(postgresql_server: Server) -> None:
    with postgresql_server.database() as url:
        database = Database(url)
        METADATA.create_all(database.engine)

        def cut_off(end: bool) -> None:
            with database.write() as session:
                (process,) = ask(session, select(func.pg_backend_pid()), {})[0]
                postgresql_server.run(f"SELECT pg_terminate_backend({process}, 5000)")
                add(session, THINGS, rows(1))
                if not end:
                    ask(session, COUNT, {})

        for end in (True, False):
            with pytest.raises(UnavailableError):
                cut_off(end)
            assert database.ask(COUNT, {}) == [(0,)]
        with database.read() as session:
            assert session.execute(text("SELECT 1")).scalar() == 1
        # A question that was asked of a connection before the server closed it.
        (process,) = database.ask(select(func.pg_backend_pid()), {})[0]
        postgresql_server.run(f"SELECT pg_terminate_backend({process}, 5000)")
        with pytest.raises(UnavailableError):
            database.ask(COUNT, {})
        assert database.ask(COUNT, {}) == [(0,)]
        with pytest.raises(InvalidError):
            database.ask(NAMED, {"name": "no\0text"})
        database.dispose()
