# SPDX-License-Identifier: Apache-2.0
"""Manifests by tag and by digest (REGISTRY_API §2, rows 3, 7 and 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response, request
from sqlalchemy.orm import Session

from registry.errors import (
    DigestInvalidError,
    ManifestUnknownError,
    NameUnknownError,
    QueryInvalidError,
    TooManyTagsError,
)
from registry.events import outbox
from registry.events.event import MAX_TOLD, Kind, of_request
from registry.events.reporter import Reporter
from registry.manifests import parse
from registry.models import TRAIL
from registry.policies import Policies
from registry.repositories import (
    StoredManifest,
    delete_manifest,
    delete_tag,
    exists_repository,
    find_manifest,
    put_manifest,
    read_manifest,
    resolve_tag,
    spare_manifest,
)
from registry.views.bodies import whole
from registry.views.gate import Gate
from registry.views.routes import GATED, bare, expose, parse_tag
from trust.names import Digest, RepositoryName, Tag
from trust.web.audit import Deed
from trust.web.caller import caller
from trust.web.database import Database
from trust.web.refusals import Refusals

PATH = "/v2/<repository:name>/manifests/<reference>"
#: Tags that one push may make (REGISTRY_API §2, row 7b: at least 10).
MAX_TAGS = 64


class ManifestViews:
    """Views of manifests.

    Args:
        database: where they are.
        gate: decides who gets them.
        policies: which tags stay where they are.
        reporter: is told what is pulled.
        clock: tells the time.
        max_bytes: the longest manifest that is taken.
        sparse: whether a manifest is taken although parts of it are not there.
    """

    def __init__(
        self,
        database: Database,
        gate: Gate,
        policies: Policies,
        reporter: Reporter,
        clock: Callable[[], datetime],
        *,
        max_bytes: int,
        sparse: bool,
    ) -> None:
        self._reporter = reporter
        self._database = database
        self._gate = gate
        self._policies = policies
        self._clock = clock
        self._max_bytes = max_bytes
        self._sparse = sparse
        self._refusals = Refusals(TRAIL, database, clock)

    def expose(self, app: Flask) -> None:
        """Give the views their places."""
        expose(app, "GET", PATH, self.get, content=GATED)
        expose(app, "PUT", PATH, self.put, content="takes a manifest, and answers with headers alone")
        expose(app, "DELETE", PATH, self.delete, content="deletes, and answers with nothing")

    def get(self, repository: RepositoryName, reference: Tag | Digest) -> Response:
        """Serve a manifest; the tag is resolved once, and what it stood for then is decided about and served."""
        grant = self._gate.reader(repository)
        tag = reference if isinstance(reference, Tag) else None
        digest, stored = self.find(repository, reference)
        if (permitted := self._gate.manifest(grant, repository, digest, tag)) != digest:
            digest, stored = self.find(repository, permitted)  # what the tag is signed as
        if stored.is_unused and grant.allows("repository", repository, "push"):
            # Its client may be about to push an index that names it, and will not push it again.
            self._spare(repository, digest)
        if request.if_none_match.contains(digest):
            return _headed(Response(status=304), digest)
        if request.method == "HEAD":
            response = Response(content_type=stored.media_type)
            response.content_length = stored.size
            return _headed(response, digest)
        data = self.read(repository, digest)
        self.report_pull(repository, tag, digest, stored)
        # As it was pushed, whatever the client accepts: a converted manifest is not the one that was signed.
        return _headed(Response(data, content_type=stored.media_type), digest)

    def find(self, repository: RepositoryName, reference: Tag | Digest) -> tuple[Digest, StoredManifest]:
        """The manifest, and by which of its digests it is asked for.

        Raises:
            NotFoundError: there is none.
        """

        def read() -> tuple[Digest, StoredManifest]:
            with self._database.read() as session:
                digest = reference if isinstance(reference, Digest) else resolve_tag(session, repository, reference)
                stored = None if digest is None else find_manifest(session, repository, digest)
                if digest is None or stored is None:
                    raise _unknown(session, repository, reference)
            return digest, stored

        return self._database.readings.get(("manifest", repository, reference), read)

    def read(self, repository: RepositoryName, digest: Digest) -> bytes:
        """The manifest's bytes.

        Raises:
            ManifestUnknownError: it was deleted a moment ago.
        """

        def read() -> bytes:
            with self._database.read() as session:
                data = read_manifest(session, repository, digest)
            if data is None:
                raise ManifestUnknownError("the repository has no such manifest", detail={"reference": digest})
            return data

        return self._database.readings.get(("manifest data", repository, digest), read)

    def is_pull_told(self) -> bool:
        """Whether anybody wants to know of pulls."""
        return self._reporter.is_wanted(Kind.PULL)

    def report_pull(
        self, repository: RepositoryName, tag: Tag | None, digest: Digest, stored: StoredManifest
    ) -> None:
        """Tell those who want to know that a manifest is pulled."""
        if not self.is_pull_told():
            return
        told = {"tag": tag, "digest": digest, "media_type": stored.media_type}
        self._reporter.report(of_request(Kind.PULL, repository, self._clock(), **told))

    def _spare(self, repository: RepositoryName, digest: Digest) -> None:
        if not self._database.transact(lambda session: spare_manifest(session, repository, digest)):
            raise ManifestUnknownError("the repository has no such manifest", detail={"reference": digest})

    def put(self, repository: RepositoryName, reference: Tag | Digest) -> Response:
        """Take a manifest, with its tags."""
        grant = self._gate.writer(repository)
        tags = {parse_tag(text) for text in request.args.getlist("tag")[: MAX_TAGS + 1]}
        if isinstance(reference, Tag):
            tags.add(reference)
        if len(tags) > MAX_TAGS:
            raise TooManyTagsError(f"one push makes at most {MAX_TAGS} tags")
        data = whole(self._max_bytes)
        digest = _digest(data, reference.algorithm if isinstance(reference, Digest) else "sha256")
        if isinstance(reference, Digest) and digest != reference:
            raise DigestInvalidError("the digest is not that of the manifest", detail={"digest": reference})
        manifest = parse(data, request.headers.get("Content-Type", ""))

        def work(session: Session) -> None:
            now = self._clock()
            put_manifest(
                session,
                repository,
                manifest,
                data,
                digest=digest,
                tags=tags,
                actor=grant.subject,
                now=now,
                keep=self._policies.of(session, repository).is_immutable,
                sparse=self._sparse,
            )
            told = {"digest": digest, "media_type": manifest.media_type}
            pushed = [of_request(Kind.PUSH, repository, now, tag=tag, **told, size=len(data)) for tag in sorted(tags)]
            outbox.tell(session, *(pushed or [of_request(Kind.PUSH, repository, now, **told, size=len(data))]))

        self._database.transact(work)
        response = bare(201)
        response.headers["Location"] = f"/v2/{repository}/manifests/{digest}"
        response.headers["Docker-Content-Digest"] = digest
        if manifest.subject:
            response.headers["OCI-Subject"] = manifest.subject.digest
        for tag in sorted(tags):
            response.headers.add("OCI-Tag", tag)
        return response

    def delete(self, repository: RepositoryName, reference: Tag | Digest) -> Response:
        """Delete a tag, or a manifest with all its tags; with `?trust=cascade` even if it is signed."""
        trust = request.args.get("trust", "")
        kind = "manifest" if isinstance(reference, Digest) else "tag"
        deed = Deed(
            action=f"{kind}.delete",
            name=repository,
            detail={kind: reference} | ({"trust": trust[:20]} if trust else {}),
        )
        with self._refusals.noted(deed):
            grant = self._gate.deleter(repository)
            if trust not in ("", "cascade"):
                raise QueryInvalidError("trust is cascade, or is not said")
            with self._database.read() as session:
                digest = reference if isinstance(reference, Digest) else resolve_tag(session, repository, reference)
                if digest is None or find_manifest(session, repository, digest) is None:
                    raise _unknown(session, repository, reference)
            self._gate.deletable(grant, repository, reference, cascade=trust == "cascade")

            def work(session: Session) -> None:
                now = self._clock()
                keep = self._policies.of(session, repository).is_immutable
                if isinstance(reference, Digest):
                    gone = delete_manifest(session, repository, reference, actor=grant.subject, now=now, keep=keep)
                    event = of_request(Kind.DELETE, repository, now, digest=reference, tags=gone[:MAX_TOLD])
                else:
                    was = delete_tag(session, repository, reference, actor=grant.subject, now=now, keep=keep)
                    event = of_request(Kind.DELETE, repository, now, tag=reference, digest=was)
                outbox.tell(session, event)
                TRAIL.append(session, caller(), now, deed)

            self._database.transact(work)
        return bare(202)


def _digest(data: bytes, algorithm: str) -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def _headed(response: Response, digest: Digest) -> Response:
    response.headers["Docker-Content-Digest"] = digest
    response.set_etag(digest)
    # Trust may end at any time, so whoever keeps a copy must ask before each use.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _unknown(session: Session, repository: RepositoryName, reference: Tag | Digest) -> Exception:
    if not exists_repository(session, repository):
        return NameUnknownError("there is no such repository", detail={"name": repository})
    return ManifestUnknownError("the repository has no such manifest", detail={"reference": reference})
