# SPDX-License-Identifier: Apache-2.0
"""Since when a webhook fails, and since when and why it is switched off."""

from __future__ import annotations

from datetime import datetime

from alembic.operations import Operations
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0010"
down_revision = "0009"


def upgrade(op: Operations) -> None:
    """Add the columns, empty: what fails now is counted from its next failure on."""
    metadata = MetaData()
    Table(
        "webhooks",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("failing_since", _moment()),
        Column("disabled", _moment()),
        Column("disabled_reason", String(255)),
    )
    add_missing(op, metadata)


def _moment() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
