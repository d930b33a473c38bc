# SPDX-License-Identifier: Apache-2.0
"""`troth`: parse the command line, run one command, and turn what went wrong into one sentence.

Each command is a module with `add_parser(commands)`, which sets `run`: a function from the parsed arguments to the
exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trust.cli import admin, lifetimes, rescue, signers, signing, takeover, up, verifying
from trust.errors import TrustError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `troth` with `arguments` (those of the process when None) and return its exit status."""
    parser = argparse.ArgumentParser(prog="troth", description="Docker Content Trust, kept alive.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for family in (up, signing, verifying, signers, lifetimes, takeover, rescue, admin):
        family.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except TrustError as error:
        print(f"troth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
