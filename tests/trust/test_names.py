# SPDX-License-Identifier: Apache-2.0
"""Names that were checked once are right for ever: none leads out of a folder, a URL or a log line."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import InvalidError
from trust.names import Digest, Gun, RepositoryName, RoleName, Tag

_PART = st.text("abz059", min_size=1, max_size=5)
_SEPARATED = st.lists(_PART, min_size=1, max_size=3).map("-".join)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "targets/a", "targets/a-b_c/0/x"])
def test_role_names_are_the_four_and_delegations(role: str) -> None:
    assert RoleName(role) == role
    assert RoleName(role).is_delegation == ("/" in role)
    assert RoleName(role).is_targets == role.startswith("targets")


@pytest.mark.parametrize(
    "role",
    [
        "",
        "Root",
        "mirrors",
        "targets/",
        "/targets",
        "targets//a",
        "targets/a/",
        "targets/A",
        "targets/a.b",
        "targets/a b",
        "targets/../root",
        "targets/./a",
        "../root",
        "targets/*",
        "targets/é",
        "targets/a\n",
        "root\n",
        "snapshot/a",
        "targets/a\0",
        "targets%2Fa",
        "targets\\a",
        "targets/" + "a" * 248,
    ],
)
def test_no_other_text_is_a_role_name(role: str) -> None:
    """T16, GHSA-wjw6-2cqr-j4qr."""
    with pytest.raises(InvalidError) as refusal:
        RoleName(role)
    assert len(refusal.value.message) < 400
    assert "\n" not in refusal.value.message


def test_a_role_name_may_have_255_characters() -> None:
    assert len(RoleName("targets/" + "a" * 247)) == 255


def test_a_delegations_parent_is_the_role_above_it() -> None:
    assert RoleName("targets/a/b").parent == "targets/a"
    assert RoleName("targets/a").parent == "targets"


@given(st.lists(st.text("az09-_", min_size=1, max_size=6), min_size=1, max_size=5))
def test_a_role_name_of_good_parts_is_its_own_clean_path(parts: list[str]) -> None:
    role = RoleName("/".join(["targets", *parts]))
    assert posixpath.normpath(role) == role
    assert role.parent == "/".join(["targets", *parts[:-1]])


@given(st.text() | st.text("targes/.-_*\n", max_size=12).map(lambda tail: "targets/" + tail))
def test_what_passes_for_a_role_name_is_harmless(text: str) -> None:
    try:
        role = RoleName(text)
    except InvalidError:
        return
    assert re.fullmatch(r"[-a-z0-9_/]{1,255}", role, re.ASCII)
    assert posixpath.normpath(role) == role
    assert not role.startswith("/")


@pytest.mark.parametrize(
    "gun", ["app", "localhost:5000/library/app", "docker.io/library/alpine", "[::1]:5000/a", "a b"]
)
def test_a_gun_is_any_plain_path(gun: str) -> None:
    assert Gun(gun) == gun


@pytest.mark.parametrize(
    "gun", ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "../a", "a/_trust/tuf", "_trust", "a*", "*",
            "a\nb", "a\0", "a\x7f", "x" * 256]
)  # fmt: skip
def test_a_gun_has_no_stars_no_controls_and_no_odd_segments(gun: str) -> None:
    with pytest.raises(InvalidError):
        Gun(gun)


@given(st.text(max_size=30) | st.text("a./_trus*:\\", max_size=20))
def test_what_passes_for_a_gun_stays_in_its_folder_and_its_url(text: str) -> None:
    try:
        gun = Gun(text)
    except InvalidError:
        return
    assert posixpath.normpath(f"/cache/{gun}/metadata") == f"/cache/{gun}/metadata"
    assert "\n" not in gun
    assert unquote(quote(gun, safe="/:")) == gun
    assert (f"{gun.host}/{gun.path}" if gun.path else gun.host) == gun


@given(st.lists(_SEPARATED, min_size=1, max_size=5))
def test_repository_names_are_lower_case_parts(parts: list[str]) -> None:
    """R1.1."""
    assert RepositoryName("/".join(parts)) == "/".join(parts)


@pytest.mark.parametrize(
    "name",
    ["", "A", "a//b", "/a", "a/", "a..b", "a___b", "-a", "a-", ".a", "a b", "a\n", "é", "a:b", "a@b", "a" * 201],
)
def test_no_other_text_is_a_repository_name(name: str) -> None:
    with pytest.raises(InvalidError):
        RepositoryName(name)


@pytest.mark.parametrize("tag", ["", "-a", ".a", "a/b", "a:b", "a b", "a\n", "é", "a" * 129])
def test_no_odd_text_is_a_tag(tag: str) -> None:
    """R1.2."""
    with pytest.raises(InvalidError):
        Tag(tag)


@given(st.sampled_from(["sha256", "sha512"]), st.binary(min_size=64, max_size=64))
def test_a_digest_has_the_length_of_its_algorithm(algorithm: str, raw: bytes) -> None:
    """R1.3."""
    encoded = raw.hex()[: 64 if algorithm == "sha256" else 128]
    digest = Digest(f"{algorithm}:{encoded}")
    assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
    for bad in (encoded[:-1], encoded + "0", "g" + encoded[1:], "A" + encoded[1:], "", encoded[:-1] + "\n"):
        with pytest.raises(InvalidError):
            Digest(f"{algorithm}:{bad}")
    for other in ("sha1", "SHA256", "md5", "", "sha384"):
        with pytest.raises(InvalidError):
            Digest(f"{other}:{encoded}")
