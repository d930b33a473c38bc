# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of a real registry at random moments, while clients push, tag and delete.

After each restart: what was acknowledged is there, whole and under its digest; a tag names what was acknowledged
last, or what was under way; what was deleted is gone; an upload goes on where it was, or is refused cleanly.  At the
end the garbage collector leaves exactly what the manifests name.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from databases import Server
from objectstores import s3
from pushes import digest_of, image_manifest
from registry.jobs.garbage import Collector
from registry.manifests import OCI_IMAGE
from registry.settings import Settings
from registry.storage.base import Storage
from registry.storage.homes import open_storage
from registryprocess import Process
from trust.names import Digest
from trust.web.database import Database

TAGS = ("a", "b", "c")
#: Layers that all clients push again and again, some below and some above what is read at once.
LAYERS = tuple(random.Random(number).randbytes(size) for number, size in enumerate((10, 70_000, 300_000, 1_500_000)))
BROKEN = (OSError, http.client.HTTPException)


@dataclass
class Broken:
    """An upload that the registry did not survive."""

    location: str
    data: bytes
    acknowledged: int
    was_closing: bool


@dataclass
class Client:
    """One who has a repository to himself, and knows what he was told.

    Attributes:
        tags: what each tag may name; None: nothing.
        manifests: whether each is there; None: either may be.
    """

    registry: Process
    repository: str
    chance: random.Random
    tags: dict[str, set[Digest | None]] = field(default_factory=lambda: {tag: {None} for tag in TAGS})
    manifests: dict[Digest, bool | None] = field(default_factory=dict)
    bodies: dict[Digest, bytes] = field(default_factory=dict)
    broken: Broken | None = None
    resumed: int = 0
    refused: int = 0
    number: int = 0
    pushed: int = 0
    asked: int = 0
    checked: set[Digest] = field(default_factory=set)

    def work(self, stop: Event) -> None:
        """Push and delete until told to stop, or until the registry is gone."""
        try:
            if self.broken is not None:
                self.resume(self.broken)
            while not stop.is_set():
                there = [digest for digest, is_there in self.manifests.items() if is_there]
                if there and self.chance.random() < 0.25:
                    self.delete(self.chance.choice(there))
                else:
                    self.push_image(self.chance.choice(TAGS))
        except BROKEN:
            return

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
        self.asked += 1
        where = path if path.startswith("/") else f"/v2/{self.repository}/{path}"
        return self.registry.ask(method, where, body, headers)

    def push_image(self, tag: str) -> None:
        self.number += 1
        config = json.dumps({"of": self.repository, "number": self.number}).encode()
        layers = self.chance.sample(LAYERS, 1)
        status, _, answer = self.ask("POST", f"blobs/uploads/?digest={digest_of(config)}", config)
        assert status == 201, answer
        for data in layers:
            self.push_blob(data)
        body = image_manifest(config, layers)
        digest = digest_of(body)
        self.bodies[digest], self.manifests[digest] = body, None
        self.tags[tag] = self.tags[tag] | {digest}
        status, _, answer = self.ask("PUT", f"manifests/{tag}", body, **{"Content-Type": OCI_IMAGE})
        assert status == 201, answer
        self.manifests[digest], self.tags[tag] = True, {digest}
        self.pushed += 1

    def delete(self, digest: Digest) -> None:
        self.manifests[digest] = None
        mine = [tag for tag in TAGS if digest in self.tags[tag]]
        for tag in mine:
            self.tags[tag] = self.tags[tag] | {None}
        status, _, answer = self.ask("DELETE", f"manifests/{digest}")
        assert status == 202, answer
        self.manifests[digest] = False
        for tag in mine:
            self.tags[tag] = self.tags[tag] - {digest}

    def push_blob(self, data: bytes) -> None:
        status, headers, answer = self.ask("POST", "blobs/uploads/")
        assert status == 202, answer
        self.broken = Broken(headers["Location"], data, 0, was_closing=False)
        half = len(data) // 2 if self.chance.random() < 0.5 else len(data)
        for chunk in (data[:half], data[half:]):
            if chunk:
                status, _, answer = self.ask("PATCH", self.broken.location, chunk)
                assert status == 202, answer
                self.broken.acknowledged += len(chunk)
        self.close(self.broken)

    def close(self, upload: Broken) -> None:
        upload.was_closing = True
        status, _, answer = self.ask("PUT", f"{upload.location}?digest={digest_of(upload.data)}")
        assert status == 201, answer
        self.broken = None

    def resume(self, upload: Broken) -> None:
        """Go on with what was broken off."""
        status, headers, answer = self.ask("GET", upload.location)
        if status == 404:
            assert upload.was_closing, "an upload was forgotten"
            self.broken = None
            return
        assert status == 204, answer
        offset = int(headers["Range"].removeprefix("0-")) + 1
        offset = 0 if offset == 1 and upload.acknowledged == 0 and len(upload.data) > 1 else offset
        assert upload.acknowledged <= offset <= len(upload.data)
        status, _, answer = self.ask("PATCH", upload.location, upload.data[offset:])
        if status == 409:  # for the sake of its writer, who may be alive for all that the registry knows
            assert b"BLOB_UPLOAD_INVALID" in answer
            self.refused += 1
            self.broken = None
            return
        assert status == 202, answer
        upload.acknowledged = len(upload.data)
        self.close(upload)
        self.resumed += 1

    def check(self, *, everything: bool) -> None:
        """See that all is as it was told; what may have been is known afterwards."""
        for tag, possible in self.tags.items():
            status, headers, _ = self.ask("GET", f"manifests/{tag}", Accept=OCI_IMAGE)
            found = Digest(headers["Docker-Content-Digest"]) if status == 200 else None
            assert status in (200, 404)
            assert found in possible, f"{tag} of {self.repository}"
            self.tags[tag] = {found}
        for digest, is_there in self.manifests.items():
            if is_there is None or everything:
                status, _, body = self.ask("GET", f"manifests/{digest}", Accept=OCI_IMAGE)
                assert status == 200 if is_there else status == 404 if is_there is False else status in (200, 404)
                self.manifests[digest] = status == 200
                assert status == 404 or body == self.bodies[digest]
        current = {digest for possible in self.tags.values() for digest in possible if digest}
        for digest in self.present() if everything else current - self.checked:
            for blob in parts(self.bodies[digest]):
                status, _, data = self.ask("GET", f"blobs/{blob}")
                assert (status, f"sha256:{hashlib.sha256(data).hexdigest()}") == (200, blob)
            self.checked.add(digest)

    def present(self) -> list[Digest]:
        """The manifests that are there."""
        return [digest for digest, is_there in self.manifests.items() if is_there]


def parts(manifest: bytes) -> list[str]:
    """The blobs that a manifest names."""
    body = json.loads(manifest)
    return [each["digest"] for each in (body["config"], *body["layers"])]


def live_through(registry: Process, kills: Sequence[str], seed: int) -> list[Client]:
    """Kill the registry in the midst of work, once for each of `kills`."""
    chance = random.Random(seed)
    clients = [Client(registry, f"kills/{number}", random.Random(seed + number)) for number in range(3)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for victim in kills:
            stop = Event()
            enough = sum(client.asked for client in clients) + chance.randint(8, 28)
            working = [pool.submit(client.work, stop) for client in clients]
            while sum(client.asked for client in clients) < enough and not all(each.done() for each in working):
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.03))
            if victim == "all":
                registry.kill()
                stop.set()
                registry.start()
            else:
                registry.kill_workers()
                stop.set()
            for each in working:
                each.result()
            list(pool.map(lambda client: client.check(everything=False), clients))
    assert sum(client.pushed for client in clients) >= len(kills) // 2
    assert sum(client.resumed + client.refused for client in clients) > 0
    assert "Traceback" not in registry.log()
    return clients


def collect(database_url: str, storage: Storage) -> None:
    """Collect garbage, now and days later."""
    database, now = Database(database_url), datetime.now(UTC)
    for days in (2, 4, 6):
        moment = now + timedelta(days=days)
        collector = Collector(database, storage, lambda moment=moment: moment)  # type: ignore[misc]
        collector.collect(grace=timedelta(days=1), upload_grace=timedelta(days=1))
    database.dispose()


def check_garbage(registry: Process, clients: list[Client], database_url: str, storage: Storage) -> None:
    """See that the collector takes remains, and nothing else."""
    collect(database_url, storage)
    needed = {blob for client in clients for digest in client.present() for blob in parts(client.bodies[digest])}
    assert {f"sha256:{sha256}" for sha256, _ in storage.contents()} == needed
    assert list(storage.uploads()) == []
    for client in clients:
        client.check(everything=True)


def test_what_was_acknowledged_survives_twenty_kills(tmp_path: Path) -> None:
    registry = Process(tmp_path, WORKERS="2", THREADS="4")
    registry.start()
    try:
        kills = random.Random(20).sample(["all"] * 2 + ["workers"] * 18, 20)
        clients = live_through(registry, kills, seed=1)
        url = f"sqlite:///{tmp_path}/registry.db"
        storage = open_storage(Settings(database_url=url, content_folder=tmp_path / "content"))
        check_garbage(registry, clients, url, storage)
    finally:
        registry.kill()


@pytest.mark.client("postgresql")
def test_what_was_acknowledged_survives_kills_over_postgresql_and_an_object_store(
    tmp_path: Path, postgresql_server: Server
) -> None:
    with s3() as bucket, postgresql_server.database() as url:
        seen = bucket.settings("registry")
        secrets = tmp_path / "secrets"
        secrets.write_text("".join(f"{name} = {value}\n" for name, value in bucket.secrets.items()))
        secrets.chmod(0o600)
        registry = Process(
            tmp_path,
            CONTENT_FOLDER=None,
            DATABASE_URL=url,
            STORAGE_URL=seen["storage_url"],
            STORAGE_OPTIONS=",".join(seen["storage_options"]),
            STORAGE_SECRETS=str(secrets),
            STORAGE_REDIRECT="false",
            WORKERS="2",
        )
        registry.start()
        try:
            clients = live_through(registry, ["workers", "all", "workers", "workers", "workers"], seed=2)
            storage = open_storage(Settings(database_url=url, storage_secrets=secrets, **seen))
            check_garbage(registry, clients, url, storage)
        finally:
            registry.kill()
