# SPDX-License-Identifier: Apache-2.0
"""The one door through which accounts, organisations and rights are changed.

    with change(database, "user.remove", "alice") as session:
        session.delete(lock_user(session, "alice"))

A change is one transaction, and is recorded in the audit trail: a word for what it is, the name of what it is done
to, who did it, and whether it was refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.accounts.models import User
from registry.accounts.names import USER_NAME
from registry.models import TRAIL
from trust.errors import ConflictError, NotFoundError
from trust.web.audit import Deed
from trust.web.caller import caller
from trust.web.database import Database
from trust.web.refusals import Refusals

# One for each database: what is counted within bounds must be counted in one place.
_refusals: WeakKeyDictionary[Database, Refusals] = WeakKeyDictionary()


@contextmanager
def change(database: Database, action: str, name: str, *, taken: str = "", **detail: object) -> Iterator[Session]:
    """A session to make one change in.

    Args:
        database: what is changed.
        action: what is done, as the audit trail calls it: a noun and a verb, such as `team.add`.
        name: what it is done to.
        taken: what to say if the database's constraints are against it: somebody has that name already.
        detail: more to record, JSON-able; never a secret.

    Raises:
        ConflictError: with `taken` as its message.
    """
    plain = {key: str(value) if isinstance(value, str) else value for key, value in detail.items()}
    deed = Deed(action=action, name=str(name), detail=plain)
    with refusals(database).noted(deed):
        try:
            with database.write() as session:
                yield session
                TRAIL.append(session, caller(), datetime.now(UTC), deed)
        except IntegrityError as error:
            if not taken:
                raise
            raise ConflictError(taken) from error


def refusals(database: Database) -> Refusals:
    """What records refused changes in this database."""
    return _refusals.setdefault(database, Refusals(TRAIL, database))


def lock_user(session: Session, name: str) -> User:
    """The row of a user, locked; for sessions that write.

    Raises:
        NotFoundError: there is no such user.
    """
    # MariaDB would take `Alice` for `alice`.
    if not USER_NAME.fullmatch(name):
        raise NotFoundError("there is no such user")
    user = session.scalar(select(User).where(User.name == name).with_for_update())
    if user is None:
        raise NotFoundError(f"there is no user {name!r}")
    return user
