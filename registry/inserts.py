# SPDX-License-Identifier: Apache-2.0
"""Rows that two requests may want to make at the same time: the unique constraint says who was first."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.base import Base

R = TypeVar("R", bound=Base)


def insert_or_find(session: Session, row: R, find: Select[R]) -> R:
    """Add `row`, or give the one that is there already.

    Args:
        session: in a transaction that writes.
        row: what to add.
        find: how to find the row that stands in its way.
    """
    if (found := session.scalar(find)) is not None:
        return found
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Without a lock, if the caller wants none: MariaDB let all who came too late share one on that row, and they
        # would wait for each other.
        found = session.scalar(find)
        if found is None:
            raise
        return found
    return row
