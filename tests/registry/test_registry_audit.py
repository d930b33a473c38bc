# SPDX-License-Identifier: Apache-2.0
"""What a registry records: users, grants, policies, pins and deletions, and who tried in vain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.models import TRAIL
from trust.web.audit import Record
from trust.web.auditcheck import check
from world import APP, PASSWORD, World

PIN = "0123456789abcdef" * 4


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def trail(world: World) -> list[Record]:
    """The records of a trail that is whole."""
    with world.database.read() as session:
        check(TRAIL, session)
        return list(TRAIL.records(session))


def told(record: Record) -> tuple[str, str, str, str, object]:
    return record.actor, record.action, record.outcome, record.name, json.loads(record.detail)


def test_what_an_operator_does_with_accounts_is_recorded_without_passwords(world: World, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    file = f"--password-file={password}"
    assert world.command("user", "add", "alice", "--admin", file) == 0
    assert world.command("user", "add", "alice", file) == 1
    assert world.command("user", "password", "alice", file) == 0
    assert world.command("user", "list") == 0
    assert world.command("grant", "alice", APP, "read-write") == 0
    assert world.command("grant", "bob", APP, "admin") == 1
    assert world.command("user", "remove", "alice") == 0
    found = trail(world)
    operator, taken = "(operator)", {"code": "CONFLICT", "message": "there is a user or a namespace 'alice' already"}
    unknown = {"code": "NOT_FOUND", "message": "there is no user 'bob'"}
    assert [told(record) for record in found] == [
        (operator, "user.add", "done", "alice", {"administrator": True}),
        (operator, "user.add", "refused", "alice", {"administrator": False} | taken),
        (operator, "user.password", "done", "alice", {}),
        (operator, "grant", "done", APP, {"user": "alice", "level": "read-write"}),
        (operator, "grant", "refused", APP, {"user": "bob", "level": "admin"} | unknown),
        (operator, "user.remove", "done", "alice", {}),
    ]
    assert not any(secret in record.to_json() for record in found for secret in (PASSWORD, "argon2"))


def test_a_change_of_policy_says_what_was_and_what_is(world: World) -> None:
    assert world.command("policy", APP) == 0
    assert world.command("policy", APP, "--mode", "permissive", "--pin", PIN) == 0
    assert world.command("policy", APP, "--mode", "disabled", "--pin", "short") == 1
    assert world.command("policy", APP, "--default", "--role", "targets/a") == 0
    default = ["targets/releases", "targets"]
    assert [told(record)[1:] for record in trail(world)] == [
        ("policy.change", "done", APP, {"mode": ["enforced", "permissive"], "pins": [[], [PIN]]}),
        ("policy.reset", "done", APP, {"mode": ["permissive", "enforced"], "pins": [[PIN], []]}),
        ("policy.change", "done", APP, {"roles": [default, ["targets/a"]]}),
    ]


def test_that_trust_data_is_forgotten_is_recorded_if_there_was_any(world: World) -> None:
    assert world.command("forget", APP) == 0
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert world.manifest(APP, "1").status_code == 200
    assert world.command("forget", APP) == 0
    assert [told(record)[1:4] for record in trail(world)] == [("trust.forget", "done", world.gun(APP))]


def test_deletions_name_who_deletes_and_who_may_not(world: World) -> None:
    image = world.push_image(APP, "1")
    deleter = world.token(APP, "delete", user="alice") | {"X-Request-Id": "r1"}
    path = f"{APP}/manifests"
    assert world.request("DELETE", f"{path}/1", world.token(APP, "pull", user="mallory")).status_code == 401
    assert world.request("DELETE", f"{path}/1", {}).status_code == 401
    assert world.request("DELETE", f"{path}/1", deleter).status_code == 202
    assert world.request("DELETE", f"{path}/1", deleter).status_code == 404
    assert world.request("DELETE", f"{path}/{image}", deleter).status_code == 202
    found = trail(world)
    assert [(*told(record)[:4], json.loads(record.detail).get("code")) for record in found] == [
        ("mallory", "tag.delete", "refused", APP, "UNAUTHORIZED"),
        ("alice", "tag.delete", "done", APP, None),
        ("alice", "tag.delete", "refused", APP, "MANIFEST_UNKNOWN"),
        ("alice", "manifest.delete", "done", APP, None),
    ]
    assert json.loads(found[3].detail) == {"manifest": image}
    assert (found[1].request_id, found[1].address) == ("r1", "127.0.0.1")


def test_pushes_and_pulls_are_not_recorded(world: World) -> None:
    world.push_image(APP, "1")
    assert world.manifest(APP, "1").status_code == 403
    assert world.get(f"{APP}/tags/list", {}).status_code == 401
    assert trail(world) == []


def test_the_command_prints_and_verifies(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add_user("alice")
    assert world.command("policy", APP, "--pin", PIN) == 0
    capsys.readouterr()
    assert world.command("audit", "--name", APP) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f'(operator)  policy.change {APP}{{"pins":[[],["{PIN}"]]}}'.replace("{", "  {", 1))
    assert world.command("audit", "verify") == 0
    assert capsys.readouterr().out.startswith("troth-registry: the audit trail is whole, head 2:")
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM registry_audit WHERE seq = 1")
    assert world.command("audit", "verify") == 1
    assert "BROKEN at record 1: is missing" in capsys.readouterr().out
