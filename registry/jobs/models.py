# SPDX-License-Identifier: Apache-2.0
"""The tables of jobs.

    job_schedules      one for each kind of job: when it runs, and with which options
    job_runs           what ran, runs or will run: who started it, how it went, what it says

A kind runs once at a time: whoever runs it holds the lease `jobs/<kind>` (`registry.leases`).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.base import Base
from registry.models import Moment, ascii_text, bytes_of_any_length

#: The longest name of a kind.
KIND_LENGTH = 16
#: The longest cron expression.
CRON_LENGTH = 128


class ScheduleRow(Base):
    """When a kind of job runs by itself; `due` is its next time, null while it is not enabled."""

    __tablename__ = "job_schedules"

    kind: Mapped[str] = mapped_column(ascii_text(KIND_LENGTH), primary_key=True)
    cron: Mapped[str] = mapped_column(ascii_text(CRON_LENGTH))
    options: Mapped[bytes] = mapped_column(bytes_of_any_length())
    enabled: Mapped[bool] = mapped_column(Boolean)
    due: Mapped[datetime | None] = mapped_column(Moment)


class RunRow(Base):
    """One run; `options` and `report` are JSON objects, `log` is UTF-8."""

    __tablename__ = "job_runs"
    __table_args__ = (Index("ix_job_runs_kind", "kind", "id"), Index("ix_job_runs_state", "state", "kind"))

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    kind: Mapped[str] = mapped_column(ascii_text(KIND_LENGTH))
    options: Mapped[bytes] = mapped_column(bytes_of_any_length())
    #: who started it, as in the audit trail; `(schedule)` if nobody did
    actor: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(ascii_text(16))
    #: whether somebody wants it to end
    is_unwanted: Mapped[bool] = mapped_column(Boolean)
    #: how many processes have begun it
    attempts: Mapped[int] = mapped_column(Integer)
    created: Mapped[datetime] = mapped_column(Moment)
    started: Mapped[datetime | None] = mapped_column(Moment)
    ended: Mapped[datetime | None] = mapped_column(Moment)
    report: Mapped[bytes | None] = mapped_column(bytes_of_any_length())
    log: Mapped[bytes] = mapped_column(bytes_of_any_length())
