# SPDX-License-Identifier: Apache-2.0
"""Where a reader's files come from in tests, without a network: two `trust.reader.Source`s, and readers of them.

shelf = Shelf(collection.files)               # a notary server's memory: current, by hash, by version
shelf.before("snapshot", lambda: shelf.put(collection.publish({"v2": b"…"})))
Reader(collection.gun, shelf, MemoryCache(), clock=lambda: collection.now).refresh()

vector = golden("docker-signed-alice")        # files that the Go programs wrote, in tests/fixtures/vectors
Reader(vector.gun, vector, MemoryCache(), clock=lambda: GOLDEN_NOW).refresh()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from collection import Collection
from trust.cache import Cache, MemoryCache
from trust.errors import FormatError, NotFoundError, SizeError, UnavailableError
from trust.metadata import peek_version
from trust.names import Gun, RoleName
from trust.pins import Pins
from trust.reader import Reader

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
FIXTURES = Path(__file__).parent / "fixtures"
#: A moment at which every golden file is valid, but for the targets of `expired-targets`.
GOLDEN_NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Shelf:
    """A collection's files as a notary server has them.

    Attributes:
        current: the newest file of each role; change it freely.
        named: every file that was ever put, by `<role>.<sha256>` and `<version>.<role>`.
        asked: the names that were fetched, in order.
        limits: the most bytes that were asked for, by name.
        reachable: whether the server answers at all.
    """

    def __init__(self, files: Mapping[RoleName, bytes] | None = None) -> None:
        self.current: dict[str, bytes] = {}
        self.named: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.limits: dict[str, int] = {}
        self.reachable = True
        self._before: dict[str, Callable[[], object]] = {}
        self.put(files or {})

    def put(self, files: Mapping[RoleName, bytes]) -> None:
        """Make these the current files; older ones can still be had by hash and by version."""
        for role, data in files.items():
            self.current[role] = data
            self.named[f"{role}.{hashlib.sha256(data).hexdigest()}"] = data
            with contextlib.suppress(FormatError):
                self.named[f"{peek_version(data)}.{role}"] = data

    def clear(self) -> None:
        """Delete all trust data, as `notary delete --remote` does."""
        self.current.clear()
        self.named.clear()

    def before(self, role: str, action: Callable[[], object]) -> None:
        """Do `action` once, just before a file of `role` is fetched next."""
        self._before[role] = action

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        self.asked.append(name)
        self.limits[name] = limit
        for role in [r for r in self._before if name == r or name.startswith(r + ".") or name.endswith("." + r)]:
            self._before.pop(role)()
        if not self.reachable:
            raise UnavailableError("the shelf is out of reach")
        data = self.current.get(name, self.named.get(name))
        if data is None:
            raise NotFoundError(f"the shelf has no {name} of {gun}")
        if len(data) > limit:
            raise SizeError(f"{name} is longer than the allowed {limit} bytes")
        return data


class Golden(Shelf):
    """One scenario of tests/fixtures/vectors.

    Attributes:
        name: its folder.
        gun: whose files they are.
        index: what the original server said of each file, by its name in the folder.
        files: every file, by its name in the folder without `.json`, slashes as they are.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        folder = FIXTURES / "vectors" / name
        content = json.loads((folder / "index.json").read_bytes())
        self.gun = Gun(content["gun"])
        self.index: dict[str, Any] = content["files"]
        self.files: dict[str, bytes] = {
            path.name.removesuffix(".json").replace("__", "/"): path.read_bytes()
            for path in sorted(folder.glob("*.json"))
            if path.name != "index.json"
        }
        for stem, data in self.files.items():
            role = role_of(stem)
            self.named[stem] = data
            self.named[f"{role}.{hashlib.sha256(data).hexdigest()}"] = data
            if stem == role:
                self.current[role] = data

    @property
    def roles(self) -> list[RoleName]:
        """The roles that have a current file."""
        return [RoleName(role) for role in self.current]


def role_of(stem: str) -> RoleName:
    """The role of a file called `<role>`, `<version>.<role>` or `<role>.<sha256>`."""
    (role,) = [part for part in stem.split(".") if not part.isdecimal() and len(part) != 64]
    return RoleName(role)


@cache
def golden_names() -> tuple[str, ...]:
    """The folders below tests/fixtures/vectors."""
    vectors = FIXTURES / "vectors"
    return tuple(sorted(str(path.parent.relative_to(vectors)) for path in vectors.rglob("index.json")))


def golden(name: str) -> Golden:
    """A fresh copy of the scenario `name`."""
    return Golden(name)


class World:
    """A collection, the server that has it, what its readers remember, and a clock that stands still.

    Args:
        algorithm: of all keys but the root's.
    """

    def __init__(self, *, algorithm: str = "ecdsa") -> None:
        self.now = NOW
        self.made = Collection("localhost:5000/library/app", NOW, algorithm=algorithm)
        self.shelf = Shelf()
        self.cache: Cache = MemoryCache()

    def reader(
        self,
        *,
        pins: Pins | None = None,
        roles: tuple[RoleName, ...] | None = None,
        offline: bool = False,
        grace: timedelta = timedelta(),
        cache: Cache | None = None,
    ) -> Reader:
        """A new reader, as after a restart, over the world's cache."""
        return Reader(
            self.made.gun,
            self.shelf,
            self.cache if cache is None else cache,
            pins=pins,
            roles=roles,
            offline=offline,
            grace=grace,
            clock=lambda: self.now,
        )

    def publish(self, contents: dict[str, bytes] | None = None) -> None:
        self.shelf.put(self.made.publish(contents))

    def republish(self) -> None:
        """A new snapshot and timestamp over the latest files."""
        self.made.snapshot()
        self.made.timestamp()
        self.shelf.put(self.made.files)
