# SPDX-License-Identifier: Apache-2.0
"""Endpoints, as they are managed: by commands (`registry.events.commands`) and by the API.

    made, secret = add_webhook(database, addresses, "https://hooks.example.com/", kinds=[Kind.PUSH], place="library/",
                               creator="alice", trusted=False, now=now)

A secret is given back once, by the function that makes an endpoint, and never again.  Each change is recorded in the
audit trail, with the URL's host alone: what stands behind it may be a secret of the receiver's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.events.addresses import Addresses
from registry.events.event import KINDS, Event, Kind
from registry.events.models import MAX_ERROR, WAITING, WebhookDeliveryRow, WebhookRow
from registry.events.outbox import put
from registry.events.signature import check_secret, new_secret
from registry.models import TRAIL
from registry.policies import parse_scope
from trust.errors import ConflictError, InvalidError, NotFoundError
from trust.web.audit import Deed
from trust.web.caller import SERVICE, Who, caller
from trust.web.database import Database

#: Endpoints of one place: each is told in the transaction of a push.
MAX_IN_A_PLACE = 10
_END, _END_OF_SEQUENCE = 2**31, 2**63


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint, without its secret; the fields are those of `models.WebhookRow`.

    `waiting` is how many events it is still to be told; `disabled` and `disabled_reason` are those of a switch that
    was recorded, since an earlier version recorded none.
    """

    id: int
    place: str
    url: str
    kinds: tuple[Kind, ...]
    enabled: bool
    created: datetime
    creator: str
    failures: int
    failing_since: datetime | None
    due: datetime | None
    disabled: datetime | None
    disabled_reason: str | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that was written down for an endpoint; the fields are those of `models.WebhookDeliveryRow`."""

    sequence: int
    event_id: str
    kind: str
    created: datetime
    state: str
    attempts: int
    attempted: datetime | None
    status: int | None
    error: str | None


def add_webhook(
    database: Database,
    addresses: Addresses,
    url: str,
    *,
    kinds: Sequence[Kind] = KINDS,
    place: str = "",
    secret: str | None = None,
    creator: str,
    trusted: bool,
    now: datetime,
) -> tuple[Webhook, str]:
    """Add an endpoint; it is told of what happens from now on.

    Args:
        database: the registry's.
        addresses: where it may be.
        url: where it is.
        kinds: what it is told.
        place: a repository, a namespace, or nothing for the whole site.
        secret: what its deliveries are signed with; None: a new one.
        creator: who adds it.
        trusted: whether that is an administrator.
        now: when.

    Returns:
        the endpoint and its secret.

    Raises:
        InvalidError: the URL, the place, the kinds or the secret cannot be used.
        ConflictError: the place has too many already.
    """
    origin = addresses.parse(url, trusted=trusted).origin
    wanted = tuple(kind for kind in KINDS if kind in kinds)
    if not wanted or len(wanted) != len(set(kinds)):
        raise InvalidError(f"a webhook is told of one or more of {', '.join(KINDS)}")
    if place:
        parse_scope(place)
    secret = new_secret() if secret is None else check_secret(secret)
    row = WebhookRow(
        place=place, url=url, secret=secret, kinds=",".join(wanted), enabled=True, trusted=trusted, created=now,
        creator=creator[:255], sequence=0, failures=0,
    )  # fmt: skip
    with database.write() as session:
        if len(session.scalars(select(WebhookRow.id).where(WebhookRow.place == place)).all()) >= MAX_IN_A_PLACE:
            raise ConflictError(f"there are {MAX_IN_A_PLACE} webhooks of {place or 'the site'} already")
        session.add(row)
        session.flush()
        _record(session, "add", row, now, url=origin, events=list(wanted))
    return _webhook(row, 0), secret


def list_webhooks(database: Database, place: str | None = None) -> list[Webhook]:
    """The endpoints of just this place, or all of them, in the order in which they were added."""
    query = select(WebhookRow, _WAITING).order_by(WebhookRow.id)
    if place is not None:
        query = query.where(WebhookRow.place == place)
    with database.read() as session:
        return [_webhook(row, waiting) for row, waiting in session.execute(query)]


def find_webhook(database: Database, number: int) -> Webhook:
    """One endpoint.

    Raises:
        NotFoundError: there is none of that number.
    """
    with database.read() as session:
        found = session.execute(select(WebhookRow, _WAITING).where(WebhookRow.id == min(number, _END))).first()
        if found is None:
            raise NotFoundError("there is no such webhook")
        return _webhook(*found)


def set_enabled(database: Database, number: int, enabled: bool, now: datetime) -> None:
    """Switch an endpoint off, so that it is told of nothing that happens meanwhile, or on again.

    Raises:
        NotFoundError: there is none of that number.
    """
    with database.write() as session:
        row = _found(session, number, lock=True)
        if row.enabled == enabled:
            return
        row.failures, row.due, row.failing_since = 0, None, None
        if enabled:
            row.enabled, row.disabled, row.disabled_reason = True, None, None
            _record(session, "enable", row, now)
        else:
            reason = f"switched off by {caller().actor}"[:MAX_ERROR]
            row.enabled, row.disabled, row.disabled_reason = False, now, reason
            _record(session, "disable", row, now)


def give_up_endpoint(session: Session, row: WebhookRow, days: int, now: datetime) -> None:
    """Switch an endpoint off, of the service's own accord, as none of its deliveries arrived for so many days."""
    reason = f"no delivery arrived for {days} day{'' if days == 1 else 's'}"
    row.enabled, row.disabled, row.disabled_reason = False, now, reason
    deed = Deed(action="webhook.disable", name=row.place, detail={"webhook": row.id, "reason": reason})
    TRAIL.append(session, Who(SERVICE), now, deed)


def remove_webhook(database: Database, number: int, now: datetime) -> None:
    """Remove an endpoint, with what it was not told yet.

    Raises:
        NotFoundError: there is none of that number.
    """
    with database.write() as session:
        row = _found(session, number, lock=True)
        _record(session, "remove", row, now)
        session.delete(row)  # the deliveries go by ON DELETE CASCADE


def send_test(database: Database, number: int, now: datetime) -> int:
    """Have an endpoint told of a test, behind all that waits for it: the number of the event.

    Raises:
        NotFoundError: there is none of that number.
        ConflictError: it is switched off.
    """
    who = caller()
    event = Event(
        kind=Kind.TEST, repository="", time=now, actor=who.actor, request_id=who.request_id or None,
        detail={"webhook": number},
    )  # fmt: skip
    with database.write() as session:
        return put(session, _open(session, number), event, now)


def redeliver(database: Database, number: int, sequence: int, now: datetime) -> int:
    """Have an endpoint told of an event again, as a new one behind all that waits for it, with the same ID.

    Returns:
        the number that it has now.

    Raises:
        NotFoundError: there is no such endpoint, or no such event is kept for it.
        ConflictError: it waits already, or the endpoint is switched off.
    """
    with database.write() as session:
        row = _open(session, number)
        if not 0 < sequence < _END_OF_SEQUENCE:
            raise NotFoundError("no event has such a number")
        told = session.scalar(
            select(WebhookDeliveryRow).where(
                WebhookDeliveryRow.webhook_id == number, WebhookDeliveryRow.sequence == sequence
            )
        )
        if told is None:
            raise NotFoundError(f"no event of number {sequence} is kept for this webhook")
        if told.state == WAITING:
            raise ConflictError(f"the event of number {sequence} is still to be delivered")
        row.sequence += 1
        session.add(
            WebhookDeliveryRow(
                webhook_id=number, sequence=row.sequence, event_id=told.event_id, kind=told.kind, event=told.event,
                created=now, state=WAITING,
            )
        )  # fmt: skip
        return row.sequence


def list_deliveries(database: Database, number: int, *, before: int | None = None, limit: int = 50) -> list[Delivery]:
    """The events that were written down for an endpoint and are kept, the newest first.

    Args:
        database: the registry's.
        number: of the endpoint.
        before: only those with smaller numbers.
        limit: how many.

    Raises:
        NotFoundError: there is no such endpoint.
    """
    query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == number)
    if before is not None:
        query = query.where(WebhookDeliveryRow.sequence < before)
    with database.read() as session:
        _found(session, number)
        found = session.scalars(query.order_by(WebhookDeliveryRow.sequence.desc()).limit(limit))
        return [
            Delivery(
                each.sequence, each.event_id, each.kind, each.created, each.state, each.attempts, each.attempted,
                each.status, each.error,
            )
            for each in found
        ]  # fmt: skip


_WAITING: Any = (
    select(func.count())
    .where(WebhookDeliveryRow.webhook_id == WebhookRow.id, WebhookDeliveryRow.state == WAITING)
    .correlate(WebhookRow)
    .scalar_subquery()
)


def _found(session: Session, number: int, *, lock: bool = False) -> WebhookRow:
    query = select(WebhookRow).where(WebhookRow.id == number)
    row = session.scalar(query.with_for_update() if lock else query) if 0 < number < _END else None
    if row is None:
        raise NotFoundError("there is no such webhook")
    return row


def _open(session: Session, number: int) -> WebhookRow:
    row = _found(session, number, lock=True)
    if not row.enabled:
        raise ConflictError("the webhook is switched off")
    return row


def _record(session: Session, done: str, row: WebhookRow, now: datetime, **detail: object) -> None:
    deed = Deed(action=f"webhook.{done}", name=row.place, detail={"webhook": row.id} | detail)
    TRAIL.append(session, caller(), now, deed)


def _webhook(row: WebhookRow, waiting: int) -> Webhook:
    kinds = tuple(Kind(kind) for kind in row.kinds.split(","))
    return Webhook(
        row.id, row.place, row.url, kinds, row.enabled, row.created, row.creator, row.failures, row.failing_since,
        row.due, row.disabled, row.disabled_reason, waiting,
    )  # fmt: skip
