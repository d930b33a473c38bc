# SPDX-License-Identifier: Apache-2.0
"""What a publisher's process keeps of a collection is used only while it is still so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import server.footing
from notaryserver import NOW, NotaryServer, refusal, tuf
from server.footing import Footings
from trust.keystore import MemoryKeyStore
from trust.names import ROOT, TARGETS, TIMESTAMP, Gun, RoleName

GUN = Gun("localhost:5000/library/app")
Replicas = tuple[NotaryServer, NotaryServer]


@pytest.fixture
def replicas(tmp_path: Path, database_url: str) -> Iterator[Replicas]:
    keys = MemoryKeyStore(clock=lambda: NOW)
    pair = [NotaryServer(tmp_path, keys=keys, database_url=database_url) for _ in range(2)]
    yield pair[0], pair[1]
    for each in pair:
        each.close()


def test_a_publisher_builds_upon_what_another_replica_has_published_meanwhile(replicas: Replicas) -> None:
    here, there = replicas
    collection = here.published(GUN)
    for version, replica in enumerate((here, there, there, here, here, there), start=2):
        collection.targets({f"v{version}": b"x"})
        assert replica.publish(collection, "targets").status_code == 200
        assert here.file(GUN, "timestamp").signed.version == version
    stale = collection.targets({"stale": b"x"})
    collection.rotate("targets")
    collection.root()
    assert there.publish(collection, "root").status_code == 200
    assert refusal(here.upload(GUN, [("targets", stale)]))[0] == "ErrBadTargets"
    collection.targets({"fresh": b"x"})
    assert here.publish(collection, "targets").status_code == 200
    (keyid,) = here.file(GUN, "targets").signatures
    assert keyid == collection.keys("targets")[0].keyid


def test_a_name_that_was_given_up_at_another_replica_belongs_to_its_new_owner_here(replicas: Replicas) -> None:
    here, there = replicas
    before = here.published(GUN)
    assert there.request("DELETE", tuf(GUN, "")).status_code == 200
    after = there.published(GUN)
    before.targets({"v2": b"x"})
    assert refusal(here.publish(before, "targets"))[0] == "ErrBadTargets"
    after.targets({"v2": b"x"})
    assert here.publish(after, "targets").status_code == 200


def test_a_delegation_is_judged_by_its_ancestors_however_long_they_are(replicas: Replicas) -> None:
    here, there = replicas
    collection = here.published(GUN)
    role = RoleName("targets/releases")
    collection.delegation(role)
    for count in (1, 1000):  # kept, and too long to be kept
        collection.targets({f"v{number}": b"x" for number in range(count)})
        assert (len(collection.files[TARGETS]) > server.footing.MAX_FILE) == (count == 1000)
        assert here.publish(collection, "targets").status_code == 200
        for _ in range(2):
            collection.targets({"v1": b"x"}, role=role)
            assert here.publish(collection, role).status_code == 200
    stale = collection.targets({"stale": b"x"}, role=role)
    collection.delegation(role)  # to another key
    collection.targets()
    assert there.publish(collection, "targets").status_code == 200
    assert refusal(here.upload(GUN, [(role, stale)]))[0] == "ErrBadTargets"


def test_a_renewed_timestamp_is_built_upon(replicas: Replicas) -> None:
    here, there = replicas
    collection = here.published(GUN)
    here.now += timedelta(days=8)
    there.now = here.now
    assert there.file(GUN, "timestamp").signed.version == 2
    collection.targets({"v2": b"x"})
    assert here.publish(collection, "targets").status_code == 200
    assert here.file(GUN, "timestamp").signed.version == 3


def test_no_more_is_kept_than_the_limit_and_the_last_collections_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notary = NotaryServer(tmp_path)
    collections = [notary.published(f"reg/app{number}") for number in range(4)]
    footings = Footings(notary.database)

    def keep(number: int) -> None:
        files = [notary.file(collections[number], role) for role in ("root", "snapshot", "targets", "timestamp")]
        root, snapshot, targets, timestamp = files
        version = (timestamp.signed.version, timestamp.sha256)
        gun = Gun(collections[number].gun)
        footings.keep(gun, version, root, snapshot, {TARGETS: targets.to_bytes(), RoleName("targets/gone"): b"x"})

    keep(0)
    one = footings.size
    keep(0)
    assert footings.size == one
    monkeypatch.setattr(server.footing, "MAX_BYTES", 2 * one + one // 2)
    for number in (1, 2, 3):
        keep(number)
        assert footings.size <= server.footing.MAX_BYTES
    assert [footings.kept(Gun(each.gun), [TARGETS]) is not None for each in collections] == [False, False, True, True]
    found = footings.kept(Gun(collections[3].gun), [TARGETS, ROOT, TIMESTAMP, RoleName("targets/gone")])
    assert found is not None
    assert found.current(TARGETS) == collections[3].files[TARGETS]
    assert found.current(RoleName("targets/gone")) is None
    assert found.newest == {TARGETS: 1, ROOT: 1, "targets/gone": 0}
    with notary.database.write() as session:
        # As if somebody had put other bytes into the table.
        session.connection().exec_driver_sql("UPDATE tuf_files SET sha256 = 'x' WHERE role = 'timestamp'")
    assert footings.kept(Gun(collections[3].gun), [TARGETS]) is None
