# SPDX-License-Identifier: Apache-2.0
"""Deliveries: what is written down for an endpoint is sent to it, in its order, until it arrives or is too old.

    deliverer = open_deliverer(settings, database)
    deliverer.deliver_due()            # every second, by as many processes as there are (`registry.background`)
    deliverer.prune()                  # every hour

The rules:
* of one endpoint's events the oldest is sent, and no other until the endpoint took it (2xx) or it was given up;
* an endpoint that does not take one is tried again after `PAUSES`, and meanwhile nothing else is sent to it;
* an endpoint that takes nothing for some days is switched off, until somebody switches it on again;
* an event is given up when it is older than its life; the next one's number then shows the receiver the gap;
* one process at a time delivers to an endpoint: it claims it, renews that before each attempt, and records nothing
  once somebody else has the claim.  The claim of a process that died is over after `CLAIM`.

An event may so arrive twice: the process died, or the answer was lost.  Both have the same ID.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import CursorResult, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from registry.events.addresses import Addresses
from registry.events.endpoints import give_up_endpoint
from registry.events.event import body
from registry.events.models import DELIVERED, GIVEN_UP, WAITING, WebhookDeliveryRow, WebhookRow
from registry.events.sender import Outcome, Sender
from registry.events.signature import headers
from registry.settings import Settings
from trust.web.database import Database, at_end
from trust.web.metrics import counter

#: Between an attempt that failed and the next one to the same endpoint; after the last, the last again and again.
PAUSES = tuple(timedelta(seconds=each) for each in (5, 30, 120, 600, 1800, 3600))
#: How long a claim is good: longer than an attempt, with the slowest name service.
CLAIM = timedelta(minutes=3)
#: Seconds and deliveries after which an endpoint waits for its next turn, so that others have theirs.
TURN_SECONDS, TURN_DELIVERIES = 20.0, 200
#: Endpoints that are served at a time.
AT_A_TIME = 4

_PRUNED = 1000  # rows at a time: others wait to write, too
_OUTCOMES = ("delivered", "failed", "given_up")
_COUNT = counter(
    "troth_webhook_deliveries", "attempts to tell an endpoint of an event, and events that were given up",
    service="troth-registry", outcome=_OUTCOMES,
)  # fmt: skip
_log = logging.getLogger("troth.events")


@dataclass(frozen=True, slots=True)
class _Task:
    """The next delivery of an endpoint."""

    delivery: int
    sequence: int
    event_id: str
    event: str
    url: str
    secret: str
    trusted: bool


class Deliverer:
    """Delivers events.

    Args:
        database: the registry's.
        sender: makes the requests.
        source: the site, as a URI.
        life: for how long an event is tried.
        kept: how long it stays in the list of deliveries.
        off_days: an endpoint whose attempts fail for so many days, without one success, is switched off; 0: never.
        clock: tells the time, which must not differ between processes by more than half of `CLAIM`.
    """

    def __init__(
        self,
        database: Database,
        sender: Sender,
        source: str,
        *,
        life: timedelta = timedelta(hours=24),
        kept: timedelta = timedelta(days=7),
        off_days: int = 7,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._sender = sender
        self._source = source
        self._life = life
        self._kept = kept
        self._off_days = off_days
        self._clock = clock

    def deliver_due(self, stop: Event | None = None) -> int:
        """Deliver what is due now, to the endpoints that nobody else is at: how many events arrived.

        Args:
            stop: once it is set, nothing more is begun.

        Raises:
            UnavailableError: the database does not answer.
        """
        now = self._clock()
        waiting = exists().where(WebhookDeliveryRow.webhook_id == WebhookRow.id, WebhookDeliveryRow.state == WAITING)
        query = select(WebhookRow.id).where(
            WebhookRow.enabled,
            or_(WebhookRow.due.is_(None), WebhookRow.due <= now),
            or_(WebhookRow.claimed.is_(None), WebhookRow.claimed <= now),
            waiting,
        )
        with self._database.read() as session:
            due = list(session.scalars(query.order_by(WebhookRow.id)))
        turn = partial(self._turn, stop or Event())
        if len(due) < 2:
            return sum(map(turn, due))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return sum(pool.map(turn, due))

    def prune(self) -> int:
        """Forget deliveries that are over, and give up what waits for endpoints that are switched off: how many.

        Raises:
            UnavailableError: the database does not answer.
        """
        now = self._clock()
        off = select(WebhookRow.id).where(WebhookRow.enabled.is_(False))
        self._database.transact(
            lambda session: _give_up(session, WebhookDeliveryRow.webhook_id.in_(off), now - self._life)
        )
        forgotten = 0
        while True:
            query = (
                select(WebhookDeliveryRow.id)
                .where(WebhookDeliveryRow.state != WAITING, WebhookDeliveryRow.created <= now - self._kept)
                .limit(_PRUNED)
            )
            with self._database.read() as session:
                found = list(session.scalars(query))
            if not found:
                return forgotten
            gone = delete(WebhookDeliveryRow).where(WebhookDeliveryRow.id.in_(found))
            self._database.transact(lambda session, gone=gone: session.execute(gone))  # type: ignore[misc]
            forgotten += len(found)

    def _turn(self, stop: Event, webhook: int) -> int:
        claim, delivered = uuid4().hex, 0
        end = time.monotonic() + TURN_SECONDS
        free = or_(WebhookRow.claimed.is_(None), WebhookRow.claimed <= self._clock())
        task = self._next(webhook, claim, free)
        try:
            while task is not None and not stop.is_set():
                outcome = self._attempt(task)
                if not self._record(webhook, claim, task, outcome) or not outcome.delivered:
                    break
                delivered += 1
                if delivered >= TURN_DELIVERIES or time.monotonic() > end:
                    break
                task = self._next(webhook, claim, WebhookRow.claim == claim)
        finally:
            self._release(webhook, claim)
        return delivered

    def _next(self, webhook: int, claim: str, mine: Any) -> _Task | None:
        """Claim the endpoint, or renew that, and find what it is to be told next."""

        def work(session: Session) -> _Task | None:
            now = self._clock()
            claimed = (
                update(WebhookRow)
                .where(WebhookRow.id == webhook, WebhookRow.enabled, mine)
                .values(claim=claim, claimed=now + CLAIM)
                .execution_options(synchronize_session=False)
            )
            if not _changed(session, claimed):
                return None
            _give_up(session, WebhookDeliveryRow.webhook_id == webhook, now - self._life)
            row = session.scalar(
                select(WebhookDeliveryRow)
                .where(WebhookDeliveryRow.webhook_id == webhook, WebhookDeliveryRow.state == WAITING)
                .order_by(WebhookDeliveryRow.sequence)
                .limit(1)
            )
            if row is None:
                return None
            endpoint = session.get_one(WebhookRow, webhook)
            return _Task(
                row.id, row.sequence, row.event_id, row.event, endpoint.url, endpoint.secret, endpoint.trusted
            )

        return self._database.transact(work)

    def _attempt(self, task: _Task) -> Outcome:
        data = body(task.event, source=self._source, sequence=task.sequence)
        signed = headers(task.secret, task.event_id, self._clock(), data)
        outcome = self._sender.post(task.url, data, signed, trusted=task.trusted)
        _COUNT.labels("delivered" if outcome.delivered else "failed").inc()
        return outcome

    def _record(self, webhook: int, claim: str, task: _Task, outcome: Outcome) -> bool:
        """Write down what became of an attempt; whether the endpoint is still ours."""

        def work(session: Session) -> bool:
            now = self._clock()
            endpoint = session.scalar(
                select(WebhookRow).where(WebhookRow.id == webhook, WebhookRow.claim == claim).with_for_update()
            )
            row = session.get(WebhookDeliveryRow, task.delivery)
            if endpoint is None or row is None:
                return False
            row.attempts += 1
            row.attempted, row.status, row.error = now, outcome.status, outcome.error
            if outcome.delivered:
                row.state = DELIVERED
                endpoint.failures, endpoint.due, endpoint.failing_since = 0, None, None
            else:
                endpoint.due = now + PAUSES[min(endpoint.failures, len(PAUSES) - 1)]
                endpoint.failures += 1
                self._judge(session, endpoint, now)
            return True

        recorded = self._database.transact(work)
        if not recorded:
            _log.warning("webhook %s was taken over or removed while number %s was sent", webhook, task.sequence)
        elif not outcome.delivered:
            told = f"{outcome.status} {outcome.error}" if outcome.status else outcome.error
            _log.warning("webhook %s did not take number %s: %s", webhook, task.sequence, told)
        return recorded

    def _judge(self, session: Session, endpoint: WebhookRow, now: datetime) -> None:
        """Switch an endpoint off that has failed for too long; it is enabled, as long as it is ours."""
        endpoint.failing_since = since = endpoint.failing_since or now
        if endpoint.enabled and self._off_days and now - since >= timedelta(days=self._off_days):
            give_up_endpoint(session, endpoint, self._off_days, now)
            told = "webhook %s is switched off: it took nothing since %s", endpoint.id, since
            at_end(session, lambda _: lambda: _log.error(*told))

    def _release(self, webhook: int, claim: str) -> None:
        freed = (
            update(WebhookRow)
            .where(WebhookRow.id == webhook, WebhookRow.claim == claim)
            .values(claim=None, claimed=None)
            .execution_options(synchronize_session=False)
        )
        self._database.transact(lambda session: session.execute(freed))


def open_deliverer(
    settings: Settings, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Deliverer:
    """The deliverer that the settings ask for.

    Args:
        settings: the operator's.
        database: the registry's.
        clock: tells the time.

    Raises:
        SettingsError: a file or a network that they name cannot be used.
    """
    return Deliverer(
        database,
        Sender(open_addresses(settings), settings.webhook_ca),
        f"https://{settings.hosts[0]}",
        life=timedelta(hours=settings.webhook_life_hours),
        kept=timedelta(days=settings.webhook_kept_days),
        off_days=settings.webhook_off_days,
        clock=clock,
    )


def open_addresses(settings: Settings) -> Addresses:
    """The addresses that the settings allow.

    Raises:
        SettingsError: they name a network that is none.
    """
    return Addresses(settings.webhook_networks, plain_http=settings.webhook_plain_http)


def _give_up(session: Session, which: Any, before: datetime) -> None:
    """Give up what waits since before then."""
    given_up = (
        update(WebhookDeliveryRow)
        .where(which, WebhookDeliveryRow.state == WAITING, WebhookDeliveryRow.created <= before)
        .values(state=GIVEN_UP)
        .execution_options(synchronize_session=False)
    )
    if count := _changed(session, given_up):
        at_end(session, lambda _: lambda: _say(count))


def _say(given_up: int) -> None:
    _COUNT.labels("given_up").inc(given_up)
    _log.error("%s events are given up: their endpoints did not take them in time", given_up)


def _changed(session: Session, statement: Any) -> int:
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
