# SPDX-License-Identifier: Apache-2.0
"""`/auth/token`, asked through a real Flask app with a real database; its tokens go to a real verifier."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from registry import migrations
from registry.accounts.admin import add_user, grant, remove_user, set_password
from registry.accounts.garant import MAX_FORM_BYTES, create_garant
from registry.accounts.logins import IDLE_DAYS, MAX_FAILURES, WINDOW_SECONDS, Logins
from registry.accounts.models import LoginFailure, RefreshToken, User
from registry.accounts.policy import Level
from trust.ca import Pair, self_signed
from trust.errors import UnauthorizedError
from trust.names import RepositoryName
from trust.tokens import Grant, Issuer, Sites, Verifier, format_scope
from trust.web.app import create_base_app
from trust.web.database import Database
from trust.web.migrations import upgrade

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SITES = Sites(("localhost:5000",))
SERVICE = "troth"
PASSWORD = "correct: horsé"


class World:
    """A token service with the users admin and alice, a clock that can be set, and a client."""

    def __init__(self, database: Database, pair: Pair) -> None:
        self.now = NOW
        self.database = database
        issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", SERVICE)
        self._verifier = Verifier(pair.certificate_pem, "troth", SERVICE, SITES)
        self.app = create_base_app("registry")
        self.app.register_blueprint(create_garant(database, issuer, SITES, clock=lambda: self.now))
        self.client: FlaskClient = self.app.test_client()

    def get(self, user: str | None = None, password: str = PASSWORD, **query: str | list[str]) -> TestResponse:
        headers = {"Authorization": basic(user, password)} if user is not None else {}
        return self.client.get("/auth/token", query_string={"service": SERVICE} | query, headers=headers)

    def post(self, **form: str | list[str]) -> TestResponse:
        return self.client.post("/auth/token", data={"service": SERVICE} | form)

    def login(self, password: str = PASSWORD) -> str:
        """Log in as alice as `docker login` does, and return the refresh token."""
        token = body(self.get("alice", password, offline_token="true"))["refresh_token"]
        assert isinstance(token, str)
        return token

    def believed(self, response: TestResponse) -> Grant:
        return self._verifier.verify(str(body(response)["token"]), self.now)

    def granted(self, response: TestResponse) -> list[str]:
        return [format_scope(each) for each in self.believed(response).access]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def body(response: TestResponse) -> dict[str, object]:
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    answer: dict[str, object] = response.get_json()
    return answer


def refused(response: TestResponse, status: int, code: str) -> str:
    """The message of the only error."""
    assert response.status_code == status, response.text
    assert response.headers["Cache-Control"] == "no-store"
    (error,) = response.get_json()["errors"]
    assert error["code"] == code
    message: str = error["message"]
    return message


@pytest.fixture(scope="module")
def pair() -> Pair:
    return self_signed("tokens", NOW)


@pytest.fixture
def world(tmp_path: Path, pair: Pair) -> Iterator[World]:
    database = Database(f"sqlite:///{tmp_path}/registry.db")
    upgrade(database, migrations)
    add_user(database, "admin", "administrator", is_admin=True, now=NOW)
    add_user(database, "alice", PASSWORD, is_admin=False, now=NOW)
    grant(database, "alice", RepositoryName("library/app"), Level.READ_WRITE)
    yield World(database, pair)
    database.dispose()


# GET


def test_docker_login_asks_for_no_scope_and_gets_a_token(world: World) -> None:
    """R6.2."""
    answer = body(world.get("alice", account="alice", client_id="docker"))
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 300
    assert answer["issued_at"] == "2026-11-24T12:00:00Z"
    assert "refresh_token" not in answer
    grant = world.believed(world.get("alice"))
    assert (grant.subject, grant.access) == ("alice", ())


def test_scopes_repeat_and_hold_spaces_and_are_granted_as_asked(world: World) -> None:
    """AUTH-A04, R6.2"""
    scopes = ["repository:library/app:push,pull repository:LOCALHOST:5000/library/app:pull", "repository:alice/x:*"]
    assert world.granted(world.get("alice", scope=scopes)) == [
        "repository:library/app:pull,push", "repository:LOCALHOST:5000/library/app:pull", "repository:alice/x:*",
    ]  # fmt: skip


def test_too_few_rights_are_fewer_actions_and_no_error(world: World) -> None:
    """R6.2."""
    scopes = ["repository:library/app:*,pull", "repository:library/other:pull", "registry:catalog:*"]
    assert world.granted(world.get("alice", scope=scopes)) == ["repository:library/app:pull"]


def test_an_administrator_gets_everything_asked_for(world: World) -> None:
    scopes = ["repository:library/any:*", "registry:catalog:*"]
    assert world.granted(world.get("admin", "administrator", scope=scopes)) == scopes


def test_the_anonymous_get_a_token_without_access(world: World) -> None:
    """R6.9."""
    answer = world.get(scope="repository:library/app:pull", offline_token="true")
    assert "refresh_token" not in body(answer)
    assert (world.believed(answer).subject, world.believed(answer).access) == ("", ())


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "wrong"), ("alice", ""), ("nobody", PASSWORD), ("", ""), ("Alice", PASSWORD), ("alice\x00", PASSWORD),
     ("é", "x"), ("a" * 5000, "x"), ("alice", PASSWORD + "x" * 5000), ("<token>", "x")],
)  # fmt: skip
def test_wrong_credentials_are_one_and_the_same_401(world: World, user: str, password: str) -> None:
    """R6.2."""
    response = world.get(user, password, scope="repository:library/app:pull")
    message = refused(response, 401, "UNAUTHORIZED")
    assert message == "the user name or the password is wrong, or the login has ended"
    assert response.headers["WWW-Authenticate"] == 'Basic realm="troth", charset="UTF-8"'


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic YWxpY2U=", "Basic //8=", "Bearer YWxpY2U6eA==", "x"])
def test_credentials_that_cannot_be_read_are_wrong_credentials(world: World, header: str) -> None:
    response = world.client.get("/auth/token?service=troth", headers={"Authorization": header})
    refused(response, 401, "UNAUTHORIZED")


@pytest.mark.parametrize("service", ["", "other", "troth ", "https://evil.example.com"])
def test_tokens_are_for_our_service_only(world: World, service: str) -> None:
    """AUTH-A05"""
    refused(world.get("alice", service=service), 400, "INVALID_PARAMETERS")
    refused(world.post(grant_type="password", service=service), 400, "INVALID_PARAMETERS")
    refused(world.client.get("/auth/token"), 400, "INVALID_PARAMETERS")


def test_a_malformed_scope_or_too_many_are_a_bad_request(world: World) -> None:
    for scope in ("x", ["repository:a:pull"] * 31, "repository:" + "a" * 4000 + ":pull"):
        refused(world.get("alice", scope=scope), 400, "INVALID_PARAMETERS")


def test_nothing_is_redirected(world: World) -> None:
    """AUTH-A12"""
    for name in ("redirect_uri", "realm", "next", "url"):
        assert "Location" not in world.get("alice", **{name: "https://evil.example.com"}).headers
    evil = {"Host": "evil.example.com", "Authorization": "Basic !"}
    assert "evil" not in str(world.client.get("/auth/token?service=troth", headers=evil).headers)


# POST


def test_a_password_can_be_posted(world: World) -> None:
    """R6.3."""
    answer = world.post(
        grant_type="password", username="alice", password=PASSWORD, client_id="docker",
        scope="repository:library/app:pull repository:x/y:pull",
    )  # fmt: skip
    assert world.granted(answer) == ["repository:library/app:pull"]
    assert body(answer)["scope"] == "repository:library/app:pull"
    assert "refresh_token" not in body(answer)


def test_a_wrong_password_can_be_posted_in_vain(world: World) -> None:
    response = world.post(grant_type="password", username="alice", password="wrong")
    refused(response, 401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "form",
    [
        {}, {"grant_type": "authorization_code"}, {"grant_type": "password"}, {"grant_type": "refresh_token"},
        {"grant_type": "password", "username": "alice"}, {"grant_type": "password", "password": "x"},
    ],
)  # fmt: skip
def test_an_incomplete_form_is_a_bad_request(world: World, form: dict[str, str]) -> None:
    refused(world.post(**form), 400, "INVALID_PARAMETERS")


def test_a_body_that_is_no_form_is_a_bad_request(world: World) -> None:
    refused(world.client.post("/auth/token", json={"service": "troth"}), 400, "INVALID_PARAMETERS")
    refused(world.post(grant_type="password", username="x" * MAX_FORM_BYTES), 413, "SIZE_INVALID")


def test_the_password_is_not_taken_from_the_address(world: World) -> None:
    query = {"service": SERVICE, "grant_type": "password", "username": "alice", "password": PASSWORD}
    refused(world.client.post("/auth/token", query_string=query), 400, "INVALID_PARAMETERS")


# Refresh tokens


def test_a_refresh_token_stands_for_the_password_and_comes_back_the_same(world: World) -> None:
    """R6.3."""
    token = world.login()
    answer = world.post(grant_type="refresh_token", refresh_token=token, scope="repository:library/app:pull")
    assert world.granted(answer) == ["repository:library/app:pull"]
    assert world.believed(answer).subject == "alice"
    assert body(answer)["refresh_token"] == token


def test_posting_with_offline_access_gives_a_refresh_token(world: World) -> None:
    answer = body(world.post(grant_type="password", username="alice", password=PASSWORD, access_type="offline"))
    assert "refresh_token" in body(world.post(grant_type="refresh_token", refresh_token=str(answer["refresh_token"])))


def test_only_the_hash_of_a_refresh_token_is_stored(world: World, tmp_path: Path) -> None:
    token = world.login()
    with world.database.read() as session:
        (row,) = session.scalars(select(RefreshToken))
        assert (len(row.hash), row.service) == (64, SERVICE)
        stored = row.hash
    assert token not in "".join(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())
    refused(world.post(grant_type="refresh_token", refresh_token=stored), 401, "UNAUTHORIZED")


def test_a_new_password_revokes_refresh_tokens(world: World) -> None:
    """AUTH-A06"""
    token = world.login()
    set_password(world.database, "alice", "another password")
    refused(world.post(grant_type="refresh_token", refresh_token=token), 401, "UNAUTHORIZED")
    refused(world.get("alice"), 401, "UNAUTHORIZED")
    assert world.login("another password")


def test_a_removed_user_takes_the_refresh_tokens_along(world: World) -> None:
    """AUTH-A06: a new user of the same name does not inherit them, nor the permissions."""
    token = world.login()
    remove_user(world.database, "alice")
    add_user(world.database, "alice", PASSWORD, is_admin=False, now=NOW)
    refused(world.post(grant_type="refresh_token", refresh_token=token), 401, "UNAUTHORIZED")
    assert world.granted(world.get("alice", scope="repository:library/app:pull")) == []


def test_a_refresh_token_that_rests_too_long_ends(world: World) -> None:
    """AUTH-A06"""
    used, unused = world.login(), world.login()
    for _ in range(3):
        world.now += timedelta(days=IDLE_DAYS / 2)
        body(world.post(grant_type="refresh_token", refresh_token=used))
    refused(world.post(grant_type="refresh_token", refresh_token=unused), 401, "UNAUTHORIZED")
    world.login()
    with world.database.read() as session:
        assert len(session.scalars(select(RefreshToken)).all()) == 2  # what had ended was swept out


def test_a_refresh_token_of_another_service_is_unknown(world: World) -> None:
    """AUTH-A05"""
    token = world.login()
    with world.database.write() as session:
        session.execute(update(RefreshToken).values(service="other"))
    refused(world.post(grant_type="refresh_token", refresh_token=token), 401, "UNAUTHORIZED")


def test_a_refresh_token_cannot_be_made_while_the_password_changes(world: World) -> None:
    """AUTH-A06: the login was right, then the password changed, then the token is asked for."""
    logins = Logins(world.database, SERVICE)
    login = logins.with_password("alice", PASSWORD, "127.0.0.1", NOW)
    set_password(world.database, "alice", "another password")
    with pytest.raises(UnauthorizedError):
        logins.new_refresh_token(login, NOW)


def test_an_access_token_is_no_refresh_token(world: World) -> None:
    token = str(body(world.get("alice"))["token"])
    refused(world.post(grant_type="refresh_token", refresh_token=token), 401, "UNAUTHORIZED")


# Throttle


def fail(world: World, times: int, user: str = "alice") -> None:
    for _ in range(times):
        refused(world.get(user, "wrong password"), 401, "UNAUTHORIZED")


def test_after_too_many_wrong_passwords_even_the_right_one_must_wait(world: World) -> None:
    """AUTH-A10"""
    fail(world, MAX_FAILURES)
    response = world.get("alice")
    assert "wait" in refused(response, 429, "TOOMANYREQUESTS")
    assert response.headers["Retry-After"] == str(WINDOW_SECONDS)
    refused(world.post(grant_type="password", username="alice", password=PASSWORD), 429, "TOOMANYREQUESTS")
    world.now += timedelta(seconds=WINDOW_SECONDS)
    body(world.get("alice"))


def test_the_throttle_is_for_one_name_at_one_address(world: World) -> None:
    """AUTH-A10"""
    fail(world, MAX_FAILURES)
    body(world.get("admin", "administrator"))
    elsewhere = world.client.get(
        "/auth/token?service=troth", headers={"Authorization": basic("alice", PASSWORD)},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    )  # fmt: skip
    body(elsewhere)
    forwarded = {"Authorization": basic("alice", PASSWORD), "X-Forwarded-For": "192.0.2.7"}
    response = world.client.get("/auth/token?service=troth", headers=forwarded)
    refused(response, 429, "TOOMANYREQUESTS")


def test_unknown_users_are_throttled_like_known_ones(world: World) -> None:
    """AUTH-A10: else the throttle would tell which users there are."""
    for user in ("nobody", "NOT a name", "\U0001f600"):
        if user == "nobody" or user.startswith("NOT"):
            fail(world, MAX_FAILURES, user)
        refused(world.get(user), 429, "TOOMANYREQUESTS")  # all that is no name counts as one


def test_a_right_password_clears_the_count(world: World) -> None:
    """AUTH-A10"""
    fail(world, MAX_FAILURES - 1)
    body(world.get("alice"))
    fail(world, MAX_FAILURES - 1)
    body(world.get("alice"))


def test_a_new_password_ends_the_wait(world: World) -> None:
    fail(world, MAX_FAILURES)
    set_password(world.database, "alice", "another password")
    body(world.get("alice", "another password"))


def test_old_counts_are_swept_out(world: World) -> None:
    for name in ("a", "b", "c"):
        fail(world, 1, name)
    world.now += timedelta(seconds=WINDOW_SECONDS)
    fail(world, 1, "d")
    with world.database.read() as session:
        assert [row.name for row in session.scalars(select(LoginFailure))] == ["d"]


def test_workers_count_together(world: World) -> None:
    """AUTH-A10: many at once, each failure is counted."""
    rooms = [Logins(world.database, SERVICE) for _ in range(2)]

    def attempt(number: int) -> None:
        with pytest.raises(UnauthorizedError):
            rooms[number % 2].with_password("alice", "wrong password", "192.0.2.1", NOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(MAX_FAILURES - 1)))
    with world.database.read() as session:
        assert [row.failures for row in session.scalars(select(LoginFailure))] == [MAX_FAILURES - 1]


# The rest


def test_a_stale_hash_is_made_anew_at_a_login(world: World) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with world.database.write() as session:
        session.execute(update(User).where(User.name == "alice").values(password_hash=old))
    assert world.login()
    with world.database.read() as session:
        stored = session.scalar(select(User.password_hash).where(User.name == "alice"))
    assert stored is not None
    assert stored != old
    body(world.get("alice"))


def test_no_secret_reaches_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """R6.9."""
    with caplog.at_level(logging.DEBUG):
        token = world.login()
        access = str(body(world.post(grant_type="refresh_token", refresh_token=token))["token"])
        world.get("alice", "mistyped secret")
        world.get("my secret as the name", "x")
        world.post(grant_type="password", username="alice", password="mistyped secret")
        world.post(grant_type="refresh_token", refresh_token=token + "mistyped")
    assert "login refused: user 'alice'" in caplog.text
    for secret in (token, access, PASSWORD, "secret", basic("alice", PASSWORD)[6:]):
        assert secret not in caplog.text


def test_other_methods_are_refused(world: World) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert world.client.open("/auth/token", method=method).status_code == 405


latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=30)
headers = latin | latin.map("Basic {}".format) | st.binary(max_size=20).map(
    lambda data: "Basic " + base64.b64encode(data).decode()
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(header=headers, scope=st.lists(st.text(max_size=30), max_size=3), form=st.dictionaries(
    st.sampled_from(["grant_type", "username", "password", "refresh_token", "access_type"]),
    st.text(max_size=10) | st.sampled_from(["password", "refresh_token", "offline", "alice"]),
))  # fmt: skip
def test_any_request_is_answered_with_a_token_or_our_error(
    world: World, header: str, scope: list[str], form: dict[str, str]
) -> None:
    scope = [text.encode("utf-8", "replace").decode() for text in scope]
    form = {name: text.encode("utf-8", "replace").decode() for name, text in form.items()}
    query = {"service": SERVICE, "scope": scope}
    got = world.client.get("/auth/token", query_string=query, headers={"Authorization": header})
    assert got.status_code in (200, 400, 401, 429)
    posted = world.client.post("/auth/token", data={"service": SERVICE, "scope": scope, **form})
    assert posted.status_code in (200, 400, 401, 429)
