# SPDX-License-Identifier: Apache-2.0
"""Every service's tables are made, adopted and brought up to date, in each kind of database."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

import registry.app  # and with it all tables
import registry.migrations
import server.app
import server.migrations
import server.models
import signer.migrations
import signer.models
from registry.base import Base
from server.store import Store
from templates import migrate, migrate_or_repeat
from trust.errors import SettingsError, UnavailableError
from trust.names import ROOT, TIMESTAMP, Gun
from trust.web.database import Database
from trust.web.migrations import upgrade, version_table

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: A row of each service's first table.
EXAMPLES: dict[str, dict[str, object]] = {
    "change_category": {"category": "update"},
    "private_keys": {
        "created_at": _NOW, "updated_at": _NOW, "key_id": "ab", "encryption_alg": "a", "keywrap_alg": "a",
        "algorithm": "ecdsa", "passphrase_alias": "a", "public": b"x", "private": b"x", "gun": "a", "role": "root",
    },
    "blobs": {"sha256": "ab", "size": 1, "created": _NOW},
}  # fmt: skip
SERVICES = {
    "server": (server.migrations, server.models.Base.metadata),
    "signer": (signer.migrations, signer.models.Base.metadata),
    "registry": (registry.migrations, Base.metadata),
}
#: What the original's own migrations leave (NOTARY_V1 §3.4, §4.2): the types of its PostgreSQL and MySQL.
GO_TYPES = {
    "sqlite": {"id": "INTEGER PRIMARY KEY", "time": "DATETIME NULL", "blob": "BLOB", "kept": "X'6b657074'"},
    "postgresql": {"id": "serial PRIMARY KEY", "time": "timestamp NULL", "blob": "bytea", "kept": "'kept'"},
    "mariadb": {
        "id": "int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "time": "timestamp NULL",
        "blob": "longblob",
        "kept": "'kept'",
    },
}
GO_TABLES = (
    "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
    "INSERT INTO schema_migrations VALUES (5, FALSE)",
    "CREATE TABLE tuf_files (id {id}, created_at {time}, updated_at {time}, deleted_at {time}, gun varchar(255) NOT"
    " NULL, role varchar(255) NOT NULL, version int NOT NULL, data {blob} NOT NULL, sha256 char(64) DEFAULT NULL,"
    " UNIQUE (gun, role, version))",
    "CREATE TABLE change_category (category varchar(20) NOT NULL PRIMARY KEY)",
    "INSERT INTO change_category VALUES ('update')",
    "INSERT INTO change_category VALUES ('deletion')",
    "CREATE TABLE changefeed (id {id}, created_at timestamp DEFAULT CURRENT_TIMESTAMP, gun varchar(255) NOT NULL,"
    " version int NOT NULL, sha256 char(64) DEFAULT NULL, category varchar(20) NOT NULL DEFAULT 'update',"
    " FOREIGN KEY (category) REFERENCES change_category (category))",
    "CREATE TABLE private_keys (id {id}, created_at {time}, updated_at {time}, deleted_at {time}, key_id varchar(255)"
    " NOT NULL, encryption_alg varchar(255) NOT NULL, keywrap_alg varchar(255) NOT NULL, algorithm varchar(50) NOT"
    " NULL, passphrase_alias varchar(50) NOT NULL, public {blob} NOT NULL, private {blob} NOT NULL, gun varchar(255)"
    " NOT NULL, role varchar(255) NOT NULL, last_used {time}, UNIQUE (key_id), UNIQUE (key_id, algorithm))",
    "INSERT INTO tuf_files (gun, role, version, data, sha256) VALUES ('reg/app', 'root', 1, {kept}, 'ab')",
    "INSERT INTO changefeed (gun, version, sha256, category) VALUES ('reg/app', 1, 'ab', 'update')",
    "INSERT INTO private_keys (key_id, encryption_alg, keywrap_alg, algorithm, passphrase_alias, public, private,"
    " gun, role) VALUES ('ab', 'A256GCM', 'PBES2-HS256+A128KW', 'ecdsa', 'a', 'x', 'y', 'reg/app', 'timestamp')",
)


def newest(migrations: ModuleType) -> str:
    """The last revision that the files tell of."""
    return max(path.stem for path in Path(migrations.__path__[0]).glob("r[0-9]*.py")).removeprefix("r")


@pytest.fixture(scope="module", autouse=True)
def migrations_are_known() -> None:
    """Here they are run, each time."""


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> tuple[ModuleType, MetaData]:
    return SERVICES[request.param]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@contextmanager
def writing(database: Database) -> Iterator[Connection]:
    with database.engine.begin() as connection:
        yield connection


def differences(database: Database, metadata: MetaData) -> list[Any]:
    """What Alembic would change to make the database what the models say."""
    with database.engine.connect() as connection:
        mine = {"include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=mine), metadata))


def revision(database: Database, migrations: ModuleType) -> str | None:
    with database.read() as session:
        found: str | None = session.scalar(text(f"SELECT version_num FROM {version_table(migrations)}"))
        return found


# Made.


def test_the_migrated_tables_are_those_of_the_models(
    database: Database, service: tuple[ModuleType, MetaData]
) -> None:
    migrations, metadata = service
    upgrade(database, migrations)
    assert differences(database, metadata) == []
    upgrade(database, migrations)
    assert revision(database, migrations) == newest(migrations)


def test_the_services_may_share_one_database(database: Database) -> None:
    for migrations, _ in SERVICES.values():
        upgrade(database, migrations)
    for migrations, metadata in SERVICES.values():
        assert differences(database, metadata) == []
        assert revision(database, migrations) == newest(migrations)


def test_replicas_that_start_at_once_do_not_break_each_other(database: Database, database_url: str) -> None:
    barrier = Barrier(6)

    def start(_number: int) -> None:
        replica = Database(database_url)
        try:
            barrier.wait()
            upgrade(replica, registry.migrations)
        finally:
            replica.dispose()

    with ThreadPoolExecutor(barrier.parties) as pool:
        list(pool.map(start, range(barrier.parties)))
    assert differences(database, Base.metadata) == []


def test_the_tables_that_other_tests_begin_with_are_the_migrated_ones(
    service: tuple[ModuleType, MetaData], tmp_path: Path
) -> None:
    dumps: list[list[str]] = []
    for way in (migrate, migrate_or_repeat, migrate_or_repeat):
        with closing(sqlite3.connect(tmp_path / f"{len(dumps)}.db")) as file:
            database = Database(f"sqlite:///{tmp_path}/{len(dumps)}.db")
            way(database, service[0], version_table(service[0]))
            database.dispose()
            dumps.append(sorted(file.iterdump()))  # of several indexes either may be the first
    assert len(dumps[0]) > 5
    assert dumps[0] == dumps[1] == dumps[2]


def test_many_may_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    for number in range(15):
        url, barrier = f"sqlite:///{tmp_path}/{number}.db", Barrier(8)

        def ping(_number: int, url: str = url, barrier: Barrier = barrier) -> None:
            database = Database(url)
            barrier.wait()
            database.ping()
            database.dispose()

        with ThreadPoolExecutor(barrier.parties) as pool:
            list(pool.map(ping, range(barrier.parties)))


def test_a_service_that_is_up_to_date_waits_for_nobody(database: Database, database_url: str) -> None:
    upgrade(database, server.migrations)
    with database.write() as session:
        session.execute(text("INSERT INTO change_category VALUES ('update')"))
        other = Database(database_url)
        upgrade(other, server.migrations)
        other.dispose()


def test_a_service_serves_without_alembic_after_its_first_start_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    settings = tmp_path / "registry.toml"
    settings.write_text(
        f'listen = "127.0.0.1:5000"\nhosts = ["localhost:5000"]\ndatabase_url = "{url}"\n'
        f'content_folder = "{tmp_path}/content"\ntrust_mode = "disabled"\n'
    )
    program = (
        "import sys, registry.app\n"
        "def serve(*_arguments, **_options): print(sorted({'alembic', 'mako', 'sqlite3'} & sys.modules.keys()))\n"
        "registry.app.run = serve\n"
        f"assert registry.app.main(['--config', {str(settings)!r}, 'serve']) == 0"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "['sqlite3']\n"
    database = Database(url)
    with database.read() as session:
        revisions = session.scalars(text(f"SELECT version_num FROM {version_table(registry.migrations)}")).all()
    database.dispose()
    assert len(revisions) == 1


# Brought up to date.


@pytest.fixture
def tomorrow(tmp_path: Path) -> ModuleType:
    """The server's migrations, with one more."""
    package = ModuleType("server.migrations")
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in Path(server.migrations.__path__[0]).glob("r*.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "r9999.py").write_text(
        f"from sqlalchemy import Column, Integer\nrevision, down_revision = '9999', '{newest(server.migrations)}'\n"
        "def upgrade(op):\n    op.add_column('tuf_files', Column('size', Integer))\n"
    )
    package.__path__ = [str(folder)]
    return package


def test_a_later_revision_changes_what_is_there(database: Database, tomorrow: ModuleType) -> None:
    upgrade(database, server.migrations)
    upgrade(database, tomorrow)
    assert "size" in {column["name"] for column in inspect(database.engine).get_columns("tuf_files")}
    assert revision(database, tomorrow) == "9999"


def test_a_database_that_is_newer_than_the_code_is_refused_in_one_sentence(
    database: Database,
    database_url: str,
    tomorrow: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upgrade(database, tomorrow)
    known = f"newer than this program, which knows its tables up to revision {newest(server.migrations)}"
    with pytest.raises(SettingsError, match=known):
        upgrade(database, server.migrations)
    monkeypatch.setenv("TROTH_SERVER_DATABASE_URL", database_url)
    assert server.app.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("troth-server: the database is newer than this program")


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/a.db")
    with pytest.raises(UnavailableError, match="unable to open"):
        upgrade(database, server.migrations)
    database.dispose()


# Adopted.


def test_tables_that_were_made_without_revisions_are_kept(
    database: Database, service: tuple[ModuleType, MetaData]
) -> None:
    migrations, metadata = service
    metadata.create_all(database.engine)
    with writing(database) as connection:
        table = metadata.sorted_tables[0]
        connection.execute(table.insert(), [EXAMPLES[table.name]])
    upgrade(database, migrations)
    assert revision(database, migrations) == newest(migrations)
    assert differences(database, metadata) == []
    with database.read() as session:
        assert len(session.execute(table.select()).all()) == 1


@pytest.fixture
def original(database: Database) -> Database:
    """A database as the original server and signer leave it, with a row in each table."""
    with writing(database) as connection:
        for statement in GO_TABLES:
            connection.exec_driver_sql(statement.format(**GO_TYPES[database.engine.name]))
    return database


def test_the_originals_tables_are_adopted_with_all_that_is_in_them(original: Database) -> None:
    upgrade(original, server.migrations)
    upgrade(original, signer.migrations)
    with original.read() as session:
        for table in ("schema_migrations", "tuf_files", "changefeed", "private_keys"):
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 1
        found = Store(session).by_checksum(Gun("reg/app"), ROOT, "ab")
        assert found is not None
        assert found.data == b"kept"
        assert [change.version for change in Store(session).changes(None, 0, 0)] == [1]
    tables = inspect(original.engine)
    indexed = {
        tuple(index["column_names"]) for table in tables.get_table_names() for index in tables.get_indexes(table)
    }
    assert {("sha256",), ("gun",), ("gun", "role")} <= indexed


def test_an_adopted_collection_differs_from_one_whose_name_differs_in_case_alone(original: Database) -> None:
    upgrade(original, server.migrations)
    other = Gun("reg/APP")
    with original.write() as session:
        store = Store(session)
        assert store.newest(other, [ROOT]) == {ROOT: 0}
        store.put_all(other, {ROOT: (1, b"other"), TIMESTAMP: (1, b"ts")}, _NOW, after=None)
    with original.read() as session:
        assert [change.gun for change in Store(session).changes(other, 0, 0)] == [other]
        assert session.scalar(text("SELECT count(*) FROM tuf_files WHERE gun = 'reg/app'")) == 1


def test_what_tables_of_an_older_original_lack_is_added(original: Database) -> None:
    with writing(original) as connection:
        # Before the original's third migration there was no hash, before its fifth no changefeed.
        for statement in ("DROP TABLE changefeed", "DROP TABLE change_category", "ALTER TABLE tuf_files DROP sha256"):
            connection.exec_driver_sql(statement)
    upgrade(original, server.migrations)
    with original.read() as session:
        assert Store(session).changes(None, 0, 0) == []
        file = Store(session).by_version(Gun("reg/app"), ROOT, 1)
    assert file is not None
    assert file.sha256 == hashlib.sha256(b"kept").hexdigest()


def test_a_table_that_cannot_be_adopted_is_named_and_the_next_attempt_is_not_kept_waiting(
    original: Database, database_url: str
) -> None:
    with writing(original) as connection:
        connection.exec_driver_sql("DROP TABLE private_keys")
        connection.exec_driver_sql("CREATE TABLE private_keys (id int PRIMARY KEY, key_id varchar(255) NOT NULL)")
    with pytest.raises(SettingsError, match="a table private_keys, but without the column created_at"):
        upgrade(original, signer.migrations)
    with writing(original) as connection:
        connection.exec_driver_sql("DROP TABLE private_keys")
    other = Database(database_url)
    upgrade(other, signer.migrations)
    other.dispose()
    assert differences(original, signer.models.Base.metadata) == []
