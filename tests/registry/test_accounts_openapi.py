# SPDX-License-Identifier: Apache-2.0
"""The API does what its OpenAPI document says, whatever is sent to it: schemathesis makes the requests from there."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from people import ADMIN, ALICE, BOB, NOW, People
from registry.accounts.organisations import TeamName, add_member, add_organisation, add_team
from registry.accounts.policy import Level

#: Names that there are, and names of nothing: to draw them from their patterns would take most of the time.
NAMES = {
    "user": [BOB, "nobody"], "organisation": ["base", "none"], "team": ["devs", "none"], "token": [1, 2**31 - 1],
    "namespace": ["library", "a-b.c"], "repository": ["alice/app", "base/a.b__c/d"], "reference": ["1", "Latest_2"],
    "place": ["alice/app", "base/", "base/a/b/"],
    "kind": ["gc", "drift", "nothing"],
}  # fmt: skip
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection, unsupported_method,
]  # fmt: skip


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    people = People(tmp_path)
    add_organisation(people.database, "base", owners=[ALICE], now=NOW)
    add_team(people.database, TeamName("base/devs"))
    add_member(people.database, TeamName("base/devs"), BOB)
    people.push("alice/app", ALICE)
    yield people
    people.close()


def test_the_document_is_openapi_3_1(people: People) -> None:
    answer = people.app.test_client().get("/api/v1/openapi.json")
    document = answer.get_json()
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert len(document["paths"]) > 12


def parameters(document: Any) -> Iterator[dict[str, Any]]:
    """The parameters of all operations."""
    for operations in document["paths"].values():
        for operation in operations.values():
            yield from operation["parameters"]


@pytest.mark.parametrize("user", [ADMIN, ALICE])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["well-formed", "malformed"])
def test_every_operation_answers_as_documented(people: People, mode: GenerationMode, user: str) -> None:
    # An access token: its hash costs nothing.
    _, secret = people.access_token(user, Level.ADMIN)
    login = {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", people.app)
    schema.config.generation.update(with_security_parameters=False)
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]  # what is too long is refused unread
    tried = set()
    if mode is GenerationMode.POSITIVE:
        for each in parameters(schema.raw_schema):
            each["schema"] = {"enum": NAMES[each["name"]]} if each["name"] in NAMES else each["schema"]
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body and not operation.query:
            continue  # every text in a path is well-formed: what is not there is not found

        @settings(
            max_examples=8, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            answer = case.call(headers=login)
            case.validate_response(answer, checks=CHECKS, headers=login)

        call()
        tried.add(operation.label)
    assert len(tried) > (20 if mode is GenerationMode.POSITIVE else 8)


def test_every_operation_asks_who_calls(people: People) -> None:
    document = people.app.test_client().get("/api/v1/openapi.json").get_json()
    for path, operations in document["paths"].items():
        for method in operations:
            filled = path.replace("{token}", "1").replace("{run}", "1").replace("{repository}", "alice/app")
            answer = people.app.test_client().open(f"/api/v1{filled}", method=method)
            assert answer.status_code == 401, (method, path)
