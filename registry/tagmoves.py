# SPDX-License-Identifier: Apache-2.0
"""How tags come, move and go: each step leaves a line of history, and a tag that is to be kept takes none.

    move_tag(session, row, Tag("1"), digest, "alice", now, keep)
    record_deletion(session, tag_row, "alice", now, keep)

`registry.repositories` calls these, in the transactions that put and delete manifests.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import TagImmutableError
from registry.inserts import insert_or_find
from registry.models import ManifestRow, TagHistoryRow, TagRow
from trust.names import Digest, Tag

#: Whether a tag, once it is there, stays what it is.
Keep = Callable[[str], bool]


def keep_none(_tag: str) -> bool:
    """Every tag may be moved and deleted."""
    return False


def move_tag(
    session: Session, manifest: ManifestRow, tag: Tag, digest: Digest, actor: str, now: datetime, keep: Keep
) -> None:
    """Let a tag, new or old, stand for `manifest`.

    Args:
        session: in a transaction that writes.
        manifest: locked, so that nobody deletes it meanwhile.
        tag: the tag.
        digest: what the manifest is called by who moves it.
        actor: who that is.
        now: when.
        keep: which tags are not moved.

    Raises:
        TagImmutableError: it is kept, and stands for another manifest.
    """
    fresh = TagRow(
        repository_id=manifest.repository_id, name=tag, manifest_id=manifest.id, digest=digest, updated=now
    )
    find = select(TagRow).where(TagRow.repository_id == manifest.repository_id, TagRow.name == tag)
    row = insert_or_find(session, fresh, find.with_for_update())
    if row is fresh:
        _record(session, row, digest, actor, now, made=True)
    elif (row.manifest_id, row.digest) != (manifest.id, digest):
        if row.manifest_id != manifest.id:  # else it is only called by its other digest
            _refuse_kept(row, keep, "moved")
        _record(session, row, digest, actor, now)
        row.manifest_id, row.digest, row.updated = manifest.id, digest, now


def record_deletion(session: Session, tag: TagRow, actor: str, now: datetime, keep: Keep) -> None:
    """Record that a tag goes; the caller deletes it.

    Raises:
        TagImmutableError: it is kept.
    """
    _refuse_kept(tag, keep, "deleted")
    _record(session, tag, None, actor, now)


def _refuse_kept(tag: TagRow, keep: Keep, done: str) -> None:
    if keep(tag.name):
        raise TagImmutableError(
            f"the tag {tag.name} is immutable: it stands for {tag.digest} and cannot be {done}",
            detail={"tag": tag.name, "digest": tag.digest},
        )


def _record(
    session: Session, tag: TagRow, after: Digest | None, actor: str, now: datetime, *, made: bool = False
) -> None:
    session.add(
        TagHistoryRow(
            repository_id=tag.repository_id,
            name=tag.name,
            moved=now,
            actor=actor[:255],
            before=None if made else tag.digest,
            after=after,
        )
    )
