# SPDX-License-Identifier: Apache-2.0
"""Whether the server can do its work: each hop it depends on, by name (NOTARY_V1 §2.6).

Anybody may ask, so the answer says which hop fails and the log says why; and it is remembered for a few seconds, so
that asking often costs nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from trust.errors import TrustError
from trust.keystore import KeyStore
from trust.names import TIMESTAMP, Gun
from trust.web.database import Database

#: Seconds for which an answer holds.
KEPT = 5.0

_NOBODY = Gun("health")

_log = logging.getLogger("troth.server")


class Health:
    """Asks the database and the signer.

    Args:
        database: the server's database.
        keys: the signer; it should give up soon.
    """

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._hops: dict[str, tuple[Callable[[], object], str]] = {
            "DB operational": (database.ping, "the database does not answer"),
            # A real question, which takes the signer to its own database.
            "Trust operational": (lambda: keys.find(_NOBODY, TIMESTAMP, ["0" * 64]), "the signer does not answer"),
        }
        self._lock = Lock()
        self._asked = float("-inf")
        self._failing: dict[str, str] = {}

    def failing(self) -> dict[str, str]:
        """The hops that fail, each with a sentence; empty when all is well."""
        with self._lock:  # others wait for the answer instead of asking, too
            if time.monotonic() - self._asked >= KEPT:
                self._failing = {
                    name: sentence for name, (ask, sentence) in self._hops.items() if not _answers(name, ask)
                }
                self._asked = time.monotonic()
            return dict(self._failing)


def _answers(name: str, ask: Callable[[], object]) -> bool:
    try:
        ask()
    except TrustError as error:
        _log.warning("%s: %s", name, error)
        return False
    return True
