# SPDX-License-Identifier: Apache-2.0
"""A machine's access token and a public repository, with a real engine and its docker CLI."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from flows.clients import Docker
from flows.stack import Stack

pytestmark = pytest.mark.client("docker.io")

MakeImage = Callable[[str, str], None]


class Caller:
    """Somebody who calls the API of a stack."""

    def __init__(self, stack: Stack, user: str, password: str) -> None:
        self._url = f"{stack.registry_url}/api/v1"
        self._context = ssl.create_default_context(cafile=str(stack.ca))
        self._login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def __call__(self, method: str, path: str, **body: str) -> dict[str, Any]:
        """Call, and return the body of the answer, which must be one of success."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": self._login, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=self._context) as answer:
            told = answer.read()
        parsed: dict[str, Any] = json.loads(told) if told else {}
        return parsed


def test_a_machine_pushes_and_signs_with_a_token_everybody_pulls_and_the_revoked_token_is_over(
    docker: Docker, make_image: MakeImage, stack: Stack
) -> None:
    """AUTH-A06"""
    admin, name, password = Caller(stack, "admin", stack.password), f"robot{secrets.token_hex(4)}", "correct horse"
    admin("POST", "/users", name=name, password=password)
    robot = Caller(stack, name, password)
    repository = f"machines/{name}"
    admin("PUT", "/grants", place=repository, kind="user", name=name, level="read-write")
    secret = robot("POST", "/tokens", description="the build", scope="read-write")["secret"]
    docker("login", stack.registry, "--username", name, "--password-stdin", text=secret)

    image, other = f"{stack.registry}/{repository}:1", f"{stack.registry}/machines/other:1"
    make_image(image, "public")
    docker.trusting("push", image)
    make_image(other, "other")
    assert "requested access to the resource is denied" in docker.refused("push", other)

    docker("logout", stack.registry)
    docker.refused("pull", image)
    admin("PATCH", f"/repositories/{repository}", visibility="public")
    docker("pull", image)
    docker.trusting("pull", image)  # the signatures are public, too
    docker.refused("push", image)

    admin("PATCH", f"/repositories/{repository}", visibility="private")
    docker.refused("pull", image)
    (token,) = robot("GET", "/tokens")["tokens"]
    assert token["last_used"]
    robot("DELETE", f"/tokens/{token['id']}")
    docker.refused("login", stack.registry, "--username", name, "--password-stdin", text=secret)
