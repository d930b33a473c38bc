# SPDX-License-Identifier: Apache-2.0
"""The tables of the reference (NOTARY_V1 §3.4); where it made them itself, they are adopted."""

from __future__ import annotations

from datetime import datetime

from alembic.operations import Operations
from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0001"
down_revision = None


def upgrade(op: Operations) -> None:
    """Make or adopt the tables."""
    add_missing(op, _tables())


def _tables() -> MetaData:
    metadata = MetaData()
    Table(
        "tuf_files",
        metadata,
        Column("id", _number(), primary_key=True),
        Column("created_at", _moment()),
        Column("updated_at", _moment()),
        Column("deleted_at", _moment()),
        Column("gun", _name(), nullable=False),
        Column("role", _name(), nullable=False),
        Column("version", Integer, nullable=False),
        Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
        Column("sha256", CHAR(64), index=True),
        UniqueConstraint("gun", "role", "version"),
    )
    Table("change_category", metadata, Column("category", String(20), primary_key=True))
    Table(
        "changefeed",
        metadata,
        Column("id", _number(), primary_key=True),
        Column("created_at", _moment()),
        Column("gun", _name(), nullable=False, index=True),
        Column("version", Integer, nullable=False),
        Column("sha256", CHAR(64)),
        Column(
            "category", String(20), ForeignKey("change_category.category"), nullable=False, server_default="update"
        ),
    )
    return metadata


def _number() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


def _name() -> TypeEngine[str]:
    exact = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    return String(255).with_variant(exact, "mysql", "mariadb")


def _moment() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
