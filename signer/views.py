# SPDX-License-Identifier: Apache-2.0
"""The signer's HTTP API; its JSON is described and made in `trust.remotekeys`.

    POST /v1/keys        a key for a role of a GUN
    POST /v1/keys/find   which of these keys are held
    POST /v1/sign        a signature
    GET  /health         200 when the database, and the token if there is one, answers

Every route, the unknown ones too, is for known clients only.  Each key that is handed out and each signature is one
line in the log of `troth.signer`.  Signatures are made ahead of Flask; what is out of the ordinary, and each error,
is answered through it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from io import BytesIO
from typing import TYPE_CHECKING

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
from trust.web.ahead import Ahead, Answer
from trust.web.app import JSON_TYPE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

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

    def sign(body: bytes, client: str) -> bytes:
        asked = SignRequest.decode(body)
        tracing.note(gun=asked.gun)
        if len(asked.payload) > max_payload_bytes:
            raise InvalidError(f"the payload is longer than {max_payload_bytes} bytes")
        signature = keys.sign(asked.gun, asked.role, asked.key_id, asked.payload)
        _log.info("key %s of %r %s signs for %r", signature.keyid, str(asked.gun), asked.role, client)
        return encode_signature(signature)

    @app.post(SIGN_PATH)
    def _sign() -> Response:
        return _answer(sign(_body(max_sign_body), g.client))

    def sign_ahead(environ: WSGIEnvironment) -> Answer | None:
        length = environ.get("CONTENT_LENGTH", "")
        if environ["PATH_INFO"] != SIGN_PATH or not length.isdecimal() or int(length) > max_sign_body:
            return None
        client = admit(environ.get("gunicorn.socket"), clients)
        tracing.note(subject=client, route=SIGN_PATH)
        body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)  # should the app have to read it, too
        if len(body) < int(length):
            return None
        answer = sign(body, client)
        return Answer(200, [("Content-Type", JSON_TYPE), ("Content-Length", str(len(answer)))], answer)

    app.wsgi_app = Ahead(app.name, app.wsgi_app, sign_ahead, None, ("POST",))  # type: ignore[method-assign]  # Flask's way

    @app.get("/health")
    def _health() -> Response:
        keys.ping()
        return _answer(b"{}")


def _body(limit: int) -> bytes:
    request.max_content_length = limit
    return request.get_data(cache=False)


def _answer(body: bytes) -> Response:
    return Response(body, content_type=JSON_TYPE)
