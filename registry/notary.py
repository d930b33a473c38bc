# SPDX-License-Identifier: Apache-2.0
"""The registry's ways to its notary server.

`source` reads trust data for the registry's own decisions, with tokens that the registry makes for itself.
`hand_over` answers `/v2/<gun>/_trust/…` on the registry's address by asking the notary server: docker looks for
trust data on the host of the image, so one address must serve both (NOTARY_V1 §5.2).  Requests and answers pass as
they are, in a stream; the notary server checks the token itself.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

import urllib3
from flask import Blueprint, Response, request
from werkzeug.wsgi import ClosingIterator

from registry.errors import NameInvalidError
from trust.errors import InvalidError, SettingsError, UnavailableError
from trust.lines import Lines
from trust.names import TIMESTAMP, Gun
from trust.reader import Source
from trust.remote import NotaryServer
from trust.tokens import Access, Issuer
from trust.web import tracing

#: Sent on, in either direction; all else is between two neighbours, or would let a client pose as a proxy.
_REQUEST_HEADERS = ("Authorization", "Content-Type", "Accept", "If-None-Match", "If-Modified-Since", "User-Agent")
_ANSWER_HEADERS = (
    "Content-Type", "Content-Length", "Cache-Control", "Pragma", "ETag", "Last-Modified", "WWW-Authenticate",
    "Location", "Retry-After",
)  # fmt: skip
#: Seconds to wait for a connection, and between bytes.
_TIMEOUT = 10.0
#: Seconds that one file may take to come when somebody waits for a pull.
_LONGEST = 30.0
_CHUNK = 64 * 2**10
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


class Asked:
    """A notary server that is asked for the timestamp at every pull, so that this must cost little (`trust.lines`).

    Args:
        notary: whom all else is asked, and what is amiss with a timestamp.
        url: its address.
        context: says whom to trust.
        token: makes a token for a collection; None where the site runs without tokens.
    """

    def __init__(
        self, notary: NotaryServer, url: SplitResult, context: ssl.SSLContext, token: Callable[[Gun], str] | None
    ) -> None:
        self._notary = notary
        self._token = token
        self._path = url.path.rstrip("/")
        self._lines = Lines(url.hostname or "", url.port or 443, context, timeout=_TIMEOUT, longest=_LONGEST)

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        if name != TIMESTAMP:
            return self._notary.fetch(gun, name, limit)
        headers = tracing.sent_on()
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token(gun)}"
        path = f"{self._path}/v2/{quote(gun, safe='/:')}/_trust/tuf/{name}.json"
        try:
            status, data = self._lines.get(path, headers, most=limit)
        except TimeoutError as error:
            raise UnavailableError("the notary server did not answer in time") from error
        except (OSError, HTTPException):
            status, data = 0, b""
        if status != 200 or len(data) > limit:
            return self._notary.fetch(gun, name, limit)
        return data


def source(
    url: str, ca: Path | None, issuer: Issuer | None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Source:
    """The notary server, read with the registry's own right to pull.

    Args:
        url: its address.
        ca: the CA of its certificate.
        issuer: makes the tokens; None where the site runs without tokens.
        clock: gives the time, aware.

    Raises:
        InvalidError: the address cannot be used, or the CA file cannot be read.
    """
    token = None
    if issuer is not None:

        def token(gun: Gun) -> str:
            return issuer.issue("troth-registry", [Access("repository", gun, frozenset({"pull"}))], clock())

    notary = NotaryServer(url, ca=ca, token=token, timeout=_TIMEOUT, longest=_LONGEST, headers=tracing.sent_on)
    parts = urlsplit(url)
    return Asked(notary, parts, _tls(ca), token) if parts.scheme == "https" else notary


def hand_over(url: str, ca: Path | None, published: Callable[[str], None] = lambda _gun: None) -> Blueprint:
    """The routes that are the notary server's.

    Args:
        url: its address.
        ca: the CA of its certificate.
        published: called with the GUN once a publish was taken, and its publisher has the answer.

    Raises:
        SettingsError: the CA file cannot be read.
    """
    pool = urllib3.PoolManager(
        ssl_context=_tls(ca), timeout=urllib3.Timeout(connect=5, read=60), maxsize=8, retries=False
    )
    blueprint = Blueprint("notary", __name__)

    @blueprint.route("/v2/_trust/<path:rest>", methods=_METHODS, endpoint="site")
    @blueprint.route("/v2/<path:gun>/_trust/<path:rest>", methods=_METHODS, endpoint="gun")
    @blueprint.route("/v2/<path:gun>/_trust/tuf/", methods=_METHODS, endpoint="tuf")
    def trust(gun: str = "", rest: str = "") -> Response:
        if {".", ".."} & set(request.path.split("/")):  # nobody on the way may clean it to another path
            raise NameInvalidError("a path has no segments that are dots alone")
        tracing.note(gun=gun)
        # The decoded path, encoded once: what the notary server decodes is what was matched here.
        target = url.rstrip("/") + quote(request.path, safe="/:@~")
        if request.query_string:
            target += "?" + request.query_string.decode("latin-1")
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers |= {"Accept-Encoding": "identity"} | tracing.sent_on()
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        has_body = request.content_length or "chunked" in request.headers.get("Transfer-Encoding", "")

        def ask() -> urllib3.BaseHTTPResponse:
            return pool.request(
                request.method,
                target,
                headers=headers,
                body=_chunks() if has_body else None,
                preload_content=False,
                redirect=False,
                decode_content=False,
            )

        try:
            try:
                answer = ask()
            except urllib3.exceptions.ProtocolError:
                if has_body:  # perhaps it was read, and it cannot be sent twice
                    raise
                answer = ask()  # on a kept connection that the notary server had closed meanwhile
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError("the notary server does not answer") from error
        passed = {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
        if request.method == "HEAD" or answer.status in (204, 304):
            answer.drain_conn()  # nobody reads a body that there is not
            answer.release_conn()
            response = Response(status=answer.status, headers=passed)
        else:
            body: Iterable[bytes] = _body(answer)
            if request.method == "POST" and answer.status == 200 and request.path.endswith("/_trust/tuf/"):
                # `call_on_close` is not for what is passed through.
                body = ClosingIterator(body, lambda: published(gun))
            response = Response(body, status=answer.status, headers=passed, direct_passthrough=True)
        if "Content-Type" not in passed:  # Flask makes one up
            del response.headers["Content-Type"]
        return response

    return blueprint


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the notary server's CA file {ca} cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _chunks() -> Iterator[bytes]:
    missing = request.content_length or 0
    while chunk := _read():
        missing -= len(chunk)
        yield chunk
    if missing > 0:  # the notary server would wait for the rest
        raise InvalidError("the request's body is shorter than announced")


def _read() -> bytes:
    try:
        return request.stream.read(_CHUNK)
    except Exception as error:  # whatever the server's parser raises: the client is wrong, or gone
        raise InvalidError("the request's body broke off or is not well-formed") from error


def _body(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from answer.stream(_CHUNK, decode_content=False)
    except BaseException:
        answer.close()  # half an answer is on the line: nobody may use this connection again
        raise
    answer.release_conn()
