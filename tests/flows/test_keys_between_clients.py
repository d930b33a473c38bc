# SPDX-License-Identifier: Apache-2.0
"""Keys of `troth` in the hands of the Go clients, and back: exported, rotated, shared in one folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from flows.clients import PASSPHRASE, Client, Docker, Troth, notary
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


def test_an_exported_key_is_imported_by_every_client(docker: Docker, troth: Troth, stack: Stack) -> None:
    troth("key", "generate", "carol")
    (held,) = json.loads(troth("key", "list", "--json"))
    troth("key", "export", held["id"][:12], "--output", "carol.pem")
    pem = docker.home / "carol.pem"
    assert pem.stat().st_mode & 0o777 == 0o600

    other = Docker(docker.program, docker.home / "other", docker.environment["DOCKER_HOST"])
    other("trust", "key", "load", "--name", "carol", pem)
    assert (other.home / f".docker/trust/private/{held['id']}.key").exists()
    go = notary(stack, docker.home / "go", stack.registry_url)
    go("key", "import", pem)
    assert held["id"] in go("key", "list")

    (docker.home / ".docker/trust/private" / f"{held['id']}.key").unlink()
    troth("key", "load", "carol.pem")
    assert held["id"] in troth("key", "list")


def test_after_every_rotation_docker_goes_on(docker: Docker, troth: Troth, make_image: MakeImage, name: str) -> None:
    push(docker, make_image, f"{name}:1", "rotated")
    troth("sign", "--no-signer", f"{name}:1")
    docker.trusting("pull", f"{name}:1")
    for arguments in (["targets"], ["snapshot"], ["snapshot", "--server"], ["timestamp", "--server"], ["root"]):
        troth("rotate", name, *arguments)
        assert "Status: " in docker.trusting("pull", f"{name}:1")
    make_image(f"{name}:2", "after")
    docker.trusting("push", f"{name}:2")
    assert troth("verify", f"{name}:2").startswith("sha256:")


@pytest.mark.client("notary")
def test_notary_goes_on_with_what_troth_began(
    docker: Docker, troth: Troth, make_image: MakeImage, name: str, stack: Stack
) -> None:
    digest = push(docker, make_image, f"{name}:1", "notary's")
    troth("sign", "--no-signer", f"{name}:1")
    passphrases = {f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")}
    go = notary(stack, docker.home, stack.registry_url)
    shared = Client(
        go.program,
        docker.home,
        ["-s", stack.registry_url, "--tlscacert", str(stack.ca), "-d", str(docker.home / ".docker/trust")],
        go.environment | passphrases,
    )
    assert digest.removeprefix("sha256:") in shared("list", name)
    shared("addhash", name, "2", "528", "--sha256", digest.removeprefix("sha256:"))
    shared("publish", name)
    shared("key", "rotate", name, "snapshot")
    assert troth("verify", f"{name}:2").strip() == digest
    troth("refresh", "--within", "4000", name)
    assert digest.removeprefix("sha256:") in shared("list", name)
