# SPDX-License-Identifier: Apache-2.0
"""What nobody may publish: the TUF attack cases that concern a server, each under its number (T01-T27)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from collection import (
    CORRUPTIONS,
    Collection,
    edited,
    root_signer,
    signer_of,
    with_a_byte_order_mark,
    with_a_duplicate_member,
    with_a_signature_by,
    with_an_unsigned_member,
    with_trailing_garbage,
    without_signatures,
)
from notaryserver import MULTIPART, NOW, NotaryServer, error, multipart, refusal
from trust.keys import NotarySigner, certificate_key, generate_private
from trust.names import ROOT, SNAPSHOT, TARGETS, RoleName

GUN = "localhost:5000/library/app"
NAMES = {"root": "ErrBadRoot", "targets": "ErrBadTargets", "targets/a": "ErrBadTargets", "snapshot": "ErrBadSnapshot"}


@pytest.fixture
def server(tmp_path: Path) -> NotaryServer:
    return NotaryServer(tmp_path)


@pytest.fixture
def collection(server: NotaryServer) -> Collection:
    return server.published(GUN)


def unchanged(server: NotaryServer) -> bool:
    """Whether nothing was stored since the first publish."""
    return bool(server.file(GUN, "timestamp").signed.version == 1)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("role", NAMES)
def test_t01_t12_a_corrupted_file_of_any_role_is_refused(server: NotaryServer, role: str, corruption: str) -> None:
    collection = server.collection(GUN, snapshot=False)
    collection.root()
    collection.delegation("targets/a")
    collection.targets({"v1": b"manifest"})
    collection.targets({"v2": b"manifest"}, role="targets/a")
    collection.snapshot()
    parts = dict(collection.files)
    parts[RoleName(role)] = CORRUPTIONS[corruption](parts[RoleName(role)])
    name, reason = refusal(server.upload(GUN, list(parts.items())))
    assert name == NAMES[role]
    assert reason
    assert server.get(GUN, "timestamp.json").status_code == 404
    # The same files without the corruption are fine.
    assert server.publish(collection, *collection.files).status_code == 200


def test_t01_a_key_that_root_does_not_name_signs_nothing(server: NotaryServer, collection: Collection) -> None:
    stranger = NotarySigner(generate_private("ecdsa"))
    data = with_a_signature_by(collection.targets({"v2": b"x"}), stranger)
    assert (
        refusal(server.upload(GUN, [("targets", data)]))[1] == "valid signatures did not meet threshold for targets"
    )
    assert unchanged(server)


def test_t02_an_older_version_of_any_role_is_refused(server: NotaryServer) -> None:
    collection = server.collection(GUN, snapshot=False)
    collection.root()
    collection.delegation("targets/a")
    for _ in range(2):
        collection.targets({"v1": b"manifest"})
        collection.targets(role="targets/a")
    collection.snapshot()
    collection.snapshot()
    assert server.publish(collection, *collection.files).status_code == 200
    for role in ("targets", "targets/a"):
        old = collection.history[role, 1]
        for data in (old, collection.files[RoleName(role)]):
            collection.files[RoleName(role)] = data
            collection.snapshot()
            response = server.upload(GUN, [(role, data), ("snapshot", collection.files[SNAPSHOT])])
            assert error(response) == (400, "VERSION", {})
        collection.files[RoleName(role)] = collection.history[role, 2]
    for version in (1, 2):
        assert error(server.upload(GUN, [("snapshot", collection.snapshot(version=version))])) == (400, "VERSION", {})
    assert unchanged(server)


def test_t02_an_older_root_is_refused(server: NotaryServer, collection: Collection) -> None:
    first = collection.files[ROOT]
    collection.rotate("root")
    assert server.upload(GUN, [("root", collection.root())]).status_code == 200
    text = "Root modifications must increment the version. Current 2, new 1"
    assert refusal(server.upload(GUN, [("root", first)])) == ("ErrBadRoot", text)


@pytest.mark.parametrize("version", [0, -1, 2**31, 2**53 + 1, 2**62])
def test_t03_a_version_out_of_range_is_refused(server: NotaryServer, collection: Collection, version: int) -> None:
    for role in ("root", "targets"):
        data = collection.sign_fields(role, collection.fields(role) | {"version": version})
        assert refusal(server.upload(GUN, [(role, data)]))[0] == NAMES[role]
    assert unchanged(server)


@pytest.mark.parametrize("version", ["1.0", "2.0", "1e3", '"2"', "9223372036854775808", "true", "[2]", "9" * 5000])
def test_t03_a_version_that_is_no_integer_to_go_is_malformed(
    server: NotaryServer, collection: Collection, version: str
) -> None:
    data = collection.targets(version=77).replace(b'"version":77', b'"version":' + version.encode())
    assert error(server.upload(GUN, [("targets", data)]))[:2] == (400, "MALFORMED_JSON")
    assert unchanged(server)


def test_t03_no_one_can_use_up_all_versions_with_one_upload(server: NotaryServer, collection: Collection) -> None:
    for version in (2**31 - 1, 10_002):
        name, reason = refusal(server.upload(GUN, [("targets", collection.targets(version=version))]))
        assert name == "ErrValidation"
        assert reason == f"targets version {version} is more than 10000 ahead of 1"
    assert server.upload(GUN, [("targets", collection.targets(version=10_001))]).status_code == 200


def test_t03_the_allowed_jump_is_a_setting(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path, max_version_jump=5)
    collection = server.published(GUN)
    assert refusal(server.upload(GUN, [("targets", collection.targets(version=7))]))[0] == "ErrValidation"
    assert server.upload(GUN, [("targets", collection.targets(version=6))]).status_code == 200


def test_t04_an_expired_file_is_refused(server: NotaryServer, collection: Collection) -> None:
    data = collection.targets(version=2, expires=NOW - timedelta(days=1))
    assert refusal(server.upload(GUN, [("targets", data)])) == (
        "ErrBadTargets",
        "targets expired at Mon Nov 23 08:00:00 UTC 2026",
    )
    assert unchanged(server)


def test_t05_a_publishers_snapshot_must_fit_the_files(server: NotaryServer) -> None:
    collection = server.collection(GUN, snapshot=False)
    collection.root()
    collection.targets({"v1": b"manifest"})
    collection.snapshot()
    other = collection.targets({"v1": b"another"})
    parts = [("root", collection.files[ROOT]), ("targets", other), ("snapshot", collection.files[SNAPSHOT])]
    name, reason = refusal(server.upload(GUN, parts))
    assert name == "ErrBadSnapshot"
    assert reason.startswith("sha256 checksum for targets did not match")
    # The reference accepts the next one, and then nobody finds the targets (NOTARY_V1 §7.2).
    name, reason = refusal(server.upload(GUN, [parts[0], parts[2]]))
    assert name == "ErrBadSnapshot"
    assert server.get(GUN, "timestamp.json").status_code == 404


def test_t10_a_stolen_targets_key_is_replaced_by_root(server: NotaryServer, collection: Collection) -> None:
    stolen = collection.signers["targets"]
    collection.rotate("targets")
    collection.root()
    collection.targets({"v1": b"good"})
    assert server.publish(collection, "root", "targets").status_code == 200
    collection.targets({"v1": b"evil"})
    data = collection.sign("targets", signers=stolen)
    assert refusal(server.upload(GUN, [("targets", data)]))[0] == "ErrBadTargets"


def _signed_by_new_only(collection: Collection) -> bytes:
    collection.rotate("root")
    collection.root_payload.version = 2
    return collection.sign("root")


def _signed_by_old_only(collection: Collection) -> bytes:
    old = collection.signers["root"]
    collection.rotate("root")
    collection.root_payload.version = 2
    return collection.sign("root", signers=old)


def _skipping(collection: Collection) -> bytes:
    return collection.root(version=3)


def _threshold_zero(collection: Collection) -> bytes:
    fields = collection.fields("root") | {"version": 2}
    fields["roles"]["root"]["threshold"] = 0
    return collection.sign_fields("root", fields)


def _threshold_above_keys(collection: Collection) -> bytes:
    collection.root_payload.roles["root"].threshold = 2
    return collection.root()


def _expired(collection: Collection) -> bytes:
    return collection.root(expires=NOW - timedelta(seconds=1))


def _certified(**options: object) -> Callable[[Collection], bytes]:
    def make(collection: Collection) -> bytes:
        signer = root_signer(**{"common_name": GUN, "now": NOW, **options})  # type: ignore[arg-type]  # by case
        return _with_root_signer(collection, signer)

    return make


def _with_root_signer(collection: Collection, signer: NotarySigner) -> bytes:
    old = collection.signers["root"]
    collection.root_payload.keys[signer.public_key.keyid] = signer.public_key
    collection.root_payload.roles["root"].keyids = [signer.public_key.keyid]
    collection.root_payload.version = 2
    return collection.sign("root", signers=[signer, *old])


def _bare_key(collection: Collection) -> bytes:
    return _with_root_signer(collection, NotarySigner(generate_private("ecdsa")))


def _two_certificates_for_one_key(collection: Collection) -> bytes:
    # T13: one key under two IDs is still one key.
    private = generate_private("ecdsa")
    signers = [root_signer(GUN, NOW, key=private) for _ in range(2)]  # type: ignore[arg-type]  # it is on P-256
    old = collection.signers["root"]
    root = collection.root_payload
    root.keys |= {signer.public_key.keyid: signer.public_key for signer in signers}
    root.roles["root"].keyids = [signer.public_key.keyid for signer in signers]
    root.roles["root"].threshold = 2
    root.version = 2
    return collection.sign("root", signers=[*signers, *old])


def _not_naming_the_timestamp_role(collection: Collection) -> bytes:
    fields = collection.fields("root") | {"version": 2}
    del fields["roles"]["timestamp"]
    return collection.sign_fields("root", fields)


BAD_ROOTS: dict[str, Callable[[Collection], bytes]] = {
    "signed by new keys only": _signed_by_new_only,
    "signed by old keys only": _signed_by_old_only,
    "skipping a version": _skipping,
    "threshold zero": _threshold_zero,
    "threshold above keys": _threshold_above_keys,
    "expired": _expired,
    "certificate for another name": _certified(common_name="localhost:5000/library/other"),
    "certificate for a longer name": _certified(common_name=GUN + "2"),
    "certificate expired": _certified(days=-10),
    "certificate of a CA": _certified(authority=True),
    "RSA of 1024 bits": _certified(key=rsa.generate_private_key(65537, 1024)),
    "bare key": _bare_key,
    "two certificates for one key": _two_certificates_for_one_key,
    "timestamp role missing": _not_naming_the_timestamp_role,
}


@pytest.mark.parametrize("case", BAD_ROOTS)
def test_t11_a_bad_root_is_refused(server: NotaryServer, collection: Collection, case: str) -> None:
    assert refusal(server.upload(GUN, [("root", BAD_ROOTS[case](collection))]))[0] == "ErrBadRoot"
    assert unchanged(server)


def test_t11_other_bytes_for_the_same_root_version_are_refused(server: NotaryServer, collection: Collection) -> None:
    for data in (collection.files[ROOT], collection.root(version=1), collection.files[ROOT] + b"\n"):
        assert error(server.upload(GUN, [("root", data)])) == (400, "VERSION", {})
    assert unchanged(server)


def test_t11_a_certificate_may_be_for_a_prefix_of_names(server: NotaryServer, collection: Collection) -> None:
    signer = root_signer("localhost:5000/library/*", NOW)
    assert server.upload(GUN, [("root", _with_root_signer(collection, signer))]).status_code == 200


def test_t13_one_key_signing_twice_does_not_make_a_threshold(server: NotaryServer, collection: Collection) -> None:
    collection.rotate("targets", count=2, threshold=2)
    root, first = collection.root(), collection.signers["targets"][0]
    collection.payloads["targets"].version = 2
    once = collection.sign("targets", signers=[first])
    twice = edited(once, lambda envelope: envelope.update(signatures=envelope["signatures"] * 2))
    for data in (once, twice):
        reason = refusal(server.upload(GUN, [("root", root), ("targets", data)]))[1]
        assert reason == "valid signatures did not meet threshold for targets"
    assert server.upload(GUN, [("root", root), ("targets", collection.sign("targets"))]).status_code == 200


def test_t13_a_key_under_a_wrong_id_spoils_the_file(server: NotaryServer, collection: Collection) -> None:
    fields = collection.fields("root") | {"version": 2}
    (keyid,) = fields["roles"]["targets"]["keyids"]
    fields["keys"]["0" * 64] = fields["keys"].pop(keyid)
    fields["roles"]["targets"]["keyids"] = ["0" * 64]
    root = collection.sign_fields("root", fields)
    targets = edited(collection.targets(), lambda envelope: envelope["signatures"][0].update(keyid="0" * 64))
    assert refusal(server.upload(GUN, [("root", root), ("targets", targets)]))[0] == "ErrBadTargets"
    assert unchanged(server)


def test_t14_a_flood_of_signatures_is_refused_without_verifying_them(
    server: NotaryServer, collection: Collection
) -> None:
    data = collection.targets()
    (good,) = json.loads(data)["signatures"]
    for keyid in (good["keyid"], "0" * 64):
        flood = [good | {"keyid": keyid}] * 100_000
        flooded = edited(data, lambda envelope, flood=flood: envelope.update(signatures=flood))  # type: ignore[misc]
        assert refusal(server.upload(GUN, [("targets", flooded)]))[0] == "ErrBadTargets"
    assert unchanged(server)


ENVELOPES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "unsigned member": (with_an_unsigned_member, "INVALID_UPDATE"),
    "duplicate member": (with_a_duplicate_member, "INVALID_UPDATE"),
    "member that Go takes for another": (lambda d: b'{"Signed":{},' + d[1:], "INVALID_UPDATE"),
    "duplicate inside signed": (lambda d: d.replace(b'"version":', b'"version":9,"version":', 1), "INVALID_UPDATE"),
    "duplicate inside a signature": (lambda d: d.replace(b'"keyid":', b'"keyid":"","keyid":', 1), "INVALID_UPDATE"),
    "trailing garbage": (with_trailing_garbage, "INVALID_UPDATE"),
    "second value": (lambda d: d + b"\n{}", "INVALID_UPDATE"),
    "byte order mark": (with_a_byte_order_mark, "MALFORMED_JSON"),
    "NaN": (lambda d: d.replace(b'"version":', b'"extra":NaN,"version":', 1), "MALFORMED_JSON"),
    "deep nesting": (lambda d: b"[" * 100_000, "MALFORMED_JSON"),
    "deep nesting inside": (lambda d: b'{"signed":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "MALFORMED_JSON"),
    "truncated": (lambda d: d[: len(d) // 2], "MALFORMED_JSON"),
    "empty": (lambda d: b"", "MALFORMED_JSON"),
    "huge integer": (lambda d: d.replace(b'"version":', b'"n":' + b"9" * 5000 + b',"version":'), "MALFORMED_JSON"),
    "signed is a list": (lambda d: b'{"signed":[],"signatures":[]}', "MALFORMED_JSON"),
    "signed is null": (lambda d: b'{"signed":null,"signatures":[]}', "INVALID_UPDATE"),
    "UTF-16": (lambda d: d.decode().encode("utf-16"), "MALFORMED_JSON"),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_t15_an_envelope_with_more_than_its_two_members_is_refused(
    server: NotaryServer, collection: Collection, case: str
) -> None:
    change, code = ENVELOPES[case]
    for role, data in (("targets", collection.targets()), ("root", collection.root())):
        response = server.upload(GUN, [(role, change(data))])
        assert error(response)[:2] == (400, code)
        if code == "INVALID_UPDATE":
            assert refusal(response)[0] == NAMES[role]
    assert unchanged(server)


def test_t15_a_lone_surrogate_and_broken_utf8_are_what_go_makes_of_them(server: NotaryServer) -> None:
    collection = server.collection(GUN)
    collection.root()
    data = collection.targets({"\ufffd": b"manifest"}).replace("\ufffd".encode(), b"\\ud800")
    assert server.upload(GUN, [("root", collection.files[ROOT]), ("targets", data)]).status_code == 200
    assert server.get(GUN, "targets.json").data == data
    data = collection.targets({"\ufffd": b"other"}).replace("\ufffd".encode(), b"\xff")
    assert server.upload(GUN, [("targets", data)]).status_code == 200
    assert server.get(GUN, "targets.json").data == data


@pytest.mark.parametrize(
    "filename",
    ["../root", "targets/../root", "targets//a", "targets/", "Root", "TARGETS", "targets/A", "targets/a.b", "root/a",
     "targets/a b", "targets/" + "a" * 300, "/root", "C:\\root", "targets\\a", "bogus.json", "root.json.json"],
)  # fmt: skip
def test_t16_a_file_name_that_is_no_role_is_refused(
    server: NotaryServer, collection: Collection, filename: str
) -> None:
    status, code, detail = error(server.upload(GUN, [(filename, collection.targets())]))
    assert (status, code) == (400, "INVALID_ROLE")
    assert isinstance(detail, str)
    assert unchanged(server)


def test_t16_a_file_of_one_role_under_the_name_of_another_is_refused(
    server: NotaryServer, collection: Collection
) -> None:
    collection.delegation("targets/a")
    targets = collection.targets()
    delegated = collection.targets(role="targets/a")
    for role, data in (("root", targets), ("targets", collection.root()), ("targets", delegated)):
        assert refusal(server.upload(GUN, [(role, data)]))[0] == NAMES[role]
    assert refusal(server.upload(GUN, [("targets", targets), ("targets/a", targets)]))[0] == "ErrBadTargets"
    assert unchanged(server)


def test_t17_only_direct_children_can_be_delegated(server: NotaryServer, collection: Collection) -> None:
    collection.delegation("targets/a")
    for name in ("targets/a/b", "targets", "root", "targets/"):
        fields = collection.fields("targets") | {"version": 2}
        fields["delegations"]["roles"][0]["name"] = name
        response = server.upload(GUN, [("targets", collection.sign_fields("targets", fields))])
        assert refusal(response)[0] == "ErrBadTargets"
    assert unchanged(server)


def test_t17_a_chain_of_delegations_of_any_depth_is_published(server: NotaryServer, collection: Collection) -> None:
    roles = ["targets" + "/a" * depth for depth in range(20)]
    for role in roles[1:]:
        collection.delegation(role)
    for role in roles:
        collection.targets(role=role)
    assert server.publish(collection, *roles).status_code == 200
    collection.targets(role=roles[-1])
    assert server.publish(collection, roles[-1]).status_code == 200
    assert server.get(GUN, f"{roles[-1]}.json").data == collection.files[RoleName(roles[-1])]


def test_t18_a_delegation_needs_its_parents_word(server: NotaryServer, collection: Collection) -> None:
    collection.delegation("targets/a")
    collection.targets()
    collection.delegation("targets/a/b")
    collection.targets(role="targets/a")
    collection.targets(role="targets/a/b")
    orphan = server.publish(collection, "targets", "targets/a/b")
    assert refusal(orphan) == ("ErrBadTargets", "tuf: invalid role targets/a/b. delegation does not exist")
    assert refusal(server.publish(collection, "targets/a"))[0] == "ErrBadTargets"
    # Parents and children in one upload, in any order.
    assert server.publish(collection, "targets/a/b", "targets/a", "targets").status_code == 200


def test_t18_a_delegation_that_was_taken_back_cannot_publish(server: NotaryServer, collection: Collection) -> None:
    collection.delegation("targets/a")
    collection.targets()
    collection.targets(role="targets/a")
    assert server.publish(collection, "targets", "targets/a").status_code == 200
    collection.revoke("targets/a")
    collection.targets()
    collection.targets({"v9": b"x"}, role="targets/a")
    text = "tuf: invalid role targets/a. delegation does not exist"
    assert refusal(server.publish(collection, "targets", "targets/a")) == ("ErrBadTargets", text)
    assert server.publish(collection, "targets").status_code == 200
    assert refusal(server.publish(collection, "targets/a")) == ("ErrBadTargets", text)


def test_t21_after_a_deletion_a_collection_begins_anew(server: NotaryServer, collection: Collection) -> None:
    # NOTARY_V1 §2.4
    other = server.published(GUN + "2")
    assert server.request("DELETE", f"/v2/{GUN}/_trust/tuf/").status_code == 200
    for file in ("root.json", "1.root.json", "timestamp.json", "targets.json"):
        assert server.get(GUN, file).status_code == 404
    # A name that begins alike is another collection.
    assert server.get(other, "root.json").data == other.files[ROOT]
    feed = server.request("GET", f"/v2/{GUN}/_trust/changefeed?records=10")
    changes = json.loads(feed.data)["records"]
    assert [(change["Category"], change["Version"], change["SHA256"]) for change in changes][-1] == (
        "deletion",
        0,
        "",
    )
    # The same owner again, and somebody else: nothing is left of the first.
    assert server.publish(collection, "root", "targets").status_code == 200
    assert server.request("DELETE", f"/v2/{GUN}/_trust/tuf/").status_code == 200
    stranger = server.published(GUN)
    assert server.get(GUN, "root.json").data == stranger.files[ROOT]


def test_t24_of_a_repeated_role_the_last_part_counts(server: NotaryServer, collection: Collection) -> None:
    last = collection.targets({"v2": b"last"})
    assert server.upload(GUN, [("targets", without_signatures(last)), ("targets", last)]).status_code == 200
    assert server.get(GUN, "targets.json").data == last


def test_t07_limits_end_an_upload(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path, max_body_bytes=20_000, max_part_bytes=8_000, max_parts=3)
    collection = server.published(GUN)
    targets = collection.targets()
    for parts in (
        [("targets", targets + b" " * 20_000)],
        [("targets", targets + b" " * 8_000)],
        [("targets", targets)] * 4,
    ):
        response = server.upload(GUN, parts)
        assert error(response)[:2] == (413, "SIZE_INVALID")
    # Without an announced length, too.
    body = multipart([("targets", targets + b" " * 7_000)] * 3)
    response = server.request(
        "POST", f"/v2/{GUN}/_trust/tuf/", data=body, content_type="multipart/form-data; boundary=x",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )  # fmt: skip
    assert error(response)[0] in (400, 413)
    assert unchanged(server)
    assert server.upload(GUN, [("targets", targets + b" " * 100)]).status_code == 200


def test_t07_a_compressed_upload_is_not_unpacked(server: NotaryServer, collection: Collection) -> None:
    bomb = gzip.compress(multipart([("targets", collection.targets() + b" " * 10_000_000)]))
    response = server.request(
        "POST", f"/v2/{GUN}/_trust/tuf/", data=bomb, content_type=MULTIPART, headers={"Content-Encoding": "gzip"}
    )
    assert error(response)[:2] == (400, "MALFORMED_UPLOAD")
    assert unchanged(server)


def test_a_root_with_an_rsa_certificate_is_accepted(server: NotaryServer) -> None:
    collection = server.collection(GUN)
    private = rsa.generate_private_key(65537, 2048)
    signer = root_signer(GUN, NOW, key=private)
    collection.signers["root"] = [signer_of(private, certificate_key(signer.public_key.public))]
    collection.root_payload.roles["root"].keyids = [signer.public_key.keyid]
    collection.root_payload.keys[signer.public_key.keyid] = signer.public_key
    collection.root()
    collection.targets({"v1": b"manifest"})
    assert server.publish(collection, "root", "targets").status_code == 200
    assert server.get(GUN, "root.json").data == collection.files[ROOT]
    assert server.get(GUN, "targets.json").data == collection.files[TARGETS]
