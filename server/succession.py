# SPDX-License-Identifier: Apache-2.0
"""Take over collections of another notary server (`server.origin`), each in one transaction.

The rules:

* bytes never change; every version is kept, and the changefeed with its IDs, so that whoever polls it goes on;
* a collection is taken only if it holds together as it then stands in the tables: every root vouched for by the one
  before, and all that is in force (`trust.survey`); what is past its time is taken, and said;
* what is here is never overwritten: a collection that is the same is passed over, one that has gone on there is
  extended, one that differs is refused; so an import can be broken off, repeated, and rehearsed days before.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server.models import TRAIL, ChangeRow, TufFileRow
from server.origin import Origin, OriginChange, OriginFile
from server.store import Store, StoredFile
from trust.errors import InvalidError, NotFoundError, SizeError, TrustError
from trust.metadata import peek_version
from trust.names import SNAPSHOT, TIMESTAMP, Gun, RoleName
from trust.survey import Survey, survey
from trust.takeover import EXTENDED, IMPORTED, PRESENT, REFUSED, Entry, Report
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import BrokenOffError, Database

_log = logging.getLogger("troth.server")
_SET_SEQUENCE = """
    SELECT setval(sequence, GREATEST(nextval(sequence), (SELECT max(id) FROM changefeed)))
    FROM (SELECT pg_get_serial_sequence('changefeed', 'id')::regclass AS sequence) AS named
"""


@dataclass(slots=True)
class _Draft:
    """An entry of the report in the making."""

    gun: str
    state: str = REFUSED
    files: int = 0
    changes: int = 0
    online: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def entry(self) -> Entry:
        return Entry(
            gun=self.gun,
            state=self.state,
            files=self.files,
            changes=self.changes,
            online=self.online,
            problems=tuple(self.problems),
            notes=tuple(self.notes),
        )


class Succession:
    """Takes collections over, one by one.

    Args:
        origin: where they come from.
        database: where they go; its tables are there.
        present: where to look for what is here already, if not in `database`: for a dry run.
        dry_run: whether everything is undone at the end.
        even_broken: whether a collection that does not hold together is taken all the same.
        gun_prefixes: names that the server serves; none means all.
        now: the time.
    """

    def __init__(
        self,
        origin: Origin,
        database: Database,
        now: datetime,
        *,
        present: Database | None = None,
        dry_run: bool = False,
        even_broken: bool = False,
        gun_prefixes: Sequence[str] = (),
    ) -> None:
        self._origin = origin
        self._database = database
        self._present = present or database
        self._now = now
        self._dry_run = dry_run
        self._even_broken = even_broken
        self._gun_prefixes = tuple(gun_prefixes)

    def collections(self, guns: Sequence[str]) -> Report:
        """Take over these collections, or all if there are none.

        What stops it altogether is the report's last problem: what was done before is done.
        """
        entries: list[Entry] = []
        problems: list[str] = []
        try:
            for gun in guns or self._origin.guns():
                entries.append(self.collection(gun))
                _log.info("%s: %s, %d files", gun, entries[-1].state, entries[-1].files)
        except TrustError as error:
            problems.append(f"stopped: {error}")
        return Report(program="troth-server", dry_run=self._dry_run, entries=tuple(entries), problems=tuple(problems))

    def collection(self, name: str) -> Entry:
        """Take over one collection.

        Raises:
            UnavailableError: one of the databases does not answer.
        """
        draft = _Draft(name)
        try:
            gun = Gun(name)
        except InvalidError as error:
            draft.problems.append(str(error))
            return draft.entry()
        if self._gun_prefixes and not name.startswith(self._gun_prefixes):
            draft.notes.append("gun_prefixes does not let this server serve it")
        files, changes = self._origin.files(gun), self._origin.changes(gun)
        if not files and not changes:
            draft.problems.append("the other notary has no such collection")
            return draft.entry()
        with self._present.read() as session:
            here = _files_here(session, gun)
            changes, known = _new_changes(changes, _changes_here(session, gun))
            keep_ids = not _are_taken(session, [change.id for change in changes])
        missing = self._missing(files, here, draft)
        if draft.problems:
            return draft.entry()
        draft.state = PRESENT
        if missing or changes:
            draft.state = EXTENDED if here or known else IMPORTED
        try:
            with self._database.write() as session:
                # A dry run's tables have nothing of what is here, so it tries the whole.
                self._write_files(session, gun, files if self._dry_run else missing, draft)
                self._write_changes(session, gun, changes, draft, keep_ids=keep_ids)
                if files:
                    self._check(session, gun, draft)
                if self._dry_run or not self._is_wanted(draft):
                    session.rollback()
                elif missing or changes:
                    detail = {"files": len(missing), "changes": len(changes), "problems": len(draft.problems)}
                    TRAIL.append(session, Who(), self._now, Deed(action="import", name=gun, detail=detail))
            draft.files = len(missing)
        except (IntegrityError, BrokenOffError):
            draft.problems.append("somebody else writes to it here at the same time; try again")
        if draft.state != PRESENT and not self._is_wanted(draft):
            draft.state, draft.files, draft.changes = REFUSED, 0, 0
        return draft.entry()

    def _is_wanted(self, draft: _Draft) -> bool:
        return not draft.problems or self._even_broken

    def _missing(
        self, files: Sequence[OriginFile], here: Mapping[tuple[str, int], str], draft: _Draft
    ) -> list[OriginFile]:
        """Those of `files` that are not here; a problem is noted if the two cannot be brought together."""
        missing = []
        doubtful = []
        for file in files:
            known = here.get((file.role, file.version))
            if known is None:
                missing.append(file)
            elif known != file.sha256:
                doubtful.append(file)  # the other side may have said nothing, or something wrong
        for file, data in self._origin.data(doubtful):
            if hashlib.sha256(data).hexdigest() != here[file.role, file.version]:
                draft.problems.append(f"{file.role} {file.version} is here with other content")
        ours = set(here) - {(file.role, file.version) for file in files}
        if missing and ours:
            draft.problems.append(f"both have gone on: here are {len(ours)} files that are not there")
        return missing

    def _write_files(self, session: Session, gun: Gun, files: Sequence[OriginFile], draft: _Draft) -> None:
        silent = 0
        for file, data in self._origin.data(files):
            sha256 = hashlib.sha256(data).hexdigest()
            silent += not file.sha256
            draft.problems += _damage(file, data, sha256)
            row = {
                "created_at": file.created or _naive(self._now),
                "updated_at": file.updated or file.created or _naive(self._now),
                "gun": gun,
                "role": file.role,
                "version": file.version,
                "data": data,
                "sha256": sha256,
            }
            session.execute(insert(TufFileRow), [row])
        if silent:
            draft.notes.append(f"{silent} files had no sha256, which old servers did not write; it was computed")

    def _write_changes(
        self, session: Session, gun: Gun, changes: Sequence[OriginChange], draft: _Draft, *, keep_ids: bool
    ) -> None:
        if not changes:
            return
        rows = [
            {
                "created_at": change.created or _naive(self._now),
                "gun": gun,
                "version": change.version,
                "sha256": change.sha256,
                "category": change.category,
            }
            | ({"id": change.id} if keep_ids else {})
            for change in changes
        ]
        session.execute(insert(ChangeRow), rows)
        draft.changes = len(rows)
        if not keep_ids:
            draft.notes.append("its changes have new IDs here, in the same order")
        elif session.get_bind().dialect.name == "postgresql":
            # The sequence knows nothing of IDs that were given; other databases go on from the highest by themselves.
            session.execute(text(_SET_SEQUENCE))

    def _check(self, session: Session, gun: Gun, draft: _Draft) -> None:
        """Look the collection over as it now stands in the tables."""
        store = Store(session)
        found = self._survey(Shelf(store), gun, draft)
        if found is None:
            return
        in_force = {meta.role: meta.signed.version for meta in found.in_force}
        newest = store.newest(gun, in_force)
        draft.problems += [
            f"orphan: {role} {newest[role]} is stored, while {version} is in force"
            for role, version in in_force.items()
            if newest[role] > version
        ]

    def _survey(self, shelf: Shelf, gun: Gun, draft: _Draft) -> Survey | None:
        try:
            found = survey(gun, shelf, self._now)
        except NotFoundError as error:
            missing = "there are files, and no timestamp that leads to them" if shelf.is_bare(gun) else str(error)
            draft.problems.append(f"orphans: {missing}")
            return None
        except TrustError as error:
            draft.problems.append(f"it does not hold together: {error}")
            return None
        draft.online = {role: found.key_ids(role) for role in (TIMESTAMP, SNAPSHOT)}
        draft.notes += [str(error) for error in found.expired]
        draft.notes += [f"{role} is passed over by readers: {error}" for role, error in found.skipped.items()]
        return found


def _files_here(session: Session, gun: Gun) -> dict[tuple[str, int], str]:
    query = select(TufFileRow.role, TufFileRow.version, TufFileRow.sha256).where(TufFileRow.gun == gun)
    return {(role, version): sha256 or "" for role, version, sha256 in session.execute(query)}


def _changes_here(session: Session, gun: Gun) -> Counter[tuple[int, str, str]]:
    query = select(ChangeRow.version, ChangeRow.sha256, ChangeRow.category).where(ChangeRow.gun == gun)
    # Some databases pad CHAR(64) with spaces.
    return Counter((version, (sha256 or "").rstrip(), kind) for version, sha256, kind in session.execute(query))


def _new_changes(
    changes: Sequence[OriginChange], here: Counter[tuple[int, str, str]]
) -> tuple[list[OriginChange], bool]:
    """Those that are not here, in their order, and whether any is."""
    left = here.copy()
    new = []
    for change in changes:
        what = (change.version, change.sha256, change.category)
        if left[what]:
            left[what] -= 1
        else:
            new.append(change)
    return new, bool(here)


def _are_taken(session: Session, ids: Sequence[int | None]) -> bool:
    """Whether an ID among these is in use, or missing."""
    known = [each for each in ids if each is not None]
    if len(known) < len(ids):
        return True
    return any(
        session.execute(select(ChangeRow.id).where(ChangeRow.id.in_(known[at : at + 500])).limit(1)).first()
        for at in range(0, len(known), 500)
    )


def _damage(file: OriginFile, data: bytes, sha256: str) -> list[str]:
    """What is wrong with a file, whether or not anybody will read it."""
    if file.sha256 not in ("", sha256):
        return [f"corrupt: {file.role} {file.version} is not the bytes that its sha256 says"]
    try:
        RoleName(file.role)
        version = peek_version(data)
    except TrustError as error:
        return [f"corrupt: {file.role} {file.version}: {error}"]
    return [f"corrupt: {file.role} {file.version} says that it is version {version}"] * (version != file.version)


def _naive(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(tzinfo=None)


class Shelf:
    """The tables as a reader's source (`trust.reader.Source`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def is_bare(self, gun: Gun) -> bool:
        """Whether there is no timestamp."""
        return self._store.newest(gun, [TIMESTAMP])[TIMESTAMP] == 0

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        first, _, second = name.partition(".")
        found: StoredFile | None
        if not second:
            chain = self._store.current(gun, RoleName(first))
            found = chain.file if chain else None
        elif first.isdecimal():
            found = self._store.by_version(gun, RoleName(second), int(first))
        else:
            found = self._store.by_checksum(gun, RoleName(first), second)
        if found is None:
            raise NotFoundError(f"there is no {name} of {gun}")
        if len(found.data) > limit:
            raise SizeError(f"{name} is longer than the allowed {limit} bytes")
        return found.data
