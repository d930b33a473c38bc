# SPDX-License-Identifier: Apache-2.0
"""`registry.trustcache`: what was believed is in the database, for all processes and for ever.

What it has in common with the other caches is in `tests/trust/test_cache.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.schema import CreateTable

from registry import migrations
from registry.trustcache import DatabaseCache, TrustFileRow
from trust.dialect import MAX_VERSION
from trust.names import ROOT, TIMESTAMP, Gun, RoleName
from trust.web.database import Database
from trust.web.migrations import upgrade

APP, OTHER = Gun("localhost:5000/library/app"), Gun("localhost:5000/library/other")
RELEASES = RoleName("targets/releases")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The registry's tables, empty."""
    database = Database(f"sqlite:///{tmp_path}/registry.db")
    upgrade(database, migrations)
    return database


def test_it_outlives_the_process_and_is_shared_by_all(database: Database) -> None:
    DatabaseCache(database).save(APP, ROOT, 1, b"root")
    elsewhere = Database(str(database.engine.url))
    assert DatabaseCache(elsewhere).load(APP, ROOT) == b"root"
    DatabaseCache(elsewhere).save(APP, ROOT, 2, b"next root")
    DatabaseCache(database).save(APP, ROOT, 1, b"root")  # it is behind, and does not know
    assert DatabaseCache(elsewhere).load(APP, ROOT) == b"next root"
    elsewhere.dispose()


def test_the_longest_names_the_highest_version_and_any_bytes_fit(database: Database) -> None:
    data = bytes(range(256)) * 5000
    gun, role = Gun("a" * 255), RoleName("targets/" + "a" * 247)
    DatabaseCache(database).save(gun, role, MAX_VERSION, data)
    assert DatabaseCache(database).load(gun, role) == data


def test_forgetting_is_of_one_collection_and_says_whether_there_was_anything(database: Database) -> None:
    cache = DatabaseCache(database)
    for role in (ROOT, TIMESTAMP, RELEASES):
        cache.save(APP, role, 5, role.encode())
    cache.save(OTHER, ROOT, 5, b"another root")
    assert cache.forget(APP)
    assert not cache.forget(APP)
    assert [cache.load(APP, role) for role in (ROOT, TIMESTAMP, RELEASES)] == [None] * 3
    assert cache.load(OTHER, ROOT) == b"another root"
    cache.save(APP, ROOT, 1, b"first root")
    assert cache.load(APP, ROOT) == b"first root"


@pytest.mark.parametrize("url", ["postgresql://", "mariadb://", "sqlite://"])
def test_names_are_compared_byte_for_byte_in_every_database(url: str) -> None:
    dialect = make_url(url).get_dialect()()
    text = str(CreateTable(TrustFileRow.__table__).compile(dialect=dialect))  # type: ignore[arg-type]  # is a Table
    expected = {"postgresql": 'COLLATE "C"', "mariadb": "_bin NOT NULL", "sqlite": "VARCHAR(255)"}
    assert text.count(expected[dialect.name]) == 2, text
