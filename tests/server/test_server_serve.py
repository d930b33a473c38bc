# SPDX-License-Identifier: Apache-2.0
"""Reading what is current: renewal at half of life, and what happens when it cannot be done."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from collection import Collection
from notaryserver import NOW, NotaryServer, error
from trust.chain import check_described, check_root, check_signatures
from trust.errors import UnavailableError
from trust.keys import NotaryKey, NotarySignature
from trust.keystore import MemoryKeyStore
from trust.metadata import parse_root
from trust.names import SNAPSHOT, TIMESTAMP, Gun, RoleName

GUN = "localhost:5000/library/app"
YEAR = timedelta(days=365)


class Signer(MemoryKeyStore):
    """A signer that can go away, and counts what it is asked."""

    away = False
    asked = 0

    def find(self, gun: Gun, role: RoleName, key_ids: Iterable[str]) -> list[NotaryKey]:
        self.asked += 1
        if self.away:
            raise UnavailableError("the signer does not answer")
        return super().find(gun, role, key_ids)

    def sign(self, gun: Gun, role: RoleName, key_id: str, payload: bytes) -> NotarySignature:
        if self.away:
            raise UnavailableError("the signer does not answer")
        return super().sign(gun, role, key_id, payload)


class Served(NotaryServer):
    """A server whose signer can be sent away."""

    def __init__(self, folder: Path) -> None:
        self.signer = Signer(clock=lambda: self.now)
        super().__init__(folder, keys=self.signer)


@pytest.fixture
def server(tmp_path: Path) -> Served:
    return Served(tmp_path)


def version(server: NotaryServer, role: str) -> int:
    number: int = server.file(GUN, role).signed.version
    return number


def test_a_fresh_timestamp_is_served_as_it_is(server: Served) -> None:
    # NOTARY_V1 §3.3, 3
    server.published(GUN)
    asked = server.signer.asked
    server.now += timedelta(days=6, hours=23)
    assert version(server, "timestamp") == 1
    assert version(server, "snapshot") == 1
    assert server.signer.asked == asked


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a_timestamp_is_renewed_at_half_of_its_life(server: Served, role: str) -> None:
    collection = server.published(GUN)
    server.now += timedelta(days=7, minutes=1)
    assert server.get(GUN, f"{role}.json").status_code == 200
    timestamp = server.file(GUN, "timestamp")
    assert timestamp.signed.version == 2
    assert timestamp.signed.expires == server.now.replace(microsecond=0) + timedelta(days=14)
    assert version(server, "snapshot") == 1  # it is still good, and still named
    check_signatures(parse_root(collection.files[RoleName("root")]).signed, timestamp)
    assert server.get(GUN, "timestamp.json").headers["Last-Modified"] == "Tue, 01 Dec 2026 08:01:00 GMT"


def test_a_head_request_renews_too(server: Served) -> None:
    server.published(GUN)
    server.now += timedelta(days=8)
    response = server.request("HEAD", f"/v2/{GUN}/_trust/tuf/timestamp.json")
    assert (response.status_code, response.data) == (200, b"")
    assert version(server, "timestamp") == 2


def test_other_roles_and_named_files_are_served_without_renewal(server: Served) -> None:
    collection = server.published(GUN)
    server.now += timedelta(days=8)
    for file in ("root.json", "targets.json", "1.timestamp.json", "1.root.json"):
        assert server.get(GUN, file).status_code == 200
    assert server.get(GUN, "2.timestamp.json").status_code == 404
    assert server.get(GUN, "root.json").data == collection.files[RoleName("root")]


def test_a_snapshot_is_renewed_at_half_of_its_life_and_named_by_a_new_timestamp(server: Served) -> None:
    # NOTARY_V1 §3.3, 2
    server.published(GUN)
    targets = server.file(GUN, "snapshot").signed.meta["targets"].hashes
    server.now += YEAR + YEAR / 2
    version(server, "timestamp")
    assert version(server, "snapshot") == 2  # at exactly half
    snapshot = server.file(GUN, "snapshot")
    assert snapshot.signed.expires == server.now.replace(microsecond=0) + 3 * YEAR
    assert snapshot.signed.meta["targets"].hashes == targets
    check_described(SNAPSHOT, snapshot.to_bytes(), server.file(GUN, "timestamp").signed.snapshot_meta)


def test_an_expired_timestamp_is_renewed(server: Served) -> None:
    # NOTARY_V1 §3.3, 4
    server.published(GUN)
    server.now += timedelta(days=100)
    assert version(server, "timestamp") == 2


def test_each_renewal_is_in_the_changefeed(server: Served) -> None:
    # NOTARY_V1 §2.5, §3.3
    server.published(GUN)
    server.now += timedelta(days=8)
    version(server, "timestamp")
    feed = server.request("GET", f"/v2/{GUN}/_trust/changefeed?records=10").data
    assert feed.count(b'"Category":"update"') == 2


def test_a_signer_that_is_away_does_not_stop_readers_of_a_valid_timestamp(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    server.published(GUN)
    server.now += timedelta(days=8)
    server.signer.away = True
    with caplog.at_level(logging.WARNING):
        assert version(server, "timestamp") == 1
    assert f"{GUN}: the timestamp is due and cannot be renewed: the signer does not answer" in caplog.text
    # It is not asked again at once, but after a while.
    asked = server.signer.asked
    for _ in range(5):
        assert version(server, "timestamp") == 1
    assert server.signer.asked == asked
    server.now += timedelta(minutes=2)
    server.signer.away = False
    assert version(server, "timestamp") == 2


def test_an_expired_timestamp_without_signer_is_unavailable_with_the_reason(server: Served) -> None:
    server.published(GUN)
    server.now += timedelta(days=15)
    server.signer.away = True
    for role in ("timestamp", "snapshot"):
        response = server.get(GUN, f"{role}.json")
        assert error(response)[:2] == (503, "UNAVAILABLE")
        (entry,) = response.get_json()["errors"]
        assert entry["message"] == (
            "the timestamp expired at Tue Dec 8 08:00:00 UTC 2026 and cannot be renewed: the signer does not answer"
        )
        assert response.headers["Retry-After"] == "5"
    server.signer.away = False
    assert version(server, "timestamp") == 2  # at once: an expired file has no pause


def short_lived(server: NotaryServer, **days: int) -> Collection:
    """A collection whose root or own snapshot ends early."""
    collection = server.collection(GUN, snapshot="snapshot" not in days)
    collection.root(expires=NOW + timedelta(days=days.get("root", 3650)))
    collection.targets({"v1": b"manifest"})
    roles = ["root", "targets"]
    if "snapshot" in days:
        collection.snapshot(expires=NOW + timedelta(days=days["snapshot"]))
        roles.append("snapshot")
    assert server.publish(collection, *roles).status_code == 200
    return collection


def test_an_expired_root_renews_nothing(server: Served) -> None:
    # NOTARY_V1 §3.3, 4 and 5
    short_lived(server, root=10)
    server.now += timedelta(days=11)
    assert version(server, "timestamp") == 1  # still valid, so it is served
    server.now += timedelta(days=4)
    response = server.get(GUN, "timestamp.json")
    assert error(response)[:2] == (503, "UNAVAILABLE")
    assert b"cannot be renewed: root expired at Fri Dec 4 08:00:00 UTC 2026" in response.data
    assert server.get(GUN, "root.json").status_code == 200


def test_a_publishers_own_snapshot_lives_as_long_as_it_says(server: Served) -> None:
    collection = short_lived(server, snapshot=30)
    server.now += timedelta(days=8)
    assert version(server, "timestamp") == 2
    assert server.get(GUN, "snapshot.json").data == collection.files[SNAPSHOT]
    server.now += timedelta(days=25)
    response = server.get(GUN, "timestamp.json")
    assert error(response)[:2] == (503, "UNAVAILABLE")
    assert b"the snapshot expired at Thu Dec 24 08:00:00 UTC 2026 and cannot be renewed" in response.data
    collection.now = server.now
    collection.snapshot()
    assert server.publish(collection, "snapshot").status_code == 200
    assert version(server, "timestamp") == 3


def test_a_publishers_snapshot_past_half_of_its_life_costs_one_question_a_minute(server: Served) -> None:
    short_lived(server, snapshot=400)
    asked = server.signer.asked
    for _ in range(5):
        assert version(server, "timestamp") == 1
    assert server.signer.asked - asked == 1


def test_of_many_readers_of_an_expired_timestamp_one_renews_and_all_get_the_same(server: Served) -> None:
    server.published(GUN)
    server.now += timedelta(days=20)
    barrier = Barrier(8)
    answers: list[tuple[int, bytes]] = []

    def read() -> None:
        barrier.wait()
        response = server.get(GUN, "timestamp.json")
        answers.append((response.status_code, response.data))

    threads = [Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert set(answers) == {(200, server.get(GUN, "timestamp.json").data)}
    assert version(server, "timestamp") == 2


def test_a_reader_gets_files_that_fit_together_while_others_publish(server: Served) -> None:
    # NOTARY_V1 §2.1
    collection = server.published(GUN)
    old = {role: server.get(GUN, f"{role}.json").data for role in ("timestamp", "snapshot", "targets")}
    collection.targets({"v2": b"x"})
    assert server.publish(collection, "targets").status_code == 200
    # Who holds the old timestamp still finds all that it leads to.
    for role, data in old.items():
        digest = _sha256(data)
        assert server.get(GUN, f"{role}.{digest}.json").data == data
    root = parse_root(server.get(GUN, "root.json").data)
    check_root(root, Gun(GUN), server.now)
    snapshot = server.file(GUN, "snapshot")
    check_described(SNAPSHOT, snapshot.to_bytes(), server.file(GUN, "timestamp").signed.snapshot_meta)
    check_described(RoleName("targets"), server.get(GUN, "targets.json").data, snapshot.signed.meta["targets"])


def test_a_role_that_the_snapshot_does_not_name_is_not_found(server: Served) -> None:
    # The reference answers 500 here (NOTARY_V1 §2.1).
    server.published(GUN)
    assert error(server.get(GUN, "targets/none.json")) == (404, "METADATA_NOT_FOUND", {})


def test_the_keys_in_use_are_given_out_until_a_root_names_others(server: Served) -> None:
    # NOTARY_V1 §2.3
    collection = server.published(GUN)
    for role in (TIMESTAMP, SNAPSHOT):
        (used,) = collection.keys(role)
        pending = server.request("POST", f"/v2/{GUN}/_trust/tuf/{role}.key").get_data()
        assert server.request("POST", f"/v2/{GUN}/_trust/tuf/{role}.key").get_data() == pending
        assert used.keyval["public"].encode() in server.get(GUN, f"{role}.key").data
        assert used.keyval["public"].encode() not in pending


def _sha256(data: bytes) -> str:

    return hashlib.sha256(data).hexdigest()
