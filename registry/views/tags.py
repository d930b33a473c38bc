# SPDX-License-Identifier: Apache-2.0
"""Lists of names: a repository's tags, the registry's repositories; and the ping (REGISTRY_API §2, rows 1 and 8)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import urlencode

from flask import Flask, Response, request

from registry.errors import NameUnknownError, PaginationError
from registry.repositories import exists_repository, list_repositories, list_tags
from registry.views.gate import Gate
from registry.views.routes import expose
from trust.names import RepositoryName
from trust.web.database import Database

#: The longest page, whatever was asked for.
MAX_PAGE = 10_000

_NUMBER = re.compile(r"[0-9]{1,9}")
_LAST = re.compile(r"[ -~]{0,255}")


class TagViews:
    """Views of names.

    Args:
        database: where they are.
        gate: decides who may see them.
    """

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate

    def expose(self, app: Flask) -> None:
        """Give the views their places."""
        names = "lists names, and nothing that they stand for"
        expose(app, "GET", "/v2/", self.ping, content="says that this is a registry")
        expose(app, "GET", "/v2/_catalog", self.catalog, content=names)
        expose(app, "GET", "/v2/<repository:name>/tags/list", self.tags, content=names)

    def ping(self) -> Response:
        """Say that this is a registry, and that the token is good."""
        self._gate.anyone()
        return _json({})

    def catalog(self) -> Response:
        """List the repositories."""
        self._gate.cataloguer()
        with self._database.read() as session:
            names, link = _page("/v2/_catalog", lambda last, limit: list_repositories(session, last, limit))
        return _json({"repositories": names}, link)

    def tags(self, repository: RepositoryName) -> Response:
        """List the tags of a repository."""
        self._gate.reader(repository)
        with self._database.read() as session:
            if not exists_repository(session, repository):
                raise NameUnknownError("there is no such repository", detail={"name": repository})
            names, link = _page(
                f"/v2/{repository}/tags/list", lambda last, limit: list_tags(session, repository, last, limit)
            )
        return _json({"name": repository, "tags": names}, link)


def _page(path: str, names_after: Callable[[str, int], list[str]]) -> tuple[list[str], str | None]:
    """The page that the current request asks for, and the `Link` to the next one if there is one."""
    number, last = request.args.get("n", str(MAX_PAGE)), request.args.get("last", "")
    if not _NUMBER.fullmatch(number) or not _LAST.fullmatch(last):
        raise PaginationError("n is a number, 0 or more, and last is a name")
    limit = min(int(number), MAX_PAGE)
    if limit == 0:
        return [], None
    names = names_after(last, limit + 1)  # one more, to see whether there are more
    if len(names) <= limit:
        return names, None
    query = urlencode({"n": limit, "last": names[limit - 1]})
    return names[:limit], f'<{path}?{query}>; rel="next"'


def _json(value: object, link: str | None = None) -> Response:
    response = Response(json.dumps(value), content_type="application/json; charset=utf-8")
    if link:
        response.headers["Link"] = link
    return response
