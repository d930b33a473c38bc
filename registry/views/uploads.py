# SPDX-License-Identifier: Apache-2.0
"""Pushing blobs: in one request, in chunks, in one stream, or by a mount (REGISTRY_API §2, rows 4–6, 11, 13, 14).

Docker's way is a POST, one PATCH without Content-Range or Content-Length, and an empty PUT.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response, request
from sqlalchemy.orm import Session

from registry.blobs import blob_sources, find_blob, hold_blob
from registry.errors import DigestInvalidError
from registry.repositories import ensure_repository
from registry.uploads import Upload, Uploads
from registry.views.bodies import chunk
from registry.views.gate import Gate
from registry.views.routes import bare, expose, parse_digest, parse_repository
from trust.names import Digest, RepositoryName
from trust.tokens import Grant
from trust.web.database import Database

_TAKES = "takes content, and answers with headers alone"
ALGORITHMS = ("sha256", "sha512")


class UploadViews:
    """Views of uploads.

    Args:
        database: knows which repository holds what, for mounts.
        uploads: does the rest.
        gate: decides who may push, and what may be mounted.
        clock: tells the time.
    """

    def __init__(self, database: Database, uploads: Uploads, gate: Gate, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._uploads = uploads
        self._gate = gate
        self._clock = clock

    def expose(self, app: Flask) -> None:
        """Give the views their places."""
        start = "/v2/<repository:name>/blobs/uploads/"
        session = start + "<upload>"
        expose(app, "POST", start, self.start, content="answers with headers alone; asks the gate before a mount")
        expose(app, "GET", session, self.status, content="tells how far an upload is, and nothing of its bytes")
        expose(app, "PATCH", session, self.append, content=_TAKES)
        expose(app, "PUT", session, self.finish, content=_TAKES)
        expose(app, "DELETE", session, self.cancel, content="forgets an upload, and answers with nothing")

    def start(self, repository: RepositoryName) -> Response:
        """Begin an upload, unless the blob can be mounted or is in this very request."""
        given = request.args
        mount = parse_digest(given["mount"]) if "mount" in given else None
        source = parse_repository(given["from"]) if mount and given.get("from") else None
        grant = self._gate.mounter(repository, source) if source else self._gate.writer(repository)
        if mount and self._mount(grant, repository, mount, source):
            return _created(repository, mount)
        digest = parse_digest(given["digest"]) if "digest" in given and not mount else None
        algorithm = digest.algorithm if digest else given.get("digest-algorithm", ALGORITHMS[0])
        if algorithm not in ALGORITHMS:
            raise DigestInvalidError(f"the digest's algorithm must be one of {', '.join(ALGORITHMS)}")
        upload = self._uploads.start(repository, algorithm, grant.subject)
        if digest is None:
            return _located(bare(202), repository, upload)
        try:
            self._uploads.finish(repository, upload.id, digest, chunk())
        except Exception:
            # The client does not know of this upload, and would never take it up again.
            self._uploads.cancel(repository, upload.id)
            raise
        return _created(repository, digest)

    def status(self, repository: RepositoryName, upload: str) -> Response:
        """Tell how far an upload is."""
        self._gate.writer(repository)
        return _located(bare(204), repository, self._uploads.find(repository, upload))

    def append(self, repository: RepositoryName, upload: str) -> Response:
        """Take a chunk."""
        self._gate.writer(repository)
        return _located(bare(202), repository, self._uploads.append(repository, upload, chunk()))

    def finish(self, repository: RepositoryName, upload: str) -> Response:
        """Take the last chunk and close the upload."""
        self._gate.writer(repository)
        digest = parse_digest(request.args.get("digest", ""))
        self._uploads.finish(repository, upload, digest, chunk())
        return _created(repository, digest)

    def cancel(self, repository: RepositoryName, upload: str) -> Response:
        """Forget an upload."""
        self._gate.writer(repository)
        self._uploads.cancel(repository, upload)
        return bare(204)

    def _mount(self, grant: Grant, repository: RepositoryName, digest: Digest, source: RepositoryName | None) -> bool:
        with self._database.read() as session:
            candidates = [source] if source else blob_sources(session, digest)
            sources = [each for each in candidates if find_blob(session, each, digest)]
        if not any(self._gate.mountable(grant, each, digest) for each in sources):
            return False

        def work(session: Session) -> bool:
            # Looked up again: it may have been deleted meanwhile.
            blob = next((blob for each in sources if (blob := find_blob(session, each, digest, lock=True))), None)
            if blob is None:
                return False
            hold_blob(session, ensure_repository(session, repository), blob)
            return True

        return self._database.transact(work)


def _located(response: Response, repository: RepositoryName, upload: Upload) -> Response:
    # Relative: it survives every proxy.
    response.headers["Location"] = f"/v2/{repository}/blobs/uploads/{upload.id}"
    response.headers["Docker-Upload-UUID"] = upload.id
    response.headers["Range"] = f"0-{max(0, upload.offset - 1)}"
    return response


def _created(repository: RepositoryName, digest: Digest) -> Response:
    response = bare(201)
    response.headers["Location"] = f"/v2/{repository}/blobs/{digest}"
    response.headers["Docker-Content-Digest"] = digest
    return response
