# SPDX-License-Identifier: Apache-2.0
"""HTTP to a notary server: metadata in, nothing believed (NOTARY_V1 §2.1, §5.1).

    server = NotaryServer("https://localhost:5000", ca=Path("var/ca/ca.crt"), credentials=("alice", password))
    server.fetch(Gun("localhost:5000/library/app"), "timestamp", limit=2**20)

A 401 is answered once with a token from the realm that the challenge names.  Credentials go only to an https realm
when the server is https; redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from trust.errors import InvalidError, NotFoundError, SizeError, UnauthorizedError, UnavailableError
from trust.names import Gun

#: Error and token answers are read up to here.
_SMALL = 64 * 2**10
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class NotaryServer:
    """A notary server to read from.

    Args:
        url: its base address; metadata is below `<url>/v2/<gun>/_trust/tuf/`.
        ca: PEM file of the CA that its certificate must come from; None: the system's.
        credentials: user and password for the token realm.
        token: gives a bearer token for a GUN without asking a realm; it wins over `credentials`.
        timeout: seconds to wait for a connection, and between bytes.

    Raises:
        InvalidError: the address is not http(s), or the CA file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Path | None = None,
        credentials: tuple[str, str] | None = None,
        token: Callable[[Gun], str] | None = None,
        timeout: float = 10.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidError("the notary server's address must be an http or https URL")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._credentials = credentials
        self._token = token
        self._tokens: dict[Gun, str] = {}
        try:
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
        except (OSError, ssl.SSLError) as error:
            raise InvalidError(f"the CA file {ca} cannot be read: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._http = urllib3.PoolManager(
            ssl_context=context, timeout=timeout, retries=urllib3.Retry(total=1, redirect=0, status=0), maxsize=8
        )

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """The file `<name>.json` of a collection.

        Args:
            gun: the collection.
            name: a role, `<role>.<sha256>` or `<version>.<role>`.
            limit: the most bytes to take.

        Raises:
            NotFoundError: the server has no such file.
            SizeError: it is longer than `limit`.
            UnauthorizedError: the server wants other credentials.
            UnavailableError: no answer, or one that says nothing.
        """
        url = f"{self.url}/v2/{quote(gun, safe='/:')}/_trust/tuf/{quote(name, safe='/')}.json"
        bearer = self._token(gun) if self._token else self._tokens.get(gun)
        with self._get(url, bearer) as response:
            if response.status != 401 or self._token:
                return self._read(response, gun, name, limit)
            challenge = response.headers.get("WWW-Authenticate", "")
        self._tokens[gun] = self._new_token(challenge, gun)
        with self._get(url, self._tokens[gun]) as response:
            return self._read(response, gun, name, limit)

    def _read(self, response: urllib3.BaseHTTPResponse, gun: Gun, name: str, limit: int) -> bytes:
        if response.status == 404:
            raise NotFoundError(f"{self.url} does not have trust data for {gun}", detail={"file": name})
        if response.status in (401, 403):
            raise UnauthorizedError(f"{self.url} does not let these credentials read {gun}")
        if response.status != 200:
            raise UnavailableError(f"{self.url} answered {response.status} for {name} of {gun}")
        return _limited(response, limit, name)

    def _new_token(self, challenge: str, gun: Gun) -> str:
        scheme, _, rest = challenge.partition(" ")
        values = dict(_CHALLENGE.findall(rest))
        realm = urlsplit(values.get("realm", ""))
        if scheme.lower() != "bearer" or realm.scheme not in ("http", "https"):
            raise UnauthorizedError(f"{self.url} asks for authentication in a way that is not understood")
        if self._secure and realm.scheme != "https":
            raise UnauthorizedError(f"{self.url} sends credentials to an address without TLS; refused")
        query = urlencode({"service": values.get("service", ""), "scope": f"repository:{gun}:pull"})
        headers = {}
        if self._credentials is not None:
            headers = urllib3.make_headers(basic_auth=":".join(self._credentials))
        with self._get(f"{realm.geturl()}{'&' if realm.query else '?'}{query}", None, headers) as response:
            if response.status != 200:
                raise UnauthorizedError(f"the token service {realm.netloc} refused the credentials")
            body = _limited(response, _SMALL, "token")
        try:
            answer: Any = json.loads(body)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError) as error:
            raise UnavailableError(
                f"the token service {realm.netloc} answered something else than a token"
            ) from error
        if not isinstance(token, str):
            raise UnavailableError(f"the token service {realm.netloc} answered without a token")
        return token

    @contextmanager
    def _get(
        self, url: str, bearer: str | None, headers: dict[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = dict(headers or {})
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        # One coding on the wire: the limits below count what arrives.
        headers["Accept-Encoding"] = "identity"
        try:
            response = self._http.request(
                "GET", url, headers=headers, preload_content=False, redirect=False, decode_content=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{self.url} does not answer: {_cause(error)}") from error
        try:
            yield response
        finally:
            response.drain_conn()
            response.release_conn()


def _limited(response: urllib3.BaseHTTPResponse, limit: int, name: str) -> bytes:
    try:
        data = response.read(limit + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"the answer for {name} broke off: {_cause(error)}") from error
    if len(data) > limit:
        response.close()
        raise SizeError(f"{name} is longer than the allowed {limit} bytes")
    return data


def _cause(error: Exception) -> str:
    # urllib3 wraps the cause in an error that repeats the whole pool; the cause is what helps.
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {str(reason).rpartition('>: ')[2] or reason}"
