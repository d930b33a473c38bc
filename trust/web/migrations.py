# SPDX-License-Identifier: Apache-2.0
"""Bring a service's tables to where its code wants them.

    from server import migrations

    upgrade(database, migrations)          # before the first worker starts

Each service has a package `migrations` with one file a revision, and a version table of its own, so that services
may share one database.  A revision is given its operations, so nothing here is global:

    revision, down_revision = "0002", "0001"

    def upgrade(op: Operations) -> None:
        op.add_column("tuf_files", Column("size", Integer))

The rules:
* of several replicas that start at once, one migrates and the others wait: PostgreSQL and MariaDB are asked for a
  named lock, SQLite for its write lock;
* a service that is up to date asks for no lock and needs no right to change tables; nor does it load Alembic, which
  would be a good part of its start;
* revisions follow each other in one line, and their files in the same order: `r0001.py`, `r0002.py`, …;
* a database that is newer than the code is refused, never guessed at;
* MariaDB commits after every change of a table, so a revision that was cut off is run again from its beginning there:
  each must pass over what is done already.  The first does so anyway, because it adopts: see `add_missing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Inspector, MetaData, Table, UniqueConstraint, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeEngine

from trust.errors import SettingsError, UnavailableError
from trust.web.database import Database, cause

if TYPE_CHECKING:
    from alembic.operations import Operations

#: Seconds that a replica waits for another's migration on MariaDB; the other databases have settings of their own.
_PATIENCE = 600


def upgrade(database: Database, package: ModuleType) -> None:
    """Run the revisions that are missing.

    Args:
        database: what to bring up to date.
        package: the service's package `migrations`.

    Raises:
        SettingsError: the database is newer than the code, or has a table that cannot be adopted.
        UnavailableError: the database cannot be reached or written.
    """
    name, newest = version_table(package), _newest(package)
    try:
        with database.engine.connect().execution_options(troth_write=False) as connection:
            if _current(connection, name) == [newest]:
                return
        _migrate(database, package, name)
    except SQLAlchemyError as error:
        raise UnavailableError(f"the database cannot be used: {cause(error)}") from error


def version_table(package: ModuleType) -> str:
    """The name of the table that says which revision the tables of this service have."""
    return f"troth_{package.__name__.partition('.')[0]}_version"


def add_missing(op: Operations, metadata: MetaData) -> None:
    """Create the tables of `metadata`, or adopt those that are there and give them what they lack.

    Tables that an earlier version made without revisions, or the original Go programs, keep their rows, their types
    and whatever else they have.  Only where a name must be compared byte for byte, and the original's MySQL tables
    take `App` and `app` for the same, the column's collation is changed.

    Raises:
        SettingsError: a table lacks a column that its rows must have a value for.
    """
    inspector = inspect(op.get_bind())
    there = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there:
            _complete(op, inspector, table)
        else:
            table.create(op.get_bind())


def _complete(op: Operations, inspector: Inspector, table: Table) -> None:
    """Give a table that is there the columns, unique constraints and indexes that it lacks."""
    found = {column["name"]: column["type"] for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name in found:
            _make_exact(op, column, found[column.name])
        elif column.nullable or column.server_default is not None:
            added = Column(column.name, column.type, nullable=column.nullable, server_default=column.server_default)
            op.add_column(table.name, added)
        else:
            raise SettingsError(f"the database has a table {table.name}, but without the column {column.name}")
    indexes = inspector.get_indexes(table.name)
    unique: list[Sequence[str | None]] = [
        each["column_names"] for each in inspector.get_unique_constraints(table.name)
    ]
    unique += [each["column_names"] for each in indexes if each["unique"]]
    indexed = [each["column_names"] for each in indexes] + unique
    for constraint in table.constraints:
        # As an index: SQLite can add no constraint.
        if isinstance(constraint, UniqueConstraint) and (columns := constraint.columns.keys()) not in unique:
            op.create_index(f"uq_{table.name}_{'_'.join(columns)}", table.name, columns, unique=True)
    for index in table.indexes:
        if (columns := index.columns.keys()) not in indexed:
            op.create_index(index.name, table.name, columns)


def _make_exact(op: Operations, column: Column[Any], found: TypeEngine[Any]) -> None:
    dialect = op.get_bind().dialect
    wanted = getattr(column.type.dialect_impl(dialect), "collation", None)
    if dialect.name in ("mysql", "mariadb") and wanted and wanted != getattr(found, "collation", None):
        op.alter_column(column.table.name, column.name, type_=column.type, existing_nullable=column.nullable)


def _newest(package: ModuleType) -> str:
    return max(path.stem for path in Path(package.__path__[0]).glob("r[0-9]*.py")).removeprefix("r")


def _current(connection: Connection, name: str) -> list[str]:
    if not inspect(connection).has_table(name):
        return []
    return list(connection.scalars(text(f"SELECT version_num FROM {name}")))  # noqa: S608  # a name of ours


def _migrate(database: Database, package: ModuleType, name: str) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError
    from alembic.util.exc import CommandError

    script = ScriptDirectory(package.__path__[0], version_locations=[package.__path__[0]])
    # As Alembic's own command does it; it has no public name for that.
    steps = {"version_table": name, "fn": lambda revision, _context: script._upgrade_revs("head", revision)}
    try:
        with database.engine.connect() as connection:
            connection.begin()
            with _alone(connection, name):
                context = MigrationContext.configure(connection, opts=steps)
                context.run_migrations(op=Operations(context))
                connection.commit()  # before others are let in
    except (CommandError, RevisionError) as error:
        raise SettingsError(
            f"the database is newer than this program, which knows its tables up to revision "
            f"{script.get_current_head()}; use the version that was used before, or a later one"
        ) from error


@contextmanager
def _alone(connection: Connection, name: str) -> Iterator[None]:
    """Keep other replicas out while this migrates; on SQLite, whose transaction took the write lock, it does."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
        yield
    elif connection.dialect.name in ("mysql", "mariadb"):
        # Such a name counts in the whole server, and such a lock belongs to the session, not to the transaction.
        lock = {"name": name, "patience": _PATIENCE}
        if connection.scalar(text("SELECT GET_LOCK(CONCAT(:name, MD5(DATABASE())), :patience)"), lock) != 1:
            raise UnavailableError("another process is changing the database's tables and does not come to an end")
        try:
            yield
        finally:
            connection.rollback()
            connection.execute(text("DO RELEASE_LOCK(CONCAT(:name, MD5(DATABASE())))"), lock)
    else:
        yield
