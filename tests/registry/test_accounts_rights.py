# SPDX-License-Identifier: Apache-2.0
"""Who may what: users, organisations and their teams, namespaces, public repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from people import ADMIN, ALICE, BOB, NOW, PASSWORD, People
from registry import migrations
from registry.accounts.admin import add_user, grant, remove_user
from registry.accounts.models import Namespace, Team, TeamMember, TeamPermission, User
from registry.accounts.organisations import (
    ListedTeam,
    Standing,
    TeamName,
    add_member,
    add_organisation,
    add_team,
    grant_team,
    list_organisations,
    list_teams,
    remove_member,
    remove_organisation,
    remove_team,
    standing,
)
from registry.accounts.ownership import Granted, Owned, assign_namespace, list_grants, list_namespaces, set_public
from registry.accounts.policy import Account, Level, Place
from registry.accounts.rights import list_readable
from trust.errors import ConflictError, InvalidError, NotFoundError
from trust.names import RepositoryName
from trust.web.database import Database
from trust.web.migrations import upgrade

DEVS, OWNERS = TeamName("base/devs"), TeamName("base/owners")
APP = RepositoryName("library/app")


@pytest.fixture
def people(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[People]:
    # A test that names the fixture `database_url` is run on every kind of database.
    every = "database_url" in request.fixturenames
    people = People(tmp_path, **({"database_url": request.getfixturevalue("database_url")} if every else {}))
    yield people
    people.close()


@pytest.fixture
def base(people: People) -> Database:
    """With an organisation that alice owns, and a team in it that bob is in."""
    add_organisation(people.database, "base", owners=[ALICE], now=NOW)
    add_team(people.database, DEVS)
    add_member(people.database, DEVS, BOB)
    return people.database


def actions(people: People, user: str | None, repository: str) -> str:
    """What a user may do in a repository."""
    granted = people.granted(user, f"repository:{repository}:*,pull,push,delete")
    return granted[0].rpartition(":")[2] if granted else ""


READ, WRITE, ALL = "pull", "delete,pull,push", "*,delete,pull,push"


# Teams


@pytest.mark.usefixtures("database_url")
def test_a_team_has_what_it_was_granted_and_what_its_members_have_besides_adds_up(
    people: People, base: Database
) -> None:
    grant_team(base, DEVS, APP, Level.READ_WRITE)
    assert actions(people, BOB, APP) == WRITE
    assert actions(people, ALICE, APP) == ""
    grant(base, BOB, APP, Level.READ)  # the highest counts
    assert actions(people, BOB, APP) == WRITE
    grant(base, BOB, APP, Level.ADMIN)
    assert actions(people, BOB, APP) == ALL
    grant(base, BOB, APP, None)
    grant_team(base, DEVS, APP, None)
    assert actions(people, BOB, APP) == ""


def test_a_grant_in_a_namespace_counts_in_all_its_repositories(people: People, base: Database) -> None:
    grant_team(base, DEVS, Place("library/"), Level.READ)
    grant(base, ALICE, Place("library/"), Level.READ_WRITE)
    for repository in ("library/app", "library/deep/app"):
        assert actions(people, BOB, repository) == READ
        assert actions(people, ALICE, repository) == WRITE
    for repository in ("library", "library2/app", "other/library/app"):
        assert actions(people, BOB, repository) == actions(people, ALICE, repository) == ""


def test_who_leaves_a_team_loses_what_it_has(people: People, base: Database) -> None:
    grant_team(base, DEVS, APP, Level.READ)
    remove_member(base, DEVS, BOB)
    assert actions(people, BOB, APP) == ""
    with pytest.raises(NotFoundError, match="not in the team"):
        remove_member(base, DEVS, BOB)
    add_member(base, DEVS, BOB)
    add_member(base, DEVS, BOB)
    assert actions(people, BOB, APP) == READ
    remove_team(base, DEVS)
    assert actions(people, BOB, APP) == ""


@pytest.mark.usefixtures("database_url")
def test_the_owners_are_admins_of_what_the_organisation_owns(people: People, base: Database) -> None:
    assert actions(people, ALICE, "base/app") == ALL
    assert actions(people, BOB, "base/app") == ""  # to be in an organisation gives nothing by itself
    assign_namespace(base, "library", "base")
    assert actions(people, ALICE, APP) == ALL
    remove_member(base, OWNERS, ALICE)
    assert actions(people, ALICE, APP) == actions(people, ALICE, "base/app") == ""


def test_an_owner_of_one_organisation_is_nothing_in_another(people: People, base: Database) -> None:
    """AUTH-A07"""
    add_organisation(base, "other", owners=[BOB], now=NOW)
    add_team(base, TeamName("other/devs"))
    assert actions(people, BOB, "base/app") == actions(people, ALICE, "other/app") == ""
    assert standing(base, BOB, "base") == Standing(is_member=True, is_owner=False)
    assert standing(base, BOB, "other") == Standing(is_member=True, is_owner=True)
    assert standing(base, ALICE, "other") == standing(base, ALICE, "none") == Standing(False, False)
    assert list_organisations(base, BOB) == ["base", "other"]
    assert list_organisations(base, ALICE) == ["base"]


def test_organisations_and_teams_are_listed(base: Database) -> None:
    grant_team(base, DEVS, APP, Level.READ)
    assert list_organisations(base) == ["base"]
    assert list_teams(base, "base") == [
        ListedTeam(DEVS, (BOB,), (("library/app", Level.READ),)), ListedTeam(OWNERS, (ALICE,), ()),
    ]  # fmt: skip
    assert list_teams(base, "none") == []


@pytest.mark.usefixtures("database_url")
def test_nothing_of_a_removed_organisation_stays_but_what_was_pushed(people: People, base: Database) -> None:
    grant_team(base, DEVS, APP, Level.READ)
    assert people.push("base/app", ALICE).status_code == 201
    remove_organisation(base, "base")
    with base.read() as session:
        for table in (Team, TeamMember, TeamPermission):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert people.pull("base/app", ALICE) == 401
    assert people.pull("base/app", ADMIN) == 200
    add_organisation(base, "base", now=NOW)
    assert actions(people, BOB, APP) == actions(people, ALICE, "base/app") == ""


def test_a_removed_user_is_in_no_team_and_a_new_one_of_the_name_is_not_either(people: People, base: Database) -> None:
    grant_team(base, DEVS, APP, Level.READ)
    remove_user(base, BOB)
    assert list_teams(base, "base")[0].members == ()
    add_user(base, BOB, PASSWORD, is_admin=False, now=NOW)
    assert actions(people, BOB, APP) == ""


def test_the_team_of_the_owners_cannot_be_removed(base: Database) -> None:
    with pytest.raises(ConflictError, match="keeps its team of owners"):
        remove_team(base, OWNERS)
    assert [team.name for team in list_teams(base, "base")] == [DEVS, OWNERS]


@pytest.mark.usefixtures("database_url")
def test_what_there_is_not_is_not_found(base: Database) -> None:
    nowhere = TeamName("none/devs")
    acts: list[Callable[[], None]] = [
        lambda: add_team(base, nowhere), lambda: remove_team(base, nowhere), lambda: add_member(base, nowhere, BOB),
        lambda: add_member(base, DEVS, "nobody"), lambda: remove_member(base, DEVS, "nobody"),
        lambda: add_member(base, DEVS, "BOB"), lambda: remove_organisation(base, "none"),
        lambda: remove_organisation(base, "BASE"), lambda: grant_team(base, TeamName("base/none"), APP, Level.READ),
        lambda: add_organisation(base, "third", owners=["nobody"], now=NOW),
        lambda: assign_namespace(base, "x", "nobody"), lambda: assign_namespace(base, "x", "BOB"),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(NotFoundError):
            act()
    assert list_organisations(base) == ["base"]  # "third" was not begun


def test_names_are_checked(people: People) -> None:
    for name in ("", "Base", "a/b", "a b", "-a", "a" * 65, "é", "a\n", "(operator)"):
        with pytest.raises(InvalidError):
            add_organisation(people.database, name, now=NOW)
        for team in (f"{name}/devs", f"base/{name}"):
            with pytest.raises(InvalidError):
                TeamName(team)


# Names and namespaces


def test_users_organisations_and_namespaces_share_one_supply_of_names(base: Database) -> None:
    assign_namespace(base, "library", "base")
    for name in ("base", ALICE, "library"):
        with pytest.raises(ConflictError, match="already"):
            add_organisation(base, name, now=NOW)
        with pytest.raises(ConflictError, match="already"):
            add_user(base, name, PASSWORD, is_admin=False, now=NOW)
    with pytest.raises(ConflictError, match="already"):
        add_team(base, DEVS)


@pytest.mark.usefixtures("database_url")
def test_users_and_organisations_of_one_name_at_once_leave_one(people: People) -> None:
    def act(number: int) -> bool:
        try:
            if number % 2:
                add_organisation(people.database, "same", now=NOW)
            else:
                add_user(people.database, "same", PASSWORD, is_admin=False, now=NOW)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(act, range(4))) == 1
    with people.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Namespace).where(Namespace.name == "same")) == 1


def test_a_namespace_is_assigned_and_taken_back(people: People) -> None:
    assign_namespace(people.database, "library", ALICE)
    assert actions(people, ALICE, APP) == ALL
    assign_namespace(people.database, "library", BOB)
    assert (actions(people, ALICE, APP), actions(people, BOB, APP)) == ("", ALL)
    assert list_namespaces(people.database)[-1] == Owned("library", "user", BOB)
    for _ in range(2):
        assign_namespace(people.database, "library", None)
        assert actions(people, BOB, APP) == ""


def test_the_namespace_of_an_accounts_own_name_stays_with_it(people: People, base: Database) -> None:
    for name in (ALICE, "base"):
        for owner in (BOB, None):
            with pytest.raises(ConflictError, match="stays with the account"):
                assign_namespace(base, name, owner)
    assert actions(people, ALICE, "alice/app") == ALL
    for name in ("a/b", "", "A", "a" * 199, "*"):
        with pytest.raises(InvalidError):
            assign_namespace(base, name, BOB)


@pytest.mark.usefixtures("database_url")
def test_a_namespace_goes_back_to_the_administrators_with_its_owner(people: People) -> None:
    assign_namespace(people.database, "library", BOB)
    remove_user(people.database, BOB)
    assert [each.name for each in list_namespaces(people.database)] == [ADMIN, ALICE]
    add_user(people.database, BOB, PASSWORD, is_admin=False, now=NOW)
    assert actions(people, BOB, APP) == ""
    assert actions(people, BOB, "bob/app") == ALL


def test_a_repository_is_created_only_where_one_may_write(people: People, base: Database) -> None:
    grant_team(base, DEVS, Place("base/"), Level.READ_WRITE)
    grant(base, BOB, APP, Level.READ_WRITE)
    for repository in ("bob/new", "base/new", "library/app"):
        assert people.push(repository, BOB).status_code == 201, repository
    for repository in ("alice/new", "library/other", "new", "base2/new"):
        answer = people.push(repository, BOB)
        assert answer.status_code == 401, repository
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    with base.read() as session:
        everything = list_readable(session, Account(1, ADMIN, True), "", 100)
    assert everything == ["base/new", "bob/new", "library/app"]


def test_users_of_a_site_from_before_own_what_they_owned(database_url: str) -> None:
    database = Database(database_url)
    upgrade(database, migrations)
    add_user(database, ALICE, PASSWORD, is_admin=False, now=NOW)
    with database.write() as session:
        for table in ("namespaces", "access_tokens", "team_permissions", "team_members", "teams", "organisations"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("UPDATE troth_registry_version SET version_num = '0005'"))
    upgrade(database, migrations)
    assert list_namespaces(database) == [Owned(ALICE, "user", ALICE)]
    database.dispose()


# Public repositories


@pytest.mark.usefixtures("database_url")
def test_everybody_pulls_from_a_public_repository_and_nobody_does_more(people: People) -> None:
    people.push(APP)
    for user in (None, ALICE):
        assert people.pull(APP, user) == 401
    set_public(people.database, APP, True)
    set_public(people.database, APP, True)
    for user in (None, ALICE):
        assert people.pull(APP, user) == 200
        assert actions(people, user, APP) == READ
        assert actions(people, user, f"localhost:5000/{APP}") == READ  # and so the signatures
        assert actions(people, user, "library/other") == ""
        assert people.push(APP, user or "").status_code == 401
    assert people.granted(None, "registry:catalog:*") == []
    set_public(people.database, APP, False)
    assert people.pull(APP, None) == 401


def test_being_public_takes_nothing_from_those_who_may_more(people: People) -> None:
    grant(people.database, ALICE, APP, Level.READ_WRITE)
    set_public(people.database, APP, True)
    assert actions(people, ALICE, APP) == WRITE
    assert actions(people, ADMIN, APP) == ALL


# Lists


@pytest.mark.usefixtures("database_url")
def test_each_sees_the_repositories_that_they_may_pull_from(people: People, base: Database) -> None:
    names = ["alice/a", "base/b", "bob/c", "library/d", "library/e", "library0/f", "team/g", "zoo"]
    for name in names:
        assert people.push(name).status_code == 201
    set_public(base, RepositoryName("zoo"), True)
    grant_team(base, DEVS, Place("library/"), Level.READ)
    grant(base, BOB, Place("team/g"), Level.READ)

    def seen(account: Account, last: str = "", limit: int = 100) -> list[str]:
        with base.read() as session:
            return list_readable(session, account, last, limit)

    with base.read() as session:
        numbers = {name: number for name, number in session.execute(select(User.name, User.id))}
    bob, alice = Account(numbers[BOB], BOB, False), Account(numbers[ALICE], ALICE, False)
    assert seen(bob) == ["bob/c", "library/d", "library/e", "team/g", "zoo"]
    assert seen(alice) == ["alice/a", "base/b", "zoo"]
    assert seen(Account(numbers[ADMIN], ADMIN, True)) == names
    assert seen(bob, "library/d", 2) == ["library/e", "team/g"]
    for account, user in ((bob, BOB), (alice, ALICE)):
        assert seen(account) == [name for name in names if people.pull(name, user) == 200]


def test_the_grants_in_a_place_are_listed(base: Database) -> None:
    grant_team(base, DEVS, APP, Level.READ)
    grant(base, ALICE, APP, Level.ADMIN)
    assert list_grants(base, Place(APP)) == [
        Granted("user", ALICE, Level.ADMIN), Granted("team", "base/devs", Level.READ),
    ]  # fmt: skip
    assert list_grants(base, Place("library/")) == []
