# SPDX-License-Identifier: Apache-2.0
"""Who is it: a user with a password or an access token, or with a refresh token from an earlier login.

The rules:
* an access token stands where the password would;
* an unknown user, a disabled one, a wrong password and a revoked token look the same, in words and in work;
* after `MAX_FAILURES` wrong passwords for one name from one address, that name must wait at that address, even
  with the right password; the count is in the database, so that all workers share it.  An access token cannot be
  guessed: a wrong one is counted, a right one need not wait, so that nobody can keep a site's machines out;
* of a refresh token only the SHA-256 is kept (it has 256 random bits: no slow hash is needed).  It ends with a change
  of the password, with its user, or when it was not used for `IDLE_DAYS`.

The address is the peer's, never a header's.  Behind a proxy all clients share the proxy's: the throttle is then by
name alone.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.accounts.accesstokens import recognise
from registry.accounts.models import LoginFailure, RefreshToken, User
from registry.accounts.names import USER_NAME
from registry.accounts.passwords import Passwords
from registry.accounts.policy import Account
from trust.errors import TrustError, UnauthorizedError
from trust.web.database import Database

MAX_FAILURES = 10
WINDOW_SECONDS = 900
IDLE_DAYS = 90

_DAY = 86400
_log = logging.getLogger("troth.accounts")


class LoginError(UnauthorizedError):
    """The name, the password or the refresh token is wrong; it is not said which."""


class ThrottledError(TrustError):
    """Too many wrong passwords (REGISTRY_API §5)."""

    status = 429
    code = "TOOMANYREQUESTS"


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded.  `proof` is the stored hash that the password matched; None with an access token."""

    account: Account
    proof: str | None


class Logins:
    """Recognises users.

    Args:
        database: where the accounts are.
        service: the service that refresh tokens are for.

    Attributes:
        challenge: asks for a login, as the value of `WWW-Authenticate` (RFC 7617).
    """

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._service = service
        self._passwords = Passwords()
        self.challenge = f'Basic realm="{service}", charset="UTF-8"'

    def with_password(self, name: str, password: str, address: str, now: datetime) -> Login:
        """Recognise a user by the password or by an access token.

        Raises:
            LoginError: there is no such user or the password is wrong.
            ThrottledError: too many wrong ones before.
        """
        clock = int(now.timestamp())
        # What cannot be a name is counted, and worked for, all the same.
        name = name if USER_NAME.fullmatch(name) else ""
        if (known := recognise(self._database, name, password, clock)) is not None:
            return Login(known, None)
        with self._database.read() as session:
            failure = session.get(LoginFailure, (name, address))
            if failure is not None and failure.failures >= MAX_FAILURES and clock < failure.since + WINDOW_SECONDS:
                raise ThrottledError("too many wrong passwords; wait a few minutes and try again")
            failed_before = failure is not None
            user = session.scalar(select(User).where(User.name == name))
            stored = user.password_hash if user else None
            account = Account(user.id, user.name, user.is_admin) if user and not user.is_disabled else None
        # Outside of any transaction: this is meant to be slow.
        if not self._passwords.matches(stored, password) or account is None or stored is None:
            self._count(name, address, clock)
            _log.warning("login refused: user %r from %s", name, address)
            raise self._wrong()
        if failed_before:
            with self._database.write() as session:
                session.execute(
                    delete(LoginFailure).where(LoginFailure.name == name, LoginFailure.address == address)
                )
        if self._passwords.is_stale(stored):
            stored = self._rehash(account, stored, password)
        return Login(account, stored)

    def with_refresh_token(self, token: str, now: datetime) -> Account:
        """Recognise a user by a refresh token.

        Raises:
            LoginError: it is unknown, revoked, too long unused, or for another service.
        """
        clock = int(now.timestamp())
        with self._database.read() as session:
            found = session.execute(
                select(RefreshToken.id, RefreshToken.last_used, User.id, User.name, User.is_admin)
                .join(User, User.id == RefreshToken.user_id)
                .where(RefreshToken.hash == _hashed(token), RefreshToken.service == self._service, ~User.is_disabled)
            ).one_or_none()
        if found is None or found[1] < clock - IDLE_DAYS * _DAY:
            raise self._wrong()
        if found[1] < clock - _DAY:  # a write a day is enough to know that it is in use
            with self._database.write() as session:
                session.execute(update(RefreshToken).where(RefreshToken.id == found[0]).values(last_used=clock))
        return Account(found[2], found[3], found[4])

    def new_refresh_token(self, login: Login, now: datetime) -> str:
        """Make a refresh token for a user who has just shown the password.

        Raises:
            LoginError: it was not the password but an access token, or the password was changed, or the user removed,
                in this moment.
        """
        clock = int(now.timestamp())
        token = secrets.token_urlsafe(32)
        with self._database.write() as session:
            # The lock orders this with a change of the password, which revokes what it finds.
            user = session.get(User, login.account.id, with_for_update=True)
            if user is None or user.is_disabled or user.password_hash != login.proof:
                raise self._wrong()
            session.execute(delete(RefreshToken).where(RefreshToken.last_used < clock - IDLE_DAYS * _DAY))
            session.add(
                RefreshToken(
                    user_id=user.id, hash=_hashed(token), service=self._service, created=clock, last_used=clock
                )
            )
        return token

    def malformed(self) -> LoginError:
        """What to raise for credentials that cannot even be read."""
        return self._wrong()

    def _wrong(self) -> LoginError:
        return LoginError("the user name or the password is wrong, or the login has ended", challenge=self.challenge)

    def _count(self, name: str, address: str, clock: int) -> None:

        def work(session: Session) -> None:
            session.execute(delete(LoginFailure).where(LoginFailure.since <= clock - WINDOW_SECONDS))
            if _one_more(session, name, address):
                return
            try:
                with session.begin_nested():
                    session.add(LoginFailure(name=name, address=address, failures=1, since=clock))
            except IntegrityError:  # another worker counted the first one
                _one_more(session, name, address)

        self._database.transact(work)

    def _rehash(self, account: Account, stored: str, password: str) -> str:
        fresh = self._passwords.hash(password)
        with self._database.write() as session:
            # Only if nobody changed the password meanwhile.
            session.execute(
                update(User).where(User.id == account.id, User.password_hash == stored).values(password_hash=fresh)
            )
        return fresh


def _one_more(session: Session, name: str, address: str) -> bool:
    result = session.execute(
        update(LoginFailure)
        .where(LoginFailure.name == name, LoginFailure.address == address)
        .values(failures=LoginFailure.failures + 1)
    )
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
