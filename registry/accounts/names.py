# SPDX-License-Identifier: Apache-2.0
"""What users, organisations and teams can be called: what can also be the first part of a repository's name."""

from __future__ import annotations

import re

from trust.errors import InvalidError

USER_NAME = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:[._-][a-z0-9]+)*")


def check_name(name: str, kind: str) -> None:
    """Refuse a malformed name.

    Args:
        name: what somebody or something shall be called.
        kind: `user`, `organisation` or `team`, for the message.

    Raises:
        InvalidError: it is malformed.
    """
    if not USER_NAME.fullmatch(name):
        raise InvalidError(
            f"a name of a {kind} has 1 to 64 lower-case letters, digits and single dots, dashes, underscores"
        )
