# SPDX-License-Identifier: Apache-2.0
"""Manifests by the shorter way ahead of Flask (`trust.web.ahead`): what is there, and may leave without a word.

The same gate is asked the same two questions as by `ManifestViews.get`.  Where a client lacks a right, and where
something may have to be written, the view is asked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from werkzeug.http import parse_etags, quote_etag

from registry.views.gate import Gate, warning_of
from registry.views.manifests import PATH, ManifestViews
from registry.views.routes import API_VERSION, has_encoded_slash, parse_reference, parse_repository
from trust.errors import InvalidError
from trust.names import Tag
from trust.web import tracing
from trust.web.ahead import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/manifests/(?P<reference>[^/]+)")


class ManifestsAhead:
    """Answers GET and HEAD of manifests.

    Args:
        gate: decides who gets what.
        views: finds manifests.
    """

    def __init__(self, gate: Gate, views: ManifestViews) -> None:
        self._gate = gate
        self._views = views

    def __call__(self, environ: WSGIEnvironment) -> Answer | None:
        """The answer to a request."""
        match = _PATH.fullmatch(environ["PATH_INFO"])
        if match is None or has_encoded_slash(environ):
            return None
        try:
            repository, reference = parse_repository(match["name"]), parse_reference(match["reference"])
        except InvalidError:
            return None
        tracing.note(route=PATH, repository=repository)
        self._views.is_pull_told()  # asked first, since that may take time
        grant = self._gate.plain_reader(environ.get("HTTP_AUTHORIZATION", ""), repository)
        if grant is None:
            return None
        tag = reference if isinstance(reference, Tag) else None
        digest, stored = self._views.find(repository, reference)
        if stored.is_unused:
            return None
        permit = self._gate.permit(grant, repository, digest, tag)
        if permit.digest not in (None, digest):
            digest = permit.digest
            _, stored = self._views.find(repository, digest)  # what the tag is signed as
        headers = [
            API_VERSION,
            ("Docker-Content-Digest", digest),
            ("ETag", quote_etag(digest)),
            ("Cache-Control", "private, no-cache"),
        ]
        if permit.warning is not None:
            headers.append(warning_of(permit.warning))
        if parse_etags(environ.get("HTTP_IF_NONE_MATCH")).contains(digest):
            return Answer(304, headers, b"")
        headers += [("Content-Type", stored.media_type), ("Content-Length", str(stored.size))]
        if environ["REQUEST_METHOD"] == "HEAD":
            return Answer(200, headers, b"")
        data = self._views.read(repository, digest)
        self._views.report_pull(repository, tag, digest, stored)
        return Answer(200, headers, data)
