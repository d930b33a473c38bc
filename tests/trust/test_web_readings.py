# SPDX-License-Identifier: Apache-2.0
"""What was read is given out again while nobody has written, and never after: on each kind of database."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context

import pytest
from sqlalchemy import text

from trust.web import readings, tracing
from trust.web.database import Database

SECONDS = 1.0
ADD = "UPDATE counts SET value = value + 1 WHERE id = 1"


@contextmanager
def request() -> Iterator[None]:
    facts = tracing.enter("test", "")
    try:
        yield
    finally:
        tracing.leave(facts)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """One with two counters, both at zero."""
    found = Database(database_url)
    with found.write() as session:
        session.execute(text("CREATE TABLE counts (id INTEGER PRIMARY KEY, value INTEGER)"))
        session.execute(text("INSERT INTO counts VALUES (1, 0), (2, 0)"))
    yield found
    found.dispose()


def value(database: Database, number: int = 1) -> int:
    """A counter, from the database itself."""
    with database.read() as session:
        return int(session.scalar(text(f"SELECT value FROM counts WHERE id = {number}")))


def add(database: Database) -> None:
    with database.write() as session:
        session.execute(text(ADD))


def asked(database: Database, read: Callable[[], int] | None = None) -> int:
    """The first counter, as a request gets it."""
    with request():
        return database.readings.get("count", read or (lambda: value(database)))


def test_a_value_is_read_once_while_nobody_writes(database: Database) -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        return value(database)

    assert [asked(database, read) for _ in range(3)] == [0, 0, 0]
    remembers = database.engine.dialect.name != "mariadb"
    assert len(reads) == (1 if remembers else 3)
    assert (database.changes() is not None) == remembers


def test_a_commit_by_anybody_is_seen_by_every_request_that_begins_after_it(
    database: Database, database_url: str
) -> None:
    other = Database(database_url)
    assert asked(database) == 0
    add(database)
    assert asked(database) == 1
    add(other)
    assert asked(database) == 2
    add(other)
    add(other)
    assert (asked(database), asked(database), asked(other)) == (4, 4, 4)
    with other.write() as session:
        session.execute(text(ADD))
        session.rollback()
    assert asked(database) == 4
    other.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_commit_of_another_process_is_seen_too(database: Database) -> None:
    program = f"import sqlite3; file = sqlite3.connect({database.engine.url.database!r}); file.execute({ADD!r})"
    assert asked(database) == 0
    subprocess.run([sys.executable, "-c", f"{program}; file.commit()"], check=True)
    assert asked(database) == 1


def test_transactions_may_end_in_another_order_than_they_began(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":  # one writer at a time
        with database.write() as session:
            session.execute(text(ADD))
            assert asked(database) == 0
        assert asked(database) == 1
        return
    with database.write() as slow:
        slow.execute(text(ADD))
        with database.write() as quick:
            quick.execute(text("UPDATE counts SET value = 7 WHERE id = 2"))
        assert asked(database) == 0
    assert asked(database) == 1


def test_a_request_sees_one_state_until_it_has_written_itself(database: Database) -> None:
    with request():
        first = database.readings.get("count", lambda: value(database))
        add(database)
        database.readings.renew()
        second = database.readings.get("count", lambda: value(database))
    assert (first, second, asked(database)) == (0, 1, 1)


def test_what_was_read_while_somebody_wrote_is_not_given_to_a_later_request(database: Database) -> None:
    def read() -> int:
        found = value(database)
        add(database)
        return found

    assert asked(database, read) == 0
    assert asked(database) == 1


def test_a_connection_that_was_lost_says_nothing_of_what_was_kept(database: Database) -> None:
    assert asked(database) == 0
    database.dispose()  # the next look is by another connection, whose numbers begin anew
    add(database)
    assert asked(database) == 1


def test_outside_of_a_request_everything_is_read(database: Database) -> None:
    def read() -> list[int]:
        return [database.readings.get("count", lambda: 1), database.readings.get("count", lambda: 2)]

    assert Context().run(read) == [1, 2]


def test_what_cannot_be_read_is_asked_for_again(database: Database) -> None:
    def fail() -> int:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            asked(database, fail)
    assert asked(database) == 0


def test_no_more_is_kept_than_there_is_room_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "MAX_BYTES", 10_000)
    monkeypatch.setattr(readings, "MAX_VALUE", 4_000)
    reads: list[int] = []

    def ask(size: int) -> None:
        def read() -> bytes:
            reads.append(size)
            return bytes(size)

        with request():
            assert database.readings.get(size, read) == bytes(size)

    for size in (5_000, 5_000):
        ask(size)
    assert reads == [5_000, 5_000], "too long for one value"
    for size in (2_000, 2_001, 2_002, 2_003):  # with their keys, more than there is room for
        ask(size)
    ask(2_003)
    ask(2_000)
    kept = database.changes() is not None
    assert reads[2:] == [2_000, 2_001, 2_002, 2_003, *([] if kept else [2_003]), 2_000]


def test_no_request_gets_less_than_was_committed_before_it(database: Database, database_url: str) -> None:
    other = Database(database_url)
    done = threading.Event()
    committed, answers, wrong = [0], [0], list[str]()

    def write() -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            add(other)
            committed[0] += 1
            time.sleep(0.002)
        done.set()

    def read() -> None:
        while not done.is_set():
            least = committed[0]
            if (found := asked(database)) < least:
                wrong.append(f"{found} after {least}")
            answers[0] += 1

    threads = [threading.Thread(target=work) for work in (write, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.dispose()
    assert wrong == []
    assert committed[0] > 3
    assert answers[0] > 3
