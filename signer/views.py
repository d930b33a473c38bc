# SPDX-License-Identifier: Apache-2.0
"""The signer's HTTP API; its JSON is described and made in `trust.remotekeys`.

    POST /v1/keys        a key for a role of a GUN
    POST /v1/keys/find   which of these keys are held
    POST /v1/sign        a signature
    GET  /health         200 when the database, and the token if there is one, answers

Every route, the unknown ones too, is for known clients only.  Each key that is handed out and each signature is one
line in the log of `troth.signer`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from flask import Flask, Response, g, request

from signer.clients import admit
from signer.vault import Vault
from trust.errors import InvalidError
from trust.remotekeys import (
    FIND_PATH,
    KEYS_PATH,
    SIGN_PATH,
    CreateRequest,
    FindRequest,
    SignRequest,
    encode_key,
    encode_keys,
    encode_signature,
)
from trust.web import tracing
from trust.web.app import JSON_TYPE

_MAX_BODY = 2**20
_log = logging.getLogger("troth.signer")


def add_views(app: Flask, keys: Vault, clients: Collection[str], *, max_payload_bytes: int) -> None:
    """Add the routes to `app`.

    Args:
        app: the app.
        keys: what signs.
        clients: common names of the client certificates that are let in.
        max_payload_bytes: the longest payload that is signed.
    """
    # base64 is a third longer; the rest of a sign request is short.
    max_sign_body = max_payload_bytes * 4 // 3 + _MAX_BODY

    @app.before_request
    def _admit() -> None:
        g.actor = g.client = admit(request.environ.get("gunicorn.socket"), clients)
        tracing.note(subject=g.client)

    @app.post(KEYS_PATH)
    def _create() -> Response:
        asked = CreateRequest.decode(_body(_MAX_BODY))
        tracing.note(gun=asked.gun)
        key = keys.create(asked.gun, asked.role, asked.algorithm)
        _log.info("key %s of %r %s is given to %r", key.keyid, str(asked.gun), asked.role, g.client)
        return _answer(encode_key(key))

    @app.post(FIND_PATH)
    def _find() -> Response:
        asked = FindRequest.decode(_body(_MAX_BODY))
        tracing.note(gun=asked.gun)
        return _answer(encode_keys(keys.find(asked.gun, asked.role, asked.key_ids)))

    @app.post(SIGN_PATH)
    def _sign() -> Response:
        asked = SignRequest.decode(_body(max_sign_body))
        tracing.note(gun=asked.gun)
        if len(asked.payload) > max_payload_bytes:
            raise InvalidError(f"the payload is longer than {max_payload_bytes} bytes")
        signature = keys.sign(asked.gun, asked.role, asked.key_id, asked.payload)
        _log.info("key %s of %r %s signs for %r", signature.keyid, str(asked.gun), asked.role, g.client)
        return _answer(encode_signature(signature))

    @app.get("/health")
    def _health() -> Response:
        keys.ping()
        return _answer(b"{}")


def _body(limit: int) -> bytes:
    request.max_content_length = limit
    return request.get_data(cache=False)


def _answer(body: bytes) -> Response:
    return Response(body, content_type=JSON_TYPE)
