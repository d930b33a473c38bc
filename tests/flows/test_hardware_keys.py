# SPDX-License-Identifier: Apache-2.0
"""A collection whose keys are all on a token, in the eyes of docker and notary."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.clients import Docker, Troth, notary
from flows.stack import Stack
from softhsm import CONFIGURATION, PIN, SoftHsm

pytestmark = pytest.mark.client("docker.io", "notary", "softhsm2")


@pytest.mark.parametrize("docker", ["debian"], indirect=True)
def test_docker_and_notary_believe_what_a_token_has_signed_and_a_root_that_moved_to_another_key(
    docker: Docker,
    stack: Stack,
    softhsm: SoftHsm,
    make_image: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    name, token = f"{stack.registry}/library/hardware", softhsm.token()
    docker("login", stack.registry, "--username", "admin", "--password-stdin", text=stack.password)
    authorities = docker.home / ".docker/tls" / stack.registry
    authorities.mkdir(parents=True)
    (authorities / "ca.crt").write_bytes(stack.ca.read_bytes())
    environment = docker.environment | {CONFIGURATION: str(softhsm.configuration)}
    troth = Troth(docker.home, environment)

    def attach(label: str, name: str, *options: str) -> str:
        said = troth("key", "attach", "--make", token.uri(label), name, *options)
        assert PIN not in said
        return said.split()[1]

    def root() -> list[dict[str, str]]:
        (inspected,) = json.loads(docker("trust", "inspect", name))
        found: list[dict[str, str]] = next(
            keys["Keys"] for keys in inspected["AdministrativeKeys"] if keys["Name"] == "Root"
        )
        return found

    def push(tag: str) -> str:
        make_image(f"{name}:{tag}", tag)
        pushed = re.search(r"digest: (sha256:[0-9a-f]{64}) size", docker("push", f"{name}:{tag}"))
        assert pushed
        docker("image", "rm", f"{name}:{tag}")
        return pushed[1]

    attach("root", "root")
    attach("targets of hardware", "targets", "--gun", name)
    attach("alice", "alice")
    first = push("1")
    troth("sign", "--signer", "alice", f"{name}:1")
    assert not (docker.home / ".docker/trust/private").exists()
    assert first in docker.trusting("pull", f"{name}:1")

    before = root()
    key_id = attach("the next root", "root")
    troth("rotate", name, "root", "--key", key_id, "--server-url", stack.registry_url)
    second = push("2")
    troth("sign", f"{name}:2")
    assert second in docker.trusting("pull", f"{name}:2")  # from the root before it to this one
    assert root() != before
    assert json.loads(troth("inspect", "--json", name))["administrativeKeys"]["root"] == [key_id]

    other = notary(stack, tmp_path / "other home", stack.registry_url)
    listed = other("list", name)
    for tag, digest in (("1", first), ("2", second)):
        assert re.search(rf"^{tag} +{digest.removeprefix('sha256:')} +[0-9]+ +targets/alice$", listed, re.MULTILINE)
    # notary, in docker's folder, does not mind what it does not know.
    assert "No signing keys found" in other("--trustDir", docker.home / ".docker/trust", "key", "list")
