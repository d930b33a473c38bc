# SPDX-License-Identifier: Apache-2.0
"""What an operation of the API is: declared once, it is served, checked and documented.

    @api.operation("PUT", "/namespaces/{namespace}", "give a namespace away", body="NewOwner", answers={204: None})
    def assign(call: Call, namespace: str) -> Answer:
        call.require_administrator()
        assign_namespace(call.database, namespace, call.body["owner"])
        return 204, None

Before a view is asked, it is known who calls, that an access token may change things if the operation does, and that
the body fits its schema.  Whether this caller may is the view's first question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from flask import Blueprint, Response, g, request
from jsonschema import Draft202012Validator

from registry.accounts.api.document import VARIABLE, describe
from registry.accounts.api.schemas import PARAMETERS, SCHEMAS
from registry.accounts.basic import basic_login
from registry.accounts.changes import refusals
from registry.accounts.logins import WINDOW_SECONDS, LoginError, Logins
from registry.accounts.policy import Account, Level
from registry.operations import Schema, View, ref
from trust.errors import DeniedError, InvalidError, NotFoundError
from trust.web import tracing
from trust.web.audit import Deed
from trust.web.database import Database

#: A body names a few things.
MAX_BODY_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A call by somebody who is known.

    Attributes:
        database: where everything is.
        account: who calls.
        by_password: whether the password was shown, and no access token and no refresh token.
        now: when.
        body: what was sent, which fits its schema.
        query: what stands behind the question mark.
    """

    database: Database
    account: Account
    by_password: bool
    now: datetime
    body: Mapping[str, Any]
    query: Mapping[str, str]

    @property
    def caller(self) -> str:
        """The name of who calls."""
        return self.account.name

    def require_administrator(self) -> None:
        """Let administrators alone go on.

        Raises:
            DeniedError: the caller is none.
        """
        if not self.account.is_admin:
            raise denied("administrator", "user")

    def require_password(self) -> None:
        """Let nobody go on with an access token, or docker's login: it must leave nothing behind that outlives it.

        Raises:
            DeniedError: the caller used one.
        """
        if not self.by_password:
            raise denied("the password itself", f"a token with the scope {self.account.limit}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as it is documented; `body` and the values of `answers` are names of schemas."""

    method: str
    path: str
    summary: str
    body: str | None
    answers: Mapping[int, str | None]
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    takes_bearer: bool = False


class Api:
    """Collects operations and serves them.

    Args:
        database: where everything is.
        logins: knows users.
        clock: tells the time.
        challenge: what to answer those who do not say who they are.
    """

    def __init__(self, database: Database, logins: Logins, clock: Callable[[], datetime], challenge: str) -> None:
        self._database = database
        self._logins = logins
        self._clock = clock
        self._challenge = challenge
        self._views = Blueprint("api", __name__, url_prefix="/api/v1")
        self._operations: list[Operation] = []
        self._schemas = dict(SCHEMAS)
        self._parameters = dict(PARAMETERS)

    def add_schemas(self, schemas: Mapping[str, Schema], parameters: Mapping[str, Schema]) -> None:
        """Add schemas by name, and those of the variables in paths; before the operations that use them."""
        assert not schemas.keys() & self._schemas.keys()
        assert not parameters.keys() & self._parameters.keys()
        self._schemas |= schemas
        self._parameters |= parameters

    def operation(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        answers: Mapping[int, str | None],
        body: str | None = None,
        query: Mapping[str, Mapping[str, Any]] | None = None,
        bearer: Callable[..., Response] | None = None,
    ) -> Callable[[View], View]:
        """Declare an operation; what is decorated does it.

        Args:
            method: of HTTP.
            path: with its variables, whose schemas are known, in braces.
            summary: what it does, in a few words.
            answers: for each status of success the name of its schema, or None for an empty answer.
            body: the name of the schema of what is sent, if something is.
            query: the schemas of query parameters.
            bearer: answers, in the operation's place, who does not log in but shows the registry a bearer token, as
                for a pull; it asks for that token itself.
        """

        def declare(view: View) -> View:
            operation = Operation(method, path, summary, body, answers, query or {}, bearer is not None)
            self._operations.append(operation)
            self._serve(operation, view, bearer)
            return view

        return declare

    def blueprint(self) -> Blueprint:
        """The blueprint with everything that was declared, and the document about it."""

        @self._views.get("/openapi.json")
        def _document() -> Response:
            return Response(self._document, content_type="application/json")

        @self._views.after_request
        def _never_store(response: Response) -> Response:
            response.headers["Cache-Control"] = "no-store"
            if response.status_code == 429:
                response.headers["Retry-After"] = str(WINDOW_SECONDS)
            return response

        return self._views

    @cached_property
    def _document(self) -> str:
        """Made when it is first asked for, which few do; it took a sixth of the time that an app takes to make."""
        return json.dumps(describe(self._operations, self._schemas, self._parameters), indent=1)

    def _serve(self, operation: Operation, view: View, bearer: Callable[..., Response] | None) -> None:
        validator = self._validator(ref(operation.body)) if operation.body else None
        changes, called = operation.method != "GET", {"method": operation.method}
        names = {name: self._validator(self._parameters[name]) for name in VARIABLE.findall(operation.path)}
        rule = operation.path.replace("{repository}", "<path:repository>").replace("{", "<").replace("}", ">")

        def answer(**variables: str) -> Response:
            scheme = request.headers.get("Authorization", "").strip().partition(" ")[0].lower()
            if bearer is not None and scheme != "basic":
                return bearer(**variables)
            request.max_content_length = MAX_BODY_BYTES
            now = self._clock()
            login = None if scheme == "bearer" else basic_login(self._logins, now, refresh_tokens=True)
            if login is None:
                given = "a bearer token, which is for the registry" if scheme else "nothing"
                asked = {"asked": "a password or an access token", "given": given}
                raise LoginError("authentication required", challenge=self._challenge, detail=asked)
            g.actor = login.account.name
            tracing.note(subject=login.account.name)
            try:
                if changes and login.account.limit is not Level.ADMIN:
                    raise denied("an access token with the scope admin, or the password", login.account.limit)
                if strange := request.args.keys() - operation.query.keys():
                    raise InvalidError(f"there is no query parameter {min(strange)[:80]!r}")
                body = _body(validator) if validator else {}
                call = Call(self._database, login.account, login.proof is not None, now, body, request.args)
                parsed = {name: _variable(name, text, names[name]) for name, text in variables.items()}
                status, value, *headers = view(call, **parsed)
            except DeniedError:
                if not changes:
                    raise
                # What goes wrong later is recorded by the change itself.
                with refusals(self._database).noted(Deed(action="api", name=request.path, detail=called)):
                    raise
            return _response(status, value, headers[0] if headers else {})

        self._views.add_url_rule(
            rule,
            f"{operation.method} {operation.path}".replace(".", "-"),
            answer,
            methods=[operation.method],
            provide_automatic_options=False,
        )

    def _validator(self, schema: Schema) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": {"schemas": self._schemas}})


def denied(asked: str, given: str) -> DeniedError:
    """The refusal of a caller who is known."""
    return DeniedError(
        f"this needs more rights: asked for {asked}, given {given}", detail={"asked": asked, "given": given}
    )


def _body(validator: Draft202012Validator) -> Mapping[str, Any]:
    # A form of a foreign page can send other types, with a login that a browser remembers.
    if request.mimetype != "application/json":
        raise InvalidError("send JSON, and say so: Content-Type: application/json")
    try:
        body = json.loads(request.get_data(cache=False).decode())
        json.dumps(body, ensure_ascii=False).encode()  # halves of surrogate pairs are no text
    except (ValueError, RecursionError) as error:
        raise InvalidError("the body is not JSON in UTF-8") from error
    problem = next(validator.iter_errors(body), None)
    if problem is not None:
        # In our words: the validator's would repeat the value, which may be a password.
        rule = json.dumps(problem.validator_value) if problem.validator != "$ref" else ""
        raise InvalidError(f"the body does not fit its schema: at {problem.json_path}, {problem.validator} {rule}")
    assert isinstance(body, dict)
    return body


def _variable(name: str, text: str, validator: Draft202012Validator) -> str | int:
    value: str | int = text
    is_number = validator.schema.get("type") == "integer"
    if is_number and text.isascii() and text.isdecimal() and len(text) < 11:
        value = int(text)
    if not validator.is_valid(value):
        raise NotFoundError(f"there is no such {name}")
    return value


def _response(status: int, value: object, headers: Mapping[str, str]) -> Response:
    if value is None:
        return Response(status=status)
    response = Response(json.dumps(value), status=status, content_type="application/json")
    response.headers.update(headers)
    return response
