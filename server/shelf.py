# SPDX-License-Identifier: Apache-2.0
"""Files that were given out before, for as long as nothing at all has changed.

    shelf = Shelf(database.watch(TRAIL.head_statement))
    file = shelf.get(key, lambda: Kept(file, until))

Whatever changes a collection, in any process of any replica, appends to the audit trail in the same transaction, one
after the other.  So the head of the trail tells whether anything has changed since a file was read: it is asked for
each time, and was read before the file was.  A process that does not get an answer keeps nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime

from server.store import StoredFile
from trust.web.watch import Look, Watch

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
        head: the head of the audit trail.
        clock: tells the time.
    """

    def __init__(self, head: Watch, clock: Callable[[], datetime]) -> None:
        self._head = head
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
        head = self._head.look()
        if head is not None:
            with self._lock:
                if head != self._seen:
                    # What is old may be of an older head than what a slower thread has just seen; it goes, too.
                    self._seen, self._bytes = head, 0
                    self._kept.clear()
                elif (kept := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    if kept.until is None or self._clock() < kept.until:
                        return kept.file
        found = read()
        if found is None:
            return None
        if head is not None and len(found.file.data) <= MAX_FILE:
            self._keep(head, key, found)
        return found.file

    def _keep(self, head: Look, key: Hashable, found: Kept) -> None:
        with self._lock:
            if head != self._seen:
                return  # it was read under a head that is past
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= len(old.file.data)
            self._kept[key] = found
            self._bytes += len(found.file.data)
            while self._bytes > MAX_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone.file.data)
