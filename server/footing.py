# SPDX-License-Identifier: Apache-2.0
"""What an upload builds upon: its collection's root, snapshot and files as they are stored, and the highest versions.

    footing = footings.kept(gun, roles)                    # None, or it is still so
    with database.read() as session:
        footing = read_footing(Store(session), gun, roles)

What this process has stored itself is used again for as long as the collection's current timestamp is that very one:
by its hash it names the snapshot, which names all the rest, byte for byte.  The database is asked for it each time,
together with the highest versions; and `Store.put_all` looks again behind its lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

from tuf.api.metadata import Root, Snapshot

from server.queries import newest_of
from server.store import MAX_ASKED, Store
from trust.metadata import NotaryMetadata, parse_snapshot
from trust.names import ROOT, TIMESTAMP, Gun, RoleName
from trust.web.database import Database

#: What a process keeps at most, and the longest file that it keeps beside root and snapshot.
MAX_BYTES = 4 << 20
MAX_FILE = 64 << 10


class NotKeptError(Exception):
    """The file was not kept; it must be read."""


@dataclass(frozen=True, slots=True)
class Footing:
    """What an upload builds upon.

    Attributes:
        version: the current timestamp's; None: there is none.
        newest: the highest stored version of each role that was asked for; 0 where there is none.
        snapshot: the current one, if there is one.
        root: the current one, if it was checked for this collection before.
        current: gives the current file of a role, or None.
        files: those that are at hand.
    """

    version: int | None
    newest: Mapping[RoleName, int]
    snapshot: NotaryMetadata[Snapshot] | None
    root: NotaryMetadata[Root] | None
    current: Callable[[RoleName], bytes | None]
    files: Mapping[RoleName, bytes | None]


@dataclass(frozen=True, slots=True)
class _Kept:
    version: int
    sha256: str
    root: NotaryMetadata[Root]
    snapshot: NotaryMetadata[Snapshot]
    files: Mapping[RoleName, bytes]
    size: int

    def current(self, role: RoleName) -> bytes | None:
        if role not in self.snapshot.signed.meta:
            return None
        try:
            return self.files[role]
        except KeyError:
            raise NotKeptError from None


class Footings:
    """The collections that this process has published into last.

    Args:
        database: is asked whether they are still the same.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._kept: OrderedDict[Gun, _Kept] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes of the files that are kept."""
        return self._bytes

    def kept(self, gun: Gun, roles: Iterable[RoleName]) -> Footing | None:
        """What an upload of `roles` builds upon, if it was kept and is still so.

        Its `current` raises `NotKeptError` for a file that is there and was not kept.

        Raises:
            UnavailableError: the database does not answer.
        """
        with self._lock:
            kept = self._kept.get(gun)
        asked = [role for role in roles if role != TIMESTAMP]
        if kept is None or len(asked) >= MAX_ASKED:
            return None
        parameters = {f"role{index}": role for index, role in enumerate((TIMESTAMP, *asked))}
        rows = self._database.ask(newest_of(0, 1 + len(asked)), {"gun": gun, **parameters})
        found = {role: (version, sha256) for role, version, _, sha256, _ in rows}
        if found.get(TIMESTAMP) != (kept.version, kept.sha256):
            self.forget(gun)
            return None
        newest = {role: found[role][0] if role in found else 0 for role in asked}
        return Footing(kept.version, newest, kept.snapshot, kept.root, kept.current, kept.files)

    def keep(
        self,
        gun: Gun,
        timestamp: tuple[int, str],
        root: NotaryMetadata[Root],
        snapshot: NotaryMetadata[Snapshot],
        files: Mapping[RoleName, bytes | None],
    ) -> None:
        """Keep what was stored.

        Args:
            gun: the collection.
            timestamp: version and hash of the new timestamp.
            root: what it leads to; checked for this collection.
            snapshot: what it leads to.
            files: some of those that the snapshot names.
        """
        small = {
            role: data
            for role, data in files.items()
            if data is not None and len(data) <= MAX_FILE and role in snapshot.signed.meta
        }
        small[ROOT] = root.to_bytes()
        size = len(snapshot.to_bytes()) + sum(map(len, small.values()))
        with self._lock:
            self._drop(gun)
            self._kept[gun] = _Kept(*timestamp, root, snapshot, small, size)
            self._bytes += size
            while self._bytes > MAX_BYTES:
                self._drop(next(iter(self._kept)))

    def forget(self, gun: Gun) -> None:
        """Keep nothing of this collection."""
        with self._lock:
            self._drop(gun)

    def _drop(self, gun: Gun) -> None:
        if (old := self._kept.pop(gun, None)) is not None:
            self._bytes -= old.size


def read_footing(store: Store, gun: Gun, roles: Iterable[RoleName]) -> Footing:
    """What an upload of `roles` builds upon, as it is stored; each file is read once.

    Args:
        store: sees one state of the database, and is asked for more by `current`.
        gun: the collection.
        roles: what is uploaded.
    """
    standing = store.standing(gun, roles)
    chain = standing.chain
    snapshot = parse_snapshot(chain.snapshot.data) if chain and chain.snapshot else None
    files: dict[RoleName, bytes | None] = {}

    def current(role: RoleName) -> bytes | None:
        if role not in files:
            entry = snapshot.signed.meta.get(role) if snapshot else None
            likely = standing.root if role == ROOT else None
            found = store.named(gun, role, entry, likely) if entry else None
            files[role] = found.data if found else None
        return files[role]

    return Footing(chain.timestamp.version if chain else None, standing.newest, snapshot, None, current, files)
