# SPDX-License-Identifier: Apache-2.0
"""Verified metadata, kept: what a reader has believed before, so that nothing can go back behind it.

Only files that passed every check are kept.  Keeping is monotonic: a file never replaces one of a higher version,
whoever writes at the same time.

`FileCache` uses the layout of the Go clients (NOTARY_V1 §6.1):

    <folder>/tuf/<gun>/metadata/{root,targets,snapshot,timestamp}.json
    <folder>/tuf/<gun>/metadata/targets/<delegation>.json

There the root of the collection `a/metadata/targets` and the delegation `targets/metadata/root` of `a` are one file.
Here the few collections with such names have a place that no name can lead to: `a/metadata/_trust/targets`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from trust.errors import FormatError, UnavailableError
from trust.metadata import peek_version
from trust.names import TOP_LEVEL, Gun, RoleName

#: Stays beside the metadata: replaced files come and go, a lock needs one that stays.
_LOCK = ".lock"
#: What stands in a folder `metadata`: behind a segment `metadata` of a GUN none of these may follow.
_OURS = {_LOCK, "targets", *(f"{role}.json" for role in TOP_LEVEL)}


class Cache(Protocol):
    """Where a reader keeps what it has verified: anything with these three methods.

    What a cache gives back is verified again, so it need not be secret; who can take it away or put an older one in
    its place can play old trust data.  Methods may be called by several threads and processes at once.

    Examples:
        >>> cache: trust.Cache = trust.FileCache("kept")
        >>> trust.open_reader(image.gun, ca=ca, credentials=login, cache=cache).refresh().lookup("1").role
        'targets/releases'
    """

    def load(self, gun: Gun, role: RoleName) -> bytes | None:
        """The kept file of a role.

        Args:
            gun: the collection.
            role: the role.

        Returns:
            The file's bytes, or None if there is none.

        Raises:
            UnavailableError: it cannot be found out; never answer None then.

        Examples:
            >>> trust.MemoryCache().load(image.gun, trust.ROOT) is None
            True
        """

    def save(self, gun: Gun, role: RoleName, version: int, data: bytes) -> None:
        """Keep a verified file, unless one of a higher version is kept already.

        Args:
            gun: the collection.
            role: the role.
            version: the file's version, as signed.
            data: the file's bytes.

        Raises:
            UnavailableError: it cannot be kept.

        Examples:
            >>> cache = trust.MemoryCache()
            >>> cache.save(image.gun, trust.ROOT, 2, b"second")
            >>> cache.save(image.gun, trust.ROOT, 1, b"first")
            >>> cache.load(image.gun, trust.ROOT)
            b'second'
        """

    def drop(self, gun: Gun, role: RoleName) -> None:
        """Forget the file of a role: its keys were replaced, so its version no longer binds (TUF 5.3.11).

        Args:
            gun: the collection.
            role: the role.

        Raises:
            UnavailableError: it cannot be forgotten.

        Examples:
            >>> cache = trust.FileCache("kept")
            >>> cache.save(image.gun, trust.TIMESTAMP, 7, b"{}")
            >>> cache.drop(image.gun, trust.TIMESTAMP)
            >>> cache.load(image.gun, trust.TIMESTAMP) is None
            True
        """


class MemoryCache:
    """A cache that ends with the process: for one look-up with pinned roots.

    Examples:
        >>> reader = trust.open_reader(image.gun, ca=ca, credentials=login, cache=trust.MemoryCache())
        >>> reader.refresh() is reader.refresh()
        True
    """

    def __init__(self) -> None:
        self._files: dict[tuple[Gun, RoleName], tuple[int, bytes]] = {}
        self._lock = threading.Lock()

    def load(self, gun: Gun, role: RoleName) -> bytes | None:
        """See `Cache.load`."""
        return self._files.get((gun, role), (0, None))[1]

    def save(self, gun: Gun, role: RoleName, version: int, data: bytes) -> None:
        """See `Cache.save`."""
        with self._lock:
            if version >= self._files.get((gun, role), (0, b""))[0]:
                self._files[gun, role] = version, data

    def drop(self, gun: Gun, role: RoleName) -> None:
        """See `Cache.drop`."""
        self._files.pop((gun, role), None)


class FileCache:
    """A cache in a folder, in the layout of docker and notary (NOTARY_V1 §6.1).

    Args:
        folder: made when the first file is kept, readable by its owner only.

    Examples:
        >>> _ = trust.open_reader(image.gun, ca=ca, credentials=login, cache=trust.FileCache("kept")).refresh()
        >>> sorted(file.name for file in Path("kept/tuf", image.gun, "metadata").glob("*.json"))
        ['root.json', 'snapshot.json', 'targets.json', 'timestamp.json']
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def load(self, gun: Gun, role: RoleName) -> bytes | None:
        """See `Cache.load`.

        Raises:
            UnavailableError: the file is there and cannot be read.
        """
        try:
            return self._path(gun, role).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnavailableError(f"cached metadata cannot be read: {error}") from error

    def save(self, gun: Gun, role: RoleName, version: int, data: bytes) -> None:
        """See `Cache.save`.

        Raises:
            UnavailableError: it cannot be written.
        """
        path = self._path(gun, role)
        try:
            _make_folder(path.parent)
            with self._locked(gun):
                kept = self.load(gun, role)
                if kept is None or version >= _version(kept):
                    _replace(path, data)
        except OSError as error:
            raise UnavailableError(f"verified metadata cannot be kept: {error}") from error

    def drop(self, gun: Gun, role: RoleName) -> None:
        """See `Cache.drop`.

        Raises:
            UnavailableError: it cannot be removed.
        """
        try:
            self._path(gun, role).unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(f"cached metadata cannot be removed: {error}") from error

    def _path(self, gun: Gun, role: RoleName) -> Path:
        return self._metadata(gun) / f"{role}.json"

    def _metadata(self, gun: Gun) -> Path:
        # Gun and RoleName have no "..", empty or absolute parts, so this stays below the folder.
        segments = gun.split("/")
        for position in range(len(segments) - 1, 0, -1):
            if segments[position - 1] == "metadata" and segments[position] in _OURS:
                segments.insert(position, "_trust")  # which no GUN has
        return self._folder.joinpath("tuf", *segments, "metadata")

    @contextlib.contextmanager
    def _locked(self, gun: Gun) -> Iterator[None]:
        lock = os.open(self._metadata(gun) / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _version(data: bytes) -> int:
    try:
        return peek_version(data)
    except FormatError:
        return 0  # a damaged file protects nothing and may be replaced


def _make_folder(folder: Path) -> None:
    # One by one: `parents=True` would give the mode to the last of them only.
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
