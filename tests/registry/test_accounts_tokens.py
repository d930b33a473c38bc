# SPDX-License-Identifier: Apache-2.0
"""Access tokens: what machines log in with, from the making to the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from people import ADMIN, ALICE, BOB, NOW, PASSWORD, People
from registry.accounts import accesstokens
from registry.accounts.accesstokens import add_token, list_tokens, revoke_token
from registry.accounts.admin import grant, remove_user, set_password
from registry.accounts.logins import MAX_FAILURES
from registry.accounts.models import AccessToken, RefreshToken
from registry.accounts.policy import Level, Place
from trust.errors import ConflictError, InvalidError, NotFoundError

SCOPE = "repository:library/app:*,delete,pull,push"
APP = Place("library/app")


@pytest.fixture
def people(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[People]:
    # A test that names the fixture `database_url` is run on every kind of database.
    every = "database_url" in request.fixturenames
    people = People(tmp_path, **({"database_url": request.getfixturevalue("database_url")} if every else {}))
    grant(people.database, ALICE, APP, Level.ADMIN)
    yield people
    people.close()


def status(people: People, secret: str, user: str = ALICE) -> int:
    return people.login(user, SCOPE, password=secret).status_code


def test_a_token_logs_in_in_the_passwords_place_and_does_no_more_than_its_scope(people: People) -> None:
    """R6.9."""
    for scope, actions in (
        (Level.READ, "pull"),
        (Level.READ_WRITE, "delete,pull,push"),
        (Level.ADMIN, "*,delete,pull,push"),
    ):
        _, secret = people.access_token(ALICE, scope)
        assert people.granted(ALICE, SCOPE, password=secret) == [f"repository:library/app:{actions}"]
        form = {"grant_type": "password", "username": ALICE, "password": secret, "service": "troth", "scope": SCOPE}
        posted = people.app.test_client().post("/auth/token", data=form)
        assert posted.get_json()["scope"] == f"repository:library/app:{actions}"
    assert people.grant(ALICE, password=secret).subject == ALICE


def test_a_token_can_never_do_more_than_its_user_can_at_that_moment(people: People) -> None:
    _, secret = people.access_token(ALICE, Level.ADMIN)
    grant(people.database, ALICE, APP, Level.READ)
    assert people.granted(ALICE, SCOPE, password=secret) == ["repository:library/app:pull"]
    _, secret = people.access_token(ADMIN, Level.READ)
    assert people.granted(ADMIN, SCOPE, password=secret) == ["repository:library/app:pull"]


def test_only_the_hash_of_a_token_is_kept_and_nothing_of_it_is_logged(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        _, secret = people.access_token(ALICE, Level.READ)
        assert status(people, secret) == 200
        assert status(people, secret[:-1] + "!") == 401
    assert secret.startswith("troth_")
    assert secret[6:40] not in caplog.text
    with people.database.read() as session:
        (row,) = session.execute(select(AccessToken.__table__)).all()
    assert secret not in map(str, row)
    assert status(people, row.hash) == 401
    with people.database.read() as session:
        assert list_tokens(people.database, ALICE)[0].description == "for a test"


def test_a_revoked_token_is_over(people: People) -> None:
    """AUTH-A06"""
    number, secret = people.access_token(ALICE, Level.READ)
    _, other = people.access_token(ALICE, Level.READ)
    assert status(people, secret) == 200
    revoke_token(people.database, ALICE, number)
    assert status(people, secret) == 401
    assert status(people, other) == 200
    with pytest.raises(NotFoundError):
        revoke_token(people.database, ALICE, number)


def test_a_revoked_token_leaves_no_login_behind(people: People) -> None:
    """AUTH-A06: else `docker login` with it would outlive it."""
    _, secret = people.access_token(ALICE, Level.ADMIN)
    answer = people.login(ALICE, password=secret, offline_token="true")
    assert answer.status_code == 200
    assert "refresh_token" not in answer.get_json()
    form = {"grant_type": "password", "username": ALICE, "password": secret, "access_type": "offline"}
    posted = people.app.test_client().post("/auth/token", data=form | {"service": "troth"})
    assert posted.status_code == 200
    assert "refresh_token" not in posted.get_json()
    with people.database.read() as session:
        assert session.scalar(select(func.count()).select_from(RefreshToken)) == 0


def test_a_token_ends_with_its_time(people: People) -> None:
    """AUTH-A06"""
    _, secret = people.access_token(ALICE, Level.READ, days=1)
    people.now += timedelta(hours=23, minutes=59)
    assert status(people, secret) == 200
    people.now += timedelta(minutes=1)
    assert status(people, secret) == 401


def test_a_token_ends_with_its_user_and_a_new_one_of_the_name_does_not_inherit_it(people: People) -> None:
    """AUTH-A06"""
    _, secret = people.access_token(ALICE, Level.READ)
    set_password(people.database, ALICE, "another password")
    assert status(people, secret) == 200
    remove_user(people.database, ALICE)
    assert status(people, secret) == 401
    with people.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AccessToken)) == 0


@pytest.mark.usefixtures("database_url")
def test_nobody_uses_or_revokes_anothers_token(people: People) -> None:
    """AUTH-A07"""
    number, secret = people.access_token(ALICE, Level.READ)
    assert status(people, secret, BOB) == 401
    assert status(people, secret, ADMIN) == 401
    assert status(people, secret, "ALICE") == 401
    assert list_tokens(people.database, BOB) == []
    with pytest.raises(NotFoundError):
        revoke_token(people.database, BOB, number)
    assert status(people, secret) == 200


def test_a_wrong_token_is_a_wrong_password_and_is_counted(people: People) -> None:
    """AUTH-A10: a right token passes all the same, for it cannot be guessed."""
    _, secret = people.access_token(ALICE, Level.READ)
    wrong = secret[:-4] + "AAAA"
    answers = [people.login(ALICE, password=wrong) for _ in range(MAX_FAILURES)]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.get_json()["errors"][0]["message"] for answer in answers} == {
        "the user name or the password is wrong, or the login has ended"
    }
    assert status(people, wrong) == status(people, PASSWORD) == 429
    assert status(people, secret) == 200
    assert status(people, PASSWORD) == 429  # the token does not forgive what was counted


@pytest.mark.usefixtures("database_url")
def test_it_is_known_to_the_hour_when_a_token_was_used_last(people: People) -> None:
    _, secret = people.access_token(ALICE, Level.READ)
    assert list_tokens(people.database, ALICE)[0].last_used is None
    status(people, secret)
    assert list_tokens(people.database, ALICE)[0].last_used == NOW
    for minutes, used in ((59, NOW), (61, NOW + timedelta(minutes=61))):
        people.now = NOW + timedelta(minutes=minutes)
        status(people, secret)
        assert list_tokens(people.database, ALICE)[0].last_used == used


def test_a_token_has_a_description_and_a_sane_time(people: People) -> None:
    bad = [("", 1), ("x" * 256, 1), ("two\nlines", 1), ("x", 0), ("x", -1), ("x", 3651)]
    for description, days in bad:
        with pytest.raises(InvalidError):
            add_token(people.database, ALICE, description, Level.READ, now=NOW, days=days)
    assert list_tokens(people.database, ALICE) == []


def test_a_user_has_a_bounded_number_of_tokens(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesstokens, "MAX_TOKENS", 2)
    tokens = [people.access_token(ALICE, Level.READ) for _ in range(2)]
    with pytest.raises(ConflictError, match="revoke one first"):
        people.access_token(ALICE, Level.READ)
    revoke_token(people.database, ALICE, tokens[0][0])
    people.access_token(ALICE, Level.READ)
    with pytest.raises(NotFoundError):
        people.access_token("nobody", Level.READ)
