# SPDX-License-Identifier: Apache-2.0
"""Where a notary's collections are taken over from: its database, or a folder that `troth rescue` filled.

Files are listed first and read afterwards, a few megabytes at a time: a collection may have thousands of versions.
What is listed is only what the other side says; whoever reads the bytes compares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import CHAR, DateTime, Integer, LargeBinary, String, column, func

from server.models import UPDATE
from trust.errors import FormatError, InvalidError, UnavailableError
from trust.metadata import peek_version
from trust.names import TIMESTAMP, Gun
from trust.rescue import TRUST_FOLDER, guns_in
from trust.web.origin import Columns, Tables, moment

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 200
_NAMED = re.compile(r"(?P<version>[0-9]+)\.(?P<root>root)|(?P<role>.+)\.(?P<sha256>[0-9a-f]{64})|(?P<last>timestamp)")


@dataclass(frozen=True, slots=True)
class OriginFile:
    """One version of one file, as the other side says.

    Attributes:
        key: finds its bytes.
        role: whatever stands there.
        version: of the file.
        sha256: of its bytes, in hex; empty if the other side does not say.
        length: of its bytes.
        created: when it was stored.
        updated: when that was touched last.
    """

    key: int
    role: str
    version: int
    sha256: str
    length: int
    created: datetime | None
    updated: datetime | None


@dataclass(frozen=True, slots=True)
class OriginChange:
    """One row of the changefeed; the ID is None where the other side kept no changefeed."""

    id: int | None
    created: datetime | None
    version: int
    sha256: str
    category: str


class Origin(Protocol):
    """What collections are taken over from."""

    def guns(self) -> list[str]:
        """The names of all collections that have files or changes, whatever they look like."""

    def files(self, gun: str) -> list[OriginFile]:
        """The files of a collection, in the order in which they were stored."""

    def data(self, files: Sequence[OriginFile]) -> Iterator[tuple[OriginFile, bytes]]:
        """These files and their bytes."""

    def changes(self, gun: str) -> list[OriginChange]:
        """The changes of a collection, oldest first."""


class Database:
    """A notary server's tables (NOTARY_V1 §3.4); those of MySQL's older schemas, too.

    Raises:
        InvalidError: there is no table `tuf_files`.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        if not tables.has("tuf_files"):
            raise InvalidError("the other database has no table tuf_files: it is not a notary server's")
        self._has_changes = tables.has("changefeed")
        # Names are told apart here: some databases hold that App and app are the same.
        self._guns = {row.gun for row in tables.rows("tuf_files", {"gun": String()})}
        if self._has_changes:
            self._guns |= {row.gun for row in tables.rows("changefeed", {"gun": String()})}

    def guns(self) -> list[str]:
        """See `Origin`."""
        return sorted(self._guns)

    def files(self, gun: str) -> list[OriginFile]:
        """See `Origin`."""
        wanted: Columns = {
            "id": Integer(), "gun": String(), "role": String(), "version": Integer(), "sha256": CHAR(64),
            "created_at": DateTime(), "updated_at": DateTime(), "length": func.length(column("data")),
        }  # fmt: skip
        return [
            OriginFile(
                key=row.id,
                role=row.role,
                version=row.version,
                sha256=(row.sha256 or "").strip().lower(),
                length=row.length,
                created=moment(row.created_at),
                updated=moment(row.updated_at),
            )
            for row in self._tables.rows("tuf_files", wanted, where={"gun": gun})
            if row.gun == gun
        ]

    def data(self, files: Sequence[OriginFile]) -> Iterator[tuple[OriginFile, bytes]]:
        """See `Origin`."""
        for batch in batches(files):
            by_key = {file.key: file for file in batch}
            for row in self._tables.rows("tuf_files", {"id": Integer(), "data": LargeBinary()}, ids=list(by_key)):
                yield by_key[row.id], bytes(row.data)

    def changes(self, gun: str) -> list[OriginChange]:
        """See `Origin`; without a changefeed, what the original's migration makes of the timestamps."""
        if not self._has_changes:
            return [
                OriginChange(None, file.created, file.version, file.sha256, UPDATE)
                for file in self.files(gun)
                if file.role == TIMESTAMP
            ]
        wanted: Columns = {
            "id": Integer(), "gun": String(), "version": Integer(), "sha256": CHAR(64), "category": String(),
            "created_at": DateTime(),
        }  # fmt: skip
        return [
            OriginChange(row.id, moment(row.created_at), row.version, (row.sha256 or "").strip(), row.category)
            for row in self._tables.rows("changefeed", wanted, where={"gun": gun})
            if row.gun == gun
        ]


class Folder:
    """A folder that `troth rescue` filled.

    Raises:
        InvalidError: it is not one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guns = guns_in(folder)
        self._paths: dict[int, Path] = {}
        if not self._guns:
            raise InvalidError(f"{folder} is not a folder that `troth rescue` filled: it has no trust data")

    def guns(self) -> list[str]:
        """See `Origin`."""
        return sorted(self._guns)

    def files(self, gun: str) -> list[OriginFile]:
        """See `Origin`."""
        base = self._folder / "v2" / Gun(gun) / TRUST_FOLDER
        found: dict[tuple[str, int], OriginFile] = {}
        for path in sorted(base.rglob("*.json")):
            name = _NAMED.fullmatch(str(path.relative_to(base)).removesuffix(".json"))
            if name is None:  # `targets.json` and its like are the same as one of the others
                continue
            data = _read(path)
            try:
                version = int(name["version"] or peek_version(data))
            except FormatError:
                version = 0
            role = name["root"] or name["role"] or name["last"]
            key = len(self._paths)
            self._paths[key] = path
            found.setdefault(
                (role, version), OriginFile(key, role, version, name["sha256"] or "", len(data), None, None)
            )
        return list(found.values())

    def data(self, files: Sequence[OriginFile]) -> Iterator[tuple[OriginFile, bytes]]:
        """See `Origin`."""
        for file in files:
            yield file, _read(self._paths[file.key])

    def changes(self, gun: str) -> list[OriginChange]:
        """See `Origin`: the last one; what was before is not known."""
        return [
            OriginChange(None, None, file.version, hashlib.sha256(data).hexdigest(), UPDATE)
            for file, data in self.data([each for each in self.files(gun) if each.role == TIMESTAMP])
        ]


def batches(files: Sequence[OriginFile]) -> Iterator[list[OriginFile]]:
    """The files in groups that fit into memory."""
    batch: list[OriginFile] = []
    size = 0
    for file in files:
        if batch and (size + file.length > _BATCH_BYTES or len(batch) >= _BATCH_ROWS):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.length
    if batch:
        yield batch


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from error
