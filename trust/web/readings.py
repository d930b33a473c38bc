# SPDX-License-Identifier: Apache-2.0
"""What was read from the database, given out again while nobody has written to it.

    policy = database.readings.get(("policy", name), lambda: read_policy(name))

Once in each request the database is asked whether anything was committed to it since (`Database.changes`), by this
process or any other: one short question instead of all the statements by which a value was found.  The answer is as
new as the request: whatever was committed before the request came is seen by it.  Nothing is believed for a while,
and after any commit at all everything is read again.

A value is kept with the state that was seen before it was read, so it may be newer than that state, and never older.
Outside of a request, and where the database has no such question (MariaDB), everything is read each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar, cast

from trust.web import tracing
from trust.web.watch import Look, Watch

R = TypeVar("R")

#: What a process keeps at most: values, the bytes in them, and the bytes of one.
MAX_VALUES = 10_000
MAX_BYTES = 16 << 20
MAX_VALUE = 1 << 20

#: What a short value counts as, with its key.
_LEAST = 1 << 10


class _Shelf:
    """The values of one state."""

    def __init__(self, state: Look | None) -> None:
        self.state = state
        self.values: dict[Hashable, Any] = {}
        self.bytes = 0


class Readings:
    """Values of one database, in one process.

    Attributes:
        changes: is another after every commit; None: that cannot be told.
    """

    def __init__(self, changes: Watch | None) -> None:
        self.changes = changes
        self._lock = Lock()
        self._shelf = _Shelf(None)

    def get(self, key: Hashable, read: Callable[[], R]) -> R:
        """A value that follows from the database alone.

        Args:
            key: says which; equal keys have equal values in one state of the database.
            read: finds it, in a transaction that begins now.  What it raises is not kept.  The value is shared by
                threads: nobody changes it.
        """
        state = self._state()
        if state is None:
            tracing.takes_time()
            return read()
        shelf = self._shelf
        if shelf.state != state:
            with self._lock:
                if self._shelf.state != state:
                    # Perhaps a slower request's state, older than what another has just seen: it goes, too.
                    self._shelf = _Shelf(state)
                shelf = self._shelf
        found = shelf.values.get(key, self)
        if found is not self:
            return cast(R, found)
        tracing.takes_time()
        value = read()
        self._keep(shelf, key, value)
        return value

    def renew(self) -> None:
        """Let the rest of this request see what it has itself written."""
        if (facts := tracing.current()) is not None:
            facts.seen.pop(self.changes, None)

    def _state(self) -> Look | None:
        return None if self.changes is None or tracing.current() is None else self.changes.seen()

    def _keep(self, shelf: _Shelf, key: Hashable, value: object) -> None:
        size = _LEAST + (len(value) if isinstance(value, bytes) else 0)
        if size > MAX_VALUE:
            return
        with self._lock:
            if shelf.bytes + size > MAX_BYTES or len(shelf.values) >= MAX_VALUES:
                shelf.values.clear()
                shelf.bytes = 0
            shelf.values[key] = value
            shelf.bytes += size
