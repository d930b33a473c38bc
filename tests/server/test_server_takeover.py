# SPDX-License-Identifier: Apache-2.0
"""What the server takes over from another's database, what it refuses, and what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from collection import Collection, with_a_broken_signature
from databases import Server
from gotables import go_url, make_tables
from notaryserver import NOW, NotaryServer
from server.app import main
from trust.metadata import peek_version
from trust.names import TIMESTAMP, RoleName

GUN = "localhost:5000/library/app"

FILES = "SELECT gun, role, version, data, sha256 FROM tuf_files ORDER BY gun, role, version"


class Original:
    """The database of an original server, filled by hand."""

    def __init__(self, url: str) -> None:
        make_tables(url, "server")
        self.url = url
        self._engine: Engine = create_engine(url)

    def put(self, gun: str, role: str, version: int, data: bytes, **columns: object) -> None:
        """Store a file as the original does; `columns` say what is otherwise."""
        row = {
            "created_at": datetime(2020, 2, 29, 12), "gun": gun, "role": role, "version": version, "data": data,
            "sha256": hashlib.sha256(data).hexdigest(), **columns,
        }  # fmt: skip
        self.run(f"INSERT INTO tuf_files ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)

    def put_all(self, collection: Collection, **columns: object) -> None:
        """Store every file of a collection, and a change for each timestamp."""
        for (role, version), data in collection.history.items():
            self.put(collection.gun, role, version, data, **columns)
            if role == "timestamp":
                self.note(collection.gun, version, hashlib.sha256(data).hexdigest())

    def note(self, gun: str, version: int, sha256: str, category: str = "update") -> None:
        """Write a row of the changefeed."""
        row = {"gun": gun, "version": version, "sha256": sha256, "category": category}
        self.run(
            "INSERT INTO changefeed (gun, version, sha256, category) VALUES (:gun, :version, :sha256, :category)", row
        )

    def run(self, statement: str, row: dict[str, Any] | None = None) -> None:
        """Run a statement."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), row or {})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return rows(self.url, query)

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


class Ours:
    """Our server's database, and `troth-server import` into it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "ours.db"
        self.url = f"sqlite:///{self.file}"
        self._report = folder / "report.json"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("TROTH_SERVER_DATABASE_URL", self.url)

    def take(self, address: str, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Take over; returns the exit status, and the entries of the report by collection."""
        self._report.unlink(missing_ok=True)
        self._monkeypatch.setenv("TROTH_SERVER_IMPORT_FROM", address)
        status = main(["import", f"--report={self._report}", *options])
        self.said = "".join(self._capsys.readouterr())
        entries = json.loads(self._report.read_bytes())["guns"] if self._report.exists() else []
        return status, {entry["gun"]: entry for entry in entries}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return rows(self.url, query)


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ours:
    return Ours(tmp_path, monkeypatch, capsys)


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.client("postgresql")),
        pytest.param("mariadb", marks=pytest.mark.client("mariadb-server")),
    ]
)
def original(request: pytest.FixtureRequest) -> Iterator[Original]:
    """An original server's database, empty."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    with server.database() as url:
        original = Original(url)
        yield original
        original.close()


@pytest.fixture
def mariadb(mariadb_server: Server) -> Iterator[Original]:
    """An original server's database in MariaDB, empty."""
    with mariadb_server.database() as url:
        original = Original(url)
        yield original
        original.close()


@pytest.fixture
def made() -> Collection:
    """A collection with three roots, a delegation and several versions of all."""
    # Made today: what the command takes for now cannot be told.
    collection = Collection(GUN, datetime.now(NOW.tzinfo))
    collection.publish({"v1": b"one"})
    collection.rotate("root")
    collection.root()
    collection.delegation("targets/releases")
    collection.targets({"v2": b"two"}, role="targets/releases")
    collection.publish({"v3": b"three"})
    collection.rotate("root")
    collection.rotate("snapshot")
    collection.root()
    collection.publish()
    return collection


@pytest.mark.parametrize("written", ["as Go does", "as SQLAlchemy does"])
def test_every_version_comes_byte_for_byte(original: Original, ours: Ours, made: Collection, written: str) -> None:
    original.put_all(made)
    status, entries = ours.take(go_url(original.url) if written == "as Go does" else original.url)
    assert (status, entries[GUN]["state"], entries[GUN]["problems"]) == (0, "imported", [])
    assert entries[GUN]["files"] == len(made.history)
    assert ours.rows(FILES) == original.rows(FILES)
    changes = "SELECT id, gun, version, sha256, category FROM changefeed ORDER BY id"
    assert ours.rows(changes) == original.rows(changes)
    assert ours.rows("SELECT DISTINCT created_at FROM tuf_files") == [("2020-02-29 12:00:00.000000",)]


def test_it_goes_into_every_database_and_the_changefeed_goes_on(
    original: Original,
    ours: Ours,
    made: Collection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original.put_all(made)
    original.run("UPDATE changefeed SET id = id + 40")
    ours.url = database_url
    monkeypatch.setenv("TROTH_SERVER_DATABASE_URL", database_url)
    assert ours.take(original.url)[0] == 0
    assert ours.rows(FILES) == original.rows(FILES)
    assert ours.take(original.url, "--dry-run")[1][GUN]["state"] == "present"
    with closing(NotaryServer(tmp_path, made.now, database_url=database_url)) as server:
        server.published("localhost:5000/library/next")
    ids = [row[0] for row in ours.rows("SELECT id FROM changefeed ORDER BY id")]
    assert ids[:3] == [41, 42, 43]
    assert len(ids) == 4
    assert ids[3] > 43


def test_what_was_taken_over_is_served(original: Original, ours: Ours, made: Collection, tmp_path: Path) -> None:
    original.put_all(made)
    ours.take(original.url)
    with closing(NotaryServer(tmp_path, made.now, database_url=ours.url)) as server:
        for role in ("root", "targets", "targets/releases", "snapshot", "timestamp"):
            assert server.get(GUN, f"{role}.json").data == made.files[RoleName(role)]
        for version in (1, 2, 3):
            assert server.get(GUN, f"{version}.root.json").data == made.history["root", version]
        feed = server.request("GET", f"/v2/{GUN}/_trust/changefeed?records=100&change_id=0")
        assert [record["ID"] for record in json.loads(feed.data)["records"]] == ["1", "2", "3"]


def test_a_second_import_finds_nothing_to_do(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    ours.take(original.url)
    before = ours.rows(FILES)
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"], entries[GUN]["files"], entries[GUN]["changes"]) == (0, "present", 0, 0)
    assert ours.rows(FILES) == before


def test_what_went_on_there_is_added(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    ours.take(original.url)
    known = set(made.history)
    made.publish({"v4": b"four"})
    for role, version in set(made.history) - known:
        original.put(GUN, role, version, made.history[role, version])
    original.note(GUN, 4, hashlib.sha256(made.files[TIMESTAMP]).hexdigest())
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"], entries[GUN]["files"], entries[GUN]["changes"]) == (0, "extended", 3, 1)
    assert ours.rows(FILES) == original.rows(FILES)


def test_what_differs_is_never_overwritten(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    ours.take(original.url)
    before = ours.rows(FILES)
    other = Collection(GUN, made.now)
    other.publish({"v1": b"one"})
    original.run("DELETE FROM tuf_files")
    original.put_all(other)
    status, entries = ours.take(original.url, "--even-broken")
    assert (status, entries[GUN]["state"]) == (1, "refused")
    assert "root 1 is here with other content" in entries[GUN]["problems"]
    assert ours.rows(FILES) == before


def test_two_that_have_both_gone_on_are_refused(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    ours.take(original.url)
    made.timestamp()
    made.timestamp()
    original.put(GUN, "timestamp", 4, made.history["timestamp", 4])
    original.run("DELETE FROM tuf_files WHERE role = 'snapshot' AND version = 1")
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (1, "refused")
    assert entries[GUN]["problems"] == ["both have gone on: here are 1 files that are not there"]


def test_a_dry_run_writes_nothing(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    status, entries = ours.take(original.url, "--dry-run")
    assert (status, entries[GUN]["state"], entries[GUN]["files"]) == (0, "imported", len(made.history))
    assert "nothing was written" in ours.said
    assert not ours.file.exists()
    ours.take(original.url)
    before = ours.rows(FILES)
    made.timestamp()
    original.put(GUN, "timestamp", 4, made.history["timestamp", 4])
    status, entries = ours.take(original.url, "--dry-run")
    assert (status, entries[GUN]["state"], entries[GUN]["files"]) == (0, "extended", 1)
    assert ours.rows(FILES) == before


def test_old_rows_without_a_hash_get_one(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made, sha256=None)
    status, entries = ours.take(original.url)
    assert status == 0
    assert any("no sha256" in note for note in entries[GUN]["notes"])
    assert ours.rows("SELECT count(*) FROM tuf_files WHERE sha256 IS NULL") == [(0,)]
    assert ours.take(original.url)[1][GUN]["state"] == "present"


def test_a_schema_before_the_changefeed_and_hashes_is_read(mariadb: Original, ours: Ours, made: Collection) -> None:
    mariadb.put_all(made)
    mariadb.run("DROP TABLE changefeed")
    mariadb.run("ALTER TABLE tuf_files DROP COLUMN sha256")
    status, entries = ours.take(mariadb.url)
    assert (status, entries[GUN]["changes"]) == (0, 3)  # one a timestamp, as the original's migration makes them


def test_deleted_rows_stay_where_they_are(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    original.put(GUN, "targets", 99, b"{}", deleted_at=datetime(2021, 1, 1))
    original.put("localhost:5000/library/gone", "targets", 1, b"{}", deleted_at=datetime(2021, 1, 1))
    status, entries = ours.take(original.url)
    assert (status, list(entries)) == (0, [GUN])
    assert (99,) not in ours.rows("SELECT version FROM tuf_files")


def test_names_that_differ_in_case_alone_stay_apart(mariadb: Original, ours: Ours) -> None:
    now = datetime.now(NOW.tzinfo)
    lower, upper = Collection("example.com/app", now), Collection("example.com/APP", now)
    lower.publish({"v1": b"one"})
    mariadb.put_all(lower)
    # Its unique index folds case as well, so the two never have the same version of a role.
    upper.root(version=2)
    upper.targets({"v1": b"other"}, version=10)
    upper.snapshot(version=10)
    upper.timestamp(version=10)
    mariadb.put_all(upper)
    status, entries = ours.take(mariadb.url)
    assert set(entries) == {"example.com/app", "example.com/APP"}
    assert all(entry["state"] == "imported" for entry in entries.values()), entries
    assert status == 0


def test_what_has_expired_is_taken_and_said(original: Original, ours: Ours) -> None:
    long_ago = datetime.now(NOW.tzinfo) - timedelta(days=4000)
    old = Collection(GUN, long_ago)
    old.publish({"v1": b"one"})
    original.put_all(old)
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"], entries[GUN]["problems"]) == (0, "imported", [])
    said = " ".join(entries[GUN]["notes"])
    assert all(f"{role} expired at" in said for role in ("targets", "snapshot", "timestamp"))
    assert "certificates" in said  # the root's are over as well


@pytest.mark.parametrize(
    ("role", "version", "said"),
    [
        ("root", 2, "does not hold together"),  # a link between the first root and the last
        ("root", 3, "there is no root"),
        ("targets", 3, "does not hold together"),
        ("targets/releases", 1, "does not hold together"),
        ("snapshot", 3, "there is no root"),  # that could be found from here
        ("timestamp", 3, "does not hold together"),
    ],
)
def test_what_does_not_hold_together_is_not_taken_unasked(
    mariadb: Original, ours: Ours, made: Collection, role: str, version: int, said: str
) -> None:
    good = made.history[role, version]
    made.history[role, version] = with_a_broken_signature(good)
    mariadb.put_all(made)
    other = Collection("localhost:5000/library/other", made.now)
    other.publish({"v1": b"one"})
    mariadb.put_all(other)
    status, entries = ours.take(mariadb.url)
    assert (status, entries[GUN]["state"]) == (2, "refused")
    assert said in entries[GUN]["problems"][0]
    assert entries[other.gun]["state"] == "imported"  # one does not keep the others back
    assert ours.rows(f"SELECT count(*) FROM tuf_files WHERE gun = '{GUN}'") == [(0,)]
    status, entries = ours.take(mariadb.url, "--even-broken", f"--gun={GUN}")
    assert (status, entries[GUN]["state"], list(entries)) == (2, "imported", [GUN])
    assert ours.rows(FILES) == mariadb.rows(FILES)


@pytest.mark.parametrize(("role", "version"), [("root", 1), ("targets", 3), ("snapshot", 3), ("timestamp", 3)])
def test_a_file_that_is_missing_is_noticed(
    mariadb: Original, ours: Ours, made: Collection, role: str, version: int
) -> None:
    mariadb.put_all(made)
    mariadb.run(f"DELETE FROM tuf_files WHERE role = '{role}' AND version >= {version}")
    if (role, version) == ("root", 1):
        mariadb.put(GUN, "root", 3, made.history["root", 3])
    status, entries = ours.take(mariadb.url)
    assert (status, entries[GUN]["state"]) == (1, "refused")
    assert entries[GUN]["problems"]


def test_bytes_that_are_not_what_their_hash_says_are_reported(
    original: Original, ours: Ours, made: Collection
) -> None:
    original.put_all(made)
    original.run("UPDATE tuf_files SET sha256 = :sha256 WHERE role = 'targets' AND version = 1", {"sha256": "0" * 64})
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (1, "refused")
    assert entries[GUN]["problems"] == ["corrupt: targets 1 is not the bytes that its sha256 says"]


def test_orphans_and_names_that_cannot_be_are_reported(original: Original, ours: Ours, made: Collection) -> None:
    original.put_all(made)
    data = made.targets({"v9": b"nine"})  # stored, and no snapshot names it
    original.put(GUN, "targets", peek_version(data), data)
    original.put("localhost:5000//odd", "targets", 1, made.history["targets", 1])
    original.put("localhost:5000/alone", "targets", 1, made.history["targets", 1])
    status, entries = ours.take(original.url)
    assert status == 1
    assert entries[GUN]["problems"] == ["orphan: targets 4 is stored, while 3 is in force"]
    assert "forbidden path segment" in entries["localhost:5000//odd"]["problems"][0]
    assert "no timestamp" in entries["localhost:5000/alone"]["problems"][0]


def test_changes_get_new_ids_where_the_old_ones_are_taken(
    original: Original, ours: Ours, made: Collection, tmp_path: Path
) -> None:
    with closing(NotaryServer(tmp_path, made.now, database_url=ours.url)) as server:
        server.published("localhost:5000/library/earlier")
    original.put_all(made)
    original.note("localhost:5000/library/gone", 0, "", "deletion")
    status, entries = ours.take(original.url)
    assert status == 0
    assert "its changes have new IDs here, in the same order" in entries[GUN]["notes"]
    assert entries["localhost:5000/library/gone"]["state"] == "imported"  # its history is all there is of it
    feed = ours.rows("SELECT gun, version, category FROM changefeed ORDER BY id")
    assert feed[1:4] == [(GUN, version, "update") for version in (1, 2, 3)]
    assert ours.take(original.url)[0] == 0
    assert ours.rows("SELECT gun, version, category FROM changefeed ORDER BY id") == feed


@pytest.mark.parametrize(
    "address",
    [
        "postgres://u:hush@localhost:1/x?sslmode=disable",
        "user=u password=hush host=localhost port=1 dbname=x",
        "u:hush@tcp(localhost:1)/x?parseTime=true",
        "u:hush@tcp(localhost:1)/x?tls=hush",
        "oracle://u:hush@localhost/x",
        "hush",
        "sqlite:///hush.db",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(ours: Ours, address: str) -> None:
    status, entries = ours.take(address)
    assert (status, entries) == (1, {})
    assert ours.said.startswith("troth-server: ")
    assert "hush" not in ours.said


def test_a_database_of_something_else_is_refused(original: Original, ours: Ours) -> None:
    original.run("DROP TABLE tuf_files")
    assert ours.take(original.url)[0] == 1
    assert "no table tuf_files" in ours.said


def test_an_empty_database_gives_nothing(original: Original, ours: Ours) -> None:
    assert ours.take(original.url) == (1, {})
