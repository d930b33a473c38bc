# SPDX-License-Identifier: Apache-2.0
"""Look an audit trail over: does each record follow the one before, and is the end where it should be?

    check(trail, session, heads=[parse_head("17:3f…")])       # raises BrokenTrailError with the first bad number

The chain shows what was changed within it, and by whom it was not: whoever may write to the database can write all
of it anew, hashes included.  A head that was kept elsewhere (a log line, a ticket, a print-out) shows that, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sqlalchemy.orm import Session

from trust.canonical import encode
from trust.errors import InvalidError, TrustError
from trust.web.audit import BEGINNING, Head, Record, Trail

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class BrokenTrailError(TrustError):
    """The trail is not what was written.

    Args:
        seq: the first record that is wrong or missing.
        what: what is wrong with it.
    """

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(f"record {seq}: {what}")
        self.seq = seq


def parse_head(text: str) -> Head:
    """A head as it is logged and printed, `17:<hash>`.

    Raises:
        InvalidError: it is not one.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise InvalidError("a head is the number of a record, a colon, and its hash of 64 hex digits")
    return Head(int(match[1]), match[2])


def check(trail: Trail, session: Session, *, heads: Iterable[Head] = (), after: Head | None = None) -> Head:
    """Walk the chain to its end, a few records at a time.

    Args:
        trail: the trail.
        session: sees one state of the database to the end.
        heads: what is known of the chain from elsewhere.
        after: the last record that was archived and deleted; None: all should be here.

    Returns:
        The end.

    Raises:
        InvalidError: a head of `heads` is before `after`.
        BrokenTrailError: a record was changed, moved or removed, the end was cut off, or a head of `heads` is not
            part of the chain.
        UnavailableError: the database does not answer.
    """
    known: dict[int, set[str]] = {}
    for head in heads:
        known.setdefault(head.seq, set()).add(head.hash)
    last = after or Head(0, BEGINNING)
    if (first := min(known, default=last.seq)) < last.seq:
        raise InvalidError(f"record {first} is among those that were archived: the trail here cannot show it")
    _check_known(last, known)
    for record in trail.records(session, after=None if after is None else after.seq):
        _check_record(record, last)
        last = Head(record.seq, record.hash)
        _check_known(last, known)
    end = trail.head(session)
    if end.seq > last.seq:
        raise BrokenTrailError(last.seq + 1, f"is missing: the end was cut off, there were {end.seq} records")
    if end != last:
        raise BrokenTrailError(last.seq, f"is not where the trail ends, according to its head {end}")
    lost = [seq for seq in known if seq > last.seq]
    if lost:
        raise BrokenTrailError(last.seq + 1, f"is missing: record {max(lost)} is known, and the end was cut off")
    return last


def _check_known(last: Head, known: Mapping[int, set[str]]) -> None:
    if known.get(last.seq, {last.hash}) != {last.hash}:  # two that differ: there was another trail
        raise BrokenTrailError(last.seq, f"is not the one that was known; the trail was written anew: {last}")


def _check_record(record: Record, last: Head) -> None:
    if record.seq != last.seq + 1:
        if not isinstance(record.seq, int) or record.seq <= last.seq:  # SQLite keeps what it is given
            raise BrokenTrailError(record.seq, "has a number that no record has")
        raise BrokenTrailError(last.seq + 1, f"is missing: the next is record {record.seq}")
    if record.previous != last.hash:
        what = f"does not follow record {last.seq}: one of the two was moved, replaced or written anew"
        raise BrokenTrailError(record.seq, what if last.seq else "is not the beginning of a trail")
    try:
        is_whole = record.digest() == record.hash and encode(record.fields()["detail"]).decode() == record.detail
    except (ValueError, TypeError, TrustError):
        is_whole = False
    if not is_whole:
        raise BrokenTrailError(record.seq, "was changed: its hash is not that of what it says")
