# SPDX-License-Identifier: Apache-2.0
"""What an operator does with accounts, through the functions and through the commands."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import migrations
from registry.accounts.admin import Listed, add_user, ensure_admin, grant, list_users, remove_user, set_password
from registry.accounts.commands import add_commands
from registry.accounts.logins import Logins
from registry.accounts.models import Permission, RefreshToken
from registry.accounts.ownership import is_public
from registry.accounts.policy import Level
from registry.models import TRAIL
from trust.errors import ConflictError, InvalidError, NotFoundError, SettingsError, UnauthorizedError
from trust.names import RepositoryName
from trust.web.database import Database
from trust.web.migrations import upgrade

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
APP = RepositoryName("library/app")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database, migrations)
    yield database
    database.dispose()


def can_log_in(database: Database, name: str, password: str) -> bool:
    try:
        return Logins(database, "troth").with_password(name, password, "", NOW).account.name == name
    except UnauthorizedError:
        return False


def run(database: Database, *argv: str) -> int:
    parser = argparse.ArgumentParser(prog="troth-registry")
    add_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args(argv)
    status = arguments.handler(database, arguments)
    assert isinstance(status, int)
    return status


# Functions


def test_there_is_nobody_at_the_beginning(database: Database) -> None:
    """AUTH-A08"""
    assert list_users(database) == []
    for name in ("admin", "root", ""):
        for password in ("admin", "password", ""):
            assert not can_log_in(database, name, password)


def test_a_user_is_added_once(database: Database) -> None:
    add_user(database, "alice", "correct horse", is_admin=False, now=NOW)
    with pytest.raises(ConflictError, match="'alice' already"):
        add_user(database, "alice", "another horse", is_admin=True, now=NOW)
    assert list_users(database) == [Listed("alice", False, ())]
    assert can_log_in(database, "alice", "correct horse")


@pytest.mark.parametrize("name", ["", "Alice", "a/b", "a b", "a:b", "-a", "a..b", "a" * 65, "é", "a\n", "<token>"])
def test_a_user_name_can_be_a_namespace(database: Database, name: str) -> None:
    with pytest.raises(InvalidError, match="name of a user"):
        add_user(database, name, "correct horse", is_admin=False, now=NOW)
    assert list_users(database) == []


@pytest.mark.parametrize("name", ["a", "a" * 64, "jane.doe", "ci-robot_7"])
def test_ordinary_names_are_taken(database: Database, name: str) -> None:
    add_user(database, name, "correct horse", is_admin=False, now=NOW)
    assert RepositoryName(f"{name}/app")


def test_a_short_password_is_refused_and_changes_nothing(database: Database) -> None:
    with pytest.raises(InvalidError, match="password"):
        add_user(database, "alice", "1234567", is_admin=False, now=NOW)
    add_user(database, "alice", "correct horse", is_admin=False, now=NOW)
    with pytest.raises(InvalidError, match="password"):
        set_password(database, "alice", "")
    assert can_log_in(database, "alice", "correct horse")


def test_a_grant_is_set_changed_and_taken_away(database: Database) -> None:
    add_user(database, "alice", "correct horse", is_admin=False, now=NOW)
    for level in (Level.READ, Level.ADMIN, Level.ADMIN):
        grant(database, "alice", APP, level)
        assert list_users(database) == [Listed("alice", False, (("library/app", level),))]
    for _ in range(2):
        grant(database, "alice", APP, None)
        assert list_users(database) == [Listed("alice", False, ())]


def test_grants_at_once_leave_one(database: Database) -> None:
    add_user(database, "alice", "correct horse", is_admin=False, now=NOW)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda level: grant(database, "alice", APP, level), [*Level] * 4))
    assert len(list_users(database)[0].levels) == 1


def test_nothing_of_a_removed_user_stays(database: Database) -> None:
    add_user(database, "alice", "correct horse", is_admin=True, now=NOW)
    grant(database, "alice", APP, Level.ADMIN)
    logins = Logins(database, "troth")
    logins.new_refresh_token(logins.with_password("alice", "correct horse", "", NOW), NOW)
    remove_user(database, "alice")
    with database.read() as session:
        assert session.scalars(select(Permission)).all() == []
        assert session.scalars(select(RefreshToken)).all() == []
    assert not can_log_in(database, "alice", "correct horse")


def test_an_unknown_user_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no user 'bob'"):
        set_password(database, "bob", "correct horse")
    with pytest.raises(NotFoundError, match="no user 'bob'"):
        remove_user(database, "bob")
    with pytest.raises(NotFoundError, match="no user 'bob'"):
        grant(database, "bob", APP, Level.READ)


# The administrator at the start


def test_the_administrator_is_created_once_and_then_left_alone(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "admin-password"
    file.write_text("generated password\n")
    ensure_admin(database, "admin", file)
    assert list_users(database) == [Listed("admin", True, ())]
    assert can_log_in(database, "admin", "generated password")
    set_password(database, "admin", "chosen password")
    ensure_admin(database, "admin", file)
    assert can_log_in(database, "admin", "chosen password")
    file.unlink()
    ensure_admin(database, "admin", file)


def test_workers_that_start_at_once_create_one_administrator(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "admin-password"
    file.write_text("generated password")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure_admin(database, "admin", file), range(4)))
    assert len(list_users(database)) == 1


def test_no_administrator_comes_without_a_password(database: Database, tmp_path: Path) -> None:
    """AUTH-A08"""
    file = tmp_path / "admin-password"
    with pytest.raises(SettingsError, match="No such file"):
        ensure_admin(database, "admin", file)
    file.write_bytes(b"\xff\xfe\xfd not UTF-8")
    with pytest.raises(SettingsError, match="UTF-8"):
        ensure_admin(database, "admin", file)
    file.write_text("\n")
    with pytest.raises(InvalidError, match="password"):
        ensure_admin(database, "admin", file)
    assert list_users(database) == []


# Commands


def test_the_commands_do_it_all(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert run(database, "user", "add", "boss", "--admin", "--password-file", str(file)) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("battery staple\nignored\n"))
    assert run(database, "user", "add", "alice") == 0
    assert can_log_in(database, "alice", "battery staple")
    assert run(database, "grant", "alice", "library/app", "read-write") == 0
    assert run(database, "user", "list") == 0
    assert capsys.readouterr().out == "alice\tuser\tlibrary/app:read-write\nboss\tadministrator\n"
    assert run(database, "grant", "alice", "library/app", "none") == 0
    assert run(database, "user", "password", "alice", "--password-file", str(file)) == 0
    assert can_log_in(database, "alice", "correct horse")
    assert run(database, "user", "disable", "alice") == 0
    assert not can_log_in(database, "alice", "correct horse")
    assert run(database, "user", "list") == 0
    assert capsys.readouterr().out == "alice\tdisabled\tuser\nboss\tadministrator\n"
    assert run(database, "user", "enable", "alice") == 0
    assert can_log_in(database, "alice", "correct horse")
    with pytest.raises(NotFoundError):
        run(database, "user", "disable", "nobody")
    with database.read() as session:
        changes = [each for each in TRAIL.records(session) if each.action == "user.change"]
    assert [(each.actor, each.name, each.outcome) for each in changes] == [
        ("(operator)", "alice", "done"), ("(operator)", "alice", "done"), ("(operator)", "nobody", "refused"),
    ]  # fmt: skip
    assert run(database, "user", "remove", "alice") == 0
    assert list_users(database) == [Listed("boss", True, ())]


def test_the_commands_manage_organisations_namespaces_and_public_repositories(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("alice", "bob"):
        monkeypatch.setattr("sys.stdin", io.StringIO("battery staple\n"))
        run(database, "user", "add", name)
    for line in (
        "org add base --owner alice", "org add other", "org remove other", "org list",
        "team add base/devs", "team join base/devs bob", "team join base/devs alice", "team leave base/devs alice",
        "team add base/ops", "team add base/tests", "team remove base/tests",
        "grant base/devs library/ read-write", "grant base/ops library/app read", "grant base/ops library/app none",
        "team list base", "namespace assign library base", "namespace assign team bob", "namespace assign team none",
        "namespace list", "visibility library/app public", "visibility library/b public",
        "visibility library/b private",
    ):  # fmt: skip
        assert run(database, *line.split()) == 0, line
    assert capsys.readouterr().out.splitlines() == [
        "base",
        "base/devs\tbob\tlibrary/:read-write", "base/ops\tnobody", "base/owners\talice",
        "alice\tuser\talice", "base\torganisation\tbase", "bob\tuser\tbob", "library\torganisation\tbase",
    ]  # fmt: skip
    assert [is_public(database, RepositoryName(f"library/{name}")) for name in ("app", "b")] == [True, False]
    for wrong in ("team add base", "grant base/ library/app read", "grant alice library/* read", "org add A/B"):
        with pytest.raises(InvalidError):
            run(database, *wrong.split())


def test_the_commands_make_list_and_revoke_access_tokens(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """AUTH-A06"""
    add_user(database, "ci", "correct horse", is_admin=False, now=NOW)
    for words in (("the build",), ("deployment", "--scope", "read-write", "--days", "30"), ("third",), ("fourth",)):
        assert run(database, "token", "add", "ci", *words) == 0
    secrets = capsys.readouterr().out.split()
    assert [can_log_in(database, "ci", secret) for secret in secrets] == [True] * 4
    assert run(database, "token", "list", "ci") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "1\tread\tused 2026-11-24T12:00Z\tdoes not expire\tthe build"
    assert re.fullmatch(r"2\tread-write\tused 2026-11-24T12:00Z\texpires [-0-9T:]+Z\tdeployment", second)
    run(database, "token", "revoke", "ci", "2")
    assert [can_log_in(database, "ci", secret) for secret in secrets] == [True, False, True, True]
    with pytest.raises(NotFoundError):
        run(database, "token", "revoke", "ci", "2")
    for strange in ("x", "-", "², "):
        with pytest.raises(InvalidError):
            run(database, "token", "revoke", "ci", strange)
    run(database, "token", "revoke", "ci", "all")
    assert [can_log_in(database, "ci", secret) for secret in secrets] == [False] * 4


@pytest.mark.parametrize(
    "argv",
    [
        ("user",), ("user", "add"), ("user", "add", "alice", "--password", "x"), ("user", "add", "alice", "secret"),
        ("grant", "alice", "library/app"), ("grant", "alice", "library/app", "owner"),
    ],
)  # fmt: skip
def test_a_password_is_never_an_argument_and_a_level_is_known(database: Database, argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(database, *argv)
    assert caught.value.code == 2


def test_a_malformed_repository_is_refused(database: Database) -> None:
    with pytest.raises(InvalidError, match="repository name"):
        run(database, "grant", "alice", "localhost:5000/library/app", "read")
