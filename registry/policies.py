# SPDX-License-Identifier: Apache-2.0
"""What a repository demands of signatures: a default for the site, and settings of namespaces and repositories.

    policies = Policies(Policy(Mode.ENFORCED), host="localhost:5000")
    policies.of(session, RepositoryName("library/app")).mode
    policies.change(session, Namespace("library/"), require="all")

A row says only what differs.  What it leaves open comes from the next wider one: the repository's own row, then its
namespaces from the longest (`team/tools/`) to the shortest (`team/`), then the site's default.  So a pin that a
namespace sets binds all below it, whatever else they say of themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

from sqlalchemy import Integer, String, func, select
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
_MAX_PATTERNS = 16
_MAX_GRACE_DAYS = 365
_PIN = re.compile(r"[0-9a-f]{64}")
_REQUIRE = re.compile(r"any|all|[1-9][0-9]?")
_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}")


class Mode(StrEnum):
    """What happens to content that is not signed as the policy demands."""

    DISABLED = "disabled"  #: it is served; nothing is asked
    PERMISSIVE = "permissive"  #: it is served, with a warning and a log line
    ENFORCED = "enforced"  #: it is refused
    RESOLVE = "resolve"  #: it is refused; but a tag that was moved is served as what it is signed as

    @property
    def refuses(self) -> bool:
        """Whether anything is refused at all."""
        return self in (Mode.ENFORCED, Mode.RESOLVE)


@dataclass(frozen=True, slots=True)
class Policy:
    """The demand on one repository.

    Attributes:
        mode: see `Mode`.
        roles: whose signatures count; the first role that has a tag decides what it stands for.
        pins: IDs of root keys (the key's or its certificate's) of which one must have signed the root; empty: the
            first root seen is believed, and then for ever.
        require: how many of the roles must sign the same: `any`, `all`, or a number.
        grace_days: for how many days expired trust data is believed; never a root.
        immutable: patterns (`*`, `?`, `[…]`) of tags that cannot be moved or deleted once they were pushed.

    Raises:
        InvalidError: a role signs no content, a pin is no key ID, a number is out of range, or a list is too long.
    """

    mode: Mode
    roles: tuple[RoleName, ...] = DOCKER_ROLES
    pins: tuple[str, ...] = ()
    require: str = "any"
    grace_days: int = 0
    immutable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.roles) <= _MAX_ROLES or not all(role.is_targets for role in self.roles):
            raise InvalidError(f"the roles that count are targets and its delegations, 1 to {_MAX_ROLES} of them")
        if len(self.pins) > _MAX_PINS or not all(_PIN.fullmatch(pin) for pin in self.pins):
            raise InvalidError(f"a pin is a key ID of 64 hex digits, and there are at most {_MAX_PINS}")
        if not _REQUIRE.fullmatch(self.require) or self.needed > len(set(self.roles)):
            raise InvalidError("any, all, or a number of the roles that count must sign, and not more than there are")
        if not 0 <= self.grace_days <= _MAX_GRACE_DAYS:
            raise InvalidError(f"the grace for expired trust data is 0 to {_MAX_GRACE_DAYS} days")
        if len(self.immutable) > _MAX_PATTERNS or not all(_PATTERN.fullmatch(each) for each in self.immutable):
            raise InvalidError(
                f"a pattern of immutable tags has letters, digits, ._- and the wildcards * ? [ ], "
                f"and there are at most {_MAX_PATTERNS}"
            )

    @property
    def needed(self) -> int:
        """How many of the roles must sign the same."""
        if self.require == "all":
            return len(set(self.roles))
        return 1 if self.require == "any" else int(self.require)

    @property
    def grace(self) -> timedelta:
        """For how long expired trust data is believed."""
        return timedelta(days=self.grace_days)

    def is_immutable(self, tag: str) -> bool:
        """Whether `tag`, once pushed, stays what it is."""
        return any(fnmatchcase(tag, pattern) for pattern in self.immutable)


class Namespace(str):
    """All repositories whose names begin so: `library/`.

    Raises:
        InvalidError: it does not end in a slash, or no repository's name can begin so.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not text.endswith("/"):
            raise InvalidError("a namespace ends in a slash: library/")
        RepositoryName(f"{text}a")
        return super().__new__(cls, text)


Scope = RepositoryName | Namespace


def parse_scope(text: str) -> Scope:
    """The repository, or with a slash at its end the namespace, that a policy is for.

    Raises:
        InvalidError: `text` is neither.
    """
    return Namespace(text) if text.endswith("/") else RepositoryName(text)


class PolicyRow(Base):
    """What a repository or a namespace (it ends in a slash) demands; a null says: as the next wider one.

    `required` belongs to `roles` and is inherited with them.
    """

    __tablename__ = "trust_policies"

    repository: Mapped[str] = mapped_column(ascii_text(200), primary_key=True)
    mode: Mapped[str | None] = mapped_column(ascii_text(16))
    roles: Mapped[str | None] = mapped_column(String(_MAX_ROLES * 256))
    pins: Mapped[str | None] = mapped_column(String(_MAX_PINS * 65))
    required: Mapped[str | None] = mapped_column(ascii_text(8))
    grace_days: Mapped[int | None] = mapped_column(Integer)
    #: an empty text: no tag is immutable, whatever a wider policy says
    immutable: Mapped[str | None] = mapped_column(String(_MAX_PATTERNS * 129))


class Policies:
    """The policies of a site.

    Args:
        default: for repositories that say nothing themselves.
        host: the name under which this site's trust collections are signed.
    """

    def __init__(self, default: Policy, host: str) -> None:
        self.default = default
        self.host = host

    def gun(self, repository: RepositoryName) -> Gun:
        """The trust collection of `repository`.

        There is one, under the site's first name, whatever name a client uses: if each name had its own, whoever may
        push could start an unpinned collection under another name.
        """
        return Gun(f"{self.host}/{repository}")

    def of(self, session: Session, scope: Scope) -> Policy:
        """The policy of a repository, or what a namespace would give to one that says nothing itself."""
        policy = self.default
        for row in reversed(_rows(session, scope)):
            policy = _refined(policy, row)
        return policy

    def sources(self, session: Session, scope: Scope) -> list[str]:
        """Which rows have a say in the policy, the nearest first: `["library/app", "library/"]`."""
        return [row.repository for row in _rows(session, scope)]

    def change(
        self,
        session: Session,
        scope: Scope,
        *,
        mode: Mode | None = None,
        roles: Sequence[RoleName] | None = None,
        pins: Sequence[str] | None = None,
        require: str | None = None,
        grace_days: int | None = None,
        immutable: Sequence[str] | None = None,
        who: Who | None = None,
    ) -> Policy:
        """Set what is given; no roles or no pins are those of the next wider policy again.

        Args:
            session: in a transaction that writes.
            scope: a repository, which need not exist yet, or a namespace.
            mode: the new mode.
            roles: the roles that count.
            pins: IDs of root keys.
            require: how many of the roles must sign; it binds to the roles that count now.
            grace_days: for how many days expired trust data is believed.
            immutable: patterns of immutable tags; an empty list: none is, whatever a wider policy says.
            who: on whose behalf; None: whoever makes the current request, or the operator.

        Raises:
            InvalidError: see `Policy`.
        """
        # Each by itself first: once they are joined, a comma in one of them would make it two.
        Policy(Mode.ENFORCED, tuple(roles or DOCKER_ROLES), tuple(pins or ()), immutable=tuple(immutable or ()))
        before = self.of(session, scope)
        find = select(PolicyRow).where(PolicyRow.repository == str(scope))
        row = insert_or_find(session, PolicyRow(repository=str(scope)), find)
        if mode is not None:
            row.mode = mode
        if roles is not None:
            row.roles = ",".join(roles) or None
            row.required = row.required if row.roles else None
        if require is not None:
            if row.roles is None:
                row.roles = ",".join(self.of(session, scope).roles)
            row.required = require
        if pins is not None:
            row.pins = ",".join(pins) or None
        if grace_days is not None:
            row.grace_days = grace_days
        if immutable is not None:
            row.immutable = ",".join(immutable)
        now = self.of(session, scope)
        session.flush()  # only what `Policy` did not refuse
        _tell(session, who, scope, "policy.change", before, now)
        return now

    def reset(self, session: Session, scope: Scope, *, who: Who | None = None) -> None:
        """Drop all that a repository or a namespace has of its own."""
        row = session.get(PolicyRow, str(scope))
        if row is not None:
            before = self.of(session, scope)
            session.delete(row)
            session.flush()  # else a change in the same session would find it
            _tell(session, who, scope, "policy.reset", before, self.of(session, scope))


def _tell(session: Session, who: Who | None, scope: Scope, action: str, before: Policy, now: Policy) -> None:
    """Have a change recorded, with the parts that differ."""
    pairs = {
        name: [getattr(before, name), getattr(now, name)]
        for name in ("mode", "roles", "require", "pins", "grace_days", "immutable")
        if getattr(before, name) != getattr(now, name)
    }
    deed = Deed(action=action, name=scope, detail=pairs)
    TRAIL.append(session, who or caller(), datetime.now(UTC), deed)


def _rows(session: Session, scope: Scope) -> list[PolicyRow]:
    """The rows of `scope` and of the namespaces around it, the nearest first."""
    parts = scope.removesuffix("/").split("/")
    names = [str(scope), *("/".join(parts[:count]) + "/" for count in range(1, len(parts)))]
    with session.no_autoflush:
        found = session.scalars(
            select(PolicyRow)
            .where(PolicyRow.repository.in_(names))
            .order_by(func.length(PolicyRow.repository).desc())
        )
        return list(found)


def _refined(wider: Policy, row: PolicyRow) -> Policy:
    roles, require = wider.roles, wider.require
    if row.roles:
        roles, require = tuple(RoleName(role) for role in row.roles.split(",")), row.required or "any"
    immutable = wider.immutable
    if row.immutable is not None:
        immutable = tuple(pattern for pattern in row.immutable.split(",") if pattern)
    return Policy(
        Mode(row.mode) if row.mode else wider.mode,
        roles,
        tuple(row.pins.split(",")) if row.pins else wider.pins,
        require,
        wider.grace_days if row.grace_days is None else row.grace_days,
        immutable,
    )
