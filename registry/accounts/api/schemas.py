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
from registry.demands import MAX_GRACE_DAYS, MAX_PATTERNS, MAX_PINS, MAX_ROLES, Mode
from registry.operations import Schema, ref
from registry.operations import object_schema as _object

_LEVELS = [level.value for level in Level]
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"


def _list(name: str) -> Schema:
    return {"type": "array", "items": ref(name)}


def _text(**more: object) -> Schema:
    return {"type": "string", **more}


def _maybe_list(most: int, **item: object) -> Schema:
    return {"type": ["array", "null"], "items": _text(**item), "maxItems": most}


_BOOLEAN = {"type": "boolean"}
_NUMBER = {"type": "integer"}
_NAMES = {"type": "array", "items": {"type": "string"}}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MODE = _text(enum=[mode.value for mode in Mode])
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
    "User": _object(
        name=ref("Name"), administrator=_BOOLEAN, disabled=_BOOLEAN, grants=_list("GrantAt"),
    ),
    "Users": _object(users=_list("User")),
    "NewUser": _object({"administrator": {"type": "boolean"}}, name=ref("Name"), password=ref("Password")),
    "NewStanding": _object({"disabled": _BOOLEAN, "administrator": _BOOLEAN}),
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
    "ListedRepository": _object(name=ref("RepositoryName"), visibility=ref("Visibility"), level=ref("Level")),
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
    "PolicyPlace": _text(
        minLength=1, maxLength=200, pattern=rf"^{_PART}(/{_PART})*/?$",
        description="a repository, or with a slash at its end a namespace of any depth: team/, team/tools/",
    ),
    "Policy": _object(
        mode=_MODE, roles=_NAMES, require=_text(), needed=_NUMBER, pins=_NAMES, grace_days=_NUMBER, immutable=_NAMES,
    ),
    # What is left out stays as it is; null: as the next wider policy has it.
    "NewPolicy": _object(
        {
            "mode": {"enum": [*_MODE["enum"], None]},
            "roles": _maybe_list(MAX_ROLES, maxLength=255),
            "require": {
                "type": ["string", "null"], "pattern": "^(any|all|[1-9][0-9]?)$",
                "description": "how many of the roles must sign the same",
            },
            "pins": _maybe_list(MAX_PINS, pattern="^[0-9a-f]{64}$"),
            "grace_days": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_GRACE_DAYS},
            "immutable": _maybe_list(MAX_PATTERNS, pattern=r"^[A-Za-z0-9._*?\[\]!-]{1,128}$"),
        },
        place=ref("PolicyPlace"),
    ),
    "PolicySource": _object(
        place=_text(), said_by=_text(enum=["admins", "administrators", "settings"]),
        says={"type": "object", "description": "parts of a policy"},
        short=_NAMES | {"description": "the parts that do not count, since more is demanded around the place"},
    ),
    "PolicyAt": _object(
        {"from": {**_list("PolicySource"), "description": "the nearest first"}},
        place=ref("PolicyPlace"), policy=ref("Policy"),
    ),
    "Reference": _text(
        minLength=1, maxLength=135,
        pattern="^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$",
        description="a tag or a digest",
    ),
    "Explanation": _object(
        {"signed_digest": _MAYBE_TEXT},
        repository=ref("RepositoryName"), reference=ref("Reference"), gun=_text(), digest=_MAYBE_TEXT,
        decision=_text(enum=["served", "refused", "undecided", "absent"]), status=_NUMBER, reason=_text(),
        served_digest=_MAYBE_TEXT, message=_text(),
        policy={"type": "object", "description": "as Policy, and from: whose word counts, the nearest first"},
        root={"type": "object"}, roles={"type": "array", "items": {"type": "object"}}, caller_exempt=_BOOLEAN,
    ),
    "Tag": _object(
        tag=_text(), digest=_text(), media_type=_text(), size=_NUMBER, moved=_MOMENT,
        signed={"type": ["boolean", "null"], "description": "as the policy demands; null: that cannot be told now"},
        signed_by=_NAMES | {"description": "roles that sign this tag as this digest"},
        signed_digest=_MAYBE_TEXT | {"description": "what the tag is signed as, by enough roles"},
        immutable=_BOOLEAN,
    ),
    "Tags": _object(repository=ref("RepositoryName"), tags=_list("Tag")),
    "AuditRecord": _object(
        seq=_NUMBER, time=_text(), service=_text(), actor=_text(), address=_text(), request_id=_text(),
        action=_text(), name=_text(), role=_text(), version={"type": ["integer", "null"]}, sha256=_text(),
        outcome=_text(enum=["done", "refused"]), detail={}, previous=_text(), hash=_text(),
    ),
    "AuditRecords": _object(records=_list("AuditRecord"), head=_text(description="number and hash of the last")),
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
