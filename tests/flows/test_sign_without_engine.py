# SPDX-License-Identifier: Apache-2.0
"""`troth` and the Go clients in turn, with one key folder: each reads and goes on with what the other has signed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from flows.clients import Docker, Troth
from flows.stack import Stack

pytestmark = pytest.mark.client("docker.io")

MakeImage = Callable[[str, str], None]


@pytest.fixture
def name(stack: Stack, request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses, with the registry's host."""
    return f"{stack.registry}/library/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


@pytest.fixture
def troth(docker: Docker, stack: Stack) -> Troth:
    """`troth` of the same user as `docker`, who is logged in."""
    docker("login", stack.registry, "--username", "admin", "--password-stdin", text=stack.password)
    authorities = docker.home / ".docker/tls" / stack.registry
    authorities.mkdir(parents=True)
    (authorities / "ca.crt").write_bytes(stack.ca.read_bytes())
    return Troth(docker.home, docker.environment)


def push(docker: Docker, make_image: MakeImage, image: str, seed: str) -> str:
    """Push a new image without signing it, and return its digest."""
    make_image(image, seed)
    pushed = re.search(r"digest: (sha256:[0-9a-f]{64}) size", docker("push", image))
    assert pushed
    docker("image", "rm", image)
    return pushed[1]


def test_docker_goes_on_with_what_troth_began(docker: Docker, troth: Troth, make_image: MakeImage, name: str) -> None:
    first = push(docker, make_image, f"{name}:1", "first")
    second = push(docker, make_image, f"{name}:2", "second")
    assert troth.status("verify", f"{name}:1") == 1
    said = troth("sign", "--signer", "alice", f"{name}:1", f"{name}:2")
    assert f"Successfully signed {name}:1 {first}" in said
    assert troth("verify", f"{name}:1").strip() == first

    for client in (docker, docker.trusting):
        assert first in client("pull", f"{name}:1")
    shown = docker("trust", "inspect", "--pretty", name)
    assert re.search(rf"^1 +{first.removeprefix('sha256:')} +alice$", shown, re.MULTILINE), shown

    # The keys that troth made sign in docker's hands.
    third = push(docker, make_image, f"{name}:3", "third")
    make_image(f"{name}:3", "third")
    assert f"Successfully signed {name}:3" in docker("trust", "sign", f"{name}:3")
    facts = json.loads(troth("inspect", "--json", name))
    assert {(entry["tag"], entry["digest"]) for entry in facts["tags"]} == {("1", first), ("2", second), ("3", third)}
    assert {tuple(entry["signers"]) for entry in facts["tags"]} == {("alice",)}
    inspected = json.loads(docker("trust", "inspect", name))
    assert [key["ID"] for key in inspected[0]["Signers"][0]["Keys"]] == facts["signers"]["alice"]

    assert f"Successfully deleted signature for {name}:3" in docker("trust", "revoke", f"{name}:3")
    assert troth.status("verify", f"{name}:3") == 1


def test_troth_goes_on_with_what_docker_began(docker: Docker, troth: Troth, make_image: MakeImage, name: str) -> None:
    docker("trust", "key", "generate", "alice")
    docker("trust", "signer", "add", "--key", docker.home / "alice.pub", "alice", name)
    digest = push(docker, make_image, f"{name}:1", "docker's")
    troth("sign", f"{name}:1")
    assert digest in docker.trusting("pull", f"{name}:1")
    assert "alice" in docker("trust", "inspect", "--pretty", f"{name}:1")
    assert {key["role"] for key in json.loads(troth("key", "list", "--json"))} == {"root", "targets", "alice"}

    troth("revoke", f"{name}:1")
    assert "No valid trust data for 1" in docker.trusting.refused("pull", f"{name}:1")
    assert "No valid trust data for 1" in troth.refused("revoke", f"{name}:1")


def test_signers_come_and_really_go(docker: Docker, troth: Troth, make_image: MakeImage, name: str) -> None:
    digest = push(docker, make_image, f"{name}:1", "signers")
    for signer in ("alice", "bob"):
        troth("key", "generate", signer)
        troth("signer", "add", "--key", f"{signer}.pub", signer, name)
    troth("sign", f"{name}:1")
    assert "alice, bob" in docker("trust", "inspect", "--pretty", name)
    troth("signer", "remove", "alice", name)
    shown = docker("trust", "inspect", "--pretty", name)
    assert "alice" not in shown
    assert "bob" in shown
    assert digest in docker.trusting("pull", f"{name}:1")
    assert "no signer alice" in troth.refused("signer", "remove", "alice", name)


def test_status_tells_how_long_a_collection_lives(
    docker: Docker, troth: Troth, make_image: MakeImage, name: str
) -> None:
    push(docker, make_image, f"{name}:1", "status")
    troth("sign", "--signer", "alice", f"{name}:1")
    facts = json.loads(troth("status", "--json", name))
    assert {(entry["role"], entry["keyHere"]) for entry in facts} == {
        (role, True) for role in ("root", "targets", "targets/alice", "targets/releases")
    }
    assert "nothing to sign" in troth("refresh", name)
    assert json.loads(troth("refresh", "--json", "--within", "2000", name))[0]["signed"].keys() == {
        "targets", "targets/alice", "targets/releases"
    }  # fmt: skip
    docker.trusting("pull", f"{name}:1")
