# SPDX-License-Identifier: Apache-2.0
"""Old tags go, by rules.

    {"rules": [{"scope": "library/", "tags": "nightly-*", "keep": 10, "older_than_days": 30}]}

Each rule stands by itself: of the tags in its scope that fit its pattern, the newest `keep` stay, and of the others
those go that were last moved longer ago than it says.  A tag that is signed by a role that counts stays unless the
rule says `"signed": true`; where it cannot be told, it stays.  An immutable tag stays whatever a rule says.

Only tags go.  What they stood for is for the garbage collector, which takes it if it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import ManifestUnknownError, TagImmutableError
from registry.events import outbox
from registry.events.event import Event, Kind
from registry.jobs.kinds import Report, Turn
from registry.jobs.trust import Parts, Signed, repository_names
from registry.models import TRAIL, RepositoryRow, TagRow
from registry.operations import Schema, object_schema
from registry.repositories import delete_tag
from trust.errors import TrustError
from trust.names import RepositoryName, Tag
from trust.web.audit import Deed

#: So many removed tags are named in a report.
MAX_NAMED = 1000

_RULE = object_schema(
    {
        "scope": {
            "type": "string",
            "maxLength": 200,
            "description": "a repository, a namespace such as library/, or nothing for all",
        },
        "tags": {"type": "string", "minLength": 1, "maxLength": 128, "description": "a pattern: nightly-*"},
        "keep": {"type": "integer", "minimum": 0, "maximum": 100_000},
        "older_than_days": {"type": "integer", "minimum": 0, "maximum": 10_000},
        "signed": {"type": "boolean", "description": "whether tags go although they are signed"},
    }
)
#: The options of the job.
OPTIONS: Schema = object_schema(
    {
        "rules": {
            "type": "array",
            "maxItems": 100,
            # A rule that says neither would take everything.
            "items": {**_RULE, "anyOf": [{"required": ["keep"]}, {"required": ["older_than_days"]}]},
        },
        "dry_run": {"type": "boolean"},
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which tags go; see the module."""

    scope: str = ""
    tags: str = "*"
    keep: int = 0
    older_than_days: int = 0
    signed: bool = False

    def covers(self, repository: str) -> bool:
        """Whether it is about this repository."""
        whole = self.scope == "" or self.scope == repository
        return whole or (self.scope.endswith("/") and repository.startswith(self.scope))

    def picks(self, tags: Iterable[_Tag], now: datetime) -> list[_Tag]:
        """Those of a repository's tags that it would take."""
        fitting = sorted((tag for tag in tags if fnmatchcase(tag.name, self.tags)), key=lambda tag: tag.age_key)
        before = now - timedelta(days=self.older_than_days)
        return [tag for tag in fitting[self.keep :] if tag.updated <= before]


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    digest: str
    updated: datetime

    @property
    def age_key(self) -> tuple[float, str]:
        """The newest first; of equals, by name."""
        return -self.updated.timestamp(), self.name


@dataclass(slots=True)
class _Counts:
    removed: int = 0
    signed: int = 0
    immutable: int = 0
    undecided: int = 0
    tags: list[str] = field(default_factory=list)


class Pruning:
    """One run.

    Args:
        parts: what there is.
        turn: the run.
    """

    def __init__(self, parts: Parts, turn: Turn) -> None:
        self._parts = parts
        self._turn = turn
        self._rules = [Rule(**rule) for rule in turn.options.get("rules", [])]
        self._dry_run = bool(turn.options.get("dry_run", False))
        self._counts = _Counts()

    def run(self) -> Report:
        """Do it; the report counts what went, and what stayed although a rule would take it."""
        for repository in repository_names(self._parts.database, self._is_covered):
            self._turn.check()
            self._prune(repository)
        counts = self._counts
        return {
            "dry_run": self._dry_run,
            "removed": counts.removed,
            "kept": {"signed": counts.signed, "immutable": counts.immutable, "undecided": counts.undecided},
            "tags": counts.tags[:MAX_NAMED],
        }

    def _is_covered(self, repository: str) -> bool:
        return any(rule.covers(repository) for rule in self._rules)

    def _prune(self, repository: RepositoryName) -> None:
        picked: dict[_Tag, bool] = {}  # whether it goes although it is signed
        with self._parts.database.read() as session:
            tags = _tags(session, repository)
        for rule in self._rules:
            if rule.covers(repository):
                for tag in rule.picks(tags, self._parts.clock()):
                    picked[tag] = picked.get(tag, False) or rule.signed
        if not picked:
            return
        signed: Signed | TrustError
        try:
            signed = Signed.of(self._parts, repository)
        except TrustError as error:
            self._turn.log(f"{repository}: what is signed cannot be told: {error.message}")
            signed = error
        for tag, even_signed in sorted(picked.items(), key=lambda each: each[0].name):
            self._turn.check()
            if even_signed or self._is_unsigned(signed, tag):
                self._remove(repository, tag)

    def _is_unsigned(self, signed: Signed | TrustError, tag: _Tag) -> bool:
        if isinstance(signed, TrustError):
            self._counts.undecided += 1
            return False
        try:
            with self._parts.database.read() as session:
                found = signed.signatures(session, Tag(tag.name))
        except TrustError as error:
            self._turn.log(f"{signed.repository}:{tag.name} stays: {error.message}")
            self._counts.undecided += 1
            return False
        self._counts.signed += bool(found)
        return not found

    def _remove(self, repository: RepositoryName, tag: _Tag) -> None:
        work = partial(self._delete, repository=repository, tag=tag)
        try:
            self._parts.database.transact(work)
        except TagImmutableError:
            self._counts.immutable += 1
            return
        except ManifestUnknownError:  # moved or deleted a moment ago
            return
        self._counts.removed += 1
        self._counts.tags.append(f"{repository}:{tag.name}")
        self._turn.log(f"{repository}:{tag.name} {'would go' if self._dry_run else 'is removed'}")

    def _delete(self, session: Session, *, repository: RepositoryName, tag: _Tag) -> None:
        keep = self._parts.policies.of(session, repository).is_immutable
        now, who = self._parts.clock(), self._turn.who
        if self._dry_run:
            if keep(tag.name):
                raise TagImmutableError(f"the tag {tag.name} is immutable")
            return
        # Locked before the look: it may have been moved.
        if _tags(session, repository, tag.name, lock=True) != [tag]:
            raise ManifestUnknownError(f"the tag {tag.name} was moved")
        digest = delete_tag(session, repository, Tag(tag.name), actor=who.actor, now=now, keep=keep)
        outbox.tell(
            session,
            Event(kind=Kind.DELETE, repository=repository, tag=tag.name, digest=digest, actor=who.actor, time=now),
        )
        deed = Deed(action="tag.delete", name=repository, detail={"tag": tag.name, "run": self._turn.run})
        TRAIL.append(session, who, now, deed)


def _tags(session: Session, repository: RepositoryName, name: str | None = None, *, lock: bool = False) -> list[_Tag]:
    query = select(TagRow.name, TagRow.digest, TagRow.updated).join(
        RepositoryRow, RepositoryRow.id == TagRow.repository_id
    )
    query = query.where(RepositoryRow.name == repository)
    if name is not None:
        query = query.where(TagRow.name == name)
    if lock:
        query = query.with_for_update(of=TagRow)
    return [_Tag(*row) for row in session.execute(query.order_by(TagRow.name))]
