# SPDX-License-Identifier: Apache-2.0
"""What may be published: every step of NOTARY_V1 §3.1, in the original server's own words where it has some."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection import (
    CORRUPTIONS,
    Collection,
    edited,
    pretty,
    root_signer,
    with_a_signature_by,
    with_trailing_garbage,
)
from shelf import FIXTURES, GOLDEN_NOW, golden, golden_names
from trust.errors import InvalidError
from trust.keys import NotarySigner, generate_private
from trust.metadata import describe
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.update import CheckedUpdate, RefusedUpdateError, check_update

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
DAY = timedelta(days=1)
DEEP, ALICE = RoleName("targets/releases/deep"), RoleName("targets/alice")


@cache
def captured() -> list[dict[str, Any]]:
    """The details of INVALID_UPDATE that the original server answered with."""
    found = []
    for name in ("errors-memory.jsonl", "errors-postgres.jsonl"):
        for line in (FIXTURES / "captures" / name).read_text().splitlines():
            body = json.loads(line)["body"]
            if "INVALID_UPDATE" in body:
                found.append(json.loads(body)["errors"][0])
    return found


def original(case: str) -> dict[str, Any]:
    """What the original server answered in the captured case: name and message."""
    for line in (FIXTURES / "captures" / "errors-memory.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["case"] == case:
            detail: dict[str, Any] = json.loads(entry["body"])["errors"][0]["detail"]
            return detail
    raise AssertionError(f"nothing was captured of {case}")


class Site:
    """A collection's publisher, and what the server has stored of it."""

    def __init__(self, *, snapshot_by_publisher: bool = True) -> None:
        self.made = Collection("localhost:5000/library/app", NOW)
        self.stored: dict[RoleName, bytes] = {}
        self.now = NOW
        self.asked: list[RoleName] = []

    def current(self, role: RoleName) -> bytes | None:
        self.asked.append(role)
        return self.stored.get(role)

    def check(self, uploads: Mapping[RoleName, bytes]) -> CheckedUpdate:
        return check_update(self.made.gun, uploads, self.current, self.now)

    def upload(self, *roles: RoleName) -> CheckedUpdate:
        """Check the newest files of these roles."""
        return self.check({role: self.made.files[role] for role in roles})

    def store(self, *roles: RoleName) -> None:
        """Check and store the newest files of these roles."""
        self.stored |= self.upload(*roles).files

    def refused(self, uploads: Mapping[RoleName, bytes], name: str, message: str) -> RefusedUpdateError:
        """The update is refused with exactly this detail."""
        with pytest.raises(RefusedUpdateError) as refusal:
            self.check(uploads)
        error = refusal.value
        assert (error.name, error.reason) == (name, message)
        assert error.detail == {"Name": name, "Error": {"Msg": message}}
        assert (error.status, error.code) == (400, "INVALID_UPDATE")
        assert error.message == captured()[0]["message"]
        return error


@pytest.fixture
def site() -> Site:
    """Root and targets 1 are stored."""
    made = Site()
    made.made.root()
    made.made.targets({"v1": b"one"})
    made.store(ROOT, TARGETS)
    return made


# Step 1 and 2: root.


def test_nothing_is_published_without_a_root() -> None:
    site = Site()
    detail = original("targets without any root")
    site.made.targets()
    for uploads in ({TARGETS: site.made.files[TARGETS]}, {}, {TIMESTAMP: b"ignored"}):
        site.refused(uploads, detail["Name"], detail["Error"]["Msg"])


def test_nothing_at_all_is_a_legal_update_of_what_is_there(site: Site) -> None:
    checked = site.check({})
    assert checked.files == {}
    assert checked.loaded == {ROOT: site.stored[ROOT]}
    assert checked.root.to_bytes() == site.stored[ROOT]
    assert checked.snapshot is None


@pytest.mark.parametrize("version", [1, 2])
def test_the_first_root_is_version_one_or_two(version: int) -> None:
    site = Site()
    site.made.root(version=version)
    assert site.upload(ROOT).root.signed.version == version


@pytest.mark.parametrize("version", [0, 3, 5, 9])
def test_a_first_root_of_another_version_is_refused(version: int) -> None:
    site = Site()
    message = f"Root modifications must increment the version. Current 1, new {version}"
    site.refused({ROOT: site.made.root(version=version)}, "ErrBadRoot", message)
    if version == 5:
        assert original("root version 5 first") == {"Name": "ErrBadRoot", "Error": {"Msg": message}}


def test_an_empty_root_is_of_version_zero() -> None:
    detail = original("root = {} ")
    Site().refused({ROOT: b"{}"}, detail["Name"], detail["Error"]["Msg"])
    Site().refused({ROOT: b'{"signed":{}}'}, detail["Name"], detail["Error"]["Msg"])


def test_the_same_and_the_next_root_may_follow(site: Site) -> None:
    assert site.upload(ROOT).root.signed.version == 1  # refused when it is stored: not newer
    site.made.rotate("root")
    site.made.root()
    assert site.upload(ROOT).root.signed.version == 2


@pytest.mark.parametrize("version", [0, 3, 4, 2**31 - 1])
def test_a_root_may_neither_skip_nor_go_back(site: Site, version: int) -> None:
    message = f"Root modifications must increment the version. Current 1, new {version}"
    site.refused({ROOT: site.made.root(version=version)}, "ErrBadRoot", message)
    if version == 3:
        assert original("root v3 (skip)")["Error"]["Msg"] == message
    site.made.root(version=2)
    site.store(ROOT)
    message = "Root modifications must increment the version. Current 2, new 1"
    site.refused({ROOT: site.made.root(version=1)}, "ErrBadRoot", message)


def test_an_expired_root_cannot_be_uploaded_but_can_be_replaced(site: Site) -> None:
    yesterday = original("root v2 expired")
    site.now = datetime.fromisoformat("2026-11-24T06:38:27Z")
    data = site.made.root(expires=site.now - DAY)
    site.refused({ROOT: data}, yesterday["Name"], yesterday["Error"]["Msg"])
    site.made.root(version=2, expires=NOW + DAY)
    site.store(ROOT)
    site.now = NOW + 2 * DAY
    site.made.root()
    site.made.targets({"v2": b"two"})
    assert site.upload(ROOT, TARGETS).root.signed.version == 3
    assert site.upload(TARGETS).loaded[ROOT] == site.stored[ROOT]


def test_a_root_names_no_key_that_is_not_there(site: Site) -> None:
    fields = site.made.fields("root")
    (keyid,) = fields["roles"]["root"]["keyids"]
    fields["keys"].pop(keyid)
    fields["version"] = 2
    message = f"root type metadata invalid: key ID {keyid} specified in root without corresponding key"
    site.refused({ROOT: site.made.sign_fields("root", fields)}, "ErrBadRoot", message)
    pattern = re.sub(r"[0-9a-f]{64}", keyid, original("root w/o x509 root key")["Error"]["Msg"])
    assert pattern == message


ROTATION = "could not rotate trust to a new trusted root: failed to validate data with current trusted certificates"
LEAVES = "could not validate the path to a trusted root: unable to retrieve valid leaf certificates"
INTEGRITY = "could not validate the path to a trusted root: failed to validate integrity of roots"


def test_a_new_root_must_be_signed_by_the_stored_roots_keys(site: Site) -> None:
    before = site.made.signers["root"]
    site.made.rotate("root")
    site.made.root()
    site.refused({ROOT: site.made.sign("root")}, "ErrBadRoot", ROTATION)
    site.refused({ROOT: site.made.sign("root", signers=before)}, "ErrBadRoot", INTEGRITY)
    site.refused({ROOT: edited(site.made.files[ROOT], lambda f: f.update(signatures=[]))}, "ErrBadRoot", ROTATION)
    site.upload(ROOT)


def test_a_first_root_must_be_signed_by_its_own_keys() -> None:
    site = Site()
    data = site.made.root()
    site.refused({ROOT: with_a_signature_by(data, root_signer(site.made.gun, NOW))}, "ErrBadRoot", INTEGRITY)
    site.refused({ROOT: edited(data, lambda f: f.update(signatures=[]))}, "ErrBadRoot", INTEGRITY)


def test_a_roots_certificate_must_be_valid_and_for_the_gun(site: Site) -> None:
    for signer in (
        root_signer("localhost:5000/library/other", NOW),
        root_signer(site.made.gun, NOW - 9 * DAY, days=8),
        root_signer(site.made.gun, NOW, authority=True),
        NotarySigner(generate_private("ecdsa")),
    ):
        fresh = Site()
        fresh.made._replace("root", [signer], 1)
        fresh.refused({ROOT: fresh.made.root()}, "ErrBadRoot", LEAVES)


def test_a_stored_root_that_does_not_hold_stops_everything(site: Site) -> None:
    site.stored[ROOT] = CORRUPTIONS["later expiry"](site.stored[ROOT])
    site.made.root()
    for uploads in ({}, {ROOT: site.made.files[ROOT]}, {TARGETS: site.made.files[TARGETS]}):
        with pytest.raises(RefusedUpdateError) as refusal:
            site.check(uploads)
        assert refusal.value.name == "ErrValidation"


def test_only_the_new_root_counts_for_the_files_beside_it(site: Site) -> None:
    old = site.made.sign("targets")
    site.made.rotate("targets")
    site.made.root()
    site.made.targets({"v2": b"two"})
    checked = site.upload(ROOT, TARGETS)
    assert checked.root.signed.version == 2
    assert checked.loaded == checked.files == {role: site.made.files[role] for role in (ROOT, TARGETS)}
    threshold = "valid signatures did not meet threshold for targets"
    site.refused({ROOT: site.made.files[ROOT], TARGETS: old}, "ErrBadTargets", threshold)
    site.refused({TARGETS: site.made.files[TARGETS]}, "ErrBadTargets", threshold)


# Step 3: targets and delegations.


def test_targets_are_stored_as_they_came(site: Site) -> None:
    data = pretty(site.made.targets({"v2": b"two"}))
    checked = site.check({TARGETS: data})
    assert checked.files == {TARGETS: data}
    assert checked.loaded == {ROOT: site.stored[ROOT], TARGETS: data}


@pytest.mark.parametrize(
    ("case", "fields"),
    [
        ("wrong _type", {"_type": "Root"}),
        ("targets version 0", {"version": 0}),
        ("targets version -1", {"version": -1}),
    ],
)
def test_targets_must_be_well_formed(site: Site, case: str, fields: dict[str, Any]) -> None:
    detail = original(case)
    data = site.made.sign_fields("targets", site.made.fields("targets") | fields)
    site.refused({TARGETS: data}, detail["Name"], detail["Error"]["Msg"])


def test_targets_must_be_signed(site: Site) -> None:
    data = site.made.targets({"v2": b"two"})
    for case, bad in (
        ("no signatures", edited(data, lambda f: f.update(signatures=[]))),
        ("bad signature", CORRUPTIONS["broken signature"](data)),
        ("signed by unknown key", with_a_signature_by(data, NotarySigner(generate_private("ecdsa")))),
    ):
        detail = original(case)
        site.refused({TARGETS: bad}, detail["Name"], detail["Error"]["Msg"])


def test_expired_targets_cannot_be_uploaded(site: Site) -> None:
    detail = original("expired targets")
    site.now = datetime.fromisoformat("2026-11-24T06:38:27Z")
    data = site.made.targets(expires=site.now - DAY)
    site.refused({TARGETS: data}, detail["Name"], detail["Error"]["Msg"])


def test_stored_targets_that_expired_can_be_replaced_and_delegate(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets(expires=NOW + DAY)
    site.store(TARGETS)
    site.now = NOW + 2 * DAY
    site.made.targets({"v1": b"one"}, role=RELEASES)
    assert site.upload(RELEASES).loaded[TARGETS] == site.stored[TARGETS]
    site.made.targets({"v3": b"three"})
    assert set(site.upload(TARGETS, RELEASES).files) == {TARGETS, RELEASES}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("role", [ROOT, TARGETS, RELEASES, SNAPSHOT])
def test_no_corruption_can_be_published(site: Site, role: RoleName, corruption: str) -> None:
    site.made.delegation(RELEASES)
    site.made.root()
    site.made.targets()
    site.made.targets({"v1": b"one"}, role=RELEASES)
    site.made.snapshot()
    good = {name: site.made.files[name] for name in (ROOT, TARGETS, RELEASES, SNAPSHOT)}
    site.check(good)
    with pytest.raises(RefusedUpdateError) as refusal:
        site.check(good | {role: CORRUPTIONS[corruption](good[role])})
    assert refusal.value.name == {ROOT: "ErrBadRoot", SNAPSHOT: "ErrBadSnapshot"}.get(role, "ErrBadTargets")


@pytest.mark.parametrize("role", [ROOT, TARGETS, RELEASES, SNAPSHOT])
@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b"null", b"{}", b'{"signed":{"version":1.5}}', b"[" * 9999])
def test_garbage_is_refused_in_a_sentence(site: Site, role: RoleName, data: bytes) -> None:
    with pytest.raises(RefusedUpdateError) as refusal:
        site.check({role: data})
    assert refusal.value.reason
    assert len(refusal.value.reason) < 300


def test_something_after_the_json_is_refused_and_white_space_is_not(site: Site) -> None:
    data = site.made.targets({"v2": b"two"})
    with pytest.raises(RefusedUpdateError):
        site.check({TARGETS: with_trailing_garbage(data)})
    assert site.check({TARGETS: data + b"\n"}).files[TARGETS] == data + b"\n"


def test_a_delegation_that_nobody_made_is_refused(site: Site) -> None:
    detail = original("undelegated targets/foo")
    foo = RoleName("targets/foo")
    site.made.delegation(foo)
    data = site.made.targets({"v1": b"x"}, role=foo)
    site.refused({foo: data}, detail["Name"], detail["Error"]["Msg"])
    site.made.targets()
    site.check({foo: data, TARGETS: site.made.files[TARGETS]})


def test_a_delegation_of_a_parent_that_is_not_there_is_refused(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    site.made.delegation(DEEP)
    site.made.targets(role=RELEASES)
    site.made.targets({"v1": b"x"}, role=DEEP)
    message = f"tuf: invalid role {DEEP}. delegation does not exist"
    site.refused({DEEP: site.made.files[DEEP]}, "ErrBadTargets", message)
    site.refused({TARGETS: site.made.files[TARGETS], DEEP: site.made.files[DEEP]}, "ErrBadTargets", message)
    assert set(site.upload(TARGETS, RELEASES, DEEP).files) == {TARGETS, RELEASES, DEEP}


def test_a_delegation_without_any_targets_is_refused() -> None:
    site = Site()
    site.made.root()
    site.store(ROOT)
    site.made.delegation(RELEASES)
    data = site.made.targets(role=RELEASES)
    message = "tuf: invalid role targets/releases. delegation does not exist"
    site.refused({RELEASES: data}, "ErrBadTargets", message)


def test_parents_and_children_may_come_in_any_order(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.delegation(ALICE)
    site.made.targets()
    site.made.delegation(DEEP)
    for role in (RELEASES, ALICE, DEEP):
        site.made.targets({"v1": b"x"}, role=role)
    for order in itertools.permutations((TARGETS, RELEASES, ALICE, DEEP)):
        checked = site.check({role: site.made.files[role] for role in order})
        assert set(checked.files) == {TARGETS, RELEASES, ALICE, DEEP}
        assert set(checked.loaded) == {ROOT, TARGETS, RELEASES, ALICE, DEEP}


def test_the_uploaded_parent_decides_and_not_the_stored_one(site: Site) -> None:
    old = site.made.delegation(RELEASES)
    site.made.targets()
    site.made.targets({"v1": b"x"}, role=RELEASES)
    site.store(TARGETS, RELEASES)
    site.made.delegation(RELEASES)  # with new keys
    site.made.targets()
    site.made.targets({"v2": b"y"}, role=RELEASES)
    threshold = "valid signatures did not meet threshold for targets/releases"
    site.refused({RELEASES: site.made.files[RELEASES]}, "ErrBadTargets", threshold)
    site.upload(TARGETS, RELEASES)
    by_old = site.made.sign(RELEASES, signers=old)
    site.check({RELEASES: by_old})
    site.refused({TARGETS: site.made.files[TARGETS], RELEASES: by_old}, "ErrBadTargets", threshold)


def test_a_delegation_alone_needs_only_its_ancestors(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.delegation(ALICE)
    site.made.targets()
    site.made.delegation(DEEP)
    for role in (RELEASES, ALICE, DEEP):
        site.made.targets({"v1": b"x"}, role=role)
    site.store(TARGETS, RELEASES, ALICE, DEEP)
    site.stored[ALICE] = b"nobody looks at this"
    site.made.targets({"v2": b"y"}, role=DEEP)
    site.asked.clear()
    checked = site.upload(DEEP)
    assert checked.files == {DEEP: site.made.files[DEEP]}
    assert list(checked.loaded) == [ROOT, TARGETS, RELEASES, DEEP]
    assert site.asked == [ROOT, TARGETS, RELEASES]


def test_a_delegation_that_its_parent_revoked_is_refused(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    site.made.targets({"v1": b"x"}, role=RELEASES)
    site.store(TARGETS, RELEASES)
    site.made.revoke(RELEASES)
    site.made.targets()
    site.made.targets({"v2": b"y"}, role=RELEASES)
    message = "tuf: invalid role targets/releases. delegation does not exist"
    site.refused({TARGETS: site.made.files[TARGETS], RELEASES: site.made.files[RELEASES]}, "ErrBadTargets", message)
    site.store(TARGETS)
    site.refused({RELEASES: site.made.files[RELEASES]}, "ErrBadTargets", message)


def test_an_ancestor_that_the_new_root_no_longer_vouches_for_is_refused(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    site.store(TARGETS)
    site.made.rotate("targets")
    site.made.root()
    site.made.targets({"v1": b"x"}, role=RELEASES)
    threshold = "valid signatures did not meet threshold for targets"
    uploads = {ROOT: site.made.files[ROOT], RELEASES: site.made.files[RELEASES]}
    site.refused(uploads, "ErrBadTargets", threshold)


def test_a_timestamp_from_a_publisher_is_ignored(site: Site) -> None:
    for data in (b"garbage", site.made.files[TARGETS]):
        checked = site.check({TIMESTAMP: data})
        assert checked.files == {}
        assert TIMESTAMP not in checked.loaded


# Step 4: a publisher's own snapshot.


def test_a_publishers_snapshot_names_what_is_published(site: Site) -> None:
    site.made.targets({"v2": b"two"})
    site.made.snapshot()
    checked = site.upload(TARGETS, SNAPSHOT)
    assert checked.snapshot is not None
    assert checked.snapshot.signed.version == 1
    assert set(checked.files) == {TARGETS, SNAPSHOT}
    assert SNAPSHOT not in checked.loaded
    site.stored |= checked.files
    site.made.snapshot()
    site.upload(SNAPSHOT)


def test_a_snapshot_by_another_key_is_refused(site: Site) -> None:
    detail = original("client snapshot (server holds key)")
    site.made.signers["snapshot"] = [NotarySigner(generate_private("ecdsa"))]
    data = site.made.snapshot()
    site.refused({SNAPSHOT: data}, detail["Name"], detail["Error"]["Msg"])


def test_an_expired_snapshot_is_refused(site: Site) -> None:
    data = site.made.snapshot(expires=NOW - DAY)
    site.refused({SNAPSHOT: data}, "ErrBadSnapshot", "snapshot expired at Mon Nov 23 08:00:00 UTC 2026")


@pytest.mark.parametrize("role", [ROOT, TARGETS, RELEASES])
def test_a_snapshot_must_describe_every_file_that_is_uploaded(site: Site, role: RoleName) -> None:
    site.made.delegation(RELEASES)
    site.made.root()
    site.made.targets()
    site.made.targets({"v1": b"x"}, role=RELEASES)
    good = {name: site.made.files[name] for name in (ROOT, TARGETS, RELEASES)}
    site.made.files[role] = b"something else"
    site.made.snapshot()
    expected = (describe(b"something else").hashes or {})["sha256"]
    message = f"sha256 checksum for {role} did not match: expected {expected}"
    site.refused(good | {SNAPSHOT: site.made.files[SNAPSHOT]}, "ErrBadSnapshot", message)


def test_a_snapshot_must_describe_files_that_were_only_read_to_get_there(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    site.store(TARGETS)
    site.made.targets({"v1": b"x"}, role=RELEASES)
    site.made.files[TARGETS] = b"not what is stored"
    site.made.snapshot()
    expected = (describe(b"not what is stored").hashes or {})["sha256"]
    message = f"sha256 checksum for targets did not match: expected {expected}"
    site.refused({r: site.made.files[r] for r in (RELEASES, SNAPSHOT)}, "ErrBadSnapshot", message)


def test_a_sha512_that_does_not_match_is_refused_too(site: Site) -> None:
    site.made.snapshot()
    fields = site.made.fields("snapshot")
    fields["meta"]["targets"]["hashes"]["sha512"] = fields["meta"]["root"]["hashes"]["sha512"]
    with pytest.raises(RefusedUpdateError, match="invalid") as refusal:
        site.check({SNAPSHOT: site.made.sign_fields("snapshot", fields)})
    assert refusal.value.name == "ErrBadSnapshot"
    assert "checksum for targets did not match" in refusal.value.reason


def test_lengths_in_a_snapshot_are_not_checked_as_in_notary(site: Site) -> None:
    site.made.snapshot()
    fields = site.made.fields("snapshot")
    fields["meta"]["targets"]["length"] += 1
    site.check({SNAPSHOT: site.made.sign_fields("snapshot", fields)})


def test_a_snapshot_that_forgets_a_file_of_the_update_is_refused(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    site.made.snapshot()
    site.made.targets({"v1": b"x"}, role=RELEASES)
    message = "snapshot does not name targets/releases, which the update or its parent holds"
    uploads = {role: site.made.files[role] for role in (TARGETS, RELEASES, SNAPSHOT)}
    site.refused(uploads, "ErrBadSnapshot", message)


def test_a_snapshot_may_not_name_files_that_nobody_has(site: Site) -> None:
    site.made.files[RELEASES] = b"never uploaded"
    site.made.snapshot()
    message = "snapshot names targets/releases, which is neither stored nor in the update"
    site.refused({SNAPSHOT: site.made.files[SNAPSHOT]}, "ErrBadSnapshot", message)


def test_a_first_snapshot_may_not_name_targets_that_nobody_has() -> None:
    site = Site()
    site.made.root()
    site.made.targets()
    site.made.snapshot()
    message = "snapshot names targets, which is neither stored nor in the update"
    site.refused({r: site.made.files[r] for r in (ROOT, SNAPSHOT)}, "ErrBadSnapshot", message)
    site.upload(ROOT, TARGETS, SNAPSHOT)


def test_a_snapshot_may_not_bring_back_an_older_delegation(site: Site) -> None:
    site.made.delegation(RELEASES)
    site.made.targets()
    old = site.made.targets({"v1": b"x"}, role=RELEASES)
    site.store(TARGETS, RELEASES)
    site.made.targets({"v2": b"y"}, role=RELEASES)
    site.store(RELEASES)
    site.made.files[RELEASES] = old
    site.made.snapshot()
    with pytest.raises(RefusedUpdateError) as refusal:
        site.check({SNAPSHOT: site.made.files[SNAPSHOT]})
    assert refusal.value.reason.startswith("sha256 checksum for targets/releases did not match")


def test_a_snapshot_may_name_what_has_no_role(site: Site) -> None:
    site.made.snapshot()
    fields = site.made.fields("snapshot")
    fields["meta"]["mirrors"] = fields["meta"]["root"]
    fields["meta"]["targets/Upper.Case"] = fields["meta"]["root"]
    site.check({SNAPSHOT: site.made.sign_fields("snapshot", fields)})


def test_a_snapshot_must_name_root_and_targets(site: Site) -> None:
    site.made.snapshot()
    for name in ("root", "targets"):
        fields = site.made.fields("snapshot")
        del fields["meta"][name]
        message = f"snapshot type metadata invalid: missing {name} sha256 checksum information"
        site.refused({SNAPSHOT: site.made.sign_fields("snapshot", fields)}, "ErrBadSnapshot", message)


def test_the_snapshot_key_of_the_new_root_counts(site: Site) -> None:
    before = site.made.signers["snapshot"]
    site.made.rotate("snapshot")
    site.made.root()
    site.made.snapshot()
    site.upload(ROOT, SNAPSHOT)
    by_old = site.made.sign("snapshot", signers=before)
    threshold = "valid signatures did not meet threshold for snapshot"
    site.refused({ROOT: site.made.files[ROOT], SNAPSHOT: by_old}, "ErrBadSnapshot", threshold)


# The whole.


def test_a_refusal_has_a_missing_role_only_where_there_is_one() -> None:
    error = RefusedUpdateError("ErrBadHierarchy", "why", missing="snapshot")
    assert error.detail == {"Name": "ErrBadHierarchy", "Error": {"Missing": "snapshot", "Msg": "why"}}
    assert list(error.detail["Error"]) == ["Missing", "Msg"]  # as the original writes it
    assert isinstance(error, InvalidError)


@pytest.mark.parametrize("name", [name for name in golden_names() if name != "expired-targets"])
def test_every_golden_collection_can_be_published_as_its_clients_did(name: str) -> None:
    vector = golden(name)
    stored: dict[RoleName, bytes] = {}
    for stem in sorted(stem for stem in vector.files if stem.endswith(".root")):
        checked = check_update(vector.gun, {ROOT: vector.files[stem]}, stored.get, GOLDEN_NOW)
        stored |= checked.files
    uploads = {role: vector.current[role] for role in vector.roles if role not in (ROOT, TIMESTAMP)}
    removed = {role for role in uploads if role.is_delegation and role not in _delegated(uploads[role.parent])}
    for role in removed:  # which the server's snapshots name for ever
        stored[role] = uploads.pop(role)
    checked = check_update(vector.gun, uploads, stored.get, GOLDEN_NOW)
    assert checked.files == uploads
    assert checked.root.to_bytes() == vector.current[ROOT]


def _delegated(data: bytes) -> list[str]:
    return [entry["name"] for entry in json.loads(data)["signed"]["delegations"]["roles"] or []]


def test_the_golden_targets_that_had_expired_cannot_be_published() -> None:
    vector = golden("expired-targets")
    uploads = {RoleName(role): data for role, data in vector.current.items() if role != "timestamp"}
    with pytest.raises(RefusedUpdateError) as refusal:
        check_update(vector.gun, uploads, lambda _: None, GOLDEN_NOW)
    assert refusal.value.name == "ErrBadTargets"
    assert refusal.value.reason.startswith("targets expired at Tue Nov 24 ")


@cache
def _site() -> Site:
    made = Site()
    made.made.delegation(RELEASES)
    made.made.root()
    made.made.targets({"v1": b"one"})
    made.made.targets({"v1": b"one"}, role=RELEASES)
    made.made.snapshot()
    return made


@given(st.dictionaries(st.sampled_from([ROOT, TARGETS, RELEASES, SNAPSHOT]), st.binary(), min_size=1))
def test_arbitrary_uploads_raise_refusals_only(uploads: dict[RoleName, bytes]) -> None:
    files = {role: _site().made.files[role] for role in (ROOT, TARGETS, RELEASES, SNAPSHOT)}
    for stored in ({}, files):
        with contextlib.suppress(RefusedUpdateError):
            check_update(_site().made.gun, uploads, stored.get, NOW)
            pytest.fail("garbage was accepted")
