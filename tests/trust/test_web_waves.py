# SPDX-License-Identifier: Apache-2.0
"""Many who ask at once are answered by few questions, and nobody by one that was sent before they came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from trust.web.waves import Waves


class Slow:
    """Something that answers with a number that grows, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.arrived = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def ask(self) -> int:
        self.asked += 1
        answer = self.asked
        self.arrived.release()
        assert self.let.acquire(timeout=10)
        return answer


def begun(pool: ThreadPoolExecutor, count: int, work: Callable[[], int]) -> list[Future[int]]:
    """So many who ask; they wait by the time that this returns."""
    entered = threading.Semaphore(0)

    def run() -> int:
        entered.release()
        return work()

    futures = [pool.submit(run) for _ in range(count)]
    for _ in range(count):
        assert entered.acquire(timeout=10)
    time.sleep(0.05)  # from there to the wait there are a few instructions
    return futures


def test_who_comes_while_a_question_is_under_way_shares_the_next_one() -> None:
    waves, slow = Waves[int](), Slow()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(waves.ask, "key", slow.ask)
        assert slow.arrived.acquire(timeout=10)
        late = begun(pool, 6, lambda: waves.ask("key", slow.ask))
        assert slow.asked == 1
        slow.let.release()
        assert first.result(10) == 1
        assert slow.arrived.acquire(timeout=10)
        latest = begun(pool, 1, lambda: waves.ask("key", slow.ask))
        slow.let.release()
        assert [each.result(10) for each in late] == [2] * 6
        slow.let.release()
        assert [each.result(10) for each in latest] == [3]
    assert slow.asked == 3


def test_other_keys_do_not_wait() -> None:
    waves, slow = Waves[int](), Slow()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(waves.ask, "key", slow.ask)
        assert slow.arrived.acquire(timeout=10)
        assert waves.ask("other", lambda: 7) == 7
        slow.let.release()
        assert first.result(10) == 1


def test_a_failure_is_that_of_all_who_waited_for_it_and_of_nobody_else() -> None:
    waves, slow = Waves[int](), Slow()

    def fail() -> int:
        slow.ask()
        raise LookupError("gone")

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(waves.ask, "key", slow.ask)
        assert slow.arrived.acquire(timeout=10)
        late = begun(pool, 4, lambda: waves.ask("key", fail))
        slow.let.release(2)
        assert first.result(10) == 1
        for each in late:
            with pytest.raises(LookupError, match="gone"):
                each.result(10)
    assert slow.asked == 2
    assert waves.ask("key", lambda: 5) == 5


def test_no_answer_is_older_than_its_asker() -> None:
    waves, done = Waves[int](), threading.Event()
    now, questions, wrong = [0], [0], list[tuple[int, int]]()

    def question() -> int:
        questions[0] += 1
        seen = now[0]
        time.sleep(0.001)
        return seen

    def ask() -> int:
        count = 0
        while not done.is_set():
            least = now[0]
            if (answer := waves.ask("key", question)) < least:
                wrong.append((answer, least))
            count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        askers = [pool.submit(ask) for _ in range(6)]
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            now[0] += 1
            time.sleep(0.0005)
        done.set()
    assert wrong == []
    assert 0 < questions[0] < sum(each.result() for each in askers) / 2
