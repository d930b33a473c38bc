# SPDX-License-Identifier: Apache-2.0
"""Debian's notary client, which verifies certificates: at notary-server's own address and at the registry's.

What it asks for and says is in NOTARY_V1 §5.3, §6.5.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.clients import Client, notary
from flows.stack import Stack

pytestmark = pytest.mark.client("notary")


@pytest.fixture(params=["server", "registry"])
def url(request: pytest.FixtureRequest, stack: Stack) -> str:
    """The address that notary is told, each in turn."""
    return {"server": stack.server_url, "registry": stack.registry_url}[request.param]


@pytest.fixture
def client(stack: Stack, url: str, tmp_path: Path) -> Client:
    """The administrator's notary."""
    return notary(stack, tmp_path / "home", url)


@pytest.fixture
def gun(stack: Stack, request: pytest.FixtureRequest) -> str:
    """A trust collection that no other test uses."""
    return f"{stack.registry}/notary/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A file to sign."""
    path = tmp_path / "artifact"
    path.write_bytes(b"something to sign\n")
    return path


def begin(client: Client, gun: str, artifact: Path) -> None:
    client("init", gun)
    client("add", gun, "v1", artifact)
    client("publish", gun)


def reader(client: Client, stack: Stack, url: str, tmp_path: Path) -> Client:
    """The same user on another machine, who has seen nothing yet."""
    return notary(stack, tmp_path / "other home", url)


def test_what_is_published_is_listed_by_another(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path
) -> None:
    begin(client, gun, artifact)
    data = artifact.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    other = reader(client, stack, url, tmp_path)
    assert re.search(rf"^v1 +{digest} +{len(data)} +targets$", other("list", gun), re.MULTILINE)
    assert f"v1 sha256:{digest} {len(data)}" in other("lookup", gun, "v1")
    other("verify", gun, "v1", "--input", artifact)
    client("remove", gun, "v1")
    client("publish", gun)
    assert "No targets present" in other("list", gun)


def test_a_delegated_role_signs_for_its_paths(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path
) -> None:
    begin(client, gun, artifact)
    key, certificate = tmp_path / "releases.key", tmp_path / "releases.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "30", "-subj", "/CN=releases"],
        check=True, capture_output=True,
    )  # fmt: skip
    client("delegation", "add", gun, "targets/releases", certificate, "--all-paths")
    client("publish", gun)
    listed = client("delegation", "list", gun)
    assert re.search(r'^targets/releases +"" <all paths> +[0-9a-f]{64} +1', listed, re.MULTILINE), listed
    client("key", "import", key, "--role", "targets/releases")
    client("add", gun, "v2", artifact, "--roles", "targets/releases")
    client("publish", gun)
    other = reader(client, stack, url, tmp_path)
    assert re.search(r"^v2 +[0-9a-f]{64} +18 +targets/releases$", other("list", gun), re.MULTILINE)
    client("delegation", "remove", gun, "targets/releases", "--yes")
    client("publish", gun)
    assert "v2" not in other("list", gun)
    assert "v1" in other("list", gun)


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_a_key_that_the_server_holds_is_rotated(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path, role: str
) -> None:
    begin(client, gun, artifact)
    other = reader(client, stack, url, tmp_path)
    other("list", gun)
    client("key", "rotate", gun, role, "--server-managed")
    assert "v1" in other("list", gun)  # from the old root to the new one
    client("add", gun, "v2", artifact)
    client("publish", gun)
    assert "v2" in other("list", gun)


def test_a_targets_key_is_rotated(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path
) -> None:
    begin(client, gun, artifact)
    other = reader(client, stack, url, tmp_path)
    other("list", gun)
    client("key", "rotate", gun, "targets")
    assert "v1" in other("list", gun)


def test_a_snapshot_key_of_ones_own_signs_and_goes_back(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path
) -> None:
    begin(client, gun, artifact)
    client("key", "rotate", gun, "snapshot")
    client("add", gun, "v2", artifact)
    client("publish", gun)
    assert "v2" in reader(client, stack, url, tmp_path)("list", gun)


def test_a_deleted_collection_is_gone(client: Client, gun: str, artifact: Path) -> None:
    begin(client, gun, artifact)
    client("delete", gun, "--remote")
    assert "does not have trust data" in client.refused("list", gun)


def test_a_stranger_gets_no_key_and_publishes_nothing(
    client: Client, stack: Stack, url: str, gun: str, artifact: Path, tmp_path: Path
) -> None:
    stranger = notary(stack, tmp_path / "stranger", url, password="wrong password")
    assert "unauthorized" in stranger.refused("init", gun)
    begin(client, gun, artifact)
    # The keys of a signer do not make up for a wrong password.
    shutil.copytree(client.home / ".notary", stranger.home / ".notary", dirs_exist_ok=True)
    stranger("add", gun, "v2", artifact)
    assert re.search("unauthorized|not authorized", stranger.refused("publish", gun))
    assert "v2" not in reader(client, stack, url, tmp_path)("list", gun)


def test_an_unknown_authority_is_refused(client: Client, gun: str, url: str) -> None:
    plain = Client("/usr/bin/notary", client.home, ["--server", url], client.environment)
    said = plain.refused("list", gun)
    assert re.search("certificate signed by unknown authority|unable to reach|trust data", said), said
