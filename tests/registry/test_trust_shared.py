# SPDX-License-Identifier: Apache-2.0
"""Pulls that share a question to the notary server, and what each of them knew when it came."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

from registry.policies import Mode, Policy
from registry.trustcache import DatabaseCache
from registry.trustdata import TrustData
from trust.collection import Collection
from trust.errors import RollbackError
from trust.names import TIMESTAMP, Gun
from trust.web.database import Database
from world import APP, HOST, World

GUN = Gun(f"{HOST}/{APP}")
POLICY = Policy(Mode.ENFORCED)


class Held:
    """A source that gives timestamps only when it is let."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.timestamps = 0
        self.replayed: bytes | None = None
        self.arrived = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        if name != TIMESTAMP:
            return self.world.source.fetch(gun, name, limit)
        self.timestamps += 1
        self.arrived.release()
        assert self.let.acquire(timeout=10)
        return self.replayed or self.world.source.fetch(gun, name, limit)


class Registry:
    """The part of a registry that reads trust data, and requests to it."""

    def __init__(self, world: World) -> None:
        self.source = Held(world)
        self.database = Database(world.settings.database_url)
        self.cache = DatabaseCache(self.database)
        self.trust_data = TrustData(
            self.source, self.cache, clock=lambda: world.now, renew=self.database.readings.renew
        )
        self._app = Flask(__name__)

    def pull(self) -> Collection:
        with self._app.test_request_context():
            self.cache.load(GUN, TIMESTAMP)  # what it knows when it comes
            return self.trust_data.of(GUN, POLICY)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site with one signed image, which was pulled once."""
    world = World(tmp_path)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert world.manifest(APP, "1").status_code == 200
    return world


def begin(pool: ThreadPoolExecutor, registry: Registry, count: int) -> list[Future[Collection]]:
    """So many pulls that wait by the time that this returns."""
    futures = [pool.submit(registry.pull) for _ in range(count)]
    time.sleep(0.3)
    assert not any(each.done() for each in futures)
    return futures


def test_pulls_that_come_while_a_question_is_under_way_share_the_next(world: World) -> None:
    registry = Registry(world)
    with ThreadPoolExecutor(8) as pool:
        (first,) = begin(pool, registry, 1)
        late = begin(pool, registry, 6)
        assert registry.source.timestamps == 1
        registry.source.let.release(2)
        collections = [each.result(10) for each in (first, *late)]
    assert registry.source.timestamps == 2
    assert all(each.lookup("1") for each in collections)
    registry.database.dispose()


def test_a_replay_is_seen_through_by_what_was_known_when_the_last_of_them_came(world: World) -> None:
    registry = Registry(world)
    registry.source.let.release()
    registry.pull()
    assert registry.source.arrived.acquire(timeout=10)
    old = world.source.fetch(GUN, TIMESTAMP, 1 << 20)
    with ThreadPoolExecutor(8) as pool:
        (first,) = begin(pool, registry, 1)
        late = begin(pool, registry, 1)  # it will ask, and knows of nothing newer
        world.revoke(APP, "1")
        assert world.manifest(APP, "1").status_code == 403  # another replica sees it
        late += begin(pool, registry, 2)
        registry.source.replayed = old
        registry.source.let.release(20)
        assert first.result(10).lookup("1")
        for each in late:
            with pytest.raises(RollbackError):
                each.result(10)
    registry.database.dispose()
