# SPDX-License-Identifier: Apache-2.0
"""`registry.policies`: the site's default, and what repositories demand themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import migrations
from registry.demands import Said, falls_short, tightened
from registry.policies import Mode, Namespace, Policies, Policy, parse_scope
from trust.errors import DeniedError, InvalidError
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


# What the admins of a place add (AUTH-A09).


def of(policy: Policy) -> Said:
    """A whole policy, as somebody could say it."""
    return Said(policy.mode, policy.roles, policy.require, policy.pins or None, policy.grace_days, policy.immutable)


ROLES = [TARGETS, RELEASES, RoleName("targets/a"), RoleName("targets/b")]
PINS = [digit * 64 for digit in "012"]


@st.composite
def policy(draw: st.DrawFn) -> Policy:
    roles = draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=4, unique=True))
    return Policy(
        draw(st.sampled_from(Mode)),
        tuple(roles),
        tuple(draw(st.lists(st.sampled_from(PINS), max_size=2, unique=True))),
        draw(st.sampled_from(["any", "all", *(str(count + 1) for count in range(len(roles)))])),
        draw(st.integers(0, 3)),
        tuple(draw(st.lists(st.sampled_from(["v*", "1.?", "latest"]), max_size=2, unique=True))),
    )


def lets_out(policy: Policy, signers: set[RoleName], root: str, expired: int) -> bool:
    """Whether content passes that these roles sign, under this root key, with data that ended so long ago."""
    if not policy.mode.refuses:
        return True
    enough = len(signers & set(policy.roles)) >= policy.needed
    return enough and (not policy.pins or root in policy.pins) and expired <= policy.grace_days


@given(policy(), policy(), st.sets(st.sampled_from(ROLES)), st.sampled_from(PINS), st.integers(0, 3))
def test_nothing_passes_with_an_addition_that_would_not_pass_without(
    wider: Policy, added: Policy, signers: set[RoleName], root: str, expired: int
) -> None:
    """AUTH-A09"""
    now = tightened(wider, of(added))
    assert not falls_short(wider, of(now))
    if lets_out(now, signers, root, expired):
        assert lets_out(wider, signers, root, expired)
    assert all(now.is_immutable(tag) for tag in ("v1", "1.2", "latest") if wider.is_immutable(tag))
    if not falls_short(wider, of(added)) and lets_out(now, signers, root, expired):
        assert lets_out(added, signers, root, expired)  # and what was added is heard


@pytest.mark.parametrize(
    ("weaker", "sentence"),
    [
        ({"mode": Mode.PERMISSIVE}, "asked for mode permissive, demanded is mode resolve"),
        ({"roles": [TARGETS]}, "asked for roles targets require any, demanded is roles targets/releases,targets"),
        ({"require": "1"}, "demanded is roles targets/releases,targets require all"),
        ({"pins": ["1" * 64, "2" * 64]}, "demanded is pins 0123"),
        ({"grace_days": 3}, "asked for grace_days 3, demanded is grace_days 2"),
    ],
)
def test_what_the_admins_of_a_place_add_weakens_nothing_that_is_demanded_around_it(
    database: Database, policies: Policies, weaker: dict[str, object], sentence: str
) -> None:
    """AUTH-A09"""
    with database.write() as session:
        demanded = policies.change(
            session, TEAM, mode=Mode.RESOLVE, require="all", pins=[PIN], grace_days=2, immutable=["v*"]
        )
    for scope in (TEAM, TOOLS, TOOL):
        with pytest.raises(DeniedError, match=sentence), database.write() as session:
            policies.change(session, scope, adds=True, **weaker)  # type: ignore[arg-type]  # one of them
        with database.write() as session:
            added = policies.change(session, scope, adds=True, immutable=[], mode=Mode.ENFORCED, grace_days=1)
            assert added == Policy(Mode.ENFORCED, pins=(PIN,), require="all", grace_days=1, immutable=("v*",))
            policies.reset(session, scope, adds=True)
            assert policies.of(session, scope) == demanded


def test_what_is_demanded_later_counts_over_what_was_added_before(database: Database, policies: Policies) -> None:
    """AUTH-A09"""
    site = Policies(Policy(Mode.PERMISSIVE, grace_days=9), "localhost:5000")
    with database.write() as session:
        site.change(session, TOOL, adds=True, mode=Mode.RESOLVE, grace_days=5, pins=[PIN], immutable=["latest"])
        site.change(session, TEAM, mode=Mode.ENFORCED, pins=["0" * 64], immutable=["v*"])
        now, sources = site.explained(session, TOOL)
        assert now == Policy(Mode.ENFORCED, pins=("0" * 64,), grace_days=5, immutable=("v*", "latest"))
        assert [(each.place, each.adds, each.short) for each in sources] == [
            (TOOL, True, ["mode", "pins"]), (TEAM, False, []),
        ]  # fmt: skip
        # The admins go on with what does count, and the administrators may say what they like.
        assert site.change(session, TOOL, adds=True, grace_days=4).grace_days == 4
        site.change(session, TOOL, mode=Mode.DISABLED)
        assert site.of(session, TOOL).mode is Mode.RESOLVE
        site.reset(session, TOOL)
        assert site.sources(session, TOOL) == [TEAM]


def test_a_part_can_be_left_open_again(database: Database, policies: Policies) -> None:
    with database.write() as session:
        policies.change(session, APP, mode=Mode.DISABLED, roles=[TARGETS], require="all", grace_days=0, immutable=[])
        policies.change(session, APP, unsaid=["mode", "require", "grace_days", "immutable"])
        _, (source,) = policies.explained(session, APP)
        assert source.said == Said(roles=(TARGETS,))
        policies.change(session, APP, unsaid=["roles", "pins"])
        assert policies.explained(session, APP) == (DEFAULT, [])
