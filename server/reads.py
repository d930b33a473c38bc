# SPDX-License-Identifier: Apache-2.0
"""Metadata that is read: nearly all that a notary server is asked for.

`Reads` finds a file, and says with which headers it is answered.  `Ahead` stands in front of the Flask app and
answers what is there and allowed by itself, for Flask takes several times as long as all the rest; whatever else it
may be, the app says.  So it is a shorter way to an answer that the app would give as well, and never to another.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.http import http_date, parse_etags, quote_etag

from server.errors import MetadataNotFoundError
from server.serve import Current
from server.settings import Settings
from server.shelf import Kept, Shelf
from server.store import Store, StoredFile
from trust.errors import InvalidError, TrustError
from trust.names import Gun, RoleName
from trust.tokens import Access
from trust.web import tracing
from trust.web.app import log_answer
from trust.web.bearer import Guard
from trust.web.database import Database

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TEXT_TYPE = "text/plain; charset=utf-8"
PULL = frozenset({"pull"})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Found:
    """A file, and how it may be kept by others.

    Attributes:
        file: None: there is none.
        caching: the headers that say so.
    """

    file: StoredFile | None
    caching: tuple[tuple[str, str], ...]

    def answer(self, if_none_match: str | None) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body.

        Args:
            if_none_match: the request's header.

        Raises:
            MetadataNotFoundError: there is no file.
        """
        if self.file is None:
            raise MetadataNotFoundError({})
        headers = [("ETag", quote_etag(self.file.sha256)), *self.caching]
        if if_none_match is not None and parse_etags(if_none_match).contains_weak(self.file.sha256):
            return 304, headers, b""
        if self.file.created is not None:
            headers.append(("Last-Modified", http_date(self.file.created)))
        headers += [("Content-Type", TEXT_TYPE), ("Content-Length", str(len(self.file.data)))]
        return 200, headers, self.file.data


class Reads:
    """Finds what is read.

    Args:
        settings: how long others may keep it, and the names that are served.
        database: where it is.
        current: what is current.
        shelf: what was read before.
    """

    def __init__(self, settings: Settings, database: Database, current: Current, shelf: Shelf) -> None:
        self._database = database
        self._current = current
        self._shelf = shelf
        self._lasting = _caching(settings.consistent_max_age)
        self._passing = _caching(settings.current_max_age, ", must-revalidate")

    def by_checksum(self, gun: Gun, path: dict[str, str]) -> Found:
        """<role>.<checksum>.json: a file that never changes; only by sha256 in lower case (§2.1)."""
        role = role_in(path)
        found, checksum = None, path["checksum"]
        if _SHA256.fullmatch(checksum):
            found = self._stored((gun, role, checksum), lambda store: store.by_checksum(gun, role, checksum))
        return Found(found, self._lasting)

    def by_version(self, gun: Gun, path: dict[str, str]) -> Found:
        """<version>.<role>.json: any stored version."""
        role = role_in(path)
        found = None
        if len(path["version"]) <= 20 and (version := int(path["version"])) <= _MAX_INT32:
            found = self._stored((gun, role, version), lambda store: store.by_version(gun, role, version))
        return Found(found, self._lasting)

    def current(self, gun: Gun, path: dict[str, str]) -> Found:
        """<role>.json: what is current."""
        return Found(self._current.get(gun, role_in(path)), self._passing)

    def _stored(self, key: Hashable, find: Callable[[Store], StoredFile | None]) -> StoredFile | None:
        def read() -> Kept | None:
            with self._database.read() as session:
                found = find(Store(session))
            return None if found is None else Kept(found)

        return self._shelf.get(key, read)


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """A kind of path that metadata is read at."""

    pattern: re.Pattern[str]
    template: str
    find: Callable[[Reads, Gun, dict[str, str]], Found]


class Ahead:
    """A WSGI application before another.

    Args:
        service: whose log lines these are.
        behind: answers everything that is not answered here.
        routes: what is read.
        reads: finds it.
        name: makes a collection's name of a path's, or raises.
        guard: asks for tokens.
    """

    def __init__(
        self,
        service: str,
        behind: WSGIApplication,
        routes: Iterable[ReadRoute],
        reads: Reads,
        name: Callable[[str], Gun],
        guard: Guard,
    ) -> None:
        self._service = service
        self._behind = behind
        self._routes = tuple(routes)
        self._reads = reads
        self._name = name
        self._guard = guard

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        if environ["REQUEST_METHOD"] == "GET":
            with suppress(TrustError):
                if (body := self._answered(environ, start_response)) is not None:
                    return [body]
        return self._behind(environ, start_response)

    def _answered(self, environ: WSGIEnvironment, start_response: StartResponse) -> bytes | None:
        """The body, when all is well."""
        started = time.monotonic()
        path = environ["PATH_INFO"]
        if not path.isascii() or "//" in path or "/." in path:
            return None
        for route in self._routes:
            if (match := route.pattern.fullmatch(path)) is not None:
                break
        else:
            return None
        facts = tracing.enter(self._service, environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            gun = self._name(match["gun"])
            tracing.note(route=route.template, gun=gun)
            if not self._guard.allows(environ.get("HTTP_AUTHORIZATION", ""), Access("repository", gun, PULL)):
                return None
            found = route.find(self._reads, gun, match.groupdict())
            status, headers, body = found.answer(environ.get("HTTP_IF_NONE_MATCH"))
            headers.append((tracing.HEADER, facts.request_id))
            log_answer("GET", path, status, time.monotonic() - started, client=environ.get("REMOTE_ADDR"))
        finally:
            tracing.leave(facts)
        start_response("200 OK" if status == 200 else "304 NOT MODIFIED", headers)
        return body


def role_in(path: dict[str, str]) -> RoleName:
    """The role in a path.

    Raises:
        MetadataNotFoundError: there cannot be such a role.
    """
    try:
        return RoleName(path["role"])
    except InvalidError as error:
        raise MetadataNotFoundError({}) from error


def _caching(max_age: int, ending: str = "") -> tuple[tuple[str, str], ...]:
    if max_age == 0:
        return ("Cache-Control", "max-age=0, no-cache, no-store"), ("Pragma", "no-cache")
    return (("Cache-Control", f"public, max-age={max_age}, s-maxage={max_age}{ending}"),)
