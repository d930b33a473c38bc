# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, the signer answers in its protocol: never a traceback, never a 500."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signer.app import create_app, prepare
from signerprocess import SignerProcess, payload, tls_connection
from trust.names import TIMESTAMP
from trust.remotekeys import FIND_PATH, KEYS_PATH, SIGN_PATH

_PATHS = (KEYS_PATH, FIND_PATH, SIGN_PATH)
_GUN = "localhost:5000/library/app"


class Desk:
    """The app, and a real TLS connection on which the right client stands at the other end."""

    def __init__(self, app: Flask, connection: object) -> None:
        self._client = app.test_client()
        self._environ = {"gunicorn.socket": connection}

    def post(self, path: str, body: bytes | str) -> tuple[int, Any]:
        response = self._client.post(path, data=body, environ_overrides=self._environ)
        assert response.content_type == "application/json; charset=utf-8"
        return response.status_code, json.loads(response.data)

    def status(self, method: str, path: str) -> int:
        return self._client.open(path, method=method, environ_overrides=self._environ).status_code


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    signer = SignerProcess(tmp_path_factory.mktemp("signer"))
    prepare(signer.settings)
    near, far = tls_connection(signer, signer.client)
    with near, far:
        yield Desk(create_app(signer.settings), near)


def _refused(answer: tuple[int, Any], status: int, message: str) -> None:
    assert answer[0] == status
    (error,) = answer[1]["errors"]
    assert message in error["message"]


def test_a_key_is_made_found_and_signs(desk: Desk) -> None:
    request: dict[str, object] = {"gun": _GUN, "role": "timestamp"}
    status, made = desk.post(KEYS_PATH, json.dumps(request | {"algorithm": "ed25519"}))
    assert (status, set(made["key"])) == (200, {"key_id", "algorithm", "public"})
    key_id = made["key"]["key_id"]
    assert desk.post(FIND_PATH, json.dumps(request | {"key_ids": [key_id]})) == (200, {"keys": [made["key"]]})
    data = base64.b64encode(payload(TIMESTAMP)).decode()
    status, signed = desk.post(SIGN_PATH, json.dumps(request | {"key_id": key_id, "payload": data}))
    assert (status, signed["signature"]["keyid"], signed["signature"]["method"]) == (200, key_id, "eddsa")


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "null", "1", '"x"', "{}", "\ufeff{}", '{"gun":1}', "[" * 100_000, '{"gun":' * 50_000,
        b"\xff\xfe", b"\0", "NaN", "1" * 10_000, '{"gun":"a","role":"timestamp"}',
    ],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_a_malformed_body_is_400(desk: Desk, path: str, body: bytes | str) -> None:
    status, answer = desk.post(path, body)
    assert (status, answer["errors"][0]["code"]) == (400, "INVALID_PARAMETERS")


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    "changes",
    [
        {"gun": ""}, {"gun": "a/../b"}, {"gun": "a\0b"}, {"gun": "*"}, {"gun": "x" * 256}, {"gun": None},
        {"role": ""}, {"role": "targets/../x"}, {"role": "Timestamp"}, {"role": ["timestamp"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_name_that_is_none_is_400(desk: Desk, path: str, changes: dict[str, object]) -> None:
    fields = {"gun": _GUN, "role": "timestamp", "algorithm": "ecdsa", "key_ids": [], "key_id": "0", "payload": ""}
    assert desk.post(path, json.dumps(fields | changes))[0] == 400


def test_what_is_refused_says_why(desk: Desk) -> None:
    asked: dict[str, object] = {"gun": _GUN, "role": "timestamp"}
    _refused(desk.post(KEYS_PATH, json.dumps(asked | {"algorithm": "rsa"})), 400, "rsa not supported")
    _refused(desk.post(KEYS_PATH, json.dumps(asked | {"role": "root", "algorithm": "ecdsa"})), 403, "not for root")
    _refused(desk.post(FIND_PATH, json.dumps(asked | {"key_ids": [1]})), 400, "list of strings")
    sign = asked | {"key_id": "0" * 64, "payload": "e30="}
    _refused(desk.post(SIGN_PATH, json.dumps(sign)), 404, "signing key not found")
    _refused(desk.post(SIGN_PATH, json.dumps(sign | {"payload": "***"})), 400, "payload is not base64")
    key = desk.post(KEYS_PATH, json.dumps(asked | {"algorithm": "ecdsa"}))[1]["key"]
    _refused(desk.post(SIGN_PATH, json.dumps(sign | {"key_id": key["key_id"]})), 403, "malformed")


def test_bodies_have_a_limit(desk: Desk) -> None:
    for path, size in [(KEYS_PATH, 2**20), (FIND_PATH, 2**20), (SIGN_PATH, 23 * 2**20)]:
        assert desk.post(path, b" " * (size + 1))[0] == 413


def test_other_paths_and_methods_are_refused(desk: Desk) -> None:
    assert desk.status("GET", "/health") == 200
    for path in ("/", "/v1", "/V1/keys", "//v1/keys", "/v1/keys/../sign", "/metrics"):
        assert desk.status("GET", path) == 404
    for method, path in [("GET", KEYS_PATH), ("DELETE", KEYS_PATH), ("PUT", SIGN_PATH), ("POST", "/health")]:
        assert desk.status(method, path) == 405


def test_each_signature_is_in_the_log_with_who_asked_for_it(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    asked: dict[str, object] = {"gun": "forged\u2028line", "role": "timestamp"}
    with caplog.at_level(logging.INFO, "troth.signer"):
        key = desk.post(KEYS_PATH, json.dumps(asked | {"algorithm": "ecdsa"}))[1]["key"]["key_id"]
        data = base64.b64encode(payload(TIMESTAMP)).decode()
        assert desk.post(SIGN_PATH, json.dumps(asked | {"key_id": key, "payload": data}))[0] == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "troth.signer"]
    assert lines == [
        f"key {key} of 'forged\\u2028line' timestamp is given to 'notary-server'",
        f"key {key} of 'forged\\u2028line' timestamp signs for 'notary-server'",
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "gun": st.sampled_from([_GUN]) | st.text(st.characters(exclude_categories=())) | _JSON,
        "role": st.sampled_from(["timestamp", "snapshot", "root", "targets/a"]) | _JSON,
        "algorithm": st.sampled_from(["ecdsa", "ed25519", "rsa"]) | _JSON,
        "key_ids": st.lists(st.text(max_size=70)) | _JSON,
        "key_id": st.text(max_size=70) | _JSON,
        "payload": st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()) | _JSON,
    },
)


@given(path=st.sampled_from(_PATHS), body=st.binary(max_size=300))
@settings(max_examples=150)
def test_any_bytes_are_answered(desk: Desk, path: str, body: bytes) -> None:
    assert desk.post(path, body)[0] in (200, 400, 403, 404)


@given(path=st.sampled_from(_PATHS), body=_JSON | _NEARLY)
@example(path=KEYS_PATH, body={"gun": "a\ud800", "role": "timestamp", "algorithm": "ecdsa"})
@settings(max_examples=300)
def test_any_json_is_answered(desk: Desk, path: str, body: object) -> None:
    assert desk.post(path, json.dumps(body))[0] in (200, 400, 403, 404)


@given(value=_JSON | st.dictionaries(st.sampled_from(["_type", "expires", "meta", "version"]), _JSON))
@settings(max_examples=200)
def test_any_payload_is_answered(desk: Desk, value: object) -> None:
    asked = {"gun": _GUN, "role": "timestamp"}
    key = desk.post(KEYS_PATH, json.dumps(asked | {"algorithm": "ecdsa"}))[1]["key"]["key_id"]
    data = base64.b64encode(json.dumps(value).encode()).decode()
    assert desk.post(SIGN_PATH, json.dumps(asked | {"key_id": key, "payload": data}))[0] == 403
