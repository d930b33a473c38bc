# SPDX-License-Identifier: Apache-2.0
"""`registry.policies`: the site's default, and what repositories demand themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import migrations
from registry.policies import Mode, Policies, Policy
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
