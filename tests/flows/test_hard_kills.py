# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of each process in turn, in the middle of a push and of a publish.

What a client was told to be done is still there after the next start, whole; what it was not told is there whole or
not at all, and can be done again.  Killing one of the three services ends `troth up`, which says which it was and
stops the others, and is then started again; so do they all when it is killed.  gunicorn replaces workers by itself.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.clients import Client, Skopeo, notary
from flows.images import Manifest, write_layout
from flows.stack import PROGRAMS, Stack, alive, descendants, wait_until

pytestmark = pytest.mark.client("skopeo", "notary")

UP = "troth up"
REPOSITORY = "kills/app"
SIZE = 50_000_000
QUIET, DISTURBED = Manifest(f"sha256:{0:064x}", 1000), Manifest(f"sha256:{1:064x}", 1001)


@dataclass
class Story:
    """What has been acknowledged so far in the one stack that is killed again and again."""

    stack: Stack
    skopeo: Skopeo
    signer: Client
    published: dict[str, Manifest] = field(default_factory=dict)

    @property
    def gun(self) -> str:
        return f"{self.stack.registry}/{REPOSITORY}"

    def stage(self, tag: str, manifest: Manifest) -> None:
        """Sign a target at the client's, to be published."""
        digest = manifest.digest.removeprefix("sha256:")
        self.signer("addhash", self.gun, tag, str(manifest.size), "--sha256", digest)

    def publish(self, tag: str, manifest: Manifest) -> None:
        """Sign a target, and be told that it is published."""
        self.stage(tag, manifest)
        self.signer("publish", self.gun)
        self.published[tag] = manifest

    def check(self, folder: Path) -> None:
        """See that all that was acknowledged is there, by clients that have seen nothing before."""
        listed = notary(self.stack, folder / "fresh", self.stack.registry_url)("list", self.gun)
        for tag, manifest in self.published.items():
            digest = manifest.digest.removeprefix("sha256:")
            assert re.search(rf"^{tag} +{digest} +{manifest.size} ", listed, re.MULTILINE), f"no {tag} in\n{listed}"
        self.skopeo(*self.skopeo.pull(f"{REPOSITORY}:first", folder / "copy"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A stack with one signed image."""
    folder = tmp_path_factory.mktemp("kills")
    stack = Stack(folder)
    stack.start()
    story = Story(stack, Skopeo(stack, folder / "skopeo"), notary(stack, folder / "signer", stack.registry_url))
    manifest = write_layout(folder / "first", 500_000, "first")
    story.skopeo(*story.skopeo.push(folder / "first", f"{REPOSITORY}:first"))
    story.signer("init", story.gun)
    story.publish("first", manifest)
    yield story
    stack.stop()


def kill(stack: Stack, victim: str) -> None:
    """SIGKILL a process, or all workers of one; then see to it that the stack runs again."""
    if victim.endswith("workers"):
        for worker in descendants(stack.service(victim.split()[0])):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return
    processes = descendants(stack.pid)
    if victim == UP:
        stack.kill()
        stack.start()  # at once: it waits for the remains itself
    else:
        os.kill(stack.service(victim), signal.SIGKILL)
        assert stack.wait() == 1
        assert f"troth: {victim} was killed by SIGKILL" in stack.complaints
        wait_until(lambda: not any(alive(process) for process in processes), "all services have ended", 30)
        stack.start()
    assert not any(alive(process) for process in processes)


def stored(stack: Stack) -> int:
    """How many bytes there are in the content folder."""
    total = 0
    for path in (stack.state / "content").rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


@pytest.mark.parametrize("victim", [*PROGRAMS, UP, "troth-registry workers", "troth-server workers"])
def test_what_was_acknowledged_survives(story: Story, victim: str, tmp_path: Path) -> None:
    name = victim.replace(" ", "-")
    image, quiet, disturbed = f"{name}-image", f"{name}-quiet", f"{name}-disturbed"
    manifest = write_layout(tmp_path / "layout", SIZE, image)
    push = story.skopeo.push(tmp_path / "layout", f"{REPOSITORY}:{image}")

    began = time.monotonic()
    story.publish(quiet, QUIET)
    took = time.monotonic() - began
    story.stage(disturbed, DISTURBED)
    before = stored(story.stack)
    pushing = story.skopeo.begin(*push)
    wait_until(
        lambda: pushing.poll() is not None or stored(story.stack) > before + SIZE // 20, "the push is under way", 30
    )
    publishing = story.signer.begin("publish", story.gun)
    time.sleep(took * 0.7)  # it has read and signed, and is sending
    kill(story.stack, victim)
    pushing.communicate(timeout=60)
    publishing.communicate(timeout=60)
    if publishing.returncode == 0:
        story.published[disturbed] = DISTURBED
    story.check(tmp_path / "after the kill")

    # Half a blob that passed for a whole one would not be sent again, and the copy would fail.
    story.skopeo(*push)
    if publishing.returncode != 0:
        story.signer("publish", story.gun)  # what was staged is still with the client
        story.published[disturbed] = DISTURBED
    story.publish(image, manifest)
    story.check(tmp_path / "after the repetition")
    story.skopeo(*story.skopeo.pull(f"{REPOSITORY}:{image}", tmp_path / "copy"))
