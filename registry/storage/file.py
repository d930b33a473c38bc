# SPDX-License-Identifier: Apache-2.0
"""Content in a folder.

    <folder>/
    ├── uploads/
    │   └── <id>/
    │       └── data                     bytes so far; those behind the recorded offset do not count
    └── blobs/
        └── sha256/
            └── ab/
                └── <64 hex digits>      never changes, never half there

A commit is one rename in one file system, from `uploads` to `blobs`: file written, file flushed, renamed, folder
flushed.

On NFS, too: no lock is taken, every file is flushed before it is closed and opened anew by whoever reads it, and a
rename whose answer was lost and that was sent again is not taken for a failure.  A file that was removed while it was
open stays there for a while as `.nfs…`; only names that are digests are content.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from registry.errors import StorageError, StorageFullError, UploadUnknownError
from registry.storage.base import Block

#: Measured: 1 MiB moves twice as fast as 64 KiB, and more brings nothing.
BLOCK = 1 << 20
#: After so many bytes the system is told to begin with writing them to the disk, so that little is left to flush at
#: the end.  (That is what `POSIX_FADV_DONTNEED` does with pages that are not on the disk yet; they stay in memory.)
_WRITEBACK = 4 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT)

_log = logging.getLogger("troth.registry.storage")


class FileStorage:
    """A home of content in a folder.

    Args:
        folder: made if it is not there.

    Raises:
        StorageError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._uploads = folder / "uploads"
        self._blobs = folder / "blobs" / "sha256"
        with _answering():
            for each in (self._uploads, self._blobs):
                each.mkdir(parents=True, exist_ok=True)

    def start(self, upload: str) -> None:
        """Make an empty upload."""
        with _answering():
            path = self._upload(upload)
            try:
                path.parent.mkdir(exist_ok=True)
                path.touch()
                _flush(path.parent)
                _flush(self._uploads)
            except OSError:
                self.discard(upload)
                raise

    def append(self, upload: str, offset: int, chunks: Iterable[Block], *, fence: bool = False) -> int:
        """Write `chunks` from `offset` on and return where they end."""
        path = self._upload(upload)
        if fence:
            self._fence(path, offset)
        with _answering(upload), path.open("r+b", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < offset:
                raise _unknown()
            file.truncate(offset)
            file.seek(offset)
            end = under_way = offset
            try:
                for chunk in chunks:
                    _write(file.fileno(), chunk)
                    end += len(chunk)
                    if end - under_way >= _WRITEBACK:
                        os.posix_fadvise(file.fileno(), under_way, end - under_way, os.POSIX_FADV_DONTNEED)
                        under_way = end
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # what does not count takes no room
                    file.truncate(offset)
                raise
        return end

    def upload_chunks(self, upload: str) -> Iterator[bytes]:
        """The bytes of an upload."""
        with _answering(upload), self._upload(upload).open("rb", buffering=0) as file:
            while chunk := file.read(BLOCK):
                yield chunk

    def commit(self, upload: str, sha256: str) -> None:
        """Turn an upload into content."""
        source, target = self._upload(upload), self._content(sha256)
        with _answering(upload):
            size = source.stat().st_size
            if self.size(sha256) != size:  # not there, or there and torn by a broken disk: then this mends it
                target.parent.mkdir(exist_ok=True)
                _flush(self._blobs)
                try:
                    source.replace(target)
                except FileNotFoundError:
                    if self.size(sha256) != size:
                        raise
            # Also when somebody else renamed it: perhaps their flush is still to come.
            _flush(target.parent)
        self.discard(upload)

    def discard(self, upload: str) -> None:
        """Forget an upload, if it is there."""
        shutil.rmtree(self._upload(upload).parent, ignore_errors=True)

    def open(self, sha256: str, start: int, stop: int) -> FileSlice:
        """Read content from `start` to before `stop`."""
        with _answering():
            return FileSlice(self._content(sha256), start, stop)

    def link(self, sha256: str, lifetime: timedelta) -> None:
        """A folder has no address."""

    def inner_path(self, sha256: str) -> str:
        """Where content is below the folder."""
        return f"blobs/sha256/{sha256[:2]}/{sha256}"

    def size(self, sha256: str) -> int | None:
        """How long content is; None if it is not here."""
        with _answering():
            try:
                return self._content(sha256).stat().st_size
            except FileNotFoundError:
                return None

    def delete(self, sha256: str) -> None:
        """Forget content, if it is here."""
        path = self._content(sha256)
        with _answering():
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _flush(path.parent)

    def uploads(self) -> Iterator[tuple[str, datetime]]:
        """All uploads, and when each was last written to."""
        with _answering():
            names = sorted(entry.name for entry in os.scandir(self._uploads) if entry.is_dir(follow_symlinks=False))
        for name in names:
            data = self._upload(name)
            try:
                written = (data if data.exists() else data.parent).stat().st_mtime
            except FileNotFoundError:  # it ended meanwhile
                continue
            yield name, datetime.fromtimestamp(written, UTC)

    def contents(self) -> Iterator[tuple[str, int]]:
        """All content: sha256 and size."""
        with _answering():
            for folder in sorted(self._blobs.iterdir()):
                for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                    if _SHA256.fullmatch(path.name):
                        with suppress(FileNotFoundError):  # removed meanwhile
                            yield path.name, path.stat().st_size

    def _upload(self, upload: str) -> Path:
        return self._uploads / upload / "data"

    def _content(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    @staticmethod
    def _fence(path: Path, offset: int) -> None:
        # A writer that was given up still has the old file open.  It may go on writing there, into nothing.
        copy = path.with_name("copy")
        try:
            with (
                _answering(path.parent.name),
                path.open("rb", buffering=0) as old,
                copy.open("wb", buffering=0) as new,
            ):
                while offset and (chunk := old.read(min(BLOCK, offset))):
                    _write(new.fileno(), chunk)
                    offset -= len(chunk)
                os.fsync(new.fileno())
                copy.replace(path)
                _flush(path.parent)
        except StorageError:
            with suppress(OSError):
                copy.unlink(missing_ok=True)
            raise


class FileSlice:
    """A part of a file, read or sent by its descriptor.

    Args:
        path: the file.
        start: the first byte.
        stop: behind the last byte.
    """

    def __init__(self, path: Path, start: int, stop: int) -> None:
        # Without a buffer: the server asks the descriptor where to begin sending.
        self._file = path.open("rb", buffering=0)
        if os.fstat(self._file.fileno()).st_size < stop:  # told now, while the answer can still be another
            self._file.close()
            raise OSError(errno.EIO, "the content is shorter than it was", str(path))
        self._file.seek(start)
        self._left = stop - start

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        wanted = self._left if size < 0 else min(size, self._left)
        with _answering():
            data = self._file.read(wanted) or b""
        if wanted and not data:
            raise StorageError("the content is shorter than it was")
        self._left -= len(data)
        return data

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _write(descriptor: int, data: Block) -> None:
    view = memoryview(data)
    while view:  # an unbuffered write may take less than all
        view = view[os.write(descriptor, view) :]


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def _unknown() -> UploadUnknownError:
    return UploadUnknownError("there is no such upload; start a new one")


@contextmanager
def _answering(upload: str | None = None) -> Iterator[None]:
    """Turn the system's errors into ours; a missing file is a missing upload, if we are about one."""
    try:
        yield
    except FileNotFoundError as error:
        if upload is not None:
            raise _unknown() from error
        _log.error("content is missing: %s", error)
        raise StorageError("the content is missing from the registry's storage") from error
    except OSError as error:
        _log.error("the storage failed: %s", error)
        if error.errno in _FULL:
            raise StorageFullError() from error
        raise StorageError(f"the registry's storage does not work: {error.strerror}") from error
