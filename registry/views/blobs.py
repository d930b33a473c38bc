# SPDX-License-Identifier: Apache-2.0
"""Blobs by digest (REGISTRY_API §2, rows 2 and 10)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import IO, cast

from flask import Flask, Response, after_this_request, request
from werkzeug.wsgi import wrap_file

from registry.blobs import StoredBlob, find_blob, release_blob, spare_blob
from registry.errors import BlobUnknownError, NameUnknownError, RangeInvalidError, StorageError
from registry.repositories import exists_repository
from registry.storage.base import Storage
from registry.views.gate import Gate
from registry.views.routes import GATED, bare, expose
from trust.names import Digest, RepositoryName
from trust.web.database import Database

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
#: what is read at once where the server cannot let the kernel send the file
_BLOCK = 1 << 18


class BlobViews:
    """Views of blobs.

    Args:
        database: knows which repository holds them.
        storage: has their bytes.
        gate: decides who gets them.
        link_lifetime: how long an address that a client is sent to is good.
        accel: where the web server in front has the storage's folder, if it is to send the blobs.
    """

    def __init__(
        self, database: Database, storage: Storage, gate: Gate, link_lifetime: timedelta, accel: str | None = None
    ) -> None:
        self._database = database
        self._storage = storage
        self._gate = gate
        self._link_lifetime = link_lifetime
        self._accel = accel

    def expose(self, app: Flask) -> None:
        """Give the views their places."""
        path = "/v2/<repository:name>/blobs/<digest>"
        expose(app, "GET", path, self.get, content=GATED)
        expose(app, "DELETE", path, self.delete, content="deletes, and answers with nothing")

    def get(self, repository: RepositoryName, digest: Digest) -> Response:
        """Serve a blob or a part of it."""
        grant = self._gate.reader(repository)
        blob = self._find(repository, digest)
        self._gate.blob(grant, repository, digest)
        if blob.is_unused and grant.allows("repository", repository, "push"):
            # Its client may be about to push a manifest that names it, and will not push the blob again.
            self._spare(repository, digest)
        if request.if_none_match.contains(digest):
            return _headed(Response(status=304), digest)
        part = _wanted_part(digest, blob.size)
        if request.method == "GET" and (link := self._storage.link(blob.sha256, self._link_lifetime)):
            return _sent_on(link, digest)
        if request.method == "GET" and self._accel and (path := self._storage.inner_path(blob.sha256)):
            return self._handed_over(f"{self._accel.rstrip('/')}/{path}", blob, digest)
        start, stop = part or (0, blob.size)
        response = Response(status=206 if part else 200, content_type="application/octet-stream")
        if request.method == "GET":
            # The server's own wrapper: over plain HTTP the kernel sends the file, and no byte passes through here.
            content = self._storage.open(blob.sha256, start, stop)
            response.response = wrap_file(request.environ, cast(IO[bytes], content), _BLOCK)
            response.direct_passthrough = True
        response.content_length = stop - start
        if part:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        return _headed(response, digest)

    def delete(self, repository: RepositoryName, digest: Digest) -> Response:
        """Take a blob out of a repository."""
        self._gate.deleter(repository)
        self._database.transact(lambda session: release_blob(session, repository, digest))
        return bare(202)

    def _handed_over(self, place: str, blob: StoredBlob, digest: Digest) -> Response:
        """Let nginx send the content, and the part of it that was asked for."""
        if self._storage.size(blob.sha256) != blob.size:
            raise StorageError("the content is not what it was")
        response = Response(status=200, content_type="application/octet-stream")
        response.headers["X-Accel-Redirect"] = place
        return _headed(response, digest)

    def _find(self, repository: RepositoryName, digest: Digest) -> StoredBlob:
        def read() -> StoredBlob:
            with self._database.read() as session:
                blob = find_blob(session, repository, digest)
                if blob is not None:
                    return blob
                if not exists_repository(session, repository):
                    raise NameUnknownError("there is no such repository", detail={"name": repository})
            raise BlobUnknownError("the repository has no such blob", detail={"digest": digest})

        return self._database.readings.get(("blob", repository, digest), read)

    def _spare(self, repository: RepositoryName, digest: Digest) -> None:
        if not self._database.transact(lambda session: spare_blob(session, repository, digest)):
            raise BlobUnknownError("the repository has no such blob", detail={"digest": digest})


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The part of `size` bytes that a Range header asks for, as first byte and behind the last.

    None stands for the whole: for no header, several ranges, or another unit, which RFC 9110 lets us ignore.

    Raises:
        RangeInvalidError: the range lies behind the end, or ends before it begins; RFC 9110 would let us ignore the
            latter, too, but OCI's conformance tests want it refused.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    if start >= stop:
        raise RangeInvalidError(f"the blob has {size} bytes", detail={"size": size})
    return start, stop


def _wanted_part(digest: Digest, size: int) -> tuple[int, int] | None:
    # RFC 9110 §14.2: a range is asked for by GET.  HEAD is 200 and the whole (OCI, "Checking if content exists").
    # §13.1.5: a range of another content than the one we have is not wanted; of ours it always is.
    if request.method != "GET" or request.headers.get("If-Range") not in (None, f'"{digest}"'):
        return None
    try:
        return byte_range(request.headers.get("Range", ""), size)
    except RangeInvalidError:

        @after_this_request
        def _tell_size(response: Response) -> Response:
            response.headers["Content-Range"] = f"bytes */{size}"  # RFC 9110 §15.5.17
            return response

        raise


def _sent_on(link: str, digest: Digest) -> Response:
    response = bare(307)
    response.headers["Location"] = link
    response.headers["Docker-Content-Digest"] = digest
    # The address is a right to read, given to this client for a while.
    response.headers["Cache-Control"] = "no-store"
    return response


def _headed(response: Response, digest: Digest) -> Response:
    response.headers["Docker-Content-Digest"] = digest
    response.headers["Accept-Ranges"] = "bytes"
    response.set_etag(digest)
    # Private: a shared cache would serve it to those whom the gate refuses.
    response.headers["Cache-Control"] = "private, max-age=31536000"
    return response
