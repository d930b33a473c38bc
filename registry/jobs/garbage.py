# SPDX-License-Identifier: Apache-2.0
"""The garbage collector: mark and sweep, while the registry serves (REGISTRY_API §10).

    report = Collector(database, storage, clock).collect(grace=timedelta(days=1))
    report.content_bytes                                                     # what the storage gave back

In this order:

1. a repository's link to a blob that none of its manifests names is marked with the time; one that is named again
   loses its mark, as it does when the blob is pushed or mounted again, or asked for by somebody who may push;
2. a link that has been marked for the grace period goes;
3. content without links that nobody brought within the grace period goes, and then its row;
4. uploads that were silent for the grace period of uploads go;
5. what is in the storage and not in the database goes: remains of processes that were killed.

Each removal is a transaction of its own, which looks again under a lock.  A push writes a blob's row before its
content, and the content of a row is removed while the row is locked; so a push of the very content that is being
removed waits, and stores it anew.  A manifest that is put keeps what it names by a lock on the links.  Any number of
collectors may run at once, and each may be killed at any moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session

from registry.blobs import expect_blob
from registry.manifests import Part
from registry.models import BlobRow, ManifestEdgeRow, RepositoryBlobRow, UploadRow
from registry.storage.base import Storage
from registry.uploads import LEASE
from trust.web.database import Database

#: A push may take so long from its first blob to its manifest, at the least.
MIN_GRACE = timedelta(hours=1)
_BATCH = 200

_log = logging.getLogger("troth.registry.garbage")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has done; of a dry run, what another one would do now.

    Attributes:
        marked: links that were found unused for the first time.
        links: links that were removed.
        contents: blobs whose content was removed from the storage, `content_bytes` their sum.
        uploads: stale uploads that were removed.
        remains: things in the storage that the database did not know, `remains_bytes` their sum.
    """

    marked: int = 0
    links: int = 0
    contents: int = 0
    content_bytes: int = 0
    uploads: int = 0
    remains: int = 0
    remains_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Link:
    """A repository holds a blob."""

    repository_id: int
    blob_id: int
    unused: datetime | None
    sha256: str
    sha512: str | None

    @property
    def digests(self) -> list[str]:
        return [f"sha256:{self.sha256}", *([f"sha512:{self.sha512}"] if self.sha512 else [])]

    def is_named(self, named: Set[tuple[int, str]]) -> bool:
        """Whether what `_named` found is about this link."""
        return any((self.repository_id, digest) in named for digest in self.digests)


class Collector:
    """Collects the garbage of one registry.

    Args:
        database: the registry's.
        storage: where the content is.
        clock: tells the time.
        check: called now and then; what it raises ends the run there.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        clock: Callable[[], datetime],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._check = check

    def collect(self, *, grace: timedelta, upload_grace: timedelta, dry_run: bool = False) -> Report:
        """Run once.

        Args:
            grace: how long a blob may be without a manifest.
            upload_grace: how long an upload may be silent.
            dry_run: whether nothing is changed.

        Raises:
            ValueError: a grace period is shorter than `MIN_GRACE`.
            UnavailableError: the database or the storage fails; what was done by then is done.
        """
        if min(grace, upload_grace) < MIN_GRACE:
            raise ValueError(f"a grace period must be at least {MIN_GRACE}")
        before, uploads_before = self._clock() - grace, self._clock() - upload_grace
        report = self._mark(Report(), dry_run)
        report = self._links(report, before, dry_run)
        report = self._contents(report, before, dry_run)
        report = self._uploads(report, uploads_before, dry_run)
        report = self._remains(report, uploads_before, dry_run)
        _log.info("%s: %s", "a dry run" if dry_run else "garbage was collected", report)
        return report

    def _mark(self, report: Report, dry_run: bool) -> Report:
        now = self._clock()
        for batch in self._batches():
            with self._database.read() as session:
                named = _named(session, batch)
            fresh = [each for each in batch if each.unused is None and not each.is_named(named)]
            report = replace(report, marked=report.marked + len(fresh))
            if not dry_run:
                for each in fresh:
                    self._set_mark(each, now)
                for each in batch:
                    if each.unused is not None and each.is_named(named):
                        self._set_mark(each, None)
        return report

    def _set_mark(self, link: _Link, value: datetime | None) -> None:
        row = RepositoryBlobRow
        is_it = (row.repository_id == link.repository_id) & (row.blob_id == link.blob_id)
        unchanged = row.unused.is_(None) if link.unused is None else row.unused == link.unused
        self._database.transact(
            lambda session: session.execute(update(row).where(is_it, unchanged).values(unused=value))
        )

    def _batches(self) -> Iterator[list[_Link]]:
        link, last = RepositoryBlobRow, (-1, -1)
        columns = (link.repository_id, link.blob_id, link.unused, BlobRow.sha256, BlobRow.sha512)
        query = select(*columns).join(BlobRow, BlobRow.id == link.blob_id).order_by(link.repository_id, link.blob_id)
        while True:
            later = (link.repository_id > last[0]) | ((link.repository_id == last[0]) & (link.blob_id > last[1]))
            with self._database.read() as session:
                batch = [_Link(*row) for row in session.execute(query.where(later).limit(_BATCH))]
            if not batch:
                return
            self._check()
            yield batch
            last = batch[-1].repository_id, batch[-1].blob_id

    def _links(self, report: Report, before: datetime, dry_run: bool) -> Report:
        for batch in self._batches():
            for link in batch:
                if link.unused is not None and link.unused < before:
                    removed = self._remove_link(link, before, dry_run)
                    report = replace(report, links=report.links + removed)
        return report

    def _remove_link(self, link: _Link, before: datetime, dry_run: bool) -> bool:
        def work(session: Session) -> bool:
            key = link.repository_id, link.blob_id
            row = session.get(RepositoryBlobRow, key, with_for_update=True)
            if row is None or row.unused is None or row.unused >= before or link.is_named(_named(session, [link])):
                return False
            if not dry_run:
                session.delete(row)
            return True

        return self._database.transact(work)

    def _contents(self, report: Report, before: datetime, dry_run: bool) -> Report:
        last = 0
        while True:
            query = select(BlobRow.id, BlobRow.size).where(BlobRow.id > last, _is_idle(before))
            held: list[ColumnElement[bool]] = [RepositoryBlobRow.blob_id == BlobRow.id]
            if dry_run:  # the links that would go do not count
                held.append(RepositoryBlobRow.unused.is_(None) | (RepositoryBlobRow.unused >= before))
            with self._database.read() as session:
                batch = session.execute(query.where(~exists().where(*held)).order_by(BlobRow.id).limit(_BATCH)).all()
            if not batch:
                return report
            self._check()
            for number, size in batch:
                if dry_run or self._remove_content(number, before):
                    report = replace(report, contents=report.contents + 1, content_bytes=report.content_bytes + size)
            last = batch[-1][0]

    def _remove_content(self, number: int, before: datetime) -> bool:
        def work(session: Session) -> bool:
            row = session.scalar(select(BlobRow).where(BlobRow.id == number, _is_idle(before)).with_for_update())
            if row is None or session.scalar(
                select(func.count()).select_from(RepositoryBlobRow).where(RepositoryBlobRow.blob_id == number)
            ):
                return False
            session.delete(row)
            session.flush()  # the last that the database may break off: the content must not go before
            # While the row is locked: who brings the same content waits for us, and then finds that it is gone.
            self._storage.delete(row.sha256)
            return True

        return self._database.transact(work)

    def _uploads(self, report: Report, before: datetime, dry_run: bool) -> Report:
        with self._database.read() as session:
            stale = list(session.scalars(select(UploadRow.id).where(UploadRow.touched < before)))
        for upload in stale:
            self._check()

            def work(session: Session, upload: str = upload) -> bool:
                row = session.get(UploadRow, upload, with_for_update=True)
                if row is None or row.touched >= before:
                    return False
                if row.claimed is not None and self._clock() - row.claimed < LEASE:
                    return False
                if not dry_run:
                    session.delete(row)
                return True

            if self._database.transact(work):
                report = replace(report, uploads=report.uploads + 1)
                if not dry_run:
                    self._storage.discard(upload)
        return report

    def _remains(self, report: Report, before: datetime, dry_run: bool) -> Report:
        for upload, written in self._storage.uploads():
            # An upload is in the storage a moment before it is in the database.
            if written < before and not self._is_upload(upload):
                report = replace(report, remains=report.remains + 1)
                if not dry_run:
                    self._storage.discard(upload)
        for sha256, size in self._storage.contents():
            self._check()
            with self._database.read() as session:
                known = session.scalar(select(BlobRow.id).where(BlobRow.sha256 == sha256)) is not None
            if not known and (dry_run or self._remove_remains(sha256, size)):
                report = replace(report, remains=report.remains + 1, remains_bytes=report.remains_bytes + size)
        return report

    def _is_upload(self, upload: str) -> bool:
        with self._database.read() as session:
            return session.get(UploadRow, upload) is not None

    def _remove_remains(self, sha256: str, size: int) -> bool:
        def work(session: Session) -> bool:
            if session.scalar(select(BlobRow.id).where(BlobRow.sha256 == sha256)) is not None:
                return False  # somebody has brought it since
            # With a row of its own it can be locked like any other.
            number = expect_blob(session, sha256=sha256, sha512=None, size=size, now=self._clock())
            session.delete(session.get_one(BlobRow, number))
            session.flush()
            self._storage.delete(sha256)
            return True

        return self._database.transact(work)


def _is_idle(before: datetime) -> ColumnElement[bool]:
    return func.coalesce(BlobRow.touched, BlobRow.created) < before


def _named(session: Session, links: Sequence[_Link]) -> set[tuple[int, str]]:
    """Which of the links' blobs manifests of their repositories name, as repository and digest."""
    edge = ManifestEdgeRow
    query = select(edge.repository_id, edge.child).where(
        edge.repository_id.in_({link.repository_id for link in links}),
        edge.child.in_([digest for link in links for digest in link.digests]),
        edge.kind.in_((Part.CONFIG, Part.LAYER)),
    )
    return {(row[0], row[1]) for row in session.execute(query.distinct())}
