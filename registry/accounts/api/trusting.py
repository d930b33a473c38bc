# SPDX-License-Identifier: Apache-2.0
"""The API's operations on trust: what a place demands of signatures, what a pull would get and why, who signed a tag.

Whoever may pull sees them.  The admins of a place may demand more than is demanded around it; less, only
administrators (docs/explanation/enforcement.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from registry.accounts.api.operations import Api, Call, denied
from registry.accounts.api.paging import next_page, page_size, sizes
from registry.accounts.api.repositories import level_of
from registry.accounts.policy import Level, Place
from registry.demands import PARTS, Mode, Policy
from registry.explain import Explainer
from registry.operations import Answer, ref
from registry.policies import Namespace, Policies, Scope, Source, parse_scope
from registry.views.routes import parse_reference, parse_tag
from trust.errors import NotFoundError
from trust.names import RepositoryName, RoleName
from trust.tokens import Sites

_PLACE = {"place": ref("PolicyPlace")}
_MAX_TAGS = 100


def declare(
    api: Api, sites: Sites, policies: Policies, explainer: Explainer, explain_to_bearer: Callable[[str], Response]
) -> None:
    """Declare the operations.

    Args:
        api: takes them.
        sites: our host names, which no repository begins with.
        policies: what is demanded.
        explainer: knows what a pull gets.
        explain_to_bearer: explains to those who show a bearer token instead of a login.
    """

    @api.operation(
        "GET", "/policy", "what a repository or a namespace demands, and whose word that is",
        query=_PLACE, answers={200: "PolicyAt"},
    )  # fmt: skip
    def policy(call: Call) -> Answer:
        scope = parse_scope(call.query.get("place", ""))
        _require(call, scope, Level.READ)
        return 200, _policy_at(call, policies, scope)

    @api.operation(
        "PATCH", "/policy", "change what is said of a place: as one of its admins only to demand more",
        body="NewPolicy", answers={200: "PolicyAt"},
    )  # fmt: skip
    def change(call: Call) -> Answer:
        scope = parse_scope(call.body["place"])
        sites.check_repository(scope)
        _require(call, scope, Level.ADMIN)
        parts = {name: call.body[name] for name in PARTS if name in call.body}
        unsaid = [name for name, value in parts.items() if value is None]
        wanted: dict[str, Any] = {name: value for name, value in parts.items() if value is not None}
        if "mode" in wanted:
            wanted["mode"] = Mode(wanted["mode"])
        if "roles" in wanted:
            wanted["roles"] = [RoleName(role) for role in wanted["roles"]]

        def work(session: Session) -> None:
            policies.change(session, scope, unsaid=unsaid, adds=not call.account.is_admin, **wanted)

        call.database.transact(work)
        return 200, _policy_at(call, policies, scope)

    @api.operation(
        "DELETE", "/policy", "drop what was added by a place's admins; as an administrator, all that is said of it",
        query=_PLACE, answers={200: "PolicyAt"},
    )  # fmt: skip
    def reset(call: Call) -> Answer:
        scope = parse_scope(call.query.get("place", ""))
        _require(call, scope, Level.ADMIN)
        call.database.transact(lambda session: policies.reset(session, scope, adds=not call.account.is_admin))
        return 200, _policy_at(call, policies, scope)

    @api.operation(
        "GET", "/repositories/{repository}/trust/explain", "what a pull gets, and all that this rests on",
        query={"reference": ref("Reference")}, answers={200: "Explanation"}, bearer=explain_to_bearer,
    )  # fmt: skip
    def explain(call: Call, repository: str) -> Answer:
        name = RepositoryName(repository)
        _require(call, name, Level.READ)
        facts = explainer.explain(name, parse_reference(call.query.get("reference", "")))
        return 200, facts | {"caller_exempt": False}  # a login is no token for push

    @api.operation(
        "GET", "/tags", "the tags of a repository, with who signed what they stand for, a page at a time",
        query={
            "repository": ref("RepositoryName"),
            "n": sizes(_MAX_TAGS),
            "last": {"type": "string", "maxLength": 128, "default": "", "description": "the page begins after it"},
        },
        answers={200: "Tags"},
    )  # fmt: skip
    def tags(call: Call) -> Answer:
        name, size = RepositoryName(call.query.get("repository", "")), page_size(call, _MAX_TAGS)
        last = parse_tag(text) if (text := call.query.get("last", "")) else ""
        _require(call, name, Level.READ)
        found = explainer.tags(name, last, size + 1)
        page = found[:size]
        link = next_page("/tags", found, size, repository=name, last=page[-1]["tag"] if page else "")
        return 200, {"repository": name, "tags": page}, link


def _require(call: Call, scope: Scope, wanted: Level) -> None:
    # Rights are given in the first part of a name, or in the repository.
    place = Place(f"{scope.partition('/')[0]}/" if isinstance(scope, Namespace) else scope)
    level = level_of(call, place)
    if level is None:
        raise NotFoundError("there is no such repository or namespace")
    if not level.covers(wanted):
        raise denied(f"{wanted} of {place}", f"{level} of {place}")


def _policy_at(call: Call, policies: Policies, scope: Scope) -> dict[str, object]:
    with call.database.read() as session:
        policy, sources = policies.explained(session, scope)
    settings = {"place": "settings", "said_by": "settings", "says": _parts(policies.default), "short": []}
    return {
        "place": scope,
        "policy": _parts(policy) | {"needed": policy.needed},
        "from": [*map(_source, sources), settings],
    }


def _parts(policy: Policy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in PARTS}


def _source(source: Source) -> dict[str, object]:
    return {
        "place": source.place,
        "said_by": "admins" if source.adds else "administrators",
        "says": source.said.parts(),
        "short": source.short,
    }
