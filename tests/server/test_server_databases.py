# SPDX-License-Identifier: Apache-2.0
"""Two notary servers on one database, of each kind (NOTARY_V1 §3.4): one wins, and readers see what fits together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from tuf.api.metadata import MetaFile
from werkzeug.test import TestResponse

from collection import Collection
from notaryserver import NOW, NotaryServer, error, tuf
from server.errors import LostRaceError
from server.store import Store
from trust.keystore import MemoryKeyStore
from trust.metadata import parse_snapshot, parse_targets, parse_timestamp
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName

GUN = "localhost:5000/library/app"
Pair = tuple[NotaryServer, NotaryServer]


@pytest.fixture
def servers(tmp_path: Path, database_url: str) -> Iterator[Pair]:
    """Two servers with one database and one signer."""
    keys = MemoryKeyStore(clock=lambda: NOW)
    pair = tuple(NotaryServer(tmp_path, keys=keys, database_url=database_url) for _ in range(2))
    yield pair[0], pair[1]
    for server in pair:
        server.close()


def together(acts: list[Callable[[], TestResponse]]) -> Counter[str]:
    """Do all of these at the same time; how often each answer came: `200`, or an error's code."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], TestResponse]) -> str:
        barrier.wait()
        answer = act()
        return "200" if answer.status_code == 200 else error(answer)[1]

    with ThreadPoolExecutor(len(acts)) as pool:
        return Counter(pool.map(run, acts))


def uploads(servers: Pair, files: list[bytes]) -> list[Callable[[], TestResponse]]:
    """Publish these targets, half of them at each server."""

    def upload(number: int) -> TestResponse:
        return servers[number % 2].upload(GUN, [("targets", files[number])])

    return [lambda number=number: upload(number) for number in range(len(files))]  # type: ignore[misc]


def read_set(server: NotaryServer) -> tuple[int, int, int]:
    """Read as clients do, from the timestamp down, by hash; the versions of timestamp, snapshot and targets."""
    timestamp = parse_timestamp(server.get(GUN, "timestamp.json").data)
    snapshot = parse_snapshot(read_named(server, SNAPSHOT, timestamp.signed.snapshot_meta))
    targets = parse_targets(TARGETS, read_named(server, TARGETS, snapshot.signed.meta[TARGETS]))
    return timestamp.signed.version, snapshot.signed.version, targets.signed.version


def read_named(server: NotaryServer, role: RoleName, entry: MetaFile) -> bytes:
    """The file that an entry names."""
    assert entry.hashes is not None
    answer = server.get(GUN, f"{role}.{entry.hashes['sha256']}.json")
    assert answer.status_code == 200
    assert hashlib.sha256(answer.data).hexdigest() == entry.hashes["sha256"]
    data: bytes = answer.data
    return data


def test_t19_of_twenty_publishers_at_two_servers_one_wins_and_readers_see_whole_sets(servers: Pair) -> None:
    collection = servers[0].published(GUN)
    files = [collection.targets({"v2": b"%d" % number}, version=2) for number in range(20)]
    done = Event()

    def read(server: NotaryServer) -> set[int]:
        seen: list[tuple[int, int, int]] = []
        while not done.is_set():
            seen.append(read_set(server))
        assert seen == sorted(seen)  # nothing ever goes back
        return {targets for _, _, targets in seen}

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, server) for server in servers]
        try:
            outcome = together(uploads(servers, files))
        finally:
            done.set()
        assert set().union(*(reader.result() for reader in readers)) <= {1, 2}
    assert outcome == {"200": 1, "VERSION": 19}
    assert read_set(servers[0])[2] == read_set(servers[1])[2] == 2
    assert servers[0].get(GUN, "targets.json").data == servers[1].get(GUN, "targets.json").data


def test_deletion_at_one_server_is_deletion_at_the_other(servers: Pair) -> None:
    servers[0].published(GUN)
    assert servers[1].request("DELETE", tuf(GUN, "")).status_code == 200
    assert servers[0].get(GUN, "timestamp.json").status_code == 404
    again: Collection = servers[1].published(GUN)
    assert servers[0].get(GUN, "root.json").data == again.files[ROOT]


def test_the_changefeed_is_one_and_in_the_order_of_the_changes(servers: Pair) -> None:
    collection = servers[0].published(GUN)
    for number in range(2, 6):
        assert servers[number % 2].upload(GUN, [("targets", collection.targets())]).status_code == 200
    servers[1].request("DELETE", tuf(GUN, ""))
    for server in servers:
        records = json.loads(server.request("GET", "/v2/_trust/changefeed?records=99").data)["records"]
        assert [record["Version"] for record in records] == [1, 2, 3, 4, 5, 0]
        assert [record["Category"] for record in records] == ["update"] * 5 + ["deletion"]
        assert [record["SHA256"] == "" for record in records] == [False] * 5 + [True]
        numbers = [int(record["ID"]) for record in records]
        assert numbers == sorted(set(numbers))


def test_collections_whose_names_differ_in_case_alone_are_two(servers: Pair) -> None:
    server = servers[0]
    upper, lower = server.published("reg/App", {"v1": b"upper"}), server.published("reg/app", {"v1": b"lower"})
    for collection in (upper, lower):
        assert server.get(collection, "targets.json").data == collection.files[TARGETS]
    server.request("DELETE", tuf("reg/App", ""))
    assert server.get(upper, "targets.json").status_code == 404
    assert server.get(lower, "root.json").data == lower.files[ROOT]


def test_a_writer_that_waited_for_another_sees_what_that_one_wrote(servers: Pair) -> None:
    gun, second = Gun(GUN), Event()
    with servers[0].database.write() as session:
        Store(session).put_all(gun, {TIMESTAMP: (1, b"1")}, NOW, after=None)

    def late() -> None:
        with servers[1].database.write() as session:
            second.set()
            Store(session).put_all(gun, {TIMESTAMP: (2, b"late")}, NOW, after=1)

    with ThreadPoolExecutor(1) as pool:
        with servers[0].database.write() as session:
            Store(session).put_all(gun, {TIMESTAMP: (2, b"2")}, NOW, after=1)
            waiting = pool.submit(late)
            second.wait(0.3)
        with pytest.raises(LostRaceError):
            waiting.result()
    with servers[1].database.read() as session:
        found = Store(session).by_version(gun, TIMESTAMP, 2)
        assert found is not None
        assert found.data == b"2"


def test_files_of_every_length_and_byte_are_stored_as_they_came(servers: Pair) -> None:
    gun = Gun(GUN)
    large = bytes(range(256)) * 4096  # a mebibyte; MySQL's plain BLOB ends at 64 KiB
    with servers[0].database.write() as session:
        Store(session).put_all(gun, {TARGETS: (1, large), TIMESTAMP: (1, b"")}, NOW, after=None)
    with servers[1].database.read() as session:
        found = Store(session).by_checksum(gun, TARGETS, hashlib.sha256(large).hexdigest())
        assert found is not None
        assert found.data == large
        assert found.created == NOW
