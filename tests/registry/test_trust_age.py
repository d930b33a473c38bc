# SPDX-License-Identifier: Apache-2.0
"""An answer of the notary server that counts for a moment: for no longer, and never against what is known better."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry import trustdata
from registry.settings import Settings
from trust.errors import SettingsError
from world import APP, World, doubt


class Moments:
    """The clock by which answers age."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(trustdata, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(monkeypatch)


def signed(folder: Path, **settings: Any) -> World:
    """A site with one signed image, which was pulled once."""
    world = World(folder, **settings)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert world.manifest(APP, "1").status_code == 200
    world.source.asked = 0
    return world


def test_unless_the_operator_says_so_every_pull_asks(tmp_path: Path, moments: Moments) -> None:
    world = signed(tmp_path)
    assert [world.manifest(APP, "1").status_code for _ in range(3)] == [200] * 3
    assert world.source.asked == 3


def test_an_answer_counts_for_as_long_as_was_said_and_then_it_is_asked_for_again(
    tmp_path: Path, moments: Moments
) -> None:
    world = signed(tmp_path, trust_age_seconds=2)
    moments.now += 1.9
    world.revoke(APP, "1")
    assert world.manifest(APP, "1").status_code == 200
    assert world.source.asked == 0
    moments.now += 0.2
    assert world.manifest(APP, "1").status_code == 403


def test_when_the_notary_server_is_gone_nothing_is_served_once_its_answer_is_too_old(
    tmp_path: Path, moments: Moments
) -> None:
    world = signed(tmp_path, trust_age_seconds=1)
    world.source.away = True
    assert world.manifest(APP, "1").status_code == 200
    moments.now += 1
    for _ in range(2):
        doubt(world.manifest(APP, "1"))
    world.source.away = False
    assert world.manifest(APP, "1").status_code == 200


def test_what_another_replica_has_seen_counts_at_once(tmp_path: Path, moments: Moments) -> None:
    world = signed(tmp_path, trust_age_seconds=2)
    first = world.app
    world.restart()
    world.revoke(APP, "1")
    assert world.manifest(APP, "1").status_code == 403
    headers = world.token(APP)
    assert first.test_client().get(f"/v2/{APP}/manifests/1", headers=headers).status_code == 403


def test_a_policy_counts_at_once_whatever_the_age(tmp_path: Path, moments: Moments) -> None:
    world = signed(tmp_path, trust_age_seconds=2)
    assert world.command("policy", APP, "--pin", "0" * 64) == 0
    doubt(world.manifest(APP, "1"))


@pytest.mark.parametrize("seconds", [-1, 3])
def test_an_age_is_at_most_two_seconds(tmp_path: Path, seconds: int) -> None:
    with pytest.raises(SettingsError, match="trust_age_seconds must be 0 to 2"):
        Settings(database_url="sqlite://", content_folder=tmp_path, trust_age_seconds=seconds)
