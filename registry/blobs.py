# SPDX-License-Identifier: Apache-2.0
"""Which repository holds which content.

Content exists once for the whole registry, filed under its sha256; a repository holds it by a link.  All that a
client may see of a blob goes through the link: whoever may read one repository learns nothing of another.

A sha512 is known only of content that was pushed by it, since most clients never ask and hashing twice costs.  A
sha512 that is not known here is unknown, and the client pushes the content once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from registry.errors import BlobUnknownError, StorageError, UnsupportedError
from registry.inserts import insert_or_find
from registry.manifests import Part
from registry.models import BlobRow, ManifestEdgeRow, RepositoryBlobRow, RepositoryRow
from trust.names import Digest, RepositoryName

#: how many values one query compares with; every database takes that many
BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """Content by its digests; `sha256` and `sha512` are hex digits.

    `is_unused`: whether the garbage collector has found no manifest of the repository that names it.
    """

    sha256: str
    sha512: str | None
    size: int
    is_unused: bool = False

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Under what names it is known."""
        known = (("sha256", self.sha256), ("sha512", self.sha512))
        return tuple(Digest(f"{algorithm}:{encoded}") for algorithm, encoded in known if encoded)


def find_blob(
    session: Session, repository: RepositoryName, digest: Digest, *, lock: bool = False
) -> StoredBlob | None:
    """The blob that `repository` holds under `digest`; with `lock` it holds it until the transaction ends."""
    query = (
        select(BlobRow, RepositoryBlobRow.unused)
        .join(RepositoryBlobRow, RepositoryBlobRow.blob_id == BlobRow.id)
        .join(RepositoryRow, RepositoryRow.id == RepositoryBlobRow.repository_id)
        .where(RepositoryRow.name == repository, _is(digest))
    )
    if lock:
        query = query.with_for_update(read=True, of=RepositoryBlobRow)
    found = session.execute(query).one_or_none()
    return None if found is None else _value(found[0], is_unused=found[1] is not None)


def spare_blob(session: Session, repository: RepositoryName, digest: Digest) -> bool:
    """Tell the garbage collector that somebody counts on `repository` to hold a blob; returns whether it does."""
    link = session.scalar(_link(repository, digest))
    if link is not None:
        link.unused = None
    return link is not None


def blob_names(session: Session, digest: Digest) -> frozenset[Digest]:
    """All digests that are known of the same content, `digest` among them."""
    row = session.scalar(select(BlobRow).where(_is(digest)))
    return frozenset((digest, *(_value(row).digests if row else ())))


def blob_sources(session: Session, digest: Digest, limit: int = 100) -> list[RepositoryName]:
    """Repositories that hold `digest`."""
    names = session.scalars(
        select(RepositoryRow.name)
        .join(RepositoryBlobRow, RepositoryBlobRow.repository_id == RepositoryRow.id)
        .join(BlobRow, BlobRow.id == RepositoryBlobRow.blob_id)
        .where(_is(digest))
        .order_by(RepositoryRow.id)
        .limit(limit)
    )
    return [RepositoryName(name) for name in names]


def held_blobs(session: Session, repository_id: int, digests: Iterable[Digest]) -> set[Digest]:
    """Which of `digests` a repository holds; it goes on holding them until the transaction ends."""
    found: set[Digest] = set()
    rest = iter(digests)
    while batch := list(islice(rest, BATCH)):
        links = session.scalars(
            select(BlobRow)
            .join(RepositoryBlobRow, RepositoryBlobRow.blob_id == BlobRow.id)
            .where(RepositoryBlobRow.repository_id == repository_id, _is_one_of(batch))
            .with_for_update(read=True, of=RepositoryBlobRow)
        )
        found |= {digest for row in links for digest in _value(row).digests}
    return found


def expect_blob(session: Session, *, sha256: str, sha512: str | None, size: int, now: datetime) -> int:
    """Record that content is about to come to the storage, and return its row's number.

    From here on the garbage collector keeps its hands off the content for a while.  In a transaction of its own,
    before the storage is told: what was there may be going away at this very moment, and then it must be seen to.
    """
    find = select(BlobRow).where(BlobRow.sha256 == sha256).with_for_update()
    fresh = BlobRow(sha256=sha256, sha512=sha512, size=size, created=now, touched=now)
    blob = insert_or_find(session, fresh, find)
    blob.touched = now
    if sha512 is not None and blob.sha512 is None:
        blob.sha512 = sha512
    session.flush()
    return blob.id


def hold_blob(session: Session, repository_id: int, blob: StoredBlob) -> datetime | None:
    """Record that a repository holds content: what was expected, or what another holds, locked by the caller.

    Returns:
        When the content was last expected; until the transaction ends, the garbage collector cannot remove it.

    Raises:
        StorageError: the garbage collector was faster; nothing that it removed is ever said to be there.
    """
    find = select(BlobRow.id, BlobRow.touched).where(BlobRow.sha256 == blob.sha256).with_for_update(read=True)
    found = session.execute(find).one_or_none()
    if found is None:
        raise removed_meanwhile()
    blob_id, touched = found
    link = insert_or_find(
        session,
        RepositoryBlobRow(repository_id=repository_id, blob_id=blob_id),
        select(RepositoryBlobRow)
        .where(RepositoryBlobRow.repository_id == repository_id, RepositoryBlobRow.blob_id == blob_id)
        .with_for_update(),
    )
    link.unused = None
    return touched


def removed_meanwhile() -> StorageError:
    """What to say when clocks are hours apart, or the storage took hours."""
    return StorageError("the blob was removed while it was being stored; push it again")


def release_blob(session: Session, repository: RepositoryName, digest: Digest) -> None:
    """Let `repository` hold a blob no longer.  The content stays for others, and for the garbage collector.

    Raises:
        BlobUnknownError: it does not hold it.
        UnsupportedError: a manifest of the repository still names it.
    """
    # Locked before the look at the manifests: `held_blobs` waits for us, or we for it.
    link = session.scalar(_link(repository, digest))
    if link is None:
        raise BlobUnknownError("the repository has no such blob", detail={"digest": digest})
    named = session.scalar(
        select(ManifestEdgeRow.manifest_id)
        .where(
            ManifestEdgeRow.repository_id == link.repository_id,
            ManifestEdgeRow.child.in_(blob_names(session, digest)),
            ManifestEdgeRow.kind.in_((Part.CONFIG, Part.LAYER)),
        )
        .limit(1)
    )
    if named is not None:
        raise UnsupportedError("a manifest of this repository still names this blob; delete the manifest first")
    session.delete(link)


def _link(repository: RepositoryName, digest: Digest) -> Select[RepositoryBlobRow]:
    return (
        select(RepositoryBlobRow)
        .join(RepositoryRow, RepositoryRow.id == RepositoryBlobRow.repository_id)
        .join(BlobRow, BlobRow.id == RepositoryBlobRow.blob_id)
        .where(RepositoryRow.name == repository, _is(digest))
        .with_for_update(of=RepositoryBlobRow)
    )


def _value(row: BlobRow, *, is_unused: bool = False) -> StoredBlob:
    return StoredBlob(row.sha256, row.sha512, row.size, is_unused)


def _is(digest: Digest) -> ColumnElement[bool]:
    column = BlobRow.sha256 if digest.algorithm == "sha256" else BlobRow.sha512
    return column == digest.encoded


def _is_one_of(digests: Collection[Digest]) -> ColumnElement[bool]:
    short = [digest.encoded for digest in digests if digest.algorithm == "sha256"]
    long = [digest.encoded for digest in digests if digest.algorithm == "sha512"]
    return BlobRow.sha256.in_(short) | BlobRow.sha512.in_(long)
