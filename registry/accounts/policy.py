# SPDX-License-Identifier: Apache-2.0
"""Who may do what, as a pure function.

The rules:
* an administrator gets everything asked for, in every repository, and the catalog; nobody else gets the catalog;
* a user is admin of the namespace that bears the own name: `alice` of `alice/app`;
* elsewhere the level that was granted decides;
* the anonymous get nothing;
* too few rights give fewer actions, never an error (REGISTRY_API §6.2).

A trust collection (GUN) is the repository that it signs: names lose our host before they are looked at.  What is no
repository name then gives nothing, to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from trust.errors import InvalidError
from trust.names import RepositoryName
from trust.tokens import Access, Sites


class Level(StrEnum):
    """What a user can be granted in a repository."""

    READ = "read"
    READ_WRITE = "read-write"
    ADMIN = "admin"


_ACTIONS = {
    Level.READ: frozenset({"pull"}),
    Level.READ_WRITE: frozenset({"pull", "push", "delete"}),
    Level.ADMIN: frozenset({"pull", "push", "delete", "*"}),
}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Account:
    """A user who has shown who they are."""

    id: int
    name: str
    is_admin: bool


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
        levels: the user's granted levels by repository; at least for the repository of `access`.
        access: what is asked for; the name stays as it was asked.
        sites: our host names.
    """
    return replace(access, actions=access.actions & _allowed(account, levels, access, sites))


def _allowed(account: Account | None, levels: Mapping[str, Level], access: Access, sites: Sites) -> frozenset[str]:
    if account is None:
        return _NOTHING
    if (access.type, access.name) == ("registry", "catalog"):
        return access.actions if account.is_admin else _NOTHING
    repository = repository_of(access, sites)
    if repository is None:
        return _NOTHING
    if account.is_admin:
        return access.actions
    if repository.startswith(f"{account.name}/"):
        return _ACTIONS[Level.ADMIN]
    return _ACTIONS[levels[repository]] if repository in levels else _NOTHING
