# SPDX-License-Identifier: Apache-2.0
"""The next state of a TUF 1.0 repository, while edits are applied to it (see trust.changes).

What differs from Notary: a delegation's paths are patterns (`linux/*.deb`), or hash prefixes, and it keeps how it
was made (`terminating`); the empty path, Notary's word for all names, becomes all sixteen hash prefixes; who
delegates a role does not follow from its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tuf.api.metadata import DelegatedRole, Key

from trust.changes import Draft
from trust.errors import InvalidError
from trust.names import TARGETS, RoleName
from trust.standard.names import StandardRole

#: Together they match every name.
ALL_PREFIXES = tuple("0123456789abcdef")
#: A role's name is part of a file's name and of a URL; web servers disagree about anything else.
_WRITABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class StandardDraft(Draft):
    """See `trust.changes.Draft`."""

    def _new_delegation(
        self, role: RoleName, keyids: list[str], threshold: int, paths: list[str], before: DelegatedRole | None
    ) -> DelegatedRole:
        """See `Draft`.

        Raises:
            InvalidError: the name cannot be part of a file's name.
        """
        if before is None and not _WRITABLE.fullmatch(role):
            raise InvalidError(
                f"{role[:80]!r} cannot be the name of a delegation in TUF 1.0: it has letters, digits, dots, dashes "
                "and underscores"
            )
        terminating = before.terminating if before else False
        prefixes = list(before.path_hash_prefixes) if before and before.path_hash_prefixes is not None else None
        if "" in paths:
            prefixes = list(ALL_PREFIXES)
        elif prefixes is not None and paths:
            raise InvalidError(f"{role} is delegated by hash prefixes, to which no paths can be added")
        fields = before.unrecognized_fields if before else None
        if prefixes is not None:
            return DelegatedRole(str(role), keyids, threshold, terminating, None, prefixes, fields)
        return DelegatedRole(str(role), keyids, threshold, terminating, paths, None, fields)

    def _below(self, role: RoleName) -> list[RoleName]:
        """See `Draft`."""
        kept = self._reached(TARGETS, without=role)
        return [each for each in self._reached(role) if each not in kept]

    def _reached(self, role: RoleName, without: RoleName | None = None) -> list[RoleName]:
        found = [role]
        for each in found:  # it grows on the way
            for name in self.children(each):
                if name not in found and not (name == without and each == without.parent):
                    found.append(StandardRole(name, each))
        return found

    def write_delegations(
        self, parent: RoleName, keys: Mapping[str, Key], roles: Mapping[str, DelegatedRole]
    ) -> None:
        """See `Draft`.

        Raises:
            InvalidError: the parent delegates to hashed bins, which have no roles of their own.
        """
        delegations = self.targets(parent).delegations
        if delegations is not None and delegations.succinct_roles is not None:
            raise InvalidError(f"{parent} delegates to hashed bins; single delegations cannot be edited there")
        super().write_delegations(parent, keys, roles)
