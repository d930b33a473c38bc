# SPDX-License-Identifier: Apache-2.0
"""`troth-registry policy` and `troth-registry forget`, run as an operator does, beside a running registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from world import APP, World, denial

PIN = "0123456789abcdef" * 4
OWN = f"{APP}, settings"


def shown(
    mode: str = "enforced",
    roles: str = "targets/releases, targets",
    pins: str = "none",
    *,
    require: str = "any",
    grace: int = 0,
    immutable: str = "none",
    source: str = "settings",
    scope: str = APP,
) -> str:
    """What `policy` prints."""
    return (
        f"localhost:5000/{scope}\tmode: {mode}\troles: {roles}\trequire: {require}\tpins: {pins}\t"
        f"grace: {grace} days\timmutable: {immutable}\tfrom: {source}\n"
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def test_policy_alone_shows_and_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert world.command("policy", APP) == 0
        assert capsys.readouterr().out == shown()


def test_policy_changes_what_is_named_and_shows_the_result(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.command("policy", APP, "--mode", "permissive", "--pin", PIN) == 0
    assert capsys.readouterr().out == shown("permissive", pins=PIN, source=OWN)
    assert world.command("policy", APP, "--role", "targets/a", "--role", "targets/b") == 0
    assert capsys.readouterr().out == shown("permissive", "targets/a, targets/b", PIN, source=OWN)
    assert world.command("policy", APP, "--default", "--pin", PIN) == 0
    assert capsys.readouterr().out == shown(pins=PIN, source=OWN)
    assert world.command("policy", APP, "--default") == 0
    assert capsys.readouterr().out == shown()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--pin", "short"], "a pin is a key ID"),
        (["--pin", ""], "a pin is a key ID"),  # as a script with an empty variable says it
        (["--role", "snapshot"], "roles that count"),
        (["--role", "targets/.."], "invalid role name"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert world.command("policy", APP, "--mode", "permissive", "--pin", PIN) == 0
    before = capsys.readouterr().out
    assert world.command("policy", APP, "--default", "--mode", "disabled", *options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("troth-registry: ")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert world.command("policy", APP) == 0
    assert capsys.readouterr().out == before


def test_a_policy_may_be_a_namespaces(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--require", "all", "--grace", "2", "--immutable", "v*", "--immutable", "latest")
    assert world.command("policy", "library/", *options) == 0
    assert capsys.readouterr().out == shown(
        require="all", grace=2, immutable="v*, latest", source="library/, settings", scope="library/"
    )
    assert world.command("policy", APP, "--mutable", "--require", "1") == 0
    assert capsys.readouterr().out == shown(require="1", grace=2, source=f"{APP}, library/, settings")
    assert world.command("policy", "library/", "--default") == 0
    assert capsys.readouterr().out == shown(scope="library/")


def test_a_repository_is_named_without_host_and_tag(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("policy", "forget"):
        for name in (f"localhost:5000/{APP}", "Library/App", "library/../app", "library/app:1", ""):
            assert world.command(command, name) == 1
            captured = capsys.readouterr()
            assert (captured.out, "repository name" in captured.err) == ("", True)


@pytest.mark.parametrize("command", [["policy"], ["forget"], ["grant", "alice"]], ids=" ".join)
def test_a_repository_does_not_begin_with_the_sites_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    world = World(tmp_path, hosts=("registry.example", "localhost:5000"))
    for host in ("registry.example", "localhost", "localhost:5000"):
        level = ["read"] if command[0] == "grant" else []
        assert world.command(*command, f"{host}/{APP}", *level) == 1
        assert f"does not begin with {host}: that is the name of this registry" in capsys.readouterr().err


def test_an_unknown_mode_is_refused_with_the_ones_there_are(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        world.command("policy", APP, "--mode", "strict")
    err = capsys.readouterr().err
    assert all(mode in err for mode in ("enforced", "permissive", "disabled"))


def test_a_change_counts_from_the_next_request_of_a_running_registry(world: World) -> None:
    world.push_image(APP, "1")
    assert denial(world.manifest(APP, "1"))["policy"] == "enforced"
    assert world.command("policy", APP, "--mode", "disabled") == 0
    assert world.manifest(APP, "1").status_code == 200


def test_forget_says_whether_anything_was_known(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.command("forget", APP) == 0
    assert capsys.readouterr().out == f"localhost:5000/{APP}: nothing was known\n"
    world.publish(APP, {"1": world.push_image(APP, "1")})
    assert world.manifest(APP, "1").status_code == 200
    assert world.command("forget", APP) == 0
    assert capsys.readouterr().out == f"localhost:5000/{APP}: forgotten\n"
    assert world.manifest(APP, "1").status_code == 200  # believed anew


def test_roles_of_the_site_that_sign_no_content_are_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.settings = replace(world.settings, trust_roles=("timestamp",))
    assert world.command("policy", APP) == 1
    assert "roles that count" in capsys.readouterr().err
