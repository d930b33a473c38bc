# SPDX-License-Identifier: Apache-2.0
"""`troth-server import`: take over the collections of another notary server, or a rescued folder.

    troth-server import --config server.toml --from postgres://server@db/notaryserver?sslmode=require
    troth-server import --config server.toml --from-folder rescued

What is taken and what is not is `server.succession`'s business.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from server.models import TufFileRow
from server.origin import Database as OriginDatabase
from server.origin import Folder, Origin
from server.settings import PREFIX, Settings
from server.succession import Succession
from trust.ca import write_file
from trust.errors import SettingsError, TrustError, UnavailableError
from trust.settings import load
from trust.takeover import Report
from trust.web.database import Database
from trust.web.origin import Origin as OtherDatabase
from trust.web.run import complain, configure_logging

NAME = "troth-server"
#: Where the address of the other database may stand, for a command line is no place for a password.
VARIABLE = f"{PREFIX}_IMPORT_FROM"


def take_over(
    origin: Origin, settings: Settings, options: argparse.Namespace, prepare: Callable[[Settings], None]
) -> Report:
    """Take over from `origin` what the options say.

    Raises:
        UnavailableError: a database does not answer.
    """
    with ExitStack() as stack:
        target = Database(settings.database_url)
        stack.callback(target.dispose)
        database, present = target, None
        if options.dry_run:
            # Nothing is written, not even an empty table: what would be is tried elsewhere.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="troth-"))
            database = Database(f"sqlite:///{folder}/dry-run.db")
            stack.callback(database.dispose)
            present = target if _is_prepared(settings.database_url, target) else database
            prepare(replace(settings, database_url=f"sqlite:///{folder}/dry-run.db"))
        else:
            prepare(settings)
        succession = Succession(
            origin,
            database,
            datetime.now(UTC),
            present=present,
            dry_run=options.dry_run,
            even_broken=options.even_broken,
            gun_prefixes=settings.gun_prefixes,
        )
        return succession.collections(options.gun or ())


def main(arguments: Sequence[str], prepare: Callable[[Settings], None]) -> int:
    """Run `troth-server import`; returns its exit status.

    Args:
        arguments: those behind `import`.
        prepare: brings the server's database to where its code wants it.
    """
    parser = argparse.ArgumentParser(
        prog=f"{NAME} import", description="Take over another notary server's collections."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings in TOML; {PREFIX}_… overrides them")
    parser.add_argument("--from", dest="origin", metavar="URL", default=os.environ.get(VARIABLE),
                        help=f"the other server's database, or its configuration file; {VARIABLE} keeps a password "
                             "out of the command line")  # fmt: skip
    parser.add_argument("--from-folder", type=Path, metavar="FOLDER", help="a folder that `troth rescue` filled")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and report what would be done")
    parser.add_argument("--gun", action="append", metavar="GUN", help="this collection only; may be repeated")
    parser.add_argument("--even-broken", action="store_true", help="take what does not hold together, too, as it is")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there, as JSON")
    options = parser.parse_args(arguments)
    try:
        settings = load(Settings, prefix=PREFIX, path=options.config)
        configure_logging("WARNING")
        if options.from_folder is not None:
            report = take_over(Folder(options.from_folder), settings, options, prepare)
        elif options.origin:
            with OtherDatabase(options.origin).read() as tables:
                report = take_over(OriginDatabase(tables), settings, options, prepare)
        else:
            raise SettingsError(f"say where to take from: --from URL, {VARIABLE}, or --from-folder FOLDER")
        if options.report is not None:
            _write(options.report, report)
    except TrustError as error:
        return complain(NAME, error)
    sys.stdout.write(report.table())
    return report.status


def _is_prepared(url: str, database: Database) -> bool:
    """Whether the tables are there; without making an SQLite file to find out."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file():
        return False
    try:
        return inspect(database.engine).has_table(TufFileRow.__tablename__)
    except SQLAlchemyError as error:
        raise UnavailableError(f"this server's database does not answer: {type(error).__name__}") from error


def _write(path: Path, report: Report) -> None:
    try:
        write_file(path, report.to_json(), mode=0o644)
    except OSError as error:
        raise UnavailableError(f"the report {path} cannot be written: {error.strerror}") from error
