# SPDX-License-Identifier: Apache-2.0
"""The rows of keys, as the vault sees them: read anew for each signature, at little cost.

    rows = Rows(database, limit=1024)
    held = rows.expected(key_id) or rows.read(key_id)     # what the row said the last time, to sign with
    signature = …
    if rows.read(key_id) == held: …                       # what it says now: before the signature leaves

What is kept here is only ever a guess: whoever uses it reads the row before anything leaves.  So one question is
enough for a signature, and a row that was deleted, restored or changed, by whatever program, is seen at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from signer.models import SealedKey
from trust.errors import InvalidError
from trust.keys import NotaryKey
from trust.keystore import key_not_found
from trust.names import Gun, RoleName
from trust.web.database import Database

_T = TypeVar("_T")
#: How exact `last_used` is: a key that signs again and again is written down so often.
TOUCH = timedelta(minutes=1)

_COLUMNS = (
    SealedKey.id,
    SealedKey.key_id,
    SealedKey.gun,
    SealedKey.role,
    SealedKey.algorithm,
    SealedKey.public,
    SealedKey.passphrase_alias,
    SealedKey.private,
    SealedKey.encryption_alg,
    SealedKey.last_used.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A key, and what it was made for."""

    gun: Gun
    role: RoleName
    key: NotaryKey


@dataclass(frozen=True)
class Held:
    """What a row says, free of its session; two are equal if they mean the same key for the same work."""

    id: int
    key_id: str
    gun: str
    role: str
    algorithm: str
    public: bytes
    alias: str
    sealed: bytes
    encryption: str
    used: bool = field(compare=False)

    @cached_property
    def key(self) -> NotaryKey:
        """The public key."""
        return NotaryKey(self.key_id, self.algorithm, self.public)

    @cached_property
    def placed(self) -> Placed:
        """The key, and what it was made for.

        Raises:
            NotFoundError: no GUN or no role, as in the Go signer's oldest rows.
        """
        try:
            return Placed(Gun(self.gun), RoleName(self.role), self.key)
        except InvalidError as error:
            raise key_not_found(self.key_id) from error

    def is_for(self, gun: Gun, role: RoleName) -> bool:
        """Whether it was made for that role of that GUN."""
        return self.gun == gun and self.role == role


class Rows:
    """Rows by their key's ID, read outside of transactions.

    Args:
        database: where they are.
        limit: how many are remembered.
    """

    def __init__(self, database: Database, limit: int) -> None:
        statement = select(*_COLUMNS).where(SealedKey.key_id == bindparam("key_id"), SealedKey.deleted_at.is_(None))
        self._lookup = database.lookup(statement)
        self._limit = limit
        self._lock = Lock()
        #: By key ID: the row as it was read the last time, and what it says.
        self._seen: OrderedDict[str, tuple[tuple[Any, ...], Held]] = OrderedDict()
        self._touched: OrderedDict[str, datetime] = OrderedDict()

    def expected(self, key_id: str) -> Held | None:
        """What the row probably says; None when nothing is known."""
        seen = self._seen.get(key_id)
        return None if seen is None else seen[1]

    def read(self, key_id: str) -> Held | None:
        """What the row says now; None when there is none that is not deleted.

        Raises:
            UnavailableError: the database does not answer.
        """
        # Some databases hold that `a` and `A` are the same.
        row = next((row for row in self._lookup.rows(key_id=key_id) if row[1] == key_id), None)
        with self._lock:
            seen = self._seen.pop(key_id, None)
            if row is None:
                return None
            if seen is None or seen[0] != row:
                seen = row, _from_columns(*row)
            _keep(self._seen, key_id, seen, self._limit)
            return seen[1]

    def must_be_touched(self, held: Held, now: datetime) -> bool:
        """Whether `last_used` is to be written: the first time, and when it is `TOUCH` old as far as we know."""
        last = self._touched.get(held.key_id)
        return not held.used or last is None or not last <= now < last + TOUCH

    def touched(self, held: Held, now: datetime) -> None:
        """It has been written."""
        with self._lock:
            self._touched.pop(held.key_id, None)
            _keep(self._touched, held.key_id, now, self._limit)


def of_role(session: Session, gun: Gun, role: RoleName) -> list[Held]:
    """All keys of a role of a GUN."""
    wanted = (SealedKey.gun == str(gun), SealedKey.role == str(role), SealedKey.deleted_at.is_(None))
    found = [from_row(row) for row in session.scalars(select(SealedKey).where(*wanted))]
    return [held for held in found if held.is_for(gun, role)]


def row_of(session: Session, key_id: str) -> SealedKey | None:
    """The row of a key."""
    found = session.scalars(select(SealedKey).where(SealedKey.key_id == key_id, SealedKey.deleted_at.is_(None)))
    return next((row for row in found if row.key_id == key_id), None)


def from_row(row: SealedKey) -> Held:
    """What it says."""
    return Held(
        row.id,
        row.key_id,
        row.gun,
        row.role,
        row.algorithm,
        row.public,
        row.passphrase_alias,
        row.private,
        row.encryption_alg,
        row.last_used is not None,
    )


def _from_columns(
    id_: int,
    key_id: str,
    gun: str,
    role: str,
    algorithm: str,
    public: bytes,
    alias: str,
    sealed: bytes,
    encryption: str,
    used: object,
) -> Held:
    return Held(id_, key_id, gun, role, algorithm, bytes(public), alias, bytes(sealed), encryption, bool(used))


def _keep(kept: OrderedDict[str, _T], key_id: str, value: _T, limit: int) -> None:
    kept[key_id] = value
    while len(kept) > limit:
        kept.popitem(last=False)
