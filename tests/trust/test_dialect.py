# SPDX-License-Identifier: Apache-2.0
"""Notary's `signed` objects in python-tuf's model: what is read, what is refused, and what is written again."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from trust.canonical import decode, encode
from trust.dialect import MAX_VERSION, PrefixRole, from_notary, parse_time, to_notary
from trust.errors import FormatError
from trust.keys import NotaryKey
from trust.names import RoleName

ROOT, TARGETS, SNAPSHOT, TIMESTAMP, ALICE = (
    RoleName(name) for name in ("root", "targets", "snapshot", "timestamp", "targets/alice")
)
KEY = NotaryKey.from_public("ed25519", b"\1" * 32)
SHA256, SHA512 = base64.b64encode(b"\2" * 32).decode(), base64.b64encode(b"\3" * 64).decode()
EXPIRES = "2036-11-21T05:20:42.580784727Z"


def common(kind: str) -> dict[str, Any]:
    return {"_type": kind, "expires": EXPIRES, "version": 3}


def root() -> dict[str, Any]:
    role = {"keyids": [KEY.keyid], "threshold": 1}
    return common("Root") | {
        "consistent_snapshot": False,
        "keys": {KEY.keyid: KEY.to_dict()},
        "roles": {name: dict(role) for name in ("root", "targets", "snapshot", "timestamp")},
    }


def targets() -> dict[str, Any]:
    alice = {"keyids": [KEY.keyid], "name": "targets/alice", "paths": ["v", ""], "threshold": 1}
    return common("Targets") | {
        "delegations": {"keys": {KEY.keyid: KEY.to_dict()}, "roles": [alice]},
        "targets": {"v1": {"hashes": {"sha256": SHA256}, "length": 7}},
    }


def snapshot() -> dict[str, Any]:
    file = {"hashes": {"sha256": SHA256, "sha512": SHA512}, "length": 9}
    return common("Snapshot") | {"meta": {name: copy.deepcopy(file) for name in ("root", "targets", "targets/alice")}}


def timestamp() -> dict[str, Any]:
    return common("Timestamp") | {"meta": {"snapshot": {"hashes": {"sha256": SHA256}, "length": 9}}}


GOOD = {ROOT: root, TARGETS: targets, SNAPSHOT: snapshot, TIMESTAMP: timestamp}


@pytest.mark.parametrize("role", GOOD)
def test_what_is_read_is_written_again_as_it_was(role: RoleName) -> None:
    fields = GOOD[role]()
    before = copy.deepcopy(fields)
    assert encode(to_notary(from_notary(role, fields))) == encode(before)
    assert fields == before


def test_payloads_are_python_tufs_own_classes() -> None:
    payload = from_notary(ROOT, root())
    assert type(payload) is Root
    assert payload.version == 3
    assert payload.expires == datetime(2036, 11, 21, 5, 20, 42, tzinfo=UTC)
    assert payload.get_delegated_role("targets").keyids == [KEY.keyid]
    assert payload.get_key(KEY.keyid) == KEY
    files = from_notary(TARGETS, targets())
    assert type(files) is Targets
    assert (files.targets["v1"].length, files.targets["v1"].hashes) == (7, {"sha256": "02" * 32})
    assert files.get_delegated_role("targets/alice").threshold == 1
    assert type(from_notary(SNAPSHOT, snapshot())) is Snapshot
    assert type(from_notary(TIMESTAMP, timestamp())) is Timestamp


@pytest.mark.parametrize("role", GOOD)
@pytest.mark.parametrize(
    "kind", ["root", "ROOT", "targets", "Delegation", "", None, 1, [], "Targets/alice", "x" * 500]
)
def test_the_type_must_be_the_roles_own_and_capitalised(role: RoleName, kind: object) -> None:
    with pytest.raises(
        FormatError, match=f"^{role} type metadata invalid: expected type {role.capitalize()}, not "
    ) as e:
        from_notary(role, GOOD[role]() | {"_type": kind})
    assert len(e.value.message) < 200


def test_no_file_passes_for_another_roles() -> None:
    for role in GOOD:
        for other, make in GOOD.items():
            if role != other:
                with pytest.raises(FormatError, match="expected type"):
                    from_notary(role, make())


def test_a_delegations_file_is_of_type_targets() -> None:
    fields = targets()
    fields["delegations"]["roles"][0]["name"] = "targets/alice/deep"
    assert isinstance(from_notary(ALICE, fields), Targets)


@pytest.mark.parametrize("role", GOOD)
@pytest.mark.parametrize("version", [0, -1, -(2**63), None])
def test_a_version_below_one_is_refused(role: RoleName, version: int | None) -> None:
    fields = GOOD[role]()
    if version is None:
        del fields["version"]
    else:
        fields["version"] = version
    with pytest.raises(FormatError, match=f"^{role} type metadata invalid: version cannot be less than one$"):
        from_notary(role, fields)


@pytest.mark.parametrize("text", ["2147483648", "4294967297", "9007199254740993", "9223372036854775808", "1e30"])
def test_a_version_that_no_database_can_hold_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="version cannot be"):
        from_notary(TIMESTAMP, timestamp() | {"version": decode(text.encode())})


@pytest.mark.parametrize("text", ["1", "1.0", "1e0", "2147483647", "2.147483647e9"])
def test_a_version_may_be_spelled_as_any_integral_number(text: str) -> None:
    payload = from_notary(TIMESTAMP, timestamp() | {"version": decode(text.encode())})
    assert 1 <= payload.version <= MAX_VERSION


@pytest.mark.parametrize("version", ["2", True, [1], {}, 1.5, None])
def test_a_version_that_is_no_integer_is_refused(version: object) -> None:
    with pytest.raises(FormatError, match="version is not an integer"):
        from_notary(TARGETS, targets() | {"version": version})


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2036-11-21T05:20:42Z", datetime(2036, 11, 21, 5, 20, 42, tzinfo=UTC)),
        ("2036-11-21T05:20:42.5Z", datetime(2036, 11, 21, 5, 20, 42, 500000, tzinfo=UTC)),
        ("2036-11-21T05:20:42.123456789Z", datetime(2036, 11, 21, 5, 20, 42, 123456, tzinfo=UTC)),
        ("2036-11-21T05:20:42.999999999Z", datetime(2036, 11, 21, 5, 20, 42, 999999, tzinfo=UTC)),
        ("2036-11-21T05:20:42+02:00", datetime(2036, 11, 21, 3, 20, 42, tzinfo=UTC)),
        ("2036-11-21T05:20:42.25-05:30", datetime(2036, 11, 21, 10, 50, 42, 250000, tzinfo=UTC)),
        ("2036-12-31T23:30:00-01:00", datetime(2037, 1, 1, 0, 30, tzinfo=UTC)),
        ("2036-02-29T00:00:00+00:00", datetime(2036, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_read_with_any_offset_and_fraction(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize("digits", range(10))
def test_an_expiry_may_have_up_to_nine_fraction_digits(digits: int) -> None:
    text = "2036-11-21T05:20:42" + ("." + "123456789"[:digits] if digits else "") + "Z"
    assert parse_time(text).replace(microsecond=0) == datetime(2036, 11, 21, 5, 20, 42, tzinfo=UTC)
    assert to_notary(from_notary(TARGETS, targets() | {"expires": text}))["expires"] == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        1,
        True,
        [],
        "2036-11-21",
        "2036-11-21T05:20:42",
        "2036-11-21 05:20:42Z",
        "2036-11-21t05:20:42z",
        "2036-11-21T05:20Z",
        "2036-11-21T05:20:42.Z",
        "2036-11-21T05:20:42.1234567890Z",
        "2036-11-21T05:20:42+0200",
        "2036-11-21T05:20:42+02",
        "2036-11-21T05:20:42+24:00",
        "2036-11-21T05:20:42Zjunk",
        " 2036-11-21T05:20:42Z",
        "2036-11-21T05:20:42Z\n",
        "2036-02-30T05:20:42Z",
        "2036-13-01T05:20:42Z",
        "2036-11-21T24:00:00Z",
        "2036-11-21T05:60:42Z",
        "2036-11-21T05:20:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "12036-11-21T05:20:42Z",
        "２036-11-21T05:20:42Z",
    ],
)
def test_what_is_no_rfc_3339_time_is_no_expiry(text: object) -> None:
    with pytest.raises(FormatError, match="RFC 3339"):
        parse_time(text)
    with pytest.raises(FormatError, match="RFC 3339"):
        from_notary(SNAPSHOT, snapshot() | {"expires": text})


def test_an_absent_expiry_is_refused() -> None:
    fields = root()
    del fields["expires"]
    with pytest.raises(FormatError, match="RFC 3339"):
        from_notary(ROOT, fields)


def test_a_new_expiry_is_written_and_an_unchanged_one_kept_to_the_digit() -> None:
    payload = from_notary(TARGETS, targets())
    assert to_notary(payload)["expires"] == EXPIRES
    payload.expires = datetime(2037, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert to_notary(payload)["expires"] == "2037-01-02T03:04:05Z"


# Lists and maps may be null or absent (NOTARY_V1 §1.2).


@pytest.mark.parametrize("absent", [True, False])
@pytest.mark.parametrize("member", ["delegations", "targets"])
def test_null_and_absent_maps_are_empty_ones(member: str, absent: bool) -> None:
    fields = targets()
    if absent:
        del fields[member]
    else:
        fields[member] = None
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    written = to_notary(payload)
    assert written[member] == ({"keys": {}, "roles": []} if member == "delegations" else {})


@pytest.mark.parametrize("delegations", [{}, {"keys": None, "roles": None}, {"keys": {}}, {"roles": []}])
def test_null_and_absent_lists_in_delegations_are_empty_ones(delegations: dict[str, Any]) -> None:
    payload = from_notary(TARGETS, targets() | {"delegations": delegations})
    assert isinstance(payload, Targets)
    assert to_notary(payload)["delegations"] == {"keys": {}, "roles": []}


@pytest.mark.parametrize("member", ["keyids", "paths"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_delegation_without_keys_or_paths_can_sign_nothing(member: str, absent: bool) -> None:
    fields = targets()
    role = fields["delegations"]["roles"][0]
    if absent:
        del role[member]
    else:
        role[member] = None
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    read = payload.get_delegated_role("targets/alice")
    assert isinstance(read, PrefixRole)
    assert getattr(read, member) == []
    assert read.is_delegated_path("v1") == (member == "keyids")
    written = to_notary(payload)["delegations"]["roles"][0]
    assert written.get("keyids") == ([] if member == "keyids" else [KEY.keyid])
    assert ("paths" in written) == (member == "keyids")


def test_a_root_without_keys_or_roles_is_refused() -> None:
    for member in ("keys", "roles"):
        for value in ("null", "{}"):
            with pytest.raises(FormatError):
                from_notary(ROOT, root() | {member: decode(value.encode())})


def test_signed_must_be_there_and_an_object() -> None:
    for text in (b"null", b"[]", b'"text"', b"1", b"true"):
        for role in GOOD:
            with pytest.raises(FormatError, match="metadata invalid"):
                from_notary(role, decode(text))


# Root.


@pytest.mark.parametrize("missing", ["root", "targets", "snapshot", "timestamp"])
def test_a_root_names_all_four_roles(missing: str) -> None:
    fields = root()
    del fields["roles"][missing]
    with pytest.raises(FormatError, match=f"missing {missing} role"):
        from_notary(ROOT, fields)


def test_further_roles_in_a_root_are_tolerated() -> None:
    fields = root()
    fields["roles"]["mirrors"] = {"keyids": ["unknown"], "threshold": 0}
    payload = from_notary(ROOT, fields)
    assert isinstance(payload, Root)
    assert sorted(payload.roles) == ["root", "snapshot", "targets", "timestamp"]


@pytest.mark.parametrize("threshold", [0, -1, -(2**63), "1", None, True, [], 1.5])
def test_a_threshold_is_an_integer_of_at_least_one(threshold: object) -> None:
    fields = root()
    fields["roles"]["snapshot"]["threshold"] = threshold
    with pytest.raises(FormatError, match="threshold"):
        from_notary(ROOT, fields)
    fields = targets()
    fields["delegations"]["roles"][0]["threshold"] = threshold
    with pytest.raises(FormatError, match="threshold"):
        from_notary(TARGETS, fields)


def test_a_threshold_above_the_number_of_keys_is_well_formed() -> None:
    fields = root()
    fields["roles"]["root"]["threshold"] = 5
    payload = from_notary(ROOT, fields)
    assert isinstance(payload, Root)
    assert payload.roles["root"].threshold == 5


def test_a_role_may_not_name_a_key_that_is_not_there() -> None:
    fields = root()
    fields["roles"]["root"]["keyids"] = ["f" * 64]
    expected = f"root type metadata invalid: key ID {'f' * 64} specified in root without corresponding key"
    with pytest.raises(FormatError, match=expected):
        from_notary(ROOT, fields)
    fields = targets()
    fields["delegations"]["roles"][0]["keyids"].append("f" * 64)
    with pytest.raises(FormatError, match="specified in targets/alice without corresponding key"):
        from_notary(TARGETS, fields)


def test_repeated_key_ids_are_accepted_and_count_once() -> None:
    fields = root()
    fields["roles"]["targets"]["keyids"] = [KEY.keyid] * 3
    payload = from_notary(ROOT, fields)
    assert isinstance(payload, Root)
    assert payload.roles["targets"].keyids == [KEY.keyid]


@pytest.mark.parametrize("keyids", [{}, "id", [1], [None], [["id"]]])
def test_key_ids_are_a_list_of_strings(keyids: object) -> None:
    fields = root()
    fields["roles"]["targets"]["keyids"] = keyids
    with pytest.raises(FormatError):
        from_notary(ROOT, fields)


# Targets and delegations.


@pytest.mark.parametrize(
    "name",
    [
        "targets",
        "root",
        "targets/",
        "targets/a/b",
        "other/a",
        "targets/Alice",
        "targets/a.b",
        "targets//a",
        "targets/../root",
        "../root",
        "targets/a/",
        "targets/*",
        "targets/" + "a" * 248,
        "targets/é",
        "targets/a\n",
        "",
        None,
        1,
    ],
)
def test_a_delegation_is_a_well_named_direct_child(name: object) -> None:
    fields = targets()
    fields["delegations"]["roles"][0]["name"] = name
    with pytest.raises(FormatError, match="targets type metadata invalid"):
        from_notary(TARGETS, fields)


def test_a_delegation_cannot_name_itself_or_what_is_above_it() -> None:
    for name in ("targets/alice", "targets", "targets/bob", "targets/alice/b/c"):
        fields = targets()
        fields["delegations"]["roles"][0]["name"] = name
        with pytest.raises(FormatError):
            from_notary(ALICE, fields)


def test_a_delegation_listed_twice_is_refused() -> None:
    fields = targets()
    fields["delegations"]["roles"] *= 2
    with pytest.raises(FormatError, match="listed twice"):
        from_notary(TARGETS, fields)


def test_delegations_keep_their_order() -> None:
    fields = targets()
    (role,) = fields["delegations"]["roles"]
    names = [f"targets/{letter}" for letter in "qazwsx"]
    fields["delegations"]["roles"] = [role | {"name": name} for name in names]
    written = to_notary(from_notary(TARGETS, fields))
    assert [entry["name"] for entry in written["delegations"]["roles"]] == names


@pytest.mark.parametrize(
    ("paths", "name", "allowed"),
    [
        ([""], "anything", True),
        (["v1."], "v1.2", True),
        (["v1."], "v1", False),
        (["v"], "V1", False),
        (["a", "b"], "bc", True),
        ([], "v1", False),
        (["*"], "v1", False),
        (["*"], "*1", True),
        (["v?"], "v1", False),
        (["dir/"], "dir/x/y", True),
        (["dir"], "directory", True),
    ],
)
def test_paths_are_plain_prefixes(paths: list[str], name: str, allowed: bool) -> None:
    fields = targets()
    fields["delegations"]["roles"][0]["paths"] = paths
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    role = payload.get_delegated_role("targets/alice")
    assert isinstance(role, PrefixRole)
    assert role.is_delegated_path(name) is allowed


@given(st.lists(st.text(max_size=3), max_size=3), st.text(max_size=5))
def test_a_path_allows_exactly_the_names_that_begin_with_it(paths: list[str], name: str) -> None:
    role = PrefixRole("targets/a", [], 1, terminating=False, paths=paths)
    assert role.is_delegated_path(name) == any(name[: len(path)] == path for path in paths)


@pytest.mark.parametrize("paths", ["v", {}, [1], [None]])
def test_paths_are_a_list_of_strings(paths: object) -> None:
    fields = targets()
    fields["delegations"]["roles"][0]["paths"] = paths
    with pytest.raises(FormatError):
        from_notary(TARGETS, fields)


@pytest.mark.parametrize("custom", [{"b": [1, {"a": None}], "a": "<é>"}, [1], "text", 5, False, 0, "", []])
def test_custom_is_kept_whatever_it_is(custom: object) -> None:
    fields = targets()
    fields["targets"]["v1"]["custom"] = custom
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    assert payload.targets["v1"].custom == custom
    assert to_notary(payload)["targets"]["v1"]["custom"] == custom


def test_custom_null_is_no_custom() -> None:
    fields = targets()
    fields["targets"]["v1"]["custom"] = None
    assert "custom" not in to_notary(from_notary(TARGETS, fields))["targets"]["v1"]


def test_an_unknown_hash_beside_a_known_one_is_ignored() -> None:
    fields = targets()
    fields["targets"]["v1"]["hashes"]["blake3"] = "whatever this is"
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    assert payload.targets["v1"].hashes == {"sha256": "02" * 32}
    fields = snapshot()
    fields["meta"]["root"]["hashes"]["md5"] = 5
    described = from_notary(SNAPSHOT, fields)
    assert isinstance(described, Snapshot)
    assert described.meta["root"].hashes == {"sha256": "02" * 32, "sha512": "03" * 64}


BAD_HASHES: list[object] = [
    {},
    None,
    [],
    {"md5": "AAAA"},
    {"sha256": ""},
    {"sha256": "AAAA"},
    {"sha256": SHA512},
    {"sha256": "02" * 32},  # hex of the right digest is base64 of another length
    {"sha256": SHA256[:-1]},
    {"sha256": SHA256 + "\n"},
    {"sha256": SHA256.replace("A", "*")},
    {"sha256": None},
    {"sha256": 5},
    {"sha256": ["x"]},
    {"SHA256": SHA256},
    {"sha256": SHA256, "sha512": "AAAA"},
]


@pytest.mark.parametrize("hashes", BAD_HASHES)
def test_a_known_hash_has_its_exact_size_and_one_must_be_known(hashes: object) -> None:
    fields = targets()
    fields["targets"]["v1"]["hashes"] = hashes
    with pytest.raises(FormatError):
        from_notary(TARGETS, fields)
    for name in ("root", "targets", "targets/alice"):
        fields = snapshot()
        fields["meta"][name]["hashes"] = hashes
        with pytest.raises(FormatError):
            from_notary(SNAPSHOT, fields)
    fields = timestamp()
    fields["meta"]["snapshot"]["hashes"] = hashes
    with pytest.raises(FormatError):
        from_notary(TIMESTAMP, fields)


@pytest.mark.parametrize("name", ["root", "targets"])
def test_a_snapshot_gives_the_sha256_of_root_and_targets(name: str) -> None:
    fields = snapshot()
    del fields["meta"][name]["hashes"]["sha256"]
    with pytest.raises(FormatError, match=f"missing {name} sha256 checksum"):
        from_notary(SNAPSHOT, fields)
    del fields["meta"][name]
    with pytest.raises(FormatError, match=f"missing {name} sha256 checksum"):
        from_notary(SNAPSHOT, fields)


def test_a_timestamp_gives_the_sha256_of_the_snapshot() -> None:
    fields = timestamp()
    fields["meta"]["snapshot"]["hashes"] = {"sha512": SHA512}
    with pytest.raises(FormatError, match="missing snapshot sha256 checksum"):
        from_notary(TIMESTAMP, fields)
    for text in (b"{}", b"null", b'{"root":{}}'):
        with pytest.raises(FormatError, match="missing snapshot sha256 checksum"):
            from_notary(TIMESTAMP, timestamp() | {"meta": decode(text)})


@pytest.mark.parametrize("length", [-1, -(2**63), "7", True, None, [], 1.5])
def test_a_length_is_an_integer_and_not_negative(length: object) -> None:
    fields = targets()
    fields["targets"]["v1"]["length"] = length
    with pytest.raises(FormatError, match="length"):
        from_notary(TARGETS, fields)


def test_a_length_of_zero_is_a_length() -> None:
    fields = targets()
    fields["targets"]["v1"]["length"] = 0
    payload = from_notary(TARGETS, fields)
    assert isinstance(payload, Targets)
    assert payload.targets["v1"].length == 0


def test_what_is_not_known_is_kept() -> None:
    for role, make in GOOD.items():
        fields = make() | {"x-note": {"a": [1, None]}, "spec_version": "1.0"}
        assert encode(to_notary(from_notary(role, fields))) == encode(fields)


_VOCABULARY = st.sampled_from(
    ["_type", "expires", "version", "keys", "roles", "meta", "targets", "delegations", "hashes", "length", "keyids",
     "keytype", "keyval", "public", "private", "name", "paths", "threshold", "sha256", "sha512", "root", "snapshot",
     "timestamp", "targets/alice", "custom", "consistent_snapshot", KEY.keyid]
)  # fmt: skip
_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=5) | _VOCABULARY | st.just(SHA256)
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_VOCABULARY | st.text(max_size=3), inner)
)


@given(st.data())
def test_a_file_with_anything_in_any_place_is_read_or_is_a_format_error(data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(sorted(GOOD)))
    file: dict[str, Any] = {"signed": GOOD[role]()}
    place: Any = file
    key: Any = "signed"
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 4)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(_VALUES)
    try:
        payload = from_notary(role, file["signed"])
    except FormatError as error:
        message = error.message
    else:
        message = f"{role} type metadata invalid: "
        assert to_notary(payload)["version"] == payload.version
    assert message.startswith(f"{role} type metadata invalid: ")
