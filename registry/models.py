# SPDX-License-Identifier: Apache-2.0
"""The registry's tables.

    repositories ─┬─ repository_blobs ── blobs      which repository may serve which content
                  ├─ manifests ── manifest_edges    what a manifest names: config, layers, manifests, subject
                  ├─ tags                           name -> manifest
                  ├─ tag_history                    who moved which tag, when, from and to what
                  └─ uploads                        what is on its way in
    registry_audit                                  who did what (`trust.web.audit`)

Content is filed under its sha256; its sha512 is known beside it once a client has used it, and every digest that a
client sees is in the algorithm that this client used (REGISTRY_API §2).  Races are decided by the constraints here.

Names, tags and digests are compared byte for byte and sorted as ASCII in every database, so their columns say so.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from registry.base import Base
from trust.web.audit import Trail

#: "sha512:" and 128 hex digits
DIGEST_LENGTH = 135

TRAIL = Trail("troth-registry", Base.metadata)


def ascii_text(length: int) -> TypeEngine[str]:
    """A column of ASCII text that no database folds, pads or sorts by a language's rules.

    On MariaDB it can hold more: a column of ASCII alone cannot be compared with what somebody asks for in vain.
    """
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


class Moment(TypeDecorator[datetime]):
    """A point in time: aware and in UTC in Python, without a zone and to the microsecond in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """The column's type in `dialect`."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What is sent to the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What comes back from it."""
        return None if value is None else value.replace(tzinfo=UTC)


def bytes_of_any_length() -> TypeEngine[bytes]:
    """A column of bytes; MySQL's own choice would end at 64 KiB."""
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _number() -> TypeEngine[int]:
    # SQLite counts up only in a column that is exactly INTEGER.
    return BigInteger().with_variant(Integer(), "sqlite")


class RepositoryRow(Base):
    """A repository; it comes into being with its first upload or manifest."""

    __tablename__ = "repositories"

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    name: Mapped[str] = mapped_column(ascii_text(200), unique=True)


class BlobRow(Base):
    """Content in the storage."""

    __tablename__ = "blobs"

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    sha256: Mapped[str] = mapped_column(ascii_text(64), unique=True)
    sha512: Mapped[str | None] = mapped_column(ascii_text(128), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[datetime] = mapped_column(Moment)
    #: when somebody last brought it or was about to: the garbage collector keeps away for a while
    touched: Mapped[datetime | None] = mapped_column(Moment)


class RepositoryBlobRow(Base):
    """A repository holds a blob; `unused` is since when the garbage collector found no manifest that names it."""

    __tablename__ = "repository_blobs"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"), primary_key=True, index=True)
    unused: Mapped[datetime | None] = mapped_column(Moment)


class ManifestRow(Base):
    """A manifest, with its bytes as they came."""

    __tablename__ = "manifests"
    __table_args__ = (
        UniqueConstraint("repository_id", "sha256"),
        Index("ix_manifests_sha512", "repository_id", "sha512"),
        Index("ix_manifests_subject", "repository_id", "subject"),
    )

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    digest: Mapped[str] = mapped_column(ascii_text(DIGEST_LENGTH))
    sha256: Mapped[str] = mapped_column(ascii_text(64))
    sha512: Mapped[str] = mapped_column(ascii_text(128))
    media_type: Mapped[str] = mapped_column(ascii_text(255))
    artifact_type: Mapped[str | None] = mapped_column(ascii_text(255))
    subject: Mapped[str | None] = mapped_column(ascii_text(DIGEST_LENGTH))
    size: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[datetime] = mapped_column(Moment)
    data: Mapped[bytes] = mapped_column(bytes_of_any_length(), deferred=True)
    #: since when the garbage collector has found nothing that needs it
    unused: Mapped[datetime | None] = mapped_column(Moment)


class ManifestEdgeRow(Base):
    """A manifest names a child; whether the repository holds that child is another question."""

    __tablename__ = "manifest_edges"
    __table_args__ = (Index("ix_manifest_edges_child", "repository_id", "child"),)

    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(ascii_text(8), primary_key=True)
    child: Mapped[str] = mapped_column(ascii_text(DIGEST_LENGTH), primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))


class TagRow(Base):
    """A tag and the manifest that it names, by the digest that the tag's pusher used."""

    __tablename__ = "tags"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    name: Mapped[str] = mapped_column(ascii_text(128), primary_key=True)
    manifest_id: Mapped[int] = mapped_column(ForeignKey("manifests.id"), index=True)
    digest: Mapped[str] = mapped_column(ascii_text(DIGEST_LENGTH))
    updated: Mapped[datetime] = mapped_column(Moment)


class TagHistoryRow(Base):
    """One move of a tag; `before` is empty when it was made, `after` when it was deleted."""

    __tablename__ = "tag_history"
    __table_args__ = (Index("ix_tag_history_tag", "repository_id", "name"),)

    id: Mapped[int] = mapped_column(_number(), primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    name: Mapped[str] = mapped_column(ascii_text(128))
    moved: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(255))
    before: Mapped[str | None] = mapped_column(ascii_text(DIGEST_LENGTH))
    after: Mapped[str | None] = mapped_column(ascii_text(DIGEST_LENGTH))


class UploadRow(Base):
    """Content on its way in.

    `writer` and `claimed` say which request is writing, and since when it was last heard of.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(ascii_text(36), primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    offset: Mapped[int] = mapped_column(BigInteger)
    algorithm: Mapped[str] = mapped_column(ascii_text(8))
    owner: Mapped[str] = mapped_column(String(255))
    created: Mapped[datetime] = mapped_column(Moment)
    touched: Mapped[datetime] = mapped_column(Moment, index=True)
    writer: Mapped[str | None] = mapped_column(ascii_text(32))
    claimed: Mapped[datetime | None] = mapped_column(Moment)
