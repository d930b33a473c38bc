# SPDX-License-Identifier: Apache-2.0
"""What an operator does with accounts, as commands of `troth-registry`.

    troth-registry user add NAME [--admin] [--password-file FILE]
    troth-registry user password NAME [--password-file FILE]
    troth-registry user disable NAME | enable NAME
    troth-registry user remove NAME
    troth-registry user list
    troth-registry org add NAME [--owner USER]… | remove NAME | list
    troth-registry team add ORG/TEAM | remove ORG/TEAM | list ORG | join ORG/TEAM USER | leave ORG/TEAM USER
    troth-registry grant USER|ORG/TEAM REPOSITORY|NAMESPACE/ read|read-write|admin|none
    troth-registry visibility REPOSITORY public|private
    troth-registry namespace list | assign NAME OWNER|none
    troth-registry token add USER DESCRIPTION [--scope SCOPE] [--days N] | list USER | revoke USER NUMBER|all

A password comes from a file, from a prompt, or from standard input, and never from the command line, which other
users of the machine can see.  Bearer tokens that were given out before a change live on for their few minutes.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from registry.accounts.accesstokens import add_token, list_tokens, revoke_token
from registry.accounts.admin import (
    add_user,
    grant,
    list_users,
    read_password,
    remove_user,
    set_password,
    set_standing,
)
from registry.accounts.organisations import (
    TeamName,
    add_member,
    add_organisation,
    add_team,
    grant_team,
    list_organisations,
    list_teams,
    remove_member,
    remove_organisation,
    remove_team,
)
from registry.accounts.ownership import assign_namespace, list_namespaces, set_public
from registry.accounts.policy import Level, Place
from trust.errors import InvalidError
from trust.names import RepositoryName
from trust.web.database import Database

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Database, argparse.Namespace], int]
Act = Callable[[Database, argparse.Namespace], object]

_LEVELS = [level.value for level in Level]


def add_commands(subparsers: Subparsers) -> None:
    """Add the commands; each parsed command has a `handler`, a `Command`.

    Args:
        subparsers: what `ArgumentParser.add_subparsers()` returned.
    """
    _add_users(_group(subparsers, "user", "manage users"))
    _add_organisations(_group(subparsers, "org", "manage organisations"))
    _add_teams(_group(subparsers, "team", "manage an organisation's teams and their members"))
    _add_namespaces(_group(subparsers, "namespace", "say who owns the repositories below a first part of the name"))
    _add_tokens(_group(subparsers, "token", "manage access tokens, with which machines log in"))
    granting = _command(subparsers, "grant", "set what a user or a team may do", _grant)
    granting.add_argument("name", help="a user, or a team as ORGANISATION/TEAM")
    granting.add_argument("repository", help="without the registry's host: library/app, or library/ for all in it")
    granting.add_argument("level", choices=[*_LEVELS, "none"])
    visibility = _command(subparsers, "visibility", "let everybody pull from a repository, or no more", _visibility)
    visibility.add_argument("repository", help="without the registry's host: library/app")
    visibility.add_argument("visibility", choices=["public", "private"])


def _add_users(user: Subparsers) -> None:
    add = _command(user, "add", "add a user", _add_user)
    add.add_argument("--admin", action="store_true", help="make the user an administrator")
    password = _command(user, "password", "change a password; logins made with the old one end", _password)
    for parser in (add, password):
        parser.add_argument("name")
        parser.add_argument("--password-file", type=Path, help="default: ask, or read a line of standard input")
    remove = _command(user, "remove", "remove a user", lambda database, given: remove_user(database, given.name))
    remove.add_argument("name")
    for name, help, act in (("disable", "let nothing log a user in", _disable), ("enable", "undo that", _enable)):
        _command(user, name, help, act).add_argument("name")
    _command(user, "list", "list users and what they were granted", _list_users)


def _add_organisations(org: Subparsers) -> None:
    add = _command(org, "add", "add an organisation", _add_organisation)
    add.add_argument("name")
    add.add_argument("--owner", action="append", default=[], metavar="USER", help="may do all in it; repeatable")
    remove = _command(org, "remove", "remove an organisation and its teams; what was pushed stays", _remove_org)
    remove.add_argument("name")
    _command(org, "list", "list organisations", _list_organisations)


def _add_teams(team: Subparsers) -> None:
    _command(team, "add", "add a team", _add_team).add_argument("team", metavar="ORG/TEAM")
    _command(team, "remove", "remove a team", _remove_team).add_argument("team", metavar="ORG/TEAM")
    _command(team, "list", "list teams, their members and what they were granted", _list_teams).add_argument("name")
    for name, help, act in (("join", "take a user into a team", _join), ("leave", "take a user out of it", _leave)):
        parser = _command(team, name, help, act)
        parser.add_argument("team", metavar="ORG/TEAM")
        parser.add_argument("user")


def _add_namespaces(namespace: Subparsers) -> None:
    assign = _command(namespace, "assign", "give a namespace to a user or an organisation", _assign)
    assign.add_argument("name")
    assign.add_argument("owner", help="a user, an organisation, or none: then it is the administrators'")
    _command(namespace, "list", "list the namespaces that have an owner", _list_namespaces)


def _add_tokens(token: Subparsers) -> None:
    add = _command(token, "add", "make an access token and print it, this once", _add_token)
    add.add_argument("user")
    add.add_argument("description", help="what it is for")
    add.add_argument("--scope", choices=_LEVELS, default=Level.READ.value, help="default: read")
    add.add_argument("--days", type=int, help="how long it is good; default: until it is revoked")
    _command(token, "list", "list a user's access tokens", _list_tokens).add_argument("user")
    revoke = _command(token, "revoke", "end an access token", _revoke)
    revoke.add_argument("user")
    revoke.add_argument("token", help="its number, or all")


def _group(subparsers: Subparsers, name: str, help: str) -> Subparsers:
    return subparsers.add_parser(name, help=help).add_subparsers(required=True, metavar="COMMAND")


def _command(subparsers: Subparsers, name: str, help: str, act: Act) -> argparse.ArgumentParser:
    # Abbreviated, `--password SECRET` would be taken for --password-file, and the secret shown in the error.
    parser = subparsers.add_parser(name, help=help, allow_abbrev=False)

    def handler(database: Database, arguments: argparse.Namespace) -> int:
        act(database, arguments)
        return 0

    parser.set_defaults(handler=handler)
    return parser


def _add_user(database: Database, given: argparse.Namespace) -> None:
    add_user(database, given.name, _password_for(given), is_admin=given.admin, now=datetime.now(UTC))


def _password(database: Database, given: argparse.Namespace) -> None:
    set_password(database, given.name, _password_for(given))


def _disable(database: Database, given: argparse.Namespace) -> None:
    set_standing(database, given.name, is_disabled=True)


def _enable(database: Database, given: argparse.Namespace) -> None:
    set_standing(database, given.name, is_disabled=False)


def _list_users(database: Database, _given: argparse.Namespace) -> None:
    for user in list_users(database):
        standing = "administrator" if user.is_admin else "user"
        _print(user.name, *(("disabled",) if user.is_disabled else ()), standing, *_levels(user.levels))


def _add_organisation(database: Database, given: argparse.Namespace) -> None:
    add_organisation(database, given.name, owners=given.owner, now=datetime.now(UTC))


def _remove_org(database: Database, given: argparse.Namespace) -> None:
    remove_organisation(database, given.name)


def _list_organisations(database: Database, _given: argparse.Namespace) -> None:
    for name in list_organisations(database):
        _print(name)


def _add_team(database: Database, given: argparse.Namespace) -> None:
    add_team(database, TeamName(given.team))


def _remove_team(database: Database, given: argparse.Namespace) -> None:
    remove_team(database, TeamName(given.team))


def _list_teams(database: Database, given: argparse.Namespace) -> None:
    for team in list_teams(database, given.name):
        _print(team.name, ",".join(team.members) or "nobody", *_levels(team.levels))


def _join(database: Database, given: argparse.Namespace) -> None:
    add_member(database, TeamName(given.team), given.user)


def _leave(database: Database, given: argparse.Namespace) -> None:
    remove_member(database, TeamName(given.team), given.user)


def _grant(database: Database, given: argparse.Namespace) -> None:
    level = None if given.level == "none" else Level(given.level)
    if "/" in given.name:
        grant_team(database, TeamName(given.name), Place(given.repository), level)
    else:
        grant(database, given.name, Place(given.repository), level)


def _visibility(database: Database, given: argparse.Namespace) -> None:
    set_public(database, RepositoryName(given.repository), given.visibility == "public")


def _assign(database: Database, given: argparse.Namespace) -> None:
    assign_namespace(database, given.name, None if given.owner == "none" else given.owner)


def _list_namespaces(database: Database, _given: argparse.Namespace) -> None:
    for each in list_namespaces(database):
        _print(each.name, each.kind, each.owner)


def _add_token(database: Database, given: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    _, secret = add_token(database, given.user, given.description, Level(given.scope), now=now, days=given.days)
    print(secret)


def _list_tokens(database: Database, given: argparse.Namespace) -> None:
    for token in list_tokens(database, given.user):
        used = f"used {token.last_used:%Y-%m-%dT%H:%MZ}" if token.last_used else "never used"
        expires = f"expires {token.expires:%Y-%m-%dT%H:%MZ}" if token.expires else "does not expire"
        _print(str(token.id), token.scope, used, expires, token.description)


def _revoke(database: Database, given: argparse.Namespace) -> None:
    if given.token == "all":  # noqa: S105  # no secret
        numbers = [token.id for token in list_tokens(database, given.user)]
    elif given.token.isascii() and given.token.isdecimal():
        numbers = [int(given.token)]
    else:
        raise InvalidError("an access token is named by its number in `token list`, or by the word all")
    for number in numbers:
        revoke_token(database, given.user, number)


def _levels(levels: tuple[tuple[str, Level], ...]) -> list[str]:
    return [f"{place}:{level}" for place, level in levels]


def _print(*columns: str) -> None:
    print("\t".join(columns))


def _password_for(given: argparse.Namespace) -> str:
    if given.password_file:
        return read_password(given.password_file)
    if sys.stdin.isatty():
        return getpass.getpass(f"Password for {given.name}: ")
    return sys.stdin.readline().rstrip("\r\n")
