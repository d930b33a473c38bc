# SPDX-License-Identifier: Apache-2.0
"""Which levels a user has, and where they come from.

    levels = levels_of(session, account, [repository])         # {"library/app": Level.READ, "library/": …}
    decide(account, levels, access, sites)

A level comes from a grant to the user, from a grant to a team of the user's, from owning the namespace, alone or with
an organisation whose team `owners` the user is in, or from the repository being public.  The highest one counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, exists, or_, select, true
from sqlalchemy.orm import Session

from registry.accounts.models import Namespace, Permission, PublicRepository, Team, TeamMember, TeamPermission
from registry.accounts.policy import Account, Level, Place, highest, level_in, places_of
from registry.models import ManifestRow, RepositoryRow
from trust.names import RepositoryName

#: The team that each organisation has from the beginning: it is admin of all that the organisation owns.
OWNERS = "owners"


def levels_of(session: Session, account: Account | None, repositories: Iterable[RepositoryName]) -> dict[str, Level]:
    """The levels of `account` in all places that count for `repositories`; for None, those of everybody."""
    places = {place for repository in repositories for place in places_of(repository)}
    return levels_at(session, account, places)


def levels_at(session: Session, account: Account | None, places: Iterable[Place]) -> dict[str, Level]:
    """The levels of `account` at just these places.  An administrator's being one is not counted."""
    wanted = set(places)
    public = select(PublicRepository.repository).where(PublicRepository.repository.in_(wanted))
    found = [(name, Level.READ) for name in session.scalars(public)]
    if account is not None:
        found += _granted(session, account, wanted)
    return {
        place: level
        for place in {place for place, _ in found}
        if (level := highest(level for where, level in found if where == place)) is not None
    }


def level_at(session: Session, account: Account, place: Place) -> Level | None:
    """The level of `account` in a repository or a whole namespace, an administrator's being one included."""
    if place.endswith("/"):
        return Level.ADMIN if account.is_admin else levels_at(session, account, [place]).get(place)
    repository = RepositoryName(place)
    return level_in(account, levels_of(session, account, [repository]), repository)


def list_readable(session: Session, account: Account, last: str, limit: int) -> list[str]:
    """Names of repositories with manifests that `account` may pull from, after `last`, in ASCII order."""
    has_manifests = exists().where(ManifestRow.repository_id == RepositoryRow.id)
    query = select(RepositoryRow.name).where(RepositoryRow.name > last, has_manifests, _readable(session, account))
    return list(session.scalars(query.order_by(RepositoryRow.name).limit(limit)))


def owns(user_id: int) -> ColumnElement[bool]:
    """Says of a row of `namespaces` that this user owns it, alone or as one of an organisation's owners."""
    organisations = (
        select(Team.organisation_id)
        .join(TeamMember, TeamMember.team_id == Team.id)
        .where(Team.name == OWNERS, TeamMember.user_id == user_id)
    )
    return or_(Namespace.user_id == user_id, Namespace.organisation_id.in_(organisations))


def _granted(session: Session, account: Account, wanted: set[Place]) -> list[tuple[str, Level]]:
    to_user = select(Permission.repository, Permission.level).where(
        Permission.user_id == account.id, Permission.repository.in_(wanted)
    )
    to_teams = (
        select(TeamPermission.repository, TeamPermission.level)
        .join(TeamMember, TeamMember.team_id == TeamPermission.team_id)
        .where(TeamMember.user_id == account.id, TeamPermission.repository.in_(wanted))
    )
    found = [(name, Level(level)) for query in (to_user, to_teams) for name, level in session.execute(query)]
    namespaces = {place.namespace for place in wanted if place.endswith("/")}
    owned = select(Namespace.name).where(Namespace.name.in_(namespaces), owns(account.id))
    return found + [(f"{name}/", Level.ADMIN) for name in session.scalars(owned)]


def _readable(session: Session, account: Account) -> ColumnElement[bool]:
    if account.is_admin:
        return true()
    mine = select(Permission.repository).where(Permission.user_id == account.id)
    teams = (
        select(TeamPermission.repository)
        .join(TeamMember, TeamMember.team_id == TeamPermission.team_id)
        .where(TeamMember.user_id == account.id)
    )
    whole = {
        name.removesuffix("/")
        for query, column in ((mine, Permission.repository), (teams, TeamPermission.repository))
        for name in session.scalars(query.where(column.endswith("/")))
    }
    whole |= set(session.scalars(select(Namespace.name).where(owns(account.id))))
    name = RepositoryRow.name
    return or_(
        name.in_(mine),
        name.in_(teams),
        name.in_(select(PublicRepository.repository)),
        # What begins with "library/": "0" is the character after the slash.
        *(and_(name > f"{namespace}/", name < f"{namespace}0") for namespace in sorted(whole)),
    )
