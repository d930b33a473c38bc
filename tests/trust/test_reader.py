# SPDX-License-Identifier: Apache-2.0
"""A reader believes what honest publishers wrote: the original programs' files, delegations, rotations, updates."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile, Targets

from collection import Collection
from shelf import GOLDEN_NOW, NOW, World, golden, golden_names
from trust.cache import FileCache, MemoryCache
from trust.collection import Collection as Verified
from trust.collection import Target, matches
from trust.errors import (
    ExpiredError,
    FormatError,
    NotFoundError,
    PinError,
    RollbackError,
    SignatureError,
    UnavailableError,
)
from trust.metadata import parse
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.reader import Reader

DAY = timedelta(days=1)
ALICE, BOB = RoleName("targets/alice"), RoleName("targets/bob")


@pytest.fixture(params=["ecdsa", "ed25519"])
def world(request: pytest.FixtureRequest) -> World:
    return World(algorithm=request.param)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# The original programs' files.


def read_golden(name: str) -> Verified:
    vector = golden(name)
    return Reader(vector.gun, vector, MemoryCache(), clock=lambda: GOLDEN_NOW).refresh()


def summary(targets: list[Target]) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(target.role, target.name): tuple(sorted(target.signers)) for target in targets}


@pytest.mark.parametrize("name", [name for name in golden_names() if name != "expired-targets"])
def test_a_reader_believes_every_golden_collection(name: str) -> None:
    vector = golden(name)
    verified = read_golden(name)
    assert verified.gun == vector.gun
    assert verified.skipped == {}
    delegated = {role for meta in verified.roles.values() for role in _children(meta.signed)}
    assert set(verified.roles) == {TARGETS} | {role for role in vector.roles if role in delegated}
    for role, meta in verified.roles.items():
        assert meta.to_bytes() == vector.current[role]
    assert verified.timestamp.to_bytes() == vector.current["timestamp"]
    assert verified.snapshot.to_bytes() == vector.current["snapshot"]
    assert verified.root.to_bytes() == vector.current["root"]


def _children(targets: Targets) -> list[str]:
    return list((targets.delegations.roles or {}) if targets.delegations else {})


RELEASED = "targets/releases"
#: Role and tag to signers, as `docker trust inspect` and `notary list` showed them.
EXPECTED: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "docker-dct-push-targets-only": {("targets", "1"): ()},
    "docker-revoked-all": {},
    "docker-revoked-tag": {(RELEASED, "1"): ("alice",), (RELEASED, "3"): ("alice",)},
    "docker-signed-alice": {(RELEASED, "1"): ("alice",)},
    "docker-signed-alice-bob": {(RELEASED, tag): ("alice", "bob") for tag in "123"},
    "docker-signer-add-init": {},
    "docker-signer-removed": {(RELEASED, tag): ("alice",) for tag in "123"},
    "notary-delegation-removed": {("targets", "v1"): (), (RELEASED, "rel1"): ()},
    "notary-delegations-releases-alice": {("targets", "v1"): (), ("targets", "v2"): (), (RELEASED, "rel1"): ()},
    "notary-ecdsa-only": {("targets", "v1"): (), ("targets", "v2"): ()},
    "notary-init": {},
    "root-rotated-v3": {("targets", "v1"): ()},
    "rot-0-local-snapshot": {("targets", "v1"): ()},
    "rot-1-snapshot-on-server": {("targets", "v1"): ()},
    "rot-2-server-signed-snapshot": {("targets", tag): () for tag in ("v1", "v2")},
    "rot-3-timestamp": {("targets", tag): () for tag in ("v1", "v2")},
    "rot-4-snapshot-back-local": {("targets", tag): () for tag in ("v1", "v2", "v3")},
    "rot-5-targets": {("targets", tag): () for tag in ("v1", "v2", "v3")},
    "rsa-root-and-delegation": {},
}


@pytest.mark.parametrize("name", [name for name in golden_names() if name != "expired-targets"])
def test_golden_targets_have_the_roles_and_signers_that_the_clients_show(name: str) -> None:
    assert summary(list(read_golden(name).targets())) == EXPECTED[name.rpartition("/")[2]]


def test_a_golden_target_has_its_custom_data_and_an_rsa_key_may_sign_one() -> None:
    assert read_golden("notary-ecdsa-only").lookup("v2").custom == {"k": "v"}
    signed = read_golden("ed25519-server-keys/rsa-root-and-delegation").lookup("r1", (RoleName("targets/rsa"),))
    assert signed.signers == ("rsa",)


@pytest.mark.parametrize("name", golden_names())
def test_every_golden_target_has_the_digest_and_length_of_its_file(name: str) -> None:
    if name == "expired-targets":
        return
    verified = read_golden(name)
    for target in verified.targets(tuple(verified.roles)):
        file = verified.roles[target.role].signed.targets[target.name]
        assert target.digest == f"sha256:{file.hashes['sha256']}"
        assert target.length == file.length > 0
        assert verified.is_signed(target.hashes, (target.role,))
        assert GOLDEN_NOW < target.expires <= verified.timestamp.signed.expires


def test_golden_targets_that_had_expired_are_refused_as_expired() -> None:
    with pytest.raises(ExpiredError, match=r"^targets expired at Tue Nov 24 ") as refusal:
        read_golden("expired-targets")
    assert refusal.value.role == "targets"


@pytest.mark.parametrize("prefix", ["", "ed25519-server-keys/"])
def test_a_golden_root_is_followed_from_the_first_to_the_third(prefix: str) -> None:
    vector = golden(prefix + "root-rotated-v3")
    cache = MemoryCache()
    cache.save(vector.gun, ROOT, 1, vector.files["1.root"])
    verified = Reader(vector.gun, vector, cache, clock=lambda: GOLDEN_NOW).refresh()
    assert verified.root.signed.version == 3
    assert cache.load(vector.gun, ROOT) == vector.current["root"]
    assert list(verified.roles[TARGETS].signed.targets)


@pytest.mark.parametrize("prefix", ["", "ed25519-server-keys/"])
def test_golden_rotations_of_online_keys_are_followed_with_one_cache(prefix: str) -> None:
    names = [name for name in golden_names() if name.startswith(f"{prefix}rot-")]
    cache = MemoryCache()
    seen = []
    for name in names:
        vector = golden(name)
        verified = Reader(vector.gun, vector, cache, clock=lambda: GOLDEN_NOW).refresh()
        seen.append((verified.root.signed.version, verified.timestamp.signed.version))
    assert seen == sorted(seen)
    assert len(seen) == (6 if prefix else 4)
    assert seen[-1][0] > seen[0][0]


@pytest.mark.parametrize("names", [
    ["docker-signer-add-init", "docker-signed-alice", "docker-signed-alice-bob", "docker-revoked-tag"],
    ["notary-init", "notary-ecdsa-only", "notary-delegations-releases-alice"],
])  # fmt: skip
def test_a_golden_history_is_followed_and_cannot_be_turned_back(names: list[str]) -> None:
    cache = MemoryCache()
    for name in names:
        vector = golden(name)
        Reader(vector.gun, vector, cache, clock=lambda: GOLDEN_NOW).refresh()
    for name in names[:-1]:
        vector = golden(name)
        with pytest.raises(RollbackError, match="is lower than current version"):
            Reader(vector.gun, vector, cache, clock=lambda: GOLDEN_NOW).refresh()


# Look-ups.


def test_a_signed_tag_has_its_digest_length_and_expiry(world: World) -> None:
    world.publish({"v1": b"manifest", "v2": b"other"})
    target = world.reader().refresh().lookup("v1")
    assert (target.name, target.role, target.digest, target.length) == ("v1", "targets", digest(b"manifest"), 8)
    assert target.signers == ()
    assert target.expires == NOW + 14 * DAY  # the timestamp ends first
    assert target.custom is None


def test_a_tag_that_nobody_signed_is_not_found(world: World) -> None:
    world.publish({"v1": b"manifest"})
    verified = world.reader().refresh()
    for name in ("v2", "", "V1", "v", "v1 "):
        with pytest.raises(NotFoundError, match=f"^No valid trust data for {name}$") as refusal:
            verified.lookup(name)
        assert refusal.value.detail == {"gun": world.made.gun, "roles": ["targets/releases", "targets"]}


def test_releases_wins_over_targets_and_names_the_other_signers(world: World) -> None:
    for role in (RELEASES, ALICE, BOB):
        world.made.delegation(role)
    world.made.root()
    world.made.targets({"v1": b"old", "only-targets": b"x"})
    world.made.targets({"v1": b"new"}, role=RELEASES)
    world.made.targets({"v1": b"new"}, role=ALICE)
    world.made.targets({"v1": b"bobs own"}, role=BOB)
    world.republish()
    verified = world.reader().refresh()
    target = verified.lookup("v1")
    assert (target.role, target.digest, target.signers) == (RELEASES, digest(b"new"), ("alice",))
    assert verified.lookup("v1", (TARGETS, RELEASES)).digest == digest(b"old")
    assert verified.lookup("only-targets").role == TARGETS
    assert summary(list(verified.targets())) == {
        ("targets/releases", "v1"): ("alice",), ("targets", "v1"): (), ("targets", "only-targets"): (),
    }  # fmt: skip


def test_what_only_another_delegation_signed_is_not_found(world: World) -> None:
    world.made.delegation(ALICE)
    world.made.root()
    world.made.targets()
    world.made.targets({"v1": b"x"}, role=ALICE)
    world.republish()
    verified = world.reader().refresh()
    with pytest.raises(NotFoundError):
        verified.lookup("v1")
    assert not verified.is_signed({"sha256": hashlib.sha256(b"x").hexdigest()})
    assert verified.lookup("v1", (ALICE,)).signers == ("alice",)
    assert verified.is_signed({"sha256": hashlib.sha256(b"x").hexdigest()}, (ALICE,))


def test_a_digest_is_signed_whatever_its_tag(world: World) -> None:
    world.publish({"v1": b"manifest"})
    verified = world.reader().refresh()
    right = hashlib.sha256(b"manifest").hexdigest()
    assert verified.is_signed({"sha256": right})
    assert verified.is_signed({"sha256": right, "sha512": "00" * 64})  # which nobody signed
    assert not verified.is_signed({"sha256": hashlib.sha256(b"other").hexdigest()})
    assert not verified.is_signed({"sha512": right})
    assert not verified.is_signed({})


def test_every_signed_hash_must_match(world: World) -> None:
    sha256, sha512 = hashlib.sha256(b"x").hexdigest(), hashlib.sha512(b"x").hexdigest()
    world.made.root()
    world.made.targets({"v1": b"x"})
    targets = world.made.payloads["targets"]
    assert isinstance(targets, Targets)
    targets.targets["both"] = TargetFile(1, {"sha256": "11" * 32, "sha512": sha512}, "both")
    targets.targets["long"] = TargetFile(1, {"sha512": "22" * 64}, "long")
    world.publish()
    verified = world.reader().refresh()
    assert verified.is_signed({"sha256": sha256, "sha512": "33" * 64})
    assert verified.is_signed({"sha512": sha512})
    assert not verified.is_signed({"sha512": sha512, "sha256": "44" * 32})
    assert verified.lookup("long").digest == f"sha512:{'22' * 64}"
    assert verified.lookup("both").digest == f"sha256:{'11' * 32}"
    assert not matches({}, {"sha256": sha256})
    assert not matches({"sha256": sha256}, {})


def test_custom_comes_with_its_target(world: World) -> None:
    world.made.root()
    world.made.targets({"v1": b"x"})
    targets = world.made.payloads["targets"]
    assert isinstance(targets, Targets)
    targets.targets["v1"].unrecognized_fields["custom"] = {"note": "<&>", "n": [1, None]}
    world.publish()
    assert world.reader().refresh().lookup("v1").custom == {"note": "<&>", "n": [1, None]}


# Delegations.


def test_a_delegation_signs_only_names_that_begin_with_its_paths(world: World) -> None:
    world.made.delegation(RELEASES, paths=["v1.", "rc"])
    world.made.root()
    world.made.targets()
    world.made.targets({"v1.2": b"a", "v1": b"b", "rc7": b"c", "latest": b"d"}, role=RELEASES)
    world.republish()
    verified = world.reader().refresh()
    assert {target.name for target in verified.targets()} == {"v1.2", "rc7"}
    for content, good in ((b"a", True), (b"b", False), (b"c", True), (b"d", False)):
        assert verified.is_signed({"sha256": hashlib.sha256(content).hexdigest()}) is good
    for name in ("v1", "latest"):
        with pytest.raises(NotFoundError):
            verified.lookup(name)


def test_a_delegation_without_paths_signs_nothing(world: World) -> None:
    world.made.delegation(RELEASES, paths=[])
    world.made.root()
    world.made.targets()
    world.made.targets({"v1": b"a", "": b"b"}, role=RELEASES)
    world.republish()
    assert list(world.reader().refresh().targets()) == []


def test_a_name_out_of_a_delegations_paths_falls_to_the_next_role(world: World) -> None:
    world.made.delegation(RELEASES, paths=["v"])
    world.made.root()
    world.made.targets({"latest": b"targets"})
    world.made.targets({"latest": b"releases"}, role=RELEASES)
    world.republish()
    assert world.reader().refresh().lookup("latest").role == TARGETS


def test_a_nested_delegation_is_bound_by_the_paths_of_all_above_it(world: World) -> None:
    deep, deeper = RoleName("targets/releases/a"), RoleName("targets/releases/a/b")
    world.made.delegation(RELEASES, paths=["v"])
    world.made.root()
    world.made.targets()
    world.made.delegation(deep, paths=["v1", "w"])
    world.made.targets(role=RELEASES)
    world.made.delegation(deeper, paths=["", "v1.2", "w"])
    world.made.targets({"v1.1": b"1", "v2": b"2", "w": b"3"}, role=deep)
    world.made.targets({"v1.2.3": b"4", "v1.1": b"5", "w": b"6", "": b"7"}, role=deeper)
    world.republish()
    verified = world.reader().refresh()
    assert set(verified.roles) == {TARGETS, RELEASES, deep, deeper}
    assert verified.paths == {TARGETS: ("",), RELEASES: ("v",), deep: ("v1",), deeper: ("v1.2",)}
    assert [(target.role, target.name) for target in verified.targets((deep, deeper))] == [
        (deep, "v1.1"),
        (deeper, "v1.2.3"),
    ]
    assert verified.lookup("v1.1", (deep,)).signers == ("releases/a",)


def test_a_delegation_may_need_several_signatures(world: World) -> None:
    world.made.delegation(RELEASES, count=3, threshold=2)
    world.made.root()
    world.made.targets()
    world.made.targets({"v1": b"a"}, role=RELEASES)
    world.republish()
    assert world.reader().refresh().lookup("v1").role == RELEASES
    world.made.signers[RELEASES] = world.made.signers[RELEASES][:1]
    world.made.targets({"v2": b"b"}, role=RELEASES)
    world.republish()
    verified = world.reader().refresh()
    assert list(verified.skipped) == [RELEASES]
    assert isinstance(verified.skipped[RELEASES], SignatureError)
    assert list(verified.targets()) == []


def test_a_delegated_role_that_has_not_signed_yet_says_nothing(world: World) -> None:
    world.made.delegation(ALICE)
    world.publish({"v1": b"x"})
    verified = world.reader().refresh()
    assert set(verified.roles) == {TARGETS}
    assert verified.skipped == {}


def test_a_revoked_delegation_counts_no_more_though_the_snapshot_still_names_it(world: World) -> None:
    world.made.delegation(RELEASES)
    world.made.root()
    world.made.targets()
    world.made.targets({"v1": b"a"}, role=RELEASES)
    world.republish()
    assert world.reader().refresh().lookup("v1")
    world.made.revoke(RELEASES)
    world.made.targets()
    world.republish()
    assert RELEASES in parse(SNAPSHOT, world.shelf.current["snapshot"]).signed.meta
    with pytest.raises(NotFoundError):
        world.reader().refresh().lookup("v1")


def test_an_expired_delegation_is_skipped_with_all_below_it(world: World) -> None:
    deep = RoleName("targets/releases/a")
    world.made.delegation(RELEASES)
    world.made.delegation(ALICE)
    world.made.root()
    world.made.targets({"v1": b"targets"})
    world.made.delegation(deep)
    world.made.targets({"v1": b"releases"}, role=RELEASES, expires=NOW + 2 * DAY)
    world.made.targets({"v1": b"deep"}, role=deep)
    world.made.targets({"v1": b"alice"}, role=ALICE)
    world.republish()
    reader = world.reader()
    assert reader.refresh().lookup("v1").role == RELEASES
    world.now += 3 * DAY
    verified = reader.refresh()
    assert {role: type(error) for role, error in verified.skipped.items()} == {RELEASES: ExpiredError}
    assert set(verified.roles) == {TARGETS, ALICE}
    assert not verified.is_signed({"sha256": hashlib.sha256(b"releases").hexdigest()})
    assert verified.lookup("v1").role == TARGETS


def test_only_the_roles_of_interest_are_fetched(world: World) -> None:
    deep = RoleName("targets/alice/deep")
    for role in (RELEASES, ALICE, BOB):
        world.made.delegation(role)
    world.made.root()
    world.made.targets()
    world.made.delegation(deep)
    for role in (RELEASES, ALICE, BOB, deep):
        world.made.targets({"v1": b"x"}, role=role)
    world.republish()

    def fetched(*roles: RoleName) -> set[RoleName]:
        world.shelf.asked.clear()
        verified = world.reader(roles=roles, cache=MemoryCache()).refresh()
        asked = {name.rpartition(".")[0] for name in world.shelf.asked if name.startswith("targets")}
        assert asked == set(verified.roles)
        return set(verified.roles)

    assert fetched(RELEASES, TARGETS) == {TARGETS, RELEASES}
    assert fetched(TARGETS) == {TARGETS}
    assert fetched() == {TARGETS}
    assert fetched(deep) == {TARGETS, ALICE, deep}
    assert fetched(RoleName("targets/ali")) == {TARGETS}
    assert set(world.reader().refresh().roles) == {TARGETS, RELEASES, ALICE, BOB, deep}


# Updates.


def test_a_second_look_fetches_only_what_changed(world: World) -> None:
    world.made.delegation(RELEASES)
    world.made.root()
    world.made.targets({"v1": b"a"})
    world.made.targets({"v1": b"a"}, role=RELEASES)
    world.republish()
    world.reader().refresh()
    world.shelf.asked.clear()
    first = world.reader()
    before = first.refresh()
    assert world.shelf.asked == ["timestamp"]
    assert first.refresh() is before
    world.made.targets({"v2": b"b"}, role=RELEASES)
    world.republish()
    world.shelf.asked.clear()
    assert first.refresh().lookup("v2")
    kinds = [name.partition(".")[0] for name in world.shelf.asked]
    assert kinds == ["timestamp", "snapshot", "targets/releases"]


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_rotation_of_any_key_is_followed(world: World, role: str) -> None:
    world.publish({"v1": b"a"})
    reader = world.reader()
    reader.refresh()
    world.made.rotate(role)
    world.made.root()
    world.publish({"v2": b"b"})
    for each in (reader, world.reader(), world.reader(cache=MemoryCache())):
        verified = each.refresh()
        assert verified.root.signed.version == 2
        assert verified.lookup("v2").digest == digest(b"b")


def test_many_rotations_of_the_root_are_followed_link_by_link(world: World) -> None:
    world.publish({"v1": b"a"})
    world.reader().refresh()
    for _ in range(5):
        world.made.rotate("root")
        world.made.root()
        world.publish()
    world.shelf.asked.clear()
    assert world.reader().refresh().root.signed.version == 6
    assert [name for name in world.shelf.asked if name.endswith(".root")] == ["2.root", "3.root", "4.root", "5.root"]


def test_expired_links_lead_to_the_newest_root(world: World) -> None:
    world.publish({"v1": b"a"})
    world.reader().refresh()
    for days in (1, 2, 3650):
        world.made.rotate("root")
        world.made.root(expires=NOW + days * DAY)
        world.publish()
    world.now += 5 * DAY
    assert world.reader().refresh().root.signed.version == 4


def test_a_root_that_expired_on_disk_is_replaced_by_its_successor(world: World) -> None:
    world.made.root(expires=NOW + DAY)
    world.publish({"v1": b"a"})
    reader = world.reader()
    reader.refresh()
    world.now += 2 * DAY
    with pytest.raises(ExpiredError, match=r"^root expired"):
        reader.refresh()
    world.made.root()
    world.publish()
    assert reader.refresh().root.signed.version == 2
    assert world.reader().refresh().lookup("v1")


def test_a_root_may_skip_versions_if_the_known_keys_signed_it(world: World) -> None:
    world.publish({"v1": b"a"})
    world.reader().refresh()
    world.made.root(version=7)
    world.publish()
    assert world.reader().refresh().root.signed.version == 7


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "targets/releases"])
def test_a_publish_between_two_fetches_ends_in_one_consistent_state(role: str) -> None:
    world = World()
    world.made.delegation(RELEASES)
    world.made.root()
    world.made.targets({"v": b"1", "w": b"1"})
    world.made.targets({"v": b"1", "w": b"1"}, role=RELEASES)
    world.republish()

    def publish() -> None:
        world.made.rotate("targets")
        world.made.rotate("snapshot")
        world.made.root()
        world.made.targets({"v": b"2", "w": b"2"})
        world.made.targets({"v": b"2", "w": b"2"}, role=RELEASES)
        world.republish()

    world.shelf.before(role, publish)
    reader = world.reader()
    verified = reader.refresh()
    assert {target.digest for target in verified.targets()} in ({digest(b"1")}, {digest(b"2")})
    assert {target.digest for target in reader.refresh().targets()} == {digest(b"2")}


def test_a_publish_between_two_fetches_of_a_known_collection_is_consistent_too() -> None:
    for role in ("timestamp", "snapshot", "targets"):
        world = World()
        world.publish({"v": b"1", "w": b"1"})
        reader = world.reader()
        reader.refresh()
        world.publish({"v": b"2", "w": b"2"})
        world.shelf.before(role, lambda world=world: world.publish({"v": b"3", "w": b"3"}))  # type: ignore[misc]
        verified = reader.refresh()
        assert len({target.digest for target in verified.targets()}) == 1
        assert reader.refresh().lookup("v").digest == digest(b"3")


# Away from the network.


def test_a_server_that_does_not_answer_is_unavailable(world: World) -> None:
    world.shelf.reachable = False
    with pytest.raises(UnavailableError):
        world.reader().refresh()
    world.shelf.reachable = True
    world.publish({"v1": b"a"})
    reader = world.reader()
    reader.refresh()
    world.shelf.reachable = False
    for each in (reader, world.reader()):
        with pytest.raises(UnavailableError):
            each.refresh()


def test_a_collection_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.reader().refresh()
    with pytest.raises(NotFoundError):
        world.reader(offline=True).refresh()


def test_offline_the_kept_state_serves_while_its_timestamp_is_valid(world: World) -> None:
    world.made.delegation(RELEASES)
    world.made.root()
    world.made.targets({"v1": b"a"})
    world.made.targets({"v2": b"b"}, role=RELEASES)
    world.republish()
    world.reader().refresh()
    world.shelf.reachable = False
    reader = world.reader(offline=True)
    assert reader.refresh().lookup("v2").digest == digest(b"b")
    world.now += 13 * DAY
    assert reader.refresh().lookup("v1")
    world.now += 2 * DAY
    with pytest.raises((ExpiredError, UnavailableError)):
        reader.refresh()
    with pytest.raises(UnavailableError):
        world.reader(offline=True, cache=MemoryCache()).refresh()


def test_offline_does_not_mean_blind_to_a_bad_answer(world: World) -> None:
    world.publish({"v1": b"a"})
    world.reader().refresh()
    world.shelf.current["timestamp"] = b"{}"
    with pytest.raises(FormatError, match="metadata invalid"):
        world.reader(offline=True).refresh()


def test_a_file_that_the_server_lost_is_unavailable_and_not_unsigned(world: World) -> None:
    world.publish({"v1": b"a"})
    for name in list(world.shelf.named):
        if name.startswith("targets."):
            del world.shelf.named[name]
    with pytest.raises(UnavailableError, match="targets is named by signed metadata"):
        world.reader().refresh()


# What is remembered.


def test_a_folder_remembers_across_restarts(tmp_path: Path) -> None:
    world = World()
    world.made.delegation(RELEASES)
    world.made.root()
    world.made.targets()
    world.made.targets({"v2": b"b"}, role=RELEASES)
    world.republish()
    world.reader(cache=FileCache(tmp_path)).refresh()
    world.shelf.reachable = False
    assert world.reader(cache=FileCache(tmp_path), offline=True).refresh().lookup("v2")


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, role: RoleName) -> None:
    world = World()
    world.publish({"v1": b"a"})
    cache = FileCache(tmp_path)
    world.reader(cache=cache).refresh()
    path = tmp_path / "tuf" / world.made.gun / "metadata" / f"{role}.json"
    for garbage in (b"", b"garbage", path.read_bytes()[:-1]):
        path.write_bytes(garbage)
        assert world.reader(cache=cache).refresh().lookup("v1")
        assert path.read_bytes() == world.made.files[role]


def test_a_damaged_root_in_the_cache_is_not_replaced_by_whatever_the_server_has(tmp_path: Path) -> None:
    world = World()
    world.publish({"v1": b"a"})
    cache = FileCache(tmp_path)
    world.reader(cache=cache).refresh()
    path = tmp_path / "tuf" / world.made.gun / "metadata" / "root.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="not valid JSON"):
        world.reader(cache=cache).refresh()


def test_nothing_that_failed_is_kept(world: World) -> None:
    world.publish({"v1": b"a"})
    world.made.signers["targets"] = world.made.signers["snapshot"]
    world.made.targets({"v2": b"b"})
    world.republish()
    with pytest.raises(SignatureError):
        world.reader().refresh()
    assert world.cache.load(world.made.gun, TARGETS) is None


def test_collections_do_not_share_what_is_remembered() -> None:
    world, other = World(), World()
    other.made = Collection("localhost:5000/library/other", NOW)
    other.cache = world.cache
    for each in (world, other):
        each.publish({"v1": each.made.gun.encode()})
        assert each.reader().refresh().lookup("v1").digest == digest(each.made.gun.encode())


def test_a_collection_says_when_it_is_no_longer_fresh(world: World) -> None:
    world.publish({"v1": b"a"})
    verified = world.reader().refresh()
    verified.check_fresh(NOW + 13 * DAY)
    with pytest.raises(ExpiredError, match=r"^timestamp expired at "):
        verified.check_fresh(NOW + 14 * DAY)


def test_another_collections_files_are_refused(world: World) -> None:
    world.publish({"v1": b"a"})
    with pytest.raises(PinError, match="unable to retrieve valid leaf certificates"):
        Reader(Gun("localhost:5000/library/other"), world.shelf, MemoryCache(), clock=lambda: NOW).refresh()
