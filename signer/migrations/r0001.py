# SPDX-License-Identifier: Apache-2.0
"""The Go signer's table (NOTARY_V1 §4.2); where it made it itself, it is adopted."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, DateTime, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0001"
down_revision = None


def upgrade(op: Operations) -> None:
    """Make or adopt the table."""
    add_missing(op, _tables())


def _tables() -> MetaData:
    metadata = MetaData()
    Table(
        "private_keys",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("created_at", DateTime, nullable=False),
        Column("updated_at", DateTime, nullable=False),
        Column("deleted_at", DateTime),
        Column("key_id", String(255), nullable=False, unique=True),
        Column("encryption_alg", String(255), nullable=False),
        Column("keywrap_alg", String(255), nullable=False),
        Column("algorithm", String(50), nullable=False),
        Column("passphrase_alias", String(50), nullable=False),
        Column("public", LargeBinary, nullable=False),
        Column("private", LargeBinary, nullable=False),
        Column("gun", _name(), nullable=False),
        Column("role", _name(), nullable=False),
        Column("last_used", DateTime),
        UniqueConstraint("key_id", "algorithm"),
        Index("ix_private_keys_gun_role", "gun", "role"),
    )
    return metadata


def _name() -> TypeEngine[str]:
    exact = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    return String(255).with_variant(exact, "mysql", "mariadb")
