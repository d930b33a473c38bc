# SPDX-License-Identifier: Apache-2.0
"""The API's operations on users, on oneself, and on one's access tokens.

A user sees and changes oneself, an administrator everybody.  Access tokens are made by their user alone; an
administrator sees and revokes all.  To anybody else a number of another's is not found.
"""

from __future__ import annotations

from datetime import datetime

from registry.accounts.accesstokens import Token, add_token, list_tokens, revoke_token
from registry.accounts.admin import Listed, add_user, list_users, remove_user, set_password, set_standing
from registry.accounts.api.operations import Api, Call
from registry.accounts.organisations import list_organisations
from registry.accounts.policy import Level
from registry.operations import Answer
from trust.errors import ConflictError, NotFoundError


def declare(api: Api) -> None:
    """Declare the operations."""

    @api.operation("GET", "/me", "who one is", answers={200: "Me"})
    def me(call: Call) -> Answer:
        account = call.account
        return 200, {
            "name": account.name,
            "administrator": account.is_admin,
            "scope": account.limit,
            "organisations": list_organisations(call.database, account.name),
        }

    @api.operation("GET", "/users", "all users, for administrators", answers={200: "Users"})
    def users(call: Call) -> Answer:
        call.require_administrator()
        return 200, {"users": [_user(user) for user in list_users(call.database)]}

    @api.operation("POST", "/users", "add a user, as an administrator", body="NewUser", answers={201: "User"})
    def add(call: Call) -> Answer:
        call.require_administrator()
        name, is_admin = call.body["name"], call.body.get("administrator", False)
        add_user(call.database, name, call.body["password"], is_admin=is_admin, now=call.now)
        return 201, _user(Listed(name, is_admin, ()))

    @api.operation("GET", "/users/{user}", "a user", answers={200: "User"})
    def user(call: Call, user: str) -> Answer:
        _check_mine(call, user)
        return 200, _found(call, user)

    @api.operation(
        "PATCH", "/users/{user}", "disable or enable a user, make them an administrator or no more, as one",
        body="NewStanding", answers={200: "User"},
    )  # fmt: skip
    def change(call: Call, user: str) -> Answer:
        call.require_administrator()
        _check_not_oneself(call, user)
        disabled, administrator = call.body.get("disabled"), call.body.get("administrator")
        set_standing(call.database, user, is_disabled=disabled, is_admin=administrator)
        return 200, _found(call, user)

    @api.operation("DELETE", "/users/{user}", "remove a user, as an administrator", answers={204: None})
    def remove(call: Call, user: str) -> Answer:
        call.require_administrator()
        _check_not_oneself(call, user)
        remove_user(call.database, user)
        return 204, None

    @api.operation(
        "PUT", "/users/{user}/password", "change a password; logins made with the old one end",
        body="NewPassword", answers={204: None},
    )  # fmt: skip
    def password(call: Call, user: str) -> Answer:
        call.require_password()
        _check_mine(call, user)
        set_password(call.database, user, call.body["password"])
        return 204, None

    @api.operation("GET", "/users/{user}/tokens", "a user's access tokens", answers={200: "AccessTokens"})
    def tokens_of(call: Call, user: str) -> Answer:
        _check_mine(call, user)
        _found(call, user)
        return 200, {"tokens": [_token(token) for token in list_tokens(call.database, user)]}

    @api.operation("DELETE", "/users/{user}/tokens/{token}", "revoke an access token of a user", answers={204: None})
    def revoke_of(call: Call, user: str, token: int) -> Answer:
        _check_mine(call, user)
        revoke_token(call.database, user, token)
        return 204, None

    @api.operation("GET", "/tokens", "one's access tokens", answers={200: "AccessTokens"})
    def tokens(call: Call) -> Answer:
        return 200, {"tokens": [_token(token) for token in list_tokens(call.database, call.account.name)]}

    @api.operation(
        "POST", "/tokens", "make an access token for oneself", body="NewAccessToken", answers={201: "MadeAccessToken"}
    )
    def make(call: Call) -> Answer:
        call.require_password()
        token, secret = add_token(
            call.database, call.account.name, call.body["description"], Level(call.body["scope"]),
            now=call.now, days=call.body.get("days"),
        )  # fmt: skip
        return 201, {"token": _token(token), "secret": secret}

    @api.operation("DELETE", "/tokens/{token}", "revoke an access token of one's own", answers={204: None})
    def revoke(call: Call, token: int) -> Answer:
        revoke_token(call.database, call.account.name, token)
        return 204, None


def grants(levels: tuple[tuple[str, Level], ...]) -> list[dict[str, object]]:
    """Pairs of place and level as `GrantAt`."""
    return [{"place": place, "level": level} for place, level in levels]


def _check_mine(call: Call, user: str) -> None:
    if user != call.account.name and not call.account.is_admin:
        raise NotFoundError("there is no such user")


def _found(call: Call, user: str) -> dict[str, object]:
    for found in list_users(call.database, user):
        return _user(found)
    raise NotFoundError("there is no such user")


def _check_not_oneself(call: Call, user: str) -> None:
    # So there is always an administrator left who can log in.
    if user == call.account.name:
        raise ConflictError("an administrator is disabled or removed by another one")


def _user(user: Listed) -> dict[str, object]:
    return {
        "name": user.name,
        "administrator": user.is_admin,
        "disabled": user.is_disabled,
        "grants": grants(user.levels),
    }


def _token(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "description": token.description,
        "scope": token.scope,
        "created": _moment(token.created),
        "expires": token.expires and _moment(token.expires),
        "last_used": token.last_used and _moment(token.last_used),
    }


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
