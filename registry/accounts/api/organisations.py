# SPDX-License-Identifier: Apache-2.0
"""The API's operations on organisations, their teams and members.

Administrators make and remove organisations.  The owners of one, and administrators, change its teams; whoever is in
one of its teams sees them all.  To anybody else it is not there.
"""

from __future__ import annotations

from registry.accounts.api.operations import Api, Call, denied
from registry.accounts.api.users import grants
from registry.accounts.organisations import (
    ListedTeam,
    TeamName,
    add_member,
    add_organisation,
    add_team,
    exists_organisation,
    list_organisations,
    list_teams,
    remove_member,
    remove_organisation,
    remove_team,
    standing,
)
from registry.operations import Answer
from trust.errors import NotFoundError

_TEAM = "/organisations/{organisation}/teams/{team}"


def declare(api: Api) -> None:
    """Declare the operations."""

    @api.operation(
        "GET", "/organisations", "the organisations one belongs to; an administrator's are all",
        answers={200: "Organisations"},
    )  # fmt: skip
    def organisations(call: Call) -> Answer:
        mine = None if call.account.is_admin else call.account.name
        return 200, {"organisations": list_organisations(call.database, mine)}

    @api.operation(
        "POST", "/organisations", "add an organisation, as an administrator",
        body="NewOrganisation", answers={201: "Organisation"},
    )  # fmt: skip
    def add(call: Call) -> Answer:
        call.require_administrator()
        name = call.body["name"]
        owners = call.body.get("owners", [])
        add_organisation(call.database, name, owners=owners, now=call.now)
        return 201, _organisation(call, name)

    @api.operation("GET", "/organisations/{organisation}", "an organisation", answers={200: "Organisation"})
    def organisation(call: Call, organisation: str) -> Answer:
        _check_seen(call, organisation)
        return 200, _organisation(call, organisation)

    @api.operation(
        "DELETE", "/organisations/{organisation}", "remove an organisation, as an administrator", answers={204: None}
    )
    def remove(call: Call, organisation: str) -> Answer:
        call.require_administrator()
        remove_organisation(call.database, organisation)
        return 204, None

    @api.operation("POST", "/organisations/{organisation}/teams", "add a team", body="NewTeam", answers={201: "Team"})
    def add_a_team(call: Call, organisation: str) -> Answer:
        _check_owned(call, organisation)
        name = TeamName(f"{organisation}/{call.body['name']}")
        add_team(call.database, name)
        return 201, _team(ListedTeam(name, (), ()))

    @api.operation("DELETE", _TEAM, "remove a team", answers={204: None})
    def remove_a_team(call: Call, organisation: str, team: str) -> Answer:
        _check_owned(call, organisation)
        remove_team(call.database, TeamName(f"{organisation}/{team}"))
        return 204, None

    @api.operation("PUT", _TEAM + "/members/{user}", "take a user into a team", answers={204: None})
    def join(call: Call, organisation: str, team: str, user: str) -> Answer:
        _check_owned(call, organisation)
        add_member(call.database, TeamName(f"{organisation}/{team}"), user)
        return 204, None

    @api.operation("DELETE", _TEAM + "/members/{user}", "take a user out of a team", answers={204: None})
    def leave(call: Call, organisation: str, team: str, user: str) -> Answer:
        _check_owned(call, organisation)
        remove_member(call.database, TeamName(f"{organisation}/{team}"), user)
        return 204, None


def _check_seen(call: Call, organisation: str) -> None:
    if call.account.is_admin:
        seen = exists_organisation(call.database, organisation)
    else:
        seen = standing(call.database, call.account.name, organisation).is_member
    if not seen:
        raise NotFoundError("there is no such organisation")


def _check_owned(call: Call, organisation: str) -> None:
    _check_seen(call, organisation)
    if not call.account.is_admin and not standing(call.database, call.account.name, organisation).is_owner:
        raise denied(f"owner of {organisation}", f"member of {organisation}")


def _organisation(call: Call, name: str) -> dict[str, object]:
    return {"name": name, "teams": [_team(team) for team in list_teams(call.database, name)]}


def _team(team: ListedTeam) -> dict[str, object]:
    return {"name": team.name.team, "members": list(team.members), "grants": grants(team.levels)}
