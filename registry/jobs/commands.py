# SPDX-License-Identifier: Apache-2.0
"""Housekeeping as commands of `troth-registry`.

troth-registry gc [--dry-run] [--grace-hours N] [--upload-grace-hours N] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from registry.jobs.garbage import MIN_GRACE, Collector, Report
from registry.models import TRAIL
from registry.storage.base import Storage
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import Database

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.job_handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Database, Storage, argparse.Namespace], int]


def add_commands(subparsers: Subparsers) -> None:
    """Add `gc`; the parsed command has a `job_handler`, a `Command`."""
    gc = subparsers.add_parser("gc", help="remove blobs that no manifest names, and stale uploads; online")
    gc.add_argument("--dry-run", action="store_true", help="change nothing; say what would be removed now")
    gc.add_argument("--grace-hours", type=_hours, default=24, metavar="N", help="how long a blob may be without one")
    gc.add_argument("--upload-grace-hours", type=_hours, default=168, metavar="N", help="and an upload silent")
    gc.add_argument("--json", action="store_true", help="the report as JSON")
    gc.set_defaults(job_handler=_collect)


def _collect(database: Database, storage: Storage, arguments: argparse.Namespace) -> int:
    report = Collector(database, storage, lambda: datetime.now(UTC)).collect(
        grace=timedelta(hours=arguments.grace_hours),
        upload_grace=timedelta(hours=arguments.upload_grace_hours),
        dry_run=arguments.dry_run,
    )
    if not arguments.dry_run and report != Report():
        with database.write() as session:
            TRAIL.append(session, Who(), datetime.now(UTC), Deed(action="gc", detail=asdict(report)))
    if arguments.json:
        print(json.dumps(asdict(report)))
        return 0
    would = "would be " if arguments.dry_run else ""
    print(f"blobs:   {report.contents} {would}removed, {report.content_bytes} bytes")
    print(f"links:   {report.links} {would}removed, {report.marked} {would}marked for later")
    print(f"uploads: {report.uploads} {would}removed")
    print(f"remains: {report.remains} {would}removed, {report.remains_bytes} bytes")
    return 0


def _hours(text: str) -> int:
    hours = int(text)
    if timedelta(hours=hours) < MIN_GRACE:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_GRACE}: pushes are under way")
    return hours
