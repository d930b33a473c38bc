# SPDX-License-Identifier: Apache-2.0
"""Names of delegations in TUF 1.0: any text, which does not say who delegates.

>>> StandardRole("linux", parent=StandardRole("packages")).parent
'packages'
"""

from __future__ import annotations

import re
from typing import Self

from trust.errors import InvalidError
from trust.names import TARGETS, TOP_LEVEL, RoleName

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class StandardRole(RoleName):
    """A delegation of TUF 1.0; the four top-level roles are the `RoleName`s that they are in Notary.

    Args:
        text: the name.
        parent: the role that delegates it.

    Raises:
        InvalidError: empty, longer than 255, one of the top-level names, or with control characters.
    """

    _parent: RoleName

    def __new__(cls, text: str, parent: RoleName = TARGETS) -> Self:
        if not 0 < len(text) < 256 or text in TOP_LEVEL or _CONTROL.search(text):
            raise InvalidError(f"{text[:80]!r} cannot be the name of a delegation")
        role = str.__new__(cls, text)
        role._parent = parent
        return role

    @property
    def is_delegation(self) -> bool:
        """True."""
        return True

    @property
    def is_targets(self) -> bool:
        """True."""
        return True

    @property
    def parent(self) -> RoleName:
        """The role that delegates this one."""
        return self._parent
