# SPDX-License-Identifier: Apache-2.0
"""What a repository demands of signatures: a default for the site, and settings of its own.

    policies = Policies(Policy(Mode.ENFORCED), host="localhost:5000")
    policies.of(session, RepositoryName("library/app")).mode

A repository's row says only what differs from the default: a mode, roles, the IDs of root keys that are pinned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.base import Base
from registry.inserts import insert_or_find
from registry.models import TRAIL, ascii_text
from trust.collection import DOCKER_ROLES
from trust.errors import InvalidError
from trust.names import Gun, RepositoryName, RoleName
from trust.web.audit import Deed
from trust.web.caller import Who, caller

_MAX_PINS = 16
_MAX_ROLES = 16
_PIN = re.compile(r"[0-9a-f]{64}")


class Mode(StrEnum):
    """What happens to content that is not signed as the policy demands."""

    DISABLED = "disabled"  #: it is served; nothing is asked
    PERMISSIVE = "permissive"  #: it is served, with a warning and a log line
    ENFORCED = "enforced"  #: it is refused


@dataclass(frozen=True, slots=True)
class Policy:
    """The demand on one repository.

    Attributes:
        mode: see `Mode`.
        roles: whose signatures count; the first role that has a tag decides what it stands for.
        pins: IDs of root keys (the key's or its certificate's) of which one must have signed the root; empty: the
            first root seen is believed, and then for ever.

    Raises:
        InvalidError: a role signs no content, a pin is no key ID, or there are too many (or no roles).
    """

    mode: Mode
    roles: tuple[RoleName, ...] = DOCKER_ROLES
    pins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.roles) <= _MAX_ROLES or not all(role.is_targets for role in self.roles):
            raise InvalidError(f"the roles that count are targets and its delegations, 1 to {_MAX_ROLES} of them")
        if len(self.pins) > _MAX_PINS or not all(_PIN.fullmatch(pin) for pin in self.pins):
            raise InvalidError(f"a pin is a key ID of 64 hex digits, and there are at most {_MAX_PINS}")


class PolicyRow(Base):
    """A repository's own demands; a null says: as the default."""

    __tablename__ = "trust_policies"

    repository: Mapped[str] = mapped_column(ascii_text(200), primary_key=True)
    mode: Mapped[str | None] = mapped_column(ascii_text(16))
    roles: Mapped[str | None] = mapped_column(String(_MAX_ROLES * 256))
    pins: Mapped[str | None] = mapped_column(String(_MAX_PINS * 65))


class Policies:
    """The policies of a site.

    Args:
        default: for repositories that say nothing themselves.
        host: the name under which this site's trust collections are signed.
    """

    def __init__(self, default: Policy, host: str) -> None:
        self.default = default
        self._host = host

    def gun(self, repository: RepositoryName) -> Gun:
        """The trust collection of `repository`.

        There is one, under the site's first name, whatever name a client uses: if each name had its own, whoever may
        push could start an unpinned collection under another name.
        """
        return Gun(f"{self._host}/{repository}")

    def of(self, session: Session, repository: RepositoryName) -> Policy:
        """The policy of `repository`."""
        row = session.get(PolicyRow, str(repository))
        if row is None:
            return self.default
        return Policy(
            Mode(row.mode) if row.mode else self.default.mode,
            tuple(RoleName(role) for role in row.roles.split(",")) if row.roles else self.default.roles,
            tuple(row.pins.split(",")) if row.pins else self.default.pins,
        )

    def change(
        self,
        session: Session,
        repository: RepositoryName,
        *,
        mode: Mode | None = None,
        roles: Sequence[RoleName] | None = None,
        pins: Sequence[str] | None = None,
        who: Who | None = None,
    ) -> Policy:
        """Set what is given; an empty list goes back to the default.

        Args:
            session: in a transaction that writes.
            repository: need not exist yet.
            mode: the new mode.
            roles: the roles that count.
            pins: IDs of root keys.
            who: on whose behalf; None: whoever makes the current request, or the operator.

        Raises:
            InvalidError: see `Policy`.
        """
        Policy(Mode.ENFORCED, tuple(roles or DOCKER_ROLES), tuple(pins or ()))  # refused before anything is written
        find = select(PolicyRow).where(PolicyRow.repository == str(repository))
        before = self.of(session, repository)
        row = insert_or_find(session, PolicyRow(repository=str(repository)), find)
        if mode is not None:
            row.mode = mode
        if roles is not None:
            row.roles = ",".join(roles) or None
        if pins is not None:
            row.pins = ",".join(pins) or None
        session.flush()
        now = self.of(session, repository)
        _tell(session, who, repository, "policy.change", before, now)
        return now

    def reset(self, session: Session, repository: RepositoryName, *, who: Who | None = None) -> None:
        """Drop all that `repository` has of its own."""
        row = session.get(PolicyRow, str(repository))
        if row is not None:
            before = self.of(session, repository)
            session.delete(row)
            session.flush()  # else a change in the same session would find it
            _tell(session, who, repository, "policy.reset", before, self.default)


def _tell(
    session: Session, who: Who | None, repository: RepositoryName, action: str, before: Policy, now: Policy
) -> None:
    """Have a change recorded, with the parts that differ."""
    pairs = {
        name: [getattr(before, name), getattr(now, name)]
        for name in ("mode", "roles", "pins")
        if getattr(before, name) != getattr(now, name)
    }
    deed = Deed(action=action, name=repository, detail=pairs)
    TRAIL.append(session, who or caller(), datetime.now(UTC), deed)
