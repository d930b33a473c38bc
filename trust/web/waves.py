# SPDX-License-Identifier: Apache-2.0
"""One question for all who want to know the same at once, and no answer that is older than its asker.

    waves = Waves()
    waves.ask(gun, lambda: fetch(gun))

Who asks while a question is under way waits for the next one, which is asked once for all who wait by then: a
question that was sent before somebody came may have been answered before something that they know of.  So each gets
what they would have got by asking alone, and of many who ask at once few do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from trust.web import tracing

T = TypeVar("T")


class _Wave(Generic[T]):
    """Those who wait for one answer."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.answer: T | None = None
        self.error: Exception | None = RuntimeError("the question was broken off")


class _Line(Generic[T]):
    """The waves of one key: the one that is under way, and the one that gathers meanwhile."""

    def __init__(self, asking: _Wave[T]) -> None:
        self.asking = asking
        self.gathering: _Wave[T] | None = None


class Waves(Generic[T]):
    """Questions by what they are about; of each no more than one is under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Hashable, _Line[T]] = {}

    def ask(self, key: Hashable, question: Callable[[], T]) -> T:
        """The answer to a question that was sent after this was called.

        Args:
            key: what it is about; questions with the same key are the same.
            question: asks.  What it raises is raised for all who waited for it.
        """
        tracing.takes_time()
        with self._lock:
            line, before = self._lines.get(key), None
            if line is None:
                wave, is_mine = _Wave[T](), True
                self._lines[key] = line = _Line(wave)
            elif line.gathering is None:
                wave, is_mine, before = _Wave[T](), True, line.asking
                line.gathering = wave
            else:
                wave, is_mine = line.gathering, False
        if not is_mine:
            wave.is_over.wait()
        else:
            if before is not None:
                before.is_over.wait()
                with self._lock:  # who comes from now on is too late for it
                    line.asking, line.gathering = wave, None
            try:
                wave.answer = question()
                wave.error = None
            except Exception as error:
                wave.error = error
            finally:
                with self._lock:
                    if line.gathering is None:
                        del self._lines[key]
                wave.is_over.set()
        if wave.error is not None:
            raise wave.error
        return cast(T, wave.answer)
