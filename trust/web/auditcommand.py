# SPDX-License-Identifier: Apache-2.0
"""The command `audit` of each service.

    troth-server audit --config server.toml --gun localhost:5000/library/app --since 2026-11-01
    troth-server audit --config server.toml --json
    troth-server audit --config server.toml verify --head 17:3f…

The first two print records, the third looks the whole trail over and ends with status 1 if it is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trust.errors import InvalidError, TrustError
from trust.web.audit import Head, Record, Trail, clean
from trust.web.auditcheck import BrokenTrailError, check, parse_head
from trust.web.database import Database
from trust.web.run import complain


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` what the command understands, all but where the settings are."""
    parser.add_argument("action", nargs="?", choices=["verify"], help="look the whole trail over; else print records")
    parser.add_argument("--gun", "--name", dest="name", help="of this GUN, repository or user only")
    parser.add_argument("--since", type=_since, metavar="TIME", help="from this day or moment (ISO 8601, UTC) on")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all that was hashed")
    parser.add_argument("--head", type=_head, action="append", default=[], metavar="NUMBER:HASH",
                        help="verify: a head from a kept log that must be part of the trail; repeatable")  # fmt: skip
    parser.add_argument("--after", type=_head, metavar="NUMBER:HASH",
                        help="verify: the last record that was archived and deleted")  # fmt: skip


def main(service: str, trail: Trail, arguments: Sequence[str], database_url: Callable[[Path | None], str]) -> int:
    """Run `<service> audit`; returns the exit status.

    Args:
        service: the program's name.
        trail: its trail.
        arguments: those behind `audit`.
        database_url: reads the settings in a file.
    """
    parser = argparse.ArgumentParser(prog=f"{service} audit", description="Who did what: print or verify the trail.")
    parser.add_argument("--config", "-config", type=Path, metavar="FILE", help="the service's settings")
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        return run(service, trail, database_url(options.config), options)
    except TrustError as error:
        return complain(service, error)


def run(service: str, trail: Trail, database_url: str, options: argparse.Namespace) -> int:
    """Do what `options` say; returns the exit status.

    Raises:
        TrustError: it cannot be done.
    """
    if options.action is None and (options.head or options.after):
        raise InvalidError("--head and --after are for `audit verify`")
    if options.action is not None and (options.name or options.since or options.json):
        raise InvalidError("`audit verify` looks at all records: --gun, --since and --json are not for it")
    database = Database(database_url)
    try:
        with database.read() as session:
            if options.action is None:
                for record in trail.records(session, name=options.name, since=options.since):
                    sys.stdout.write(_line(record, as_json=options.json) + "\n")
                return 0
            end = check(trail, session, heads=options.head, after=options.after)
    except BrokenTrailError as error:
        print(f"{service}: the audit trail is BROKEN at {error}")
        return 1
    except BrokenPipeError:  # `… | head`
        sys.stderr.close()
        return 0
    finally:
        database.dispose()
    print(f"{service}: the audit trail is whole, head {end}")
    return 0


def _line(record: Record, *, as_json: bool) -> str:
    if as_json:
        try:
            return record.to_json()
        except (ValueError, TypeError) as error:
            raise BrokenTrailError(record.seq, "was changed: it cannot be written as JSON") from error
    what = [record.action] if record.outcome == "done" else [record.action, record.outcome]
    what += [each for each in (record.name, record.role) if each]
    if record.version is not None:
        what.append(f"version {record.version}")
    where = f" at {record.address}" if record.address else ""
    detail = "" if record.detail == "{}" else f"  {record.detail}"
    # Cleaned once more: somebody else may have written it.
    return "  ".join(map(clean, (str(record.seq), record.time, record.actor + where, " ".join(what)))) + detail


def _since(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("a day or a moment, such as 2026-11-24 or 2026-11-24T08:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _head(text: str) -> Head:
    try:
        return parse_head(text)
    except InvalidError as error:
        raise argparse.ArgumentTypeError(error.message) from error
