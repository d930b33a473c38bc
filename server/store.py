# SPDX-License-Identifier: Apache-2.0
"""Keep and find metadata files.

A `Store` works within one session, so that what it reads belongs together and what it writes happens at once:

    with database.read() as session:
        chain = Store(session).current(gun, RoleName("targets"))

What is current is not the highest version but what the current timestamp leads to: timestamp, then the snapshot with
the sha256 that it names, then the role with the sha256 that the snapshot names (NOTARY_V1 §2.1).  A reader who walks
the same way always gets files that fit together.

A race between two writers is decided by UNIQUE (gun, role, version); the loser gets `LostRaceError` and nothing of
it is kept.  Before that, writers of one collection queue up at its current timestamp's row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session
from tuf.api.metadata import MetaFile

from server.errors import LostRaceError, VersionError
from server.models import DELETION, UPDATE, ChangeCategoryRow, ChangeRow, TufFileRow
from server.queries import BY_CHECKSUM, BY_VERSION, CHANGES, FILES, LOCK, highest_of, newest_of
from trust.metadata import parse_snapshot, parse_timestamp
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun, RoleName
from trust.web.database import is_broken_off
from trust.web.direct import add, ask, later, settle

#: How many changes are given at most, whatever was asked; the reference has no bound.
MAX_CHANGES = 1000
_DEFAULT_CHANGES = 100
#: How many parts a query gets beside those that each publish needs: SQLite allows 500.
MAX_ASKED = 16
_FASTER = "another writer was faster"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One version of one file.

    Attributes:
        data: the bytes as they came.
        sha256: over `data`, in hex.
        created: when it was stored, if that is known.
    """

    role: RoleName
    version: int
    data: bytes
    sha256: str
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The current timestamp, the snapshot that it names, and the file that this snapshot names for the role asked.

    `snapshot` and `file` are None where there is no such file.
    """

    timestamp: StoredFile
    snapshot: StoredFile | None
    file: StoredFile | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a publisher builds upon.

    Attributes:
        chain: the current timestamp and the snapshot that it names; None if there is none.
        root: the root of the highest version; nearly always the current one.
        newest: the highest stored version of each role that was asked for; 0 where there is none.
    """

    chain: Chain | None
    root: StoredFile | None
    newest: Mapping[RoleName, int]


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the changefeed."""

    id: int
    created: datetime | None
    gun: str
    version: int
    sha256: str
    category: str


class Store:
    """The files and changes, as one session sees them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def current(self, gun: Gun, role: RoleName) -> Chain | None:
        """What is current for `role`; None if the collection has no timestamp.

        Raises:
            FormatError: what is stored is not metadata.
        """
        # The latest versions are nearly always the current ones: one query instead of three.
        return self._chain(gun, role, self._latest(gun, dict.fromkeys((TIMESTAMP, SNAPSHOT, role))))

    def standing(self, gun: Gun, roles: Iterable[RoleName]) -> Standing:
        """What an upload of `roles` builds upon, with one question.

        Raises:
            FormatError: what is stored is not metadata.
        """
        whole, roles = (TIMESTAMP, SNAPSHOT, ROOT), list(roles)
        others = [role for role in roles if role not in whole]
        asked, rest = others[:MAX_ASKED], others[MAX_ASKED:]
        parameters = {f"role{index}": role for index, role in enumerate((*whole, *asked))}
        rows = self._session.execute(newest_of(len(whole), len(asked)), {"gun": gun, **parameters}).all()
        latest = {file.role: file for file in (_file(row) for row in rows if row.role in whole)}
        found = self.newest(gun, rest) | {row.role: row.version for row in rows}
        return Standing(
            self._chain(gun, SNAPSHOT, latest), latest.get(ROOT), {role: found.get(role, 0) for role in roles}
        )

    def _chain(self, gun: Gun, role: RoleName, latest: Mapping[RoleName, StoredFile]) -> Chain | None:
        timestamp = latest.get(TIMESTAMP)
        if timestamp is None:
            return None
        named = parse_timestamp(timestamp.data).signed.snapshot_meta
        snapshot = self._named(gun, SNAPSHOT, named, latest)
        if role == TIMESTAMP or snapshot is None:
            return Chain(timestamp, snapshot, timestamp if role == TIMESTAMP else None)
        if role == SNAPSHOT:
            return Chain(timestamp, snapshot, snapshot)
        entry = parse_snapshot(snapshot.data).signed.meta.get(role)
        return Chain(timestamp, snapshot, self._named(gun, role, entry, latest) if entry else None)

    def guns(self) -> list[str]:
        """The names of all collections, as they are stored: some may be of an older server's making."""
        query = select(TufFileRow.gun).where(TufFileRow.role == TIMESTAMP).distinct().order_by(TufFileRow.gun)
        return list(self._session.scalars(query))

    def named(self, gun: Gun, role: RoleName, entry: MetaFile, likely: StoredFile | None = None) -> StoredFile | None:
        """The file of that role that an entry of a snapshot or timestamp means; `likely` if it is that."""
        return self._named(gun, role, entry, {} if likely is None else {role: likely})

    def by_checksum(self, gun: Gun, role: RoleName, sha256: str) -> StoredFile | None:
        """The file of that role with that hash, in lower-case hex."""
        return first_file(ask(self._session, BY_CHECKSUM, {"gun": gun, "role": role, "sha256": sha256}))

    def by_version(self, gun: Gun, role: RoleName, version: int) -> StoredFile | None:
        """That version of that role, current or not."""
        return first_file(ask(self._session, BY_VERSION, {"gun": gun, "role": role, "version": version}))

    def newest(self, gun: Gun, roles: Iterable[RoleName]) -> dict[RoleName, int]:
        """The highest stored version of each role; 0 where there is none."""
        roles = list(roles)
        if not roles:
            return {}
        parameters = {"gun": gun, **{f"role{index}": role for index, role in enumerate(roles)}}
        (row,) = ask(self._session, highest_of(len(roles)), parameters)
        return {role: version or 0 for role, version in zip(roles, row, strict=True)}

    def collections(self) -> list[str]:
        """The names of all collections that have a timestamp, in order."""
        found = self._session.scalars(select(TufFileRow.gun).where(TufFileRow.role == TIMESTAMP).distinct())
        return sorted(found)

    def put_all(
        self, gun: Gun, files: Mapping[RoleName, tuple[int, bytes]], now: datetime, *, after: int | None
    ) -> dict[RoleName, str]:
        """Store new versions and note the change, all or nothing.

        Args:
            gun: the collection.
            files: version and bytes by role; the timestamp must be among them.
            now: when this happens.
            after: version of the timestamp that was current when these were made; None if there was none.

        Returns:
            Their sha256, in hex, in the order in which they were stored.

        Raises:
            VersionError: a version is not higher than every stored one.
            LostRaceError: `after` is not current any more, or another writer was faster.
        """
        try:
            self._lock(gun)
            # Only a statement after the lock sees what its holder before us wrote.
            newest = self.newest(gun, files)
            if newest[TIMESTAMP] != (after or 0):
                raise LostRaceError("the collection has changed meanwhile")
            if any(version <= newest[role] for role, (version, _) in files.items()):
                raise VersionError
            ordered = sorted(files.items(), key=_order)
            hashes = {role: hashlib.sha256(data).hexdigest() for role, (_, data) in ordered}
            rows = [
                {
                    "created_at": _naive(now),
                    "updated_at": _naive(now),
                    "gun": gun,
                    "role": role,
                    "version": version,
                    "data": data,
                    "sha256": hashes[role],
                }
                for role, (version, data) in ordered
            ]
            add(self._session, FILES, rows, refused=LostRaceError(_FASTER))
            self._note(gun, UPDATE, files[TIMESTAMP][0], hashes[TIMESTAMP], now)
            return hashes
        except OperationalError as error:
            if is_broken_off(error):
                raise LostRaceError(_FASTER) from error
            raise

    def delete(self, gun: Gun, now: datetime) -> int:
        """Remove every version of every role, and note it if there was anything.

        Returns:
            How many files there were.

        Raises:
            LostRaceError: another writer was faster.
        """
        try:
            self._lock(gun)
            settle(self._session)
            gone = self._session.execute(delete(TufFileRow).where(TufFileRow.gun == gun))
            count: int = gone.rowcount  # type: ignore[attr-defined]  # a DELETE's result has it
            if count:
                self._note(gun, DELETION, 0, "", now)
            return count
        except OperationalError as error:
            if is_broken_off(error):
                raise LostRaceError(_FASTER) from error
            raise

    def changes(self, gun: Gun | None, change_id: int, records: int) -> list[Change]:
        """Rows of the changefeed, oldest first (NOTARY_V1 §2.5).

        Args:
            gun: of this collection only; None: of all.
            change_id: after this one; negative: from the newest backwards.
            records: at most so many, 0 meaning 100; negative: so many before `change_id`.
        """
        backwards = change_id < 0 or records < 0
        query = select(ChangeRow).limit(min(abs(records) or _DEFAULT_CHANGES, MAX_CHANGES))
        if gun is not None:
            query = query.where(ChangeRow.gun == gun)
        if backwards:
            # From 0 backwards means from the newest, as for the reference.
            query = query.where(ChangeRow.id < change_id) if change_id > 0 else query
            query = query.order_by(ChangeRow.id.desc())
        else:
            query = query.where(ChangeRow.id > change_id).order_by(ChangeRow.id)
        rows = list(self._session.scalars(query))
        # CHAR(64) is padded with spaces by some databases, where a deletion has no hash.
        return [
            Change(row.id, _aware(row.created_at), row.gun, row.version, (row.sha256 or "").rstrip(), row.category)
            for row in (reversed(rows) if backwards else rows)
        ]

    def prepare(self) -> None:
        """Write the rows that must be there from the beginning.

        Raises:
            LostRaceError: another server is doing so.
        """
        there = set(self._session.scalars(select(ChangeCategoryRow.category)))
        missing = [{"category": category} for category in (UPDATE, DELETION) if category not in there]
        try:
            if missing:
                self._session.execute(insert(ChangeCategoryRow), missing)
        except IntegrityError as error:
            raise LostRaceError("another server is preparing the database") from error

    def _latest(self, gun: Gun, roles: Iterable[RoleName]) -> dict[RoleName, StoredFile]:
        listed = list(roles)
        parameters = {"gun": gun, **{f"role{index}": role for index, role in enumerate(listed)}}
        rows = self._session.execute(newest_of(len(listed)), parameters)
        files = [_file(row) for row in rows]
        return {file.role: file for file in files}

    def _named(
        self, gun: Gun, role: RoleName, entry: MetaFile, latest: Mapping[RoleName, StoredFile]
    ) -> StoredFile | None:
        wanted = (entry.hashes or {}).get("sha256")
        if wanted is None:
            return None
        found = latest.get(role)
        if found and found.sha256 == wanted:
            return found
        return self.by_checksum(gun, role, wanted)

    def _lock(self, gun: Gun) -> None:
        """Wait for other writers of the collection, at the row of its current timestamp.

        SQLite has no row locks and needs none: its write transactions are one after the other anyway.
        """
        later(self._session, LOCK, {"gun": gun})

    def _note(self, gun: Gun, category: str, version: int, sha256: str, now: datetime) -> None:
        change = {"created_at": _naive(now), "gun": gun, "version": version, "sha256": sha256, "category": category}
        add(self._session, CHANGES, [change])


def first_file(rows: Sequence[Any]) -> StoredFile | None:
    """The file that `BY_CHECKSUM` or `BY_VERSION` gave, if there is one."""
    return _file(rows[0]) if rows else None


def _order(item: tuple[RoleName, object]) -> tuple[int, str]:
    """Root, targets and delegations, snapshot, timestamp (NOTARY_V1 §3.1 step 7)."""
    role = item[0]
    return ({ROOT: 0, SNAPSHOT: 2, TIMESTAMP: 3}.get(role, 1), role)


def _file(row: Any) -> StoredFile:
    role, version, data, sha256, created = row
    # Rows of the oldest reference servers have no hash.
    return StoredFile(RoleName(role), version, data, sha256 or hashlib.sha256(data).hexdigest(), _aware(created))


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
