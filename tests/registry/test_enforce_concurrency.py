# SPDX-License-Identifier: Apache-2.0
"""Pulls while somebody publishes: what was revoked is never served again, and what is signed is always served."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from world import APP, World

SECONDS = 2.5
THREADS = 8


class Revocations:
    """When the tag is, for sure, not signed: from the answer to a revocation until the next publish begins.

    A pull that began and ended within one such spell must have been refused.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spell = 0
        self._revoked = False

    def begin(self) -> None:
        """The revocation was acknowledged."""
        with self._lock:
            self._spell, self._revoked = self._spell + 1, True

    def end(self) -> None:
        """The next publish begins."""
        with self._lock:
            self._revoked = False

    def now(self) -> int | None:
        """The spell that it is now, if it is one."""
        with self._lock:
            return self._spell if self._revoked else None


@pytest.mark.parametrize("registries", [1, 2])
def test_what_was_revoked_is_never_served_again_however_many_pull(tmp_path: Path, registries: int) -> None:
    """E39: also where two registries, each with a memory of its own, share a database."""
    world = World(tmp_path)
    first, second = world.push_image(APP, "1", seed="first"), world.push_image(APP, "2", seed="second")
    world.publish(APP, {"1": first, "2": second})
    apps = [world.app]
    for _ in range(registries - 1):
        world.restart()
        apps.append(world.app)
    revocations = Revocations()
    done = threading.Event()
    seen: Counter[tuple[str, int]] = Counter()
    broken: list[str] = []

    def pull(number: int) -> None:
        app, token = apps[number % len(apps)], world.token()
        client = app.test_client(use_cookies=False)
        while not done.is_set():
            for path in (f"manifests/{first}", "manifests/1", f"blobs/{world.blobs(first)[1]}", "manifests/2"):
                before = revocations.now()
                answer = client.get(f"/v2/{APP}/{path}", headers=token, buffered=True)
                after = revocations.now()
                what = "2" if path == "manifests/2" else "1"
                seen[what, answer.status_code] += 1
                if what == "1" and before is not None and before == after and answer.status_code == 200:
                    broken.append(f"{path} was served after its revocation")
                if answer.status_code not in ((200, 403) if what == "1" else (200,)):
                    broken.append(f"{path}: {answer.status_code} {answer.text}")

    def publish() -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            world.revoke(APP, "1")
            revocations.begin()
            time.sleep(0.05)
            revocations.end()
            world.publish(APP, {"1": first})
            time.sleep(0.05)  # to be pulled

    with ThreadPoolExecutor(THREADS + 1) as pool:
        pulls = [pool.submit(pull, number) for number in range(THREADS)]
        _finish(publish, done)
        for each in pulls:
            each.result()
    assert broken == []
    assert seen["1", 200] > 0
    assert seen["1", 403] > 0
    assert seen["2", 200] > 0


def test_e39_a_publish_or_a_policy_counts_for_every_replica_from_its_next_request(tmp_path: Path) -> None:
    """E39: two seconds are allowed, and none is needed, since nothing is believed for a while."""
    world = World(tmp_path)
    image = world.push_image(APP, "1")
    replicas = [world.app]
    world.restart()
    replicas.append(world.app)

    def statuses() -> list[int]:
        path, headers = f"/v2/{APP}/manifests/1", world.token()
        return [app.test_client().get(path, headers=headers).status_code for app in replicas]

    assert statuses() == [403, 403]
    for _ in range(2):
        world.publish(APP, {"1": image})
        assert statuses() == [200, 200]
        world.revoke(APP, "1")
        assert statuses() == [403, 403]
    for scope in ("library/", APP):
        assert world.command("policy", scope, "--mode", "permissive") == 0
        assert statuses() == [200, 200]
        assert world.command("policy", scope, "--mode", "enforced") == 0
        assert statuses() == [403, 403]
    world.publish(APP, {"1": image})
    assert world.command("policy", "library/", "--pin", "0" * 64) == 0
    assert statuses() == [503, 503]


def _finish(work: Callable[[], None], done: threading.Event) -> None:
    try:
        work()
    finally:
        done.set()
