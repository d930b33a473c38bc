# SPDX-License-Identifier: Apache-2.0
"""`troth import`: take over another notary, its server's collections and its signer's keys.

    troth import --state ./var --server-from /etc/notary/server.json --signer-from /etc/notary/signer.json --dry-run

It has the two programs beside its own interpreter do it, `troth-server import` and `troth-signer import`, and puts
their reports together: only both show whether each collection has somebody who can sign for it.  Database addresses
may hold passwords, so they reach the programs through the environment and not through their command lines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trust.ca import write_file
from trust.errors import SettingsError, UnavailableError
from trust.takeover import NOTHING_DONE, Report, merge

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_VARIABLE = "TROTH_{}_IMPORT_FROM"


def add_parser(commands: Commands) -> None:
    """Add `import` to the commands of `troth`."""
    parser = commands.add_parser("import", help="take over the collections and keys of another notary")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(os.environ.get("TROTH_STATE", "./var")),
        metavar="DIR",
        help="folder of `troth up`, for the settings of server and signer (default: ./var; environment: TROTH_STATE)",
    )
    for service in ("server", "signer"):
        parser.add_argument(
            f"--{service}-from",
            default=os.environ.get(_VARIABLE.format(service.upper())),
            metavar="URL",
            help=f"database of the other {service}, or its configuration file "
            f"(environment: {_VARIABLE.format(service.upper())})",
        )
        parser.add_argument(
            f"--{service}-config",
            type=Path,
            metavar="FILE",
            help=f"settings of our {service}, instead of the state's",
        )
    parser.add_argument("--gun", action="append", metavar="GUN", help="this collection only; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and report what would be done")
    parser.add_argument("--even-broken", action="store_true", help="take what does not hold together, too, as it is")
    parser.add_argument(
        "--no-check", action="store_true", help="do not open the keys: their passphrases are not here"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there, as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Take over; returns 0 if all is good, 1 if nothing was done, 2 if there are problems.

    Raises:
        SettingsError: one of the two addresses is missing, or a program is not installed.
        UnavailableError: a program did not come to an end, or the report cannot be written.
    """
    for service in ("server", "signer"):
        if not getattr(options, f"{service}_from"):
            raise SettingsError(
                f"say where to take from: --{service}-from URL, or {_VARIABLE.format(service.upper())}"
            )
    common = [f"--gun={gun}" for gun in options.gun or ()] + ["--dry-run"] * options.dry_run
    with tempfile.TemporaryDirectory(prefix="troth-import-") as folder:
        report_of_server = Path(folder) / "server.json"
        server = _run("server", options, report_of_server, common + ["--even-broken"] * options.even_broken)
        more = [f"--server-report={report_of_server}"] + ["--no-check"] * options.no_check
        signer = _run("signer", options, Path(folder) / "signer.json", common + more)
    report = merge(server, signer)
    if options.report is not None:
        try:
            write_file(options.report, report.to_json(), mode=0o644)
        except OSError as error:
            raise UnavailableError(f"the report {options.report} cannot be written: {error.strerror}") from error
    sys.stdout.write(report.table())
    return report.status


def _run(service: str, options: argparse.Namespace, report: Path, arguments: list[str]) -> Report:
    # Beside this interpreter and never through PATH, where a stranger's program may have the name.
    program = Path(sys.executable).parent / f"troth-{service}"
    config = getattr(options, f"{service}_config") or options.state / f"{service}.toml"
    environment = os.environ | {_VARIABLE.format(service.upper()): getattr(options, f"{service}_from")}
    try:
        done = subprocess.run(  # noqa: S603  # our own program, no shell
            [program, "import", f"--config={config}", f"--report={report}", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its table is in the report
            umask=0o077,  # databases are for their owner
            check=False,
        )
    except OSError as error:
        raise SettingsError(f"{program} cannot be started: {error.strerror}; install troth[services]") from error
    try:
        return Report.from_json(report.read_bytes())
    except FileNotFoundError as error:
        if done.returncode == NOTHING_DONE:
            raise UnavailableError(f"troth-{service} could not begin; what it said stands above") from error
        raise UnavailableError(f"troth-{service} ended with status {done.returncode}") from error
