# SPDX-License-Identifier: Apache-2.0
"""What is measured: a case has two sides, which take turns on the same machine with the same work."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scale:
    """How much work is done.

    Attributes:
        rounds: how often the two sides take turns.
        seconds: of load in each turn, where it is time that ends it.
        publishes: publishes of a small collection in each turn.
        large: targets of a large collection.
        growth: targets of collections, and repositories and tags, to see how cost grows.
        blob: bytes of a blob that is pushed and pulled.
        image: bytes of an image.
    """

    rounds: int
    seconds: float
    publishes: int
    large: int
    growth: Sequence[int]
    blob: int
    image: int


FULL = Scale(5, 3, 400, 10_000, (1, 100, 10_000, 100_000), 100 << 20, 200_000_000)
#: Enough to see that every case runs.
SMOKE = Scale(1, 0, 8, 50, (1, 20), 1 << 20, 1_000_000)


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: what is done.
        unit: of the figures.
        goal: what ours divided by the peer's should be, at least; where less is better, at most.  None: shown only.
        ours: does it once with ours, and returns the figure.
        peer: does it with the peer; None where there is no peer.
        less_is_better: of memory and times.
    """

    name: str
    unit: str
    goal: float | None
    ours: Callable[[], float]
    peer: Callable[[], float] | None = None
    less_is_better: bool = False


@dataclass
class Result:
    """The figures of a case, one of each side a round."""

    name: str
    unit: str
    goal: float | None
    less_is_better: bool
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the peer's of the same round."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=False) if peer]

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio <= self.goal if self.less_is_better else self.ratio >= self.goal


def measure(case: Case, rounds: int) -> Result:
    """Let the sides take turns, the other one first in every second round."""
    result = Result(case.name, case.unit, case.goal, case.less_is_better)
    sides = [(result.ours, case.ours)]
    if case.peer is not None:
        sides.append((result.peer, case.peer))
    for number in range(rounds):
        for figures, side in sides if number % 2 == 0 else reversed(sides):
            figures.append(side())
    return result
