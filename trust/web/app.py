# SPDX-License-Identifier: Apache-2.0
"""The base of each service's Flask app: request ids, the error envelope, one log line a request.

Errors that views raise become the envelope that Notary v1 and the registry API share
(NOTARY_V1 §2.7, REGISTRY_API §5):

    {"errors":[{"code":"METADATA_NOT_FOUND","message":"…","detail":…}]}

Anything unforeseen is logged with its traceback under the request's id, and answered with 500 UNKNOWN and that id;
the client never sees a traceback.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from trust.errors import NotFoundError, TrustError, UnauthorizedError

JSON_TYPE = "application/json; charset=utf-8"

_log = logging.getLogger("troth.request")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_base_app(name: str, *, not_found: type[TrustError] = NotFoundError) -> Flask:
    """Make a Flask app without routes that speaks the error envelope.

    Args:
        name: the service's name, for its log lines.
        not_found: what an unknown route becomes.
    """
    # No static folder: a service serves its protocol and nothing from disk by accident.
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False

    @app.before_request
    def _begin() -> None:
        g.started = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

    @app.after_request
    def _finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        elapsed = (time.monotonic() - g.started) * 1000
        _log.info(
            "%s %s %s -> %d %.1fms id=%s",
            name, request.method, _printable(request.path), response.status_code, elapsed, g.request_id,
        )  # fmt: skip
        return response

    @app.errorhandler(TrustError)
    def _known(error: TrustError) -> Response:
        if error.status >= 500:
            _log.warning("%s %s: %s id=%s", name, type(error).__name__, _printable(str(error)), g.request_id)
        return error_response(error)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if error.code == 404:
            return error_response(not_found("there is nothing at this path"))
        if error.code in (301, 308):
            return Response(status=error.code, headers=dict(error.get_headers(request.environ)))
        code = {405: "UNSUPPORTED", 413: "SIZE_INVALID", 416: "RANGE_INVALID"}.get(error.code or 500, "UNKNOWN")
        response = _envelope(error.code or 500, code, error.description or "request refused", None)
        if error.code == 405 and error.get_response().headers.get("Allow"):
            response.headers["Allow"] = error.get_response().headers["Allow"]
        return response

    @app.errorhandler(Exception)
    def _unforeseen(error: Exception) -> Response:
        _log.error("%s failed, id=%s", name, g.request_id, exc_info=error)
        return _envelope(500, "UNKNOWN", f"an internal error occurred; it is logged as {g.request_id}", None)

    return app


def error_response(error: TrustError) -> Response:
    """The error envelope of `error`, with its challenge if it has one."""
    response = _envelope(error.status, error.code, error.message, error.detail)
    if isinstance(error, UnauthorizedError) and error.challenge:
        response.headers["WWW-Authenticate"] = error.challenge
    if error.status == 503:
        response.headers["Retry-After"] = "5"
    return response


def _envelope(status: int, code: str, message: str, detail: object) -> Response:
    entry: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        entry["detail"] = detail
    # Compact and newline-terminated, as the Go programs write it.
    body = json.dumps({"errors": [entry]}, separators=(",", ":"), ensure_ascii=False) + "\n"
    return Response(body, status=status, content_type=JSON_TYPE)


def _printable(text: str) -> str:
    """`text` on one line, so that no request can forge a log line."""
    return "".join(c if c.isprintable() else "?" for c in text[:500])
