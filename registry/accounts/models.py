# SPDX-License-Identifier: Apache-2.0
"""The wing's tables.

    users ──< permissions       what a user may do in a repository outside of the own namespace
          ──< refresh_tokens    what `docker login` keeps instead of the password; only the hash is here
    login_failures              wrong passwords of late, by name and address

Times are seconds since 1970, because databases disagree about time zones.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.base import Base


class User(Base):
    """Somebody who can log in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool]
    created: Mapped[int] = mapped_column(BigInteger)


class Permission(Base):
    """A user's level in one repository; `level` is a `policy.Level`."""

    __tablename__ = "permissions"
    __table_args__ = (UniqueConstraint("user_id", "repository"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    repository: Mapped[str] = mapped_column(String(200))
    level: Mapped[str] = mapped_column(String(16))


class RefreshToken(Base):
    """A refresh token that was given out; `hash` is the SHA-256 of it, in hex."""

    __tablename__ = "refresh_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    service: Mapped[str] = mapped_column(String(255))
    created: Mapped[int] = mapped_column(BigInteger)
    last_used: Mapped[int] = mapped_column(BigInteger, index=True)


class LoginFailure(Base):
    """How many wrong passwords came for `name` from `address` since `since`."""

    __tablename__ = "login_failures"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    since: Mapped[int] = mapped_column(BigInteger, index=True)
