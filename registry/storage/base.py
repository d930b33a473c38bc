# SPDX-License-Identifier: Apache-2.0
"""What every home of content promises.

A home knows two kinds of things: uploads, by an id that the caller makes up, and content, by its sha256.  It knows
no repository, no right and no trust; those are asked about before anything gets here.

The promises:
* what `append` or `commit` has returned from survives a SIGKILL and a power cut;
* content appears whole or not at all, and content that is there is never written to again;
* committing the same content twice, at once or one after the other, is fine.

Who calls makes sure that one upload has one writer (`registry.blobs`).  Every method raises `StorageError` when the
home is full, away or broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

#: Some bytes on their way in.  What a `memoryview` shows may be other bytes soon.
Block: TypeAlias = bytes | memoryview


class Content(Protocol):
    """Content being read: the part of a file object that WSGI's `file_wrapper` needs.

    A home of files also has `fileno`, positioned at the first byte, so that the server may use sendfile.
    """

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""

    def close(self) -> None:
        """Let go of it."""


class Storage(Protocol):
    """A home of content."""

    def start(self, upload: str) -> None:
        """Make an empty upload."""

    def append(self, upload: str, offset: int, chunks: Iterable[Block], *, fence: bool = False) -> int:
        """Write `chunks` from `offset` on and return where they end.

        A chunk counts until the next one is asked for; whoever keeps it longer copies it.

        What an earlier, broken attempt left behind `offset` is cut off.  With `fence`, such an attempt may still be
        running somewhere; from now on it can do no harm.

        Raises:
            UploadUnknownError: there is no such upload, or it does not have `offset` bytes.
        """

    def upload_chunks(self, upload: str) -> Iterator[bytes]:
        """The bytes of an upload.

        Raises:
            UploadUnknownError: there is no such upload.
        """

    def commit(self, upload: str, sha256: str) -> None:
        """Turn an upload into content.

        Raises:
            UploadUnknownError: there is no such upload.
        """

    def discard(self, upload: str) -> None:
        """Forget an upload, if it is there."""

    def open(self, sha256: str, start: int, stop: int) -> Content:
        """Read content from `start` to before `stop`."""

    def link(self, sha256: str, lifetime: timedelta) -> str | None:
        """An address where a client gets content without us, for so long; None if it has to come through us."""

    def inner_path(self, sha256: str) -> str | None:
        """Where content is below the home's folder, for a web server in front; None if there is no folder."""

    def size(self, sha256: str) -> int | None:
        """How long content is; None if it is not here."""

    def delete(self, sha256: str) -> None:
        """Forget content, if it is here."""

    def uploads(self) -> Iterator[tuple[str, datetime]]:
        """All uploads, and when each was last written to."""

    def contents(self) -> Iterator[tuple[str, int]]:
        """All content: sha256 and size."""
