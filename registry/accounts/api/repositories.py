# SPDX-License-Identifier: Apache-2.0
"""The API's operations on repositories, on what is granted in them, and on namespaces.

Whoever may pull from a repository sees it; its admins say who else may, and whether everybody may.  To anybody else
it is not there.  Namespaces are given away by administrators.
"""

from __future__ import annotations

from registry.accounts.admin import grant
from registry.accounts.api.operations import Api, Call, denied
from registry.accounts.api.paging import next_page, page_size, sizes
from registry.accounts.changes import change as changing
from registry.accounts.changes import refusals
from registry.accounts.organisations import TeamName, grant_team
from registry.accounts.ownership import (
    assign_namespace,
    is_public,
    list_grants,
    list_namespaces,
    public_among,
    set_public,
)
from registry.accounts.policy import Level, Place, level_in
from registry.accounts.rights import level_at, levels_of, list_readable
from registry.enforce import Enforcer
from registry.events import outbox
from registry.events.event import MAX_TOLD, Kind, of_request
from registry.operations import Answer, ref
from registry.policies import Policies
from registry.repositories import empty_repository, exists_repository
from trust.errors import InvalidError, NotFoundError
from trust.names import RepositoryName
from trust.tokens import Sites
from trust.web.audit import Deed


def declare(api: Api, sites: Sites, policies: Policies, enforcer: Enforcer) -> None:
    """Declare the operations; no repository begins with one of our host names."""

    @api.operation(
        "GET", "/repositories", "the repositories that one may pull from, a page at a time",
        answers={200: "Repositories"},
        query={
            "n": sizes(),
            "last": {"type": "string", "maxLength": 200, "default": "", "description": "the page begins after it"},
        },
    )  # fmt: skip
    def repositories(call: Call) -> Answer:
        size, last = page_size(call), call.query.get("last", "")
        if not (last.isascii() and len(last) <= 200 and (last.isprintable())):
            raise InvalidError("last is the name of a repository")
        with call.database.read() as session:
            names = [RepositoryName(name) for name in list_readable(session, call.account, last, size + 1)]
            public, page = public_among(session, [*names]), names[:size]
            levels = levels_of(session, call.account, page)
        found = [
            {
                "name": name,
                "visibility": _visibility(name in public),
                "level": level_in(call.account, levels, name) or Level.READ,
            }
            for name in page
        ]
        return 200, {"repositories": found}, next_page("/repositories", names, size, last=page[-1] if page else "")

    @api.operation("GET", "/repositories/{repository}", "a repository", answers={200: "Repository"})
    def repository(call: Call, repository: str) -> Answer:
        return 200, _repository(call, RepositoryName(repository))

    @api.operation(
        "PATCH", "/repositories/{repository}", "let everybody pull from a repository, or no more",
        body="NewVisibility", answers={200: "Repository"},
    )  # fmt: skip
    def change(call: Call, repository: str) -> Answer:
        name = RepositoryName(repository)
        sites.check_repository(name)
        if level_of(call, Place(name)) is None:
            raise NotFoundError("there is no such repository")
        require_admin(call, Place(name))
        set_public(call.database, name, call.body["visibility"] == "public")
        return 200, _repository(call, name)

    @api.operation(
        "DELETE", "/repositories/{repository}", "delete all tags and manifests of a repository",
        answers={204: None},
        query={
            "trust": {
                "type": "string", "enum": ["", "cascade"], "default": "",
                "description": "cascade: although its trust collection signs something",
            }
        },
    )  # fmt: skip
    def remove(call: Call, repository: str) -> Answer:
        name, trust = RepositoryName(repository), call.query.get("trust", "")
        if trust not in ("", "cascade"):
            raise InvalidError("trust is cascade, or is not said")
        if level_of(call, Place(name)) is None:
            raise NotFoundError("there is no such repository")
        require_admin(call, Place(name))
        # Asked before: nobody waits for a notary server with a transaction open.
        with refusals(call.database).noted(Deed(action="repository.delete", name=name, detail={"trust": trust})):
            enforcer.emptying(call.account.name, name, cascade=trust == "cascade")
        with changing(call.database, "repository.delete", name, trust=trust) as session:
            if not exists_repository(session, name):
                raise NotFoundError("there is no such repository")
            keep = policies.of(session, name).is_immutable
            gone = empty_repository(session, name, actor=call.account.name, now=call.now, keep=keep)
            outbox.tell(
                session,
                *(
                    of_request(Kind.DELETE, name, call.now, digest=digest, tags=tags[:MAX_TOLD])
                    for digest, tags in gone
                ),
            )
        return 204, None

    @api.operation(
        "GET",
        "/grants",
        "what was granted in just this place",
        query={"place": ref("Place")},
        answers={200: "Grants"},
    )
    def grants(call: Call) -> Answer:
        place = Place(call.query.get("place", ""))
        require_admin(call, place)
        found = list_grants(call.database, place)
        return 200, {"grants": [{"kind": each.kind, "name": each.name, "level": each.level} for each in found]}

    @api.operation(
        "PUT", "/grants", "set the level of a user or a team in a place", body="NewGrant", answers={204: None}
    )
    def set_grant(call: Call) -> Answer:
        place, body = Place(call.body["place"]), call.body
        sites.check_repository(place)
        require_admin(call, place)
        level = None if body["level"] == "none" else Level(body["level"])
        if body["kind"] == "team":
            grant_team(call.database, TeamName(body["name"]), place, level)
        else:
            grant(call.database, body["name"], place, level)
        return 204, None

    @api.operation(
        "GET", "/namespaces", "the namespaces that one owns; an administrator's are all", answers={200: "Namespaces"}
    )
    def namespaces(call: Call) -> Answer:
        found = list_namespaces(call.database, None if call.account.is_admin else call.account)
        return 200, {"namespaces": [{"name": each.name, "kind": each.kind, "owner": each.owner} for each in found]}

    @api.operation(
        "PUT", "/namespaces/{namespace}", "give a namespace to a user or an organisation, as an administrator",
        body="NewOwner", answers={204: None},
    )  # fmt: skip
    def assign(call: Call, namespace: str) -> Answer:
        call.require_administrator()
        sites.check_repository(f"{namespace}/")
        assign_namespace(call.database, namespace, call.body["owner"])
        return 204, None

    @api.operation(
        "DELETE", "/namespaces/{namespace}", "give a namespace back to the administrators, as one",
        answers={204: None},
    )  # fmt: skip
    def release(call: Call, namespace: str) -> Answer:
        call.require_administrator()
        assign_namespace(call.database, namespace, None)
        return 204, None


def _repository(call: Call, name: RepositoryName) -> dict[str, object]:
    level = level_of(call, Place(name))
    if level is None:
        raise NotFoundError("there is no such repository")
    with call.database.read() as session:
        pushed = exists_repository(session, name)
    return {
        "name": name,
        "visibility": _visibility(is_public(call.database, name)),
        "level": level,
        "pushed": pushed,
    }


def level_of(call: Call, place: Place) -> Level | None:
    """The caller's level in a place, whatever the token that was used."""
    with call.database.read() as session:
        return level_at(session, call.account, place)


def require_admin(call: Call, place: Place) -> None:
    """Let admins of a place alone go on.

    Raises:
        DeniedError: the caller is none.
    """
    level = level_of(call, place)
    if level is not Level.ADMIN:
        raise denied(f"admin of {place}", f"{level} of {place}" if level else f"nothing in {place}")


def _visibility(public: bool) -> str:
    return "public" if public else "private"
