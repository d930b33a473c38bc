# SPDX-License-Identifier: Apache-2.0
"""The names of images, as docker reads them (NOTARY_V1 §5.2)."""

from __future__ import annotations

import pytest

from trust.errors import InvalidError
from trust.images import Image

DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("name", "gun", "tag"),
    [
        ("alpine", "docker.io/library/alpine", "latest"),
        ("alpine:3.20", "docker.io/library/alpine", "3.20"),
        ("me/x", "docker.io/me/x", "latest"),
        ("docker.io/alpine", "docker.io/library/alpine", "latest"),
        ("index.docker.io/me/x:1", "docker.io/me/x", "1"),
        ("reg:5000/a/b", "reg:5000/a/b", "latest"),
        ("reg:5000/a/b:5000", "reg:5000/a/b", "5000"),
        ("localhost/a", "localhost/a", "latest"),
        ("reg.example.com/a:v1", "reg.example.com/a", "v1"),
    ],
)
def test_a_collection_is_the_whole_name_without_the_tag(name: str, gun: str, tag: str) -> None:
    image = Image.parse(name)
    assert (image.gun, image.tag) == (gun, tag)


@pytest.mark.parametrize("name", ["", ":1", "a:", "A/b", "reg:5000/", "a/../b", "a b", f"a@sha256:{DIGEST}"])
def test_no_other_text_is_an_image(name: str) -> None:
    with pytest.raises(InvalidError):
        Image.parse(name)


def test_trust_data_is_looked_for_at_the_registrys_own_host_or_at_docker_hubs_notary() -> None:
    assert Image.parse("reg:5000/a/b").server_url == "https://reg:5000"
    assert Image.parse("alpine").server_url == "https://notary.docker.io"
