# SPDX-License-Identifier: Apache-2.0
"""The audit trail: who did what to which GUN and role, as a chain of hashes in the service's own database.

    TRAIL = Trail("troth-server", Base.metadata)          # two tables, server_audit and server_audit_head

    with database.write() as session:
        …                                                 # the deed itself
        TRAIL.append(session, caller(), now, Deed(action="publish", name=gun, role=role, version=3))

A record is kept with what it tells, or neither is: it is written in the same transaction, as its last statements.
Records are numbered 1, 2, 3 …; each holds the SHA-256 of the one before, and its own over all its other fields in
canonical JSON.  The head row is locked from the first of those statements to the commit, so that several servers on
one database write one chain; as it is always the last lock that is taken, nobody waits for each other in a circle.

What was refused is recorded by `Refusals`, in a transaction of its own.  `trust.web.auditcheck` looks the chain over.

Nothing secret belongs in here: no password, token or private key, and no text of a client's longer than needed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import MetaData, Row, bindparam, select, update
from sqlalchemy.orm import Session

from trust.canonical import encode
from trust.errors import UnavailableError
from trust.web.audittables import MAX_TEXT, tables
from trust.web.caller import Who
from trust.web.database import Database, at_end
from trust.web.direct import add, ask, later

#: What the first record has for the hash of the one before.
BEGINNING = "0" * 64
DONE = "done"
REFUSED = "refused"

#: Rows that are read at a time.
_PAGE = 500
_MAX_DETAIL = 16  # entries of a list; a policy has no more
_log = logging.getLogger("troth.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is done, and to what.

    Attributes:
        action: a word of the reference (docs/reference/audit.md).
        name: a GUN, a repository or a user's name.
        role: of the GUN.
        version: of the role's file.
        sha256: of the content, in hex.
        detail: more, JSON-able and without fractions.
    """

    action: str
    name: str = ""
    role: str = ""
    version: int | None = None
    sha256: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the number of its last record, and that record's hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; the fields are those of `Who` and `Deed`.

    Attributes:
        time: UTC, such as `2026-11-24T08:00:00.000000Z`.
        service: who wrote it, such as `troth-server`.
        outcome: `done` or `refused`.
        detail: a JSON object, in canonical JSON.
        previous: the hash of the record before.
        hash: what `digest` gives, unless somebody has changed the record.
    """

    seq: int
    time: str
    service: str
    actor: str
    address: str
    request_id: str
    action: str
    name: str
    role: str
    version: int | None
    sha256: str
    outcome: str
    detail: str
    previous: str
    hash: str = ""

    def fields(self) -> dict[str, Any]:
        """All fields but the hash, with the detail as an object: what the hash is over.

        Raises:
            ValueError: the detail is not JSON.
        """
        names = (column for column in _FIELDS if column not in ("detail", "hash"))
        try:
            return {name: getattr(self, name) for name in names} | {"detail": json.loads(self.detail)}
        except RecursionError as error:
            raise ValueError("the detail is nested too deeply") from error

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of `fields`, in hex.

        Raises:
            ValueError: the detail is not JSON.
        """
        return hashlib.sha256(encode(self.fields())).hexdigest()

    def to_json(self) -> str:
        """The record in canonical JSON, hash included; without it, these are the bytes that were hashed.

        Raises:
            ValueError: the detail is not JSON.
        """
        return encode(self.fields() | {"hash": self.hash}).decode()


_FIELDS = tuple(Record.__dataclass_fields__)


class Trail:
    """The audit trail of one service.

    Args:
        service: its name, such as `troth-server`; the tables are named by its last part, so that services may share
            one database.
        metadata: gets the tables.
    """

    def __init__(self, service: str, metadata: MetaData) -> None:
        self.service = service
        self._records, self._head = tables(service.rpartition("-")[2], metadata)
        head = self._head.c
        # Made once: making a statement costs as much as running it.
        self._locked = select(head.seq, head.hash).where(head.id == 1).with_for_update()
        self._moved = update(self._head).where(head.id == 1).values(seq=bindparam("seq"), hash=bindparam("hash"))

    def append(self, session: Session, who: Who, now: datetime, *deeds: Deed, outcome: str = DONE) -> None:
        """Have `deeds` recorded by the end of the session's transaction.

        The new head is logged once that is committed: a log that is kept elsewhere is what shows that a whole chain
        was cut off or written anew.

        Args:
            session: of `Database.write` or `Database.transact`.
            who: who did them.
            now: when.
            deeds: what was done, in its order.
            outcome: `DONE` or `REFUSED`.
        """

        def work(session: Session) -> Callable[[], None]:
            found = ask(session, self._locked, {})
            if not found:
                raise UnavailableError("the audit trail has lost its head")  # what cannot be recorded is not done
            last, rows = Head(*found[0]), []
            for deed in deeds:
                record = self._record(last, who, now, deed, outcome)
                last = Head(record.seq, record.digest())
                rows.append({name: getattr(record, name) for name in _FIELDS} | {"hash": last.hash})
            add(session, self._records, rows)
            later(session, self._moved, {"seq": last.seq, "hash": last.hash})
            return lambda: _tell(last, deeds, who, outcome)

        if deeds:
            at_end(session, work)

    def head(self, session: Session) -> Head:
        """Where the chain ends.

        Raises:
            UnavailableError: its row is gone.
        """
        row = session.execute(select(self._head.c.seq, self._head.c.hash)).first()
        if row is None:
            raise UnavailableError("the audit trail has lost its head")
        return Head(*row)

    @property
    def head_table(self) -> str:
        """The table whose one row has `seq` and `hash` of the last record: they change with all that is recorded."""
        return self._head.name

    def records(
        self, session: Session, *, name: str | None = None, since: datetime | None = None, after: int | None = None
    ) -> Iterator[Record]:
        """Records in their order, read bit by bit.

        Args:
            session: sees one state of the database to the end.
            name: of this GUN, repository or user only.
            since: from then on.
            after: behind this number.
        """
        columns = self._records.c
        query = select(*(columns[each] for each in _FIELDS)).order_by(columns.seq).limit(_PAGE)
        if name is not None:
            query = query.where(columns.name == name)
        if since is not None:
            query = query.where(columns.time >= _moment(since))
        while True:
            rows = session.execute(query if after is None else query.where(columns.seq > after)).all()
            yield from map(_from_row, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].seq

    def log_start(self, database_url: str) -> None:
        """Log where the chain ends; when all else is ready for the service to start, and before there are workers.

        Raises:
            UnavailableError: the database does not answer.
        """
        database = Database(database_url)
        try:
            with database.read() as session:
                _log.info("head %s: %s starts", self.head(session), self.service)
        finally:
            database.dispose()

    def _record(self, last: Head, who: Who, now: datetime, deed: Deed, outcome: str) -> Record:
        return Record(
            seq=last.seq + 1,
            time=_moment(now),
            service=self.service,
            actor=clean(who.actor),
            address=clean(who.address)[:64],
            request_id=clean(who.request_id)[:64],
            action=deed.action,
            name=clean(deed.name),
            role=clean(deed.role),
            version=deed.version,
            sha256=deed.sha256,
            outcome=outcome,
            detail=encode(_cleaned(dict(deed.detail))).decode(),
            previous=last.hash,
        )


def _from_row(row: Row[Any]) -> Record:
    return Record(**row._mapping)


def _tell(last: Head, deeds: tuple[Deed, ...], who: Who, outcome: str) -> None:
    deed, roles = deeds[0], ",".join(deed.role for deed in deeds)
    _log.info(
        "head %s: %s %s %s %s by %s", last, deed.action, outcome, clean(deed.name), clean(roles), clean(who.actor)
    )


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clean(text: str) -> str:
    """`text` without what a terminal, a log or a database takes for something else, and not too long."""
    text = text[:MAX_TEXT]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _cleaned(value: object) -> object:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(key)): _cleaned(each) for key, each in value.items()}
        case list() | tuple():
            return [_cleaned(each) for each in value[:_MAX_DETAIL]]
        case _:
            return value
