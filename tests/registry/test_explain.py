# SPDX-License-Identifier: Apache-2.0
"""`GET /api/v1/repositories/<name>/trust/explain` and `troth-registry explain`: what a pull would get, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from demosite import DemoSite
from world import APP, RELEASES, World, denial

FACTS = {"repository", "reference", "gun", "digest", "decision", "status", "reason", "served_digest", "message"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def ask(world: World, reference: str, actions: str = "pull", repository: str = APP) -> Any:
    """The explanation, checked against what a consumer gets by the same reference."""
    query = {"reference": reference}
    headers = world.token(repository, actions)
    path = f"/api/v1/repositories/{repository}/trust/explain"
    answer = world.app.test_client().get(path, query_string=query, headers=headers)
    assert answer.status_code == 200, answer.text
    facts = answer.get_json()
    assert facts.keys() >= FACTS
    pulled = world.manifest(repository, reference)
    assert facts["status"] == pulled.status_code
    assert facts["served_digest"] == pulled.headers.get("Docker-Content-Digest")
    if pulled.status_code in (403, 503):
        (error,) = pulled.get_json()["errors"]
        assert (facts["reason"], facts["message"]) == (error["detail"]["reason"], error["message"])
    return facts


def role(facts: Any, name: str) -> Any:
    (found,) = (each for each in facts["roles"] if each["role"] == name)
    return found


def test_of_a_signed_tag_it_says_who_signed_and_until_when(world: World) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    facts = ask(world, "1")
    assert (facts["decision"], facts["reason"], facts["signed_digest"]) == ("served", "SIGNED", image)
    assert facts["policy"] == {
        "mode": "enforced", "roles": [RELEASES, "targets"], "require": "any", "needed": 1, "pins": [],
        "grace_days": 0, "immutable": [], "from": ["settings"],
    }  # fmt: skip
    collection = world.collection(APP)
    key = collection.keys(RELEASES)[0].canonical_id
    assert role(facts, RELEASES) == {
        "role": RELEASES, "version": 1, "expires": collection.payloads[RELEASES].expires.isoformat(), "threshold": 1,
        "keys": [key], "signed_by": [key], "counts": True, "signs": image, "agrees": True, "counted": True,
    }  # fmt: skip
    assert role(facts, "targets")["signs"] is None
    assert role(facts, "timestamp")["counts"] is False
    root = collection.keys("root")[0].canonical_id
    assert facts["root"] == {
        "believed_version": 1, "version": 1, "expires": collection.root_payload.expires.isoformat(), "threshold": 1,
        "keys": [root], "signed_by": [root], "pinned": [],
    }  # fmt: skip
    assert ask(world, image)["decision"] == "served"
    assert facts["caller_exempt"] is False


def test_each_refusal_is_explained_as_the_pull_is_refused(world: World) -> None:
    signed, unsigned = world.push_image(APP, "1", seed="1"), world.push_image(APP, "2", seed="2")
    assert ask(world, "1")["reason"] == "UNSIGNED"  # no trust data
    world.publish(APP, {"1": signed})
    for reference in ("2", unsigned):
        assert ask(world, reference)["decision"] == "refused"
    world.push_manifest(APP, world.manifests[unsigned], "1")
    facts = ask(world, "1")
    assert (facts["reason"], facts["digest"], facts["signed_digest"]) == ("TAG_MOVED", unsigned, signed)
    assert (role(facts, RELEASES)["signs"], role(facts, RELEASES)["agrees"]) == (signed, False)
    assert world.command("policy", APP, "--mode", "resolve") == 0
    assert ask(world, "1")["served_digest"] == signed
    assert world.command("policy", APP, "--require", "all") == 0
    facts = ask(world, signed)
    assert (facts["reason"], facts["policy"]["needed"], facts["policy"]["from"]) == ("TOO_FEW", 2, [APP, "settings"])
    assert ask(world, "3")["reason"] == "NOT_HERE"
    assert ask(world, "1", repository="library/nothing")["decision"] == "absent"


def test_a_refusal_names_the_path_of_its_explanation(world: World) -> None:
    """R5.4."""
    unsigned = world.push_image(APP, "1")
    for reference in ("1", unsigned):
        detail = denial(world.manifest(APP, reference))
        answer = world.app.test_client().get(detail["explain"], headers=world.token(APP))
        assert (answer.status_code, answer.get_json()["reference"]) == (200, reference)
        assert answer.get_json()["reason"] == detail["reason"]


def test_what_cannot_be_decided_is_explained_with_what_is_known(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert world.manifest(APP, "1").status_code == 200
    world.source.away = True
    facts = ask(world, "1")
    assert (facts["decision"], facts["reason"], facts["roles"]) == ("undecided", "UNAVAILABLE", [])
    assert facts["root"] == {"believed_version": 1}
    world.source.away = False
    world.collection(APP).targets(role=RELEASES, expires=world.now + timedelta(days=5))
    world.upload(APP, RELEASES)
    world.now += timedelta(days=6)
    facts = ask(world, "1")
    assert facts["reason"] == role(facts, RELEASES)["reason"] == "EXPIRED"
    assert world.command("policy", APP, "--grace", "2") == 0
    assert ask(world, "1")["reason"] == "GRACE"
    assert world.command("policy", APP, "--pin", "0" * 64) == 0
    facts = ask(world, "1")
    assert (facts["reason"], facts["policy"]["pins"]) == ("PIN", ["0" * 64])


def test_where_nothing_is_refused_it_says_what_would_be(world: World) -> None:
    image = world.push_image(APP, "1")
    assert world.command("policy", APP, "--mode", "permissive") == 0
    facts = ask(world, "1")
    assert (facts["decision"], facts["reason"], facts["served_digest"]) == ("served", "UNSIGNED", image)
    assert world.command("policy", APP, "--mode", "disabled") == 0
    assert ask(world, "1")["reason"] == "DISABLED"


def test_pins_that_the_root_meets_are_told(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    key = world.collection(APP).keys("root")[0]
    assert world.command("policy", APP, "--pin", key.canonical_id) == 0
    assert ask(world, "1")["root"]["pinned"] == [key.keyid]


def test_who_may_sign_is_told_so_and_what_a_consumer_would_get(world: World) -> None:
    world.push_image(APP, "1")
    facts = ask(world, "1", "pull,push")
    assert (facts["caller_exempt"], facts["decision"]) == (True, "refused")


def test_only_who_may_pull_may_ask_and_only_for_a_reference(world: World) -> None:
    client = world.app.test_client()
    path = f"/api/v1/repositories/{APP}/trust/explain"
    for headers in ({}, world.token(APP, "push"), world.token("library/other")):
        answer = client.get(f"{path}?reference=1", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    for reference, code in (("", "TAG_INVALID"), ("a tag", "TAG_INVALID"), ("sha256:0", "DIGEST_INVALID")):
        answer = client.get(path, query_string={"reference": reference}, headers=world.token())
        (error,) = answer.get_json()["errors"]
        assert (answer.status_code, error["code"]) == (400, code)
    assert client.get(path.replace(APP, "Library/App"), headers=world.token()).status_code in (400, 401)


def test_the_command_asks_the_notary_server_and_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DemoSite(tmp_path) as site:
        world, ca = site.world, site.folder / "var/ca/ca.crt"
        world.settings = replace(world.settings, notary_url=f"https://{site.host}", notary_ca=ca)
        assert world.command("explain", APP, "1") == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{site.host}/{APP}:1: served, 200 SIGNED\n  signed as the policy demands\n")
        assert "  policy:  enforced, 1 of targets/releases, targets, grace 0 days, from settings\n" in out
        assert f"  root:    version 1 until {world.now.year + 10}" in out
        assert "  targets/releases: version 1 until " in out
        assert world.command("explain", APP, "2") == 1
        assert "refused, 403 UNSIGNED" in capsys.readouterr().out
        assert world.command("explain", APP, "1", "--json") == 0
        assert json.loads(capsys.readouterr().out)["decision"] == "served"
        world.settings = replace(world.settings, notary_url=None)
        assert world.command("explain", APP, "1") == 1
        out = capsys.readouterr().out
        assert "undecided, 503 UNAVAILABLE" in out
        assert "  root:    not verified; version 1 was believed before\n" in out
        assert world.command("explain", "Library/App", "1") == 1
        assert "repository name" in capsys.readouterr().err
