# SPDX-License-Identifier: Apache-2.0
"""skopeo, which knows no content trust and verifies certificates: the registry alone holds it to signatures."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from flows.clients import Client, Skopeo, notary
from flows.images import Manifest, write_layout
from flows.stack import Stack

pytestmark = pytest.mark.client("skopeo", "notary")


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return f"skopeo/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


@pytest.fixture
def signer(stack: Stack, tmp_path: Path) -> Client:
    """The administrator's notary."""
    return notary(stack, tmp_path / "notary", stack.registry_url)


def sign(signer: Client, stack: Stack, repository: str, tag: str, manifest: Manifest) -> None:
    gun = f"{stack.registry}/{repository}"
    if not (signer.home / ".notary/tuf" / gun).exists():
        signer("init", gun)
    signer("addhash", gun, tag, str(manifest.size), "--sha256", manifest.digest.removeprefix("sha256:"))
    signer("publish", gun)


def test_a_copy_is_refused_until_the_image_is_signed(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    manifest = write_layout(tmp_path / "layout", 300_000, repository)
    skopeo(*skopeo.push(tmp_path / "layout", f"{repository}:1"))
    for name in (f"{repository}:1", f"{repository}@{manifest.digest}"):
        said = skopeo.refused(*skopeo.pull(name, tmp_path / "refused"))
        assert "not signed" in said
    sign(signer, stack, repository, "1", manifest)
    for name in (f"{repository}:1", f"{repository}@{manifest.digest}"):
        skopeo(*skopeo.pull(name, tmp_path / "copy"))
        copied = (tmp_path / "copy/manifest.json").read_bytes()
        assert f"sha256:{hashlib.sha256(copied).hexdigest()}" == manifest.digest
    # The tag moves on without a signature.
    other = write_layout(tmp_path / "second", 300_000, "another")
    skopeo(*skopeo.push(tmp_path / "second", f"{repository}:1"))
    said = skopeo.refused(*skopeo.pull(f"{repository}:1", tmp_path / "refused"))
    assert f"was signed as {manifest.digest}, and the tag now stands for {other.digest}" in said
    skopeo(*skopeo.pull(f"{repository}@{manifest.digest}", tmp_path / "by digest"))


def test_a_copy_is_refused_again_when_the_signature_is_taken_back(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    manifest = write_layout(tmp_path / "layout", 1000, repository)
    skopeo(*skopeo.push(tmp_path / "layout", f"{repository}:1"))
    sign(signer, stack, repository, "1", manifest)
    skopeo(*skopeo.pull(f"{repository}@{manifest.digest}", tmp_path / "copy"))
    signer("remove", f"{stack.registry}/{repository}", "1")
    signer("publish", f"{stack.registry}/{repository}")
    for name in (f"{repository}:1", f"{repository}@{manifest.digest}"):
        assert "not signed" in skopeo.refused(*skopeo.pull(name, tmp_path / "refused"))


def test_trust_data_that_was_deleted_opens_nothing(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    manifest = write_layout(tmp_path / "layout", 1000, repository)
    skopeo(*skopeo.push(tmp_path / "layout", f"{repository}:1"))
    sign(signer, stack, repository, "1", manifest)
    skopeo(*skopeo.pull(f"{repository}:1", tmp_path / "copy"))
    signer("delete", f"{stack.registry}/{repository}", "--remote")
    skopeo.refused(*skopeo.pull(f"{repository}:1", tmp_path / "refused"))
    skopeo.refused(*skopeo.pull(f"{repository}@{manifest.digest}", tmp_path / "refused"))
    # Somebody else begins anew under the same name: the root that was believed first stays the one to believe.
    usurper = notary(stack, tmp_path / "usurper", stack.registry_url)
    sign(usurper, stack, repository, "1", manifest)
    skopeo.refused(*skopeo.pull(f"{repository}:1", tmp_path / "refused"))


def test_a_signature_of_another_tag_does_not_open_this_one(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    manifest = write_layout(tmp_path / "layout", 1000, repository)
    skopeo(*skopeo.push(tmp_path / "layout", f"{repository}:1"))
    sign(signer, stack, repository, "2", manifest)
    assert "not signed" in skopeo.refused(*skopeo.pull(f"{repository}:1", tmp_path / "copy"))
    skopeo(*skopeo.pull(f"{repository}@{manifest.digest}", tmp_path / "copy"))


def test_a_signature_over_another_image_does_not_open_this_one(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", 1000, repository)
    other = write_layout(tmp_path / "other", 1000, "another")
    skopeo(*skopeo.push(tmp_path / "layout", f"{repository}:1"))
    sign(signer, stack, repository, "1", other)
    skopeo.refused(*skopeo.pull(f"{repository}:1", tmp_path / "copy"))


def test_the_same_image_in_another_repository_needs_its_own_signature(
    skopeo: Skopeo, signer: Client, stack: Stack, repository: str, tmp_path: Path
) -> None:
    manifest = write_layout(tmp_path / "layout", 1000, repository)
    for name in (repository, f"{repository}/copy"):
        skopeo(*skopeo.push(tmp_path / "layout", f"{name}:1"))
    sign(signer, stack, repository, "1", manifest)
    skopeo(*skopeo.pull(f"{repository}:1", tmp_path / "copy"))
    assert "not signed" in skopeo.refused(*skopeo.pull(f"{repository}/copy:1", tmp_path / "refused"))


def test_an_unknown_authority_is_refused(skopeo: Skopeo, stack: Stack) -> None:
    said = skopeo.refused("inspect", f"docker://{stack.registry}/library/any:1")
    assert "certificate signed by unknown authority" in said
