# SPDX-License-Identifier: Apache-2.0
"""What an operator does with accounts, as functions and as commands of `troth-registry`.

    troth-registry user add NAME [--admin] [--password-file FILE]
    troth-registry user password NAME [--password-file FILE]
    troth-registry user remove NAME
    troth-registry user list
    troth-registry grant NAME REPOSITORY read|read-write|admin|none

A password comes from a file, from a prompt, or from standard input, and never from the command line, which other
users of the machine can see.  Tokens that were given out before a change live on for their few minutes.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.accounts.logins import USER_NAME
from registry.accounts.models import LoginFailure, Permission, RefreshToken, User
from registry.accounts.passwords import Passwords
from registry.accounts.policy import Level
from registry.models import TRAIL
from trust.errors import ConflictError, InvalidError, NotFoundError, SettingsError
from trust.names import RepositoryName
from trust.web.audit import Deed
from trust.web.caller import caller
from trust.web.database import Database
from trust.web.refusals import Refusals

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Database, argparse.Namespace], int]


@dataclass(frozen=True, slots=True)
class Listed:
    """A user as `list_users` shows it; `levels` are pairs of repository and level."""

    name: str
    is_admin: bool
    levels: tuple[tuple[str, Level], ...]


def add_user(database: Database, name: str, password: str, *, is_admin: bool, now: datetime) -> None:
    """Add a user.

    Raises:
        InvalidError: the name or the password is malformed.
        ConflictError: the name is taken.
    """
    if not USER_NAME.fullmatch(name):
        raise InvalidError("a user name has 1 to 64 lower-case letters, digits and single dots, dashes, underscores")
    user = User(name=name, password_hash=Passwords().hash(password), is_admin=is_admin, created=int(now.timestamp()))
    deed = Deed(action="user.add", name=name, detail={"administrator": is_admin})
    with Refusals(TRAIL, database).noted(deed):
        try:
            with database.write() as session:
                session.add(user)
                TRAIL.append(session, caller(), now, deed)
        except IntegrityError as error:
            raise ConflictError(f"there is a user {name!r} already") from error


def set_password(database: Database, name: str, password: str) -> None:
    """Change a user's password, and revoke the refresh tokens that the old one brought.

    Raises:
        InvalidError: the password is too short or too long.
        NotFoundError: there is no such user.
    """
    fresh = Passwords().hash(password)
    with _recorded(database, Deed(action="user.password", name=name)) as session:
        user = _user(session, name)
        user.password_hash = fresh
        session.execute(delete(RefreshToken).where(RefreshToken.user_id == user.id))
        session.execute(delete(LoginFailure).where(LoginFailure.name == name))  # nobody waits for the new one


def remove_user(database: Database, name: str) -> None:
    """Remove a user with all permissions and refresh tokens; what the user pushed and signed stays.

    Raises:
        NotFoundError: there is no such user.
    """
    with _recorded(database, Deed(action="user.remove", name=name)) as session:
        session.delete(_user(session, name))  # the rest goes by ON DELETE CASCADE


def list_users(database: Database) -> list[Listed]:
    """All users by name, with what they were granted."""
    with database.read() as session:
        levels: dict[int, list[tuple[str, Level]]] = {}
        for row in session.scalars(select(Permission).order_by(Permission.repository)):
            levels.setdefault(row.user_id, []).append((row.repository, Level(row.level)))
        users = session.scalars(select(User).order_by(User.name))
        return [Listed(user.name, user.is_admin, tuple(levels.get(user.id, ()))) for user in users]


def grant(database: Database, name: str, repository: RepositoryName, level: Level | None) -> None:
    """Set a user's level in a repository, which need not exist yet; None takes it away.

    Raises:
        NotFoundError: there is no such user.
    """
    detail = {"user": name, "level": level.value if level else "none"}
    with _recorded(database, Deed(action="grant", name=repository, detail=detail)) as session:
        # The lock on the user's row orders two grants at once.
        user = _user(session, name)
        session.execute(
            delete(Permission).where(Permission.user_id == user.id, Permission.repository == str(repository))
        )
        if level is not None:
            session.add(Permission(user_id=user.id, repository=str(repository), level=level.value))


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
        add_user(database, name, _from_file(password_file), is_admin=True, now=datetime.now(UTC))
    except ConflictError:
        return  # another worker was first


def add_commands(subparsers: Subparsers) -> None:
    """Add `user` and `grant`; each parsed command has a `handler`, a `Command`.

    Args:
        subparsers: what `ArgumentParser.add_subparsers()` returned.
    """
    user = subparsers.add_parser("user", help="manage users").add_subparsers(required=True, metavar="COMMAND")
    add = _command(user, "add", "add a user", _add)
    add.add_argument("--admin", action="store_true", help="make the user an administrator")
    password = _command(user, "password", "change a password; logins made with the old one end", _password)
    for parser in (add, password):
        parser.add_argument("name")
        parser.add_argument("--password-file", type=Path, help="default: ask, or read a line of standard input")
    _command(user, "remove", "remove a user", _remove).add_argument("name")
    _command(user, "list", "list users and what they were granted", _list)
    granting = _command(subparsers, "grant", "set what a user may do in a repository", _grant)
    granting.add_argument("name")
    granting.add_argument("repository", help="without the registry's host: library/app")
    granting.add_argument("level", choices=[*(level.value for level in Level), "none"])


def _command(subparsers: Subparsers, name: str, help: str, handler: Command) -> argparse.ArgumentParser:
    # Abbreviated, `--password SECRET` would be taken for --password-file, and the secret shown in the error.
    parser = subparsers.add_parser(name, help=help, allow_abbrev=False)
    parser.set_defaults(handler=handler)
    return parser


def _add(database: Database, arguments: argparse.Namespace) -> int:
    add_user(database, arguments.name, _password_for(arguments), is_admin=arguments.admin, now=datetime.now(UTC))
    return 0


def _password(database: Database, arguments: argparse.Namespace) -> int:
    set_password(database, arguments.name, _password_for(arguments))
    return 0


def _remove(database: Database, arguments: argparse.Namespace) -> int:
    remove_user(database, arguments.name)
    return 0


def _list(database: Database, _arguments: argparse.Namespace) -> int:
    for user in list_users(database):
        levels = [f"{repository}:{level}" for repository, level in user.levels]
        print("\t".join([user.name, "administrator" if user.is_admin else "user", *levels]))
    return 0


def _grant(database: Database, arguments: argparse.Namespace) -> int:
    level = None if arguments.level == "none" else Level(arguments.level)
    grant(database, arguments.name, RepositoryName(arguments.repository), level)
    return 0


def _password_for(arguments: argparse.Namespace) -> str:
    if arguments.password_file:
        return _from_file(arguments.password_file)
    if sys.stdin.isatty():
        return getpass.getpass(f"Password for {arguments.name}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"cannot read the password file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the password file {path} is not text in UTF-8") from error


@contextmanager
def _recorded(database: Database, deed: Deed) -> Iterator[Session]:
    """A session to do `deed` in; that it was done, or refused, is recorded."""
    with Refusals(TRAIL, database).noted(deed), database.write() as session:
        yield session
        TRAIL.append(session, caller(), datetime.now(UTC), deed)


def _user(session: Session, name: str) -> User:
    user = session.scalar(select(User).where(User.name == name).with_for_update())
    if user is None:
        raise NotFoundError(f"there is no user {name!r}")
    return user
