# SPDX-License-Identifier: Apache-2.0
"""The tables of events: who wants to be told of what, and what each of them is still to be told.

    webhooks ── webhook_deliveries      an endpoint, and the events that were written down for it, 1, 2, 3 …

An event has a row for each endpoint that wants it, and none if nobody does.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.base import Base
from registry.models import Moment, ascii_text

MAX_URL = 2000
#: What is kept of why a delivery failed.
MAX_ERROR = 255

WAITING = "waiting"
DELIVERED = "delivered"
GIVEN_UP = "given up"


class WebhookRow(Base):
    """An endpoint.

    Attributes:
        place: a repository, a namespace (it ends in a slash), or nothing for the whole site.
        secret: what its deliveries are signed with; shown to nobody.
        kinds: the kinds of events, joined by commas.
        trusted: whether an administrator made it: it may then be at an address of `webhook_networks`.
        sequence: the number of the last event that was written down for it.
        failures: attempts that failed since the last that did not.
        due: before then nothing is attempted; empty: at once.
        failing_since: when the first of these failed.
        disabled: since when it is switched off, where that is known; `disabled_reason`: why.
        claim: who is delivering; `claimed`: until when nobody else does.
    """

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    place: Mapped[str] = mapped_column(ascii_text(200), index=True)
    url: Mapped[str] = mapped_column(String(MAX_URL))
    secret: Mapped[str] = mapped_column(ascii_text(128))
    kinds: Mapped[str] = mapped_column(String(255))
    enabled: Mapped[bool]
    trusted: Mapped[bool]
    created: Mapped[datetime] = mapped_column(Moment)
    creator: Mapped[str] = mapped_column(String(255))
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    due: Mapped[datetime | None] = mapped_column(Moment)
    failing_since: Mapped[datetime | None] = mapped_column(Moment)
    disabled: Mapped[datetime | None] = mapped_column(Moment)
    disabled_reason: Mapped[str | None] = mapped_column(String(MAX_ERROR))
    claim: Mapped[str | None] = mapped_column(ascii_text(32))
    claimed: Mapped[datetime | None] = mapped_column(Moment)


class WebhookDeliveryRow(Base):
    """An event that an endpoint is told, or was: `event` is what `registry.events.event.to_json` gave."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "sequence"),
        Index("ix_webhook_deliveries_state", "webhook_id", "state", "sequence"),
    )

    # SQLite counts up only in a column that is exactly INTEGER.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    sequence: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str] = mapped_column(ascii_text(36))
    kind: Mapped[str] = mapped_column(ascii_text(32))
    event: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Moment, index=True)
    state: Mapped[str] = mapped_column(ascii_text(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    attempted: Mapped[datetime | None] = mapped_column(Moment)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(String(MAX_ERROR))
