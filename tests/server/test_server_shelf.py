# SPDX-License-Identifier: Apache-2.0
"""What a server gives out again unread is what is current: whoever changed it, in whatever process or replica."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, event, insert, select, text, update

from databases import Server
from notaryserver import NotaryServer
from server import shelf
from server.app import DATABASE, SHELF
from server.models import TufFileRow
from trust.errors import UnavailableError
from trust.web.database import Database

GUN = "localhost:5000/library/app"


@pytest.fixture
def servers(database_url: str, tmp_path: Path) -> Iterator[tuple[NotaryServer, NotaryServer]]:
    """Two replicas: one database, the same keys."""
    one = NotaryServer(tmp_path, database_url=database_url)
    other = NotaryServer(tmp_path, database_url=database_url, keys=one.keys)
    yield one, other
    one.close()
    other.close()


def test_a_replica_gives_out_what_another_has_published_deleted_or_renewed(
    servers: tuple[NotaryServer, NotaryServer],
) -> None:
    one, other = servers
    collection = one.published(GUN)
    names = ["root", "targets", "snapshot", "timestamp"]

    def seen(server: NotaryServer) -> list[bytes]:
        return [server.get(GUN, f"{name}.json").data for name in names]

    for number in range(3):
        before = seen(other)
        assert before == seen(one)
        assert seen(other) == before
        collection.targets({"v1": b"manifest %d" % number})
        assert (one, other)[number % 2].publish(collection, "targets").status_code == 200
        after = seen(other)
        assert after == seen(one)
        changed = [name for name, old, new in zip(names, before, after, strict=True) if old != new]
        assert changed == ["targets", "snapshot", "timestamp"]
    version = other.file(GUN, "timestamp").signed.version
    for server in servers:
        server.now += timedelta(days=8)  # past half of the timestamp's life: the first who reads renews it
    assert one.file(GUN, "timestamp").signed.version == version + 1
    assert seen(one) == seen(other)
    first = hashlib.sha256(collection.history["targets", 1]).hexdigest()
    for path in (f"targets.{first}.json", "1.targets.json"):
        assert other.get(GUN, path).data == other.get(GUN, path).data == collection.history["targets", 1]
    assert one.request("DELETE", f"/v2/{GUN}/_trust/tuf/").status_code == 200
    for path in (*(f"{name}.json" for name in names), f"targets.{first}.json", "1.targets.json"):
        assert other.get(GUN, path).status_code == 404


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    server.published(GUN)
    asked: list[str] = []
    event.listen(
        server.app.extensions[DATABASE].engine, "before_cursor_execute", lambda *given: asked.append(given[2])
    )
    first = [server.get(GUN, path).data for path in ("root.json", "timestamp.json", "1.root.json")]
    assert [statement for statement in asked if "tuf_files" in statement]
    asked.clear()
    assert [server.get(GUN, path).data for path in ("root.json", "timestamp.json", "1.root.json")] == first
    assert not asked
    server.close()


def test_readers_and_a_publisher_at_once_never_go_back_to_an_older_version(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    collection = server.published(GUN)
    published, over = [1], threading.Event()
    wrong: list[tuple[int, int]] = []

    def read() -> None:
        while not over.is_set():
            known = published[0]
            version = server.file(GUN, "targets").signed.version
            if version < known:
                wrong.append((known, version))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        collection.targets({"v1": b"moved"})
        assert server.publish(collection, "targets").status_code == 200
        published[0] += 1
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    server.close()


def test_a_shelf_holds_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NotaryServer(tmp_path)
    for number in range(6):
        server.published(f"{GUN}{number}")
    size = len(server.get(f"{GUN}0", "root.json").data)
    monkeypatch.setattr(shelf, "MAX_BYTES", 4 * size)
    kept = server.app.extensions[SHELF]
    for number in range(6):
        server.get(f"{GUN}{number}", "root.json")
    assert 0 < kept.size <= 4 * size
    assert server.get(f"{GUN}0", "root.json").status_code == 200
    monkeypatch.setattr(shelf, "MAX_FILE", 100)
    server.published(f"{GUN}6")
    assert server.get(f"{GUN}6", "root.json").status_code == 200
    assert kept.size == 0
    server.close()


def test_a_watch_that_lost_its_connection_opens_another_and_a_missing_row_is_none(database_url: str) -> None:
    database = Database(database_url)
    watch = database.watch("SELECT 1 WHERE 1 = 0")
    assert watch.look() is None
    one = database.watch("SELECT 7")
    assert one.look() == (7,)
    one._lookup._line._connection.close()  # type: ignore[union-attr]  # as a server does that restarts
    assert one.look() == (7,)
    assert database.watch("SELECT x FROM nowhere").look() is None
    database.dispose()
    assert one.look() == (7,)
    database.dispose()


def test_whoever_looks_a_row_up_sees_what_was_committed_before_though_many_ask_at_once(database_url: str) -> None:
    database = Database(database_url)
    table = Table("numbers", MetaData(), Column("name", String(8), primary_key=True), Column("value", Integer))
    table.create(database.engine)
    with database.write() as session:
        session.execute(insert(table), [{"name": f"n{number}", "value": 0} for number in range(4)])
    lookup = database.lookup(select(table.c.value).where(table.c.name == bindparam("name")))
    wrong: list[object] = []

    def count(name: str) -> None:
        try:
            for number in range(1, 15):
                with database.write() as session:
                    session.execute(update(table).where(table.c.name == name).values(value=number))
                wrong.extend(row for row in lookup.rows(name=name) if row != (number,))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=count, args=(f"n{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert lookup.rows(name="another") == []
    table.drop(database.engine)
    with pytest.raises(UnavailableError):
        lookup.rows(name="n0")
    database.dispose()


def test_an_idle_connection_that_the_database_has_closed_is_replaced(postgresql_server: Server) -> None:
    with postgresql_server.database() as url:
        database = Database(url)
        database.ping()
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        other = Database(url)
        with other.read() as session:
            session.execute(text(f"{ended} AND pid <> pg_backend_pid()"))
        other.dispose()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trust.web.database._ALIVE", 0)  # it has lain idle for long
            database.ping()
        database.dispose()


def test_the_state_changes_with_what_another_program_writes_into_the_tables(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    server.published(GUN)
    assert server.get(GUN, "1.targets.json").status_code == 200
    seen = server.app.extensions[SHELF].size
    assert seen > 0
    with server.database.write() as session:  # as an original server does: no record in a trail
        session.execute(
            insert(TufFileRow),
            [{"gun": GUN, "role": "targets/other", "version": 1, "data": b"{}", "sha256": "0" * 64}],
        )
    assert server.get(GUN, "1.targets/other.json").data == b"{}"
    assert server.app.extensions[SHELF].size == len(b"{}")
    server.close()
