# SPDX-License-Identifier: Apache-2.0
"""What an operator does about trust, as commands of `troth-registry`.

    troth-registry policy REPOSITORY|NAMESPACE/ [--mode enforced|resolve|permissive|disabled] [--role ROLE …]
        [--require any|all|NUMBER] [--pin KEYID …] [--grace DAYS] [--immutable PATTERN … | --mutable] [--default]
    troth-registry explain REPOSITORY TAG|DIGEST [--json]
    troth-registry forget REPOSITORY

`policy` shows what the repository demands, or what the repositories of a namespace do that say nothing themselves,
after the change that the options ask for.  `explain` says what a pull would get, and all that this rests on.
`forget` drops what was believed of a repository's trust data, so that the next root is believed anew (pins still
bind): the way on for a publisher who lost the root key and began again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry.explain import Explainer
from registry.policies import Mode, Policies, parse_scope
from registry.trustcache import DatabaseCache
from registry.views.routes import parse_reference
from trust.cli.explanation import lines
from trust.names import RepositoryName, RoleName
from trust.web.database import Database

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.trust_handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Policies, Database, argparse.Namespace], int]
#: The same for `arguments.explain_handler`.
ExplainCommand = Callable[[Explainer, argparse.Namespace], int]


def add_commands(subparsers: Subparsers) -> None:
    """Add `policy`, `explain` and `forget`; what is parsed has a `trust_handler` or an `explain_handler`."""
    policy = subparsers.add_parser("policy", help="show or change what a repository demands of signatures")
    policy.add_argument("repository", help="without the registry's host: library/app, or a namespace: library/")
    policy.add_argument("--mode", choices=[mode.value for mode in Mode])
    policy.add_argument("--role", action="append", metavar="ROLE", help="a role whose signatures count; repeatable")
    policy.add_argument("--require", metavar="any|all|NUMBER", help="how many of the roles must sign the same")
    policy.add_argument("--pin", action="append", metavar="KEYID", help="ID of a root key to believe; repeatable")
    policy.add_argument("--grace", type=int, metavar="DAYS", help="for how long expired trust data is believed")
    tags = policy.add_mutually_exclusive_group()
    tags.add_argument("--immutable", action="append", metavar="PATTERN", help="tags that stay: v*; repeatable")
    tags.add_argument("--mutable", action="store_true", help="no tag is immutable, whatever the namespace says")
    policy.add_argument("--default", action="store_true", help="first drop all that is said here")
    policy.set_defaults(trust_handler=_policy)
    explain = subparsers.add_parser("explain", help="say what a pull would get, and why")
    explain.add_argument("repository", help="without the registry's host: library/app")
    explain.add_argument("reference", help="a tag, or a digest")
    explain.add_argument("--json", action="store_true", help="all of it, for a program")
    explain.set_defaults(explain_handler=_explain)
    forget = subparsers.add_parser("forget", help="drop what was believed of a repository's trust data")
    forget.add_argument("repository", help="without the registry's host: library/app")
    forget.set_defaults(trust_handler=_forget)


def _policy(policies: Policies, database: Database, arguments: argparse.Namespace) -> int:
    scope = parse_scope(arguments.repository)
    wanted = {
        "mode": Mode(arguments.mode) if arguments.mode else None,
        "roles": [RoleName(role) for role in arguments.role] if arguments.role else None,
        "require": arguments.require,
        "pins": arguments.pin,
        "grace_days": arguments.grace,
        "immutable": [] if arguments.mutable else arguments.immutable,
    }
    with database.write() as session:  # one for all: what cannot be changed is not reset either
        if arguments.default:
            policies.reset(session, scope)
        if any(value is not None for value in wanted.values()):
            policies.change(session, scope, **wanted)
        now, sources = policies.of(session, scope), policies.sources(session, scope)
    print(
        f"{policies.host}/{scope}\tmode: {now.mode.value}\troles: {', '.join(now.roles)}\trequire: {now.require}\t"
        f"pins: {', '.join(now.pins) or 'none'}\tgrace: {now.grace_days} days\t"
        f"immutable: {', '.join(now.immutable) or 'none'}\tfrom: {', '.join([*sources, 'settings'])}"
    )
    return 0


def _explain(explainer: Explainer, arguments: argparse.Namespace) -> int:
    facts = explainer.explain(RepositoryName(arguments.repository), parse_reference(arguments.reference))
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(lines(facts)))
    return 0 if facts["decision"] == "served" else 1


def _forget(policies: Policies, database: Database, arguments: argparse.Namespace) -> int:
    gun = policies.gun(RepositoryName(arguments.repository))
    known = DatabaseCache(database).forget(gun)
    print(f"{gun}: {'forgotten' if known else 'nothing was known'}")
    return 0
