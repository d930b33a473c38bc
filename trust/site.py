# SPDX-License-Identifier: Apache-2.0
"""HTTP to a server that wants tokens: what notary servers and registries share (NOTARY_V1 §5, REGISTRY_API §6).

    site = Site("https://localhost:5000", ca="var/ca/ca.crt", credentials=("alice", password))
    with site.request("GET", "/v2/", scope="") as answer:
        answer.status

A 401 is answered once with a token from the realm that the challenge names.  Credentials go only to an https realm
when the server is https; redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import urllib3

from trust.deadline import LIMITED, Exchange
from trust.errors import InvalidError, SizeError, UnauthorizedError, UnavailableError

#: Seconds for a whole answer: the largest files that there are, on a slow line.
LONGEST = 300.0
#: Error and token answers are read up to here.
SMALL = 64 * 2**10
#: What docker calls the user whose password is an identity token.
TOKEN_USER = "<token>"  # noqa: S105  # a name
#: What a token is made of (RFC 6750); nothing else goes into a header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_CLIENT = "troth"

Answer = urllib3.BaseHTTPResponse
#: One file or several, by path.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Site:
    """A server behind token authentication.

    Args:
        url: its base address.
        ca: PEM file, or files, of the CAs that its certificate must come from; none: the system's.
        credentials: user and password for the token realm; the user `<token>` has an identity token for password.
        timeout: seconds to wait for a connection, and between bytes.
        longest: seconds for a whole answer, however steadily it trickles in.
        headers: gives what else is sent with each request, such as the ID of the request that it is made for.

    Raises:
        InvalidError: the address is not http(s), or a CA file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Paths | None = None,
        credentials: tuple[str, str] | None = None,
        timeout: float = 10.0,
        longest: float = LONGEST,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        parts = _split(url)
        if parts is None or parts.query or parts.fragment:
            raise InvalidError("the server's address must be an http or https URL")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._credentials = credentials
        self._longest = longest
        self._headers = headers
        self._tokens: dict[str, str] = {}
        files = [os.fspath(ca)] if isinstance(ca, str | os.PathLike) else [os.fspath(each) for each in ca or ()]
        try:
            context = ssl.create_default_context(cafile=files[0] if files else None)
            for other in files[1:]:
                context.load_verify_locations(other)
        except (OSError, ssl.SSLError) as error:
            raise InvalidError(f"the CA file {', '.join(files)} cannot be read: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._http = urllib3.PoolManager(
            ssl_context=context, timeout=timeout, retries=urllib3.Retry(total=1, redirect=0, status=0), maxsize=8
        )
        self._http.pool_classes_by_scheme = LIMITED

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Answer]:
        """Send a request, with a token for `scope` if the server asks for one.

        Args:
            method: the HTTP method.
            path: behind the base address, encoded.
            scope: what the token must be good for, such as `repository:library/app:pull`.
            body: what is sent.
            headers: sent as they are; with `Authorization` among them no token is asked for.

        Raises:
            UnauthorizedError: no token can be had with these credentials.
            UnavailableError: the server does not answer.
        """
        given = headers is not None and "Authorization" in headers
        with self._send(method, self.url + path, self._tokens.get(scope), body, headers) as answer:
            if answer.status != 401 or given:
                yield answer
                return
            challenge = answer.headers.get("WWW-Authenticate", "")
        self._tokens[scope] = self._new_token(challenge, scope)
        with self._send(method, self.url + path, self._tokens[scope], body, headers) as answer:
            yield answer

    def _new_token(self, challenge: str, scope: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        values = dict(_CHALLENGE.findall(rest))
        if scheme.lower() == "basic" and self._credentials is not None and self._secure:
            # A registry without a token service: the credentials themselves, as the value of Authorization.
            return basic(self._credentials)
        realm = _split(values.get("realm", ""))
        if scheme.lower() != "bearer" or realm is None:
            raise UnauthorizedError(f"{self.url} asks for authentication in a way that is not understood")
        if self._secure and realm.scheme != "https":
            raise UnauthorizedError(f"{self.url} sends credentials to an address without TLS; refused")
        fields = {"service": values.get("service", ""), "client_id": _CLIENT, "scope": scope}
        if self._credentials is not None and self._credentials[0] == TOKEN_USER:
            form = urlencode(fields | {"grant_type": "refresh_token", "refresh_token": self._credentials[1]})
            sending = self._send("POST", realm.geturl(), None, form.encode(), _FORM)
        else:
            query = f"{realm.geturl()}{'&' if realm.query else '?'}{urlencode(fields)}"
            login = basic(self._credentials) if self._credentials else None
            sending = self._send("GET", query, login, None, None)
        with sending as answer:
            if answer.status != 200:
                raise UnauthorizedError(f"the token service {realm.netloc} refused the credentials")
            body = read(answer, SMALL, "token")
        try:
            decoded: Any = json.loads(body)
            token = decoded.get("token") or decoded.get("access_token")
        except (ValueError, AttributeError, RecursionError) as error:
            raise UnavailableError(
                f"the token service {realm.netloc} answered something else than a token"
            ) from error
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UnavailableError(f"the token service {realm.netloc} answered without a token")
        return f"Bearer {token}"

    @contextmanager
    def _send(
        self, method: str, url: str, authorization: str | None, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Iterator[Answer]:
        # One coding on the wire: limits count what arrives.
        sent = {**self._headers(), **(headers or {}), "Accept-Encoding": "identity"}
        if authorization:
            sent["Authorization"] = authorization
        with Exchange(self._longest) as exchange:
            try:
                answer = self._http.request(
                    method, url, headers=sent, body=body, preload_content=False, redirect=False, decode_content=False
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if exchange.passed:
                    raise self._too_slow() from error
                raise UnavailableError(f"{self.url} does not answer: {_cause(error)}") from error
            try:
                yield answer
            except UnavailableError as error:
                if exchange.passed:
                    raise self._too_slow() from error
                raise
            finally:
                _finish(answer)
            if exchange.passed:  # what was read ended with the connection, and looked whole
                raise self._too_slow()

    def _too_slow(self) -> UnavailableError:
        return UnavailableError(f"{self.url} did not answer within {self._longest:g} seconds")


def basic(login: tuple[str, str]) -> str:
    """User and password as the value of `Authorization`, in UTF-8 as docker sends them (RFC 7617, section 2.1).

    Raises:
        InvalidError: they are no text.
    """
    try:
        return f"Basic {b64encode(':'.join(login).encode()).decode()}"
    except UnicodeEncodeError:  # it holds the password
        raise InvalidError("the user name or the password is no text in UTF-8") from None


def read(answer: Answer, limit: int, name: str) -> bytes:
    """The body of an answer.

    Args:
        answer: what `Site.request` gave.
        limit: the most bytes to take.
        name: what it is, for messages.

    Raises:
        SizeError: it is longer than `limit`.
        UnavailableError: it broke off.
    """
    try:
        data = answer.read(limit + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnavailableError(f"the answer for {name} broke off: {_cause(error)}") from error
    if len(data) > limit:
        answer.close()
        raise SizeError(f"{name} is longer than the allowed {limit} bytes")
    if answer.length_remaining:  # urllib3 does not mind where all is asked for at once
        raise UnavailableError(f"the answer for {name} broke off: {answer.length_remaining} bytes are missing")
    return data


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a host or port that is none
        return None
    return parts if usable else None


def _finish(answer: Answer) -> None:
    # A short rest is read, so that the connection can be used again; another may have no end.
    rest = answer.length_remaining
    if rest is not None and rest <= SMALL:
        answer.drain_conn()
    else:
        answer.close()
    answer.release_conn()


def _cause(error: Exception) -> str:
    # urllib3 wraps the cause in an error that repeats the whole pool; the cause is what helps.
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {str(reason).rpartition('>: ')[2] or reason}"


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
