# SPDX-License-Identifier: Apache-2.0
"""The HTTP API `/api/v1`: who may call what, what it changes, and what it answers to the malformed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from people import ADMIN, ALICE, BOB, PASSWORD, People
from registry.accounts.accesstokens import list_tokens
from registry.accounts.admin import grant, list_users
from registry.accounts.api.operations import MAX_BODY_BYTES
from registry.accounts.logins import MAX_FAILURES, WINDOW_SECONDS
from registry.accounts.ownership import is_public, list_grants
from registry.accounts.policy import Level, Place
from registry.models import TRAIL
from trust.names import RepositoryName
from trust.web.auditcheck import check

APP = RepositoryName("library/app")


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    people = People(tmp_path)
    yield people
    people.close()


def done(answer: TestResponse) -> dict[str, object]:
    """The body of an answer of success."""
    assert answer.status_code < 300, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.get_json() if answer.data else {}


def refused(answer: TestResponse, status: int) -> dict[str, object]:
    """The only error of a refusal."""
    assert answer.status_code == status, answer.text
    (error,) = answer.get_json()["errors"]
    assert isinstance(error, dict)
    return error


def organisation(people: People) -> None:
    """An organisation `base` that alice owns, with a team `devs` that bob is in."""
    done(people.api("POST", "/organisations", ADMIN, {"name": "base", "owners": [ALICE]}))
    done(people.api("POST", "/organisations/base/teams", ALICE, {"name": "devs"}))
    done(people.api("PUT", "/organisations/base/teams/devs/members/bob", ALICE))


# Logging in


def test_whoever_says_nothing_is_asked_for_a_login_and_nobody_gets_a_cookie(people: People) -> None:
    answer = people.api("GET", "/me", None)
    assert refused(answer, 401)["code"] == "UNAUTHORIZED"
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="troth", charset="UTF-8"'
    assert "Set-Cookie" not in people.api("GET", "/me", ALICE).headers
    bearer = people.login(ALICE).get_json()["token"]
    headers = {"Authorization": f"Bearer {bearer}"}
    assert people.app.test_client().get("/api/v1/me", headers=headers).status_code == 401


def test_a_password_or_an_access_token_logs_in(people: People) -> None:
    _, secret = people.access_token(ALICE, Level.READ)
    told = {"name": ALICE, "administrator": False, "scope": "admin", "organisations": []}
    assert done(people.api("GET", "/me", ALICE)) == told
    assert done(people.api("GET", "/me", ALICE, password=secret)) == told | {"scope": "read"}


def test_wrong_passwords_are_throttled_as_everywhere(people: People) -> None:
    """AUTH-A10"""
    for _ in range(MAX_FAILURES - 1):
        refused(people.api("GET", "/me", ALICE, password="wrong password"), 401)
    assert people.login(ALICE, password="wrong password").status_code == 401
    answer = people.api("GET", "/me", ALICE)
    assert refused(answer, 429)["code"] == "TOOMANYREQUESTS"
    assert answer.headers["Retry-After"] == str(WINDOW_SECONDS)


@pytest.mark.parametrize("scope", [Level.READ, Level.READ_WRITE])
def test_an_access_token_below_admin_changes_nothing(people: People, scope: Level) -> None:
    _, secret = people.access_token(ADMIN, scope)
    document = done(people.app.test_client().get("/api/v1/openapi.json"))
    tried = 0
    for path, operations in document["paths"].items():  # type: ignore[attr-defined]
        for method in operations.keys() - {"get"}:
            filled = path.replace("{repository}", APP).replace("{token}", "1")
            for name in ("user", "organisation", "team", "namespace"):
                filled = filled.replace(f"{{{name}}}", ALICE)
            error = refused(people.api(method.upper(), filled, ADMIN, {}, password=secret), 403)
            assert error["detail"] == {
                "asked": "an access token with the scope admin, or the password", "given": scope.value,
            }  # fmt: skip
            tried += 1
    assert tried > 10


def test_what_outlives_an_access_token_is_not_made_with_one(people: People) -> None:
    """AUTH-A06"""
    _, secret = people.access_token(ADMIN, Level.ADMIN)
    for method, path, body in (
        ("POST", "/tokens", {"description": "x", "scope": "admin"}),
        ("PUT", "/users/admin/password", {"password": "another password"}),
        ("PUT", "/users/alice/password", {"password": "another password"}),
    ):
        error = refused(people.api(method, path, ADMIN, body, password=secret), 403)
        assert error["message"] == (
            "this needs more rights: asked for the password itself, given a token with the scope admin"
        )
    done(people.api("POST", "/users", ADMIN, {"name": "carol", "password": PASSWORD}, password=secret))


# Users


def test_an_administrator_manages_users(people: People) -> None:
    made = done(people.api("POST", "/users", ADMIN, {"name": "carol", "password": PASSWORD, "administrator": True}))
    assert made == {"name": "carol", "administrator": True, "disabled": False, "grants": []}
    refused(people.api("POST", "/users", ADMIN, {"name": "carol", "password": PASSWORD}), 409)
    grant(people.database, "carol", APP, Level.READ)
    assert done(people.api("GET", "/users/carol", ADMIN))["grants"] == [{"place": "library/app", "level": "read"}]
    names = [user["name"] for user in done(people.api("GET", "/users", ADMIN))["users"]]  # type: ignore[attr-defined]
    assert names == [ADMIN, ALICE, BOB, "carol"]
    done(people.api("PUT", "/users/carol/password", ADMIN, {"password": "another password"}))
    done(people.api("GET", "/me", "carol", password="another password"))
    done(people.api("DELETE", "/users/carol", ADMIN))
    refused(people.api("GET", "/users/carol", ADMIN), 404)
    refused(people.api("DELETE", "/users/carol", ADMIN), 404)


def test_a_user_sees_and_changes_oneself_alone(people: People) -> None:
    """AUTH-A07"""
    assert done(people.api("GET", "/users/alice", ALICE))["name"] == ALICE
    for name in (BOB, ADMIN, "nobody", "ALICE", "alice%00"):
        refused(people.api("GET", f"/users/{name}", ALICE), 404)
        refused(people.api("PUT", f"/users/{name}/password", ALICE, {"password": "another password"}), 404)
    for method, path, body in (
        ("GET", "/users", None), ("POST", "/users", {"name": "carol", "password": PASSWORD}),
        ("DELETE", "/users/bob", None), ("POST", "/organisations", {"name": "base"}),
        ("DELETE", "/organisations/base", None), ("PUT", "/namespaces/library", {"owner": ALICE}),
        ("DELETE", "/namespaces/library", None),
    ):  # fmt: skip
        error = refused(people.api(method, path, ALICE, body), 403)
        assert error["detail"] == {"asked": "administrator", "given": "user"}
    done(people.api("PUT", "/users/alice/password", ALICE, {"password": "another password"}))
    refused(people.api("GET", "/me", ALICE), 401)
    assert [user.name for user in list_users(people.database)] == [ADMIN, ALICE, BOB]


# Access tokens


def test_an_access_token_is_made_shown_once_listed_and_revoked(people: People) -> None:
    """AUTH-A06"""
    made = done(people.api("POST", "/tokens", ALICE, {"description": "CI", "scope": "read-write", "days": 7}))
    secret = made["secret"]
    assert isinstance(secret, str)
    token = {
        "id": 1, "description": "CI", "scope": "read-write", "created": "2026-11-24T12:00:00Z",
        "expires": "2026-12-01T12:00:00Z", "last_used": None,
    }  # fmt: skip
    assert made["token"] == token
    assert people.grant(ALICE, password=secret).subject == ALICE
    assert done(people.api("GET", "/tokens", ALICE)) == {"tokens": [token | {"last_used": "2026-11-24T12:00:00Z"}]}
    done(people.api("DELETE", "/tokens/1", ALICE))
    refused(people.api("GET", "/me", ALICE, password=secret), 401)
    assert people.login(ALICE, password=secret).status_code == 401
    assert done(people.api("GET", "/tokens", ALICE)) == {"tokens": []}


def test_anothers_access_token_is_not_found_even_by_an_administrator(people: People) -> None:
    """AUTH-A07"""
    number, _ = people.access_token(ALICE, Level.READ)
    for user in (BOB, ADMIN):
        assert done(people.api("GET", "/tokens", user)) == {"tokens": []}
        there, not_there = (people.api("DELETE", f"/tokens/{each}", user) for each in (number, number + 1))
        assert refused(there, 404) == refused(not_there, 404)
    for strange in ("0", "-1", "x", "9" * 30, "1.0", "%D9%A1", "2147483648"):
        refused(people.api("DELETE", f"/tokens/{strange}", ALICE), 404)
    assert len(list_tokens(people.database, ALICE)) == 1


# Organisations


def test_owners_run_their_organisation(people: People) -> None:
    organisation(people)
    done(
        people.api("PUT", "/grants", ALICE, {"place": "base/", "kind": "team", "name": "base/devs", "level": "read"})
    )
    told = {
        "name": "base",
        "teams": [
            {"name": "devs", "members": [BOB], "grants": [{"place": "base/", "level": "read"}]},
            {"name": "owners", "members": [ALICE], "grants": []},
        ],
    }
    for user in (ADMIN, ALICE, BOB):
        assert done(people.api("GET", "/organisations/base", user)) == told
        assert done(people.api("GET", "/organisations", user)) == {"organisations": ["base"]}
    assert people.granted(BOB, "repository:base/app:pull,push") == ["repository:base/app:pull"]
    done(people.api("DELETE", "/organisations/base/teams/devs/members/bob", ALICE))
    refused(people.api("GET", "/organisations/base", BOB), 404)
    refused(people.api("DELETE", "/organisations/base/teams/owners", ALICE), 409)
    done(people.api("DELETE", "/organisations/base/teams/devs", ALICE))
    done(people.api("DELETE", "/organisations/base", ADMIN))
    refused(people.api("GET", "/organisations/base", ADMIN), 404)


def test_members_do_not_run_it_and_to_others_it_is_not_there(people: People) -> None:
    """AUTH-A07"""
    organisation(people)
    done(people.api("POST", "/users", ADMIN, {"name": "carol", "password": PASSWORD}))
    changes = [
        ("POST", "/organisations/base/teams", {"name": "mine"}), ("DELETE", "/organisations/base/teams/devs", None),
        ("PUT", "/organisations/base/teams/owners/members/bob", None),
        ("DELETE", "/organisations/base/teams/owners/members/alice", None),
    ]  # fmt: skip
    for method, path, body in changes:
        error = refused(people.api(method, path, BOB, body), 403)
        assert error["detail"] == {"asked": "owner of base", "given": "member of base"}
        hidden = refused(people.api(method, path, "carol", body), 404)
        assert hidden == refused(people.api(method, path.replace("base", "none"), "carol", body), 404)
    assert done(people.api("GET", "/organisations", "carol")) == {"organisations": []}


# Repositories and grants


def test_an_admin_of_a_repository_says_who_may_what_in_it(people: People) -> None:
    grant(people.database, ALICE, APP, Level.ADMIN)
    here = {"place": "library/app", "kind": "user", "name": BOB}
    done(people.api("PUT", "/grants", ALICE, here | {"level": "read-write"}))
    assert people.push(APP, BOB).status_code == 201
    assert done(people.api("GET", "/grants?place=library/app", ALICE)) == {
        "grants": [
            {"kind": "user", "name": ALICE, "level": "admin"}, {"kind": "user", "name": BOB, "level": "read-write"},
        ]
    }  # fmt: skip
    assert done(people.api("GET", "/repositories/library/app", BOB)) == {
        "name": "library/app", "visibility": "private", "level": "read-write", "pushed": True,
    }  # fmt: skip
    done(people.api("PUT", "/grants", ALICE, here | {"level": "none"}))
    assert people.pull(APP, BOB) == 401
    refused(people.api("PUT", "/grants", ALICE, here | {"name": "nobody", "level": "read"}), 404)
    refused(people.api("PUT", "/grants", ALICE, here | {"kind": "team", "name": "bob", "level": "read"}), 400)


def test_nobody_else_says_so(people: People) -> None:
    """AUTH-A07"""
    grant(people.database, ALICE, APP, Level.ADMIN)
    grant(people.database, BOB, APP, Level.READ_WRITE)
    for user, place, given in (
        (BOB, "library/app", "read-write of library/app"), (ALICE, "library/", "nothing in library/"),
        (BOB, "alice/", "nothing in alice/"), (ALICE, "library/other", "nothing in library/other"),
    ):  # fmt: skip
        body = {"place": place, "kind": "user", "name": user, "level": "admin"}
        for answer in (people.api("PUT", "/grants", user, body), people.api("GET", f"/grants?place={place}", user)):
            assert refused(answer, 403)["detail"] == {"asked": f"admin of {place}", "given": given}
    error = refused(people.api("PATCH", "/repositories/library/app", BOB, {"visibility": "public"}), 403)
    assert error["detail"] == {"asked": "admin of library/app", "given": "read-write of library/app"}
    assert not is_public(people.database, APP)
    assert [each.name for each in list_grants(people.database, Place(APP))] == [ALICE, BOB]


def test_a_repository_becomes_public_and_private_again(people: People) -> None:
    people.push("alice/app", ALICE)
    for user in (None, BOB):
        assert people.pull("alice/app", user) == 401
    assert done(people.api("PATCH", "/repositories/alice/app", ALICE, {"visibility": "public"})) == {
        "name": "alice/app", "visibility": "public", "level": "admin", "pushed": True,
    }  # fmt: skip
    for user in (None, BOB):
        assert people.pull("alice/app", user) == 200
    assert done(people.api("GET", "/repositories/alice%2Fapp", BOB))["level"] == "read"
    done(people.api("PATCH", "/repositories/alice/app", ALICE, {"visibility": "private"}))
    assert people.pull("alice/app", None) == 401


def test_a_repository_that_one_may_not_read_is_not_there(people: People) -> None:
    """AUTH-A07"""
    people.push("alice/app", ALICE)
    for name in ("alice/app", "alice/none", "Alice/App", "alice//app", "alice/app/"):
        error = refused(people.api("GET", f"/repositories/{name}", BOB), 404)
        assert error["message"] == "there is no such repository"
        refused(people.api("PATCH", f"/repositories/{name}", BOB, {"visibility": "public"}), 404)


def test_repositories_are_listed_a_page_at_a_time(people: People) -> None:
    for name in ("alice/a", "alice/b", "alice/c", "bob/d"):
        people.push(name)
    done(people.api("PATCH", "/repositories/bob/d", BOB, {"visibility": "public"}))
    first = people.api("GET", "/repositories?n=3", ALICE)
    assert [each["name"] for each in first.get_json()["repositories"]] == ["alice/a", "alice/b", "alice/c"]
    assert {each["level"] for each in first.get_json()["repositories"]} == {"admin"}
    assert first.headers["Link"] == '</api/v1/repositories?n=3&last=alice%2Fc>; rel="next"'
    second = people.api("GET", "/repositories?n=3&last=alice%2Fc", ALICE)
    assert second.get_json() == {"repositories": [{"name": "bob/d", "visibility": "public", "level": "read"}]}
    assert "Link" not in second.headers
    for query in ("n=0", "n=x", "n=1001", "n=%D9%A1", "last=%00", "last=%C3%A9", f"last={'a' * 201}"):
        refused(people.api("GET", f"/repositories?{query}", ALICE), 400)


def test_namespaces_are_given_away_by_administrators(people: People) -> None:
    done(people.api("PUT", "/namespaces/library", ADMIN, {"owner": ALICE}))
    mine = [{"name": name, "kind": "user", "owner": ALICE} for name in ("alice", "library")]
    assert done(people.api("GET", "/namespaces", ALICE)) == {"namespaces": mine}
    assert people.push(APP, ALICE).status_code == 201
    refused(people.api("PUT", "/namespaces/alice", ADMIN, {"owner": BOB}), 409)
    refused(people.api("PUT", "/namespaces/library", ADMIN, {"owner": "nobody"}), 404)
    done(people.api("DELETE", "/namespaces/library", ADMIN))
    assert people.pull(APP, ALICE) == 401


# What is malformed


def test_a_malformed_body_is_a_bad_request_that_repeats_no_secret(people: People) -> None:
    for body in (
        b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 30000, b'{"name":1,"password":"x"}', b'{"name":"carol"}',
        b'{"name":"carol","password":"1234567"}', b'{"name":"carol","password":"correct horse","is_admin":true}',
        b'{"name":"carol","password":"correct \\ud800 horse"}', b'{"name":"carol\\n","password":"correct horse"}',
        b'{"name":"carol","password":"correct horse","administrator":1}', b'{"name":"A","password":"correct horse"}',
    ):  # fmt: skip
        answer = people.app.test_client().post(
            "/api/v1/users", data=body, content_type="application/json", auth=(ADMIN, PASSWORD)
        )
        message = str(refused(answer, 400)["message"])
        assert "1234567" not in message
        assert "horse" not in message
    assert len(list_users(people.database)) == 3


def test_a_foreign_pages_form_is_refused(people: People) -> None:
    body = json.dumps({"name": "carol", "password": PASSWORD})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = people.app.test_client().post("/api/v1/users", data=body, content_type=kind, auth=(ADMIN, PASSWORD))
        assert "Content-Type: application/json" in str(refused(answer, 400)["message"])
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert people.app.test_client().options("/api/v1/users").status_code == 405


def test_a_body_that_is_too_long_is_refused(people: People) -> None:
    body = {"name": "carol", "password": "x" * MAX_BODY_BYTES}
    refused(people.api("POST", "/users", ADMIN, body), 413)


def test_no_secret_reaches_the_log(people: People, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        secret = done(people.api("POST", "/tokens", ALICE, {"description": "CI", "scope": "read"}))["secret"]
        done(people.api("POST", "/users", ADMIN, {"name": "carol", "password": "another password"}))
        done(people.api("GET", "/me", ALICE, password=str(secret)))
    for each in (str(secret), PASSWORD, "another password"):
        assert each not in caplog.text


def test_each_change_and_who_tried_in_vain_is_recorded_with_the_caller(people: People) -> None:
    organisation(people)
    granted = {"place": "base/", "kind": "team", "name": "base/devs", "level": "read"}
    done(people.api("PUT", "/grants", ALICE, granted))
    done(people.api("POST", "/tokens", BOB, {"description": "secret of bob's", "scope": "read"}))
    done(people.api("DELETE", "/tokens/1", BOB))
    done(people.api("PATCH", "/repositories/bob/app", BOB, {"visibility": "public"}))
    done(people.api("PUT", "/namespaces/library", ADMIN, {"owner": "base"}))
    refused(people.api("GET", "/users", BOB), 403)
    refused(people.api("DELETE", "/users/alice", BOB), 403)
    refused(people.api("POST", "/organisations", ADMIN, {"name": "library"}), 409)
    with people.database.read() as session:
        check(TRAIL, session)
        found = [each for each in TRAIL.records(session) if each.actor != "(operator)"]
    told = [(each.actor, each.action, each.name, json.loads(each.detail)) for each in found]
    more = "this needs more rights: asked for administrator, given user"
    taken = "there is an organisation, a user or a namespace 'library' already"
    assert told == [
        (ADMIN, "organisation.add", "base", {"owners": [ALICE]}), (ALICE, "team.add", "base/devs", {}),
        (ALICE, "team.join", "base/devs", {"user": BOB}),
        (ALICE, "grant", "base/", {"team": "base/devs", "level": "read"}),
        (BOB, "token.add", BOB, {"scope": "read", "expires": None}), (BOB, "token.revoke", BOB, {"token": 1}),
        (BOB, "repository.visibility", "bob/app", {"public": True}),
        (ADMIN, "namespace.assign", "library", {"owner": "base"}),
        (BOB, "api", "/api/v1/users/alice", {"method": "DELETE", "code": "DENIED", "message": more}),
        (ADMIN, "organisation.add", "library", {"owners": [], "code": "CONFLICT", "message": taken}),
    ]  # fmt: skip
    assert [each.outcome for each in found] == ["done"] * 8 + ["refused"] * 2


def test_nobody_is_granted_anything_below_the_sites_own_name(people: People) -> None:
    done(people.api("POST", "/users", ADMIN, {"name": "localhost", "password": PASSWORD}))
    body = {"place": "localhost/app", "kind": "user", "name": ALICE, "level": "read"}
    refused(people.api("PUT", "/grants", "localhost", body), 400)
    refused(people.api("PUT", "/grants", ADMIN, body | {"place": "localhost/"}), 400)
    refused(people.api("PATCH", "/repositories/localhost/app", "localhost", {"visibility": "public"}), 400)
    refused(people.api("PUT", "/namespaces/localhost", ADMIN, {"owner": ALICE}), 400)


def test_the_explanation_of_a_pull_has_its_place_beside_the_repositories(people: People) -> None:
    """Two doors share the beginning of a path: one takes a bearer token, the other a login."""
    people.push("alice/app", ALICE)
    token = people.login(ALICE, "repository:alice/app:pull").get_json()["token"]
    explained = people.app.test_client().get(
        "/api/v1/repositories/alice/app/trust/explain?reference=1", headers={"Authorization": f"Bearer {token}"}
    )
    assert explained.status_code == 200, explained.text
    assert done(people.api("GET", "/repositories/alice/app", ALICE))["pushed"] is True
