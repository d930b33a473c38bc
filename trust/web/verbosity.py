# SPDX-License-Identifier: Apache-2.0
"""Change how much a running service logs, as the original's operators do (NOTARY_V1 §4.3).

    kill -USR1 <pid of the service>     # more
    kill -USR2 <pid of the service>     # less

The master moves its own level, which later workers inherit, and hands the signal on to the workers that it has.
Without this gunicorn would start a second master at SIGUSR2.
"""

from __future__ import annotations

import logging
import signal
from typing import Any

from gunicorn.arbiter import Arbiter

#: What one signal moves along.
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)

_log = logging.getLogger(__name__)


def more() -> None:
    """Log one level more, in this process."""
    _move(1)


def less() -> None:
    """Log one level less, in this process; errors are always logged."""
    _move(-1)


def _move(step: int) -> None:
    root = logging.getLogger()
    now = sum(level >= root.level for level in _LEVELS) - 1
    level = _LEVELS[min(max(now + step, 0), len(_LEVELS) - 1)]
    root.setLevel(level)
    _log.log(level, "log level: %s", logging.getLevelName(level).lower())


class Master(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master with these two signals."""

    def handle_usr1(self) -> None:
        """Log more."""
        more()
        self.kill_workers(signal.SIGUSR1)

    def handle_usr2(self) -> None:
        """Log less."""
        less()
        self.kill_workers(signal.SIGUSR2)


def listen_in_worker() -> None:
    """Let this process, a worker, obey both signals.  They interrupt no request."""

    def obey(number: int, _frame: Any) -> None:
        more() if number == signal.SIGUSR1 else less()

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, obey)
        signal.siginterrupt(number, False)
