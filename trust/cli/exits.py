# SPDX-License-Identifier: Apache-2.0
"""Exit statuses of the commands that work with trust data; docs/reference/troth.md tells them to users.

They are for scripts: whatever is not 0 must stop a deployment, and the number says who has to act.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta

from trust.errors import (
    ConflictError,
    DeniedError,
    NotFoundError,
    TrustError,
    UnauthorizedError,
    UnavailableError,
)

SIGNED = 0  # or: done
NOT_SIGNED = 1  # there is no such signature, key, tag or role
UNTRUSTED = 2  # what was found is not to be believed, or the question cannot be asked so: argparse uses 2 as well
UNAVAILABLE = 3  # a server does not answer, does not let us in, or somebody else is always faster

#: `troth status`: by the time that is left of what ends first; the first that holds.
DUE = (
    (timedelta(0), 14, "over"),
    (timedelta(days=7), 13, "7 days"),
    (timedelta(days=30), 12, "30 days"),
    (timedelta(days=90), 11, "90 days"),
    (timedelta(days=180), 10, "180 days"),
)


def status_of(error: TrustError) -> int:
    """The exit status for an error."""
    if isinstance(error, NotFoundError):
        return NOT_SIGNED
    if isinstance(error, UnavailableError | UnauthorizedError | DeniedError | ConflictError):
        return UNAVAILABLE
    return UNTRUSTED


def guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`run`, with errors as one sentence and the status that belongs to them."""

    def guard(options: argparse.Namespace) -> int:
        try:
            with warnings.catch_warnings():
                # `cryptography` warns of certificates whose names are longer than X.509 allows; Notary's often are.
                warnings.simplefilter("ignore", UserWarning)
                return run(options)
        except TrustError as error:
            print(f"troth: {error}", file=sys.stderr)
            return status_of(error)

    return guard
