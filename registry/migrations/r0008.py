# SPDX-License-Identifier: Apache-2.0
"""Webhooks, and what each of them is to be told."""

from __future__ import annotations

from datetime import datetime

from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0008"
down_revision = "0007"


def upgrade(op: Operations) -> None:
    """Make the tables."""
    metadata = MetaData()
    Table(
        "webhooks",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("place", _ascii(200), nullable=False, index=True),
        Column("url", String(2000), nullable=False),
        Column("secret", _ascii(128), nullable=False),
        Column("kinds", String(255), nullable=False),
        Column("enabled", Boolean, nullable=False),
        Column("trusted", Boolean, nullable=False),
        Column("created", _moment(), nullable=False),
        Column("creator", String(255), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("due", _moment()),
        Column("claim", _ascii(32)),
        Column("claimed", _moment()),
    )
    Table(
        "webhook_deliveries",
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
        Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("event_id", _ascii(36), nullable=False),
        Column("kind", _ascii(32), nullable=False),
        Column("event", Text, nullable=False),
        Column("created", _moment(), nullable=False, index=True),
        Column("state", _ascii(16), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("attempted", _moment()),
        Column("status", Integer),
        Column("error", String(255)),
        UniqueConstraint("webhook_id", "sequence"),
        Index("ix_webhook_deliveries_state", "webhook_id", "state", "sequence"),
    )
    add_missing(op, metadata)


def _ascii(length: int) -> TypeEngine[str]:
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


def _moment() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
