# SPDX-License-Identifier: Apache-2.0
"""Users, their passwords, and what they were granted: the changes, as functions.

    add_user(database, "alice", password, is_admin=False, now=now)
    grant(database, "alice", Place("library/app"), Level.READ_WRITE)

Who may make a change is decided before, by the API (`registry.accounts.api`); whoever runs a command on the machine
(`registry.accounts.commands`) may.  Bearer tokens that were given out before a change live on for their few minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from registry.accounts.changes import change, lock_user
from registry.accounts.models import LoginFailure, Namespace, Permission, RefreshToken, User
from registry.accounts.names import check_name
from registry.accounts.passwords import Passwords
from registry.accounts.policy import Level, Place
from trust.errors import ConflictError, SettingsError
from trust.names import RepositoryName
from trust.web.database import Database


@dataclass(frozen=True, slots=True)
class Listed:
    """A user as `list_users` shows it; `levels` are pairs of place and level."""

    name: str
    is_admin: bool
    levels: tuple[tuple[str, Level], ...]
    is_disabled: bool = False


def add_user(database: Database, name: str, password: str, *, is_admin: bool, now: datetime) -> None:
    """Add a user, and the namespace of the same name.

    Raises:
        InvalidError: the name or the password is malformed.
        ConflictError: a user, an organisation or a namespace with an owner is called so.
    """
    check_name(name, "user")
    user = User(name=name, password_hash=Passwords().hash(password), is_admin=is_admin, created=int(now.timestamp()))
    taken = f"there is a user or a namespace {name!r} already"
    with change(database, "user.add", name, taken=taken, administrator=is_admin) as session:
        session.add(user)
        session.flush()
        session.add(Namespace(name=name, user_id=user.id))


def set_password(database: Database, name: str, password: str) -> None:
    """Change a user's password, and revoke the refresh tokens that the old one brought; access tokens stay.

    Raises:
        InvalidError: the password is too short or too long.
        NotFoundError: there is no such user.
    """
    fresh = Passwords().hash(password)
    with change(database, "user.password", name) as session:
        user = lock_user(session, name)
        user.password_hash = fresh
        session.execute(delete(RefreshToken).where(RefreshToken.user_id == user.id))
        session.execute(delete(LoginFailure).where(LoginFailure.name == name))  # nobody waits for the new one


def set_standing(
    database: Database, name: str, *, is_disabled: bool | None = None, is_admin: bool | None = None
) -> None:
    """Say whether a user can log in at all, and whether they are an administrator; None leaves it as it is.

    Who is disabled keeps password, tokens and rights, and has the use of none of them until they are enabled again.

    Raises:
        NotFoundError: there is no such user.
    """
    said = {"disabled": is_disabled, "administrator": is_admin}
    told: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    with change(database, "user.change", name, **told) as session:
        user = lock_user(session, name)
        user.is_disabled = user.is_disabled if is_disabled is None else is_disabled
        user.is_admin = user.is_admin if is_admin is None else is_admin


def remove_user(database: Database, name: str) -> None:
    """Remove a user with all permissions, memberships and tokens; what the user pushed and signed stays.

    Raises:
        NotFoundError: there is no such user.
    """
    with change(database, "user.remove", name) as session:
        session.delete(lock_user(session, name))  # the rest goes by ON DELETE CASCADE


def list_users(database: Database, only: str | None = None) -> list[Listed]:
    """All users by name, or `only` one if they are there, with what they were granted."""
    with database.read() as session:
        found = select(User).order_by(User.name)
        granted = select(Permission).order_by(Permission.repository)
        if only is not None:
            found = found.where(User.name == only)
            granted = granted.join(User, User.id == Permission.user_id).where(User.name == only)
        users = session.scalars(found).all()
        levels: dict[int, list[tuple[str, Level]]] = {}
        for row in session.scalars(granted):
            levels.setdefault(row.user_id, []).append((row.repository, Level(row.level)))
        return [Listed(user.name, user.is_admin, tuple(levels.get(user.id, ())), user.is_disabled) for user in users]


def grant(database: Database, name: str, place: Place | RepositoryName, level: Level | None) -> None:
    """Set a user's level in a repository, which need not exist yet, or in a namespace; None takes it away.

    Raises:
        NotFoundError: there is no such user.
    """
    with change(database, "grant", place, user=name, level=level or "none") as session:
        # The lock on the user's row orders two grants at once.
        user = lock_user(session, name)
        session.execute(delete(Permission).where(Permission.user_id == user.id, Permission.repository == str(place)))
        if level is not None:
            session.add(Permission(user_id=user.id, repository=str(place), level=level.value))


def ensure_admin(database: Database, name: str, password_file: Path) -> None:
    """Create the administrator `name` with the password in the file, unless there is a user of that name.

    An existing user is left alone, password and all: the file counts only once.

    Raises:
        InvalidError: the name or the password is malformed.
        SettingsError: the file is needed and cannot be read.
    """
    with database.read() as session:
        if session.scalar(select(User.id).where(User.name == name)) is not None:
            return
    try:
        add_user(database, name, read_password(password_file), is_admin=True, now=datetime.now(UTC))
    except ConflictError:
        return  # another worker was first


def read_password(path: Path) -> str:
    """The password in a file, without the end of its line.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"cannot read the password file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the password file {path} is not text in UTF-8") from error
