# SPDX-License-Identifier: Apache-2.0
"""Leases, jobs with their schedules, and the mark of manifests that nothing needs."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0007"
down_revision = "0006"


def upgrade(op: Operations) -> None:
    """Make the tables; no manifest is marked yet."""
    metadata = MetaData()
    Table("manifests", metadata, Column("unused", _moment()))
    Table(
        "leases",
        metadata,
        Column("name", _ascii(64), primary_key=True),
        Column("holder", _ascii(64)),
        Column("until", _moment(), nullable=False),
    )
    Table(
        "job_schedules",
        metadata,
        Column("kind", _ascii(16), primary_key=True),
        Column("cron", _ascii(128), nullable=False),
        Column("options", _bytes(), nullable=False),
        Column("enabled", Boolean, nullable=False),
        Column("due", _moment()),
    )
    Table(
        "job_runs",
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
        Column("kind", _ascii(16), nullable=False),
        Column("options", _bytes(), nullable=False),
        Column("actor", String(255), nullable=False),
        Column("state", _ascii(16), nullable=False),
        Column("is_unwanted", Boolean, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("created", _moment(), nullable=False),
        Column("started", _moment()),
        Column("ended", _moment()),
        Column("report", _bytes()),
        Column("log", _bytes(), nullable=False),
        Index("ix_job_runs_kind", "kind", "id"),
        Index("ix_job_runs_state", "state", "kind"),
    )
    add_missing(op, metadata)


def _ascii(length: int) -> TypeEngine[str]:
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


def _moment() -> DateTime:
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _bytes() -> LargeBinary:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
