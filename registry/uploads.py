# SPDX-License-Identifier: Apache-2.0
"""Content on its way in (REGISTRY_API §3).

    uploads = Uploads(database, FileStorage(folder), clock, max_bytes=1 << 40)
    upload = uploads.start(repository, "sha256", "alice")
    uploads.append(repository, upload.id, Chunk(blocks))
    uploads.finish(repository, upload.id, digest, Chunk(()))

The rules:
* bytes go to the storage as they come, and the offset is recorded once they are durable; what a broken request wrote
  behind the recorded offset is cut off by the next one;
* one upload has one writer at a time, and the database says who: a request claims the upload, renews its claim while
  bytes come, and gives it up at its end.  Nobody holds a lock meanwhile.  A claim that was not renewed for `LEASE`
  (its process was killed, its client is gone) may be taken over; the storage then fences the old writer off;
* bytes are hashed as they come; where the digest is asked for by a process that has not seen all of them, they are
  read back, so any process can finish what others began;
* content is expected, stored, and then linked: what a client was told is there, is there, and the garbage collector
  never takes it away in between.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from registry.blobs import StoredBlob, expect_blob, hold_blob, removed_meanwhile
from registry.errors import (
    DigestInvalidError,
    RangeInvalidError,
    SizeInvalidError,
    TooLargeError,
    TooManyUploadsError,
    UploadBusyError,
    UploadUnknownError,
)
from registry.hashing import Begun, Running
from registry.models import RepositoryRow, UploadRow
from registry.repositories import ensure_repository
from registry.storage.base import Block, Storage
from trust.names import Digest, RepositoryName
from trust.web.database import Database

#: How long a writer may be silent before another may take its place.
LEASE = timedelta(seconds=30)
#: How long a silent upload counts as one of its owner's; what a killed client left behind must not shut it out.
COUNTED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload: how many bytes of it are safe, and by which algorithm its digest will be given."""

    id: str
    offset: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one request brings: the bytes, and where they begin and how many they are, if it said so."""

    blocks: Iterable[Block]
    start: int | None = None
    length: int | None = None


class Uploads:
    """All uploads of the registry.

    Args:
        database: where their state is.
        storage: where their bytes go.
        clock: tells the time.
        max_bytes: the longest blob that is taken.
        max_open: how many uploads one user may have open at once, give or take some that begin at the same moment.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        clock: Callable[[], datetime],
        *,
        max_bytes: int,
        max_open: int = 1000,
    ) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_open = max_open
        self._begun = Begun()

    def start(self, repository: RepositoryName, algorithm: str, owner: str) -> Upload:
        """Begin an upload to `repository`, which is made if it is not there.

        Raises:
            TooManyUploadsError: `owner` has as many already as one may have.
        """
        upload, now, owner = str(uuid.uuid4()), self._clock(), owner[:255]
        self._refuse_too_many(owner, now)
        self._storage.start(upload)

        def work(session: Session) -> Upload:
            row = UploadRow(
                id=upload,
                repository_id=ensure_repository(session, repository),
                offset=0,
                algorithm=algorithm,
                owner=owner,
                created=now,
                touched=now,
            )
            session.add(row)
            session.flush()
            return _value(row)

        return self._database.transact(work)

    def find(self, repository: RepositoryName, upload: str) -> Upload:
        """How far an upload is.

        Raises:
            UploadUnknownError: `repository` has no such upload.
        """
        with self._database.read() as session:
            return _value(_find(session, _query(repository, upload)))

    def append(self, repository: RepositoryName, upload: str, chunk: Chunk) -> Upload:
        """Add bytes to an upload.

        Raises:
            UploadUnknownError: `repository` has no such upload.
            UploadBusyError: another request is writing to it.
            RangeInvalidError: the chunk does not begin where the upload ends.
            SizeInvalidError: the chunk is not as long as announced.
            TooLargeError: the blob would be longer than is taken.
        """
        with self._claim(repository, upload, chunk.start) as claim:
            running = self._begun.take(upload, claim.offset, _algorithms(claim.algorithm))
            end = self._write(claim, chunk, running)
            with self._database.write() as session:
                row = _find(session, _query(repository, upload).with_for_update(of=UploadRow))
                if row.writer != claim.writer:
                    raise _busy()
                row.offset, row.touched, row.writer, row.claimed = end, self._clock(), None, None
                claim.settled = True
                found = _value(row)
        if running is not None:
            self._begun.keep(upload, end, running)
        return found

    def finish(self, repository: RepositoryName, upload: str, digest: Digest, chunk: Chunk) -> StoredBlob:
        """Add the last bytes and turn the upload into a blob of `repository`.

        Raises:
            DigestInvalidError: the content has another digest; the upload stays as it was before.
            UploadUnknownError, UploadBusyError, RangeInvalidError, SizeInvalidError, TooLargeError: as in `append`.
        """
        with self._claim(repository, upload, chunk.start) as claim:
            running = self._begun.take(upload, claim.offset, _algorithms(digest.algorithm))
            size = self._write(claim, chunk, running)
            if running is None:
                running = Running(_algorithms(digest.algorithm))
                for _ in running.follow(claim.renewed(self._storage.upload_chunks(upload))):
                    pass
            hashes = running.hexdigests()
            if hashes[digest.algorithm] != digest.encoded:
                raise DigestInvalidError("the digest is not that of the content", detail={"digest": digest})
            claim.renew()  # from here on it must still be the content that was hashed
            blob = StoredBlob(hashes["sha256"], hashes.get("sha512"), size)
            expected = self._clock()
            self._database.transact(
                lambda session: expect_blob(session, sha256=blob.sha256, sha512=blob.sha512, size=size, now=expected)
            )
            self._storage.commit(upload, blob.sha256)

            def work(session: Session) -> None:
                touched = hold_blob(session, ensure_repository(session, repository), blob)
                # Somebody else expects it, too: perhaps since ours was removed, and theirs is still to come.
                if touched != expected and self._storage.size(blob.sha256) != size:
                    raise removed_meanwhile()
                session.execute(delete(UploadRow).where(UploadRow.id == upload))

            self._database.transact(work)
            claim.settled = True
            return blob

    def cancel(self, repository: RepositoryName, upload: str) -> None:
        """Forget an upload.

        Raises:
            UploadUnknownError: `repository` has no such upload.
        """
        with self._database.write() as session:
            session.delete(_find(session, _query(repository, upload)))
        self._storage.discard(upload)

    def _refuse_too_many(self, owner: str, now: datetime) -> None:
        recent = (UploadRow.owner == owner, UploadRow.touched > now - COUNTED)
        with self._database.read() as session:
            count = session.scalar(select(func.count()).select_from(UploadRow).where(*recent)) or 0
        if count >= self._max_open:
            raise TooManyUploadsError(f"{count} uploads are open; finish or cancel some before you begin another")

    def _write(self, claim: _Claim, chunk: Chunk, running: Running | None) -> int:
        blocks: Iterable[Block]
        blocks = _measured(claim.renewed(chunk.blocks), chunk.length, self._max_bytes - claim.offset)
        if running is not None:
            blocks = running.follow(blocks)
        return self._storage.append(claim.upload, claim.offset, blocks, fence=claim.taken_over)

    @contextmanager
    def _claim(self, repository: RepositoryName, upload: str, start: int | None) -> Iterator[_Claim]:
        writer, now = secrets.token_hex(16), self._clock()
        with self._database.write() as session:
            row = _find(session, _query(repository, upload).with_for_update(of=UploadRow))
            taken_over = row.writer is not None
            if row.claimed is not None and now - row.claimed < LEASE:
                raise _busy()
            if start is not None and start != row.offset:
                raise RangeInvalidError(
                    "the chunk does not begin where the upload ends", detail={"offset": row.offset}
                )
            row.writer, row.claimed, row.touched = writer, now, now
            claim = _Claim(self._database, self._clock, _value(row), writer, taken_over)
        try:
            yield claim
        finally:
            if not claim.settled:
                claim.give_up()


class _Claim:
    """The right to write to an upload, until it is settled, given up or lost."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        upload: Upload,
        writer: str,
        taken_over: bool,
    ) -> None:
        self.upload = upload.id
        self.offset = upload.offset
        self.algorithm = upload.algorithm
        self.writer = writer
        self.taken_over = taken_over
        self.settled = False
        self._database = database
        self._clock = clock
        self._heard = clock()

    def renewed(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Hand `blocks` on, renewing the claim now and then."""
        for block in blocks:
            if self._clock() - self._heard > LEASE / 4:
                self.renew()
            yield block

    def renew(self) -> None:
        """Keep the claim.

        Raises:
            UploadBusyError: another request has taken the upload over.
        """
        now = self._clock()
        if not self._update(claimed=now, touched=now):
            raise _busy()
        self._heard = now

    def give_up(self) -> None:
        """Let others write.  One who follows a taken-over claim that failed must fence again: it may not have."""
        if self.taken_over:
            self._update(claimed=None)
        else:
            self._update(claimed=None, writer=None)

    def _update(self, **values: object) -> bool:
        mine = (UploadRow.id == self.upload, UploadRow.writer == self.writer)
        with self._database.write() as session:
            if session.scalar(select(UploadRow.id).where(*mine).with_for_update()) is None:
                return False
            session.execute(update(UploadRow).where(*mine).values(**values))
            return True


def _measured(blocks: Iterable[Block], announced: int | None, limit: int) -> Iterator[Block]:
    count = 0
    for block in blocks:
        count += len(block)
        if count > limit:
            raise TooLargeError("the blob is longer than this registry takes")
        yield block
    if announced is not None and count != announced:
        raise SizeInvalidError(f"{announced} bytes were announced, {count} came")


def _algorithms(algorithm: str) -> frozenset[str]:
    """What content is hashed by that a client names by `algorithm`."""
    return frozenset(("sha256", algorithm))


def _query(repository: RepositoryName, upload: str) -> Select[UploadRow]:
    in_repository = RepositoryRow.id == UploadRow.repository_id
    return (
        select(UploadRow)
        .join(RepositoryRow, in_repository)
        .where(UploadRow.id == upload, RepositoryRow.name == repository)
    )


def _find(session: Session, query: Select[UploadRow]) -> UploadRow:
    row = session.scalar(query)
    if row is None:
        raise UploadUnknownError("there is no such upload; start a new one")
    return row


def _value(row: UploadRow) -> Upload:
    return Upload(row.id, row.offset, row.algorithm)


def _busy() -> UploadBusyError:
    return UploadBusyError("another request is writing to this upload")
