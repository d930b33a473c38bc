# SPDX-License-Identifier: Apache-2.0
"""The store: what is current, what is found by name, and that all or nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, insert, inspect

from notaryserver import NOW, NotaryServer
from server import migrations
from server.errors import LostRaceError, VersionError
from server.models import ChangeRow
from server.store import MAX_CHANGES, Store
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.web.database import Database
from trust.web.migrations import upgrade

VECTORS = Path(__file__).parent.parent / "fixtures" / "vectors"
GUN = Gun("localhost:5000/library/app")
Files = dict[RoleName, tuple[int, bytes]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database, migrations)
    with database.write() as session:
        Store(session).prepare()
    yield database
    database.dispose()


def put(database: Database, files: Files, after: int | None, gun: Gun = GUN) -> None:
    with database.write() as session:
        Store(session).put_all(gun, files, NOW, after=after)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The queries made meanwhile."""
    queries: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        queries.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield queries
    event.remove(database.engine, "before_cursor_execute", note)


def test_the_tables_are_those_of_the_reference(database: Database) -> None:
    # NOTARY_V1 §3.4
    found = inspect(database.engine)
    tables = [table for table in found.get_table_names() if not table.startswith("server_audit")]  # all ours
    columns = {table: [column["name"] for column in found.get_columns(table)] for table in tables}
    assert columns == {
        "tuf_files": [
            "id", "created_at", "updated_at", "deleted_at", "gun", "role", "version", "data", "sha256"
        ],
        "change_category": ["category"],
        "changefeed": ["id", "created_at", "gun", "version", "sha256", "category"],
        "troth_server_version": ["version_num"],
    }  # fmt: skip
    (unique,) = found.get_unique_constraints("tuf_files")
    assert unique["column_names"] == ["gun", "role", "version"]
    with database.read() as session:
        assert session.connection().exec_driver_sql("SELECT category FROM change_category ORDER BY 1").all() == [
            ("deletion",), ("update",)
        ]  # fmt: skip


def test_preparing_twice_changes_nothing(database: Database) -> None:
    with database.write() as session:
        Store(session).prepare()
    with database.read() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM change_category").scalar() == 2


@pytest.mark.parametrize("vector", sorted(str(p.parent.relative_to(VECTORS)) for p in VECTORS.rglob("index.json")))
def test_a_collection_of_the_reference_is_served_byte_for_byte(tmp_path: Path, vector: str) -> None:
    folder = VECTORS / vector
    index = json.loads((folder / "index.json").read_text())
    server = NotaryServer(tmp_path)
    gun, current, others = Gun(index["gun"]), {}, {}
    for name, entry in index["files"].items():
        data = (folder / name.replace("/", "__")).read_bytes()
        parts = name.removesuffix(".json").split(".")
        if len(parts) == 1:
            current[RoleName(name.removesuffix(".json"))] = (entry["version"], data)
        elif parts[0].isdigit():
            others[RoleName(parts[1]), int(parts[0])] = data
    with server.database.write() as session:
        # Older versions first, each as a row of its own, as a copy of the old tables would bring them.
        for (role, version), data in sorted(others.items()):
            if current[role][0] != version:
                session.connection().exec_driver_sql(
                    "INSERT INTO tuf_files (gun, role, version, data, sha256) VALUES (?, ?, ?, ?, ?)",
                    (gun, role, version, data, index["files"][f"{version}.{role}.json"]["sha256"]),
                )
        newest = max((version for role, version in others if role == TIMESTAMP), default=0)
        before = newest - 1 if newest == current[TIMESTAMP][0] else newest
        Store(session).put_all(gun, current, NOW, after=before or None)
    for name in index["files"]:
        # Delegations that are gone from the snapshot are found by hash only.
        response = server.get(gun, name)
        assert response.status_code == 200, name
        assert response.data == (folder / name.replace("/", "__")).read_bytes(), name


def test_current_costs_one_query_where_the_newest_files_are_the_current_ones(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    server.published(GUN)
    for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        with counted(server.database) as queries, server.database.read() as session:
            chain = Store(session).current(GUN, role)
        assert chain is not None
        assert chain.file is not None
        assert chain.file.role == role
        assert len([query for query in queries if query.startswith("SELECT")]) == 1


def test_current_is_what_the_timestamp_leads_to_and_not_the_highest_version(tmp_path: Path) -> None:
    # NOTARY_V1 §2.1
    server = NotaryServer(tmp_path)
    collection = server.published(GUN)
    with server.database.write() as session:
        # As if a table had been repaired by hand.
        session.connection().exec_driver_sql(
            "INSERT INTO tuf_files (gun, role, version, data, sha256) VALUES (?, 'targets', 9, 'x', 'y')", (GUN,)
        )
        session.connection().exec_driver_sql(
            "INSERT INTO tuf_files (gun, role, version, data, sha256) VALUES (?, 'snapshot', 9, 'x', 'y')", (GUN,)
        )
    assert server.get(GUN, "targets.json").data == collection.files[TARGETS]
    assert server.file(GUN, "snapshot").signed.version == 1


def test_files_are_found_by_gun_role_and_hash_together(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    server.published(GUN)
    with server.database.read() as session:
        store = Store(session)
        targets = store.by_version(GUN, TARGETS, 1)
        assert targets is not None
        assert targets.created == NOW
        assert store.by_checksum(GUN, TARGETS, targets.sha256) == targets
        assert store.by_checksum(GUN, ROOT, targets.sha256) is None
        assert store.by_checksum(Gun("other/app"), TARGETS, targets.sha256) is None
        assert store.by_version(GUN, TARGETS, 2) is None
        assert store.newest(GUN, [TARGETS, RoleName("targets/a")]) == {TARGETS: 1, "targets/a": 0}


def test_what_an_upload_of_hundreds_of_roles_builds_upon_is_read(database_url: str, tmp_path: Path) -> None:
    server = NotaryServer(tmp_path, database_url=database_url)
    collection = server.published(GUN)
    collection.targets({"v1": b"another"})
    assert server.publish(collection, "targets").status_code == 200
    roles = [RoleName(f"targets/a{number}") for number in range(600)]
    roles = [*roles[:300], TARGETS, *roles[300:], ROOT]
    with server.database.read() as session:
        standing, nothing = (Store(session).standing(gun, roles) for gun in (GUN, Gun("other/app")))
        assert standing.chain == Store(session).current(GUN, SNAPSHOT)
        assert standing.root == Store(session).by_version(GUN, ROOT, 1)
    assert {role: version for role, version in standing.newest.items() if version} == {ROOT: 1, TARGETS: 2}
    assert standing.newest.keys() == nothing.newest.keys() == set(roles)
    assert (nothing.chain, nothing.root, set(nothing.newest.values())) == (None, None, {0})
    server.close()


def test_versions_must_rise_and_nothing_is_kept_when_one_does_not(database: Database) -> None:
    # NOTARY_V1 §3.1, 7; §3.4
    put(database, {ROOT: (1, b"r1"), TARGETS: (5, b"t5"), TIMESTAMP: (1, b"ts1")}, None)
    for version in (4, 5):
        with pytest.raises(VersionError):
            put(database, {ROOT: (2, b"r2"), TARGETS: (version, b"t"), TIMESTAMP: (2, b"ts2")}, 1)
    with database.read() as session:
        store = Store(session)
        assert store.newest(GUN, [ROOT, TARGETS, TIMESTAMP]) == {ROOT: 1, TARGETS: 5, TIMESTAMP: 1}
        assert len(store.changes(None, 0, 0)) == 1
    put(database, {TARGETS: (9, b"t9"), TIMESTAMP: (2, b"ts2")}, 1)


@pytest.mark.parametrize("after", [None, 1, 3])
def test_what_is_based_on_another_state_loses(database: Database, after: int | None) -> None:
    put(database, {TIMESTAMP: (1, b"ts1")}, None)
    put(database, {TIMESTAMP: (2, b"ts2")}, 1)
    with pytest.raises(LostRaceError):
        put(database, {TIMESTAMP: (3, b"ts3")}, after)


def test_a_deletion_is_noted_once_and_only_if_something_was_there(database: Database) -> None:
    # NOTARY_V1 §2.4, §2.5
    put(database, {ROOT: (1, b"r1"), TIMESTAMP: (1, b"ts1")}, None)
    put(database, {TIMESTAMP: (1, b"ts1")}, None, Gun(GUN + "2"))
    for _ in range(2):
        with database.write() as session:
            Store(session).delete(GUN, NOW)
    with database.read() as session:
        store = Store(session)
        assert [change.category for change in store.changes(GUN, 0, 0)] == ["update", "deletion"]
        assert store.newest(GUN, [ROOT]) == {ROOT: 0}
        assert store.newest(Gun(GUN + "2"), [TIMESTAMP]) == {TIMESTAMP: 1}


def test_the_changefeed_has_a_page_size_that_nobody_can_pass(database: Database) -> None:
    with database.write() as session:
        changes = [{"gun": "a", "version": version, "sha256": ""} for version in range(1, MAX_CHANGES + 3)]
        session.execute(insert(ChangeRow), changes)
    with database.read() as session:
        store = Store(session)
        assert len(store.changes(None, 0, 10**6)) == MAX_CHANGES
        assert [c.version for c in store.changes(None, -1, -(10**6))][-1] == MAX_CHANGES + 2
