# SPDX-License-Identifier: Apache-2.0
"""The JSON that the API takes and gives, as JSON Schema; the OpenAPI document shows just these.

A schema for what is taken says all that can be said without the database.  Names are checked once more where they
are used: a schema is for people and machines that write clients, not the only guard.
"""

from __future__ import annotations

from collections.abc import Mapping

from registry.accounts.accesstokens import MAX_DAYS, MAX_DESCRIPTION
from registry.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from registry.accounts.policy import MAX_NAMESPACE, Level
from registry.operations import Schema, ref
from registry.operations import object_schema as _object

_LEVELS = [level.value for level in Level]
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"


def _list(name: str) -> Schema:
    return {"type": "array", "items": ref(name)}


def _text(**more: object) -> Schema:
    return {"type": "string", **more}


_MOMENT = _text(format="date-time")
_MAYBE = {"type": ["string", "null"], "format": "date-time"}

SCHEMAS: Mapping[str, Schema] = {
    "Name": _text(minLength=1, maxLength=64, pattern="^[a-z0-9]+([._-][a-z0-9]+)*$"),
    "Namespace": _text(minLength=1, maxLength=MAX_NAMESPACE, pattern=f"^{_PART}$"),
    "RepositoryName": _text(minLength=1, maxLength=200, pattern=f"^{_PART}(/{_PART})*$"),
    "Place": _text(
        minLength=1, maxLength=200, pattern=rf"^{_PART}((/{_PART})*|/)$",
        description="a repository, or a namespace with a slash at its end for all repositories in it",
    ),
    "Level": _text(enum=_LEVELS),
    "Password": _text(minLength=MIN_LENGTH, maxLength=MAX_LENGTH),
    "Visibility": _text(enum=["private", "public"]),
    "GrantAt": _object(place=_text(), level=ref("Level")),
    "Me": _object(
        name=ref("Name"), administrator={"type": "boolean"}, scope=ref("Level"), organisations=_list("Name")
    ),
    "User": _object(name=ref("Name"), administrator={"type": "boolean"}, grants=_list("GrantAt")),
    "Users": _object(users=_list("User")),
    "NewUser": _object({"administrator": {"type": "boolean"}}, name=ref("Name"), password=ref("Password")),
    "NewPassword": _object(password=ref("Password")),
    "AccessToken": _object(
        id={"type": "integer"}, description=_text(), scope=ref("Level"), created=_MOMENT, expires=_MAYBE,
        last_used=_MAYBE | {"description": "exact to the hour"},
    ),
    "AccessTokens": _object(tokens=_list("AccessToken")),
    "NewAccessToken": _object(
        {"days": {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "description": "without it: no end"}},
        description=_text(minLength=1, maxLength=MAX_DESCRIPTION),
        scope=ref("Level"),
    ),
    "MadeAccessToken": _object(token=ref("AccessToken"), secret=_text(description="shown this once")),
    "Team": _object(name=ref("Name"), members=_list("Name"), grants=_list("GrantAt")),
    "NewTeam": _object(name=ref("Name")),
    "Organisation": _object(name=ref("Name"), teams=_list("Team")),
    "Organisations": _object(organisations=_list("Name")),
    "NewOrganisation": _object({"owners": {**_list("Name"), "maxItems": 100}}, name=ref("Name")),
    "OwnedNamespace": _object(
        name=ref("Namespace"), kind=_text(enum=["user", "organisation"]), owner=ref("Name")
    ),
    "Namespaces": _object(namespaces=_list("OwnedNamespace")),
    "NewOwner": _object(owner=ref("Name")),
    "ListedRepository": _object(name=ref("RepositoryName"), visibility=ref("Visibility")),
    "Repositories": _object(repositories=_list("ListedRepository")),
    "Repository": _object(
        name=ref("RepositoryName"), visibility=ref("Visibility"), level=ref("Level"), pushed={"type": "boolean"}
    ),
    "NewVisibility": _object(visibility=ref("Visibility")),
    "Grant": _object(
        kind=_text(enum=["user", "team"]), name=_text(description="of the user, or organisation/team"),
        level=ref("Level"),
    ),
    "Grants": _object(grants=_list("Grant")),
    "NewGrant": _object(
        place=ref("Place"), kind=_text(enum=["user", "team"]), name=_text(minLength=1, maxLength=129),
        level=_text(enum=[*_LEVELS, "none"], description="none takes it away"),
    ),
    "Error": _object(
        errors={
            "type": "array",
            "minItems": 1,
            "items": _object({"detail": {}}, code=_text(), message=_text()),
        }
    ),
}  # fmt: skip

#: What stands in a path.
PARAMETERS: Mapping[str, Schema] = {
    "user": ref("Name"),
    "organisation": ref("Name"),
    "team": ref("Name"),
    "namespace": ref("Namespace"),
    "repository": ref("RepositoryName"),
    "token": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
}
