# SPDX-License-Identifier: Apache-2.0
"""Namespaces and their owners, public repositories, and what is granted in a place.

    assign_namespace(database, "library", "base")            # a user or an organisation
    set_public(database, RepositoryName("library/app"), True)

The rules:
* a namespace has one owner, who is admin of all repositories in it, or none: then it is the administrators';
* the namespace of a user's or an organisation's own name stays with them;
* everybody, logged in or not, may pull from a public repository: its signatures, and what its trust policy lets out.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.accounts.changes import change
from registry.accounts.models import (
    Namespace,
    Organisation,
    Permission,
    PublicRepository,
    Team,
    TeamPermission,
    User,
)
from registry.accounts.policy import Account, Level, Place, check_namespace
from registry.accounts.rights import owns
from registry.inserts import insert_or_find
from trust.errors import ConflictError, NotFoundError
from trust.names import RepositoryName
from trust.web.database import Database


@dataclass(frozen=True, slots=True)
class Owned:
    """A namespace and the user or organisation that owns it; `kind` is `user` or `organisation`."""

    name: str
    kind: str
    owner: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A level that a user, or a team such as `base/devs`, has in a place."""

    kind: str
    name: str
    level: Level


def list_namespaces(database: Database, account: Account | None = None) -> list[Owned]:
    """All namespaces that have an owner, by name; those that `account` owns, alone or with an organisation."""
    query = (
        select(Namespace.name, User.name, Organisation.name)
        .outerjoin(User, User.id == Namespace.user_id)
        .outerjoin(Organisation, Organisation.id == Namespace.organisation_id)
        .order_by(Namespace.name)
    )
    if account is not None:
        query = query.where(owns(account.id))
    with database.read() as session:
        return [
            Owned(name, "user", user) if user is not None else Owned(name, "organisation", organisation)
            for name, user, organisation in session.execute(query)
        ]


def assign_namespace(database: Database, name: str, owner: str | None) -> None:
    """Give a namespace to a user or an organisation, or, with None, back to the administrators.

    Raises:
        InvalidError: this can be no namespace.
        NotFoundError: no user and no organisation is called so.
        ConflictError: the namespace bears its owner's name, or somebody else was first.
    """
    check_namespace(name)
    taken = f"the namespace {name!r} got another owner in this moment"
    with change(database, "namespace.assign", name, taken=taken, owner=owner or "none") as session:
        row = session.scalar(select(Namespace).where(Namespace.name == name).with_for_update())
        if row is not None and _bears_its_owners_name(session, row):
            raise ConflictError(f"the namespace {name!r} stays with the account of the same name")
        if owner is None:
            if row is not None:
                session.delete(row)
            return
        own = session.scalar(select(Namespace).where(Namespace.name == owner))  # every account has one
        if own is None or not _bears_its_owners_name(session, own):
            raise NotFoundError(f"there is no user and no organisation {owner!r}")
        if row is None:
            row = Namespace(name=name)
            session.add(row)
        row.user_id, row.organisation_id = own.user_id, own.organisation_id


def is_public(database: Database, repository: RepositoryName) -> bool:
    """Whether everybody may pull from `repository`."""
    with database.read() as session:
        return session.get(PublicRepository, repository) is not None


def public_among(session: Session, repositories: list[str]) -> set[str]:
    """Those of `repositories` that are public."""
    names = PublicRepository.repository
    return set(session.scalars(select(names).where(names.in_(repositories))))


def set_public(database: Database, repository: RepositoryName, public: bool) -> None:
    """Let everybody pull from a repository, which need not exist yet, or no more."""
    with change(database, "repository.visibility", repository, public=public) as session:
        here = PublicRepository.repository == str(repository)
        if public:
            insert_or_find(
                session, PublicRepository(repository=str(repository)), select(PublicRepository).where(here)
            )
        else:
            session.execute(delete(PublicRepository).where(here))


def list_grants(database: Database, place: Place) -> list[Granted]:
    """What was granted in just this place, to users first."""
    to_users = (
        select(User.name, Permission.level)
        .join(Permission, Permission.user_id == User.id)
        .where(Permission.repository == str(place))
        .order_by(User.name)
    )
    to_teams = (
        select(Organisation.name, Team.name, TeamPermission.level)
        .join(Team, Team.organisation_id == Organisation.id)
        .join(TeamPermission, TeamPermission.team_id == Team.id)
        .where(TeamPermission.repository == str(place))
        .order_by(Organisation.name, Team.name)
    )
    with database.read() as session:
        found = [Granted("user", user, Level(level)) for user, level in session.execute(to_users)]
        for organisation, team, level in session.execute(to_teams):
            found.append(Granted("team", f"{organisation}/{team}", Level(level)))
    return found


def _bears_its_owners_name(session: Session, row: Namespace) -> bool:
    if row.user_id is not None:
        return session.scalar(select(User.name).where(User.id == row.user_id)) == row.name
    return session.scalar(select(Organisation.name).where(Organisation.id == row.organisation_id)) == row.name
