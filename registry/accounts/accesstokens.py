# SPDX-License-Identifier: Apache-2.0
"""Access tokens: what a machine logs in with instead of its user's password.

    token, secret = add_token(database, "ci", "the build of app", Level.READ_WRITE, now=now, days=90)

The rules:
* a token is 256 random bits behind `troth_`, by which scanners for secrets may know it; it is shown once, and only
  its SHA-256 is kept (no slow hash is needed);
* it can do no more than its scope, and never more than its user at that moment;
* it brings no refresh token, and makes no other access token: what is revoked is over;
* it ends when it is revoked, when its time is over, and with its user; a new password leaves it as it is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from registry.accounts.changes import change, lock_user
from registry.accounts.models import AccessToken, User
from registry.accounts.policy import Account, Level
from trust.errors import ConflictError, InvalidError, NotFoundError
from trust.web.database import Database

PREFIX = "troth_"
#: Tokens of one user.
MAX_TOKENS = 100
MAX_DESCRIPTION = 255
MAX_DAYS = 3650

_SECRET = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
#: Seconds: to know when a token was last used, a write an hour is enough.
_USED_WITHIN = 3600


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of an access token; times are aware and in UTC, `last_used` is exact to the hour."""

    id: int
    description: str
    scope: Level
    created: datetime
    expires: datetime | None
    last_used: datetime | None


def add_token(
    database: Database,
    user: str,
    description: str,
    scope: Level,
    *,
    now: datetime,
    days: int | None = None,
) -> tuple[Token, str]:
    """Make an access token.

    Args:
        database: where it is kept.
        user: whose it is.
        description: what it is for, in the user's words.
        scope: what it can be used for.
        now: when.
        days: how long it is good; None: until it is revoked.

    Returns:
        The token, and its secret, which nobody can be told again.

    Raises:
        InvalidError: the description or the number of days is out of bounds.
        NotFoundError: there is no such user.
        ConflictError: the user has too many.
    """
    if not 0 < len(description) <= MAX_DESCRIPTION or not description.isprintable():
        raise InvalidError(f"a description has 1 to {MAX_DESCRIPTION} printable characters")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InvalidError(f"an access token is good for 1 to {MAX_DAYS} days, or until it is revoked")
    secret = PREFIX + secrets.token_urlsafe(32)
    expires = None if days is None else _seconds(now + timedelta(days=days))
    with change(database, "token.add", user, scope=scope, expires=expires) as session:
        owner = lock_user(session, user)
        held = session.scalar(select(func.count()).select_from(AccessToken).where(AccessToken.user_id == owner.id))
        if (held or 0) >= MAX_TOKENS:
            raise ConflictError(f"a user has at most {MAX_TOKENS} access tokens; revoke one first")
        row = AccessToken(
            user_id=owner.id,
            hash=_hashed(secret),
            description=description,
            scope=scope.value,
            created=_seconds(now),
            expires=expires,
        )
        session.add(row)
        session.flush()
        return _value(row), secret


def list_tokens(database: Database, user: str) -> list[Token]:
    """The access tokens of a user, the oldest first; those whose time is over, too."""
    with database.read() as session:
        rows = session.scalars(
            select(AccessToken).join(User, User.id == AccessToken.user_id).where(User.name == user)
            .order_by(AccessToken.id)
        )  # fmt: skip
        return [_value(row) for row in rows]


def revoke_token(database: Database, user: str, token: int) -> None:
    """End an access token of this user; bearer tokens that it brought live on for their few minutes.

    Raises:
        NotFoundError: this user has none with this number, whoever else may have.
    """
    with change(database, "token.revoke", user, token=token) as session:
        row = session.scalar(
            select(AccessToken).join(User, User.id == AccessToken.user_id)
            .where(User.name == user, AccessToken.id == token)
        )  # fmt: skip
        if row is None:
            raise NotFoundError("there is no such access token")
        session.delete(row)


def recognise(database: Database, name: str, secret: str, clock: int) -> Account | None:
    """The user called `name`, if `secret` is a good access token of theirs; using it is noted.

    Args:
        database: where tokens are.
        name: the user's, as it was given with the secret.
        secret: perhaps a token.
        clock: seconds since 1970.
    """
    if not _SECRET.fullmatch(secret):
        return None
    query = select(
        AccessToken.id, AccessToken.scope, AccessToken.expires, AccessToken.last_used, User.id, User.is_admin
    ).join(User, User.id == AccessToken.user_id)
    good = and_(AccessToken.hash == _hashed(secret), ~User.is_disabled)
    with database.read() as session:
        # The name in Python: MariaDB would take `Alice` for `alice`.
        found = session.execute(query.add_columns(User.name).where(good)).one_or_none()
    if found is None:
        return None
    token, scope, expires, last_used, user, is_admin, owner = found
    if owner != name or (expires is not None and expires <= clock):
        return None
    if last_used is None or last_used <= clock - _USED_WITHIN:
        database.transact(lambda session: _note_use(session, token, clock))
    return Account(user, owner, is_admin, Level(scope))


def _note_use(session: Session, token: int, clock: int) -> None:
    session.execute(update(AccessToken).where(AccessToken.id == token).values(last_used=clock))


def _value(row: AccessToken) -> Token:
    return Token(
        row.id, row.description, Level(row.scope), _moment(row.created),
        None if row.expires is None else _moment(row.expires),
        None if row.last_used is None else _moment(row.last_used),
    )  # fmt: skip


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
