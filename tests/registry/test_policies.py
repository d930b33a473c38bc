# SPDX-License-Identifier: Apache-2.0
"""`registry.policies`: the site's default, and what repositories demand themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import migrations
from registry.policies import Mode, Namespace, Policies, Policy, parse_scope
from trust.errors import InvalidError
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RepositoryName, RoleName
from trust.web.database import Database
from trust.web.migrations import upgrade

APP, OTHER = RepositoryName("library/app"), RepositoryName("library/other")
DEFAULT = Policy(Mode.ENFORCED)
PIN = "0123456789abcdef" * 4


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The registry's tables, empty."""
    database = Database(f"sqlite:///{tmp_path}/registry.db")
    upgrade(database, migrations)
    return database


@pytest.fixture
def policies() -> Policies:
    """A site that enforces."""
    return Policies(DEFAULT, "localhost:5000")


def test_a_repository_that_says_nothing_has_the_default(database: Database, policies: Policies) -> None:
    with database.read() as session:
        assert policies.of(session, APP) == DEFAULT
    assert DEFAULT.roles == (RELEASES, TARGETS)
    assert DEFAULT.pins == ()


def test_what_a_repository_does_not_say_follows_the_default(database: Database, policies: Policies) -> None:
    with database.write() as session:
        changed = policies.change(session, APP, mode=Mode.PERMISSIVE)
        assert changed == Policy(Mode.PERMISSIVE)
    with database.write() as session:
        assert policies.change(session, APP, roles=[TARGETS]) == Policy(Mode.PERMISSIVE, (TARGETS,))
    with database.write() as session:
        assert policies.change(session, APP, pins=[PIN]) == Policy(Mode.PERMISSIVE, (TARGETS,), (PIN,))
    with database.read() as session:
        assert policies.of(session, APP) == Policy(Mode.PERMISSIVE, (TARGETS,), (PIN,))
        assert policies.of(session, OTHER) == DEFAULT
    # Another default, as after a change of the settings.
    others = Policies(Policy(Mode.DISABLED, (RELEASES,)), "localhost:5000")
    with database.write() as session:
        others.change(session, OTHER, pins=[PIN])
        assert others.of(session, OTHER) == Policy(Mode.DISABLED, (RELEASES,), (PIN,))
        assert others.of(session, APP).mode is Mode.PERMISSIVE


def test_an_empty_list_goes_back_to_the_default(database: Database, policies: Policies) -> None:
    with database.write() as session:
        policies.change(session, APP, roles=[TARGETS], pins=[PIN])
        assert policies.change(session, APP, roles=[], pins=[]) == DEFAULT


def test_the_order_of_roles_is_kept(database: Database, policies: Policies) -> None:
    roles = (TARGETS, RoleName("targets/b"), RoleName("targets/a"))
    with database.write() as session:
        policies.change(session, APP, roles=roles)
    with database.read() as session:
        assert policies.of(session, APP).roles == roles


def test_the_longest_lists_are_kept_whole(database: Database, policies: Policies) -> None:
    roles = [RoleName(f"targets/{letter * 240}") for letter in "abcdefghijklmnop"]
    pins = [digit * 64 for digit in "0123456789abcdef"]
    with database.write() as session:
        policies.change(session, APP, roles=roles, pins=pins)
    with database.read() as session:
        policy = policies.of(session, APP)
    assert (list(policy.roles), list(policy.pins)) == (roles, pins)


@pytest.mark.parametrize(
    "pins", [["0" * 63], ["0" * 65], [PIN.upper()], ["g" * 64], [""], [f"{PIN},{PIN}"], [f"{PIN}\n"], [PIN] * 17]
)
def test_what_is_no_key_id_is_no_pin(database: Database, policies: Policies, pins: list[str]) -> None:
    with pytest.raises(InvalidError, match="a pin is a key ID"), database.write() as session:
        policies.change(session, APP, mode=Mode.DISABLED, pins=pins)
    with database.read() as session:
        assert policies.of(session, APP) == DEFAULT  # not even the mode was changed


@pytest.mark.parametrize("roles", [[ROOT], [SNAPSHOT], [RELEASES, TIMESTAMP], [TARGETS] * 17])
def test_a_role_that_signs_no_content_counts_for_nothing(
    database: Database, policies: Policies, roles: list[RoleName]
) -> None:
    with pytest.raises(InvalidError, match="roles that count"), database.write() as session:
        policies.change(session, APP, roles=roles)
    with pytest.raises(InvalidError, match="roles that count"):
        Policy(Mode.ENFORCED, tuple(roles))


def test_a_default_without_roles_is_refused() -> None:
    with pytest.raises(InvalidError, match="roles that count"):
        Policy(Mode.ENFORCED, ())


def test_a_reset_drops_all_and_what_is_said_afterwards_stands_alone(database: Database, policies: Policies) -> None:
    with database.write() as session:
        policies.change(session, APP, mode=Mode.DISABLED, roles=[TARGETS], pins=[PIN])
    with database.write() as session:
        policies.reset(session, APP)
        assert policies.change(session, APP, roles=[RELEASES]) == Policy(Mode.ENFORCED, (RELEASES,))
    with database.write() as session:
        policies.reset(session, APP)
        policies.reset(session, OTHER)  # has nothing of its own
        assert policies.of(session, APP) == DEFAULT


def test_a_repository_has_one_collection_under_the_sites_name(policies: Policies) -> None:
    assert policies.gun(APP) == "localhost:5000/library/app"


# Namespaces, and the demands that came later.

TEAM, TOOLS = Namespace("team/"), Namespace("team/tools/")
TOOL = RepositoryName("team/tools/app")


def test_what_a_row_leaves_open_comes_from_the_next_wider_one(database: Database, policies: Policies) -> None:
    with database.write() as session:
        policies.change(session, TEAM, mode=Mode.PERMISSIVE, pins=[PIN], grace_days=3)
        policies.change(session, TOOLS, mode=Mode.RESOLVE, immutable=["v*"])
        policies.change(session, TOOL, grace_days=0)
    with database.read() as session:
        assert policies.of(session, TOOL) == Policy(Mode.RESOLVE, pins=(PIN,), immutable=("v*",))
        assert policies.sources(session, TOOL) == [TOOL, TOOLS, TEAM]
        assert policies.of(session, TOOLS) == Policy(Mode.RESOLVE, pins=(PIN,), grace_days=3, immutable=("v*",))
        assert policies.of(session, RepositoryName("team/app")) == Policy(Mode.PERMISSIVE, pins=(PIN,), grace_days=3)
        for other in ("team", "teams/app", "tools/app", "a/team/tools/app"):
            assert policies.of(session, RepositoryName(other)) == DEFAULT


def test_how_many_must_sign_is_inherited_with_the_roles_it_counts(database: Database, policies: Policies) -> None:
    three = [RoleName(f"targets/{name}") for name in "abc"]
    with database.write() as session:
        policies.change(session, TEAM, roles=three, require="3")
        # With roles of its own, fewer than three, this repository has nothing to do with that number.
        assert policies.change(session, TOOL, roles=[TARGETS]).needed == 1
        assert policies.change(session, TOOL, roles=[]).needed == 3
        assert policies.change(session, TOOL, require="all").needed == 3
        policies.change(session, TEAM, roles=[TARGETS], require="any")
        assert policies.of(session, TOOL).roles == tuple(three)  # as they were when it said "all"


def test_a_role_that_is_named_twice_is_one() -> None:
    assert Policy(Mode.ENFORCED, (TARGETS, TARGETS), require="all").needed == 1
    with pytest.raises(InvalidError, match="not more than there are"):
        Policy(Mode.ENFORCED, (TARGETS, TARGETS), require="2")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("require", "3", "not more than there are"),
        ("require", "0", "not more than there are"),
        ("require", "some", "not more than there are"),
        ("require", "all\n", "not more than there are"),
        ("grace_days", -1, "grace"),
        ("grace_days", 366, "grace"),
        ("immutable", ["v1,v2"], "pattern"),
        ("immutable", [""], "pattern"),
        ("immutable", ["v 1"], "pattern"),
        ("immutable", ["v*"] * 17, "pattern"),
    ],
)
def test_a_demand_that_cannot_be_is_refused(
    database: Database, policies: Policies, name: str, value: object, sentence: str
) -> None:
    with pytest.raises(InvalidError, match=sentence), database.write() as session:
        policies.change(session, TEAM, **{name: value})  # type: ignore[arg-type]  # any of them
    with database.read() as session:
        assert policies.sources(session, TEAM) == []


def test_no_tag_is_immutable_where_an_empty_list_says_so(database: Database, policies: Policies) -> None:
    with database.write() as session:
        policies.change(session, TEAM, immutable=["v[0-9]*", "latest"])
        team = policies.of(session, TOOL)
        assert [tag for tag in ("v1", "v1.2", "va", "V1", "latest", "latest2") if team.is_immutable(tag)] == [
            "v1", "v1.2", "latest",
        ]  # fmt: skip
        assert policies.change(session, TOOL, immutable=[]).immutable == ()


def test_a_namespace_ends_in_a_slash_and_a_name_can_begin_so() -> None:
    assert (type(parse_scope("team/")), type(parse_scope("team"))) == (Namespace, RepositoryName)
    for text in ("/", "Team/", "team//", "../", "team/../", "a" * 200 + "/", "localhost:5000/"):
        with pytest.raises(InvalidError):
            parse_scope(text)
