# SPDX-License-Identifier: Apache-2.0
"""Pushers, pullers and deleters against a registry of several processes, while garbage is collected again and
again, by another process, as `troth-registry gc` does it.

The option `--load-seconds=60` keeps each kind of database busy for a minute.

The shortest grace period is an hour.  So before each run the clock of everything that is recorded is set back: what
was marked, brought or touched, was so two hours ago.  That is harsher than time itself, for it also happens to pushes
that are under way; they lose blobs that no manifest names yet, are told so, and push again.  What is never lost is an
image whose push was acknowledged, until its deletion begins.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from pushes import digest_of, image_manifest
from registry.jobs.garbage import MIN_GRACE, Collector
from registry.manifests import OCI_IMAGE
from registry.models import BlobRow, RepositoryBlobRow
from registry.storage.file import FileStorage
from registryprocess import Process
from trust.names import Digest
from trust.web.database import Database

REPOSITORIES = ("library/one", "library/two", "library/three")
#: The layers of all images: so few that the same content comes again and again, so many that some are always unused.
LAYERS = {digest_of(data): data for data in (random.Random(seed).randbytes(20_000) for seed in range(40))}
CONFIG = b"{}"
CONTENT = LAYERS | {digest_of(CONFIG): CONFIG}
#: Pushers wait where so many images are there, deleters where so few are.
MOST, FEWEST = 12, 4
#: Seconds from one run of the collector to the next; without, hardly a push would ever be through in two hours.
PAUSE = 0.3


@dataclass(frozen=True)
class Image:
    """An image whose push was acknowledged; `busy` is held by whoever pulls or deletes it."""

    repository: str
    tag: str
    manifest: bytes
    busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def blobs(self) -> list[Digest]:
        body = json.loads(self.manifest)
        return [Digest(each["digest"]) for each in (body["config"], *body["layers"])]


class Client:
    """One thread's connection to the registry."""

    def __init__(self, process: Process) -> None:
        self._connection = process.connect()

    def __call__(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/octet-stream"
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._connection.request(method, path, body, {"Content-Type": kind})
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def push_blob(self, repository: str, data: bytes, source: str | None) -> str:
        """Push a blob as clients do: not if it is there, and by a mount if it is in `source`; returns which."""
        digest = digest_of(data)
        if self("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return "found"
        wanted = f"?mount={digest}&from={source}" if source else ""
        status, headers, body = self("POST", f"/v2/{repository}/blobs/uploads/{wanted}")
        if status == 201:
            return "mounted"
        assert status == 202, body
        status, _, body = self("PUT", f"{headers['Location']}?digest={digest}", data)
        # The other answer: two hours went by while it was stored.  The push of the manifest will tell, too.
        assert status == 201 or (status == 503 and b"was removed while it was being stored" in body), body
        return "sent" if status == 201 else "sent in vain"

    def pull(self, image: Image) -> None:
        """Pull an image that must be there, and check every byte."""
        status, headers, body = self("GET", f"/v2/{image.repository}/manifests/{image.tag}")
        assert (status, body) == (200, image.manifest), body
        assert headers["Docker-Content-Digest"] == digest_of(body)
        for digest in image.blobs:
            status, _, body = self("GET", f"/v2/{image.repository}/blobs/{digest}")
            assert (status, digest_of(body)) == (200, digest), body


class Load:
    """What goes on."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.storage = FileStorage(process.folder / "content")
        self.images: list[Image] = []
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self._lock = threading.Lock()

    @property
    def wanting(self) -> list[str]:
        """What has not happened yet, and must for the test to say anything."""
        return [
            each
            for each in ("pulled", "deleted", "links", "contents", "sent", "mounted", "found")
            if not self.counts[each]
        ]

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    @contextmanager
    def some_image(self, chance: random.Random) -> Iterator[Image | None]:
        """An image that nobody else has at this moment."""
        with self._lock:
            free = [image for image in self.images if not image.busy.locked()]
            image = chance.choice(free) if free else None
            if image:
                image.busy.acquire()
        try:
            yield image
        finally:
            if image:
                image.busy.release()

    def push(self, client: Client, chance: random.Random) -> None:
        """Push an image of layers that others have, too, until it is taken."""
        if len(self.images) >= MOST:
            return time.sleep(0.01)
        repository = chance.choice(REPOSITORIES)
        layers, tag = chance.sample(list(LAYERS.values()), 2), f"t{chance.getrandbits(60)}"
        manifest = image_manifest(CONFIG, layers, annotations={"tag": tag})
        while True:
            for data in (CONFIG, *layers):
                self.count(client.push_blob(repository, data, chance.choice([None, *REPOSITORIES])))
            status, _, body = client("PUT", f"/v2/{repository}/manifests/{tag}", manifest, OCI_IMAGE)
            if status == 201:
                break
            assert b"MANIFEST_BLOB_UNKNOWN" in body, (status, body)
            self.count("pushed again")
        with self._lock:
            self.images.append(Image(repository, tag, manifest))
        self.count("pushed")

    def pull(self, client: Client, chance: random.Random) -> None:
        """Pull an image, and ask for any blob, which is there as it should be or not at all."""
        with self.some_image(chance) as image:
            if image:
                client.pull(image)
                self.count("pulled")
        digest = chance.choice(list(CONTENT))
        status, _, body = client("GET", f"/v2/{chance.choice(REPOSITORIES)}/blobs/{digest}")
        assert status == 404 or (status, digest_of(body)) == (200, digest), (status, body)

    def delete(self, client: Client, chance: random.Random) -> None:
        """Delete an image."""
        if len(self.images) <= FEWEST:
            return time.sleep(0.01)
        with self.some_image(chance) as image:
            if image:
                with self._lock:
                    self.images.remove(image)
                self.remove(client, image)

    def remove(self, client: Client, image: Image) -> None:
        """Delete an image that nobody looks for any more."""
        status, _, body = client("DELETE", f"/v2/{image.repository}/manifests/{digest_of(image.manifest)}")
        assert status == 202, body
        self.count("deleted")

    def collect(self, database: Database) -> None:
        """Let two hours go by, and collect the garbage."""
        past = datetime.now(UTC) - timedelta(hours=2)

        def set_back(session: Session) -> None:
            session.execute(
                update(RepositoryBlobRow).where(RepositoryBlobRow.unused.is_not(None)).values(unused=past)
            )
            session.execute(update(BlobRow).values(touched=past, created=past))

        # It touches every row, so MariaDB may well break it off in favour of a push.
        database.transact(set_back)
        collector = Collector(database, self.storage, lambda: datetime.now(UTC))
        report = collector.collect(grace=MIN_GRACE, upload_grace=MIN_GRACE)
        with self._lock:
            self.counts.update({"runs": 1, "links": report.links, "contents": report.contents})

    def keep_on(self, act: Callable[[Client, random.Random], None], number: int) -> None:
        """Do something until it is over; when it fails, it is over for all."""
        chance = random.Random(number)
        try:
            with closing(Client(self.process)) as client:
                while not self.over.wait(0.005):  # what else runs on this machine, and the collector, get a turn
                    act(client, chance)
        finally:
            self.over.set()


def test_no_digest_is_wrong_or_lost_while_garbage_is_collected_under_load(
    database_url: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    seconds: float = pytestconfig.getoption("--load-seconds")
    process = Process(tmp_path, DATABASE_URL=database_url, WORKERS="2")
    process.start()
    database = Database(database_url)
    load = Load(process)
    try:
        with ThreadPoolExecutor(5) as threads:
            acts = [load.push, load.push, load.pull, load.pull, load.delete]
            work = [threads.submit(load.keep_on, act, number) for number, act in enumerate(acts)]
            deadline, latest = time.monotonic() + seconds, time.monotonic() + seconds + 20
            try:
                # Beside other tests that may not have been time enough for everything to happen.
                while not load.over.wait(PAUSE) and time.monotonic() < (latest if load.wanting else deadline):
                    load.collect(database)
            finally:
                load.over.set()
            for each in work:
                each.result()
        counts, wanting = dict(load.counts), load.wanting
        with closing(Client(process)) as client:
            for image in load.images:
                client.pull(image)
            for image in load.images:
                load.remove(client, image)
        load.collect(database)  # marks what is left
        load.collect(database)
        assert list(load.storage.contents()) == []
    finally:
        database.dispose()
        process.kill()
    print(counts)  # shown with -rP
    assert not wanting, counts
