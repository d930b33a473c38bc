# SPDX-License-Identifier: Apache-2.0
"""What refers to a manifest: signatures, bills of materials and the like (REGISTRY_API §2, row 12)."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

from flask import Flask, Response, request

from registry.errors import PaginationError, QueryInvalidError
from registry.manifests import OCI_INDEX, parse
from registry.repositories import StoredManifest, read_manifest, referrers
from registry.views.gate import Gate
from registry.views.routes import GATED, expose
from trust.names import Digest, RepositoryName
from trust.web.database import Database

#: Entries and bytes of one page; clients read no more than 4 MiB.
MAX_ENTRIES = 500
MAX_BYTES = 3 << 20
#: Bytes of manifests that are read for one page: a request must not take minutes.
MAX_READ = 16 << 20

_WORD = re.compile(r"[ -~]{0,255}")


class ReferrerViews:
    """The view of referrers.

    Args:
        database: where they are.
        gate: decides who sees which.
    """

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate

    def expose(self, app: Flask) -> None:
        """Give the view its place."""
        expose(app, "GET", "/v2/<repository:name>/referrers/<digest>", self.get, content=GATED)

    def get(self, repository: RepositoryName, digest: Digest) -> Response:
        """List the manifests whose subject is `digest`, as an index.  Never 404: clients would fall back to tags."""
        grant = self._gate.reader(repository)
        artifact_type, after = request.args.get("artifactType", ""), request.args.get("last", "")
        if not _WORD.fullmatch(artifact_type):
            raise QueryInvalidError("artifactType is a media type")
        if not _WORD.fullmatch(after):
            raise PaginationError("last is what the Link before gave")
        with self._database.read() as session:
            found = referrers(
                session, repository, digest, artifact_type=artifact_type or None, last=after, limit=MAX_ENTRIES + 1
            )
        page = found[:MAX_ENTRIES]
        following = page[-1].sha256 if len(found) > MAX_ENTRIES else ""
        entries: list[dict[str, object]] = []
        size, read, previous = 0, 0, ""
        for each in self._gate.listed(grant, repository, page):
            entry = self._entry(repository, each)
            size, read = size + len(json.dumps(entry)), read + each.size
            if entries and (size > MAX_BYTES or read > MAX_READ):
                following = previous
                break
            entries.append(entry)
            previous = each.sha256
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        response = Response(json.dumps(index), content_type=OCI_INDEX)
        response.headers["Cache-Control"] = "private, no-cache"
        wanted = {"artifactType": artifact_type} if artifact_type else {}
        if wanted:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if following:
            query = urlencode(wanted | {"last": following})
            response.headers["Link"] = f'</v2/{repository}/referrers/{digest}?{query}>; rel="next"'
        return response

    def _entry(self, repository: RepositoryName, stored: StoredManifest) -> dict[str, object]:
        entry: dict[str, object] = {"mediaType": stored.media_type, "digest": stored.digest, "size": stored.size}
        if stored.artifact_type:
            entry["artifactType"] = stored.artifact_type
        # One at a time: 500 manifests of 4 MiB must not be in memory at once.
        with self._database.read() as session:
            data = read_manifest(session, repository, stored.digest)
        annotations = parse(data, stored.media_type).annotations if data is not None else {}
        whole = entry | ({"annotations": dict(annotations)} if annotations else {})
        # Annotations that fill a page by themselves are left out: no client could read the page.
        return whole if len(json.dumps(whole)) <= MAX_BYTES else entry
