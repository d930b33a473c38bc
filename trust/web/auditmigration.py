# SPDX-License-Identifier: Apache-2.0
"""The tables of the audit trail as each service's revision 0002 makes them; it says how they were then, for ever."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, insert, select
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing


def add_audit(op: Operations, prefix: str) -> None:
    """Make the tables `<prefix>_audit` and `<prefix>_audit_head`, and the one row of the latter."""
    metadata = MetaData()
    Table(
        f"{prefix}_audit",
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("time", _exact(27), nullable=False),
        Column("service", _exact(32), nullable=False),
        Column("actor", _exact(255), nullable=False),
        Column("address", _exact(64), nullable=False),
        Column("request_id", _exact(64), nullable=False),
        Column("action", _exact(32), nullable=False),
        Column("name", _exact(255), nullable=False, index=True),
        Column("role", _exact(255), nullable=False),
        Column("version", Integer),
        Column("sha256", _exact(64), nullable=False),
        Column("outcome", _exact(16), nullable=False),
        Column("detail", Text().with_variant(mysql.TEXT(charset="utf8mb4"), "mysql", "mariadb"), nullable=False),
        Column("previous", _exact(64), nullable=False),
        Column("hash", _exact(64), nullable=False),
    )
    head = Table(
        f"{prefix}_audit_head",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("seq", BigInteger, nullable=False),
        Column("hash", _exact(64), nullable=False),
    )
    add_missing(op, metadata)
    connection = op.get_bind()
    if connection.execute(select(head.c.id)).first() is None:
        connection.execute(insert(head).values(id=1, seq=0, hash="0" * 64))


def _exact(length: int) -> TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")
