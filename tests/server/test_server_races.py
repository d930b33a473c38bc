# SPDX-License-Identifier: Apache-2.0
"""Many publishers at once, and publishers against those who rotate and delete (T19-T21)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from collection import Collection
from notaryserver import NOW, NotaryServer, error, tuf
from server.models import ChangeRow, TufFileRow
from trust.keys import NotarySignature
from trust.keystore import MemoryKeyStore
from trust.metadata import parse_snapshot, parse_timestamp
from trust.names import TIMESTAMP, Gun, RoleName

GUN = "localhost:5000/library/app"


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[NotaryServer]:
    server = NotaryServer(tmp_path, database_url=database_url)
    yield server
    server.close()


def together(acts: list[Callable[[], TestResponse]]) -> list[TestResponse]:
    """Do all of these at the same time."""
    barrier = Barrier(len(acts))
    answers: list[TestResponse | None] = [None] * len(acts)

    def run(index: int) -> None:
        barrier.wait()
        answers[index] = acts[index]()

    threads = [Thread(target=run, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]


def outcomes(answers: list[TestResponse]) -> Counter[str]:
    """How often each answer came: `200`, or an error's code."""
    return Counter("200" if answer.status_code == 200 else error(answer)[1] for answer in answers)


def assert_consistent(server: NotaryServer, gun: str) -> None:
    """Every stored timestamp names a stored snapshot, and that one stored files; versions have no gap."""
    with server.database.read() as session:
        rows = session.execute(
            select(TufFileRow.role, TufFileRow.version, TufFileRow.data, TufFileRow.sha256).where(
                TufFileRow.gun == gun
            )
        ).all()
        changes = session.scalar(select(func.count()).select_from(ChangeRow).where(ChangeRow.gun == gun))
    stored = {(role, sha256): data for role, _, data, sha256 in rows}
    assert all(hashlib.sha256(data).hexdigest() == sha256 for (_, sha256), data in stored.items())
    timestamps = sorted(version for role, version, _, _ in rows if role == TIMESTAMP)
    assert timestamps == list(range(1, len(timestamps) + 1))
    assert changes == len(timestamps)
    for role, _, data, _ in rows:
        if role == "timestamp":
            named = {"snapshot": parse_timestamp(data).signed.snapshot_meta}
        elif role == "snapshot":
            named = parse_snapshot(data).signed.meta
        else:
            continue
        for name, entry in named.items():
            assert entry.hashes is not None
            assert (name, entry.hashes["sha256"]) in stored


def test_t19_of_twenty_publishers_of_one_version_one_wins(server: NotaryServer) -> None:
    # NOTARY_V1 §3.4, concurrency
    collection = server.published(GUN)
    uploads = [collection.targets({"v2": b"%d" % number}, version=2) for number in range(20)]
    answers = together([partial(server.upload, GUN, [("targets", data)]) for data in uploads])
    assert outcomes(answers) == {"200": 1, "VERSION": 19}
    (winner,) = [data for data, answer in zip(uploads, answers, strict=True) if answer.status_code == 200]
    assert server.get(GUN, "targets.json").data == winner
    assert server.file(GUN, "timestamp").signed.version == 2
    assert_consistent(server, GUN)


def test_t19_of_twenty_first_publishers_one_owns_the_name(server: NotaryServer) -> None:
    collections = [server.collection(GUN) for _ in range(20)]
    for collection in collections:
        collection.root()
        collection.targets({"v1": b"manifest"})
    answers = together([partial(server.publish, c, "root", "targets") for c in collections])
    counted = outcomes(answers)
    # The others see a root that is not theirs, or that somebody was first.
    assert counted["200"] == 1
    assert counted["VERSION"] + counted["INVALID_UPDATE"] == 19
    assert_consistent(server, GUN)


def test_publishers_of_different_roles_all_succeed(server: NotaryServer) -> None:
    collection = server.published(GUN)
    roles = [f"targets/signer{number}" for number in range(6)]
    for role in roles:
        collection.delegation(role)
    collection.targets()
    assert server.publish(collection, "targets").status_code == 200
    for role in roles:
        collection.targets({"v1": b"manifest"}, role=role)
    answers = together([partial(server.publish, collection, role) for role in roles])
    assert outcomes(answers) == {"200": 6}
    for role in roles:
        assert server.get(GUN, f"{role}.json").data == collection.files[RoleName(role)]
    assert_consistent(server, GUN)


def test_publishers_of_different_collections_do_not_meet(server: NotaryServer) -> None:
    collections = [server.collection(f"reg/app{number}") for number in range(8)]
    for collection in collections:
        collection.root()
        collection.targets({"v1": b"manifest"})
    answers = together([partial(server.publish, c, "root", "targets") for c in collections])
    assert outcomes(answers) == {"200": 8}
    for collection in collections:
        assert_consistent(server, collection.gun)


class Interrupted(MemoryKeyStore):
    """Lets something happen while the server waits for a signature of a timestamp."""

    meanwhile: Callable[[], object] | None = None

    def sign(self, gun: Gun, role: RoleName, key_id: str, payload: bytes) -> NotarySignature:
        if self.meanwhile is not None and role == TIMESTAMP:
            act, self.meanwhile = self.meanwhile, None
            act()
        return super().sign(gun, role, key_id, payload)


@pytest.fixture
def keys() -> Interrupted:
    return Interrupted(clock=lambda: NOW)


@pytest.fixture
def interrupted(tmp_path: Path, keys: Interrupted, database_url: str) -> Iterator[NotaryServer]:
    server = NotaryServer(tmp_path, keys=keys, database_url=database_url)
    yield server
    server.close()


def _publish_meanwhile(server: NotaryServer, data: bytes, role: str = "targets") -> Callable[[], None]:
    def act() -> None:
        assert server.upload(GUN, [(role, data)]).status_code == 200

    return act


def test_nothing_is_locked_while_the_signer_is_waited_for(interrupted: NotaryServer, keys: Interrupted) -> None:
    collection = interrupted.published(GUN)
    second, third = collection.targets({"v2": b"2"}), collection.targets({"v3": b"3"})
    keys.meanwhile = _publish_meanwhile(interrupted, second)
    # It began before the second and is made anew on top of it.
    assert interrupted.upload(GUN, [("targets", third)]).status_code == 200
    assert interrupted.get(GUN, "targets.json").data == third
    assert interrupted.file(GUN, "timestamp").signed.version == 3
    assert_consistent(interrupted, GUN)


def test_t20_a_key_rotated_meanwhile_is_obeyed(interrupted: NotaryServer, keys: Interrupted) -> None:
    collection = interrupted.published(GUN)
    stale = collection.targets({"v2": b"x"})
    collection.rotate("targets")
    keys.meanwhile = _publish_meanwhile(interrupted, collection.root(), "root")
    answer = interrupted.upload(GUN, [("targets", stale)])
    status, code, detail = error(answer)
    assert (status, code) == (400, "INVALID_UPDATE")
    assert "ErrBadTargets" in str(detail)
    assert interrupted.get(GUN, "2.targets.json").status_code == 404
    assert_consistent(interrupted, GUN)


def test_t20_a_rotated_timestamp_key_signs_what_is_published_meanwhile(
    interrupted: NotaryServer, keys: Interrupted
) -> None:
    collection = interrupted.published(GUN)
    targets = collection.targets({"v2": b"x"})
    collection.hand_over("timestamp", keys.create(Gun(GUN), TIMESTAMP, "ed25519"))
    keys.meanwhile = _publish_meanwhile(interrupted, collection.root(), "root")
    assert interrupted.upload(GUN, [("targets", targets)]).status_code == 200
    (keyid,) = interrupted.file(GUN, "timestamp").signatures
    assert keyid == collection.keys("timestamp")[0].keyid
    assert_consistent(interrupted, GUN)


def test_t21_what_was_deleted_meanwhile_does_not_come_back_in_part(
    interrupted: NotaryServer, keys: Interrupted
) -> None:
    collection = interrupted.published(GUN)
    data = collection.targets({"v2": b"x"})
    keys.meanwhile = lambda: interrupted.request("DELETE", tuf(GUN, ""))
    answer = interrupted.upload(GUN, [("targets", data)])
    assert error(answer)[:2] == (400, "INVALID_UPDATE")
    with interrupted.database.read() as session:
        assert session.scalar(select(func.count()).select_from(TufFileRow)) == 0


def test_t21_publishers_and_deleters_leave_a_whole_collection_or_none(server: NotaryServer) -> None:
    collection = server.published(GUN)
    uploads = [collection.targets({"v2": b"%d" % number}) for number in range(6)]
    acts: list[Callable[[], TestResponse]] = []
    for data in uploads:
        acts.append(partial(server.upload, GUN, [("targets", data)]))
        acts.append(partial(server.request, "DELETE", tuf(GUN, "")))
    for answer in together(acts):
        assert answer.status_code in (200, 400)
    with server.database.read() as session:
        assert session.scalar(select(func.count()).select_from(TufFileRow)) == 0
    again: Collection = server.published(GUN)
    assert server.get(GUN, "root.json").data == again.files[RoleName("root")]


def test_a_renewal_that_meets_a_publish_gives_way(interrupted: NotaryServer, keys: Interrupted) -> None:
    collection = interrupted.published(GUN)
    interrupted.now += timedelta(days=8)
    keys.meanwhile = _publish_meanwhile(interrupted, collection.targets({"v2": b"x"}))
    assert interrupted.file(GUN, "timestamp").signed.version == 2
    assert interrupted.get(GUN, "targets.json").data == collection.files[RoleName("targets")]
    assert_consistent(interrupted, GUN)
