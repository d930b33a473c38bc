# SPDX-License-Identifier: Apache-2.0
"""The outbox: events are written down in the transaction of the change that they tell of.

    with database.write() as session:
        …                                           # the change itself
        outbox.tell(session, Event(kind=Kind.PUSH, …))

So nothing that was acknowledged goes untold, and nothing is told that was not done.  For each endpoint that wants it
an event gets the endpoint's next number.  The endpoints' rows are locked for that, in the order of their IDs, as one
of the transaction's last statements: the numbers are in the order of the commits, without gaps.  Where nobody wants
the event, nothing is locked or written, and it costs one query.

A change that is also recorded in the audit trail calls `tell` before `TRAIL.append`, whose lock is the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.events.event import Event, Kind, to_json
from registry.events.models import WAITING, WebhookDeliveryRow, WebhookRow
from trust.web.database import at_end
from trust.web.metrics import counter

#: Events that an endpoint can have waiting; those beyond get a number, which the receiver misses, and are not kept.
MAX_WAITING = 100_000

_LEFT_OUT = counter(
    "troth_webhook_left_out", "events that were not written down for an endpoint, as too many wait there already",
    service="troth-registry",
)  # fmt: skip
_log = logging.getLogger("troth.events")


def tell(session: Session, *events: Event) -> None:
    """Have events told to all who want them, if the session's transaction commits.

    Args:
        session: of `Database.write` or `Database.transact`.
        events: in their order.
    """

    def work(session: Session) -> Callable[[], None]:
        left_out = 0
        for webhook in _interested(session, events):
            room = MAX_WAITING - _waiting(session, webhook)
            for event in (each for each in events if wants(webhook, each)):
                if room > 0:
                    put(session, webhook, event, event.time)
                else:
                    webhook.sequence += 1
                    left_out += 1
                room -= 1
        return lambda: _say(left_out)

    if events:
        at_end(session, work)


def put(session: Session, webhook: WebhookRow, event: Event, now: datetime) -> int:
    """Write an event down for one endpoint.

    Args:
        session: writes.
        webhook: the endpoint, locked.
        event: what to tell it.
        now: from then on the event has its time to arrive.

    Returns:
        its number.
    """
    webhook.sequence += 1
    session.add(
        WebhookDeliveryRow(
            webhook_id=webhook.id, sequence=webhook.sequence, event_id=event.id, kind=event.kind,
            event=to_json(event), created=now, state=WAITING,
        )
    )  # fmt: skip
    return webhook.sequence


def wants(webhook: WebhookRow, event: Event) -> bool:
    """Whether an endpoint asked for such an event."""
    return event.kind in webhook.kinds.split(",") and webhook.place in _places(event.repository)


def wanted(session: Session, kind: Kind) -> bool:
    """Whether anybody asked for events of this kind, wherever."""
    kinds = session.scalars(select(WebhookRow.kinds).where(WebhookRow.enabled).distinct())
    return any(kind in each.split(",") for each in kinds)


def _say(left_out: int) -> None:
    if left_out:
        _LEFT_OUT.inc(left_out)
        _log.error("%s events are not kept: more than %s wait for an endpoint", left_out, MAX_WAITING)


def _interested(session: Session, events: Sequence[Event]) -> list[WebhookRow]:
    """The endpoints that want some of `events`, locked."""
    places = {place for event in events for place in _places(event.repository)}
    query = select(WebhookRow).where(WebhookRow.enabled, WebhookRow.place.in_(places))
    found = [row.id for row in session.scalars(query) if any(wants(row, event) for event in events)]
    if not found:
        return []
    query = query.where(WebhookRow.id.in_(found)).order_by(WebhookRow.id).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _waiting(session: Session, webhook: WebhookRow) -> int:
    oldest = session.scalar(
        select(func.min(WebhookDeliveryRow.sequence)).where(
            WebhookDeliveryRow.webhook_id == webhook.id, WebhookDeliveryRow.state == WAITING
        )
    )
    return 0 if oldest is None else webhook.sequence - oldest + 1


def _places(repository: str) -> Iterator[str]:
    """The places that a repository is in: everywhere, its namespaces, and itself."""
    yield ""
    for index, character in enumerate(repository):
        if character == "/":
            yield repository[: index + 1]
    if repository:
        yield repository
