# SPDX-License-Identifier: Apache-2.0
"""Refused attempts in the audit trail, within bounds.

    with refusals.noted(Deed(action="publish", name=gun)):
        …                                       # raises a TrustError

Recorded is what a known caller tried and may not, and what was tried and is against the rules.  A caller without a
token that is to be believed is not: each login begins with that answer, and there is nobody to name.  What could not
be decided (5xx) was not refused.

Whoever is refused a thousand times must not fill the disk, nor push what others are refused out of sight: each
process records so many an hour for each actor, and so many in all.  How many were left out since stands in the next
record; the request log has them all.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from flask import g, has_request_context

from trust.errors import TrustError, UnauthorizedError
from trust.web.audit import REFUSED, Deed, Trail
from trust.web.caller import Who, caller
from trust.web.database import Database

PERIOD = timedelta(hours=1)
#: Records in a period: of one actor, and of all; in each process.
OF_ONE = 20
OF_ALL = 200

_log = logging.getLogger("troth.audit")


class Refusals:
    """Records what is refused.

    Args:
        trail: the service's.
        database: where it is.
        clock: tells the time.
    """

    def __init__(
        self, trail: Trail, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._trail = trail
        self._database = database
        self._clock = clock
        self._lock = Lock()
        self._begun: datetime | None = None
        self._counts: Counter[str] = Counter()
        self._left_out = 0

    @contextmanager
    def noted(self, deed: Deed, who: Who | None = None) -> Iterator[None]:
        """Record `deed` as refused if what is done within is.

        Args:
            deed: what is attempted.
            who: who does; None: whoever makes the request.
        """
        try:
            yield
        except TrustError as error:
            if _is_refusal(error):
                self._note(deed, who or caller(), error)
            raise

    def _note(self, deed: Deed, who: Who, error: TrustError) -> None:
        now = self._clock()
        left_out = self._admit(who.actor, now)
        if left_out is None:
            return
        detail = {**deed.detail, "code": error.code, "message": error.message}
        detail |= {"reason": reason} if (reason := getattr(error, "reason", None)) else {}
        detail |= {"left_out": left_out} if left_out else {}
        refused = replace(deed, detail=detail)
        try:
            self._database.transact(lambda session: self._trail.append(session, who, now, refused, outcome=REFUSED))
        except TrustError as failure:  # the caller is refused in any case, and must be told why
            _log.warning("a refusal cannot be recorded: %s", failure)

    def _admit(self, actor: str, now: datetime) -> int | None:
        """How many were left out before this one; None: this one is, too."""
        with self._lock:
            if self._begun is None or not self._begun <= now < self._begun + PERIOD:
                self._begun = now
                self._counts.clear()
            if self._counts[actor] >= OF_ONE or self._counts.total() >= OF_ALL:
                self._left_out += 1
                return None
            self._counts[actor] += 1
            left_out, self._left_out = self._left_out, 0
            return left_out


def _is_refusal(error: TrustError) -> bool:
    if isinstance(error, UnauthorizedError):
        return has_request_context() and bool(g.get("actor"))
    return error.status < 500
