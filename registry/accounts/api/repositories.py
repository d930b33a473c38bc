# SPDX-License-Identifier: Apache-2.0
"""The API's operations on repositories, on what is granted in them, and on namespaces.

Whoever may pull from a repository sees it; its admins say who else may, and whether everybody may.  To anybody else
it is not there.  Namespaces are given away by administrators.
"""

from __future__ import annotations

from urllib.parse import urlencode

from registry.accounts.admin import grant
from registry.accounts.api.operations import Api, Call, denied
from registry.accounts.organisations import TeamName, grant_team
from registry.accounts.ownership import (
    assign_namespace,
    is_public,
    list_grants,
    list_namespaces,
    public_among,
    set_public,
)
from registry.accounts.policy import Level, Place
from registry.accounts.rights import level_at, list_readable
from registry.operations import Answer, ref
from registry.repositories import exists_repository
from trust.errors import InvalidError, NotFoundError
from trust.names import RepositoryName
from trust.tokens import Sites

MAX_PAGE = 1000


def declare(api: Api, sites: Sites) -> None:
    """Declare the operations; no repository begins with one of our host names."""

    @api.operation(
        "GET", "/repositories", "the repositories that one may pull from, a page at a time",
        answers={200: "Repositories"},
        query={
            "n": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": MAX_PAGE},
            "last": {"type": "string", "maxLength": 200, "default": "", "description": "the page begins after it"},
        },
    )  # fmt: skip
    def repositories(call: Call) -> Answer:
        number, last = call.query.get("n", str(MAX_PAGE)), call.query.get("last", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 5 and 0 < int(number) <= MAX_PAGE):
            raise InvalidError(f"n is a number from 1 to {MAX_PAGE}")
        if not (last.isascii() and len(last) <= 200 and (last.isprintable())):
            raise InvalidError("last is the name of a repository")
        with call.database.read() as session:
            names = list_readable(session, call.account, last, int(number) + 1)
            public = public_among(session, names)
        page = names[: int(number)]
        query = urlencode({"n": number, "last": page[-1]}) if page else ""
        link = {"Link": f'</api/v1/repositories?{query}>; rel="next"'} if len(names) > len(page) else {}
        found = [{"name": name, "visibility": _visibility(name in public)} for name in page]
        return 200, {"repositories": found}, link

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
        if _level(call, Place(name)) is None:
            raise NotFoundError("there is no such repository")
        _require_admin(call, Place(name))
        set_public(call.database, name, call.body["visibility"] == "public")
        return 200, _repository(call, name)

    @api.operation(
        "GET",
        "/grants",
        "what was granted in just this place",
        query={"place": ref("Place")},
        answers={200: "Grants"},
    )
    def grants(call: Call) -> Answer:
        place = Place(call.query.get("place", ""))
        _require_admin(call, place)
        found = list_grants(call.database, place)
        return 200, {"grants": [{"kind": each.kind, "name": each.name, "level": each.level} for each in found]}

    @api.operation(
        "PUT", "/grants", "set the level of a user or a team in a place", body="NewGrant", answers={204: None}
    )
    def set_grant(call: Call) -> Answer:
        place, body = Place(call.body["place"]), call.body
        sites.check_repository(place)
        _require_admin(call, place)
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
    level = _level(call, Place(name))
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


def _level(call: Call, place: Place) -> Level | None:
    with call.database.read() as session:
        return level_at(session, call.account, place)


def _require_admin(call: Call, place: Place) -> None:
    level = _level(call, place)
    if level is not Level.ADMIN:
        raise denied(f"admin of {place}", f"{level} of {place}" if level else f"nothing in {place}")


def _visibility(public: bool) -> str:
    return "public" if public else "private"
