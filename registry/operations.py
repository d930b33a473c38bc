# SPDX-License-Identifier: Apache-2.0
"""How a wing adds operations to the API `/api/v1` without knowing the wing of accounts, which serves it.

    def declare(api: Api, jobs: Jobs) -> None:
        api.add_schemas({"Job": {…}}, {"job": {"type": "integer", "minimum": 1}})

        @api.operation("GET", "/jobs/{job}", "a job", answers={200: "Job"})
        def job(call: Call, job: int) -> Answer:
            call.require_administrator()
            return 200, jobs.find(job)

`registry.app` hands `declare` to `registry.accounts.api.create_api`; `registry.accounts.api.operations` says what is
checked before a view is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from trust.web.database import Database

Schema = Mapping[str, Any]
#: A status, what to send as JSON, and headers if there are any.
Answer = tuple[int, object] | tuple[int, object, Mapping[str, str]]
#: It is given the `Call`, and the variables of its path by name.
View = Callable[..., Answer]


class Call(Protocol):
    """A call by somebody who is known, with a body that fits its schema."""

    @property
    def database(self) -> Database: ...
    @property
    def caller(self) -> str: ...
    @property
    def now(self) -> datetime: ...
    @property
    def body(self) -> Mapping[str, Any]: ...
    @property
    def query(self) -> Mapping[str, str]: ...

    def require_administrator(self) -> None:
        """Let administrators alone go on.

        Raises:
            DeniedError: the caller is none.
        """


class Api(Protocol):
    """Takes declarations of operations."""

    def add_schemas(self, schemas: Mapping[str, Schema], parameters: Mapping[str, Schema]) -> None:
        """Add schemas by name, and those of the variables in paths."""

    def operation(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        answers: Mapping[int, str | None],
        body: str | None = None,
        query: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Callable[[View], View]:
        """Declare an operation; what is decorated does it."""


def ref(name: str) -> Schema:
    """Refer to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(optional: Mapping[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """The schema of an object that has these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
