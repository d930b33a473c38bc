# SPDX-License-Identifier: Apache-2.0
"""Tables at once: what a service's migrations say to an empty database is written down once, and said again after.

    upgrade(database, migrations)          # in a test: the real migrations the first time, their statements after

Hundreds of tests begin with an empty database, and finding out what a migration has to say takes far longer than
saying it.  A database with anything in it and a service's own process are migrated as they always are;
test_migrations.py, which is about that work, overrides the fixture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import event, inspect

from trust.web import migrations
from trust.web.database import Database

_CHANGES = ("CREATE", "ALTER", "INSERT", "UPDATE", "DELETE", "DROP")
_Statements = list[tuple[str, Any]]

#: The real work.
migrate = migrations._migrate
_lock = threading.Lock()
#: What the migrations of a package say to each kind of database, with the parameters of the driver.
_known: dict[tuple[str, str], _Statements] = {}


@pytest.fixture(scope="module", autouse=True)
def migrations_are_known() -> Iterator[None]:
    """Let empty databases get their tables from statements that are known; a test module may override this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "_migrate", migrate_or_repeat)
        yield


def migrate_or_repeat(database: Database, package: ModuleType, name: str) -> None:
    """Migrate, or say to an empty database what was said to another."""
    kind = (package.__name__, database.engine.dialect.name)
    with _lock:  # threads of a test may be several replicas
        if inspect(database.engine).get_table_names():
            migrate(database, package, name)
        elif kind in _known:
            with database.engine.begin() as connection, closing(connection.connection.cursor()) as cursor:
                for statement, parameters in _known[kind]:
                    cursor.execute(statement, parameters)
        else:
            with _recorded(database) as statements:
                migrate(database, package, name)
            _known[kind] = statements


@contextmanager
def _recorded(database: Database) -> Iterator[_Statements]:
    statements: _Statements = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement.lstrip().startswith(_CHANGES):
            statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", record)
