# SPDX-License-Identifier: Apache-2.0
"""What the garbage collector remembers of blobs and of their links to repositories."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, DateTime, inspect
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    """Add the columns."""
    moment = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    inspector = inspect(op.get_bind())
    for table, name in (("blobs", "touched"), ("repository_blobs", "unused")):
        if name not in {column["name"] for column in inspector.get_columns(table)}:
            op.add_column(table, Column(name, moment))
