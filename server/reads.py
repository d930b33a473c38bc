# SPDX-License-Identifier: Apache-2.0
"""Metadata that is read: nearly all that a notary server is asked for.

`Reads` finds a file, and says with which headers it is answered: to the views, and to the shorter way ahead of Flask
(`trust.web.ahead`), which answers what is there and allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Executable
from werkzeug.http import http_date, parse_etags, quote_etag

from server.errors import MetadataNotFoundError
from server.queries import BY_CHECKSUM, BY_VERSION
from server.serve import Current
from server.settings import Settings
from server.shelf import Kept, Shelf
from server.store import StoredFile, first_file
from trust.errors import InvalidError
from trust.names import Gun, RoleName
from trust.tokens import Access
from trust.web import tracing
from trust.web.ahead import Answer
from trust.web.bearer import Guard
from trust.web.database import Database

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

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

    def answer(self, if_none_match: str | None) -> Answer:
        """The answer to a GET.

        Args:
            if_none_match: the request's header.

        Raises:
            MetadataNotFoundError: there is no file.
        """
        if self.file is None:
            raise MetadataNotFoundError({})
        headers = [("ETag", quote_etag(self.file.sha256)), *self.caching]
        if if_none_match is not None and parse_etags(if_none_match).contains_weak(self.file.sha256):
            return Answer(304, headers, b"")
        if self.file.created is not None:
            headers.append(("Last-Modified", http_date(self.file.created)))
        headers += [("Content-Type", TEXT_TYPE), ("Content-Length", str(len(self.file.data)))]
        return Answer(200, headers, self.file.data)


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
            found = self._stored(gun, role, BY_CHECKSUM, sha256=checksum)
        return Found(found, self._lasting)

    def by_version(self, gun: Gun, path: dict[str, str]) -> Found:
        """<version>.<role>.json: any stored version."""
        role = role_in(path)
        found = None
        if len(path["version"]) <= 20 and (version := int(path["version"])) <= _MAX_INT32:
            found = self._stored(gun, role, BY_VERSION, version=version)
        return Found(found, self._lasting)

    def current(self, gun: Gun, path: dict[str, str]) -> Found:
        """<role>.json: what is current."""
        return Found(self._current.get(gun, role_in(path)), self._passing)

    def _stored(self, gun: Gun, role: RoleName, statement: Executable, **value: str | int) -> StoredFile | None:
        def read() -> Kept | None:
            found = first_file(self._database.ask(statement, {"gun": gun, "role": role, **value}))
            return None if found is None else Kept(found)

        return self._shelf.get((gun, role, *value.values()), read)


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """A kind of path that metadata is read at."""

    pattern: re.Pattern[str]
    template: str
    find: Callable[[Reads, Gun, dict[str, str]], Found]


class ReadsAhead:
    """Answers reads for `trust.web.ahead`.

    Args:
        routes: what is read.
        reads: finds it.
        name: makes a collection's name of a path's, or raises.
        guard: asks for tokens.
    """

    def __init__(self, routes: Sequence[ReadRoute], reads: Reads, name: Callable[[str], Gun], guard: Guard) -> None:
        self._routes = routes
        self._reads = reads
        self._name = name
        self._guard = guard

    def __call__(self, environ: WSGIEnvironment) -> Answer | None:
        """The answer to a request."""
        path = environ["PATH_INFO"]
        if not path.isascii() or "//" in path or "/." in path:
            return None  # it may be another path
        for route in self._routes:
            if (match := route.pattern.fullmatch(path)) is not None:
                break
        else:
            return None
        try:
            gun = self._name(match["gun"])
        except InvalidError:
            return None
        tracing.note(route=route.template, gun=gun)
        if self._guard.grant(environ.get("HTTP_AUTHORIZATION", ""), Access("repository", gun, PULL)) is None:
            return None
        return route.find(self._reads, gun, match.groupdict()).answer(environ.get("HTTP_IF_NONE_MATCH"))


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
