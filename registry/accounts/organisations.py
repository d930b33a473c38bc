# SPDX-License-Identifier: Apache-2.0
"""Organisations, their teams, and who is in them.

    add_organisation(database, "base", owners=["alice"], now=now)      # alice may do all below base/…
    add_team(database, TeamName("base/devs"))
    add_member(database, TeamName("base/devs"), "bob")
    grant_team(database, TeamName("base/devs"), Place("library/app"), Level.READ)

The rules:
* an organisation is the sum of its teams: whoever is in one of them belongs to it;
* the team `owners` is there from the beginning to the end; it is admin of the organisation's namespaces, and says who
  is in which team;
* what was pushed below an organisation's namespace outlives it, and is then the administrators'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import Select, delete, exists, select
from sqlalchemy.orm import Session

from registry.accounts.changes import change, lock_user
from registry.accounts.models import Namespace, Organisation, Team, TeamMember, TeamPermission, User
from registry.accounts.names import USER_NAME, check_name
from registry.accounts.policy import Level, Place
from registry.accounts.rights import OWNERS
from trust.errors import ConflictError, InvalidError, NotFoundError
from trust.names import RepositoryName
from trust.web.database import Database


class TeamName(str):
    """A team's name behind its organisation's: `base/devs`.

    Raises:
        InvalidError: any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        organisation, slash, team = text.partition("/")
        if not slash:
            raise InvalidError("a team is written as organisation/team")
        check_name(organisation, "organisation")
        check_name(team, "team")
        return super().__new__(cls, text)

    @property
    def organisation(self) -> str:
        """The organisation's name."""
        return self.partition("/")[0]

    @property
    def team(self) -> str:
        """The team's name within it."""
        return self.partition("/")[2]


@dataclass(frozen=True, slots=True)
class ListedTeam:
    """A team, its members' names, and pairs of place and level."""

    name: TeamName
    members: tuple[str, ...]
    levels: tuple[tuple[str, Level], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user is in an organisation."""

    is_member: bool
    is_owner: bool


def add_organisation(database: Database, name: str, *, owners: Sequence[str] = (), now: datetime) -> None:
    """Add an organisation with its team of owners, and the namespace of the same name.

    Raises:
        InvalidError: the name is malformed.
        NotFoundError: one of the owners is no user.
        ConflictError: a user, an organisation or a namespace with an owner is called so.
    """
    check_name(name, "organisation")
    taken = f"there is an organisation, a user or a namespace {name!r} already"
    with change(database, "organisation.add", name, taken=taken, owners=list(owners)) as session:
        organisation = Organisation(name=name, created=int(now.timestamp()))
        session.add(organisation)
        session.flush()
        team = Team(organisation_id=organisation.id, name=OWNERS)
        session.add_all([Namespace(name=name, organisation_id=organisation.id), team])
        session.flush()
        for owner in sorted(set(owners)):  # in one order: two changes must not wait for each other
            session.add(TeamMember(team_id=team.id, user_id=lock_user(session, owner).id))


def remove_organisation(database: Database, name: str) -> None:
    """Remove an organisation with its teams and what they were granted.

    Raises:
        NotFoundError: there is no such organisation.
    """
    with change(database, "organisation.remove", name) as session:
        session.delete(_lock_organisation(session, name))  # the rest goes by ON DELETE CASCADE


def list_organisations(database: Database, user: str | None = None) -> list[str]:
    """The names of all organisations, or of those that a user belongs to."""
    query = select(Organisation.name).order_by(Organisation.name)
    if user is not None:
        query = query.where(Organisation.id.in_(_memberships(user).with_only_columns(Team.organisation_id)))
    with database.read() as session:
        return list(session.scalars(query))


def standing(database: Database, user: str, organisation: str) -> Standing:
    """What a user is in an organisation; nothing in one that does not exist."""
    query = (
        _memberships(user)
        .join(Organisation, Organisation.id == Team.organisation_id)
        .where(Organisation.name == organisation)
    )
    with database.read() as session:
        teams = set(session.scalars(query.with_only_columns(Team.name)))
    return Standing(bool(teams), OWNERS in teams)


def add_team(database: Database, name: TeamName) -> None:
    """Add a team without members.

    Raises:
        NotFoundError: there is no such organisation.
        ConflictError: the organisation has a team of that name.
    """
    with change(database, "team.add", name, taken=f"there is a team {name!r} already") as session:
        organisation = _lock_organisation(session, name.organisation)
        session.add(Team(organisation_id=organisation.id, name=name.team))


def remove_team(database: Database, name: TeamName) -> None:
    """Remove a team and what it was granted.

    Raises:
        NotFoundError: there is no such team.
        ConflictError: it is the team of the owners.
    """
    if name.team == OWNERS:
        raise ConflictError("an organisation keeps its team of owners")
    with change(database, "team.remove", name) as session:
        session.delete(lock_team(session, name))


def list_teams(database: Database, organisation: str) -> list[ListedTeam]:
    """The teams of an organisation, by name."""
    with database.read() as session:
        of = select(Team.id, Team.name).join(Organisation, Organisation.id == Team.organisation_id)
        teams = session.execute(of.where(Organisation.name == organisation).order_by(Team.name)).all()
        members: dict[int, list[str]] = {number: [] for number, _ in teams}
        levels: dict[int, list[tuple[str, Level]]] = {number: [] for number, _ in teams}
        who = select(TeamMember.team_id, User.name).join(User, User.id == TeamMember.user_id)
        for number, user in session.execute(who.where(TeamMember.team_id.in_(members)).order_by(User.name)):
            members[number].append(user)
        what = select(TeamPermission).where(TeamPermission.team_id.in_(members))
        for row in session.scalars(what.order_by(TeamPermission.repository)):
            levels[row.team_id].append((row.repository, Level(row.level)))
    return [
        ListedTeam(TeamName(f"{organisation}/{name}"), tuple(members[number]), tuple(levels[number]))
        for number, name in teams
    ]


def add_member(database: Database, team: TeamName, user: str) -> None:
    """Take a user into a team, unless they are in it.

    Raises:
        NotFoundError: there is no such team or user.
    """
    with change(database, "team.join", team, user=user) as session:
        row = lock_team(session, team)
        member = lock_user(session, user)
        if session.get(TeamMember, (row.id, member.id)) is None:
            session.add(TeamMember(team_id=row.id, user_id=member.id))


def remove_member(database: Database, team: TeamName, user: str) -> None:
    """Take a user out of a team.

    Raises:
        NotFoundError: there is no such team or user, or the user is not in it.
    """
    with change(database, "team.leave", team, user=user) as session:
        row = lock_team(session, team)
        member = session.get(TeamMember, (row.id, lock_user(session, user).id))
        if member is None:
            raise NotFoundError(f"{user!r} is not in the team {team!r}")
        session.delete(member)


def grant_team(database: Database, team: TeamName, place: Place | RepositoryName, level: Level | None) -> None:
    """Set a team's level in a repository, which need not exist yet, or in a namespace; None takes it away.

    Raises:
        NotFoundError: there is no such team.
    """
    with change(database, "grant", place, team=team, level=level or "none") as session:
        row = lock_team(session, team)
        here = (TeamPermission.team_id == row.id, TeamPermission.repository == str(place))
        session.execute(delete(TeamPermission).where(*here))
        if level is not None:
            session.add(TeamPermission(team_id=row.id, repository=str(place), level=level.value))


def exists_organisation(database: Database, name: str) -> bool:
    """Whether there is such an organisation."""
    with database.read() as session:
        return bool(session.scalar(select(exists().where(Organisation.name == name))))


def lock_team(session: Session, name: TeamName) -> Team:
    """The row of a team, locked; for sessions that write.

    Raises:
        NotFoundError: there is no such team.
    """
    query = select(Team).join(Organisation, Organisation.id == Team.organisation_id)
    row = session.scalar(
        query.where(Organisation.name == name.organisation, Team.name == name.team).with_for_update(of=Team)
    )
    if row is None:
        raise NotFoundError(f"there is no team {name!r}")
    return row


def _lock_organisation(session: Session, name: str) -> Organisation:
    if not USER_NAME.fullmatch(name):
        raise NotFoundError("there is no such organisation")
    row = session.scalar(select(Organisation).where(Organisation.name == name).with_for_update())
    if row is None:
        raise NotFoundError(f"there is no organisation {name!r}")
    return row


def _memberships(user: str) -> Select[Team]:
    return (
        select(Team)
        .join(TeamMember, TeamMember.team_id == Team.id)
        .join(User, User.id == TeamMember.user_id)
        .where(User.name == user)
    )
