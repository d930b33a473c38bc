# SPDX-License-Identifier: Apache-2.0
"""`/auth/token`: a login in exchange for a bearer token (REGISTRY_API §6.2–6.3).

    GET   service, scope…, offline_token=true       Basic credentials (password or access token), or none
    POST  grant_type=password, username, password, service, scope, access_type=offline
    POST  grant_type=refresh_token, refresh_token, service, scope

One token serves the registry and the notary-server.  A scope may name the repository or the trust collection (GUN),
and the token repeats the name as it was asked.  Who has too few rights gets a token with fewer actions; who gives no
credentials gets one for public repositories alone.  Nothing here redirects, and no password and no token is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, request

from registry.accounts.basic import basic_login, peer_address
from registry.accounts.logins import WINDOW_SECONDS, Logins
from registry.accounts.policy import Account, decide, repository_of
from registry.accounts.rights import levels_of
from trust.errors import InvalidError
from trust.tokens import Access, Issuer, Sites, format_scope, parse_scopes
from trust.web import tracing
from trust.web.database import Database
from trust.web.metrics import counter

_TOKENS = counter(
    "troth_tokens",
    "requests for a token: with all that was asked for, with less, with nothing of it, or none given",
    service="troth-registry",
    outcome=("granted", "reduced", "empty", "refused"),
)
#: A form holds a password or a refresh token and a few scopes.
MAX_FORM_BYTES = 32 * 1024


def create_garant(
    database: Database, issuer: Issuer, sites: Sites, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Blueprint:
    """Make the blueprint that answers at `/auth/token`.

    Args:
        database: where the accounts are; their tables must be there.
        issuer: makes the tokens.
        sites: our host names.
        clock: tells the time.
    """
    views = Blueprint("garant", __name__)
    logins = Logins(database, issuer.service)

    @views.get("/auth/token")
    def get_token() -> Response:
        now = clock()
        _check_service(request.args.get("service"), issuer.service)
        asked = parse_scopes(request.args.getlist("scope"))
        login = basic_login(logins, now)
        refresh_token = None
        if login and login.proof and _is_true(request.args.get("offline_token")):
            refresh_token = logins.new_refresh_token(login, now)
        return answer(login.account if login else None, asked, refresh_token, now)

    @views.post("/auth/token")
    def post_token() -> Response:
        now = clock()
        request.max_content_length = MAX_FORM_BYTES
        form = request.form
        _check_service(form.get("service"), issuer.service)
        asked = parse_scopes(form.getlist("scope"))
        match form.get("grant_type"):
            case "password":
                login = logins.with_password(
                    _required(form.get("username"), "username"), _required(form.get("password"), "password"),
                    peer_address(), now,
                )  # fmt: skip
                offline = login.proof and form.get("access_type") == "offline"
                return answer(login.account, asked, logins.new_refresh_token(login, now) if offline else None, now)
            case "refresh_token":
                refresh_token = _required(form.get("refresh_token"), "refresh_token")
                return answer(logins.with_refresh_token(refresh_token, now), asked, refresh_token, now)
            case _:
                raise InvalidError("grant_type must be password or refresh_token")

    @views.after_request
    def _never_store(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        if response.status_code == 429:
            response.headers["Retry-After"] = str(WINDOW_SECONDS)
        if response.status_code >= 400:
            _TOKENS.labels("refused").inc()
        return response

    def answer(account: Account | None, asked: list[Access], refresh_token: str | None, now: datetime) -> Response:
        granted = _granted(database, account, asked, sites)
        tracing.note(subject=account.name if account else None)
        _TOKENS.labels(_outcome(asked, granted)).inc()
        token = issuer.issue(account.name if account else "", granted, now)
        body: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": issuer.lifetime,
            "issued_at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "scope": " ".join(map(format_scope, granted)),
        }
        if refresh_token is not None:
            body["refresh_token"] = refresh_token
        return jsonify(body)

    return views


def _granted(database: Database, account: Account | None, asked: Iterable[Access], sites: Sites) -> list[Access]:
    names = {name for each in asked if (name := repository_of(each, sites)) is not None}
    with database.read() as session:
        levels = levels_of(session, account, names)
    decided = [decide(account, levels, each, sites) for each in asked]
    return [access for access in decided if access.actions]


def _outcome(asked: Iterable[Access], granted: Iterable[Access]) -> str:
    wanted, given = (
        {(each.type, each.name, action) for each in accesses for action in each.actions}
        for accesses in (asked, granted)
    )
    if wanted <= given:
        return "granted"
    return "reduced" if given else "empty"


def _check_service(service: str | None, ours: str) -> None:
    if service != ours:
        raise InvalidError(f"tokens are given for the service {ours!r} only", detail={"service": ours})


def _required(value: str | None, name: str) -> str:
    if not value:
        raise InvalidError(f"the form lacks {name}")
    return value


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")
