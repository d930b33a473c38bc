# SPDX-License-Identifier: Apache-2.0
"""A registry's API `/api/v1`, called by somebody who logs in (docs/reference/api.md).

    site = AdminSite("localhost:5000", ca=[Path("var/ca/ca.crt")], login=("admin", password))
    site.call("PATCH", "/users/bob", {"disabled": True})
    for page in site.pages("/repositories", {"n": 100}):
        page["repositories"]

The login goes with each request, over TLS and to this host alone.  A registry's refusal becomes the error of the same
name, with the registry's own sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from trust.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    TrustError,
    UnauthorizedError,
    UnavailableError,
)
from trust.site import Site, basic, read

_ROOT = "/api/v1"
#: A page of a thousand records.
_LIMIT = 8 * 2**20
_NEXT = re.compile(rf'<{_ROOT}(/[!-~]*)>; rel="next"')
_ERRORS: Mapping[int, type[TrustError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidError,
}


class AdminSite:
    """The API of one registry.

    Args:
        host: with its port, if it has one.
        ca: files of the CAs that its certificate may come from; none: the system's.
        login: user and password, or access token; the user `<token>` has docker's identity token for password.

    Raises:
        InvalidError: this is no host, or a CA file cannot be read.
    """

    def __init__(self, host: str, *, ca: Sequence[Path], login: tuple[str, str]) -> None:
        self._site = Site(f"https://{host}", ca=ca)
        self._headers = {"Authorization": basic(login), "Accept": "application/json"}

    def call(self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None) -> Any:
        """Do one operation.

        Args:
            method: of HTTP.
            path: below `/api/v1`, encoded.
            body: sent as JSON, unless it is None.
            query: what stands behind the question mark.

        Returns:
            The answer's JSON, or None if it is empty.

        Raises:
            TrustError: the registry refuses, or does not answer.
        """
        return self._send(method, _with(path, query), body)[0]

    def pages(self, path: str, query: Mapping[str, object] | None = None) -> Iterator[Any]:
        """The answers to a GET, as long as `Link` leads on; errors as for `call`."""
        following = _with(path, query)
        while following:
            answer, link = self._send("GET", following, None)
            yield answer
            found = _NEXT.search(link)
            following = found[1] if found else ""

    def _send(self, method: str, path: str, body: object) -> tuple[Any, str]:
        data, headers = None, self._headers
        if body is not None:
            data, headers = json.dumps(body).encode(), headers | {"Content-Type": "application/json"}
        with self._site.request(method, _ROOT + path, scope="", body=data, headers=headers) as answer:
            text = read(answer, _LIMIT, path)
            status, link = answer.status, answer.headers.get("Link", "")
        try:
            told = json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise UnavailableError(f"{self._site.url} answered {status} with something else than JSON") from error
        if status >= 300:
            raise self._error(status, told)
        return told, link

    def _error(self, status: int, told: Any) -> TrustError:
        try:
            message, detail = str(told["errors"][0]["message"]), told["errors"][0].get("detail")
        except (TypeError, LookupError, AttributeError):
            return UnavailableError(f"{self._site.url} answered {status}")
        return _ERRORS.get(status, UnavailableError)(clean(message), detail=detail)


def clean(text: str) -> str:
    """`text` without what a terminal would take for something else."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _with(path: str, query: Mapping[str, object] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
