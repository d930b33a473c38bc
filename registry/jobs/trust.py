# SPDX-License-Identifier: Apache-2.0
"""What jobs ask about signatures: the enforcer's own questions, for whole repositories.

    for repository in repository_names(database):
        signed = Signed.of(parts, repository)           # one look at the notary server
        signed.signatures(session, Tag("1"))            # [] if nobody signs it

Nothing is decided here: `registry.cases` is asked, as for a pull and for a deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.cases import Case
from registry.jobs.kinds import Turn
from registry.models import RepositoryRow
from registry.policies import Policies, Policy
from registry.storage.base import Storage
from registry.trustdata import TrustData
from trust.collection import Collection
from trust.errors import NotFoundError, TrustError, UnavailableError
from trust.names import Digest, Gun, RepositoryName, RoleName, Tag
from trust.web.database import Database

#: So many repositories in a row are asked for in vain before a job gives up.
MAX_SILENT = 20
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Parts:
    """What jobs work with.

    Attributes:
        database: the registry's.
        storage: where the content is.
        policies: what each repository demands.
        trust_data: what the publishers signed.
        clock: tells the time.
    """

    database: Database
    storage: Storage
    policies: Policies
    trust_data: TrustData
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Signed:
    """A repository's policy, and its trust collection as it is now.

    Attributes:
        repository: which.
        gun: the collection's name.
        policy: what is demanded.
        collection: what was verified; None: there is no trust data.
    """

    repository: RepositoryName
    gun: Gun
    policy: Policy
    collection: Collection | None

    @classmethod
    def of(cls, parts: Parts, repository: RepositoryName) -> Signed:
        """Ask the notary server.

        Raises:
            UntrustedError: what it gives is not to be believed.
            UnavailableError: it does not answer.
            UnauthorizedError: it does not let us read.
        """
        with parts.database.read() as session:
            policy = parts.policies.of(session, repository)
        gun, collection = parts.policies.gun(repository), None
        if parts.trust_data.has_source:
            try:
                collection = parts.trust_data.of(gun, policy)
            except NotFoundError:
                collection = None
        return cls(repository, gun, policy, collection)

    def case(self, session: Session) -> Case:
        """Questions about the repository; only where there is a collection."""
        assert self.collection is not None
        return Case(session, self.repository, self.policy, self.collection)

    def signatures(self, session: Session, reference: Tag | Digest) -> list[tuple[str, RoleName]]:
        """Whose signatures would stand for nothing without this tag or manifest.

        Raises:
            UnavailableError: that cannot be told.
        """
        return [] if self.collection is None else self.case(session).signatures(reference)


def each_signed(parts: Parts, turn: Turn) -> Iterator[tuple[RepositoryName, Signed | TrustError]]:
    """Every repository with its trust collection, or with why that cannot be had or believed.

    Raises:
        UnavailableError: the notary server gave nothing for `MAX_SILENT` repositories in a row.
    """
    silent = 0
    for repository in repository_names(parts.database):
        turn.check()
        try:
            found: Signed | TrustError = Signed.of(parts, repository)
            silent = 0
        except TrustError as error:
            found = error
            silent = silent + 1 if isinstance(error, UnavailableError) else 0
            if silent >= MAX_SILENT:  # else each of thousands would be waited for
                raise UnavailableError(f"nothing can be had of {silent} repositories in a row: {error}") from error
        yield repository, found


def repository_names(
    database: Database, within: Callable[[str], bool] = lambda _name: True
) -> Iterator[RepositoryName]:
    """All repositories that there ever was something in, in the order of their names.

    Args:
        database: the registry's.
        within: which of them.
    """
    last = ""
    while True:
        query = select(RepositoryRow.name).where(RepositoryRow.name > last).order_by(RepositoryRow.name).limit(_PAGE)
        with database.read() as session:
            names = list(session.scalars(query))
        yield from (RepositoryName(name) for name in names if within(name))
        if len(names) < _PAGE:
            return
        last = names[-1]
