# SPDX-License-Identifier: Apache-2.0
"""`troth admin` with what a real `docker login` leaves behind, against a real `troth up`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

import pytest

from flows.clients import Docker, Troth
from flows.stack import Stack

pytestmark = pytest.mark.client("docker.io")


def test_who_has_logged_in_with_docker_manages_the_registry(
    docker: Docker, make_image: Callable[[str, str], None], stack: Stack
) -> None:
    docker("login", stack.registry, "--username", "admin", "--password-stdin", text=stack.password)
    authorities = docker.home / ".docker/tls" / stack.registry
    authorities.mkdir(parents=True)
    (authorities / "ca.crt").write_bytes(stack.ca.read_bytes())
    troth = Troth(docker.home, docker.environment | {"TROTH_SITE": stack.registry})
    assert "identitytoken" in (docker.home / ".docker/config.json").read_text()  # docker keeps no password here

    name = f"user{secrets.token_hex(4)}"
    repository = f"{name}/app"
    troth("admin", "user", "add", name, text="correct horse\n")
    image = f"{stack.registry}/{repository}:1"
    make_image(image, name)
    docker("push", image)
    assert json.loads(troth("admin", "repo", "tags", repository, "--json"))["tags"][0]["signed"] is False
    assert "refused, 403 UNSIGNED" in troth.refused("admin", "explain", image)
    troth("admin", "policy", "set", f"{name}/", "--mode", "permissive")
    docker("pull", image)
    assert "served, 200 UNSIGNED" in troth("admin", "explain", image)

    # The namespace's owner may ask for more than the administrator, and for no less.
    docker("login", stack.registry, "--username", name, "--password-stdin", text="correct horse")
    assert "asked for mode disabled, demanded is mode permissive" in troth.refused(
        "admin", "policy", "set", repository, "--mode", "disabled"
    )
    troth("admin", "policy", "set", repository, "--mode", "enforced")
    assert "refused, 403 UNSIGNED" in troth.refused("admin", "explain", image)

    docker("login", stack.registry, "--username", "admin", "--password-stdin", text=stack.password)
    troth("admin", "user", "disable", name)
    docker.refused("login", stack.registry, "--username", name, "--password-stdin", text="correct horse")
    troth("admin", "policy", "reset", f"{name}/")
    troth("admin", "repo", "remove", repository)
    assert f"{name}/" in troth("admin", "audit", "--name", f"{name}/")
