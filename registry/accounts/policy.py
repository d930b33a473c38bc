# SPDX-License-Identifier: Apache-2.0
"""Who may do what, as a pure function.

The rules:
* an administrator gets everything asked for, in every repository, and the catalog; nobody else gets the catalog;
* elsewhere the highest level decides that one has in the repository or in its namespace;
* the anonymous get no more than a reader's part of that;
* an access token cuts all of it down to its own scope;
* too few rights give fewer actions, never an error (REGISTRY_API §6.2).

Where levels come from, `registry.accounts.rights` knows.  There is no right to create a repository: who may push to
its name may, and that right comes from the owner of its namespace or from an administrator.

A trust collection (GUN) is the repository that it signs: names lose our host before they are looked at.  What is no
repository name then gives nothing, to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from trust.errors import InvalidError
from trust.names import RepositoryName
from trust.tokens import Access, Sites

#: Characters; a repository name has 200, and a slash and another character must be left.
MAX_NAMESPACE = 198


class Level(StrEnum):
    """What a user or a team can be granted in a place, and what an access token can be used for; lowest first."""

    READ = "read"
    READ_WRITE = "read-write"
    ADMIN = "admin"

    @property
    def actions(self) -> frozenset[str]:
        """What may be done in a repository, as in a scope."""
        return _ACTIONS[self]

    def covers(self, other: Level) -> bool:
        """Whether this is as high as `other`, or higher."""
        return other.actions <= self.actions


def highest(levels: Iterable[Level]) -> Level | None:
    """The highest of some levels; None of none."""
    return max(levels, key=lambda level: len(level.actions), default=None)


class Place(str):
    """Where a grant counts: a repository (`library/app`), or all repositories of a namespace (`library/`).

    Unlike a policy's (`registry.policies`), a grant's namespace is always the whole first part of the name.

    Raises:
        InvalidError: any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if text.endswith("/"):
            check_namespace(text.removesuffix("/"))
        else:
            RepositoryName(text)
        return super().__new__(cls, text)

    @property
    def namespace(self) -> str:
        """The first part of the name; nothing for a repository that lies in no namespace, such as `app`."""
        return self.rpartition("/")[0].partition("/")[0]


def check_namespace(name: str) -> None:
    """Refuse what cannot be the first part of a repository's name.

    Raises:
        InvalidError: it cannot.
    """
    if "/" in name or len(name) > MAX_NAMESPACE:
        raise InvalidError(f"a namespace is the first part of a name, and has at most {MAX_NAMESPACE} characters")
    RepositoryName(name)


def places_of(repository: RepositoryName) -> tuple[Place, ...]:
    """The places whose grants count in `repository`."""
    place = Place(repository)
    return (place, Place(f"{place.namespace}/")) if place.namespace else (place,)


_ACTIONS = {
    Level.READ: frozenset({"pull"}),
    Level.READ_WRITE: frozenset({"pull", "push", "delete"}),
    Level.ADMIN: frozenset({"pull", "push", "delete", "*"}),
}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Account:
    """A user who has shown who they are.  `limit` is the scope of the access token that they used, if they did."""

    id: int
    name: str
    is_admin: bool
    limit: Level = Level.ADMIN


def repository_of(access: Access, sites: Sites) -> RepositoryName | None:
    """The repository that `access` is about, if it is about one."""
    if access.type != "repository":
        return None
    try:
        name = RepositoryName(sites.repository(access.name))
        sites.check_repository(name)
    except InvalidError:
        return None
    return name


def decide(account: Account | None, levels: Mapping[str, Level], access: Access, sites: Sites) -> Access:
    """Cut `access` down to what `account` may do.

    Args:
        account: the user, or None for the anonymous.
        levels: the user's levels by place; at least for the places of the repository of `access`.
        access: what is asked for; the name stays as it was asked.
        sites: our host names.
    """
    return replace(access, actions=access.actions & _allowed(account, levels, access, sites))


def level_in(account: Account | None, levels: Mapping[str, Level], repository: RepositoryName) -> Level | None:
    """The level that `account` has in `repository`, whatever the way it was used to log in.

    Args:
        account: as for `decide`.
        levels: as for `decide`.
        repository: which one.
    """
    if account is not None and account.is_admin:
        return Level.ADMIN
    return highest(levels[place] for place in places_of(repository) if place in levels)


def _allowed(account: Account | None, levels: Mapping[str, Level], access: Access, sites: Sites) -> frozenset[str]:
    if (access.type, access.name) == ("registry", "catalog"):
        return access.actions if account is not None and account.is_admin else _NOTHING  # names: to read
    repository = repository_of(access, sites)
    level = level_in(account, levels, repository) if repository is not None else None
    if level is None:
        return _NOTHING
    limit = Level.READ if account is None else account.limit
    if account is not None and account.is_admin and limit is Level.ADMIN:
        return access.actions
    return level.actions & limit.actions
