# SPDX-License-Identifier: Apache-2.0
"""A survey sees what a reader sees, every root, and past expiry; and is fooled by nothing that fools no reader."""

from __future__ import annotations

from datetime import timedelta

import pytest

from collection import CORRUPTIONS
from shelf import GOLDEN_NOW, World, golden, golden_names
from trust.cache import MemoryCache
from trust.errors import (
    ExpiredError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    TrustError,
    UnavailableError,
)
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from trust.reader import Reader
from trust.survey import survey


@pytest.fixture
def world() -> World:
    """A collection with three roots and a delegation."""
    world = World()
    world.publish({"v1": b"one"})
    for _ in range(2):
        world.made.rotate("root")
        world.shelf.put({ROOT: world.made.root()})
    world.made.delegation(RELEASES)
    world.made.targets({"v2": b"two"}, role=RELEASES)
    world.publish()
    return world


@pytest.mark.parametrize("name", golden_names())
def test_it_finds_what_a_reader_finds(name: str) -> None:
    vector = golden(name)
    try:
        read = Reader(vector.gun, vector, MemoryCache(), clock=lambda: GOLDEN_NOW).refresh()
    except ExpiredError:
        assert survey(vector.gun, vector, GOLDEN_NOW).expired
        return
    except NotFoundError:
        with pytest.raises(NotFoundError):
            survey(vector.gun, vector, GOLDEN_NOW)
        return
    found = survey(vector.gun, vector, GOLDEN_NOW)
    assert found.root.to_bytes() == read.root.to_bytes()
    assert {role: meta.to_bytes() for role, meta in found.targets.items()} == {
        role: meta.to_bytes() for role, meta in read.roles.items()
    }
    assert not found.expired


def test_every_root_is_walked(world: World) -> None:
    found = survey(world.made.gun, world.shelf, world.now)
    assert [root.to_bytes() for root in found.roots] == [world.made.history["root", version] for version in (1, 2, 3)]
    assert list(found.targets) == [TARGETS, RELEASES]


def test_a_first_root_of_version_two_is_allowed() -> None:
    world = World()
    world.made.root(version=2)
    world.publish({"v1": b"one"})
    assert [root.signed.version for root in survey(world.made.gun, world.shelf, world.now).roots] == [2]


def test_expiry_is_noted_and_stops_nothing(world: World) -> None:
    later = world.now + timedelta(days=4000)
    said = [str(error) for error in survey(world.made.gun, world.shelf, later).expired]
    for role in ("targets", "targets/releases", "snapshot", "timestamp"):
        assert any(text.startswith(f"{role} expired") for text in said)
    assert len(said) == 5


def test_a_delegation_below_its_threshold_is_passed_over(world: World) -> None:
    world.made.delegation(RELEASES)  # new keys, and nobody has signed with them
    world.publish()
    found = survey(world.made.gun, world.shelf, world.now)
    assert list(found.skipped) == [RELEASES]
    assert list(found.targets) == [TARGETS]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("file", ["1.root", "2.root", "root", "timestamp", "snapshot", "targets", "targets/releases"])
def test_no_corrupt_file_passes(world: World, file: str, corruption: str) -> None:
    names = [name for name in world.shelf.named if name.startswith(f"{file}.")]
    if file in world.shelf.named:
        world.shelf.named[file] = CORRUPTIONS[corruption](world.shelf.named[file])
    else:
        world.shelf.current[file] = CORRUPTIONS[corruption](world.shelf.current[file])
        for name in names:
            world.shelf.named[name] = CORRUPTIONS[corruption](world.shelf.named[name])
    with pytest.raises(TrustError):
        survey(world.made.gun, world.shelf, world.now)


def test_a_gap_in_the_roots_is_an_error(world: World) -> None:
    del world.shelf.named["2.root"]
    with pytest.raises(RotationError, match="root 2 is not there"):
        survey(world.made.gun, world.shelf, world.now)


def test_one_root_given_out_as_another_is_an_error(world: World) -> None:
    world.shelf.named["2.root"] = world.shelf.named["1.root"]
    with pytest.raises(RollbackError):
        survey(world.made.gun, world.shelf, world.now)


@pytest.mark.parametrize("role", [SNAPSHOT, TARGETS, RELEASES])
def test_a_named_file_that_is_not_there_is_an_error(world: World, role: str) -> None:
    for name in [name for name in world.shelf.named if name.startswith(f"{role}.")]:
        del world.shelf.named[name]
    with pytest.raises(UnavailableError, match=f"{role} is named"):
        survey(world.made.gun, world.shelf, world.now)


def test_a_mix_of_two_states_is_an_error(world: World) -> None:
    stale = world.shelf.current[TIMESTAMP]
    world.made.rotate("timestamp")
    world.shelf.put({ROOT: world.made.root()})
    world.shelf.current[TIMESTAMP] = stale
    with pytest.raises(SignatureError):
        survey(world.made.gun, world.shelf, world.now)
