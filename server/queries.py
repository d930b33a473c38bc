# SPDX-License-Identifier: Apache-2.0
"""The store's statements that are asked for again and again: each is made once, as making it costs as much as
running it.

    session.execute(newest_of(2), {"gun": gun, "role0": TIMESTAMP, "role1": SNAPSHOT})
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    LargeBinary,
    Select,
    Table,
    bindparam,
    func,
    null,
    select,
    union_all,
)
from sqlalchemy import cast as cast_to

from server.models import ChangeRow, TufFileRow
from trust.names import TIMESTAMP

# The tables and not the classes: nothing here needs the ORM, which costs as much again as a statement.
FILES = cast(Table, TufFileRow.__table__)
CHANGES = cast(Table, ChangeRow.__table__)
COLUMNS = (FILES.c.role, FILES.c.version, FILES.c.data, FILES.c.sha256, FILES.c.created_at)

#: The row that writers of a collection queue up at.
LOCK = (
    select(FILES.c.version)
    .where(FILES.c.gun == bindparam("gun"), FILES.c.role == TIMESTAMP)
    .order_by(FILES.c.version.desc())
    .limit(1)
    .with_for_update()
)

_ONE = select(*COLUMNS).where(FILES.c.gun == bindparam("gun"), FILES.c.role == bindparam("role")).limit(1)
#: One file by its hash, and one by its version: `gun`, `role`, and `sha256` or `version`.
BY_CHECKSUM = _ONE.where(FILES.c.sha256 == bindparam("sha256"))
BY_VERSION = _ONE.where(FILES.c.version == bindparam("version"))


@lru_cache(maxsize=64)
def highest_of(count: int) -> Select[*tuple[Any, ...]]:
    """The query for the highest versions of `count` roles: `gun`, `role0`, `role1` and so on."""
    return select(
        *(select(func.max(FILES.c.version)).where(_is_role(index)).scalar_subquery() for index in range(count))
    )


@lru_cache(maxsize=64)
def newest_of(count: int, bare: int = 0) -> CompoundSelect[*tuple[Any, ...]]:
    """The query for the newest file of each of `count` roles, and without its bytes of each of `bare` more."""
    without = [cast_to(null(), LargeBinary).label("data") if each is FILES.c.data else each for each in COLUMNS]
    newest = [
        select(*(COLUMNS if index < count else without))
        .where(_is_role(index))
        .order_by(FILES.c.version.desc())
        .limit(1)
        .subquery()
        for index in range(count + bare)
    ]
    return union_all(*(select(each) for each in newest))


def _is_role(index: int) -> ColumnElement[bool]:
    return (FILES.c.gun == bindparam("gun")) & (FILES.c.role == bindparam(f"role{index}"))
