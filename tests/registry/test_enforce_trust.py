# SPDX-License-Identifier: Apache-2.0
"""Trust data that is missing, late, wrong or new: 403 is "not signed", 503 is "that cannot be told"."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collection import CORRUPTIONS, with_a_foreign_signature
from server.advance import advance
from server.app import create_app as create_server
from server.online import Online
from signerprocess import Tls
from trust.errors import NotFoundError, UnauthorizedError, UnavailableError
from trust.names import SNAPSHOT, Gun, RoleName
from trust.remotekeys import RemoteKeyStore
from world import APP, RELEASES, World, denial, doubt, message


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site with one signed image under the tag 1, and an unsigned one under the tag 2."""
    world = World(tmp_path)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    world.push_image(APP, "2", seed="2")
    return world


def served(world: World, tag: str = "1") -> bool:
    """Whether a consumer gets the tag; a doubt is neither yes nor no."""
    status = world.manifest(APP, tag).status_code
    assert status in (200, 403)
    return status == 200


def reason(world: World, tag: str = "1") -> str:
    """Why nothing can be told of the tag."""
    return str(doubt(world.manifest(APP, tag))["reason"])


def failing(error: Exception) -> Callable[[bytes], bytes]:
    """What a source does that cannot give a file."""

    def fail(_data: bytes) -> bytes:
        raise error

    return fail


MISSING = failing(NotFoundError("there is no such file"))


def test_e20_while_the_notary_server_is_away_nothing_is_served_and_afterwards_all_is_well(world: World) -> None:
    """E20."""
    assert served(world)
    world.source.away = True
    for tag in ("1", "2"):
        answer = world.manifest(APP, tag)
        assert doubt(answer)["reason"] == "UNAVAILABLE"
        assert "does not answer" in message(answer)
    world.source.away = False
    assert served(world)
    assert not served(world, "2")


def test_e20_a_site_without_a_notary_server_serves_nothing(world: World) -> None:
    """E20."""
    world.source = None  # type: ignore[assignment]  # as settings without notary_url make it
    world.restart()
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "UNAVAILABLE"
    assert "no notary server is configured" in message(answer)


def test_e20_a_notary_server_that_refuses_the_registrys_token_decides_nothing(world: World) -> None:
    """E20."""
    world.source.tamper("timestamp", failing(UnauthorizedError("the registry may not read this")))
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "UNAVAILABLE"
    assert "may not read" in message(answer)


def test_e21_without_a_signer_the_timestamp_lives_on_until_it_expires(world: World, tmp_path: Path) -> None:
    """E21."""
    tls = Tls(tmp_path)
    gone = RemoteKeyStore("https://localhost:1", tls.ca, *tls.issue("notary-server"), timeout=1)
    world.server.app = create_server(world.server.settings, keys=gone, clock=lambda: world.now)
    assert served(world)
    world.now += timedelta(days=13)
    assert served(world)
    world.now += timedelta(days=2)
    assert doubt(world.manifest(APP, "1"))["reason"] == "UNAVAILABLE"
    # The signer comes back.
    keys = world.server.keys
    world.server.app = create_server(world.server.settings, keys=keys, clock=lambda: world.now)
    assert served(world)
    gone.close()


def test_e21_a_timestamp_that_is_kept_from_moving_on_is_refused_when_it_expires(world: World) -> None:
    """E21: a frozen mirror."""
    frozen = world.server.get(world.collection(APP), "timestamp.json", headers=world.token(APP, user="x")).data
    world.source.tamper("timestamp", lambda _: frozen)
    world.now += timedelta(days=13)
    assert served(world)
    world.now += timedelta(days=2)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert "timestamp expired at" in message(answer)
    world.source.tamper("timestamp", None)
    assert served(world)


def test_e22_expired_targets_decide_nothing(world: World) -> None:
    """E22."""
    collection = world.collection(APP)
    collection.targets(expires=world.now + timedelta(days=30))
    world.upload(APP, "targets")
    assert served(world)
    world.now += timedelta(days=31)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert "targets expired at" in message(answer)
    world.collection(APP).targets()
    world.upload(APP, "targets")
    assert served(world)


def test_e22_an_expired_delegation_says_neither_yes_nor_no_and_is_named(world: World) -> None:
    """E22."""
    collection = world.collection(APP)
    collection.targets(role=RELEASES, expires=world.now + timedelta(days=30))
    world.upload(APP, RELEASES)
    world.now += timedelta(days=31)
    for tag in ("1", "2"):
        answer = world.manifest(APP, tag)
        assert doubt(answer)["reason"] == "EXPIRED"
        assert "targets/releases cannot be verified" in message(answer)
    digest = world.push_image(APP, "1")
    assert doubt(world.manifest(APP, digest))["digest"] == digest
    assert doubt(world.blob(APP, world.blobs(digest)[0]))["reason"] == "EXPIRED"


def test_e22_an_expired_delegation_kills_only_what_is_below_it(world: World) -> None:
    """E22: what targets itself signs is still pullable."""
    collection = world.collection(APP)
    collection.targets(role=RELEASES, expires=world.now + timedelta(days=30))
    world.upload(APP, RELEASES)
    two = world.push_image(APP, "2", seed="2")
    world.publish(APP, {"2": two}, role="targets")
    world.now += timedelta(days=31)
    assert served(world, "2")
    assert reason(world, "1") == "EXPIRED"


def test_e22_below_an_expired_delegation_nothing_is_known(tmp_path: Path) -> None:
    """E22: not even that there is no signature."""
    world = World(tmp_path, trust_roles=("targets/team/releases",))
    world.publish(APP, {"x": world.push_image(APP, "x")}, role="targets/team")
    world.publish(APP, {"1": world.push_image(APP, "1", seed="1")}, role="targets/team/releases")
    assert served(world)
    world.collection(APP).targets(role="targets/team", expires=world.now + timedelta(days=30))
    world.upload(APP, "targets/team")
    world.now += timedelta(days=31)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert "targets/team expired" in message(answer)


def test_an_expired_root_decides_nothing_until_there_is_a_new_one(world: World) -> None:
    collection = world.collection(APP)
    collection.root(expires=world.now + timedelta(days=5))
    world.upload(APP, "root")
    assert served(world)
    world.now += timedelta(days=6)
    assert reason(world) == "EXPIRED"
    world.collection(APP).root()
    world.upload(APP, "root")
    assert served(world)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", RELEASES])
def test_tampered_trust_data_decides_nothing(world: World, role: str) -> None:
    for name, corruption in CORRUPTIONS.items():
        world.source.tamper(role, corruption)
        # Signed or not: both would be a guess.
        for tag in ("1", "2"):
            assert reason(world, tag) in ("THRESHOLD", "FORMAT", "HASH", "SIZE", "KEY_ID"), name
    world.source.tamper(role, None)
    assert served(world)
    assert not served(world, "2")


def test_a_root_that_was_tampered_with_is_not_believed_at_first_use(world: World) -> None:
    world.source.tamper("root", with_a_foreign_signature)
    assert reason(world) == "THRESHOLD"
    world.source.tamper("root", None)
    assert served(world)


def test_other_bytes_than_the_snapshot_names_decide_nothing(world: World) -> None:
    old = world.collection(APP).files[RELEASES]  # type: ignore[index]  # well signed, and replaced
    world.revoke(APP, "1")
    world.source.tamper(RELEASES, lambda _: old)
    assert reason(world) in ("HASH", "SIZE")


def test_trust_data_that_goes_back_is_not_believed(world: World) -> None:
    old = world.server.get(world.collection(APP), "timestamp.json", headers=world.token(APP, user="x")).data
    world.revoke(APP, "1")
    assert not served(world)
    world.source.tamper("timestamp", lambda _: old)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "ROLLBACK"
    world.restart()
    assert reason(world) == "ROLLBACK"
    world.source.tamper("timestamp", None)
    assert not served(world)


def test_a_file_that_signed_metadata_names_and_the_server_lacks_decides_nothing(world: World) -> None:
    for role in ("snapshot", "targets", RELEASES):
        world.source.tamper(role, MISSING)
        assert reason(world) == "UNAVAILABLE"
        world.source.tamper(role, None)
    assert served(world)


def test_e25_a_removed_signers_kept_signatures_do_not_count(world: World) -> None:
    """E25."""
    assert served(world)
    collection = world.collection(APP)
    collection.revoke(RELEASES)
    collection.targets()
    world.upload(APP, "targets")
    assert denial(world.manifest(APP, "1"))["reason"] == "UNSIGNED"


def test_e25_a_delegation_that_got_new_keys_must_be_signed_by_them(world: World) -> None:
    """E25."""
    assert served(world)
    collection = world.collection(APP)
    collection.revoke(RELEASES)
    collection.delegation(RELEASES)
    collection.targets()
    world.upload(APP, "targets")
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "THRESHOLD"
    assert "targets/releases cannot be verified" in message(answer)
    collection.targets(role=RELEASES)
    world.upload(APP, RELEASES)
    assert served(world)


def test_e29_a_rotated_root_is_followed_over_many_versions(world: World) -> None:
    """E29."""
    assert served(world)
    for _ in range(4):
        world.collection(APP).rotate("root")
        world.collection(APP).root()
        world.upload(APP, "root")
    assert served(world)
    world.restart()
    assert served(world)
    assert not served(world, "2")


def test_e29_a_gap_in_the_chain_of_roots_is_not_jumped_over(world: World) -> None:
    """E29."""
    assert served(world)
    for _ in range(3):
        world.collection(APP).rotate("root")
        world.collection(APP).root()
        world.upload(APP, "root")
    world.source.tamper("3.root", MISSING)
    assert reason(world) == "ROTATION"
    world.source.tamper("3.root", None)
    assert served(world)


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_a_rotated_server_key_is_followed(world: World, role: str) -> None:
    assert served(world)
    collection = world.collection(APP)
    before = collection.keys(role)
    collection.hand_over(role, world.server.keys.create(collection.gun, RoleName(role), "ecdsa"))
    assert collection.keys(role) != before
    collection.root()
    world.upload(APP, "root")
    assert served(world)
    world.revoke(APP, "1")
    assert not served(world)


def test_a_snapshot_key_that_goes_from_its_owner_to_the_server_is_followed(world: World) -> None:
    collection = world.collection(APP)
    collection.rotate("snapshot")
    collection.root()
    collection.snapshot(version=world.server.file(collection, "snapshot").signed.version + 1)
    world.upload(APP, "root", "snapshot")
    assert served(world)
    collection.hand_over("snapshot", world.server.keys.create(collection.gun, SNAPSHOT, "ecdsa"))
    collection.root()
    world.upload(APP, "root")
    assert served(world)


def test_e30_a_clock_that_is_off_by_some_hours_does_not_matter(world: World) -> None:
    """E30."""
    published = world.now
    for hours in (-12, -1, 1, 12):
        world.now = published + timedelta(hours=hours)
        assert served(world)
        assert not served(world, "2")


def test_e30_the_last_second_of_a_timestamp_is_before_its_expiry(world: World) -> None:
    """E30."""
    frozen = world.server.get(world.collection(APP), "timestamp.json", headers=world.token(APP, user="x")).data
    world.source.tamper("timestamp", lambda _: frozen)
    expires: datetime = world.server.file(world.collection(APP), "timestamp").signed.expires
    world.now = expires - timedelta(seconds=1)
    assert served(world)
    world.now = expires
    assert reason(world) == "EXPIRED"


def test_what_was_verified_is_not_fetched_again(world: World) -> None:
    assert served(world)
    asked = world.source.asked
    for _ in range(3):
        assert served(world)
    assert world.source.asked == asked + 3  # the timestamp, each time


def test_e39_what_is_published_counts_from_the_next_request(world: World) -> None:
    """E39, as far as one process goes: nothing is believed for a while."""
    for _ in range(3):
        world.revoke(APP, "1")
        assert not served(world)
        world.publish(APP, {"1": world.push_image(APP, "1")})
        assert served(world)


def test_e28_trust_data_that_was_deleted_and_made_anew_is_refused_until_an_administrator_forgets(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """AUTH-A09, E28: whoever may write to a repository must not become its signer."""
    assert served(world)
    world.delete_trust_data(APP)
    assert denial(world.manifest(APP, "1"))["reason"] == "UNSIGNED"
    evil = world.push_image(APP, "1", seed="evil")
    world.publish(APP, {"1": evil})  # a new root, by other keys
    for _ in range(2):
        answer = world.manifest(APP, "1")
        assert doubt(answer)["reason"] == "ROTATION"
        assert doubt(world.manifest(APP, evil))["reason"] == "ROTATION"
        assert doubt(world.blob(APP, world.blobs(evil)[0]))["reason"] == "ROTATION"
        world.restart()
    # More versions than the old root had do not help either.
    world.collection(APP).rotate("root")
    world.collection(APP).root()
    world.upload(APP, "root")
    assert reason(world) == "ROTATION"
    assert world.command("forget", APP) == 0
    assert capsys.readouterr().out == f"localhost:5000/{APP}: forgotten\n"
    assert served(world)


def test_e28_the_old_keys_cannot_begin_again_from_lower_versions(world: World) -> None:
    """E28: an old state that is well signed is a rollback, whoever uploads it after a deletion."""
    collection = world.collection(APP)
    first = dict(collection.files)
    two = world.push_image(APP, "1", seed="two")
    world.publish(APP, {"1": two})
    world.collection(APP).root()
    world.upload(APP, "root")
    assert served(world)
    world.delete_trust_data(APP)
    collection.files.update(first)
    world.collections[APP] = collection
    world.upload(APP, "root", "targets", RELEASES)
    assert reason(world) == "ROLLBACK"


def test_t30_a_notary_server_restored_from_a_backup_is_refused_until_it_is_ahead_again(
    world: World, tmp_path: Path
) -> None:
    assert served(world)
    backup = tmp_path / "backup.db"
    _copy(tmp_path / "server.db", backup)
    for _ in range(2):  # no publish: the server alone goes on
        world.now += timedelta(days=8)
        assert served(world)
    _copy(backup, tmp_path / "server.db")
    for _ in range(2):
        assert reason(world) == "ROLLBACK"
        assert "timestamp version 2 is lower than current version 3" in message(world.manifest(APP, "1"))
        world.restart()
    online = Online(world.server.keys)
    advance(world.server.database, online, Gun(world.gun(APP)), 1000, world.now)
    assert served(world)


def test_t30_what_was_signed_after_the_backup_must_come_back_before_anything_is_served(
    world: World, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    _copy(tmp_path / "server.db", backup)
    two = world.push_image(APP, "1", seed="two")
    world.publish(APP, {"1": two})
    assert served(world)
    _copy(backup, tmp_path / "server.db")
    advance(world.server.database, Online(world.server.keys), Gun(world.gun(APP)), 1000, world.now)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "ROLLBACK"
    assert "targets/releases version 1 is lower than current version 2" in message(answer)
    world.upload(APP, RELEASES)  # the very file, from whoever has it
    assert served(world)
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == two


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def _pin(world: World, *key_ids: str) -> None:
    options = [option for key_id in key_ids for option in ("--pin", key_id)]
    assert world.command("policy", APP, *options) == 0


def test_e28_pins_bind_before_the_first_signature_and_after_forgetting(world: World) -> None:
    """E28."""
    owner = world.collections[APP].keys("root")[0].keyid
    _pin(world, owner)
    assert served(world)
    world.delete_trust_data(APP)
    world.publish(APP, {"1": world.push_image(APP, "1", seed="evil")})
    assert reason(world) == "ROTATION"
    assert world.command("forget", APP) == 0
    assert reason(world) == "PIN"
    _pin(world, owner, world.collections[APP].keys("root")[0].keyid)  # the administrator agrees
    assert served(world)


def test_e28_a_pin_that_is_set_later_binds_the_root_that_was_believed_before(world: World) -> None:
    """E28."""
    assert served(world)
    _pin(world, "0" * 64)
    assert reason(world) == "PIN"
    assert world.command("policy", APP, "--default") == 0
    assert served(world)


def test_e28_a_pin_may_be_the_id_of_the_bare_key(world: World) -> None:
    """E28: as key files are named."""
    _pin(world, world.collections[APP].keys("root")[0].canonical_id)
    assert served(world)


def test_a_first_root_that_cannot_be_had_decides_nothing_for_later(world: World) -> None:
    for error, status in ((UnavailableError("no root now"), 503), (NotFoundError("no root"), 403)):
        world.source.tamper("root", failing(error))
        assert world.manifest(APP, "1").status_code == status
        world.source.tamper("root", None)
    assert served(world)
