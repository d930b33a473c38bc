# SPDX-License-Identifier: Apache-2.0
"""The table of keys, as the Go signer has it (NOTARY_V1 §4.2), so that its database can be taken over.

The other two are the audit trail's (`trust.web.audit`).  Times are UTC without a zone, as Go's are.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from trust.web.audit import Trail


class Base(DeclarativeBase):
    """The signer's tables."""


TRAIL = Trail("troth-signer", Base.metadata)


def _name() -> TypeEngine[str]:
    # Compared byte for byte in every database.
    exact = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    return String(255).with_variant(exact, "mysql", "mariadb")


class SealedKey(Base):
    """A private key, sealed under the passphrase of an alias."""

    __tablename__ = "private_keys"
    __table_args__ = (
        UniqueConstraint("key_id", "algorithm"),
        # Not the Go signer's: it reads the whole table instead.
        Index("ix_private_keys_gun_role", "gun", "role"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    key_id: Mapped[str] = mapped_column(String(255), unique=True)
    encryption_alg: Mapped[str] = mapped_column(String(255))
    keywrap_alg: Mapped[str] = mapped_column(String(255))
    algorithm: Mapped[str] = mapped_column(String(50))
    passphrase_alias: Mapped[str] = mapped_column(String(50))
    public: Mapped[bytes] = mapped_column(LargeBinary)
    private: Mapped[bytes] = mapped_column(LargeBinary)
    gun: Mapped[str] = mapped_column(_name())
    role: Mapped[str] = mapped_column(_name())
    last_used: Mapped[datetime | None]
