# SPDX-License-Identifier: Apache-2.0
"""The commands of `troth admin`: for each its words, the operation of the API that it is, and what it prints.

A new group of operations is a line in `GROUPS` and a list of `Command`s that is added to `TABLE`, at the end.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from trust.cli.admincommand import Command, Rows, columns
from trust.cli.adminjobs import JOBS
from trust.cli.adminwebhooks import WEBHOOKS
from trust.cli.exits import NOT_SIGNED, SIGNED, UNAVAILABLE
from trust.cli.explanation import lines

#: The first words, and what they are about.
GROUPS = {
    "user": "who can log in",
    "org": "organisations",
    "team": "an organisation's teams and who is in them",
    "namespace": "who owns the repositories below a first part of the name",
    "grant": "what users and teams may do",
    "repo": "repositories",
    "token": "access tokens, with which machines log in",
    "policy": "what is demanded of signatures",
    "job": "what the registry does by itself, at set times",
    "webhook": "who is told by HTTP of pushes, pulls, deletions and trust",
}

_NAME = ("name", {"metavar": "NAME"})
_USER = ("user", {"metavar": "USER"})
_REPOSITORY = ("repository", {"metavar": "REPOSITORY", "help": "without the registry's host: library/app"})
_PLACE = ("place", {"metavar": "PLACE", "help": "a repository, or with a slash at its end a namespace: library/"})
_ORG = ("organisation", {"metavar": "ORG"})
_TEAM = ("team", {"metavar": "ORG/TEAM"})
_OF_USER = ("--user", {"metavar": "USER", "help": "whose; for administrators"})
_LEVELS = ("read", "read-write", "admin")


def _grants(entry: Any) -> str:
    return " ".join(f"{each['place']}:{each['level']}" for each in entry["grants"])


def _users(entries: list[Any]) -> Rows:
    kinds = [
        ("disabled " if e["disabled"] else "") + ("administrator" if e["administrator"] else "user") for e in entries
    ]
    return [
        ["USER", "KIND", "GRANTS"],
        *([e["name"], kind, _grants(e)] for e, kind in zip(entries, kinds, strict=True)),
    ]


def _teams(answer: Any) -> Rows:
    rows = [[each["name"], " ".join(each["members"]), _grants(each)] for each in answer["teams"]]
    return [["TEAM", "MEMBERS", "GRANTS"], *rows]


def _change(words: str, help: str, **body: bool) -> Command:
    return Command(words, help, "PATCH", "/users/{name}", (_NAME,), body=lambda _: dict(body))


_USERS = [
    Command("user list", "all users", "GET", "/users", rows=lambda answer: _users(answer["users"])),
    Command("user show", "one user", "GET", "/users/{name}", (_NAME,), rows=lambda answer: _users([answer])),
    Command(
        "user add", "add a user", "POST", "/users",
        (_NAME, ("--admin", {"action": "store_true", "help": "make the user an administrator"})),
        body=lambda given: {"name": given.name, "administrator": given.admin}, new_password=True,
    ),
    _change("user disable", "let nothing log a user in", disabled=True),
    _change("user enable", "undo that", disabled=False),
    _change("user promote", "make a user an administrator", administrator=True),
    _change("user demote", "make an administrator a user", administrator=False),
    Command(
        "user passwd", "change a password; logins made with the old one end", "PUT", "/users/{name}/password",
        (_NAME,), new_password=True, by_password=True,
    ),
    Command("user remove", "remove a user; what they pushed stays", "DELETE", "/users/{name}", (_NAME,)),
    Command("whoami", "who one is", "GET", "/me", rows=lambda answer: [
        ["USER", "KIND", "SCOPE", "ORGANISATIONS"],
        [answer["name"], "administrator" if answer["administrator"] else "user", answer["scope"],
         " ".join(answer["organisations"])],
    ]),
]  # fmt: skip

_ORGANISATIONS = [
    Command("org list", "the organisations that one may see", "GET", "/organisations",
            rows=lambda answer: [["ORGANISATION"], *([name] for name in answer["organisations"])]),
    Command("org show", "an organisation's teams", "GET", "/organisations/{organisation}", (_ORG,), rows=_teams),
    Command(
        "org add", "add an organisation", "POST", "/organisations",
        (_ORG, ("--owner", {"action": "append", "default": [], "metavar": "USER", "help": "of it all; repeatable"})),
        body=lambda given: {"name": given.organisation, "owners": given.owner},
    ),
    Command("org remove", "remove an organisation and its teams; what was pushed stays", "DELETE",
            "/organisations/{organisation}", (_ORG,)),
    Command("team list", "an organisation's teams", "GET", "/organisations/{organisation}", (_ORG,), rows=_teams),
    Command("team add", "add a team", "POST", "/organisations/{organisation}/teams", (_TEAM,),
            body=lambda given: {"name": given.team}),
    Command("team remove", "remove a team", "DELETE", "/organisations/{organisation}/teams/{team}", (_TEAM,)),
    Command("team join", "take a user into a team", "PUT",
            "/organisations/{organisation}/teams/{team}/members/{user}", (_TEAM, _USER)),
    Command("team leave", "take a user out of it", "DELETE",
            "/organisations/{organisation}/teams/{team}/members/{user}", (_TEAM, _USER)),
    Command("namespace list", "the namespaces that have an owner", "GET", "/namespaces",
            rows=columns("namespaces", NAMESPACE="name", KIND="kind", OWNER="owner")),
    Command("namespace assign", "give a namespace to a user or an organisation", "PUT", "/namespaces/{name}",
            (_NAME, ("owner", {"metavar": "OWNER"})), body=lambda given: {"owner": given.owner}),
    Command("namespace release", "give it back to the administrators", "DELETE", "/namespaces/{name}", (_NAME,)),
]  # fmt: skip

_RIGHTS = [
    Command("grant list", "what was granted in just this place", "GET", "/grants", (_PLACE,),
            query=lambda given: {"place": given.place},
            rows=columns("grants", KIND="kind", NAME="name", LEVEL="level")),
    Command(
        "grant set", "set the level of a user or a team in a place", "PUT", "/grants",
        (("name", {"metavar": "USER|ORG/TEAM"}), _PLACE, ("level", {"choices": [*_LEVELS, "none"]})),
        body=lambda given: {"place": given.place, "kind": "team" if "/" in given.name else "user",
                            "name": given.name, "level": given.level},
    ),
    Command("visibility", "let everybody pull from a repository, or no more", "PATCH", "/repositories/{repository}",
            (_REPOSITORY, ("visibility", {"choices": ["public", "private"]})),
            body=lambda given: {"visibility": given.visibility}),
    Command("repo list", "the repositories that one may pull from", "GET", "/repositories", pages="repositories",
            rows=columns("repositories", REPOSITORY="name", VISIBILITY="visibility", LEVEL="level")),
    Command(
        "repo tags", "a repository's tags, and who signed what they stand for", "GET", "/tags", (_REPOSITORY,),
        query=lambda given: {"repository": given.repository}, pages="tags",
        rows=lambda answer: [["TAG", "DIGEST", "SIGNED", "BY"]] + [
            [each["tag"], each["digest"], {True: "yes", False: "no", None: "unknown"}[each["signed"]],
             " ".join(each["signed_by"])] for each in answer["tags"]
        ],
    ),
    Command(
        "repo remove", "delete all tags and manifests of a repository", "DELETE", "/repositories/{repository}",
        (_REPOSITORY, ("--cascade", {"action": "store_true", "help": "although something in it is signed"})),
        query=lambda given: {"trust": "cascade" if given.cascade else ""},
    ),
]  # fmt: skip

_TOKENS = [
    Command(
        "token list", "one's access tokens, or a user's", "GET", "/tokens", others="/users/{user}/tokens",
        arguments=(_OF_USER,),
        rows=columns("tokens", NUMBER="id", SCOPE="scope", EXPIRES="expires", LAST_USED="last_used",
                      DESCRIPTION="description"),
    ),
    Command(
        "token create", "make an access token for oneself and print it, this once", "POST", "/tokens",
        (
            ("description", {"metavar": "DESCRIPTION", "help": "what it is for"}),
            ("--scope", {"choices": _LEVELS, "default": "read", "help": "default: read"}),
            ("--days", {"type": int, "help": "how long it is good; default: until it is revoked"}),
        ),
        body=lambda given: {"description": given.description, "scope": given.scope}
        | ({} if given.days is None else {"days": given.days}),
        text=lambda answer, _: [answer["secret"]], by_password=True,
    ),
    Command(
        "token revoke", "end an access token", "DELETE", "/tokens/{number}", others="/users/{user}/tokens/{number}",
        arguments=(("number", {"metavar": "NUMBER", "type": int}), _OF_USER),
    ),
]  # fmt: skip


def _policy(answer: Any) -> Rows:
    """What is demanded part by part, and whose word that is."""

    def text(value: Any) -> str:
        return (" ".join(value) or "none") if isinstance(value, list) else str(value)

    sources = answer["from"]
    headings = [
        f"{each['place']} ({each['said_by']})" if each["said_by"] != "settings" else "settings" for each in sources
    ]
    rows: Rows = [["PART", answer["place"], *headings]]
    for part, value in answer["policy"].items():
        said = [text(each["says"][part]) if part in each["says"] else "" for each in sources]
        short = [" (too little)" if part in each["short"] else "" for each in sources]
        rows.append([part.replace("_", " "), text(value), *map("".join, zip(said, short, strict=True))])
    return rows


def _new_policy(given: Namespace) -> dict[str, Any]:
    parts = {
        "mode": given.mode, "roles": given.role, "require": given.require, "pins": given.pin,
        "grace_days": given.grace, "immutable": [] if given.mutable else given.immutable,
    }  # fmt: skip
    unsaid = {name.replace("-", "_"): None for name in given.unsaid}
    return {"place": given.place} | {name: value for name, value in parts.items() if value is not None} | unsaid


_POLICIES = [
    Command("policy show", "what a repository or a namespace demands, and whose word that is", "GET", "/policy",
            (_PLACE,), query=lambda given: {"place": given.place}, rows=_policy),
    Command(
        "policy set", "change what is said of a place", "PATCH", "/policy",
        (
            _PLACE,
            ("--mode", {"choices": ["disabled", "permissive", "enforced", "resolve"]}),
            ("--role", {"action": "append", "metavar": "ROLE", "help": "a role whose signatures count; repeatable"}),
            ("--require", {"metavar": "any|all|NUMBER", "help": "how many of the roles must sign the same"}),
            ("--pin", {"action": "append", "metavar": "KEYID", "help": "ID of a root key to believe; repeatable"}),
            ("--grace", {"type": int, "metavar": "DAYS", "help": "for how long expired trust data is believed"}),
            ("--immutable", {"action": "append", "metavar": "PATTERN", "help": "tags that stay: v*; repeatable"}),
            ("--mutable", {"action": "store_true", "help": "no tag is immutable, whatever the namespace says"}),
            ("--unsaid", {"action": "append", "default": [], "help": "as the next wider policy again; repeatable",
                          "choices": ["mode", "roles", "require", "pins", "grace-days", "immutable"]}),
        ),
        body=_new_policy, rows=_policy,
    ),
    Command("policy reset", "drop all that is said of a place, or as its admin what was added", "DELETE", "/policy",
            (_PLACE,), query=lambda given: {"place": given.place}, rows=_policy),
    Command(
        "explain", "say what a pull would get, and why; exit 0 if it would get something", "GET",
        "/repositories/{repository}/trust/explain", (("image", {"metavar": "IMAGE:TAG"}),), of_image=True,
        query=lambda given: {"reference": given.tag}, text=lambda answer, _: lines(answer),
        status=lambda answer: {"served": SIGNED, "undecided": UNAVAILABLE}.get(answer["decision"], NOT_SIGNED),
    ),
]  # fmt: skip

_AUDIT = [
    Command(
        "audit", "who did what, the oldest first", "GET", "/audit",
        (
            ("--name", {"metavar": "NAME", "help": "of this repository, place, user, organisation or team only"}),
            ("--since", {"metavar": "TIME", "help": "from this day or moment on: 2026-11-24, 2026-11-24T08:00:00Z"}),
        ),
        query=lambda given: {"name": given.name, "since": given.since}, pages="records",
        rows=columns("records", NUMBER="seq", TIME="time", WHO="actor", WHAT="action", OUTCOME="outcome",
                      NAME="name", DETAIL="detail"),
    ),
]  # fmt: skip

TABLE = (*_USERS, *_ORGANISATIONS, *_RIGHTS, *_TOKENS, *_POLICIES, *_AUDIT, *JOBS, *WEBHOOKS)
