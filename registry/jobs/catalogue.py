# SPDX-License-Identifier: Apache-2.0
"""The kinds of jobs that there are.

kinds = make_kinds(parts)
kinds["gc"].run(turn)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

from registry.jobs import drift, prune, refresh
from registry.jobs.garbage import MIN_GRACE, Collector
from registry.jobs.garbage import Report as Collected
from registry.jobs.kinds import NAMES, Kind, Report, Turn
from registry.jobs.trust import Parts, repository_names
from registry.jobs.untagged import Untagged
from registry.models import TRAIL
from registry.operations import Schema, object_schema
from trust.web.audit import Deed

_HOURS = {"type": "integer", "minimum": MIN_GRACE // timedelta(hours=1), "maximum": 100_000}
GC_OPTIONS: Schema = object_schema(
    {
        "grace_hours": {**_HOURS, "description": "how long a blob, and an untagged manifest, may be unneeded; 24"},
        "upload_grace_hours": {**_HOURS, "description": "how long an upload may be silent; 168"},
        "untagged": {"type": "boolean", "description": "whether manifests go that nothing needs; false"},
        "dry_run": {"type": "boolean"},
    }
)


def make_kinds(parts: Parts) -> dict[str, Kind]:
    """The kinds by name; `parts` is what they work with."""

    def bound(run: Callable[[Parts, Turn], Report]) -> Callable[[Turn], Report]:
        return lambda turn: run(parts, turn)

    kinds = (
        Kind("gc", "remove blobs, uploads and remains that nothing needs", GC_OPTIONS, "17 3 * * *", True,
             bound(collect)),
        Kind("prune", "remove old tags, by rules", prune.OPTIONS, "47 2 * * *", False,
             lambda turn: prune.Pruning(parts, turn).run()),
        Kind("refresh", "have timestamps renewed, and tell what only people can renew", refresh.OPTIONS,
             "7 */6 * * *", True, bound(refresh.refresh)),
        Kind("drift", "tell where tags and signatures differ", drift.OPTIONS, "37 4 * * *", True,
             bound(drift.drift)),
    )  # fmt: skip
    found = {kind.name: kind for kind in kinds}
    assert tuple(found) == NAMES
    return found


def collect(parts: Parts, turn: Turn) -> Report:
    """The garbage collector, with its deed in the audit trail if it changed anything."""
    options = turn.options
    grace = timedelta(hours=options.get("grace_hours", 24))
    dry_run = bool(options.get("dry_run", False))
    marked, removed = 0, 0
    if options.get("untagged", False):
        untagged, before = Untagged(parts, turn), parts.clock() - grace
        for repository in repository_names(parts.database):
            turn.check()
            count = untagged.collect(repository, before=before, dry_run=dry_run)
            marked, removed = marked + count.marked, removed + count.removed
    report = Collector(parts.database, parts.storage, parts.clock, turn.check).collect(
        grace=grace, upload_grace=timedelta(hours=options.get("upload_grace_hours", 168)), dry_run=dry_run
    )
    if report != Collected() and not dry_run:
        with parts.database.write() as session:
            TRAIL.append(session, turn.who, parts.clock(), Deed(action="gc", detail=asdict(report)))
    return asdict(report) | {"manifests": removed, "manifests_marked": marked, "dry_run": dry_run}
