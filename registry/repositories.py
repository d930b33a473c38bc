# SPDX-License-Identifier: Apache-2.0
"""Repositories, their manifests and tags.

Functions take a session, so that the caller decides what belongs into one transaction, and give values, never rows.
A manifest is found by its sha256 or its sha512, whichever the client pushed it by.

The rules:
* a manifest, what it names, and the tags it was pushed under are written in one transaction;
* what a manifest needs must be in its repository by then; the subject alone may come later, or never, and so may
  all parts of a manifest that is put as a sparse one;
* deleting a manifest deletes its tags; deleting a tag leaves the manifest;
* every move of a tag leaves a line of history, and one that the caller wants kept is made, and then neither moved nor
  deleted (`registry.tagmoves`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import ColumnElement, Select, delete, exists, select
from sqlalchemy.orm import Session

from registry.blobs import BATCH, blob_names, held_blobs
from registry.errors import ManifestUnknownError, MissingChildError
from registry.inserts import insert_or_find
from registry.manifests import Manifest, Part
from registry.models import ManifestEdgeRow, ManifestRow, RepositoryRow, TagRow
from registry.tagmoves import Keep, keep_none, move_tag, record_deletion
from trust.names import Digest, RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest of a repository, without its bytes.

    `digest` is what its first pusher called it; `sha256` and `sha512` are hex digits; `artifact_type` and `subject`
    are as in `manifests.Manifest`; `is_unused`: whether the garbage collector has found nothing that needs it.
    """

    digest: Digest
    sha256: str
    sha512: str
    media_type: str
    artifact_type: str | None
    subject: Digest | None
    size: int
    is_unused: bool = False

    @property
    def digests(self) -> frozenset[Digest]:
        """Both its digests."""
        return frozenset((Digest(f"sha256:{self.sha256}"), Digest(f"sha512:{self.sha512}")))

    @property
    def hashes(self) -> Mapping[str, str]:
        """Its hashes as trust data writes them: algorithm to hex."""
        return {"sha256": self.sha256, "sha512": self.sha512}


def exists_repository(session: Session, repository: RepositoryName) -> bool:
    """Whether anything was ever pushed to `repository`."""
    return session.scalar(select(RepositoryRow.id).where(RepositoryRow.name == repository)) is not None


def ensure_repository(session: Session, repository: RepositoryName) -> int:
    """The row number of `repository`, which is made if it is not there."""
    find = select(RepositoryRow).where(RepositoryRow.name == repository)
    return insert_or_find(session, RepositoryRow(name=repository), find).id


def list_repositories(session: Session, last: str, limit: int) -> list[str]:
    """Names of repositories with manifests, after `last`, in ASCII order."""
    has_manifests = exists().where(ManifestRow.repository_id == RepositoryRow.id)
    query = select(RepositoryRow.name).where(RepositoryRow.name > last, has_manifests)
    return list(session.scalars(query.order_by(RepositoryRow.name).limit(limit)))


def find_manifest(session: Session, repository: RepositoryName, digest: Digest) -> StoredManifest | None:
    """The manifest of `repository` with this digest."""
    row = session.scalar(_manifest(repository, digest))
    return None if row is None else _value(row)


def read_manifest(session: Session, repository: RepositoryName, digest: Digest) -> bytes | None:
    """The bytes of a manifest, as they were pushed."""
    return session.scalar(_manifest(repository, digest).with_only_columns(ManifestRow.data))


def spare_manifest(session: Session, repository: RepositoryName, digest: Digest) -> bool:
    """Tell the garbage collector that somebody counts on a manifest; returns whether it is there."""
    row = session.scalar(_manifest(repository, digest).with_for_update(of=ManifestRow))
    if row is not None:
        row.unused = None
    return row is not None


def put_manifest(
    session: Session,
    repository: RepositoryName,
    manifest: Manifest,
    data: bytes,
    *,
    digest: Digest,
    tags: Collection[Tag],
    actor: str,
    now: datetime,
    keep: Keep = keep_none,
    sparse: bool = False,
) -> StoredManifest:
    """Keep a manifest, what it names, and tags for it.

    Args:
        session: in a transaction that writes.
        repository: made if it is not there.
        manifest: `data`, parsed.
        data: its bytes.
        digest: what the client calls them; it was checked.
        tags: new or moved tags.
        actor: who does this, for the history.
        now: when.
        keep: which tags are not moved.
        sparse: whether it is taken although parts of it are not there.

    Raises:
        MissingChildError: the repository does not hold something that the manifest needs.
        TagImmutableError: a tag that is kept stands for another manifest; nothing is written then.
    """
    repository_id = ensure_repository(session, repository)
    missing = _missing(session, repository_id, manifest)
    if missing and not sparse:
        raise MissingChildError(repository, missing)
    sha256 = hashlib.sha256(data).hexdigest()
    fresh = ManifestRow(
        repository_id=repository_id,
        digest=digest,
        sha256=sha256,
        sha512=hashlib.sha512(data).hexdigest(),
        media_type=manifest.media_type,
        artifact_type=manifest.artifact_type,
        subject=manifest.subject.digest if manifest.subject else None,
        size=len(data),
        created=now,
        data=data,
    )
    # Locked, so that nobody deletes it before its tags are there.
    find = select(ManifestRow).where(ManifestRow.repository_id == repository_id, ManifestRow.sha256 == sha256)
    row = insert_or_find(session, fresh, find.with_for_update())
    row.unused = None
    if manifest.subject:
        spare_manifest(session, repository, manifest.subject.digest)
    if row is fresh:
        session.add_all(
            ManifestEdgeRow(
                manifest_id=row.id, repository_id=repository_id, kind=reference.part, child=reference.digest
            )
            for reference in manifest.references
        )
    for tag in sorted(set(tags)):  # always in the same order: two pushes must not wait for each other
        move_tag(session, row, tag, digest, actor, now, keep)
    session.flush()
    return _value(row)


def delete_manifest(
    session: Session,
    repository: RepositoryName,
    digest: Digest,
    *,
    actor: str,
    now: datetime,
    keep: Keep = keep_none,
) -> list[str]:
    """Delete a manifest and every tag on it.

    Returns:
        the tags.

    Raises:
        ManifestUnknownError: there is none.
        TagImmutableError: it has a tag that is kept.
    """
    row = session.scalar(_manifest(repository, digest).with_for_update(of=ManifestRow))
    if row is None:
        raise ManifestUnknownError("the repository has no such manifest", detail={"digest": digest})
    tags = session.scalars(select(TagRow).where(TagRow.manifest_id == row.id).order_by(TagRow.name)).all()
    for tag in tags:
        record_deletion(session, tag, actor, now, keep)
    session.flush()
    session.execute(delete(TagRow).where(TagRow.manifest_id == row.id))
    session.execute(delete(ManifestEdgeRow).where(ManifestEdgeRow.manifest_id == row.id))
    session.execute(delete(ManifestRow).where(ManifestRow.id == row.id))
    return [tag.name for tag in tags]


def resolve_tag(session: Session, repository: RepositoryName, tag: Tag) -> Digest | None:
    """The digest that `tag` stands for now, as its pusher wrote it."""
    digest = session.scalar(_tags(repository).where(TagRow.name == tag).with_only_columns(TagRow.digest))
    return None if digest is None else Digest(digest)


def list_tags(session: Session, repository: RepositoryName, last: str, limit: int) -> list[str]:
    """Tags of `repository` after `last`, in ASCII order."""
    query = _tags(repository).where(TagRow.name > last).order_by(TagRow.name).limit(limit)
    return list(session.scalars(query.with_only_columns(TagRow.name)))


def list_tagged(
    session: Session, repository: RepositoryName, last: str, limit: int
) -> list[tuple[Tag, datetime, StoredManifest]]:
    """The tags of `repository` after `last`, in ASCII order: since when they stand for which manifest."""
    query = _tags(repository).where(TagRow.name > last).order_by(TagRow.name).limit(limit)
    joined = query.join(ManifestRow, ManifestRow.id == TagRow.manifest_id).add_columns(ManifestRow)
    return [(Tag(tag.name), tag.updated, _value(row)) for tag, row in session.execute(joined)]


def empty_repository(
    session: Session, repository: RepositoryName, *, actor: str, now: datetime, keep: Keep = keep_none
) -> list[tuple[Digest, list[str]]]:
    """Delete all manifests and tags of `repository`.

    The history of its tags stays, and its blobs until the garbage collector finds that no manifest names them.

    Returns:
        each manifest with its tags, in the order in which they were pushed.

    Raises:
        TagImmutableError: it has a tag that is kept; nothing is deleted then.
    """
    tags: dict[int, list[str]] = {}
    for tag in session.scalars(_tags(repository).order_by(TagRow.name).with_for_update(of=TagRow)):
        record_deletion(session, tag, actor, now, keep)
        session.delete(tag)
        tags.setdefault(tag.manifest_id, []).append(tag.name)
    session.flush()
    columns = _manifests(repository).with_only_columns(ManifestRow.id, ManifestRow.digest)
    found = {number: Digest(digest) for number, digest in session.execute(columns.order_by(ManifestRow.id))}
    rest = iter(found)
    while numbers := list(islice(rest, BATCH)):
        session.execute(delete(TagRow).where(TagRow.manifest_id.in_(numbers)))
        session.execute(delete(ManifestEdgeRow).where(ManifestEdgeRow.manifest_id.in_(numbers)))
        session.execute(delete(ManifestRow).where(ManifestRow.id.in_(numbers)))
    return [(digest, tags.get(number, [])) for number, digest in found.items()]


def delete_tag(
    session: Session, repository: RepositoryName, tag: Tag, *, actor: str, now: datetime, keep: Keep = keep_none
) -> Digest:
    """Delete a tag alone.

    Returns:
        what it stood for.

    Raises:
        ManifestUnknownError: there is none.
        TagImmutableError: it is kept.
    """
    row = session.scalar(_tags(repository).where(TagRow.name == tag).with_for_update(of=TagRow))
    if row is None:
        raise ManifestUnknownError("the repository has no such tag", detail={"tag": tag})
    record_deletion(session, row, actor, now, keep)
    session.delete(row)
    return Digest(row.digest)


def parents(session: Session, repository: RepositoryName, digest: Digest) -> list[StoredManifest]:
    """The indexes of `repository` that name `digest` as one of their manifests, by whichever of its digests."""
    child = find_manifest(session, repository, digest)
    names = {digest} | (child.digests if child else frozenset())
    return _naming(session, repository, names, (Part.MANIFEST,))


def holders(session: Session, repository: RepositoryName, digest: Digest) -> list[StoredManifest]:
    """The manifests of `repository` that name the blob `digest` as config or layer, by whichever of its digests."""
    return _naming(session, repository, blob_names(session, digest), (Part.CONFIG, Part.LAYER))


def referrers(
    session: Session, repository: RepositoryName, subject: Digest, *, artifact_type: str | None, last: str, limit: int
) -> list[StoredManifest]:
    """Manifests that have `subject` as their subject, sorted by sha256, after the sha256 `last`."""
    target = find_manifest(session, repository, subject)
    names = {subject} | (target.digests if target else frozenset())
    query = _manifests(repository).where(ManifestRow.subject.in_(names), ManifestRow.sha256 > last)
    if artifact_type is not None:
        query = query.where(ManifestRow.artifact_type == artifact_type)
    return [_value(row) for row in session.scalars(query.order_by(ManifestRow.sha256).limit(limit))]


def _missing(session: Session, repository_id: int, manifest: Manifest) -> list[Digest]:
    """What a manifest needs and its repository does not hold; the blobs that it holds, it goes on holding."""
    blobs, manifests = manifest.needed_blobs, manifest.needed_manifests
    return [
        *sorted(blobs - held_blobs(session, repository_id, blobs)),
        *sorted(manifests - _held_manifests(session, repository_id, manifests)),
    ]


def _held_manifests(session: Session, repository_id: int, digests: Iterable[Digest]) -> set[Digest]:
    found: set[Digest] = set()
    rest = iter(digests)
    while batch := list(islice(rest, BATCH)):
        short = [digest.encoded for digest in batch if digest.algorithm == "sha256"]
        long = [digest.encoded for digest in batch if digest.algorithm == "sha512"]
        query = select(ManifestRow).where(
            ManifestRow.repository_id == repository_id,
            ManifestRow.sha256.in_(short) | ManifestRow.sha512.in_(long),
        )
        # Locked: the garbage collector waits for us, or we find them gone.
        for row in session.scalars(query.with_for_update(read=True)):
            if row.unused is not None:
                row.unused = None
            found |= _value(row).digests
    return found


def _naming(
    session: Session, repository: RepositoryName, names: Collection[Digest], as_parts: Collection[Part]
) -> list[StoredManifest]:
    named = exists().where(
        ManifestEdgeRow.manifest_id == ManifestRow.id,
        ManifestEdgeRow.repository_id == ManifestRow.repository_id,
        ManifestEdgeRow.child.in_(names),
        ManifestEdgeRow.kind.in_(as_parts),
    )
    return [_value(row) for row in session.scalars(_manifests(repository).where(named).order_by(ManifestRow.id))]


def _manifests(repository: RepositoryName) -> Select[ManifestRow]:
    in_repository = RepositoryRow.id == ManifestRow.repository_id
    return select(ManifestRow).join(RepositoryRow, in_repository).where(RepositoryRow.name == repository)


def _manifest(repository: RepositoryName, digest: Digest) -> Select[ManifestRow]:
    return _manifests(repository).where(_is(digest))


def _is(digest: Digest) -> ColumnElement[bool]:
    column = ManifestRow.sha256 if digest.algorithm == "sha256" else ManifestRow.sha512
    return column == digest.encoded


def _tags(repository: RepositoryName) -> Select[TagRow]:
    in_repository = RepositoryRow.id == TagRow.repository_id
    return select(TagRow).join(RepositoryRow, in_repository).where(RepositoryRow.name == repository)


def _value(row: ManifestRow) -> StoredManifest:
    return StoredManifest(
        digest=Digest(row.digest),
        sha256=row.sha256,
        sha512=row.sha512,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        subject=None if row.subject is None else Digest(row.subject),
        size=row.size,
        is_unused=row.unused is not None,
    )
