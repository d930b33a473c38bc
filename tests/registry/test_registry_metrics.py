# SPDX-License-Identifier: Apache-2.0
"""The registry counts what it decided, and to whom it gave tokens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from registry.accounts.policy import Level
from trust.web.metrics import REGISTRY
from world import APP, World


def _decided(content: str, outcome: str, reason: str = "") -> float:
    labels = {"content": content, "outcome": outcome, "reason": reason}
    return REGISTRY.get_sample_value("troth_enforcement_decisions_total", labels) or 0


def _count(name: str, outcome: str) -> float:
    return REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0


def test_what_may_leave_and_what_may_not_is_counted_with_the_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    image = world.push_image(APP, "1")
    other = world.push_image(APP, "2", "other")
    denied, served = _decided("manifest", "denied", "UNSIGNED"), _decided("manifest", "served")
    blob_denied, blob_served = _decided("blob", "denied", "UNSIGNED"), _decided("blob", "served")
    assert world.manifest(APP, "1").status_code == 403
    world.publish(APP, {"1": image})
    assert world.manifest(APP, "1").status_code == 200
    assert world.blob(APP, world.blobs(image)[0]).status_code == 200
    assert world.blob(APP, world.blobs(other)[0]).status_code == 403
    assert _decided("manifest", "denied", "UNSIGNED") == denied + 1
    assert _decided("manifest", "served") == served + 1
    assert _decided("blob", "denied", "UNSIGNED") == blob_denied + 1
    assert _decided("blob", "served") == blob_served + 1

    moved = _decided("manifest", "denied", "TAG_MOVED")
    world.push_image(APP, "1", "another")
    assert world.manifest(APP, "1").status_code == 403
    assert _decided("manifest", "denied", "TAG_MOVED") == moved + 1


def test_what_cannot_be_decided_is_counted_with_the_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    away, expired = _decided("manifest", "undecided", "UNAVAILABLE"), _decided("manifest", "undecided", "EXPIRED")
    world.source.away = True
    assert world.manifest(APP, "1").status_code == 503
    world.source.away = False
    assert _decided("manifest", "undecided", "UNAVAILABLE") == away + 1
    world.now += timedelta(days=1100)  # targets end after three years
    assert world.manifest(APP, "1").status_code == 503
    assert _decided("manifest", "undecided", "EXPIRED") == expired + 1


def test_what_is_served_with_a_warning_is_told_apart(tmp_path: Path) -> None:
    world = World(tmp_path, trust_mode="permissive")
    world.push_image(APP, "1")
    warned, served = _decided("manifest", "warned", "UNSIGNED"), _decided("manifest", "served")
    assert world.manifest(APP, "1").status_code == 200
    assert _decided("manifest", "warned", "UNSIGNED") == warned + 1
    assert _decided("manifest", "served") == served


def test_tokens_are_counted_by_what_was_given(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add_user("alice", Level.READ)
    before = {each: _count("troth_tokens_total", each) for each in ("granted", "reduced", "empty", "refused")}
    world.login("alice", f"repository:{APP}:pull")
    world.login("alice")  # asks for nothing, and gets that
    world.login("alice", f"repository:{APP}:pull,push")
    world.login("alice", "repository:library/other:pull")
    client = world.app.test_client(use_cookies=False)
    assert client.get("/auth/token", query_string={"service": "troth"}, auth=("alice", "wrong")).status_code == 401
    after = {each: _count("troth_tokens_total", each) - count for each, count in before.items()}
    assert after == {"granted": 2, "reduced": 1, "empty": 1, "refused": 1}


def test_requests_are_counted_by_what_their_token_was_good_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = "troth_authorizations_total"
    outcomes = ("allowed", "missing", "invalid_token", "insufficient_scope")
    before = {each: _count(name, each) for each in outcomes}
    world.get(f"{APP}/tags/list")
    world.get(f"{APP}/tags/list", {"Authorization": ""})
    world.get(f"{APP}/tags/list", {"Authorization": "Bearer nonsense"})
    world.get(f"{APP}/tags/list", world.token("library/other"))
    assert {each: _count(name, each) - count for each, count in before.items()} == dict.fromkeys(outcomes, 1)
