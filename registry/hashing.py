# SPDX-License-Identifier: Apache-2.0
"""Hashes of uploads, computed beside the writing and kept from one request to the next.

    running = Running({"sha256"})
    storage.append(upload, 0, running.follow(blocks))    # while one block is written, the one before is hashed
    running.hexdigests()

Hashing takes longer than writing, and needs no lock of Python's, so it is done by threads of its own.  The state of a
hash cannot leave its process: `Begun` keeps it for the next request of the same upload, if that comes to this process
and begins at this very offset.  Otherwise the bytes are read back from the storage.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import cycle
from threading import Lock

from registry.storage.base import Block

#: Uploads whose hashes a process keeps; each is a few hundred bytes.
MAX_BEGUN = 1000
#: How many blocks the hashing may be behind.  With one, each thread waits for the other to wake up, block by block.
BEHIND = 4


class Running:
    """The hashes of all bytes that went by.

    Args:
        algorithms: `sha256` and perhaps `sha512`.
    """

    def __init__(self, algorithms: Collection[str]) -> None:
        self.algorithms = frozenset(algorithms)
        self._hashes = {algorithm: hashlib.new(algorithm) for algorithm in self.algorithms}
        self._thread = next(_threads())
        self._waiting: deque[Future[None]] = deque()

    def follow(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Hand `blocks` on; each is hashed while the next ones come, before the one after `BEHIND` more.

        The last ones may still be hashed when this is over, beside what is done with them next.
        """
        for block in blocks:
            self._wait(BEHIND - 1)
            self._waiting.append(self._thread.submit(self._update, block))
            yield block

    def hexdigests(self) -> dict[str, str]:
        """The hashes by algorithm; more bytes may follow."""
        self._wait()
        return {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}

    def _wait(self, left: int = 0) -> None:
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def _update(self, block: Block) -> None:
        for each in self._hashes.values():
            each.update(block)


class Begun:
    """The hashes of uploads between two requests, by how many bytes they are of."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[int, Running]] = OrderedDict()

    def take(self, upload: str, offset: int, algorithms: Collection[str]) -> Running | None:
        """The hashes of the first `offset` bytes, by these algorithms; None: they must be read back.

        Whoever takes them puts them back by `keep`, once what followed is recorded.
        """
        with self._lock:
            kept_offset, running = self._kept.pop(upload, (0, None))
        if offset == 0:
            return Running(algorithms)
        if running is None or kept_offset != offset or running.algorithms != set(algorithms):
            return None
        return running

    def keep(self, upload: str, offset: int, running: Running) -> None:
        """Keep the hashes of an upload whose first `offset` bytes are recorded."""
        with self._lock:
            self._kept[upload] = offset, running
            if len(self._kept) > MAX_BEGUN:
                self._kept.popitem(last=False)


@cache
def _threads() -> Iterator[ThreadPoolExecutor]:
    # In the worker, after the fork.  One thread each, which keeps the order; more of them would only take turns.
    return cycle([ThreadPoolExecutor(1, thread_name_prefix="hashing") for _ in range(max(2, os.cpu_count() or 1))])
