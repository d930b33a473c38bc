# SPDX-License-Identifier: Apache-2.0
"""How a view gets its place (REGISTRY_API §1).

Repository names hold slashes, so paths are read from the right: the name is everything before the last
`/manifests/<reference>`.  What stands in a path is parsed here, once; views get names, tags and digests, never texts.

Each endpoint says whether content may leave through it: `GATED`, or a sentence that says why none can.
`endpoints(app)` gives all of these, and a test walks them.  Should a gated view answer without having asked the gate,
its answer is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Response, g, request
from werkzeug.routing import BaseConverter

from registry.errors import (
    DigestInvalidError,
    MissingChildError,
    NameInvalidError,
    TagInvalidError,
    UploadUnknownError,
)
from trust.errors import InvalidError
from trust.names import Digest, RepositoryName, Tag
from trust.web.app import errors_response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

GATED = "gated"
#: A header of every answer (REGISTRY_API §2, row 1).
API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = "troth.endpoints"


def prepare(app: Flask) -> None:
    """Teach `app` what a repository's name looks like in a rule, `<repository:name>`, and to tell what is missing."""
    app.url_map.converters["repository"] = _RepositoryConverter
    app.register_error_handler(MissingChildError, _answer_missing)
    app.extensions[_KEY] = {}


def expose(app: Flask, method: str, rule: str, view: Callable[..., Response], *, content: str) -> None:
    """Serve `rule` with `view`; a GET also serves HEAD.

    Args:
        app: was given to `prepare`.
        method: of HTTP.
        rule: its variables may be called name, reference, digest and upload, and reach the view parsed.
        view: answers.
        content: `GATED`, or why no content of a repository can leave through this endpoint.
    """
    endpoint = f"{method} {rule}"

    def answer(**texts: str) -> Response:
        if has_encoded_slash(request.environ):
            raise NameInvalidError("a path has no encoded slashes")
        response = view(**{_VARIABLES[name][0]: _VARIABLES[name][1](text) for name, text in texts.items()})
        if content == GATED and response.status_code < 400 and not g.get("gate_asked", False):
            raise AssertionError(f"{endpoint} answers without having asked the gate")
        return response

    endpoints(app)[endpoint] = content
    app.add_url_rule(rule, endpoint, answer, methods=[method], provide_automatic_options=False)


def endpoints(app: Flask) -> dict[str, str]:
    """All endpoints made by `expose`, and for each `GATED` or why it need not be."""
    return cast(dict[str, str], app.extensions[_KEY])


def has_encoded_slash(environ: WSGIEnvironment) -> bool:
    """Whether the path has a slash that was decoded before routing, and would be taken for a real one."""
    return "%2f" in environ.get("RAW_URI", "").partition("?")[0].lower()


def bare(status: int) -> Response:
    """An answer with headers alone; it has no Content-Type, where Werkzeug would call nothing text/html."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def parse_repository(text: str) -> RepositoryName:
    """The name of a repository.

    Raises:
        NameInvalidError: `text` is none.
    """
    try:
        return RepositoryName(text)
    except InvalidError as error:
        raise NameInvalidError(error.message) from error


def parse_digest(text: str) -> Digest:
    """A digest.

    Raises:
        DigestInvalidError: `text` is none.
    """
    try:
        return Digest(text)
    except InvalidError as error:
        raise DigestInvalidError(error.message) from error


def parse_tag(text: str) -> Tag:
    """A tag.

    Raises:
        TagInvalidError: `text` is none.
    """
    try:
        return Tag(text)
    except InvalidError as error:
        raise TagInvalidError(error.message) from error


def parse_reference(text: str) -> Tag | Digest:
    """A tag or a digest.

    Raises:
        DigestInvalidError: `text` has a colon, and is no digest.
        TagInvalidError: it has none, and is no tag.
    """
    return parse_digest(text) if ":" in text else parse_tag(text)  # a tag never has a colon


def _answer_missing(error: MissingChildError) -> Response:
    """An error for each missing digest (REGISTRY_API §4, R4.4)."""
    return errors_response(error.status, *((error.code, *entry) for entry in error.entries()))


def _parse_upload(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise UploadUnknownError("there is no such upload; start a new one")
    return text


_VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("repository", parse_repository),
    "reference": ("reference", parse_reference),
    "digest": ("digest", parse_digest),
    "upload": ("upload", _parse_upload),
}


class _RepositoryConverter(BaseConverter):
    # Everything, so that a wrong name is told to be one instead of finding no route.
    regex = r"(?s:.*)"
    part_isolating = False
    weight = 200
