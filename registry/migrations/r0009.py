# SPDX-License-Identifier: Apache-2.0
"""What the admins of a place add to its policy, and users who may not log in."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, false
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0009"
down_revision = "0008"


def upgrade(op: Operations) -> None:
    """Make the table of additions, empty, and let all users log in as before."""
    metadata = MetaData()
    Table(
        "trust_policy_additions",
        metadata,
        Column("repository", _ascii(200), primary_key=True),
        Column("mode", _ascii(16)),
        Column("roles", String(4096)),
        Column("pins", String(1040)),
        Column("required", _ascii(8)),
        Column("grace_days", Integer),
        Column("immutable", String(2064)),
    )
    Table(
        "users",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("is_disabled", Boolean, nullable=False, server_default=false()),
    )
    add_missing(op, metadata)


def _ascii(length: int) -> TypeEngine[str]:
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )
