# SPDX-License-Identifier: Apache-2.0
"""The notary server's tables, as the reference has them (NOTARY_V1 §3.4), so that its data can be taken over.

    tuf_files         every version of every file, for ever; UNIQUE (gun, role, version) decides who was first
    changefeed        one row a timestamp that was written, one a collection that was deleted
    change_category   the two words for that
    server_audit      who did what (`trust.web.audit`)

`data` is what was uploaded or made, byte for byte, and `sha256` is over it.  A GUN is compared byte for byte in every
database, so its column says so where the database's default is otherwise.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CHAR,
    BigInteger,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from trust.web.audit import Trail

UPDATE = "update"
DELETION = "deletion"


class Base(DeclarativeBase):
    """The notary server's own metadata."""


TRAIL = Trail("troth-server", Base.metadata)


def _number() -> TypeEngine[int]:
    # SQLite counts up only in a column that is exactly INTEGER.
    return BigInteger().with_variant(Integer(), "sqlite")


def _name() -> TypeEngine[str]:
    exact = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    return String(255).with_variant(exact, "mysql", "mariadb")


def _moment() -> TypeEngine[datetime]:
    # Without a zone, as the reference has it; it is always UTC.
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


class TufFileRow(Base):
    """One version of one file."""

    __tablename__ = "tuf_files"
    __table_args__ = (UniqueConstraint("gun", "role", "version"),)

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    created_at: Mapped[datetime | None] = mapped_column(_moment())
    updated_at: Mapped[datetime | None] = mapped_column(_moment())
    #: always NULL: a deletion is for good
    deleted_at: Mapped[datetime | None] = mapped_column(_moment())
    gun: Mapped[str] = mapped_column(_name())
    role: Mapped[str] = mapped_column(_name())
    version: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"))
    sha256: Mapped[str | None] = mapped_column(CHAR(64), index=True)


class ChangeCategoryRow(Base):
    """A kind of change."""

    __tablename__ = "change_category"

    category: Mapped[str] = mapped_column(String(20), primary_key=True)


class ChangeRow(Base):
    """One change of a collection."""

    __tablename__ = "changefeed"

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    created_at: Mapped[datetime | None] = mapped_column(_moment())
    gun: Mapped[str] = mapped_column(_name(), index=True)
    version: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(CHAR(64))
    category: Mapped[str] = mapped_column(String(20), ForeignKey("change_category.category"), server_default=UPDATE)
