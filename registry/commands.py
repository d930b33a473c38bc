# SPDX-License-Identifier: Apache-2.0
"""What an operator does about trust, as commands of `troth-registry`.

    troth-registry policy REPOSITORY [--mode enforced|permissive|disabled] [--role ROLE …] [--pin KEYID …] [--default]
    troth-registry forget REPOSITORY

`policy` shows what the repository demands, after the change that the options ask for.  `forget` drops what was
believed of its trust data, so that the next root is believed anew (pins still bind): the way on for a publisher who
lost the root key and began again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry.policies import Mode, Policies
from registry.trustcache import DatabaseCache
from trust.names import RepositoryName, RoleName
from trust.web.database import Database

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.trust_handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Policies, Database, argparse.Namespace], int]


def add_commands(subparsers: Subparsers) -> None:
    """Add `policy` and `forget`; each parsed command has a `trust_handler`, a `Command`."""
    policy = subparsers.add_parser("policy", help="show or change what a repository demands of signatures")
    policy.add_argument("repository", help="without the registry's host: library/app")
    policy.add_argument("--mode", choices=[mode.value for mode in Mode])
    policy.add_argument("--role", action="append", metavar="ROLE", help="a role whose signatures count; repeatable")
    policy.add_argument("--pin", action="append", metavar="KEYID", help="ID of a root key to believe; repeatable")
    policy.add_argument("--default", action="store_true", help="first drop all that the repository has of its own")
    policy.set_defaults(trust_handler=_policy)
    forget = subparsers.add_parser("forget", help="drop what was believed of a repository's trust data")
    forget.add_argument("repository", help="without the registry's host: library/app")
    forget.set_defaults(trust_handler=_forget)


def _policy(policies: Policies, database: Database, arguments: argparse.Namespace) -> int:
    repository = RepositoryName(arguments.repository)
    with database.write() as session:  # one for all: what cannot be changed is not reset either
        if arguments.default:
            policies.reset(session, repository)
        if arguments.mode or arguments.role or arguments.pin:
            policies.change(
                session,
                repository,
                mode=Mode(arguments.mode) if arguments.mode else None,
                roles=[RoleName(role) for role in arguments.role] if arguments.role else None,
                pins=arguments.pin,
            )
        now = policies.of(session, repository)
    roles, pins = ", ".join(now.roles), ", ".join(now.pins) or "none"
    print(f"{policies.gun(repository)}\tmode: {now.mode.value}\troles: {roles}\tpins: {pins}")
    return 0


def _forget(policies: Policies, database: Database, arguments: argparse.Namespace) -> int:
    gun = policies.gun(RepositoryName(arguments.repository))
    known = DatabaseCache(database).forget(gun)
    print(f"{gun}: {'forgotten' if known else 'nothing was known'}")
    return 0
