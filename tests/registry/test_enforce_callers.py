# SPDX-License-Identifier: Apache-2.0
"""Who asks makes no difference, but for the right to sign; and what a repository's mode changes."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from pushes import digest_of
from registry.accounts.policy import Level
from world import APP, PASSWORD, World, denial

AGENTS = (
    "docker/28.0.1 go/go1.23 git-commit/bbd0a17 kernel/6.1 os/linux arch/amd64",
    "Notary-Server",
    "cosign/v2.4.1 (linux; amd64)",
    "notation/1.2.0",
    "trivy/0.57",
    "harbor-scanner-trivy",
    "harbor-registry-client",
    "troth-registry",
    "containerd/2.0",
    "",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site with one image that nobody signed."""
    world = World(tmp_path)
    world.push_image(APP, "1")
    return world


def paths(world: World) -> tuple[str, ...]:
    """Every way to the image that nobody signed."""
    (image,) = world.manifests
    manifests = tuple(f"{APP}/manifests/{reference}" for reference in ("1", image))
    return manifests + tuple(f"{APP}/blobs/{blob}" for blob in world.blobs(image))


def test_e14_however_a_consumer_logs_in_the_decision_is_the_same(world: World) -> None:
    """E14."""
    world.add_user("carol", Level.READ)
    world.add_user("root", is_admin=True)
    client = world.app.test_client()
    scope = f"repository:{APP}:pull"
    form = {"service": "troth", "scope": scope, "grant_type": "password", "access_type": "offline"}
    given = client.post("/auth/token", data={**form, "username": "carol", "password": PASSWORD}).get_json()
    again = {"service": "troth", "scope": scope, "grant_type": "refresh_token"}
    renewed = client.post("/auth/token", data={**again, "refresh_token": given["refresh_token"]}).get_json()
    for headers in (
        world.login("carol", scope),
        world.login("carol", f"repository:localhost:5000/{APP}:pull"),
        world.login("carol", f"repository:{APP}:pull,push"),  # she gets pull alone
        world.login("root", scope),  # an administrator's docker pull asks for no more
        {"Authorization": f"Bearer {given['access_token']}"},
        {"Authorization": f"bearer {renewed['access_token']}"},
    ):
        for path in paths(world):
            assert denial(world.get(path, headers))["reason"] == "UNSIGNED"
            assert world.head(path, headers).status_code == 403


def test_e14_without_a_token_for_the_repository_nothing_is_decided_at_all(world: World) -> None:
    """E14: Basic is for `/auth/token` alone."""
    world.add_user("root", is_admin=True)
    basic = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    asked = world.source.asked
    for headers in (
        {},
        {"Authorization": f"Basic {basic}"},
        world.login(None, f"repository:{APP}:pull,push"),
        world.token(APP, ""),
        world.token(APP, "push"),
        world.token(APP, "delete"),
        world.token("library/other", "*"),
        world.token(f"elsewhere.example/{APP}", "*"),
        {"Authorization": f"Bearer {'a' * 20}.{'b' * 20}.{'c' * 20}"},
    ):
        for path in paths(world):
            answer = world.get(path, headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
            assert "Docker-Content-Digest" not in answer.headers
    assert world.source.asked == asked


@pytest.mark.parametrize("actions", ["pull,push", "*", "pull,push,delete"])
def test_who_may_sign_may_read_what_is_not_signed(world: World, actions: str) -> None:
    """R7.3."""
    for headers in (world.token(APP, actions), world.token(f"localhost:5000/{APP}", actions)):
        for path in paths(world):
            answer = world.get(path, headers)
            assert digest_of(answer.data) == answer.headers["Docker-Content-Digest"]
            assert "Warning" not in answer.headers
    world.source.away = True
    assert world.get(paths(world)[0], world.token(APP, actions)).status_code == 200


@pytest.mark.parametrize("actions", ["pull", "pull,delete"])
def test_who_may_not_both_push_and_pull_is_a_consumer(world: World, actions: str) -> None:
    elsewhere = world.tokens(f"repository:{APP}:{actions}", "repository:library/other:pull,push")
    catalog = world.tokens(f"repository:{APP}:{actions}", "registry:catalog:*")
    for headers in (world.token(APP, actions), elsewhere, catalog):
        for path in paths(world):
            assert denial(world.get(path, headers))["reason"] == "UNSIGNED"


def test_rights_of_two_scopes_for_the_same_repository_add_up(world: World) -> None:
    headers = world.tokens(f"repository:{APP}:pull", f"repository:localhost:5000/{APP}:push")
    assert world.get(paths(world)[0], headers).status_code == 200


def test_without_tokens_nobody_is_exempt(tmp_path: Path) -> None:
    world = World(tmp_path, tokens=False)
    app = world.push_image(APP, "1")
    for path in paths(world):
        assert denial(world.get(path))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": app})
    for path in paths(world):
        assert world.get(path).status_code == 200


def test_e15_a_user_agent_opens_nothing(world: World) -> None:
    """E15, R7.3."""
    for agent in AGENTS:
        for path in paths(world):
            assert denial(world.get(path, User_Agent=agent))["reason"] == "UNSIGNED"


def test_e15_nor_does_any_header_that_claims_to_come_from_within(world: World) -> None:
    """E15."""
    claims = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "localhost",
        "X-Original-Uri": "/v2/",
        "X-Http-Method-Override": "PUT",
        "Forwarded": "for=127.0.0.1;host=localhost",
        "Host": "internal",
        "Sec-Fetch-Site": "same-origin",
    }
    for name, value in claims.items():
        assert denial(world.get(paths(world)[0], {**world.token(), name: value}))["reason"] == "UNSIGNED"


def test_e19_names_are_listed_and_nothing_that_they_stand_for(world: World) -> None:
    """E19: this registry hides no tags."""
    (image,) = world.manifests
    answer = world.get(f"{APP}/tags/list")
    assert answer.get_json() == {"name": APP, "tags": ["1"]}
    assert image not in answer.text + str(answer.headers)


def test_e40_without_the_right_to_pull_nothing_tells_what_is_there(world: World) -> None:
    """E40."""
    (image,) = world.manifests
    signed = world.push_image(APP, "2", seed="2")
    world.publish(APP, {"2": signed})
    absent = digest_of(b"absent")
    for headers in ({}, world.token("library/other", "pull,push")):
        answers = [
            world.get(f"{APP}/{kind}/{reference}", {**headers, "X-Request-Id": "same"})
            for kind, reference in (
                ("manifests", image), ("manifests", signed), ("manifests", absent), ("manifests", "1"),
                ("blobs", world.blobs(image)[0]), ("blobs", absent), ("referrers", image),
            )
        ]  # fmt: skip
        assert len({(answer.status, answer.data, str(answer.headers)) for answer in answers}) == 1
        assert answers[0].status_code == 401


def test_e40_a_refusal_tells_a_reader_neither_size_nor_type_nor_content(world: World) -> None:
    """E40: who may read the repository learns that there is something unsigned, and no more."""
    (image,) = world.manifests
    for path in paths(world):
        answer = world.get(path)
        denial(answer)
        assert answer.content_type == "application/json; charset=utf-8"
        assert str(len(world.manifests[image])) not in (answer.headers["Content-Length"], answer.text)
        assert all(blob not in answer.text for blob in world.blobs(image) if blob not in path)


# Modes.


def test_a_disabled_repository_asks_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, trust_mode="disabled")
    world.push_image(APP, "1")
    world.source.away = True
    for path in paths(world):
        answer = world.get(path)
        assert answer.status_code == 200
        assert "Warning" not in answer.headers
    assert world.source.asked == 0


def test_a_permissive_repository_serves_and_says_what_would_be_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R5.5."""
    caplog.set_level(logging.WARNING, "troth.enforce")
    world = World(tmp_path, trust_mode="permissive")
    app = world.push_image(APP, "1")
    for path in paths(world):
        for answer in (world.get(path), world.head(path)):
            assert answer.status_code == 200
            assert answer.headers["Warning"].startswith('299 - "would be refused: localhost:5000/library/app is not')
            assert len(answer.headers.getlist("Warning")) == 1
        assert f"would refuse {path.rpartition('/')[2]}" in caplog.text or path.endswith("/1")
    assert "would refuse" in caplog.messages[-1]
    assert "'carol'" in caplog.messages[-1]
    assert world.manifest(APP, "1", If_None_Match=f'"{app}"').headers["Warning"]
    assert world.blob(APP, world.blobs(app)[1], Range="bytes=0-1").headers["Warning"]
    world.publish(APP, {"1": app})
    caplog.clear()
    for path in paths(world):
        assert "Warning" not in world.get(path).headers
    world.source.away = True
    answer = world.manifest(APP, "1")
    assert answer.status_code == 200
    assert "cannot be verified" in answer.headers["Warning"]
    assert len(caplog.messages) == 1


def test_an_enforced_refusal_is_in_the_log_with_its_caller(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "troth.enforce")
    assert world.manifest(APP, "1").status_code == 403
    (line,) = caplog.messages
    (image,) = world.manifests
    assert line.startswith(f"refused {image} of {APP} to 'carol': localhost:5000/{APP}")


def test_a_callers_name_cannot_forge_a_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "troth.enforce")
    world.get(paths(world)[0], world.token(APP, user="eve\nrefused nobody"))
    (line,) = caplog.messages
    assert "\n" not in line


def test_each_repository_can_have_a_mode_of_its_own(world: World) -> None:
    other = "library/other"
    world.push_image(other, "1")
    assert world.command("policy", other, "--mode", "permissive") == 0
    assert "Warning" in world.manifest(other, "1").headers
    assert world.command("policy", other, "--mode", "disabled") == 0
    assert "Warning" not in world.manifest(other, "1").headers
    assert denial(world.manifest(APP, "1"))["policy"] == "enforced"
    assert world.command("policy", other, "--default") == 0
    assert denial(world.manifest(other, "1"))["policy"] == "enforced"


def test_a_repository_can_be_enforced_where_the_site_is_not(tmp_path: Path) -> None:
    world = World(tmp_path, trust_mode="disabled")
    app = world.push_image(APP, "1")
    assert world.manifest(APP, "1").status_code == 200
    assert world.command("policy", APP, "--mode", "enforced", "--role", "targets") == 0
    world.publish(APP, {"1": app})
    assert denial(world.manifest(APP, "1"))["roles"] == ["targets"]
    assert world.command("policy", APP, "--role", "targets/releases") == 0
    assert world.manifest(APP, "1").status_code == 200


def test_roles_are_a_setting_of_the_site(tmp_path: Path) -> None:
    world = World(tmp_path, trust_roles=("targets/alice",))
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})
    assert denial(world.manifest(APP, "1"))["roles"] == ["targets/alice"]
    world.publish(APP, {"1": app}, role="targets/alice")
    assert world.manifest(APP, "1").status_code == 200


def test_e38_a_policy_that_changes_during_a_request_counts_from_the_next_one(world: World) -> None:
    """E38."""
    world.source.meanwhile(lambda: world.command("policy", APP, "--mode", "permissive"))
    assert denial(world.manifest(APP, "1"))["policy"] == "enforced"
    world.source.meanwhile(lambda: world.command("policy", APP, "--mode", "enforced"))
    assert "Warning" in world.manifest(APP, "1").headers
    assert denial(world.manifest(APP, "1"))["policy"] == "enforced"


def test_unsigned_content_of_an_enforced_repository_cannot_be_mounted_into_an_open_one(world: World) -> None:
    other = "library/other"
    (image,) = world.manifests
    blob = world.blobs(image)[1]
    assert world.command("policy", other, "--mode", "disabled") == 0
    headers = world.tokens(f"repository:{APP}:pull", f"repository:{other}:pull,push")
    mount = f"{other}/blobs/uploads/?mount={blob}&from={APP}"
    assert world.request("POST", mount, headers).status_code == 202
    assert world.command("policy", APP, "--mode", "permissive") == 0
    answer = world.request("POST", mount, headers)
    assert answer.status_code == 201
