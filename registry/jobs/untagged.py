# SPDX-License-Identifier: Apache-2.0
"""Manifests that nothing needs: no tag, no signature, no index, and nothing that refers to them and is needed.

    Untagged(parts, turn).collect(repository, before=now - grace)

What is needed is found from the tags and the signed manifests on: an index needs its manifests, what refers to
something needs that, and what is needed keeps what refers to it, such as its bills of materials.  The rest is marked
with the time, and goes once it has been marked for the grace period, together with all that hangs together with it.
A push, and a HEAD or GET by somebody who may push, takes a mark away; a removal looks at marks, tags and edges again,
under a lock on the manifests.

Who only pulls, by digest, keeps nothing.  That is why nothing of this is done unless somebody asks for it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.blobs import BATCH
from registry.events import outbox
from registry.events.event import Event, Kind
from registry.jobs.kinds import Turn
from registry.jobs.trust import Parts, Signed
from registry.manifests import Part
from registry.models import TRAIL, ManifestEdgeRow, ManifestRow, RepositoryRow, TagRow
from trust.errors import TrustError
from trust.names import Digest, RepositoryName
from trust.web.audit import Deed

#: As what a manifest names another.
_PARTS = (Part.MANIFEST, Part.SUBJECT)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Count:
    """What was done in a repository; of a dry run, what another would do now.

    Attributes:
        marked: manifests that were found unused for the first time.
        removed: manifests that were removed.
    """

    marked: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Node:
    id: int
    digest: Digest
    sha256: str
    sha512: str
    unused: datetime | None

    @property
    def names(self) -> tuple[str, str]:
        return f"sha256:{self.sha256}", f"sha512:{self.sha512}"


class _Graph:
    """The manifests of a repository, and which of them keep which."""

    def __init__(self, nodes: Iterable[_Node], edges: Iterable[tuple[int, str, str]]) -> None:
        self.nodes = {node.id: node for node in nodes}
        named = {name: node.id for node in self.nodes.values() for name in node.names}
        self._kept: dict[int, set[int]] = defaultdict(set)  # by this one
        self._near: dict[int, set[int]] = defaultdict(set)
        for parent, kind, child in edges:
            if parent not in self.nodes or (at := named.get(child)) is None:
                continue
            self._kept[parent].add(at)
            if kind == Part.SUBJECT:
                self._kept[at].add(parent)
            self._near[parent].add(at)
            self._near[at].add(parent)

    def needed(self, roots: Iterable[int]) -> set[int]:
        """Whatever these keep, themselves included."""
        return _reached(roots, lambda each: self._kept[each])

    def groups(self, among: set[int]) -> Iterator[list[_Node]]:
        """What hangs together, in parts."""
        seen: set[int] = set()
        for first in sorted(among):
            if first not in seen:
                group = _reached([first], lambda each: self._near[each] & among)
                seen |= group
                yield [self.nodes[each] for each in sorted(group)]


class Untagged:
    """Removes what nothing needs.

    Args:
        parts: what there is.
        turn: the run that does it.
    """

    def __init__(self, parts: Parts, turn: Turn) -> None:
        self._parts = parts
        self._turn = turn

    def collect(self, repository: RepositoryName, *, before: datetime, dry_run: bool = False) -> Count:
        """Mark and remove in one repository.

        Args:
            repository: which.
            before: what has been marked since then, stays.
            dry_run: whether nothing is changed.

        Returns:
            What was done; nothing where it cannot be told what is signed.
        """
        try:
            graph, needed = self._look(repository)
        except TrustError as error:
            self._turn.log(f"{repository}: nothing is removed, since what is signed cannot be told: {error.message}")
            return Count()
        unneeded = graph.nodes.keys() - needed
        fresh = [each for each in unneeded if graph.nodes[each].unused is None]
        if not dry_run:
            self._mark(fresh, self._parts.clock())
            self._mark([each for each in needed if graph.nodes[each].unused is not None], None)
        removed = 0
        for group in graph.groups(set(unneeded)):
            self._turn.check()
            if all(node.unused is not None and node.unused < before for node in group):
                work = partial(self._remove, repository=repository, group=group, before=before)
                removed += len(group) if dry_run or self._parts.database.transact(work) else 0
        return Count(len(fresh), removed)

    def _look(self, repository: RepositoryName) -> tuple[_Graph, set[int]]:
        with self._parts.database.read() as session:
            graph, tagged = _load(session, repository)
        needed = graph.needed(tagged)
        if len(needed) == len(graph.nodes):
            return graph, needed  # and nobody has to be asked
        signed = Signed.of(self._parts, repository)
        with self._parts.database.read() as session:
            for node in list(graph.nodes.values()):
                if node.id not in needed and signed.signatures(session, Digest(node.names[0])):
                    needed |= graph.needed([node.id])
        return graph, needed

    def _mark(self, numbers: Sequence[int], value: datetime | None) -> None:
        row = ManifestRow
        for batch in _chunks(numbers):
            change = update(row).where(row.id.in_(batch))
            change = change.where(row.unused.is_(None) if value else row.unused.is_not(None)).values(unused=value)
            self._parts.database.transact(lambda session, change=change: session.execute(change))  # type: ignore[misc]

    def _remove(self, session: Session, *, repository: RepositoryName, group: list[_Node], before: datetime) -> bool:
        numbers, names = [node.id for node in group], [name for node in group for name in node.names]
        for batch in _chunks(numbers):
            locked = select(ManifestRow.id, ManifestRow.unused).where(ManifestRow.id.in_(batch))
            rows = session.execute(locked.order_by(ManifestRow.id).with_for_update()).all()
            if len(rows) < len(batch) or any(unused is None or unused >= before for _, unused in rows):
                return False
            if session.scalar(select(TagRow.name).where(TagRow.manifest_id.in_(batch)).limit(1)) is not None:
                return False
        edge, within = ManifestEdgeRow, set(numbers)
        for some in _chunks(names):
            parents = select(edge.manifest_id).join(RepositoryRow, RepositoryRow.id == edge.repository_id)
            naming = RepositoryRow.name == repository, edge.child.in_(some), edge.kind.in_(_PARTS)
            if not set(session.scalars(parents.where(*naming))) <= within:
                return False
        for batch in _chunks(numbers):
            session.execute(delete(edge).where(edge.manifest_id.in_(batch)))
            session.execute(delete(ManifestRow).where(ManifestRow.id.in_(batch)))
        deeds = [
            Deed(action="manifest.delete", name=repository, detail={"manifest": node.digest, "run": self._turn.run})
            for node in group
        ]
        who, now = self._turn.who, self._parts.clock()
        outbox.tell(
            session,
            *(
                Event(kind=Kind.DELETE, repository=repository, digest=node.digest, actor=who.actor, time=now)
                for node in group
            ),
        )
        TRAIL.append(session, who, now, *deeds)
        return True


def _load(session: Session, repository: RepositoryName) -> tuple[_Graph, set[int]]:
    """All manifests of a repository, and which of them have tags."""
    row, edge = ManifestRow, ManifestEdgeRow
    number = session.scalar(select(RepositoryRow.id).where(RepositoryRow.name == repository))
    columns = select(row.id, row.digest, row.sha256, row.sha512, row.unused).where(row.repository_id == number)
    nodes = [_Node(each[0], Digest(each[1]), *each[2:]) for each in session.execute(columns)]
    named = select(edge.manifest_id, edge.kind, edge.child)
    edges = session.execute(named.where(edge.repository_id == number, edge.kind.in_(_PARTS)))
    graph = _Graph(nodes, ((each[0], each[1], each[2]) for each in edges))
    tags = select(TagRow.manifest_id).where(TagRow.repository_id == number).distinct()
    return graph, set(session.scalars(tags)) & graph.nodes.keys()


def _reached(start: Iterable[int], next_to: Callable[[int], set[int]]) -> set[int]:
    found = set(start)
    waiting = deque(found)
    while waiting:
        for each in next_to(waiting.popleft()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def _chunks(values: Sequence[R]) -> Iterator[Sequence[R]]:
    for at in range(0, len(values), BATCH):
        yield values[at : at + BATCH]
