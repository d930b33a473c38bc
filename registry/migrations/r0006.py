# SPDX-License-Identifier: Apache-2.0
"""Organisations, teams, namespaces, public repositories, and access tokens."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0006"
down_revision = "0005"


def upgrade(op: Operations) -> None:
    """Make the tables, and give each user the namespace of the own name."""
    metadata = MetaData()
    Table("users", metadata, Column("id", Integer, primary_key=True))  # there already; to refer to
    _organisations(metadata)
    _rights(metadata)
    add_missing(op, metadata)
    op.execute(
        "INSERT INTO namespaces (name, user_id) SELECT name, id FROM users "
        "WHERE NOT EXISTS (SELECT 1 FROM namespaces WHERE user_id = users.id)"
    )


def _organisations(metadata: MetaData) -> None:
    Table(
        "organisations",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", _ascii(64), nullable=False, unique=True),
        Column("created", BigInteger, nullable=False),
    )
    Table(
        "teams",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("organisation_id", _cascade("organisations"), nullable=False),
        Column("name", _ascii(64), nullable=False),
        UniqueConstraint("organisation_id", "name"),
    )
    Table(
        "team_members",
        metadata,
        Column("team_id", _cascade("teams"), primary_key=True),
        Column("user_id", _cascade("users"), primary_key=True, index=True),
    )
    Table(
        "team_permissions",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("team_id", _cascade("teams"), nullable=False),
        Column("repository", _ascii(200), nullable=False, index=True),
        Column("level", _ascii(16), nullable=False),
        UniqueConstraint("team_id", "repository"),
    )


def _rights(metadata: MetaData) -> None:
    Table(
        "namespaces",
        metadata,
        Column("name", _ascii(200), primary_key=True),
        Column("user_id", _cascade("users"), index=True),
        Column("organisation_id", _cascade("organisations"), index=True),
    )
    Table("public_repositories", metadata, Column("repository", _ascii(200), primary_key=True))
    Table(
        "access_tokens",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("user_id", _cascade("users"), nullable=False, index=True),
        Column("hash", _ascii(64), nullable=False, unique=True),
        Column("description", String(255), nullable=False),
        Column("scope", _ascii(16), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger),
        Column("last_used", BigInteger),
    )


def _cascade(table: str) -> ForeignKey:
    return ForeignKey(f"{table}.id", ondelete="CASCADE")


def _ascii(length: int) -> TypeEngine[str]:
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )
