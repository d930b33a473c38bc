# SPDX-License-Identifier: Apache-2.0
"""Whole files: those of the original programs hold to the last byte, and no change of one goes unnoticed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import MetaFile, Root, Signature, Targets

from collection import (
    CORRUPTIONS,
    Collection,
    edited,
    pretty,
    with_a_byte_order_mark,
    with_a_duplicate_member,
    with_an_unsigned_member,
    with_trailing_garbage,
)
from shelf import GOLDEN_NOW, Golden, golden, golden_names, role_of
from trust.canonical import to_wire
from trust.chain import check_described, check_fresh, check_root, check_signatures
from trust.dialect import parse_time
from trust.errors import ExpiredError, FormatError, SignatureError, UntrustedError
from trust.keys import MAX_SIGNATURES_PER_KEY, NotarySignature
from trust.metadata import (
    MAX_SIGNATURES,
    NotaryMetadata,
    describe,
    draft,
    parse,
    parse_root,
    parse_snapshot,
    parse_targets,
    parse_timestamp,
    peek_version,
)
from trust.names import RoleName

NOW = GOLDEN_NOW
TARGETS = RoleName("targets")


@cache
def collection() -> Collection:
    made = Collection("localhost:5000/library/app", NOW)
    made.delegation("targets/alice")
    made.publish({"v1": b"manifest", "<&>é\u2028": b"odd name"})
    made.targets({"v2": b"other"}, role="targets/alice")
    made.snapshot()
    made.timestamp()
    return made


# Golden files: every one of them.

EVERY = [(name, stem) for name in golden_names() for stem in golden(name).files]


def test_there_are_golden_files_of_every_role_and_method() -> None:
    assert len(EVERY) > 400
    assert {role_of(stem) for _, stem in EVERY} >= {"root", "targets", "snapshot", "timestamp", "targets/releases"}
    methods = {
        method for name in golden_names() for file in golden(name).index.values() for _, method in file["sigs"]
    }
    assert methods == {"ecdsa", "eddsa", "rsapss"}


@pytest.mark.parametrize(("name", "stem"), EVERY)
def test_a_golden_file_is_written_again_byte_for_byte(name: str, stem: str) -> None:
    data = golden(name).files[stem]
    meta = parse(role_of(stem), data)
    again: NotaryMetadata[Any] = NotaryMetadata(meta.role, meta.signed, meta.signatures)
    assert again.to_bytes() == data
    assert again.signed_bytes == meta.signed_bytes
    assert data.startswith(b'{"signed":' + to_wire(meta.signed_bytes) + b',"signatures":[')
    assert meta.to_bytes() == data


@pytest.mark.parametrize("name", golden_names())
def test_golden_files_are_what_the_original_server_said_of_them(name: str) -> None:
    vector = golden(name)
    for file, said in vector.index.items():
        data = vector.files[file.removesuffix(".json")]
        meta = parse(role_of(file.removesuffix(".json")), data)
        assert (meta.sha256, len(data)) == (said["sha256"], said["len"])
        assert (meta.signed.version, peek_version(data)) == (said["version"], said["version"])
        assert meta.signed.expires == parse_time(said["expires"]).replace(microsecond=0)
        signatures = [
            [keyid, method] for keyid, s in meta.signatures.items() for method, _ in _candidates(s)
        ]  # fmt: skip
        assert sorted(signatures) == sorted(said["sigs"])


def _candidates(signature: Signature) -> tuple[tuple[str, bytes], ...]:
    assert isinstance(signature, NotarySignature)
    return signature.candidates


@pytest.mark.parametrize("name", golden_names())
def test_golden_files_verify_through_their_chain(name: str) -> None:
    vector = golden(name)
    root = _verified_root(vector)
    timestamp = parse_timestamp(vector.current["timestamp"])
    check_signatures(root, timestamp)
    check_fresh(timestamp, NOW)
    check_described(RoleName("snapshot"), vector.current["snapshot"], timestamp.signed.snapshot_meta)
    snapshot = parse_snapshot(vector.current["snapshot"])
    check_signatures(root, snapshot)
    check_fresh(snapshot, NOW)
    named = set(snapshot.signed.meta)
    check_described(RoleName("root"), vector.current["root"], snapshot.signed.meta["root"])
    verified: dict[RoleName, Targets] = {}
    for role in sorted(role for role in vector.roles if role.is_targets):
        check_described(role, vector.current[role], snapshot.signed.meta[role])
        meta = parse_targets(role, vector.current[role])
        delegator = root if role == "targets" else verified[role.parent]
        if role.is_delegation and role not in (meta_roles(verified[role.parent])):
            continue  # its delegation was removed, its file stays in the server's snapshot
        check_signatures(delegator, meta)
        if name != "expired-targets":
            check_fresh(meta, NOW)
        verified[role] = meta.signed
    assert named <= {"root", *vector.roles}


def meta_roles(targets: Targets) -> list[str]:
    assert targets.delegations is not None
    return list(targets.delegations.roles or {})


def _verified_root(vector: Golden) -> Root:
    previous = None
    newest = parse_root(vector.current["root"])
    for version in range(1, newest.signed.version + 1):
        root = parse_root(vector.files[f"{version}.root"])
        assert root.signed.version == version
        check_root(root, vector.gun, NOW, previous=previous)
        previous = root.signed
    assert previous == newest.signed
    return newest.signed


@pytest.mark.parametrize("name", golden_names())
def test_old_versions_of_golden_files_verify_by_the_root_of_their_time(name: str) -> None:
    vector = golden(name)
    roots = [parse_root(data).signed for stem, data in vector.files.items() if stem.endswith(".root")]
    for stem, data in vector.files.items():
        role = role_of(stem)
        if role in ("timestamp", "snapshot"):
            meta = parse(role, data)
            assert [root for root in roots if _is_signed(root, meta)], stem


def _is_signed(root: Root, meta: NotaryMetadata[Any]) -> bool:
    try:
        check_signatures(root, meta)
    except SignatureError:
        return False
    return True


def test_the_golden_targets_that_had_expired_have() -> None:
    meta = parse_targets(TARGETS, golden("expired-targets").current["targets"])
    with pytest.raises(ExpiredError, match=r"^targets expired at Tue Nov 24 \d\d:\d\d:\d\d UTC 2026$"):
        check_fresh(meta, NOW)


@pytest.mark.parametrize("name", golden_names())
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_no_corruption_of_a_golden_file_verifies(name: str, corruption: str) -> None:
    vector = golden(name)
    root = _verified_root(vector)
    parents = {role: parse_targets(role, vector.current[role]).signed for role in vector.roles if role.is_targets}
    for role, data in vector.current.items():
        delegator: Root | Targets = parents[RoleName(role).parent] if "/" in role else root
        if "/" in role and role not in meta_roles(parents[RoleName(role).parent]):
            continue
        # Some have two signatures, of which one would do.
        single = edited(data, lambda file: file.update(signatures=file["signatures"][:1]))
        expected = FormatError if corruption in ("type of another role", "fraction") else SignatureError
        with pytest.raises(expected):
            check_signatures(delegator, parse(RoleName(role), CORRUPTIONS[corruption](single)))


# The envelope.


def targets() -> bytes:
    return collection().files[TARGETS]


def verify_targets(data: bytes) -> NotaryMetadata[Targets]:
    meta = parse_targets(TARGETS, data)
    check_signatures(collection().root_payload, meta)
    return meta


@pytest.mark.parametrize(
    "change",
    [with_an_unsigned_member, with_a_duplicate_member, pretty, lambda data: b" \n" + data + b"\n\t "],
)
def test_the_envelopes_spelling_is_not_signed(change: Callable[[bytes], bytes]) -> None:
    data = change(targets())
    assert data != targets()
    meta = verify_targets(data)
    assert meta.signed_bytes == parse_targets(TARGETS, targets()).signed_bytes
    assert meta.to_bytes() == data
    assert meta.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("change", [with_trailing_garbage, with_a_byte_order_mark, lambda d: d[:-1], lambda d: d * 2])
def test_what_is_not_one_json_value_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FormatError):
        parse_targets(TARGETS, change(targets()))


def test_of_two_signed_members_the_last_one_counts_and_is_what_is_verified() -> None:
    forged = json.loads(targets())["signed"] | {"targets": {}}
    genuine = json.loads(targets())
    parts = [json.dumps(part).encode() for part in (forged, genuine["signed"], genuine["signatures"])]
    good = b'{"signed":%s,"signed":%s,"signatures":%s}' % tuple(parts)
    assert verify_targets(good).signed.targets
    bad = b'{"signed":%s,"signed":%s,"signatures":%s}' % (parts[1], parts[0], parts[2])
    with pytest.raises(SignatureError):
        verify_targets(bad)


@pytest.mark.parametrize("data", [b"[]", b"null", b'"text"', b"1", b"true", b"{}", b'{"signatures":[]}'])
def test_an_envelope_is_an_object_with_signed(data: bytes) -> None:
    for role in ("root", "targets", "snapshot", "timestamp", "targets/a"):
        with pytest.raises(FormatError):
            parse(RoleName(role), data)


def test_null_and_absent_signatures_are_none() -> None:
    for change in (
        lambda f: f.update(signatures=None),
        lambda f: f.pop("signatures"),
        lambda f: f.update(signatures=[]),
    ):
        meta = parse_targets(TARGETS, edited(targets(), change))
        assert meta.signatures == {}
        with pytest.raises(SignatureError, match=r"^tuf: data has no signatures$"):
            check_signatures(collection().root_payload, meta)


GOOD_SIGNATURE = {"keyid": "ab", "method": "ecdsa", "sig": "AAAA"}


@pytest.mark.parametrize(
    "signatures",
    [
        {},
        "sig",
        1,
        [None],
        ["sig"],
        [[]],
        [{}],
        [{"keyid": "ab", "method": "ecdsa"}],
        [{"keyid": "ab", "sig": "AAAA"}],
        [{"method": "ecdsa", "sig": "AAAA"}],
        [GOOD_SIGNATURE | {"sig": "not base64!"}],
        [GOOD_SIGNATURE | {"sig": "AAA"}],
        [GOOD_SIGNATURE | {"sig": "é"}],
        [GOOD_SIGNATURE | {"sig": 1}],
        [GOOD_SIGNATURE | {"sig": ["AAAA"]}],
        [GOOD_SIGNATURE | {"keyid": 1}],
        [GOOD_SIGNATURE | {"keyid": None}],
        [GOOD_SIGNATURE | {"keyid": {}}],
        [GOOD_SIGNATURE | {"method": None}],
        [GOOD_SIGNATURE | {"method": 1}],
        [GOOD_SIGNATURE, GOOD_SIGNATURE | {"method": []}],
    ],
)
def test_malformed_signatures_are_a_format_error(signatures: object) -> None:
    with pytest.raises(FormatError, match="signature"):
        parse_targets(TARGETS, edited(targets(), lambda f: f.update(signatures=signatures)))


@pytest.mark.parametrize("spelling", ["ECDSA", "Ecdsa", "eCdSa"])
def test_the_methods_case_does_not_matter(spelling: str) -> None:
    verify_targets(edited(targets(), lambda f: f["signatures"][0].update(method=spelling)))


def test_signatures_by_unknown_keys_are_passed_over() -> None:
    def change(file: dict[str, Any]) -> None:
        stray = [GOOD_SIGNATURE | {"keyid": f"{n:064x}"} for n in range(5)]
        file["signatures"] = [*stray[:2], *file["signatures"], *stray[2:]]

    verify_targets(edited(targets(), change))


@pytest.mark.parametrize("order", [1, -1])
def test_a_bad_and_a_good_signature_with_one_id_are_accepted_as_in_notary(order: int) -> None:
    def change(file: dict[str, Any]) -> None:
        (good,) = file["signatures"]
        bad = good | {"sig": base64.b64encode(b"\1" * 64).decode()}
        file["signatures"] = [bad, good][::order]

    verify_targets(edited(targets(), change))


def test_an_empty_and_a_null_signature_are_bad_ones_and_not_an_error() -> None:
    for value in ("", None):
        data = edited(targets(), lambda f, value=value: f["signatures"][0].update(sig=value))  # type: ignore[misc]
        with pytest.raises(SignatureError, match="did not meet threshold for targets"):
            verify_targets(data)


def test_a_flood_of_signatures_is_refused_before_any_is_verified() -> None:
    """T14, CVE-2020-6173."""

    def flood(count: int, keyid: Callable[[int], str]) -> bytes:
        many = [GOOD_SIGNATURE | {"keyid": keyid(n)} for n in range(count)]
        return edited(targets(), lambda f: f.update(signatures=many + f["signatures"]))

    verify_targets(flood(MAX_SIGNATURES - 1, lambda n: f"{n:064x}"))
    for count in (MAX_SIGNATURES, 100_000):
        with pytest.raises(FormatError, match="more than 1000 signatures"):
            parse_targets(TARGETS, flood(count, lambda n: f"{n:064x}"))
    verify_targets(flood(MAX_SIGNATURES_PER_KEY, lambda _: "0" * 64))
    with pytest.raises(FormatError, match="by one key"):
        parse_targets(TARGETS, flood(MAX_SIGNATURES_PER_KEY + 1, lambda _: "0" * 64))


# Reading and writing.


def test_a_targets_file_is_read_for_targets_roles_only() -> None:
    with pytest.raises(FormatError, match="not a targets role"):
        parse_targets(RoleName("snapshot"), collection().files[RoleName("snapshot")])


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"{}", 0),
        (b'{"signed":null}', 0),
        (b'{"signed":{}}', 0),
        (b'{"signed":{"version":7},"rest":1.5}', 7),
        (b'{"signed":{"version":-3}}', -3),
        (b'{"signed":{"version":1e3,"x":1.5}}', 1000),
        (b'{"signed":{"version":9223372036854775808}}', -(2**63)),
    ],
)
def test_a_version_can_be_peeked_at_in_any_object(data: bytes, version: int) -> None:
    assert peek_version(data) == version


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'{"signed":[]}',
        b'{"signed":"text"}',
        b'{"signed":1}',
        b'{"signed":false}',
        b'{"signed":{"version":"1"}}',
        b'{"signed":{"version":1.5}}',
        b'{"signed":{"version":true}}',
        b'{"signed":{"version":[]}}',
    ],
)
def test_no_version_can_be_peeked_at_in_what_is_no_file(data: bytes) -> None:
    with pytest.raises(FormatError):
        peek_version(data)


def test_a_description_has_length_sha256_and_sha512() -> None:
    entry = describe(b"content")
    assert entry.length == 7
    assert entry.hashes == {name: hashlib.new(name, b"content").hexdigest() for name in ("sha256", "sha512")}


def test_a_draft_is_written_as_the_go_programs_would() -> None:
    signed = parse_targets(TARGETS, targets()).signed
    signer = collection().signers["targets"][0]
    meta = draft(TARGETS, signed)
    assert meta.to_bytes().endswith(b',"signatures":[]}')
    meta.sign(signer)
    data = meta.to_bytes()
    encoded = json.loads(data)["signatures"][0]["sig"]
    tail = f',"signatures":[{{"keyid":"{signer.public_key.keyid}","method":"ecdsa","sig":"{encoded}"}}]}}'
    assert data.endswith(tail.encode())
    assert rb'"\u003c\u0026\u003e' + "é".encode() + rb'\u2028":{"hashes"' in data
    assert b'{"_type":"Targets","delegations":{"keys":{' in data
    assert b'"keyval":{"private":null,"public":"' in data
    verify_targets(data)
    assert parse_targets(TARGETS, data).signed == signed


def test_a_draft_signs_what_it_says_at_that_moment() -> None:
    meta = draft(TARGETS, parse_targets(TARGETS, targets()).signed)
    before = meta.signed_bytes
    meta.signed.version += 1
    assert meta.signed_bytes != before


def test_a_file_that_was_read_keeps_what_was_signed_whatever_is_done_to_its_model() -> None:
    meta = parse_targets(TARGETS, targets())
    before = meta.signed_bytes
    meta.signed.targets.clear()
    assert (meta.signed_bytes, meta.to_bytes()) == (before, targets())


def test_a_target_name_that_cannot_be_written_is_refused_when_it_is() -> None:
    made = Collection("gun", NOW)
    with pytest.raises(FormatError, match="control character"):
        made.targets({"a\nb": b"content"})


def test_nulls_do_not_change_what_was_signed() -> None:
    made = Collection("gun", NOW)
    made.targets({"v1": b"content"})
    for fields in (
        made.fields("targets") | {"delegations": None},
        {k: v for k, v in made.fields("targets").items() if k != "delegations"},
        made.fields("targets") | {"delegations": {"keys": None, "roles": None}},
    ):
        meta = parse_targets(TARGETS, made.sign_fields("targets", fields))
        check_signatures(made.root_payload, meta)
        assert list(meta.signed.targets) == ["v1"]


def test_an_expiry_in_local_time_holds() -> None:
    made = Collection("gun", NOW)
    made.targets()
    fields = made.fields("targets") | {"expires": "2026-11-25T14:00:00.123456789+02:00"}
    meta = parse_targets(TARGETS, made.sign_fields("targets", fields))
    check_signatures(made.root_payload, meta)
    check_fresh(meta, datetime.fromisoformat("2026-11-25T11:59:59Z"))
    with pytest.raises(ExpiredError):
        check_fresh(meta, datetime.fromisoformat("2026-11-25T12:00:01Z"))


def test_an_entry_without_length_describes_by_hash_alone() -> None:
    check_described(TARGETS, b"data", MetaFile(1, None, {"sha256": hashlib.sha256(b"data").hexdigest()}))


# Chance.


@given(st.data())
def test_no_random_change_of_a_file_verifies_unless_it_says_the_same(data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(sorted(collection().files)))
    original = collection().files[role]
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(at, min(at + 5, len(changed))))
        changed[at:end] = data.draw(
            st.binary(max_size=5) | st.sampled_from([b'"', b"\\", b"0", b" ", b"{", b"}", b","])
        )
    delegator = collection().root_payload if "/" not in role else collection().payloads["targets"]
    assert isinstance(delegator, Root | Targets)
    with contextlib.suppress(UntrustedError):
        meta = parse(role, bytes(changed))
        check_signatures(delegator, meta)
        assert meta.signed_bytes == parse(role, original).signed_bytes


@given(st.sampled_from(["root", "targets", "snapshot", "timestamp", "targets/a"]), st.binary())
def test_arbitrary_bytes_are_a_format_error(role: str, data: bytes) -> None:
    with pytest.raises(FormatError):
        parse(RoleName(role), data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["signed", "signatures", "keyid", "method", "sig", "_type"]), inner, max_size=4
        )
    ),
)


@given(st.sampled_from(["root", "targets", "snapshot", "timestamp", "targets/a"]), _JSON, _JSON)
def test_an_arbitrary_envelope_is_a_format_error(role: str, signed: object, signatures: object) -> None:
    data = json.dumps({"signed": signed, "signatures": signatures}).encode()
    with pytest.raises(FormatError):
        parse(RoleName(role), data)
    with contextlib.suppress(FormatError):
        peek_version(data)


@given(_JSON)
def test_arbitrary_signatures_are_read_or_are_a_format_error(signatures: object) -> None:
    changed = edited(targets(), lambda file: file.update(signatures=signatures))
    with contextlib.suppress(FormatError):
        assert parse_targets(TARGETS, changed).signed.version == 1
