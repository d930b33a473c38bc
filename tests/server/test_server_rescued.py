# SPDX-License-Identifier: Apache-2.0
"""A rescued collection is served as it was; when its time is over the server says why; its publisher revives it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from collection import Collection
from notaryserver import NOW, NotaryServer, error
from server.origin import Folder
from server.succession import Succession
from shelf import Shelf
from trust.errors import InvalidError
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun
from trust.rescue import TRUST_FOLDER, rescue, write

GUN = "docker.io/library/app"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """A collection whose online keys are another notary's, rescued into `rescued`."""
    collection = Collection(GUN, NOW)
    shelf = Shelf(collection.publish({"v1": b"one"}))
    collection.rotate("root")
    collection.root()
    shelf.put(collection.publish({"v2": b"two"}))
    write(rescue(collection.gun, shelf, NOW), tmp_path / "rescued")
    return collection


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NotaryServer]:
    server = NotaryServer(tmp_path)
    yield server
    server.close()


def take(server: NotaryServer, folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    report = Succession(Folder(folder), server.database, server.now).collections(())
    return [(entry.state, entry.problems) for entry in report.entries]


def test_it_is_served_byte_for_byte(server: NotaryServer, collection: Collection, tmp_path: Path) -> None:
    assert take(server, tmp_path / "rescued") == [("imported", ())]
    for role, data in collection.files.items():
        assert server.get(GUN, f"{role}.json").data == data
    assert server.get(GUN, "1.root.json").data == collection.history["root", 1]
    assert take(server, tmp_path / "rescued") == [("present", ())]


def test_when_its_time_is_over_the_server_says_why(
    server: NotaryServer, collection: Collection, tmp_path: Path
) -> None:
    take(server, tmp_path / "rescued")
    server.now += timedelta(days=13)
    assert server.get(GUN, "timestamp.json").data == collection.files[TIMESTAMP]
    server.now += timedelta(days=2)
    answer = server.get(GUN, "timestamp.json")
    assert error(answer)[:2] == (503, "UNAVAILABLE")
    assert "timestamp expired at" in answer.text
    assert "no timestamp keys exist on the server" in answer.text
    # What needs no timestamp is still there, for whoever revives it.
    assert server.get(GUN, "root.json").data == collection.files[ROOT]
    assert server.get(GUN, "targets.json").status_code == 200


@pytest.mark.parametrize("days", [1, 20])
def test_its_publisher_gives_it_new_online_keys(
    server: NotaryServer, collection: Collection, tmp_path: Path, days: int
) -> None:
    take(server, tmp_path / "rescued")
    server.now += timedelta(days=days)
    for role in (TIMESTAMP, SNAPSHOT):
        collection.hand_over(role, server.keys.create(Gun(GUN), role, "ecdsa"))
    collection.root()
    assert server.publish(collection, "root").status_code == 200
    assert server.file(GUN, "timestamp").signed.version == 3
    server.now += timedelta(days=20)
    assert server.file(GUN, "timestamp").signed.version == 4  # renewed from now on
    assert take(server, tmp_path / "rescued") == [("present", ())]


def test_a_damaged_folder_is_not_taken(server: NotaryServer, collection: Collection, tmp_path: Path) -> None:
    base = tmp_path / "rescued/v2" / GUN / TRUST_FOLDER
    (base / "1.root.json").write_bytes(b"{}")
    ((state, problems),) = take(server, tmp_path / "rescued")
    assert state == "refused"
    assert problems
    assert server.get(GUN, "root.json").status_code == 404


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="has no trust data"):
        Folder(tmp_path)
