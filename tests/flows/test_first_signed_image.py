# SPDX-License-Identifier: Apache-2.0
"""The story of a first signed image, told by a real engine and every docker CLI of this machine.

Each test begins with a repository of its own; the CLI's home is fresh, so trust begins anew as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.clients import Docker
from flows.stack import Stack

pytestmark = pytest.mark.client("docker.io")

REFUSED = re.compile("denied|unauthorized|authentication required|not authorized")

MakeImage = Callable[[str, str], None]


@pytest.fixture
def name(stack: Stack, request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses, with the registry's host."""
    return f"{stack.registry}/library/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


def log_in(docker: Docker, stack: Stack) -> None:
    docker("login", stack.registry, "--username", "admin", "--password-stdin", text=stack.password)


def push(docker: Docker, make_image: MakeImage, image: str, seed: str) -> str:
    """Push a new image without signing it, and return its digest."""
    make_image(image, seed)
    pushed = re.search(r"digest: (sha256:[0-9a-f]{64}) size", docker("push", image))
    assert pushed
    return pushed[1]


def add_signer(docker: Docker, name: str) -> None:
    docker("trust", "key", "generate", "alice")
    docker("trust", "signer", "add", "--key", docker.home / "alice.pub", "alice", name)


def assert_not_signed(said: str) -> None:
    assert "not signed" in said.lower()
    assert "docker trust sign" in said  # what would help


def assert_moved(said: str, signed: str, now: str) -> None:
    assert f"was signed as {signed}, and the tag now stands for {now}" in said
    assert "docker trust sign" in said


def test_the_story(docker: Docker, make_image: MakeImage, stack: Stack, name: str) -> None:
    image = f"{name}:1"
    log_in(docker, stack)
    digest = push(docker, make_image, image, "first")

    docker("image", "rm", image)
    assert_not_signed(docker.refused("pull", image))
    assert_not_signed(docker.refused("pull", f"{name}@{digest}"))
    docker.trusting.refused("pull", image)

    # Signing needs the image; it was made here.
    make_image(image, "first")
    add_signer(docker, name)
    assert_not_signed(docker.refused("pull", image))  # a signer alone signs nothing
    assert f"Successfully signed {image}" in docker("trust", "sign", image)
    shown = docker("trust", "inspect", "--pretty", name)
    assert re.search(rf"^1 +{digest.removeprefix('sha256:')} +alice$", shown, re.MULTILINE), shown
    assert re.search(r"^alice +[0-9a-f]{12}$", shown, re.MULTILINE), shown

    for client in (docker, docker.trusting):
        client("image", "rm", image)
        assert digest in client("pull", image)
        client("pull", f"{name}@{digest}")

    # Another image is pushed over the tag: the tag is refused, the signed digest is not.
    other = push(docker, make_image, image, "second")
    assert other != digest
    assert_moved(docker.refused("pull", image), digest, other)
    assert f"{other} is not signed" in docker.refused("pull", f"{name}@{other}")
    docker("pull", f"{name}@{digest}")
    # A client that verifies by itself asks for the signed digest, and gets it.
    assert digest in docker.trusting("pull", image)

    assert f"Successfully deleted signature for {image}" in docker("trust", "revoke", image)
    # By tag alone: an engine that has had a manifest never asks for its digest again.
    assert_not_signed(docker.refused("pull", image))
    assert "No valid trust data for 1" in docker.trusting.refused("pull", image)


def test_a_trusting_push_signs(docker: Docker, make_image: MakeImage, stack: Stack, name: str) -> None:
    log_in(docker, stack)
    make_image(f"{name}:1", "pushed with trust")
    said = docker.trusting("push", f"{name}:1")
    assert "Successfully signed" in said
    docker("image", "rm", f"{name}:1")
    docker("pull", f"{name}:1")
    assert "(Repo Admin)" in docker("trust", "inspect", "--pretty", name)


def test_another_tag_of_a_signed_image_is_refused(
    docker: Docker, make_image: MakeImage, stack: Stack, name: str
) -> None:
    log_in(docker, stack)
    make_image(f"{name}:1", "same")
    docker.trusting("push", f"{name}:1")
    digest = push(docker, make_image, f"{name}:2", "same")
    assert_not_signed(docker.refused("pull", f"{name}:2"))
    docker("pull", f"{name}@{digest}")


def test_a_signer_who_lost_the_role_no_longer_opens(
    docker: Docker, make_image: MakeImage, stack: Stack, name: str
) -> None:
    log_in(docker, stack)
    make_image(f"{name}:1", "alice's")
    add_signer(docker, name)
    docker("trust", "sign", f"{name}:1")
    docker("pull", f"{name}:1")
    if docker.program != "/usr/bin/docker":
        return  # `signer remove` of the CLI 28 does nothing and says so to nobody
    docker("trust", "signer", "remove", "--force", "alice", name, text="y\n")
    # No signature of targets/releases is good any longer: that cannot be told from tampering, and docker keeps the
    # reasons of a 503 to itself.
    assert "503" in docker.refused("pull", f"{name}:1")


def test_a_wrong_password_does_not_log_in(docker: Docker, stack: Stack) -> None:
    said = docker.refused("login", stack.registry, "--username", "admin", "--password-stdin", text="wrong password")
    assert "unauthorized" in said


def test_without_a_login_nothing_is_pushed_or_signed(
    docker: Docker, make_image: MakeImage, stack: Stack, name: str, tmp_path: Path
) -> None:
    make_image(f"{name}:1", "stranger's")
    assert REFUSED.search(docker.refused("push", f"{name}:1"))
    log_in(docker, stack)
    docker.trusting("push", f"{name}:1")
    docker("logout", stack.registry)
    assert REFUSED.search(docker.refused("trust", "revoke", f"{name}:1"))
    log_in(docker, stack)
    docker("pull", f"{name}:1")
