# SPDX-License-Identifier: Apache-2.0
"""The HTTP API `/api/v1`: accounts, organisations, namespaces, repositories, grants, access tokens and policies,
what the wings add, and webhooks (`registry.accounts.api.webhooks`).

`create_api` gives a blueprint.  Each operation is declared once, beside the function that does it
(`registry.accounts.api.operations`); the OpenAPI document is made from these declarations, and a request's body is
checked against the very schema that the document shows.

One logs in with HTTP's Basic, with a password or an access token, for each request.  There are no cookies, and what
changes something takes a method or a content type that a browser does not send to foreign sites by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from flask import Blueprint, Response

from registry.accounts.api import auditing, organisations, repositories, trusting, users
from registry.accounts.api.operations import Api
from registry.accounts.logins import Logins
from registry.enforce import Enforcer
from registry.explain import Explainer
from registry.operations import Api as AnyApi
from registry.policies import Policies
from trust.tokens import Sites
from trust.web.database import Database


def create_api(
    database: Database,
    service: str,
    sites: Sites,
    *,
    clock: Callable[[], datetime],
    policies: Policies,
    enforcer: Enforcer,
    explainer: Explainer,
    explain_to_bearer: Callable[[str], Response],
    wings: Iterable[Callable[[AnyApi], None]] = (),
) -> Blueprint:
    """Make the blueprint that answers below `/api/v1`.

    Args:
        database: where accounts and repositories are.
        service: the service that logins are for.
        sites: our host names.
        clock: tells the time.
        policies: what is demanded of signatures.
        enforcer: decides what may be deleted.
        explainer: knows what a pull gets.
        explain_to_bearer: see `trusting.declare`.
        wings: each declares operations of its own (`registry.operations`).
    """
    logins = Logins(database, service)
    api = Api(database, logins, clock, logins.challenge)
    users.declare(api)
    organisations.declare(api)
    repositories.declare(api, sites, policies, enforcer)
    trusting.declare(api, sites, policies, explainer, explain_to_bearer)
    auditing.declare(api)
    for declare in wings:
        declare(api)
    return api.blueprint()
