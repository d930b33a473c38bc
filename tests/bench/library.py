# SPDX-License-Identifier: Apache-2.0
"""How cost grows in the library, and in a registry of many repositories and tags; there is no peer in these."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import insert, select

from bench.cases import Case, Scale
from bench.registries import REPOSITORY, our_registry
from collection import Collection
from databases import Server
from registry.models import ManifestRow, RepositoryRow, TagRow
from trust.metadata import parse
from trust.names import TARGETS
from trust.web.database import Database

_BATCH = 10_000


def verification(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Reading and verifying a targets file."""
    for targets in scale.growth:
        collection = Collection("localhost:5000/bench/app", datetime.now(UTC))
        data = collection.targets({f"v{number}": b"manifest %d" % number for number in range(targets)})
        times = max(3, 1000 // targets)
        yield Case(
            f"read and verify a targets file of {targets:,}, per target", "µs", None,
            partial(_verify, collection, data, times, targets), less_is_better=True,
        )  # fmt: skip


def _verify(collection: Collection, data: bytes, times: int, targets: int) -> float:
    began = time.monotonic()
    for _ in range(times):
        meta = parse(TARGETS, data)
        collection.root_payload.verify_delegate("targets", meta.signed_bytes, meta.signatures)
    return (time.monotonic() - began) * 1e6 / times / targets


def many_names(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """A manifest by tag where there are many repositories and many tags."""
    registry = exits.enter_context(our_registry(folder / "ours"))
    registry.push("1")
    database = Database(f"sqlite:///{folder}/ours/registry.db")
    exits.callback(database.dispose)
    for number in scale.growth:
        _fill(database, number)
        yield Case(
            f"GET a manifest by tag, {number:,} repositories, {number:,} tags", "/s", None,
            partial(registry.manifest, "1", scale.seconds),
        )  # fmt: skip


def _fill(database: Database, number: int) -> None:
    """Have so many repositories, and so many tags in the one that is asked."""
    with database.read() as session:
        repository = session.scalars(select(RepositoryRow.id).where(RepositoryRow.name == REPOSITORY)).one()
        manifest, digest = session.execute(select(ManifestRow.id, ManifestRow.digest)).one()
        there = len(session.scalars(select(RepositoryRow.id)).all())
    now = datetime.now(UTC)
    for start in range(there, number, _BATCH):
        numbers = range(start, min(number, start + _BATCH))
        tag = {"repository_id": repository, "manifest_id": manifest, "digest": digest, "updated": now}
        with database.write() as session:
            session.execute(insert(RepositoryRow), [{"name": f"bench/other{each}"} for each in numbers])
            session.execute(insert(TagRow), [{"name": f"tag{each}", **tag} for each in numbers])
