# SPDX-License-Identifier: Apache-2.0
"""Policies that say how many roles must sign, for how long expired data is believed, and which tags stay."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, Integer, MetaData, String, Table
from sqlalchemy.dialects import mysql, postgresql

from trust.web.migrations import add_missing

revision = "0005"
down_revision = "0003"


def upgrade(op: Operations) -> None:
    """Give the policies their new columns; none is set, so every policy stays what it was."""
    metadata = MetaData()
    Table(
        "trust_policies",
        metadata,
        Column(
            "required",
            String(8)
            .with_variant(mysql.VARCHAR(8, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
            .with_variant(postgresql.VARCHAR(8, collation="C"), "postgresql"),
        ),
        Column("grace_days", Integer),
        Column("immutable", String(2064)),
    )
    add_missing(op, metadata)  # a revision that was cut off on MariaDB begins anew
