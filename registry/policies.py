# SPDX-License-Identifier: Apache-2.0
"""What a repository demands of signatures: a default for the site, and what is said of namespaces and repositories.

    policies = Policies(Policy(Mode.ENFORCED), host="localhost:5000")
    policies.of(session, RepositoryName("library/app")).mode
    policies.change(session, Namespace("library/"), require="all")             # the administrators' word
    policies.change(session, Namespace("library/"), adds=True, grace_days=0)   # that of the namespace's own admins

A row says only what differs.  What it leaves open comes from the next wider one: the repository's own row, then its
namespaces from the longest (`team/tools/`) to the shortest (`team/`), then the site's default.  So a pin that a
namespace sets binds all below it, whatever else they say of themselves.

Two may speak for a place.  What the registry's administrators say replaces what is wider, be it stricter or not.
What the place's own admins say is added, and counts as far as it is stricter (`registry.demands`).  That is looked at
anew at every reading, so that it weakens nothing that is demanded later, either.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Integer, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.base import Base
from registry.demands import (
    MAX_PATTERNS,
    MAX_PINS,
    MAX_ROLES,
    PARTS,
    Mode,
    Policy,
    Said,
    falls_short,
    refined,
    tightened,
)
from registry.inserts import insert_or_find
from registry.models import TRAIL, ascii_text
from trust.collection import DOCKER_ROLES
from trust.errors import DeniedError, InvalidError
from trust.names import Gun, RepositoryName, RoleName
from trust.web.audit import Deed
from trust.web.caller import Who, caller

__all__ = ["Mode", "Namespace", "Policies", "Policy", "Scope", "Source", "parse_scope"]


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


class SaidRow(Base):
    """What is said in a place: a repository, or a namespace (it ends in a slash); a null: as the next wider one.

    `required` belongs to `roles` and is inherited with them.
    """

    __abstract__ = True

    repository: Mapped[str] = mapped_column(ascii_text(200), primary_key=True)
    mode: Mapped[str | None] = mapped_column(ascii_text(16))
    roles: Mapped[str | None] = mapped_column(String(MAX_ROLES * 256))
    pins: Mapped[str | None] = mapped_column(String(MAX_PINS * 65))
    required: Mapped[str | None] = mapped_column(ascii_text(8))
    grace_days: Mapped[int | None] = mapped_column(Integer)
    #: an empty text: no tag is immutable, whatever a wider policy says
    immutable: Mapped[str | None] = mapped_column(String(MAX_PATTERNS * 129))


class PolicyRow(SaidRow):
    """What the administrators say of a place."""

    __tablename__ = "trust_policies"


class AdditionRow(SaidRow):
    """What the admins of a place add."""

    __tablename__ = "trust_policy_additions"


@dataclass(frozen=True, slots=True)
class Source:
    """Something that has a say in a policy.

    Attributes:
        place: of which repository or namespace it is said.
        adds: whether the place's own admins say it; else the administrators do.
        said: what.
        wider: the policy without it.
    """

    place: str
    adds: bool
    said: Said
    wider: Policy

    @property
    def short(self) -> list[str]:
        """The parts of it that do not count, since what is wider demands more."""
        return falls_short(self.wider, self.said) if self.adds else []


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
        return self.explained(session, scope)[0]

    def sources(self, session: Session, scope: Scope) -> list[str]:
        """Which places have a say in the policy, the nearest first: `["library/app", "library/"]`."""
        return list(dict.fromkeys(source.place for source in self.explained(session, scope)[1]))

    def explained(self, session: Session, scope: Scope) -> tuple[Policy, list[Source]]:
        """The policy of `scope`, and all that has a say in it, the nearest first."""
        policy, sources = self.default, list[Source]()
        for row in _rows(session, scope):
            said, adds = _said(row), isinstance(row, AdditionRow)
            sources.append(Source(row.repository, adds, said, policy))
            policy = tightened(policy, said) if adds else refined(policy, said)
        return policy, sources[::-1]

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
        unsaid: Collection[str] = (),
        adds: bool = False,
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
            unsaid: names of parts that shall be those of the next wider policy again.
            adds: whether it is the place's own admins who say so.
            who: on whose behalf; None: whoever makes the current request, or the operator.

        Raises:
            InvalidError: see `Policy`.
            DeniedError: what an admin of the place adds falls short of what is demanded of it.
        """
        # Each by itself first: once they are joined, a comma in one of them would make it two.
        Policy(Mode.ENFORCED, tuple(roles or DOCKER_ROLES), tuple(pins or ()), immutable=tuple(immutable or ()))
        if len(immutable or ()) > MAX_PATTERNS:
            raise InvalidError(f"there are at most {MAX_PATTERNS} patterns of immutable tags")
        before = self.of(session, scope)
        row = _own_row(session, AdditionRow if adds else PolicyRow, scope)
        if mode is not None or "mode" in unsaid:
            row.mode = mode
        if roles is not None or "roles" in unsaid:
            row.roles = ",".join(roles or ()) or None
        if row.roles is None or "require" in unsaid:
            row.required = None
        if require is not None:
            row.roles = row.roles or ",".join(self.of(session, scope).roles)
            row.required = require
        if pins is not None or "pins" in unsaid:
            row.pins = ",".join(pins or ()) or None
        if grace_days is not None or "grace_days" in unsaid:
            row.grace_days = grace_days
        if immutable is not None or "immutable" in unsaid:
            row.immutable = None if immutable is None else ",".join(immutable)
        now, sources = self.explained(session, scope)
        if adds:
            given = {"mode": mode, "roles": roles or require, "pins": pins, "grace_days": grace_days}
            _refuse_short(sources, {part for part, value in given.items() if value is not None})
        if _said(row) == Said():
            session.delete(row)
        session.flush()  # only what `Policy` did not refuse
        _tell(session, who, scope, "policy.add" if adds else "policy.change", before, now)
        return now

    def reset(self, session: Session, scope: Scope, *, adds: bool = False, who: Who | None = None) -> None:
        """Drop all that is said of a repository or a namespace; with `adds`, what its own admins have added alone."""
        before = self.of(session, scope)
        kinds = (AdditionRow,) if adds else (PolicyRow, AdditionRow)
        rows = [row for kind in kinds if (row := session.get(kind, str(scope))) is not None]
        if rows:
            for row in rows:
                session.delete(row)
            session.flush()  # else a change in the same session would find it
            _tell(session, who, scope, "policy.reset", before, self.of(session, scope))


def _tell(session: Session, who: Who | None, scope: Scope, action: str, before: Policy, now: Policy) -> None:
    """Have a change recorded, with the parts that differ."""
    pairs = {
        name: [getattr(before, name), getattr(now, name)]
        for name in PARTS
        if getattr(before, name) != getattr(now, name)
    }
    deed = Deed(action=action, name=scope, detail=pairs)
    TRAIL.append(session, who or caller(), datetime.now(UTC), deed)


def _refuse_short(sources: list[Source], given: set[str]) -> None:
    """Refuse what was just said by the admins of a place, if it falls short.

    Args:
        sources: what they say is the nearest of them.
        given: the parts that were just said.
    """
    source = sources[0]
    asked = refined(source.wider, source.said)
    for part in source.short:
        if part in given:
            names = (part, "require") if part == "roles" else (part,)
            told = [
                " ".join(f"{name} {_text(getattr(each, name))}" for name in names) for each in (asked, source.wider)
            ]
            wider = list(dict.fromkeys(each.place for each in sources[1:])) or ["settings"]
            raise DeniedError(
                f"an administrator alone may demand less here: asked for {told[0]}, demanded is {told[1]}",
                detail={"asked": told[0], "given": f"admin of {source.place}", "demanded": told[1], "from": wider},
            )


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _own_row(session: Session, kind: type[SaidRow], scope: Scope) -> SaidRow:
    """The row of just this place, which is made if it is not there."""
    return insert_or_find(session, kind(repository=str(scope)), select(kind).where(kind.repository == str(scope)))


def _rows(session: Session, scope: Scope) -> list[SaidRow]:
    """What is said of `scope` and the namespaces around it, the widest first; of one place the additions last."""
    parts = scope.removesuffix("/").split("/")
    names = [str(scope), *("/".join(parts[:count]) + "/" for count in range(1, len(parts)))]
    found: list[SaidRow] = []
    with session.no_autoflush:
        for kind in (PolicyRow, AdditionRow):
            found += session.scalars(select(kind).where(kind.repository.in_(names)))
    return sorted(found, key=lambda row: len(row.repository))


def _said(row: SaidRow) -> Said:
    return Said(
        Mode(row.mode) if row.mode else None,
        tuple(RoleName(role) for role in row.roles.split(",")) if row.roles else None,
        row.required if row.roles else None,
        tuple(row.pins.split(",")) if row.pins else None,
        row.grace_days,
        None if row.immutable is None else tuple(each for each in row.immutable.split(",") if each),
    )
