# SPDX-License-Identifier: Apache-2.0
"""The registry's first tables: content, accounts, and what it believes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from trust.web.migrations import add_missing

revision = "0001"
down_revision = None

_DIGEST = 135  # "sha512:" and 128 hex digits


def upgrade(op: Operations) -> None:
    """Make the tables."""
    metadata = MetaData()
    _content(metadata)
    _accounts(metadata)
    _trust(metadata)
    add_missing(op, metadata)


def _content(metadata: MetaData) -> None:
    Table(
        "repositories",
        metadata,
        Column("id", _number(), primary_key=True),
        Column("name", _ascii(200), nullable=False, unique=True),
    )
    Table(
        "blobs",
        metadata,
        Column("id", _number(), primary_key=True),
        Column("sha256", _ascii(64), nullable=False, unique=True),
        Column("sha512", _ascii(128), index=True),
        Column("size", BigInteger, nullable=False),
        Column("created", _moment(), nullable=False),
    )
    Table(
        "repository_blobs",
        metadata,
        _repository(primary_key=True),
        Column("blob_id", ForeignKey("blobs.id"), primary_key=True, index=True),
    )
    Table(
        "manifests",
        metadata,
        Column("id", _number(), primary_key=True),
        _repository(),
        Column("digest", _ascii(_DIGEST), nullable=False),
        Column("sha256", _ascii(64), nullable=False),
        Column("sha512", _ascii(128), nullable=False),
        Column("media_type", _ascii(255), nullable=False),
        Column("artifact_type", _ascii(255)),
        Column("subject", _ascii(_DIGEST)),
        Column("size", BigInteger, nullable=False),
        Column("created", _moment(), nullable=False),
        Column("data", _bytes(), nullable=False),
        UniqueConstraint("repository_id", "sha256"),
        Index("ix_manifests_sha512", "repository_id", "sha512"),
        Index("ix_manifests_subject", "repository_id", "subject"),
    )
    Table(
        "manifest_edges",
        metadata,
        Column("manifest_id", ForeignKey("manifests.id"), primary_key=True),
        Column("kind", _ascii(8), primary_key=True),
        Column("child", _ascii(_DIGEST), primary_key=True),
        _repository(),
        Index("ix_manifest_edges_child", "repository_id", "child"),
    )
    Table(
        "tags",
        metadata,
        _repository(primary_key=True),
        Column("name", _ascii(128), primary_key=True),
        Column("manifest_id", ForeignKey("manifests.id"), nullable=False, index=True),
        Column("digest", _ascii(_DIGEST), nullable=False),
        Column("updated", _moment(), nullable=False),
    )
    Table(
        "tag_history",
        metadata,
        Column("id", _number(), primary_key=True),
        _repository(),
        Column("name", _ascii(128), nullable=False),
        Column("moved", _moment(), nullable=False),
        Column("actor", String(255), nullable=False),
        Column("before", _ascii(_DIGEST)),
        Column("after", _ascii(_DIGEST)),
        Index("ix_tag_history_tag", "repository_id", "name"),
    )
    Table(
        "uploads",
        metadata,
        Column("id", _ascii(36), primary_key=True),
        _repository(index=True),
        Column("offset", BigInteger, nullable=False),
        Column("algorithm", _ascii(8), nullable=False),
        Column("owner", String(255), nullable=False),
        Column("created", _moment(), nullable=False),
        Column("touched", _moment(), nullable=False, index=True),
        Column("writer", _ascii(32)),
        Column("claimed", _moment()),
    )


def _accounts(metadata: MetaData) -> None:
    Table(
        "users",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(64), nullable=False, unique=True),
        Column("password_hash", String(255), nullable=False),
        Column("is_admin", Boolean, nullable=False),
        Column("created", BigInteger, nullable=False),
    )
    Table(
        "permissions",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        Column("repository", String(200), nullable=False),
        Column("level", String(16), nullable=False),
        UniqueConstraint("user_id", "repository"),
    )
    Table(
        "refresh_tokens",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("hash", String(64), nullable=False, unique=True),
        Column("service", String(255), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("last_used", BigInteger, nullable=False, index=True),
    )
    Table(
        "login_failures",
        metadata,
        Column("name", String(64), primary_key=True),
        Column("address", String(64), primary_key=True),
        Column("failures", Integer, nullable=False),
        Column("since", BigInteger, nullable=False, index=True),
    )


def _trust(metadata: MetaData) -> None:
    Table(
        "trust_files",
        metadata,
        Column("gun", _ascii(255), primary_key=True),
        Column("role", _ascii(255), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("data", _bytes(), nullable=False),
    )
    Table(
        "trust_policies",
        metadata,
        Column("repository", _ascii(200), primary_key=True),
        Column("mode", _ascii(16)),
        Column("roles", String(4096)),
        Column("pins", String(1040)),
    )


def _repository(**options: Any) -> Column[int]:
    return Column("repository_id", ForeignKey("repositories.id"), **({"nullable": False} | options))


def _number() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


def _ascii(length: int) -> TypeEngine[str]:
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


def _bytes() -> TypeEngine[bytes]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _moment() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
