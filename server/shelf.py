# SPDX-License-Identifier: Apache-2.0
"""Files that were given out before, for as long as nothing at all has changed.

    shelf = Shelf(database.watch(STATE), clock)
    file = shelf.get(key, lambda: Kept(file, until))

Whatever changes a collection, in any process of any replica, appends to the audit trail in the same transaction, one
after the other.  So the head of the trail tells whether anything has changed since a file was read: it is asked for
each time, and was read before the file was.  What an original server writes into the same tables has no record there;
its rows' numbers tell.  A process that does not get an answer keeps nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime

from server.models import TRAIL, ChangeRow, TufFileRow
from server.store import StoredFile
from trust.web import tracing
from trust.web.watch import Look, Watch

#: Changes with every change.
STATE = (
    f"SELECT seq, hash, (SELECT max(id) FROM {TufFileRow.__tablename__}), "  # noqa: S608  # names of ours
    f"(SELECT max(id) FROM {ChangeRow.__tablename__}) FROM {TRAIL.head_table}"
)
#: What a process keeps at most, and the longest file that it keeps.
MAX_BYTES = 16 << 20
MAX_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read.

    Attributes:
        file: the file.
        until: when somebody must look again even though nothing has changed; None: never.
    """

    file: StoredFile
    until: datetime | None = None


class Shelf:
    """The files of this process that were asked for last.

    Args:
        state: what `STATE` gives.
        clock: tells the time.
    """

    def __init__(self, state: Watch, clock: Callable[[], datetime]) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: Look | None = None
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes of the files that are kept."""
        return self._bytes

    def get(self, key: Hashable, read: Callable[[], Kept | None]) -> StoredFile | None:
        """The file for `key`.

        Args:
            key: says which.
            read: reads it, and says how long it is good; None: there is none.
        """
        state = self._state.seen()
        if state is not None:
            with self._lock:
                if state != self._seen:
                    # What is old may be of an older state than what a slower thread has just seen; it goes, too.
                    self._seen, self._bytes = state, 0
                    self._kept.clear()
                elif (kept := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    if kept.until is None or self._clock() < kept.until:
                        return kept.file
        tracing.takes_time()
        found = read()
        if found is None:
            return None
        if state is not None and len(found.file.data) <= MAX_FILE:
            self._keep(state, key, found)
        return found.file

    def _keep(self, state: Look, key: Hashable, found: Kept) -> None:
        with self._lock:
            if state != self._seen:
                return  # it was read in a state that is past
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= len(old.file.data)
            self._kept[key] = found
            self._bytes += len(found.file.data)
            while self._bytes > MAX_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone.file.data)
