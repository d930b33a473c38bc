# SPDX-License-Identifier: Apache-2.0
"""A rescued collection is whole, verified, byte for byte, and as good a source as the notary was."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from shelf import World
from trust.cache import MemoryCache
from trust.errors import NotFoundError, RollbackError, SizeError, TrustError, UnavailableError
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, Gun, RoleName
from trust.reader import Reader
from trust.rescue import TRUST_FOLDER, guns_in, rescue, write


class Files:
    """A folder as a static web server would give it out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        path = self._folder / "v2" / gun / TRUST_FOLDER / f"{name}.json"
        if not path.is_file():
            raise NotFoundError(f"there is no {name}")
        data = path.read_bytes()
        if len(data) > limit:
            raise SizeError(f"{name} is too long")
        return data


@pytest.fixture
def world() -> World:
    """A collection with two roots and a delegation."""
    world = World()
    world.publish({"v1": b"one"})
    world.made.rotate("root")
    world.made.root()
    world.made.delegation(RELEASES)
    world.made.targets({"v2": b"two"}, role=RELEASES)
    world.publish()
    world.shelf.put({ROOT: world.made.history["root", 1]})
    world.shelf.put({ROOT: world.made.history["root", 2]})
    return world


def test_a_reader_of_the_folder_sees_what_a_reader_of_the_notary_saw(world: World, tmp_path: Path) -> None:
    first = Reader(world.made.gun, world.shelf, MemoryCache(), clock=lambda: world.now).refresh()
    rescued = rescue(world.made.gun, world.shelf, world.now)
    assert write(rescued, tmp_path) == len(rescued.files)
    world.shelf.clear()
    again = Reader(world.made.gun, Files(tmp_path), MemoryCache(), clock=lambda: world.now).refresh()
    assert again.roles.keys() == first.roles.keys()
    assert again.lookup("v2").digest == first.lookup("v2").digest
    assert guns_in(tmp_path) == [world.made.gun]


def test_every_root_and_every_file_comes_byte_for_byte(world: World, tmp_path: Path) -> None:
    write(rescue(world.made.gun, world.shelf, world.now), tmp_path)
    base = tmp_path / "v2" / world.made.gun / TRUST_FOLDER
    assert (base / "1.root.json").read_bytes() == world.made.history["root", 1]
    for role, data in world.made.files.items():
        assert (base / f"{role}.json").read_bytes() == data
    assert len(list(base.rglob("*.json"))) == 2 + 5 + 4  # roots by version, in force, and by hash
    assert stat.S_IMODE((base / "root.json").stat().st_mode) == 0o644


def test_what_the_snapshot_still_names_is_taken_too(world: World) -> None:
    world.made.revoke(RELEASES)
    world.publish()
    rescued = rescue(world.made.gun, world.shelf, world.now)
    assert RELEASES not in rescued.survey.targets
    assert rescued.files[RELEASES] == world.made.files[RELEASES]
    for name in [name for name in world.shelf.named if name.startswith(RELEASES)]:
        del world.shelf.named[name]
    assert rescue(world.made.gun, world.shelf, world.now).missing == (RELEASES,)


def test_a_second_rescue_writes_what_is_new(world: World, tmp_path: Path) -> None:
    write(rescue(world.made.gun, world.shelf, world.now), tmp_path)
    assert write(rescue(world.made.gun, world.shelf, world.now), tmp_path) == 0
    world.publish({"v3": b"three"})
    assert write(rescue(world.made.gun, world.shelf, world.now), tmp_path) == 5  # two by hash, and three in force
    Reader(world.made.gun, Files(tmp_path), MemoryCache(), clock=lambda: world.now).refresh().lookup("v3")


def test_a_rescue_never_goes_back(world: World, tmp_path: Path) -> None:
    before = rescue(world.made.gun, world.shelf, world.now)
    world.publish({"v3": b"three"})
    write(rescue(world.made.gun, world.shelf, world.now), tmp_path)
    with pytest.raises(RollbackError):
        write(before, tmp_path)


def test_another_root_of_the_same_version_is_refused(world: World, tmp_path: Path) -> None:
    write(rescue(world.made.gun, world.shelf, world.now), tmp_path)
    forged = World()
    forged.publish({"v1": b"evil"})
    for _ in range(3):
        forged.publish()
    with pytest.raises(RollbackError, match="another root of that version"):
        write(rescue(forged.made.gun, forged.shelf, forged.now), tmp_path)


@pytest.mark.parametrize("role", [ROOT, SNAPSHOT, TARGETS])
def test_nothing_is_written_of_what_does_not_hold_together(world: World, tmp_path: Path, role: RoleName) -> None:
    for name in [name for name in world.shelf.named if name.startswith(f"{role}.") or name == f"1.{role}"]:
        world.shelf.named[name] = b"{}"
    with pytest.raises(TrustError):
        write(rescue(world.made.gun, world.shelf, world.now), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_collection_and_a_silent_notary_are_told_apart(world: World) -> None:
    world.shelf.clear()
    with pytest.raises(NotFoundError):
        rescue(world.made.gun, world.shelf, world.now)
    world.shelf.reachable = False
    with pytest.raises(UnavailableError):
        rescue(world.made.gun, world.shelf, world.now)
