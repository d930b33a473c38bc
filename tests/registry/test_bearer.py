# SPDX-License-Identifier: Apache-2.0
"""Views behind a `Guard`, asked through a real Flask app (NOTARY_V1 §5.1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from trust.ca import self_signed
from trust.tokens import Access, Issuer, Sites, Verifier, parse_scopes
from trust.web.app import create_base_app
from trust.web.bearer import Guard

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REALM = "https://localhost:5000/auth/token"
SITES = Sites(("localhost:5000",))


def create_app(guard: Guard) -> Flask:
    app = create_base_app("test")

    @app.get("/v2/")
    def ping() -> Response:
        return Response(guard.require().subject)

    @app.get("/v2/<path:name>/read")
    def read(name: str) -> Response:
        guard.require(Access("repository", name, frozenset({"pull"})))
        return Response("content")

    @app.post("/v2/<path:name>/mount")
    def mount(name: str) -> Response:
        write = Access("repository", name, frozenset({"pull", "push"}))
        guard.require(write, Access("repository", "library/base", frozenset({"pull"})))
        return Response("content")

    @app.delete("/v2/<path:name>")
    def delete(name: str) -> Response:
        grant = guard.require(Access("repository", name, frozenset({"*"})))
        return Response(str(grant.allows("repository", name, "push")))

    return app


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    pair = self_signed("tokens", NOW)
    return Issuer(pair.key_pem, pair.certificate_pem, "troth", "registry")


@pytest.fixture(scope="module")
def client(issuer: Issuer) -> Iterator[FlaskClient]:
    # The issuer's certificate is in each token that it makes.
    pair = self_signed("other", NOW)
    certificate = _certificate_of(issuer) + pair.certificate_pem
    guard = Guard(Verifier(certificate, "troth", "registry", SITES), REALM, "registry", clock=lambda: NOW)
    with create_app(guard).test_client() as client:
        yield client


def _certificate_of(issuer: Issuer) -> bytes:
    header = issuer.issue("", [], NOW).split(".")[0]
    (der,) = json.loads(base64.urlsafe_b64decode(header + "=="))["x5c"]
    return f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n".encode()


def bearer(issuer: Issuer, *scopes: str, now: datetime = NOW) -> dict[str, str]:
    return {"Authorization": "Bearer " + issuer.issue("alice", parse_scopes(scopes), now)}


def refused(response: TestResponse) -> tuple[str, str, object]:
    """The challenge, and the message and detail of the only error."""
    assert response.status_code == 401
    (error,) = response.get_json()["errors"]
    assert error["code"] == "UNAUTHORIZED"
    return response.headers["WWW-Authenticate"], error["message"], error.get("detail")


def test_without_a_token_the_challenge_names_what_is_needed(client: FlaskClient) -> None:
    """R6.1."""
    header, message, detail = refused(client.get("/v2/localhost:5000/library/app/read"))
    assert header == (f'Bearer realm="{REALM}",service="registry",scope="repository:localhost:5000/library/app:pull"')
    assert message == "authentication required"
    assert detail == [{"Type": "repository", "Class": "", "Name": "localhost:5000/library/app", "Action": "pull"}]


def test_a_mount_asks_for_two_scopes_in_one_string(client: FlaskClient, issuer: Issuer) -> None:
    """R6.1."""
    header, _, detail = refused(client.post("/v2/library/app/mount"))
    assert header.endswith(',scope="repository:library/app:pull,push repository:library/base:pull"')
    assert isinstance(detail, list)
    assert len(detail) == 3
    one = bearer(issuer, "repository:library/app:pull,push")
    assert refused(client.post("/v2/library/app/mount", headers=one))[0].endswith('error="insufficient_scope"')
    both = bearer(issuer, "repository:library/app:pull,push repository:library/base:pull")
    assert client.post("/v2/library/app/mount", headers=both).status_code == 200


def test_the_ping_takes_any_valid_token(client: FlaskClient, issuer: Issuer) -> None:
    assert refused(client.get("/v2/")) == (
        f'Bearer realm="{REALM}",service="registry"', "authentication required", None,
    )  # fmt: skip
    assert client.get("/v2/", headers=bearer(issuer)).text == "alice"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(client: FlaskClient, issuer: Issuer, scheme: str) -> None:
    header = bearer(issuer)["Authorization"].replace("Bearer", scheme)
    assert client.get("/v2/", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic YWxpY2U6c2VjcmV0", "Token x", "Digest x=y"])
def test_another_scheme_is_no_token(client: FlaskClient, header: str) -> None:
    value, message, _ = refused(client.get("/v2/library/app/read", headers={"Authorization": header}))
    assert message == "authentication required"
    assert "error=" not in value


def test_a_repository_and_its_gun_are_the_same(client: FlaskClient, issuer: Issuer) -> None:
    """AUTH-A04, AUTH-A05"""
    for scope in ("repository:library/app:pull", "repository:localhost:5000/library/app:pull"):
        for name in ("library/app", "localhost:5000/library/app"):
            assert client.get(f"/v2/{name}/read", headers=bearer(issuer, scope)).status_code == 200


@pytest.mark.parametrize(
    "scope",
    [
        "repository:library/other:pull", "repository:library/app:push", "registry:library/app:pull",
        "repository:evil.example.com/library/app:pull", "repository:library:pull", "repository:*:*",
    ],
)  # fmt: skip
def test_a_token_for_something_else_is_insufficient(client: FlaskClient, issuer: Issuer, scope: str) -> None:
    """AUTH-A04, R6.1"""
    header, message, _ = refused(client.get("/v2/library/app/read", headers=bearer(issuer, scope)))
    assert header.endswith('scope="repository:library/app:pull",error="insufficient_scope"')
    assert message == "the token does not allow this: asked for repository:library/app:pull, given " + (
        scope if scope == "repository:library/app:push" else "nothing"
    )


def test_a_required_star_needs_a_star(client: FlaskClient, issuer: Issuer) -> None:
    many = bearer(issuer, "repository:library/app:pull,push,delete")
    assert client.delete("/v2/library/app", headers=many).status_code == 401
    assert client.delete("/v2/library/app", headers=bearer(issuer, "repository:library/app:*")).text == "True"


def test_a_token_that_is_not_believed_is_called_invalid(client: FlaskClient, issuer: Issuer) -> None:
    """AUTH-A03, R6.1"""
    old = bearer(issuer, "repository:library/app:pull", now=NOW - timedelta(hours=1))
    header, message, _ = refused(client.get("/v2/library/app/read", headers=old))
    assert header.endswith(',error="invalid_token"')
    assert message == "the token has expired"


def test_the_realm_is_not_made_from_the_request(client: FlaskClient) -> None:
    """AUTH-A12"""
    evil = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "Forwarded": "host=evil.example.com"}
    assert "evil" not in refused(client.get("/v2/", headers=evil))[0]


def test_without_a_verifier_everything_is_allowed() -> None:
    with create_app(Guard(None, "", "")).test_client() as client:
        assert client.get("/v2/").status_code == 200
        assert client.get("/v2/library/app/read", headers={"Authorization": "nonsense"}).status_code == 200
        assert client.delete("/v2/library/app").text == "True"


def test_any_authorization_header_is_answered_with_401(client: FlaskClient) -> None:
    text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"))

    @given(st.sampled_from(["", "Bearer ", "bearer\t", "Basic "]), text | text.map("eyJhbGciOiJub25lIn0.{}.".format))
    def check(scheme: str, rest: str) -> None:
        refused(client.get("/v2/library/app/read", headers={"Authorization": scheme + rest}))

    check()


def test_any_name_is_answered_with_a_challenge_of_one_line(client: FlaskClient, issuer: Issuer) -> None:
    @given(st.text(min_size=1) | st.text('a/"\\\r\n\x00é,=', min_size=1).map("library/{}".format))
    def check(name: str) -> None:
        path = "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "replace"))
        for headers in ({}, bearer(issuer)):
            response = client.get(f"/v2/{path}/read", headers=headers)
            assert response.status_code in (401, 404)  # a name with a line break reaches no view
            assert not set("\r\n\x00") & set(response.headers.get("WWW-Authenticate", ""))

    check()
