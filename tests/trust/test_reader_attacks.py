# SPDX-License-Identifier: Apache-2.0
"""What somebody in the middle, on the server or with a stolen key tries, and a reader does not believe.

Where a file is tampered with, everything above it is signed anew by its real keys: so it is the file itself that is
refused, and not only a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tuf.api.metadata import Role, Root, Targets

from collection import CORRUPTIONS, Collection, edited, root_signer, with_a_signature_by
from shelf import GOLDEN_NOW, NOW, Golden, World, golden, golden_names
from trust import reader as reader_module
from trust.cache import FileCache, MemoryCache
from trust.errors import (
    DelegationError,
    ExpiredError,
    FormatError,
    HashError,
    KeyIdError,
    NotFoundError,
    PinError,
    RollbackError,
    RotationError,
    SignatureError,
    SizeError,
    UnavailableError,
    UntrustedError,
)
from trust.keys import NotaryKey, NotarySigner, generate_private
from trust.metadata import describe, parse
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.pins import Pins
from trust.reader import ROOT_LIMIT, TIMESTAMP_LIMIT, Reader

DAY = timedelta(days=1)
DEEP = RoleName("targets/releases/deep")
ROLES = [ROOT, TARGETS, SNAPSHOT, TIMESTAMP, RELEASES, DEEP]
BELOW_ROOT = ROLES[1:]
DELEGATIONS = {RELEASES, DEEP}


@pytest.fixture(params=["ecdsa", "ed25519"])
def world(request: pytest.FixtureRequest) -> World:
    """A published collection with a delegation below a delegation."""
    return _world(request.param)


def _world(algorithm: str = "ecdsa") -> World:
    made = World(algorithm=algorithm)
    made.made.delegation(RELEASES)
    made.made.root()
    made.made.targets({"top": b"targets"})
    made.made.delegation(DEEP)
    made.made.targets({"v1": b"releases"}, role=RELEASES)
    made.made.targets({"v1": b"deep"}, role=DEEP)
    made.republish()
    return made


def plant(world: World, role: RoleName, data: bytes) -> None:
    """Put `data` in the place of a role's file, and sign all above it anew."""
    world.made.files[role] = data
    if role not in (SNAPSHOT, TIMESTAMP):
        world.made.snapshot()
    if role != TIMESTAMP:
        world.made.timestamp()
    world.shelf.put(world.made.files)


def refused(world: World, role: RoleName, error: type[UntrustedError], *, reader: Reader | None = None) -> None:
    """A reader refuses the file of `role`: a skipped delegation counts for nothing, anything else for everything."""
    reader = reader or world.reader()
    if role in DELEGATIONS and issubclass(error, SignatureError | ExpiredError):
        verified = reader.refresh()
        assert type(verified.skipped[role]) is error
        assert role not in verified.roles
        assert list(verified.targets((role,))) == []
        content = b"releases" if role == RELEASES else b"deep"
        assert not verified.is_signed({"sha256": hashlib.sha256(content).hexdigest()}, (role,))
        with pytest.raises(NotFoundError):
            verified.lookup("v1", (role,))
        return
    with pytest.raises(UntrustedError) as refusal:
        reader.refresh()
    assert type(refusal.value) is error


def test_the_world_is_believed_before_it_is_tampered_with(world: World) -> None:
    verified = world.reader().refresh()
    assert set(verified.roles) == {TARGETS, RELEASES, DEEP}
    assert verified.lookup("v1").role == RELEASES


# Every named corruption of every role, for a new reader and for one that knows the collection.


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("role", ROLES)
def test_a_corrupted_file_is_refused_by_a_new_reader(world: World, role: RoleName, corruption: str) -> None:
    plant(world, role, CORRUPTIONS[corruption](world.made.files[role]))
    refused(world, role, FormatError if corruption in ("type of another role", "fraction") else SignatureError)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("role", ROLES)
def test_a_corrupted_file_is_refused_by_a_reader_that_knows_the_collection(
    world: World, role: RoleName, corruption: str
) -> None:
    reader = world.reader()
    reader.refresh()
    next_version: dict[RoleName, Callable[[], bytes]] = {
        ROOT: world.made.root, SNAPSHOT: world.made.snapshot, TIMESTAMP: world.made.timestamp
    }  # fmt: skip
    good = next_version.get(role, lambda: world.made.targets(role=role))()
    plant(world, role, CORRUPTIONS[corruption](good))
    error = FormatError if corruption in ("type of another role", "fraction") else SignatureError
    if role == ROOT:
        with pytest.raises(RotationError if error is SignatureError else FormatError):
            reader.refresh()
        return
    refused(world, role, error, reader=reader)
    refused(world, role, error)


@pytest.mark.parametrize("name", [name for name in golden_names() if name != "expired-targets"])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupted_golden_file_is_refused(name: str, corruption: str) -> None:
    believed = Reader(golden(name).gun, golden(name), MemoryCache(), clock=lambda: GOLDEN_NOW).refresh()
    for role in [ROOT, SNAPSHOT, TIMESTAMP, *believed.roles]:
        vector: Golden = golden(name)
        # Some have two signatures, of which one would do.
        single = edited(vector.current[role], lambda file: file.update(signatures=file["signatures"][:1]))
        data = CORRUPTIONS[corruption](single)
        digest = hashlib.sha256(vector.current[role]).hexdigest()
        vector.current[role] = vector.named[f"{role}.{digest}"] = data
        with pytest.raises(UntrustedError) as refusal:
            Reader(vector.gun, vector, MemoryCache(), clock=lambda: GOLDEN_NOW).refresh()
        if role not in (ROOT, TIMESTAMP):  # the file above names other bytes
            assert type(refusal.value) in (HashError, SizeError)
        elif corruption in ("type of another role", "fraction"):
            assert type(refusal.value) is FormatError
        else:
            assert type(refusal.value) is SignatureError


@pytest.mark.parametrize("role", ROLES)
def test_an_expired_file_is_refused(world: World, role: RoleName) -> None:
    """T04, CVE-2015-9259."""
    expires = NOW - timedelta(seconds=1)
    if role == ROOT:
        data = world.made.root(version=1, expires=expires)
    elif role == SNAPSHOT:
        data = world.made.snapshot(expires=expires)
    elif role == TIMESTAMP:
        data = world.made.timestamp(expires=expires)
    else:
        data = world.made.targets(role=role, expires=expires)
    plant(world, role, data)
    refused(world, role, ExpiredError)


def ending(role: RoleName) -> World:
    """A collection of which one file lives for a day, and the others for long."""
    world = World()
    made = world.made
    ends = {other: NOW + DAY if other == role else NOW + 400 * DAY for other in ROLES}
    made.delegation(RELEASES)
    made.root(expires=ends[ROOT])
    made.targets(expires=ends[TARGETS])
    made.delegation(DEEP)
    made.targets({"v1": b"releases"}, role=RELEASES, expires=ends[RELEASES])
    made.targets({"v1": b"deep"}, role=DEEP, expires=ends[DEEP])
    made.snapshot(expires=ends[SNAPSHOT])
    made.timestamp(expires=ends[TIMESTAMP])
    world.shelf.put(made.files)
    return world


@pytest.mark.parametrize("role", ROLES)
def test_within_a_grace_all_but_the_root_is_believed_after_its_end(role: RoleName) -> None:
    world = ending(role)
    reader = world.reader(grace=2 * DAY)
    assert reader.refresh().expired(world.now) == {}
    world.now += DAY
    if role == ROOT:
        refused(world, role, ExpiredError, reader=reader)
        return
    refused(world, role, ExpiredError)  # who grants none
    for each in (reader, world.reader(grace=2 * DAY)):
        believed = each.refresh()
        assert set(believed.roles) == {TARGETS, RELEASES, DEEP}
        assert believed.expired(world.now) == {role: NOW + DAY}
    world.now += 2 * DAY - timedelta(seconds=1)
    assert set(reader.refresh().roles) == {TARGETS, RELEASES, DEEP}
    world.now += timedelta(seconds=1)
    refused(world, role, ExpiredError, reader=reader)


@pytest.mark.parametrize("role", ROLES)
def test_what_was_believed_before_is_refused_once_it_has_expired(role: RoleName) -> None:
    world = ending(role)
    reader = world.reader()
    assert set(reader.refresh().roles) == {TARGETS, RELEASES, DEEP}
    world.now += DAY - timedelta(seconds=1)
    assert set(reader.refresh().roles) == {TARGETS, RELEASES, DEEP}
    world.now += timedelta(seconds=1)
    refused(world, role, ExpiredError, reader=reader)
    refused(world, role, ExpiredError)


@pytest.mark.parametrize("role", BELOW_ROOT)
def test_an_older_file_is_refused_although_all_above_it_vouches_for_it(world: World, role: RoleName) -> None:
    """T02, CVE-2022-29173."""
    old = world.made.files[role]
    for _ in range(2):
        if role.is_targets:
            world.made.targets(role=role)
        world.republish()
    reader = world.reader()
    reader.refresh()
    plant(world, role, old)
    with pytest.raises(RollbackError, match=f"^{role} version 1 is lower than current version 3$") as refusal:
        reader.refresh()
    assert refusal.value.detail == {"role": role, "version": 1, "seen": 3}
    with pytest.raises(RollbackError):
        world.reader().refresh()


def test_an_older_root_is_refused(world: World) -> None:
    """T02."""
    old = world.made.files[ROOT]
    world.made.root()
    world.republish()
    world.reader().refresh()
    plant(world, ROOT, old)
    with pytest.raises(RollbackError, match=r"^root version 1 is lower than current version 2$"):
        world.reader().refresh()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("other", ROLES)
def test_one_roles_file_does_not_pass_for_anothers(world: World, role: RoleName, other: RoleName) -> None:
    if role == other or (role.is_targets and other.is_targets):
        return
    plant(world, role, world.made.files[other])
    with pytest.raises(FormatError, match=f"^{role} type metadata invalid: expected type"):
        world.reader().refresh()


@pytest.mark.parametrize("role", [TARGETS, RELEASES, DEEP])
@pytest.mark.parametrize("other", [TARGETS, RELEASES, DEEP])
def test_one_targets_roles_file_does_not_pass_for_anothers(world: World, role: RoleName, other: RoleName) -> None:
    if role == other:
        return
    plant(world, role, world.made.files[other])
    if (role, other) in {(RELEASES, TARGETS), (DEEP, TARGETS), (DEEP, RELEASES)}:  # what it delegates is no child
        with pytest.raises(FormatError, match="is not a direct child of"):
            world.reader().refresh()
    else:
        refused(world, role, FormatError if other == RELEASES and role == TARGETS else SignatureError)


@pytest.mark.parametrize("role", [SNAPSHOT, TARGETS, RELEASES, DEEP])
@pytest.mark.parametrize("change", ["same length", "longer", "shorter", "empty", "pretty"])
def test_other_bytes_than_the_file_above_names_are_refused(world: World, role: RoleName, change: str) -> None:
    data = world.made.files[role]
    changed = {
        "same length": data.replace(b'"version":1', b'"version":2'),
        "longer": data + b" ",
        "shorter": data[:-1],
        "empty": b"",
        "pretty": data.replace(b",", b", "),
    }[change]
    assert changed != data
    world.shelf.named[f"{role}.{hashlib.sha256(data).hexdigest()}"] = changed
    with pytest.raises(HashError if change == "same length" else SizeError):
        world.reader().refresh()


@pytest.mark.parametrize("role", ROLES)
def test_one_signature_too_few_is_refused(role: RoleName) -> None:
    world = World()
    made = world.made
    made.delegation(RELEASES, count=3, threshold=2 if role == RELEASES else 1)
    for top in ("root", "targets", "snapshot", "timestamp"):
        if role == top:
            made.rotate(top, count=3, threshold=2)
    made.root(version=1)
    made.targets()
    made.delegation(DEEP, count=3, threshold=2 if role == DEEP else 1)
    made.targets({"v1": b"releases"}, role=RELEASES)
    made.targets({"v1": b"deep"}, role=DEEP)
    world.republish()
    world.reader(cache=MemoryCache()).refresh()
    plant(world, role, made.sign(role, signers=made.signers[role][:2]))
    assert world.reader(cache=MemoryCache()).refresh().skipped == {}
    plant(world, role, made.sign(role, signers=made.signers[role][:1]))
    refused(world, role, SignatureError)


@pytest.mark.parametrize("role", ROLES)
def test_a_key_under_an_id_that_is_not_its_own_is_refused(role: RoleName) -> None:
    world = World()
    made = world.made
    made.delegation(RELEASES)

    def misfile(delegated: str) -> None:
        """Let the role's delegator name its key by a false ID, under which the role then signs."""
        parent = made.payloads[delegated.rpartition("/")[0] or "root"]
        assert isinstance(parent, Root | Targets)
        (signer,) = made.signers[delegated]
        false = NotaryKey("0" * 64, signer.public_key.keytype, signer.public_key.public)
        keys = parent.keys if isinstance(parent, Root) else parent.delegations.keys if parent.delegations else {}
        keys[false.keyid] = false
        parent.get_delegated_role(delegated).keyids[:] = [false.keyid]
        made.signers[delegated] = [NotarySigner(signer._private, false)]

    if role != DEEP:
        misfile(role)
    made.root(version=1)
    made.targets()
    made.delegation(DEEP)
    if role == DEEP:
        misfile(role)
    made.targets({"v1": b"releases"}, role=RELEASES)
    made.targets({"v1": b"deep"}, role=DEEP)
    world.republish()
    refused(world, role, KeyIdError)


# Trust on first use, once.


def recreate(world: World, *, versions: int = 1) -> None:
    """Delete the collection on the server and make it anew with other keys."""
    world.shelf.clear()
    world.made = Collection(world.made.gun, NOW)
    for _ in range(versions):
        world.publish({"v1": b"evil"})
    if versions > 1:
        world.made.root(version=versions)
        world.publish()


@pytest.mark.parametrize("versions", [1, 2, 5])
def test_a_collection_that_was_deleted_and_made_anew_with_other_keys_is_refused(world: World, versions: int) -> None:
    reader = world.reader()
    reader.refresh()
    recreate(world, versions=versions)
    for each in (reader, world.reader(), world.reader(pins=Pins()), world.reader(offline=True)):
        for _ in range(2):
            with pytest.raises(RotationError):
                each.refresh()


def test_a_folder_remembers_the_root_across_deletion_and_restart(tmp_path: Path) -> None:
    world = _world()
    world.reader(cache=FileCache(tmp_path)).refresh()
    recreate(world)
    with pytest.raises(RotationError):
        world.reader(cache=FileCache(tmp_path)).refresh()
    world.shelf.clear()
    with pytest.raises(NotFoundError):
        world.reader(cache=FileCache(tmp_path)).refresh()
    assert FileCache(tmp_path).load(world.made.gun, ROOT) is not None


def test_a_collection_made_anew_with_the_same_root_key_is_a_rollback(world: World) -> None:
    for _ in range(3):
        world.republish()
    world.reader().refresh()
    keys = world.made.signers
    world.shelf.clear()
    world.made = Collection(world.made.gun, NOW)
    for role in ("root", "targets", "snapshot", "timestamp"):
        world.made._replace(role, keys[role], 1)
    world.publish({"v1": b"old keys, low versions"})
    with pytest.raises(RollbackError):
        world.reader().refresh()


def test_a_first_root_is_not_believed_where_tofu_is_off(world: World) -> None:
    with pytest.raises(PinError, match="invalid trust pinning specified"):
        world.reader(pins=Pins(tofu=False)).refresh()
    assert world.cache.load(world.made.gun, ROOT) is None
    (signer,) = world.made.signers["root"]
    pinned = Pins(tofu=False, certs={world.made.gun: (signer.public_key.canonical_id,)})
    world.reader(pins=pinned).refresh()


def test_pins_that_are_set_later_bind_the_root_that_is_known(world: World) -> None:
    world.reader().refresh()
    (signer,) = world.made.signers["root"]
    world.reader(pins=Pins(certs={world.made.gun: (signer.public_key.keyid,)})).refresh()
    for cache in (world.cache, MemoryCache()):
        with pytest.raises(PinError, match="unable to match any certificates"):
            world.reader(pins=Pins(certs={world.made.gun: ("0" * 64,)}), cache=cache).refresh()


def test_a_rotation_away_from_the_pinned_key_is_refused(world: World) -> None:
    (signer,) = world.made.signers["root"]
    pins = Pins(certs={world.made.gun: (signer.public_key.keyid,)})
    world.reader(pins=pins).refresh()
    world.made.rotate("root")
    world.made.root()
    world.republish()
    with pytest.raises(PinError):
        world.reader(pins=pins).refresh()
    both = (signer.public_key.keyid, world.made.signers["root"][0].public_key.keyid)
    assert world.reader(pins=Pins(certs={world.made.gun: both})).refresh().root.signed.version == 2


def test_a_cached_root_that_somebody_else_put_there_must_vouch_for_itself(world: World) -> None:
    """CVE-2020-15163."""
    data = world.made.files[ROOT]
    for planted in (
        with_a_signature_by(data, root_signer(world.made.gun, NOW)),
        CORRUPTIONS["broken signature"](data),
        CORRUPTIONS["later expiry"](data),
    ):
        cache = MemoryCache()
        cache.save(world.made.gun, ROOT, 1, planted)
        with pytest.raises((SignatureError, RotationError)):
            world.reader(cache=cache).refresh()


# Roots.


def forged_root(world: World, *, version: int, signers: list[NotarySigner]) -> None:
    """A root of that version with new keys for everything, signed by `signers`."""
    forger = Collection(world.made.gun, NOW)
    forger.root_payload.version = version
    forger.files[ROOT] = forger.sign("root", signers=[*forger.signers["root"], *signers])
    forger.publish({"v1": b"evil"})
    for role in (SNAPSHOT, TIMESTAMP):
        forger.payloads[role].version = 100
    forger.snapshot()
    forger.timestamp()
    world.shelf.put(forger.files)


@pytest.mark.parametrize("version", [1, 2, 3, 10, 2000])
def test_a_root_that_the_known_keys_did_not_sign_is_refused(world: World, version: int) -> None:
    world.reader().refresh()
    forged_root(world, version=version, signers=[root_signer(world.made.gun, NOW)])
    with pytest.raises(RotationError):
        world.reader().refresh()


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_the_key_of_another_role_cannot_sign_a_root(world: World, role: str) -> None:
    world.reader().refresh()
    forged_root(world, version=2, signers=world.made.signers[role])
    with pytest.raises(RotationError):
        world.reader().refresh()


def test_a_root_signed_by_the_old_key_alone_is_refused(world: World) -> None:
    world.reader().refresh()
    before = world.made.signers["root"]
    world.made.rotate("root")
    world.made.root()
    plant(world, ROOT, world.made.sign("root", signers=before))
    with pytest.raises(SignatureError, match="integrity of roots"):
        world.reader().refresh()


def test_a_root_signed_by_the_new_key_alone_is_refused(world: World) -> None:
    world.reader().refresh()
    world.made.rotate("root")
    world.made.root()
    plant(world, ROOT, world.made.sign("root"))
    with pytest.raises(RotationError):
        world.reader().refresh()


def test_two_roots_of_one_version_are_refused(world: World) -> None:
    world.reader().refresh()
    world.made.rotate("timestamp")
    world.made.root(version=1)
    world.republish()
    with pytest.raises(RollbackError, match="two different roots of the same version"):
        world.reader().refresh()


def test_a_missing_link_breaks_the_chain_of_roots(world: World) -> None:
    world.reader().refresh()
    for _ in range(3):
        world.made.rotate("root")
        world.made.root()
        world.republish()
    missing = world.shelf.named.pop("3.root")
    with pytest.raises(RotationError, match="the server has no root 3"):
        world.reader().refresh()
    world.shelf.named["3.root"] = missing
    assert world.reader().refresh().root.signed.version == 4


def test_every_link_must_be_signed_by_the_one_before(world: World) -> None:
    world.reader().refresh()
    for _ in range(3):
        world.made.rotate("root")
        world.made.root()
        world.republish()
    good = world.shelf.named["3.root"]
    for bad, error in (
        (edited(good, lambda file: file.update(signatures=[])), RotationError),
        (world.shelf.named["2.root"], RollbackError),
        (world.shelf.named["4.root"], RollbackError),
        (world.made.files[TARGETS], FormatError),
        (CORRUPTIONS["later expiry"](good), RotationError),
    ):
        world.shelf.named["3.root"] = bad
        with pytest.raises(error):
            world.reader().refresh()


def test_the_newest_root_must_be_signed_by_the_last_link(world: World) -> None:
    world.reader().refresh()
    for _ in range(3):
        world.made.rotate("root")
        world.made.root()
        world.republish()
    plant(world, ROOT, world.made.sign("root"))  # by its own key alone
    with pytest.raises(RotationError):
        world.reader().refresh()


def test_an_expired_newest_root_is_refused_at_the_end_of_a_chain(world: World) -> None:
    world.reader().refresh()
    for days in (3650, 3650, -1):
        world.made.rotate("root")
        world.made.root(expires=NOW + days * DAY)
        world.republish()
    with pytest.raises(ExpiredError, match=r"^root expired"):
        world.reader().refresh()


def test_a_chain_of_roots_without_end_is_not_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_ROOTS", 3)
    world.reader().refresh()
    for _ in range(6):
        world.made.rotate("root")
        world.made.root()
        world.republish()
    world.shelf.asked.clear()
    with pytest.raises(RotationError):
        world.reader().refresh()
    assert not [name for name in world.shelf.asked if name.endswith(".root")]


def test_a_root_whose_threshold_cannot_be_met_is_refused(world: World) -> None:
    """T11."""
    world.reader().refresh()
    world.made.root_payload.roles["root"].threshold = 2
    world.made.root()
    world.republish()
    with pytest.raises(SignatureError):
        world.reader().refresh()


@pytest.mark.parametrize("fault", ["name", "expired", "future", "weak", "authority"])
def test_a_rotation_to_a_bad_certificate_is_refused(world: World, fault: str) -> None:
    world.reader().refresh()
    gun = world.made.gun
    bad = {
        "name": lambda: root_signer("localhost:5000/library/other", NOW),
        "expired": lambda: root_signer(gun, NOW - 10 * DAY, days=9),
        "future": lambda: root_signer(gun, NOW + 2 * DAY),
        "weak": lambda: root_signer(gun, NOW, key=rsa.generate_private_key(65537, 1024)),
        "authority": lambda: root_signer(gun, NOW, authority=True),
    }[fault]()
    world.made._retired = world.made.signers["root"]
    world.made._replace("root", [bad], 1)
    world.made.root()
    world.republish()
    with pytest.raises(PinError, match="unable to retrieve valid leaf certificates"):
        world.reader().refresh()


@pytest.mark.parametrize("fault", ["name", "expired"])
def test_a_first_root_with_a_bad_certificate_is_refused(fault: str) -> None:
    world = World()
    gun = "localhost:5000/library/other" if fault == "name" else world.made.gun
    world.made._replace("root", [root_signer(gun, NOW - 10 * DAY, days=3650 if fault == "name" else 9)], 1)
    world.publish({"v1": b"x"})
    with pytest.raises(PinError):
        world.reader().refresh()


# Freeze, rollback, mix and match, by somebody who has no keys: old files played back.


def test_a_frozen_server_is_believed_only_until_its_timestamp_ends(world: World) -> None:
    """T04."""
    reader = world.reader()
    reader.refresh()
    world.now += 13 * DAY
    reader.refresh()
    world.now += DAY
    for each in (reader, world.reader(), world.reader(cache=MemoryCache()), world.reader(offline=True)):
        with pytest.raises(ExpiredError, match=r"^timestamp expired at "):
            each.refresh()


def test_an_old_state_played_back_is_refused(world: World) -> None:
    """T02, T30."""
    old = dict(world.shelf.current)
    world.republish()
    world.reader().refresh()
    world.shelf.current = old
    with pytest.raises(RollbackError, match=r"^timestamp version 1 is lower than current version 2$"):
        world.reader().refresh()


def test_two_timestamps_of_one_version_are_refused(world: World) -> None:
    world.reader().refresh()
    world.made.snapshot()
    world.made.timestamp(version=1)
    world.shelf.put(world.made.files)
    with pytest.raises(RollbackError, match="two different timestamps of the same version"):
        world.reader().refresh()


def test_files_of_different_states_do_not_go_together(world: World) -> None:
    """T05."""
    first = dict(world.made.files)
    for role in (TARGETS, RELEASES):
        world.made.targets({"v2": b"other"}, role=role)
    world.made.root()
    world.republish()
    for role in (SNAPSHOT, TARGETS, RELEASES):
        now = world.made.files[role]
        name = f"{role}.{hashlib.sha256(now).hexdigest()}"
        world.shelf.named[name] = first[role]
        with pytest.raises((HashError, SizeError)):
            world.reader(cache=MemoryCache()).refresh()
        world.shelf.named[name] = now
    world.shelf.current[ROOT] = first[ROOT]  # the snapshot names another root
    with pytest.raises((HashError, SizeError)):
        world.reader(cache=MemoryCache()).refresh()


def test_a_snapshot_of_another_root_is_refused(world: World) -> None:
    other = describe(b"another root")
    world.made.snapshot()
    fields = world.made.fields("snapshot")
    fields["meta"]["root"] = fields["meta"]["targets"] | {"length": other.length}
    plant(world, SNAPSHOT, world.made.sign_fields("snapshot", fields))
    with pytest.raises((HashError, SizeError)):
        world.reader().refresh()


def test_a_delegation_without_a_sha256_in_the_snapshot_cannot_be_asked_for_and_is_skipped(world: World) -> None:
    fields = world.made.fields("snapshot")
    del fields["meta"][RELEASES]["hashes"]["sha256"]
    plant(world, SNAPSHOT, world.made.sign_fields("snapshot", fields))
    verified = world.reader().refresh()
    assert isinstance(verified.skipped[RELEASES], SignatureError)
    assert set(verified.roles) == {TARGETS}


# Endless data.


def test_every_fetch_has_a_limit(world: World) -> None:
    world.reader().refresh()
    for name, limit in world.shelf.limits.items():
        if name == "timestamp":
            assert limit == TIMESTAMP_LIMIT == 2**20
        elif name == "root":
            assert limit == ROOT_LIMIT == 100 * 2**20
        else:
            assert limit == len(world.shelf.named[name])
    assert len(world.shelf.limits) == 6


def test_an_endless_file_is_refused(world: World) -> None:
    """T07."""
    for name, size in (("timestamp", TIMESTAMP_LIMIT + 1), ("root", ROOT_LIMIT + 1)):
        good = world.shelf.current[name]
        world.shelf.current[name] = b" " * size
        with pytest.raises(SizeError):
            world.reader(cache=MemoryCache()).refresh()
        world.shelf.current[name] = good
    for role in (SNAPSHOT, TARGETS, RELEASES):
        name = f"{role}.{hashlib.sha256(world.made.files[role]).hexdigest()}"
        good = world.shelf.named[name]
        world.shelf.named[name] = good + b" "
        with pytest.raises(SizeError):
            world.reader().refresh()
        world.shelf.named[name] = good
    world.reader().refresh()


def test_a_forest_of_delegations_is_not_walked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """T17."""
    monkeypatch.setattr(reader_module, "MAX_ROLES", 5)
    for number in range(6):
        world.made.delegation(f"targets/d{number}")
    world.made.targets()
    for number in range(6):
        world.made.targets(role=f"targets/d{number}")
    world.republish()
    with pytest.raises(DelegationError, match="more than 5 delegations"):
        world.reader().refresh()
    assert world.reader(roles=(RELEASES, TARGETS)).refresh().lookup("v1")


def test_thousands_of_delegations_without_files_cost_no_fetch() -> None:
    world = _world()
    targets = world.made.payloads["targets"]
    assert isinstance(targets, Targets)
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    template = targets.delegations.roles[RELEASES]
    for number in range(5_000):
        name = f"targets/d{number}"
        targets.delegations.roles[name] = type(template)(
            name, list(template.keyids), 1, terminating=False, paths=[""]
        )
    world.made.targets()
    world.republish()
    world.shelf.asked.clear()
    verified = world.reader(roles=(RELEASES, TARGETS)).refresh()
    assert verified.lookup("v1").role == RELEASES
    assert len(world.shelf.asked) < 8


# Stolen keys.


def test_a_stolen_timestamp_key_signs_no_other_state(world: World) -> None:
    """T10."""
    world.reader().refresh()
    thief = Collection(world.made.gun, NOW)
    thief.signers["timestamp"] = world.made.signers["timestamp"]
    thief.root()
    thief.targets({"v1": b"evil"})
    thief.snapshot(version=50)
    thief.timestamp(version=50)
    world.shelf.put(thief.files)
    with pytest.raises(UntrustedError):
        world.reader().refresh()
    world.shelf.current[ROOT] = world.made.files[ROOT]
    with pytest.raises(SignatureError, match="threshold for snapshot"):
        world.reader().refresh()


def test_stolen_online_keys_sign_no_targets(world: World) -> None:
    """T10."""
    world.reader().refresh()
    evil = Collection(world.made.gun, NOW)
    plant(world, TARGETS, evil.targets({"v1": b"evil"}, version=9))
    with pytest.raises(SignatureError, match="threshold for targets"):
        world.reader().refresh()


def test_a_stolen_delegation_key_signs_only_below_its_paths() -> None:
    """T10."""
    world = World()
    made = world.made
    made.delegation(RELEASES, paths=["rc-"])
    made.root()
    made.targets({"latest": b"good"})
    made.targets({"rc-1": b"x", "latest": b"evil"}, role=RELEASES)
    world.republish()
    verified = world.reader().refresh()
    assert verified.lookup("latest").role == TARGETS
    assert not verified.is_signed({"sha256": hashlib.sha256(b"evil").hexdigest()})


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_after_a_rotation_the_stolen_key_is_worth_nothing(world: World, role: str) -> None:
    """T10."""
    stolen = world.made.signers[role]
    world.made.rotate(role)
    world.made.root()
    world.made.publish()
    world.shelf.put(world.made.files)
    reader = world.reader()
    reader.refresh()
    world.made.signers[role] = stolen
    world.made.publish({"v9": b"evil"})
    world.shelf.put(world.made.files)
    for each in (reader, world.reader(cache=MemoryCache())):
        with pytest.raises(SignatureError, match=f"threshold for {role}"):
            each.refresh()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_fast_forward_is_undone_by_rotating_the_key(tmp_path: Path, role: str, folder: bool) -> None:
    """T03."""
    world = _world()
    if folder:
        world.cache = FileCache(tmp_path)
    high = 2**31 - 1
    if role == "targets":
        world.made.targets(version=high)
        world.republish()
    elif role == "snapshot":
        world.made.snapshot(version=high)
        world.made.timestamp()
    else:
        world.made.timestamp(version=high)
    world.shelf.put(world.made.files)
    reader = world.reader()
    reader.refresh()
    world.made.payloads[role].version = 1
    world.republish() if role != "targets" else world.publish()
    with pytest.raises(RollbackError, match=f"^{role} version 2 is lower than current version {high}$"):
        reader.refresh()
    world.made.rotate(role)
    world.made.root()
    world.publish({"v3": b"recovered"})
    for each in (reader, world.reader()):
        assert each.refresh().lookup("v3")
    # From here on the low versions bind again.
    old = {name: world.made.files[RoleName(name)] for name in ("targets", "snapshot", "timestamp")}
    world.publish()
    reader.refresh()
    world.shelf.current |= old
    with pytest.raises(RollbackError):
        reader.refresh()


def test_a_delegations_fast_forward_is_undone_by_its_parent(world: World) -> None:
    high = 2**31 - 1
    world.made.targets(role=RELEASES, version=high)
    world.republish()
    world.reader().refresh()
    world.made.payloads[RELEASES].version = 1
    world.made.targets(role=RELEASES)
    world.republish()
    with pytest.raises(RollbackError, match=f"^targets/releases version 2 is lower than current version {high}$"):
        world.reader().refresh()
    world.made.delegation(RELEASES)
    world.made.targets()
    world.made.targets({"v4": b"recovered"}, role=RELEASES)
    world.republish()
    assert world.reader().refresh().lookup("v4").role == RELEASES
    assert parse(RELEASES, world.cache.load(world.made.gun, RELEASES) or b"").signed.version == 3


def test_more_keys_for_a_role_do_not_bring_back_its_old_versions(world: World) -> None:
    for _ in range(3):
        world.republish()
    world.reader().refresh()
    extra = NotarySigner(generate_private("ecdsa"))
    root = world.made.root_payload
    root.keys[extra.public_key.keyid] = extra.public_key
    root.roles["timestamp"] = Role([*root.roles["timestamp"].keyids, extra.public_key.keyid], 1)
    world.made.root()
    world.made.snapshot()
    world.made.signers["timestamp"] = [extra]
    world.made.timestamp(version=2)
    world.shelf.put(world.made.files)
    with pytest.raises(RollbackError, match=r"^timestamp version 2 is lower than current version 4$"):
        world.reader().refresh()


def test_a_kept_file_is_checked_against_the_keys_of_today(world: World) -> None:
    world.reader().refresh()
    world.made.delegation(RELEASES)  # with new keys, and the old file stays
    world.made.targets()
    world.republish()
    verified = world.reader().refresh()
    assert isinstance(verified.skipped[RELEASES], SignatureError)
    assert DEEP not in verified.roles
    with pytest.raises(NotFoundError):
        verified.lookup("v1")


@pytest.mark.parametrize("version", ["0", "-1", "2147483648", "9223372036854775808", '"2"', "1.5", "true", "null"])
def test_a_version_out_of_bounds_is_refused(world: World, version: str) -> None:
    data = world.made.files[TIMESTAMP].replace(b'"version":1', b'"version":' + version.encode())
    world.shelf.current["timestamp"] = data
    with pytest.raises(FormatError):
        world.reader().refresh()


def test_a_root_is_fetched_again_at_most_once_per_look(world: World) -> None:
    world.reader().refresh()
    world.shelf.current["timestamp"] = CORRUPTIONS["broken signature"](world.shelf.current["timestamp"])
    world.shelf.asked.clear()
    with pytest.raises(SignatureError):
        world.reader().refresh()
    assert world.shelf.asked == ["timestamp", "root", "timestamp"]


def test_after_an_attack_the_reader_goes_on_where_it_was(world: World) -> None:
    reader = world.reader()
    reader.refresh()
    good = dict(world.shelf.current)
    for corruption in CORRUPTIONS.values():
        for role in (ROOT, TIMESTAMP):
            world.shelf.current = good | {role: corruption(good[role])}
            world.shelf.current |= {TIMESTAMP: corruption(good[TIMESTAMP])}
            with pytest.raises(UntrustedError):
                reader.refresh()
    world.shelf.reachable = False
    with pytest.raises(UnavailableError):
        reader.refresh()
    world.shelf.reachable = True
    world.shelf.current = good
    assert reader.refresh().lookup("v1").role == RELEASES
