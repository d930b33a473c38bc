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
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from trust.errors import NotFoundError, TrustError, UnauthorizedError
from trust.web import metrics, tracing
from trust.web.logs import with_fields

JSON_TYPE = "application/json; charset=utf-8"

_log = logging.getLogger("troth.request")
#: Where the environment has a `Begun`.
BEGUN = "troth.begun"
#: What a request that no route is for counts as.
UNMATCHED = "unmatched"
#: In how many seconds a client may ask again, where nothing more exact is known.
_RETRY_AFTER = {429: "60", 503: "5"}


class _Rule(Rule):
    """A rule that is matched and never made an URL of: compiling functions for that is half of an app's start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        def build(*_arguments: object, **_values: object) -> tuple[str, str]:
            raise NotImplementedError("a service makes no URLs of its rules")

        return build


@dataclass(slots=True)
class Begun:
    """A request that somebody ahead of the app has begun to answer (`trust.web.ahead`).

    Attributes:
        facts: what is known of it; the app ends it.
        started: when it came, by the monotonic clock.
        error: what the app is to answer.
    """

    facts: tracing.Facts
    started: float
    error: TrustError | None = None


def create_base_app(name: str, *, not_found: type[TrustError] = NotFoundError) -> Flask:
    """Make a Flask app without routes that speaks the error envelope.

    Args:
        name: the service's name, for its log lines.
        not_found: what an unknown route becomes.
    """
    # No static folder: a service serves its protocol and nothing from disk by accident.
    app = Flask(name, static_folder=None)
    app.url_rule_class = _Rule
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False

    @app.before_request
    def _begin() -> None:
        begun: Begun | None = request.environ.pop(BEGUN, None)
        if begun is None:
            begun = Begun(tracing.enter(name, request.headers.get(tracing.HEADER, "")), time.monotonic())
        g.started, g.tracing = begun.started, begun.facts
        if begun.error is not None:
            raise begun.error

    @app.after_request
    def _finish(response: Response) -> Response:
        facts = _facts()
        response.headers[tracing.HEADER] = facts.request_id
        if facts.route is None:
            tracing.note(route=request.url_rule.rule if request.url_rule else UNMATCHED)
        seconds = time.monotonic() - g.started
        log_answer(request.method, request.path, response.status_code, seconds, client=request.remote_addr)
        return response

    @app.teardown_request
    def _end(_error: BaseException | None) -> None:
        if (facts := g.pop("tracing", None)) is not None:
            tracing.leave(facts)

    @app.errorhandler(TrustError)
    def _known(error: TrustError) -> Response:
        if error.status >= 500:
            _log.warning("%s %s: %s id=%s", name, type(error).__name__, _printable(str(error)), _facts().request_id)
        return error_response(error)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if error.code == 404:
            return error_response(not_found("there is nothing at this path"))
        if error.code in (301, 308):
            return Response(status=error.code, headers=dict(error.get_headers(request.environ)))
        code = {405: "UNSUPPORTED", 413: "SIZE_INVALID", 416: "RANGE_INVALID"}.get(error.code or 500, "UNKNOWN")
        response = errors_response(error.code or 500, (code, error.description or "request refused", None))
        if error.code == 405 and error.get_response().headers.get("Allow"):
            response.headers["Allow"] = error.get_response().headers["Allow"]
        return response

    @app.errorhandler(Exception)
    def _unforeseen(error: Exception) -> Response:
        _log.error("%s failed, id=%s", name, _facts().request_id, exc_info=error)
        message = f"an internal error occurred; it is logged as {_facts().request_id}"
        return errors_response(500, ("UNKNOWN", message, None))

    return app


def log_answer(method: str, path: str, status: int, seconds: float, *, client: str | None) -> None:
    """Log and count the answer to this thread's request.

    Args:
        method: HTTP's, or `GRPC`.
        path: as it was asked for, decoded, without the query.
        status: HTTP's or gRPC's.
        seconds: from the request's head to that of the answer.
        client: the address at the other end.
    """
    facts, path = _facts(), _printable(path)
    route = facts.route or UNMATCHED
    metrics.answered(facts.service, method, route, status, seconds)

    def fields() -> dict[str, object]:
        return {
            "method": method, "path": path, "route": route, "status": status, "duration_ms": round(seconds * 1000, 1),
            "client": client, "subject": facts.subject, "gun": facts.gun, "repository": facts.repository,
        }  # fmt: skip

    _log.info(
        "%s %s %s -> %d %.1fms id=%s", facts.service, method, path, status, seconds * 1000, facts.request_id,
        extra=with_fields(fields),
    )  # fmt: skip


def error_response(error: TrustError) -> Response:
    """The error envelope of `error`, with its challenge if it has one."""
    response = errors_response(error.status, (error.code, error.message, error.detail))
    if isinstance(error, UnauthorizedError) and error.challenge:
        response.headers["WWW-Authenticate"] = error.challenge
    if error.status in _RETRY_AFTER:
        response.headers["Retry-After"] = _RETRY_AFTER[error.status]
    return response


def errors_response(status: int, *errors: tuple[str, str, object]) -> Response:
    """The error envelope of code, message and detail, or nothing for detail, of one error or several."""
    return Response(envelope(*errors), status=status, content_type=JSON_TYPE)


def envelope(*errors: tuple[str, str, object]) -> str:
    """The text of an error envelope; see `errors_response`."""
    entries: list[dict[str, object]] = []
    for code, message, detail in errors:
        entries.append({"code": code, "message": message} | ({} if detail is None else {"detail": detail}))
    # Compact and newline-terminated, as the Go programs write it.
    return json.dumps({"errors": entries}, separators=(",", ":"), ensure_ascii=False) + "\n"


def _facts() -> tracing.Facts:
    facts = tracing.current()
    assert facts is not None, "only while a request is answered"
    return facts


def _printable(text: str) -> str:
    """`text` on one line, so that no request can forge a log line."""
    text = text[:500]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
