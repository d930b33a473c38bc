# SPDX-License-Identifier: Apache-2.0
"""The rules of belief, one at a time: signatures, roots, time, versions, descriptions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import MetaFile, Role, Root, Targets

from collection import Collection, edited, envelope, root_signer, signed, with_a_signature_by
from trust.canonical import to_wire
from trust.chain import (
    allowed_paths,
    check_described,
    check_fresh,
    check_root,
    check_signatures,
    check_version,
)
from trust.dialect import PrefixRole
from trust.errors import (
    DelegationError,
    ExpiredError,
    HashError,
    InvalidError,
    KeyIdError,
    PinError,
    RollbackError,
    RotationError,
    SignatureError,
    SizeError,
)
from trust.keys import NotaryKey, NotarySigner, certificate_key, generate_private, public_key_of
from trust.metadata import NotaryMetadata, describe, parse, parse_root, parse_targets
from trust.names import Gun, RoleName
from trust.pins import Pins
from trust.publickeys import read_public_key

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
GUN = "localhost:5000/library/app"
TARGETS = RoleName("targets")
PATH = r"could not validate the path to a trusted root: "
ROTATE = r"^could not rotate trust to a new trusted root: failed to validate data with current trusted certificates$"


def collection(gun: str = GUN) -> Collection:
    made = Collection(gun, NOW)
    made.publish({"v1": b"manifest"})
    return made


def judge(signers: list[NotarySigner], threshold: int) -> tuple[Root, NotaryMetadata[Targets]]:
    """A root that lets `signers` sign targets, and targets that all of them signed."""
    made = Collection(GUN, NOW)
    made.targets({"v1": b"content"})
    root = made.root_payload
    keys = [signer.public_key for signer in signers]
    root.keys |= {key.keyid: key for key in keys}
    root.roles["targets"] = Role([key.keyid for key in keys], threshold)
    return root, parse_targets(TARGETS, made.sign("targets", signers=signers))


# Signatures and thresholds.


@pytest.mark.parametrize(("keys", "threshold", "good"), [(1, 1, True), (2, 1, True), (3, 3, True), (2, 3, False),
                                                         (1, 2, False), (5, 4, True)])  # fmt: skip
def test_a_threshold_counts_keys(keys: int, threshold: int, good: bool) -> None:
    root, meta = judge([NotarySigner(generate_private("ed25519")) for _ in range(keys)], threshold)
    if good:
        check_signatures(root, meta)
        return
    with pytest.raises(SignatureError, match=r"^valid signatures did not meet threshold for targets$") as refusal:
        check_signatures(root, meta)
    assert refusal.value.detail == {"role": "targets", "threshold": threshold, "valid": keys}


def test_no_key_counts_twice_however_often_it_signed() -> None:
    """T13."""
    signer = NotarySigner(generate_private("ecdsa"))
    root, meta = judge([signer], 2)
    payload = meta.signed_bytes
    data = envelope(to_wire(payload), [signed(signer, payload) for _ in range(5)])
    with pytest.raises(SignatureError, match="threshold for targets"):
        check_signatures(root, parse_targets(TARGETS, data))


def test_a_key_listed_twice_in_a_role_counts_once() -> None:
    made = collection()
    fields = made.fields("root")
    fields["roles"]["targets"] = {"keyids": fields["roles"]["targets"]["keyids"] * 3, "threshold": 2}
    root = parse_root(made.sign_fields("root", fields)).signed
    with pytest.raises(SignatureError, match="threshold for targets"):
        check_signatures(root, parse_targets(TARGETS, made.files[TARGETS]))
    fields["roles"]["targets"]["threshold"] = 1
    root = parse_root(made.sign_fields("root", fields)).signed
    check_signatures(root, parse_targets(TARGETS, made.files[TARGETS]))


def test_a_bare_key_and_its_certificate_are_one_key() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    bare, certified = NotarySigner(private), root_signer("x", NOW, key=private)
    assert bare.public_key.keyid != certified.public_key.keyid
    root, meta = judge([bare, certified], 2)
    with pytest.raises(SignatureError, match="threshold for targets"):
        check_signatures(root, meta)
    root.roles["targets"].threshold = 1
    check_signatures(root, meta)


def test_two_certificates_of_one_key_are_one_key() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    root, meta = judge([root_signer("x", NOW, key=private), root_signer("y", NOW, key=private)], 2)
    with pytest.raises(SignatureError, match="threshold for targets"):
        check_signatures(root, meta)


def test_one_key_in_two_encodings_is_one_key() -> None:
    """T13."""
    elliptic = ec.generate_private_key(ec.SECP256R1())
    point = elliptic.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    compressed = NotarySigner(elliptic, NotaryKey.from_public("ecdsa", prefix + point))
    long = rsa.generate_private_key(65537, 2048)
    text = long.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for signers in (
        [NotarySigner(elliptic), compressed],
        [NotarySigner(long), NotarySigner(long, NotaryKey.from_public("rsa", text))],
    ):
        root, meta = judge(signers, 2)
        with pytest.raises(SignatureError, match="threshold for targets"):
            check_signatures(root, meta)
        root.roles["targets"].threshold = 1
        check_signatures(root, meta)


def test_keys_of_different_kinds_meet_a_threshold_together() -> None:
    root, meta = judge([NotarySigner(generate_private("ecdsa")), NotarySigner(generate_private("ed25519"))], 2)
    check_signatures(root, meta)


def test_signatures_by_keys_of_other_roles_do_not_count() -> None:
    made = collection()
    for other in ("root", "snapshot", "timestamp"):
        data = with_a_signature_by(made.files[TARGETS], made.signers[other][0])
        with pytest.raises(SignatureError, match="threshold for targets"):
            check_signatures(made.root_payload, parse_targets(TARGETS, data))


def test_a_file_without_signatures_says_so() -> None:
    made = collection()
    data = edited(made.files[TARGETS], lambda file: file.update(signatures=[]))
    with pytest.raises(SignatureError, match=r"^tuf: data has no signatures$"):
        check_signatures(made.root_payload, parse_targets(TARGETS, data))


@pytest.mark.parametrize("place", [0, 1])
def test_a_key_under_a_wrong_id_fails_the_check_whatever_else_is_well_signed(place: int) -> None:
    good, other = NotarySigner(generate_private("ecdsa")), generate_private("ecdsa")
    right = public_key_of(other)
    wrong = NotarySigner(other, NotaryKey("0" * 64, right.keytype, right.public))
    signers = [good, wrong] if place else [wrong, good]
    root, meta = judge(signers, 1)
    with pytest.raises(KeyIdError, match="key ID is not valid for key content"):
        check_signatures(root, meta)


def test_a_key_under_a_wrong_id_that_did_not_sign_does_no_harm() -> None:
    good = NotarySigner(generate_private("ecdsa"))
    root, meta = judge([good], 1)
    root.keys["0" * 64] = NotaryKey("0" * 64, "ecdsa", b"anything")
    root.roles["targets"].keyids.append("0" * 64)
    check_signatures(root, meta)


def test_a_key_of_an_unknown_type_counts_for_nothing_and_does_no_harm() -> None:
    good = NotarySigner(generate_private("ecdsa"))
    root, meta = judge([good], 1)
    odd = NotaryKey.from_public("tpm2", b"?")
    root.keys[odd.keyid] = odd
    root.roles["targets"].keyids.insert(0, odd.keyid)
    check_signatures(root, meta)
    root.roles["targets"].threshold = 2
    with pytest.raises(SignatureError):
        check_signatures(root, meta)


def test_a_role_that_nobody_delegates_is_refused() -> None:
    made = collection()
    made.delegation("targets/alice")
    data = made.targets({"v2": b"x"}, role="targets/alice")
    meta = parse(RoleName("targets/alice"), data)
    for delegator in (made.root_payload, Targets(), parse_targets(TARGETS, made.files[TARGETS]).signed):
        with pytest.raises(DelegationError, match=r"^tuf: invalid role targets/alice\. delegation does not exist$"):
            check_signatures(delegator, meta)
    check_signatures(parse_targets(TARGETS, made.targets()).signed, meta)


def _patched(key: NotaryKey, old: bytes, new: bytes) -> NotaryKey:
    """The certificate in `key` with other bytes; nobody checks its own signature (NOTARY_V1 §1.6)."""
    der = x509.load_pem_x509_certificate(key.public).public_bytes(serialization.Encoding.DER)
    assert old in der
    encoded = base64.encodebytes(der.replace(old, new)).decode()
    return certificate_key(f"-----BEGIN CERTIFICATE-----\n{encoded}-----END CERTIFICATE-----\n".encode())


def _sha1() -> NotaryKey:
    good = root_signer("ci", NOW, key=rsa.generate_private_key(65537, 2048)).public_key
    rsa_with = bytes.fromhex("06092a864886f70d0101")  # and then: 11 is SHA-256, 5 is SHA-1
    return _patched(good, rsa_with + b"\x0b", rsa_with + b"\x05")


def _turned() -> NotaryKey:
    good = root_signer("ci", NOW, days=365).public_key
    begin, end = b"\x17\x0d261124080000Z", b"\x17\x0d271124080000Z"
    return _patched(good, begin + end, end + begin)


@pytest.mark.parametrize(
    ("make", "good"),
    [
        (_sha1, False),
        (_turned, False),
        (lambda: root_signer("ci", NOW, key=rsa.generate_private_key(65537, 1024)).public_key, False),
        (lambda: root_signer("ci", NOW, days=-1).public_key, True),  # the file's own expiry counts
        (lambda: root_signer("another name", NOW + timedelta(days=300)).public_key, True),
        (lambda: NotaryKey.from_public("ecdsa-x509", b"no certificate"), True),  # it verifies nothing
    ],
    ids=["SHA-1", "turned window", "RSA 1024", "expired", "not begun", "none at all"],
)
def test_a_role_with_an_unsound_certificate_says_nothing_though_a_sound_key_signed(
    make: Callable[[], NotaryKey], good: bool
) -> None:
    """T11: as the Go programs do; only the window's end is not looked at (NOTARY_V1 §1.7)."""
    made = Collection(GUN, NOW)
    made.delegation("targets/ci")
    parent, key = made.payloads["targets"], make()
    assert isinstance(parent, Targets)
    assert parent.delegations is not None
    assert parent.delegations.roles is not None
    parent.delegations.keys[key.keyid] = key
    parent.delegations.roles["targets/ci"].keyids.append(key.keyid)
    meta = parse_targets(RoleName("targets/ci"), made.targets(role="targets/ci"))
    if good:
        check_signatures(parent, meta)
    else:
        with pytest.raises(SignatureError, match=f"^targets/ci is delegated to a certificate .*: {key.keyid}$"):
            check_signatures(parent, meta)


def test_a_certificate_that_expired_signs_for_its_role() -> None:
    made = Collection(GUN, NOW)
    made.delegation("targets/ci")
    signer = root_signer("ci", NOW, days=-1)
    parent, key = made.payloads["targets"], signer.public_key
    assert isinstance(parent, Targets)
    assert parent.delegations is not None
    assert parent.delegations.roles is not None
    parent.delegations.keys[key.keyid] = key
    parent.delegations.roles["targets/ci"].keyids = [key.keyid]
    made.signers["targets/ci"] = [signer]
    check_signatures(parent, parse_targets(RoleName("targets/ci"), made.targets(role="targets/ci")))


def test_a_delegations_file_does_not_pass_for_its_siblings() -> None:
    made = collection()
    made.delegation("targets/alice")
    made.delegation("targets/bob")
    parent = parse_targets(TARGETS, made.targets()).signed
    data = made.targets({"v2": b"x"}, role="targets/alice")
    with pytest.raises(SignatureError, match="threshold for targets/bob"):
        check_signatures(parent, parse(RoleName("targets/bob"), data))


# Roots.


def test_the_first_root_is_believed_for_its_gun_only() -> None:
    made = collection()
    root = parse_root(made.files[RoleName("root")])
    check_root(root, made.gun, NOW)
    with pytest.raises(PinError, match=f"^{PATH}unable to retrieve valid leaf certificates$"):
        check_root(root, Gun("localhost:5000/library/other"), NOW)


def test_a_root_signed_by_nobody_it_names_is_refused() -> None:
    made = collection()
    for data in (
        edited(made.files[RoleName("root")], lambda file: file.update(signatures=[])),
        with_a_signature_by(made.files[RoleName("root")], root_signer(GUN, NOW)),
        with_a_signature_by(made.files[RoleName("root")], made.signers["targets"][0]),
    ):
        with pytest.raises(SignatureError, match=f"^{PATH}failed to validate integrity of roots$"):
            check_root(parse_root(data), made.gun, NOW)


def test_a_root_with_bare_keys_never_validates() -> None:
    made = Collection(GUN, NOW)
    bare = NotarySigner(generate_private("ecdsa"))
    made.hand_over("root", bare.public_key)
    made.signers["root"] = [bare]
    with pytest.raises(PinError, match="unable to retrieve valid leaf certificates"):
        check_root(parse_root(made.root()), made.gun, NOW)


def test_bare_keys_do_not_help_to_meet_a_roots_threshold() -> None:
    made = Collection(GUN, NOW)
    bare = NotarySigner(generate_private("ecdsa"))
    root = made.root_payload
    root.keys[bare.public_key.keyid] = bare.public_key
    root.roles["root"].keyids.append(bare.public_key.keyid)
    root.roles["root"].threshold = 2
    made.signers["root"].append(bare)
    with pytest.raises(SignatureError, match="integrity of roots"):
        check_root(parse_root(made.root()), made.gun, NOW)


def test_a_roots_own_threshold_must_be_met() -> None:
    made = Collection(GUN, NOW)
    made.rotate("root", count=3, threshold=2)
    root = made.root()
    check_root(parse_root(root), made.gun, NOW)
    for count, good in ((2, True), (1, False)):
        meta = parse_root(made.sign("root", signers=made.signers["root"][:count]))
        if good:
            check_root(meta, made.gun, NOW)
        else:
            with pytest.raises(SignatureError):
                check_root(meta, made.gun, NOW)


def rotated(*, old_count: int = 1, old_threshold: int = 1) -> tuple[Collection, Root, list[NotarySigner]]:
    """A collection whose next root has new keys, its old root, and the old root's signers."""
    made = Collection(GUN, NOW)
    made.rotate("root", count=old_count, threshold=old_threshold)
    old = parse_root(made.root()).signed
    signers = made.signers["root"]
    made.rotate("root")
    return made, old, signers


def test_a_new_root_is_signed_by_the_old_roots_keys_and_by_its_own() -> None:
    made, old, before = rotated()
    made.root_payload.version = 2
    both = [*made.signers["root"], *before]
    check_root(parse_root(made.sign("root", signers=both)), made.gun, NOW, previous=old)
    with pytest.raises(RotationError, match=ROTATE):
        check_root(parse_root(made.sign("root", signers=made.signers["root"])), made.gun, NOW, previous=old)
    with pytest.raises(SignatureError, match="integrity of roots"):
        check_root(parse_root(made.sign("root", signers=before)), made.gun, NOW, previous=old)
    stranger = parse_root(made.sign("root", signers=[*made.signers["root"], root_signer(GUN, NOW)]))
    with pytest.raises(RotationError, match=ROTATE):
        check_root(stranger, made.gun, NOW, previous=old)


def test_the_old_roots_threshold_must_be_met_too() -> None:
    made, old, before = rotated(old_count=3, old_threshold=2)
    new = made.signers["root"]
    check_root(parse_root(made.sign("root", signers=[*new, *before[:2]])), made.gun, NOW, previous=old)
    with pytest.raises(RotationError):
        check_root(parse_root(made.sign("root", signers=[*new, before[0]])), made.gun, NOW, previous=old)


def test_a_new_root_cannot_lower_the_threshold_by_itself() -> None:
    made = Collection(GUN, NOW)
    made.rotate("root", count=2, threshold=2)
    old = parse_root(made.root()).signed
    made.root_payload.roles["root"].threshold = 1
    one = parse_root(made.sign("root", signers=made.signers["root"][:1]))
    with pytest.raises(RotationError):
        check_root(one, made.gun, NOW, previous=old)
    check_root(parse_root(made.sign("root")), made.gun, NOW, previous=old)


def test_an_expired_certificate_of_the_old_root_still_vouches() -> None:
    made = Collection(GUN, NOW)
    made.signers["root"] = [root_signer(GUN, NOW - timedelta(days=400), days=365)]
    made._name_keys("root", [made.signers["root"][0].public_key], 1)
    old = parse_root(made.root())
    with pytest.raises(PinError, match="unable to retrieve valid leaf certificates"):
        check_root(old, made.gun, NOW)
    check_root(old, made.gun, NOW, allow_expired=True)
    made.rotate("root")
    check_root(parse_root(made.root()), made.gun, NOW, previous=old.signed)


def test_an_expired_root_is_a_link_but_nothing_to_stand_on() -> None:
    made = Collection(GUN, NOW)
    root = parse_root(made.root(expires=NOW - timedelta(days=1)))
    with pytest.raises(ExpiredError, match=r"^root expired at Mon Nov 23 08:00:00 UTC 2026$"):
        check_root(root, made.gun, NOW)
    check_root(root, made.gun, NOW, allow_expired=True)


def test_pins_bind_new_roots_and_known_ones() -> None:
    made = collection()
    root = parse_root(made.files[RoleName("root")])
    (signer,) = made.signers["root"]
    good, bad = Pins(certs={GUN: (signer.public_key.keyid,)}), Pins(certs={GUN: ("0" * 64,)})
    check_root(root, made.gun, NOW, pins=good)
    for previous in (None, root.signed):
        with pytest.raises(PinError, match=f"^{PATH}unable to match any certificates to trust_pinning config$"):
            check_root(root, made.gun, NOW, pins=bad, previous=previous)
    with pytest.raises(PinError, match=f"^{PATH}invalid trust pinning specified$"):
        check_root(root, made.gun, NOW, pins=Pins(tofu=False))
    check_root(root, made.gun, NOW, pins=Pins(tofu=False), previous=root.signed)


def test_only_pinned_keys_count_for_a_roots_threshold() -> None:
    made = Collection(GUN, NOW)
    made.rotate("root", count=2, threshold=2)
    root = parse_root(made.root())
    ids = [signer.public_key.keyid for signer in made.signers["root"]]
    check_root(root, made.gun, NOW, pins=Pins(certs={GUN: tuple(ids)}))
    with pytest.raises(SignatureError, match="integrity of roots"):
        check_root(root, made.gun, NOW, pins=Pins(certs={GUN: (ids[0],)}))


def test_a_root_key_under_a_wrong_id_fails_the_whole_check() -> None:
    made = Collection(GUN, NOW)
    (signer,) = made.signers["root"]
    extra = root_signer(GUN, NOW)
    wrong = NotarySigner(extra._private, NotaryKey("0" * 64, extra.public_key.keytype, extra.public_key.public))
    made.root_payload.keys["0" * 64] = wrong.public_key
    made.root_payload.roles["root"].keyids.append("0" * 64)
    made.signers["root"] = [signer, wrong]
    with pytest.raises(KeyIdError):
        check_root(parse_root(made.root()), made.gun, NOW)


# Time, versions, descriptions.


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_file_is_valid_until_the_second_it_names(role: str) -> None:
    made = collection()
    meta = parse(RoleName(role), made.files[RoleName(role)])
    end = meta.signed.expires
    check_fresh(meta, end - timedelta(seconds=1))
    for late in (end, end + timedelta(days=1)):
        with pytest.raises(ExpiredError, match=f"^{role} expired at ") as refusal:
            check_fresh(meta, late)
        assert refusal.value.role == role
        assert refusal.value.detail == {"role": role, "expires": end.isoformat()}


def test_the_message_of_an_expiry_is_the_one_of_the_go_programs() -> None:
    error = ExpiredError("root", datetime(2020, 1, 1, tzinfo=UTC))
    assert error.message == "root expired at Wed Jan 1 00:00:00 UTC 2020"


@given(st.integers(1, 10), st.integers(0, 10))
def test_a_version_never_goes_back(version: int, least: int) -> None:
    payload = Targets()
    payload.version = version
    meta = NotaryMetadata(TARGETS, payload)
    if version >= least:
        check_version(meta, least)
        return
    with pytest.raises(RollbackError, match=f"^targets version {version} is lower than current version {least}$"):
        check_version(meta, least)


def test_a_file_is_what_describes_it() -> None:
    entry = describe(b"content")
    check_described(TARGETS, b"content", entry)
    with pytest.raises(HashError, match=f"did not match: expected {hashlib.sha256(b'content').hexdigest()}$"):
        check_described(TARGETS, b"CONTENT", entry)
    for data in (b"", b"content ", b"conten"):
        with pytest.raises(SizeError, match="instead of 7"):
            check_described(TARGETS, data, entry)
        with pytest.raises(HashError):
            check_described(TARGETS, data, entry, length=False)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_hash_that_is_given_must_hold(algorithm: str) -> None:
    entry = describe(b"content")
    assert entry.hashes is not None
    entry.hashes[algorithm] = "00" * (len(entry.hashes[algorithm]) // 2)
    with pytest.raises(HashError):
        check_described(TARGETS, b"content", entry)
    with pytest.raises(HashError):
        check_described(TARGETS, b"content", MetaFile(1, 7, {algorithm: entry.hashes[algorithm]}))


@pytest.mark.parametrize(
    ("parent", "paths", "kept"),
    [
        (("",), ["a", ""], ("a", "")),
        (("a",), ["a", "ab", "b", ""], ("a", "ab")),
        (("a", "b"), ["b1", "c"], ("b1",)),
        ((), ["a", ""], ()),
        (("",), [], ()),
        (("",), None, ()),
        (("abc",), ["ab"], ()),
    ],
)
def test_nobody_gives_away_more_than_they_have(
    parent: tuple[str, ...], paths: list[str] | None, kept: tuple[str, ...]
) -> None:
    assert allowed_paths(parent, paths) == kept


@given(
    st.lists(st.text("ab", max_size=3), max_size=3), st.lists(st.text("ab", max_size=3), max_size=3), st.text("ab")
)
def test_what_a_child_may_sign_its_parent_may_sign_too(parent: list[str], paths: list[str], name: str) -> None:
    def allows(prefixes: Any) -> bool:
        return any(name.startswith(prefix) for prefix in prefixes)

    if allows(allowed_paths(tuple(parent), paths)):
        assert allows(parent)
        assert PrefixRole("targets/a", [], 1, terminating=False, paths=paths).is_delegated_path(name)


def test_an_unsound_certificate_is_not_taken_for_a_signer() -> None:
    assert read_public_key(root_signer("ci", NOW).public_key.public).is_sound
    for make in (_sha1, _turned):
        with pytest.raises(InvalidError, match="no public key that may sign: the certificate is signed with SHA-1"):
            read_public_key(make().public)
