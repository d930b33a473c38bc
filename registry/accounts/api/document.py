# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document, made from the operations as they are declared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from registry.operations import Schema, ref

#: A variable in a path.
VARIABLE = re.compile(r"\{(\w+)\}")
_ERRORS = {
    400: "the request is malformed",
    401: "not logged in, or the login is wrong",
    403: "known, and not allowed; the detail says what was asked and what was given",
    404: "there is no such thing, or none that the caller may see",
    409: "it is there already, or must stay as it is",
    413: "the body is too long",
    429: "too many wrong passwords; Retry-After says how long to wait",
    503: "the database does not answer",
}


class Described(Protocol):
    """What is told of an operation; see `operations.Operation`."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def body(self) -> str | None: ...
    @property
    def answers(self) -> Mapping[int, str | None]: ...
    @property
    def query(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def takes_bearer(self) -> bool: ...


def describe(
    operations: Iterable[Described], schemas: Mapping[str, Schema], parameters: Mapping[str, Schema]
) -> dict[str, Any]:
    """The document about `operations`, with the schemas that they use, and those of their paths' variables."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, parameters)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "troth-registry",
            "version": "1",
            "description": "Accounts, organisations, namespaces, repositories, grants, tokens, policies, jobs and "
            "webhooks. "
            "A slash in a repository's name may stand in a path as it is, or as %2F.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"login": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "login": {"type": "http", "scheme": "basic", "description": "a password or an access token"},
                "token": {"type": "http", "scheme": "bearer", "description": "as for a pull, from /auth/token"},
            },
            "schemas": dict(schemas),
        },
    }


def _operation(operation: Described, parameters: Mapping[str, Schema]) -> dict[str, Any]:
    variables = VARIABLE.findall(operation.path)
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _identifier(operation),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": parameters[name]} for name in variables
        ]
        + [
            {"name": name, "in": "query", "required": "default" not in schema, "schema": schema}
            for name, schema in operation.query.items()
        ],
        "responses": {
            str(status): {"description": "done", **_content(schema)} for status, schema in operation.answers.items()
        }
        | {str(status): {"description": _ERRORS[status], **_content("Error")} for status in _errors(operation)},
    }
    if operation.takes_bearer:
        described["security"] = [{"login": []}, {"token": []}]
    if operation.body:
        described["requestBody"] = {"required": True, **_content(operation.body)}
    return described


def _errors(operation: Described) -> list[int]:
    found = {400, 401, 403, 429, 503}
    if operation.body:
        found |= {404, 409, 413}
    if "{" in operation.path or any("default" not in schema for schema in operation.query.values()):
        found |= {404}
    if operation.method == "DELETE":
        found |= {409}
    return sorted(found)


def _content(schema: str | None) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": ref(schema)}}} if schema else {}


def _identifier(operation: Described) -> str:
    words = re.findall(r"\w+", operation.path)
    return "_".join([operation.method.lower(), *words])
