# SPDX-License-Identifier: Apache-2.0
"""What the notary server counts (docs/reference/metrics.md)."""

from __future__ import annotations

from collections.abc import Iterable

from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.web.metrics import counter

_SERVICE = "troth-server"
_KINDS = (ROOT, TARGETS, "delegation", SNAPSHOT, TIMESTAMP)
_VERSIONS = counter("troth_published_versions", "versions of files that were stored", service=_SERVICE, role=_KINDS)
#: By what was being done; nobody has to act: it is done anew, or somebody else has done it.
LOST_RACES = counter(
    "troth_lost_races",
    "attempts that came to nothing because another writer of the collection was faster",
    service=_SERVICE,
    at=("publish", "renewal", "deletion"),
)


def stored(roles: Iterable[RoleName]) -> None:
    """Count a new version of each role; once it is committed."""
    for role in roles:
        _VERSIONS.labels(role if role in _KINDS else "delegation").inc()
