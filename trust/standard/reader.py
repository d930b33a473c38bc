# SPDX-License-Identifier: Apache-2.0
"""Read a TUF 1.0 repository: python-tuf's client behind the face of `trust.reader.Reader`.

    reader = open_reader("https://tuf.example.com", root=Path("root.json"), cache=Path("/var/lib/app/tuf"))
    target = reader.refresh().lookup("app/1.0.tar.gz")
    reader.download(target, Path("1.0.tar.gz"))

`tuf.ngclient.Updater` reads and verifies root, timestamp, snapshot and targets, and keeps them in `cache` in its own
layout, so that python-tuf's programs can share the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import ExpiredMetadataError
from tuf.api.metadata import Metadata, MetaFile, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from trust.collection import Target
from trust.errors import InvalidError, UnavailableError
from trust.standard.collection import MAX_WALK, StandardCollection
from trust.standard.failures import translated
from trust.standard.places import Folder, Place, PlacesFetcher, Web

_METADATA, _TARGETS = "metadata", "targets"
_TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")


class StandardReader:
    """A reader of one repository.

    Args:
        metadata: where its metadata is.
        targets: where the targets' content is; None: it is not downloaded from here.
        root: the root that is believed first, as a file's content; None: the one in the cache.
        cache: the folder for what was believed before, made for its owner only where it is missing.  None: it ends
            with this reader, so a rollback between two of them is not seen beyond what `root` says.

    Raises:
        InvalidError: there is no root to begin with.
    """

    def __init__(
        self, metadata: Place, targets: Place | None = None, *, root: bytes | None, cache: Path | None = None
    ) -> None:
        if root is None and (cache is None or not (cache / "root.json").exists()):
            raise InvalidError("a TUF 1.0 repository needs a root that is trusted from the beginning")
        self._places = {_METADATA: metadata} | ({_TARGETS: targets} if targets else {})
        self._root = root
        self._config = UpdaterConfig(max_delegations=MAX_WALK)
        self._updater: Updater | None = None
        if cache is None:
            cache = Path(tempfile.mkdtemp(prefix="troth-tuf-"))
            weakref.finalize(self, shutil.rmtree, cache, ignore_errors=True)
        self._cache = cache

    def refresh(self) -> StandardCollection:
        """Read the newest state, verify it and return it.

        Raises:
            UntrustedError: it is not to be believed; the subclass says why.
            NotFoundError: there is no repository.
            UnavailableError: it cannot be read, or what was verified cannot be kept.
        """
        fetcher = PlacesFetcher(self._places)
        with self._locked(), translated(fetcher.seen):
            updater = self._new_updater(fetcher)
            try:
                updater.refresh()
            except ExpiredMetadataError:
                fetcher.seen.append((self._cache / "root.json").read_bytes())  # may be the one that has
                raise
            root, timestamp, snapshot, targets = (self._kept(role) for role in _TOP_LEVEL)
        self._updater = updater
        consistent = bool(root.signed.consistent_snapshot)

        def fetch(role: str, entry: MetaFile) -> bytes:
            version = f"{entry.version}." if consistent else ""
            limit = entry.length or self._config.targets_max_length
            return PlacesFetcher(self._places).download_bytes(
                f"{_METADATA}/{version}{quote(role, safe='')}.json", limit
            )

        return StandardCollection(root, timestamp, snapshot, targets, fetch, lambda: datetime.now(UTC))

    def download(self, target: Target, path: Path) -> Path:
        """Download what `target` names, and verify it before it is at `path`.

        Args:
            target: of the last `refresh`.
            path: the file to write.

        Raises:
            InvalidError: nothing was refreshed, or this reader does not know where the content is.
            HashError: it is other content.
            SizeError: it is longer than signed.
            NotFoundError: it is not there.
            UnavailableError: it cannot be read or written.
        """
        if self._updater is None or _TARGETS not in self._places:
            raise InvalidError("refresh a reader that knows where targets are, before downloading")
        file = TargetFile(target.length, dict(target.hashes), target.name)
        with translated():
            self._updater.download_target(file, str(path), _TARGETS)
        return path

    def _new_updater(self, fetcher: PlacesFetcher) -> Updater:
        return Updater(
            str(self._cache), _METADATA, fetcher=fetcher, config=self._config, bootstrap=self._root
        )  # fmt: skip

    def _kept(self, role: str) -> Metadata[Any]:
        # Just verified and kept there by the updater.
        return Metadata.from_bytes((self._cache / f"{role}.json").read_bytes())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else uses the cache: python-tuf's client wants it for itself."""
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self._cache, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UnavailableError(f"verified metadata cannot be kept: {error}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def open_reader(
    address: str | os.PathLike[str],
    *,
    root: bytes | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None = None,
    metadata: str = "metadata",
    targets: str = "targets",
    ca: str | os.PathLike[str] | Sequence[Path] = (),
    credentials: tuple[str, str] | None = None,
) -> StandardReader:
    """A reader of the TUF 1.0 repository at `address`.

    Args:
        address: a folder, or an http or https URL.
        root: the root that is believed first: a file, or its content; None: the one in the cache.
        cache: the folder for what was believed before; None: nothing is remembered.
        metadata: where the metadata is below the address; empty: there itself.
        targets: where the targets are below the address.
        ca: PEM file of the CA that the server's certificate comes from, or several; by default the system's.
        credentials: user and password, for servers that ask.

    Raises:
        InvalidError: the address is malformed, or a file cannot be read, or there is no root to begin with.
    """
    if isinstance(root, os.PathLike):
        try:
            root = Path(root).read_bytes()
        except OSError as error:
            raise InvalidError(f"the trusted root {root!s} cannot be read: {error.strerror}") from error

    files = (Path(ca),) if isinstance(ca, str | os.PathLike) else tuple(ca)
    base = os.fspath(address)

    def place(below: str) -> Place:
        if base.startswith(("http://", "https://")):
            return Web(f"{base.rstrip('/')}/{below}".rstrip("/"), ca=files, credentials=credentials)
        return Folder(Path(base) / below)

    folder = Path(cache).expanduser() if cache is not None else None
    return StandardReader(place(metadata), place(targets), root=root, cache=folder)
