# SPDX-License-Identifier: Apache-2.0
"""A real disk that is full, under the content and under the database."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from pushes import digest_of
from world import APP, World

pytestmark = pytest.mark.client("mount")

MIB = 1 << 20
UPLOADS = f"{APP}/blobs/uploads/"


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def used(self) -> int:
        """How many bytes are on it, the ballast aside."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and path != self._ballast)

    def fill(self) -> None:
        """Leave no byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue
        assert shutil.disk_usage(self.folder).free == 0

    def free(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def push(world: World, method: str, path: str, data: bytes = b"") -> TestResponse:
    return world.request(method, path, world.token(APP, "pull,push"), data=data)


def refusal(answer: TestResponse) -> tuple[int, str]:
    """The status, and the code in the envelope."""
    return answer.status_code, answer.get_json()["errors"][0]["code"]


def test_a_push_to_a_full_disk_is_told_so_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: Disk
) -> None:
    world = World(tmp_path, content_folder=disk.folder / "content")
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    location = push(world, "POST", UPLOADS).headers["Location"].removeprefix("/v2/")
    first, second = b"a" * MIB, b"b" * (3 * MIB)
    assert push(world, "PATCH", location, first).status_code == 202
    used = disk.used

    answer = push(world, "PATCH", location, b"c" * (8 * MIB))
    assert refusal(answer) == (507, "UNAVAILABLE")
    assert str(disk.folder) not in answer.text
    assert disk.used == used  # what does not count takes no room
    disk.fill()
    assert refusal(push(world, "PATCH", location, second)) == (507, "UNAVAILABLE")
    assert refusal(push(world, "POST", f"{UPLOADS}?digest={digest_of(second)}", second)) == (507, "UNAVAILABLE")
    assert push(world, "GET", location).headers["Range"] == f"0-{MIB - 1}"
    assert world.blob(APP, world.blobs(image)[1]).data == b"layer of seed"

    disk.free()
    assert disk.used == used
    assert push(world, "PATCH", location, second).status_code == 202
    digest = digest_of(first + second)
    assert push(world, "PUT", f"{location}?digest={digest}").status_code == 201
    answer = world.get(f"{APP}/blobs/{digest}", world.token(APP, "pull,push"))
    assert answer.data == first + second
    assert not list((disk.folder / "content" / "uploads").iterdir())


def test_a_database_on_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path, disk: Disk) -> None:
    world = World(tmp_path, database_url=f"sqlite:///{disk.folder}/registry.db")
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    assert world.manifest(APP, "1").status_code == 200
    location = push(world, "POST", UPLOADS).headers["Location"].removeprefix("/v2/")
    disk.fill()
    answers = [push(world, "PATCH", location, b"more") for _ in range(100)]  # some room is left in the log
    assert refusal(answers[-1]) == (503, "UNAVAILABLE")
    assert {answer.status_code for answer in answers} <= {202, 503}
    accepted = 4 * [answer.status_code for answer in answers].count(202)
    assert world.manifest(APP, "1").status_code == 200
    disk.free()
    world.restart()
    assert world.manifest(APP, "1").status_code == 200
    data = b"more" * (accepted // 4)
    assert push(world, "PUT", f"{location}?digest={digest_of(data)}").status_code == 201
