# SPDX-License-Identifier: Apache-2.0
"""The wing's tables.

    users ──< permissions       what a user may do in a place that is not the user's own
          ──< refresh_tokens    what `docker login` keeps instead of the password; only the hash is here
          ──< access_tokens     what a machine logs in with instead of a password; only the hash is here
          ──< team_members >── teams ──< team_permissions
                               teams >── organisations
    namespaces                  which user or organisation owns the repositories below a first part of their names
    public_repositories         which repositories everybody may pull from
    login_failures              wrong passwords of late, by name and address

Users and organisations share one supply of names: each has the namespace of its own name from the beginning, and the
primary key of `namespaces` lets no other take it.  A permission's place (its column `repository`) is a
`policy.Place`: a repository, or a namespace with a slash at its end.

Times are seconds since 1970, because databases disagree about time zones.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from registry.base import Base
from registry.models import ascii_text


class User(Base):
    """Somebody who can log in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool]
    created: Mapped[int] = mapped_column(BigInteger)
    #: whether nothing logs this user in, neither a password nor a token
    is_disabled: Mapped[bool] = mapped_column(default=False, server_default=false())


class Permission(Base):
    """A user's level in one place; `level` is a `policy.Level`."""

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


class AccessToken(Base):
    """An access token that was given out; `hash` is the SHA-256 of it, in hex, and `scope` a `policy.Level`."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(ascii_text(64), unique=True)
    description: Mapped[str] = mapped_column(String(255))
    scope: Mapped[str] = mapped_column(ascii_text(16))
    created: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int | None] = mapped_column(BigInteger)
    last_used: Mapped[int | None] = mapped_column(BigInteger)


class Organisation(Base):
    """Several teams, and the namespaces that they share."""

    __tablename__ = "organisations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ascii_text(64), unique=True)
    created: Mapped[int] = mapped_column(BigInteger)


class Team(Base):
    """Users of one organisation who may do the same."""

    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(ascii_text(64))


class TeamMember(Base):
    """A user is in a team."""

    __tablename__ = "team_members"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class TeamPermission(Base):
    """A team's level in one place; `level` is a `policy.Level`."""

    __tablename__ = "team_permissions"
    __table_args__ = (UniqueConstraint("team_id", "repository"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"))
    repository: Mapped[str] = mapped_column(ascii_text(200), index=True)
    level: Mapped[str] = mapped_column(ascii_text(16))


class Namespace(Base):
    """A user or an organisation is admin of all repositories below `name`; just one of the two is there."""

    __tablename__ = "namespaces"

    name: Mapped[str] = mapped_column(ascii_text(200), primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    organisation_id: Mapped[int | None] = mapped_column(
        ForeignKey("organisations.id", ondelete="CASCADE"), index=True
    )


class PublicRepository(Base):
    """Everybody may pull from this repository, which need not exist yet."""

    __tablename__ = "public_repositories"

    repository: Mapped[str] = mapped_column(ascii_text(200), primary_key=True)
