# SPDX-License-Identifier: Apache-2.0
"""The audit trail: what is done is recorded with it, in one chain, and whatever is done to the chain shows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

import server.migrations
from server.models import TRAIL, ChangeCategoryRow
from trust.errors import DeniedError, InvalidError, UnauthorizedError, UnavailableError
from trust.web.audit import BEGINNING, REFUSED, Deed, Head, Record
from trust.web.auditcheck import BrokenTrailError, check, parse_head
from trust.web.caller import Who
from trust.web.database import Database
from trust.web.migrations import upgrade
from trust.web.refusals import OF_ALL, OF_ONE, PERIOD, Refusals

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
ALICE = Who("alice", "192.0.2.1", "r1")
DEEDS = tuple(Deed(action="publish", name="reg/app", role="targets", version=number) for number in range(1, 4))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty trail, in each kind of database."""
    database = Database(database_url)
    upgrade(database, server.migrations)
    yield database
    database.dispose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Database]:
    """An empty trail in SQLite, for what no database has a say in."""
    database = Database(f"sqlite:///{tmp_path}/small.db")
    upgrade(database, server.migrations)
    yield database
    database.dispose()


def append(database: Database, *deeds: Deed, who: Who = ALICE, now: datetime = NOW) -> None:
    with database.write() as session:
        TRAIL.append(session, who, now, *deeds)


def records(database: Database, name: str | None = None, since: datetime | None = None) -> list[Record]:
    with database.read() as session:
        return list(TRAIL.records(session, name=name, since=since))


def end(database: Database, *heads: Head, after: Head | None = None) -> Head:
    """The end of a trail that is whole."""
    with database.read() as session:
        return check(TRAIL, session, heads=heads, after=after)


def run(database: Database, *statements: str) -> None:
    """Do as somebody with a database client does."""
    with database.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _append_and_fail(session: Session) -> None:
    TRAIL.append(session, ALICE, NOW, DEEDS[1])
    raise InvalidError("no")


# What is written.


def test_records_are_numbered_chained_and_found_again(database: Database) -> None:
    assert end(database, Head(0, BEGINNING)) == Head(0, BEGINNING)
    append(database, *DEEDS)
    append(database, Deed(action="delete", name="reg/App", detail={"files": 3}), now=NOW + timedelta(hours=1))
    found = records(database)
    assert [record.seq for record in found] == [1, 2, 3, 4]
    assert [record.previous for record in found] == [BEGINNING, *(record.hash for record in found[:-1])]
    assert found[1] == Record(
        seq=2, time="2026-11-24T08:00:00.000000Z", service="troth-server", actor="alice", address="192.0.2.1",
        request_id="r1", action="publish", name="reg/app", role="targets", version=2, sha256="", outcome="done",
        detail="{}", previous=found[0].hash, hash=found[1].hash,
    )  # fmt: skip
    assert end(database) == Head(4, found[3].hash)
    # Byte for byte, also where the database's own way is otherwise.
    assert [record.seq for record in records(database, name="reg/App")] == [4]
    assert [record.seq for record in records(database, since=NOW + timedelta(seconds=1))] == [4]


def test_what_is_undone_leaves_no_record_and_no_gap(database: Database) -> None:
    append(database, DEEDS[0])
    with pytest.raises(InvalidError, match="no"):
        database.transact(_append_and_fail)

    def add_twice(session: Session) -> None:
        TRAIL.append(session, ALICE, NOW, DEEDS[1])
        session.add(ChangeCategoryRow(category="new"))
        session.flush()
        session.execute(text("INSERT INTO change_category VALUES ('new')"))

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        database.transact(add_twice)
    append(database, DEEDS[2])
    assert [(record.seq, record.version) for record in records(database)] == [(1, 1), (2, 3)]
    assert end(database).seq == 2


def test_writers_at_once_make_one_chain_without_gaps(database: Database, database_url: str) -> None:
    barrier = Barrier(4)

    def write(number: int) -> None:
        own = Database(database_url)  # as a server of its own
        barrier.wait()
        for _ in range(6):
            own.transact(lambda session: TRAIL.append(session, Who(f"writer {number}"), NOW, *DEEDS[:2]))
        own.dispose()

    with ThreadPoolExecutor(barrier.parties) as pool:
        list(pool.map(write, range(barrier.parties)))
    found = records(database)
    assert [record.seq for record in found] == list(range(1, 49))
    assert {record.actor for record in found} == {f"writer {number}" for number in range(4)}
    # What belongs together stands together.
    assert [record.version for record in found] == [1, 2] * 24
    assert end(database).seq == 48


def test_a_hash_can_be_computed_without_our_code(small: Database) -> None:
    append(small, Deed(action="import", name='ü"\\/<&>', detail={"b": ["x", None, True], "a": 1}))
    (record,) = records(small)
    line = json.loads(record.to_json())
    given = line.pop("hash")
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == given == record.hash
    assert line["detail"] == {"a": 1, "b": ["x", None, True]}


def test_what_a_client_sends_can_neither_forge_a_line_nor_fill_the_disk(database: Database) -> None:
    nasty = "a\nb\x00c\x1b[2J\u2028\ud800" + "x" * 5000
    who = Who(nasty, nasty, nasty)
    append(database, Deed(action="publish", name=nasty, role=nasty, detail={nasty: [nasty] * 100}), who=who)
    (record,) = records(database)
    assert record.actor == "a?b?c?[2J??" + "x" * 244
    assert len(record.to_json()) < 7000
    assert record.to_json().isprintable()
    assert end(database).seq == 1


def test_the_head_is_logged_when_it_is_committed_and_not_before(
    small: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "troth.audit")
    with small.write() as session:
        TRAIL.append(session, ALICE, NOW, *DEEDS)
        assert caplog.messages == []
    last = end(small)
    assert caplog.messages == [f"head {last}: publish done reg/app targets,targets,targets by alice"]
    assert parse_head(caplog.messages[0].split()[1].rstrip(":")) == last
    with pytest.raises(InvalidError, match="no"):
        small.transact(_append_and_fail)
    assert len(caplog.messages) == 1


def test_what_cannot_be_recorded_is_not_done(small: Database) -> None:
    run(small, "DELETE FROM server_audit_head")

    def work(session: Session) -> None:
        session.add(ChangeCategoryRow(category="new"))
        TRAIL.append(session, ALICE, NOW, DEEDS[0])

    with pytest.raises(UnavailableError, match="lost its head"):
        small.transact(work)
    with small.read() as session:
        assert session.get(ChangeCategoryRow, "new") is None


# What is done to it.


@pytest.fixture
def trail(small: Database) -> Database:
    """A trail of six records."""
    append(small, *DEEDS)
    append(small, Deed(action="grant", name="library/app", detail={"level": "read"}))
    append(small, Deed(action="key", name="reg/app", role="timestamp", sha256="ab"))
    append(small, Deed(action="delete", name="reg/app"), who=Who("mallory"))
    return small


def broken(database: Database, *heads: Head, after: Head | None = None) -> tuple[int, str]:
    with pytest.raises(BrokenTrailError) as caught:
        end(database, *heads, after=after)
    return caught.value.seq, str(caught.value)


@pytest.mark.parametrize("column", [name for name in Record.__dataclass_fields__ if name != "seq"])
def test_a_change_of_any_field_is_found_where_it_is(trail: Database, column: str) -> None:
    value = "7" if column == "version" else "'{}'" if column == "detail" else "'changed'"
    run(trail, f"UPDATE server_audit SET {column} = {value} WHERE seq = 4")
    seq, what = broken(trail)
    assert seq == 4
    assert ("does not follow record 3" if column == "previous" else "was changed") in what


@pytest.mark.parametrize("change", ["actor = X'00ff'", "version = 1.5", "detail = X'00ff'", "seq = 'x'"])
def test_what_no_field_can_hold_is_found(trail: Database, change: str) -> None:
    run(trail, f"UPDATE server_audit SET {change} WHERE seq = 4")
    assert broken(trail)[0] == 4


@pytest.mark.parametrize(
    "detail",
    ['{"level": "read"}', '{"level":"admin","level":"read"}', "no JSON", "1.5", '{"level":1.5}', "[" * 100_000],
)
def test_a_detail_is_found_changed_even_if_it_means_the_same(trail: Database, detail: str) -> None:
    with trail.engine.begin() as connection:
        connection.execute(text("UPDATE server_audit SET detail = :detail WHERE seq = 4"), {"detail": detail})
    assert broken(trail)[0] == 4


def test_a_missing_record_is_found(trail: Database) -> None:
    run(trail, "DELETE FROM server_audit WHERE seq IN (2, 3)")
    assert broken(trail) == (2, "record 2: is missing: the next is record 4")
    run(trail, "DELETE FROM server_audit WHERE seq = 1")
    assert broken(trail)[0] == 1


def test_a_removed_record_is_found_although_the_others_are_renumbered(trail: Database) -> None:
    run(trail, "DELETE FROM server_audit WHERE seq = 3", *(f"UPDATE server_audit SET seq = {to} WHERE seq = {to + 1}"
        for to in (3, 4, 5)), "UPDATE server_audit_head SET seq = 5")  # fmt: skip
    seq, what = broken(trail)
    assert (seq, "does not follow record 2" in what) == (3, True)


def test_records_that_changed_places_are_found(trail: Database) -> None:
    run(trail, *(f"UPDATE server_audit SET seq = {to} WHERE seq = {seq}" for seq, to in ((4, 99), (5, 4), (99, 5))))
    seq, what = broken(trail)
    assert (seq, "does not follow record 3: one of the two was moved" in what) == (4, True)


def test_a_record_that_was_put_in_before_the_first_is_found(trail: Database) -> None:
    run(trail, "UPDATE server_audit SET seq = -1 WHERE seq = 6")
    assert broken(trail) == (-1, "record -1: has a number that no record has")


def test_a_changed_record_with_a_fresh_hash_is_found_at_the_next(trail: Database) -> None:
    forge(trail, 3, lambda record: replace(record, actor="bob", hash=""))
    seq, what = broken(trail)
    assert (seq, "does not follow record 3" in what) == (4, True)


def test_an_end_that_was_cut_off_is_found(trail: Database) -> None:
    run(trail, "DELETE FROM server_audit WHERE seq > 4")
    assert broken(trail) == (5, "record 5: is missing: the end was cut off, there were 6 records")
    run(trail, "UPDATE server_audit_head SET seq = 4")
    seq, what = broken(trail)
    assert (seq, "is not where the trail ends" in what) == (4, True)


def test_an_end_that_was_cut_off_with_its_head_shows_against_a_kept_head(trail: Database) -> None:
    known = end(trail)
    fourth = records(trail)[3].hash
    run(trail, "DELETE FROM server_audit WHERE seq > 4", f"UPDATE server_audit_head SET seq = 4, hash = '{fourth}'")
    assert end(trail) == Head(4, fourth)  # a chain alone cannot tell
    assert broken(trail, known) == (5, "record 5: is missing: record 6 is known, and the end was cut off")
    assert end(trail, Head(4, fourth)).seq == 4


def test_a_trail_that_was_written_anew_shows_against_a_kept_head(trail: Database) -> None:
    known = Head(4, records(trail)[3].hash)
    run(trail, "DELETE FROM server_audit", f"UPDATE server_audit_head SET seq = 0, hash = '{BEGINNING}'")
    append(trail, *DEEDS, *DEEDS)
    assert end(trail).seq == 6
    seq, what = broken(trail, known)
    assert (seq, "is not the one that was known" in what) == (4, True)
    # What a log says after the rewriting does not hide what it said before.
    assert broken(trail, end(trail), known)[0] == 4
    now = Head(4, records(trail)[3].hash)
    assert broken(trail, known, now)[0] == broken(trail, now, known)[0] == 4


def test_what_was_archived_may_be_deleted_up_to_a_known_record(trail: Database) -> None:
    last = Head(2, records(trail)[1].hash)
    run(trail, "DELETE FROM server_audit WHERE seq <= 2")
    assert broken(trail)[0] == 1
    assert end(trail, after=last).seq == 6
    assert broken(trail, after=Head(2, "0" * 64))[0] == 3
    append(trail, DEEDS[0])
    assert end(trail, last, after=last).seq == 7
    assert broken(trail, Head(2, "0" * 64), after=last)[0] == 2
    with pytest.raises(InvalidError, match="record 1 is among those that were archived"):
        end(trail, Head(1, "0" * 64), after=last)


def test_a_long_trail_is_read_in_pages_to_its_end(small: Database) -> None:
    for _ in range(3):
        append(small, *DEEDS[:1] * 500)
    assert end(small).seq == len(records(small)) == 1500
    assert len(records(small, name="reg/app")) == 1500
    run(small, "UPDATE server_audit SET actor = 'bob' WHERE seq = 1001")
    assert broken(small)[0] == 1001


def fields(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}


def forge(database: Database, seq: int, change: Callable[[Record], Record]) -> None:
    """Change a record as one does who knows how hashes are made."""
    changed = change(records(database)[seq - 1])
    run(
        database,
        f"UPDATE server_audit SET actor = '{changed.actor}', hash = '{changed.digest()}' WHERE seq = {seq}",
    )


@pytest.mark.parametrize(
    "text", ["", "1", "1:", f"1:{'A' * 64}", f"-1:{'a' * 64}", f"1:{'a' * 64}\n", "٣:" + "a" * 64]
)
def test_a_head_has_one_form(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_head(text)


# Refusals.


def refused(refusals: Refusals, actor: str, error: Exception | None = None) -> None:
    with pytest.raises(type(error or DeniedError("no"))), refusals.noted(DEEDS[0], Who(actor)):
        raise error or DeniedError("no")


def test_a_refusal_is_recorded_with_its_reason(small: Database) -> None:
    refused(Refusals(TRAIL, small, lambda: NOW), "mallory")
    (record,) = records(small)
    assert (record.actor, record.action, record.outcome) == ("mallory", "publish", REFUSED)
    assert json.loads(record.detail) == {"code": "DENIED", "message": "no"}


def test_neither_what_succeeds_nor_what_fails_for_other_reasons_is_a_refusal(small: Database) -> None:
    refusals = Refusals(TRAIL, small, lambda: NOW)
    with refusals.noted(DEEDS[0], ALICE):
        pass
    refused(refusals, "alice", UnavailableError("the signer does not answer"))
    refused(refusals, "alice", UnauthorizedError("authentication required"))
    refused(refusals, "alice", RuntimeError("a bug"))
    assert records(small) == []


def test_a_flood_of_refusals_is_bounded_for_each_actor_and_in_all_and_what_was_left_out_is_counted(
    small: Database,
) -> None:
    now = NOW
    refusals = Refusals(TRAIL, small, lambda: now)
    for _ in range(OF_ONE + 30):
        refused(refusals, "mallory")
    assert len(records(small)) == OF_ONE
    refused(refusals, "bob")  # is seen all the same
    assert (records(small)[-1].actor, json.loads(records(small)[-1].detail)["left_out"]) == ("bob", 30)
    for number in range(OF_ALL):
        refused(refusals, f"user {number}")
    assert len(records(small)) == OF_ALL
    now += PERIOD
    refused(refusals, "mallory")
    assert json.loads(records(small)[-1].detail)["left_out"] == OF_ONE + 1
    assert end(small).seq == OF_ALL + 1


def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal(
    small: Database, caplog: pytest.LogCaptureFixture
) -> None:
    run(small, "DELETE FROM server_audit_head")
    refused(Refusals(TRAIL, small, lambda: NOW), "mallory")
    assert caplog.messages == ["a refusal cannot be recorded: the audit trail has lost its head"]
