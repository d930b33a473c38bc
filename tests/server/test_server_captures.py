# SPDX-License-Identifier: Apache-2.0
"""The reference's answers to bad and odd requests, replayed with keys of our own.

`tests/fixtures/captures` holds what the original server answered, with its memory store and with PostgreSQL, to one
sequence of requests on one collection.  We make the same sequence and compare status, code, detail and headers.  A
detail may be added where the reference has none; where we mean to differ, `parity.CASES` says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from captures import CAPTURES
from collection import Collection, edited, with_a_signature_by, with_another_type, without_signatures
from notaryserver import MULTIPART, NotaryServer, multipart, tuf
from parity import CASES, DIFFERENCES
from trust.keys import NotarySigner, generate_private

GUN = "lab/err"
_OTHER_GUN = re.compile(r"lab/err[0-9a-f]+")
_HEX = re.compile(r"[0-9a-f]{64}")

Step = Callable[[], TestResponse]


def steps(server: NotaryServer) -> Iterator[tuple[str, Step]]:
    """Each case with the request that it stands for, in the order of the captures."""
    now = server.now
    collection = server.collection(GUN)

    def get(path: str) -> Step:
        return partial(server.request, "GET", path)

    def file(name: str) -> Step:
        return partial(server.get, GUN, name)

    def upload(*parts: tuple[str, bytes]) -> Step:
        return partial(server.upload, GUN, parts)

    yield "GET /v2/", get("/v2/")
    yield "HEAD /", partial(server.request, "HEAD", "/")
    yield "GET /", get("/")
    yield "PATCH /", partial(server.request, "PATCH", "/")
    yield "GET /v2", get("/v2")
    yield "health", get("/_notary_server/health")
    yield "unknown gun root", file("root.json")
    yield "unknown gun timestamp", file("timestamp.json")
    yield "unknown role", file("bogus.json")
    yield "unknown delegation", file("targets/none.json")
    yield "targets.key (not server role)", file("targets.key")
    yield "POST targets.key", partial(server.request, "POST", tuf(GUN, "targets.key"))
    yield "POST no multipart", partial(server.post, GUN, b"{}", "application/json")
    yield "POST multipart w/o boundary", partial(server.post, GUN, b"{}", "multipart/form-data")
    yield "POST empty multipart", upload()
    yield "GET timestamp.key", file("timestamp.key")
    yield "GET snapshot.key", file("snapshot.key")
    root, targets = collection.root(), collection.targets({"t0": b"hello"})
    yield "targets without any root", upload(("targets", targets))
    yield "bad JSON part", upload(("targets", b"{not json"))
    yield "part with empty filename", upload(("", b"{}"))
    yield "part with invalid role", upload(("bogus", b"{}"))
    yield "json [] part", upload(("root", b"[]"))
    yield "root = {} ", upload(("root", b"{}"))
    yield "root version 5 first", upload(("root", _versioned(collection, "root", 5)), ("targets", targets))
    yield "root w/o x509 root key", upload(("root", _without_certificates(collection)))
    yield "init OK (root+targets)", upload(("root", root), ("targets", targets))
    for role in ("root", "targets", "snapshot", "timestamp"):
        yield f"GET {role}.json", file(f"{role}.json")
    entry = server.file(GUN, "snapshot").signed.meta["targets"]
    sha256, sha512 = entry.hashes["sha256"], entry.hashes["sha512"]
    yield "GET targets.<sha256>.json", file(f"targets.{sha256}.json")
    yield "GET targets.<SHA256 upper>.json", file(f"targets.{sha256.upper()}.json")
    yield "GET targets.<sha512>.json", file(f"targets.{sha512}.json")
    yield "GET targets.<wrong sha>.json", file(f"targets.{'0' * 64}.json")
    yield "GET short checksum", file("targets.abcd.json")
    for version in ("1", "2", "0", "01", "10"):
        yield f"GET {version}.root.json", file(f"{version}.root.json")
    yield "HEAD root.json", partial(server.request, "HEAD", tuf(GUN, "root.json"))
    later = {"If-Modified-Since": "Tue, 24 Nov 2036 06:00:00 GMT"}
    yield "If-Modified-Since", partial(server.get, GUN, "targets.json", headers=later)
    yield "publish v2 OK", upload(("targets", collection.targets({"t1": b"two"})))
    yield "stale targets v1 (resend)", upload(("targets", targets))
    yield "same version v2 different bytes", upload(("targets", collection.targets({"t2": b"x"}, version=2)))
    yield "targets version jump to 9", upload(("targets", collection.targets(version=9)))
    yield "targets back to v3 after 9", upload(("targets", collection.targets(version=3)))
    good = collection.targets(version=10)
    moved = edited(good, lambda envelope: envelope["signed"].update(expires="2030-01-01T00:00:00Z"))
    yield "bad signature", upload(("targets", moved))
    yield "no signatures", upload(("targets", without_signatures(good)))
    stranger = NotarySigner(generate_private("ecdsa"))
    yield "signed by unknown key", upload(("targets", with_a_signature_by(good, stranger)))
    yield "wrong _type", upload(("targets", with_another_type(good)))
    yesterday = now - timedelta(days=1)
    yield "expired targets", upload(("targets", collection.targets(version=10, expires=yesterday)))
    yield "targets version 0", upload(("targets", _versioned(collection, "targets", 0)))
    yield "targets version -1", upload(("targets", _versioned(collection, "targets", -1)))
    yield "undelegated targets/foo", upload(("targets/foo", good))
    yield "root v1 again same ver", upload(("root", root))
    yield "root v3 (skip)", upload(("root", _versioned(collection, "root", 3)))
    yield "root v2 expired", upload(("root", _expired_root(collection, now)))
    yield "client snapshot (server holds key)", upload(("snapshot", _snapshot_by(collection, stranger)))
    yield "client timestamp", upload(("timestamp", b'{"signed":{"version":1},"signatures":[]}'))
    other_field = multipart([("targets", collection.targets(version=10))], field="other")
    yield "part named other than files", partial(server.post, GUN, other_field, MULTIPART)
    yield "filename with .json suffix", upload(("targets.json", collection.targets(version=11)))
    last = collection.targets(version=12)
    yield "duplicate part", upload(("targets", good), ("targets", last))
    yield "root v2 OK", upload(("root", collection.root(version=2)))
    yield "GET 2.root.json after", file("2.root.json")
    yield "changefeed no records", get("/v2/_trust/changefeed")
    yield "changefeed", get("/v2/_trust/changefeed?records=2")
    yield "changefeed -1 (reverse)", get("/v2/_trust/changefeed?records=-1")
    yield "changefeed bad id", get("/v2/_trust/changefeed?records=2&change_id=abc")
    yield "gun changefeed", get(f"/v2/{GUN}/_trust/changefeed?change_id=0&records=100")
    yield "changefeed unknown gun", get("/v2/nope/_trust/changefeed?records=5")
    yield "POST snapshot.key (rotate)", partial(server.request, "POST", tuf(GUN, "snapshot.key"))
    yield "POST timestamp.key (rotate)", partial(server.request, "POST", tuf(GUN, "timestamp.key"))
    yield "GET timestamp.key after rotate", file("timestamp.key")
    yield "GET root.key", file("root.key")
    yield "PUT tuf/", partial(server.request, "PUT", tuf(GUN, ""))
    yield "GET tuf/", file("")
    yield "POST /v2/gun (no _trust)", partial(server.request, "POST", f"/v2/{GUN}/x")
    yield "DELETE trust data", partial(server.request, "DELETE", tuf(GUN, ""))
    yield "DELETE again", partial(server.request, "DELETE", tuf(GUN, ""))
    yield "GET root after delete", file("root.json")
    yield "GET timestamp.key after delete", file("timestamp.key")
    yield "gun changefeed after delete", get(f"/v2/{GUN}/_trust/changefeed?change_id=0&records=1")
    yield "metrics", get("/metrics")


@pytest.mark.parametrize("capture", ["errors-memory.jsonl", "errors-postgres.jsonl"])
def test_each_captured_request_is_answered_as_the_reference_answers_it(tmp_path: Path, capture: str) -> None:
    expected = [json.loads(line) for line in _lines(capture)]
    server = NotaryServer(tmp_path)
    answered: list[str] = []
    for case, step in steps(server):
        wanted = expected[len(answered)]
        assert wanted["case"] == case
        response = step()
        answered.append(case)
        _, status = CASES.get(case, ("", wanted["status"]))
        assert response.status_code == status, (case, response.data)
        if status == wanted["status"]:
            _compare(case, response, wanted)
    assert answered == [wanted["case"] for wanted in expected]


def test_each_wanted_difference_is_one() -> None:
    captured = [json.loads(line) for name in ("memory", "postgres") for line in _lines(f"errors-{name}.jsonl")]
    for case, (what, status) in CASES.items():
        assert what in DIFFERENCES
        assert {wanted["status"] for wanted in captured if wanted["case"] == case} - {status}


def _compare(case: str, response: TestResponse, wanted: dict[str, Any]) -> None:
    headers = dict(wanted["headers"])
    assert response.headers.get("Content-Type") == headers.get("Content-Type"), case
    assert response.headers.get("Cache-Control") == headers.get("Cache-Control"), case
    assert ("Last-Modified" in response.headers) == ("Last-Modified" in headers), case
    body = wanted["body"]
    if wanted["status"] >= 400 and body:
        (theirs,), (ours,) = json.loads(body)["errors"], json.loads(response.data)["errors"]
        assert (ours["code"], ours["message"]) == (theirs["code"], theirs["message"]), case
        if "detail" in theirs:
            assert _neutral(ours["detail"]) == _neutral(theirs["detail"]), case
    elif not body:
        assert response.data == b"", case
    elif body.startswith('{"keytype"'):
        # Order matters here: `public` before `private` (NOTARY_V1 §1.4).
        assert re.fullmatch(rb'\{"keytype":"ecdsa","keyval":\{"public":"[^"]+","private":null\}\}', response.data)
    elif body.startswith('{"count"'):
        _compare_changes(case, response, body)
    elif body.startswith('{"signed"'):
        assert json.loads(response.data)["signed"]["_type"] == json.loads(body)["signed"]["_type"], case
    else:
        assert response.data.decode() == body, case


def _compare_changes(case: str, response: TestResponse, body: str) -> None:
    ours, theirs = json.loads(response.data), json.loads(body)
    assert ours["count"] == theirs["count"] == len(ours["records"]), case
    for our, their in zip(ours["records"], theirs["records"], strict=True):
        assert list(our) == list(their), case
        assert our["Category"] == their["Category"], case
    if case == "gun changefeed":
        assert [r["Version"] for r in ours["records"]] == [r["Version"] for r in theirs["records"]]


def _lines(capture: str) -> list[str]:
    return (CAPTURES / capture).read_text().splitlines()


def _neutral(detail: object) -> str:
    """A detail without what differs from run to run: names, hashes and dates."""
    text = _HEX.sub("<hash>", _OTHER_GUN.sub(GUN, json.dumps(detail)))
    return re.sub(r"expired at .*? UTC \d+", "expired at <date>", text)


def _versioned(collection: Collection, role: str, version: int) -> bytes:
    return collection.sign_fields(role, collection.fields(role) | {"version": version})


def _expired_root(collection: Collection, now: Any) -> bytes:
    fields = collection.fields("root") | {"version": 2, "expires": f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"}
    return collection.sign_fields("root", fields)


def _without_certificates(collection: Collection) -> bytes:
    fields = collection.fields("root")
    bare = NotarySigner(generate_private("ecdsa"))
    # As in the capture: the key is named and not there.
    fields["roles"]["root"]["keyids"] = [bare.public_key.keyid]
    return collection.sign_fields("root", fields, signers=[bare])


def _snapshot_by(collection: Collection, stranger: NotarySigner) -> bytes:
    collection.signers["snapshot"] = [stranger]
    return collection.snapshot()
