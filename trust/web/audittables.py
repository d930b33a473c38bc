# SPDX-License-Identifier: Apache-2.0
"""The tables of an audit trail, as they are today; `trust.web.auditmigration` says how they were in the beginning.

<prefix>_audit        the records; the columns are the fields of `trust.web.audit.Record`
<prefix>_audit_head   one row: number and hash of the last record; locked by whoever adds one
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

#: Characters in the longest names.
MAX_TEXT = 255


def tables(prefix: str, metadata: MetaData) -> tuple[Table, Table]:
    """The table of the records, and the table with one row that says where the chain ends.

    Args:
        prefix: what their names begin with.
        metadata: gets them.
    """
    records = Table(
        f"{prefix}_audit",
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("time", _exact(27), nullable=False),
        Column("service", _exact(32), nullable=False),
        Column("actor", _exact(MAX_TEXT), nullable=False),
        Column("address", _exact(64), nullable=False),
        Column("request_id", _exact(64), nullable=False),
        Column("action", _exact(32), nullable=False),
        Column("name", _exact(MAX_TEXT), nullable=False, index=True),
        Column("role", _exact(MAX_TEXT), nullable=False),
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
    return records, head


def _exact(length: int) -> TypeEngine[str]:
    """A column of text that is compared byte for byte in every database."""
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")
