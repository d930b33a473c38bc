# SPDX-License-Identifier: Apache-2.0
"""How much memory a service holds: the proportional set size of its processes, shared pages counted once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from flows.stack import descendants

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def megabytes(processes: Iterable[int]) -> float:
    """What these processes and their descendants hold."""
    family = {pid for process in processes for pid in (process, *descendants(process))}
    return sum(_kilobytes(pid) for pid in family) / 1024


def _kilobytes(process: int) -> int:
    try:
        found = _PSS.search(Path(f"/proc/{process}/smaps_rollup").read_text())
    except OSError:  # it has ended
        return 0
    return int(found[1]) if found else 0
