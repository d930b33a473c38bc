# SPDX-License-Identifier: Apache-2.0
"""`troth admin` against a registry over TLS: what it asks, what it prints, with which status it ends."""

from __future__ import annotations

import argparse
import io
import json
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import trust
from demosite import DemoSite
from receiver import SECRET
from registry.app import _job_worker
from trust.cli import admin
from trust.cli.admintable import TABLE
from trust.cli.main import main
from world import PASSWORD


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    """A registry with an image, signed by alice."""
    with DemoSite(tmp_path_factory.mktemp("demo")) as site:
        yield site


class Keyboard(io.StringIO):
    """Standard input."""


class Shell:
    """Somebody at a shell, with docker's folder and what stands in it."""

    def __init__(
        self, site: DemoSite, home: Path, patch: pytest.MonkeyPatch, out: pytest.CaptureFixture[str]
    ) -> None:
        self.site, self._patch, self._out = site, patch, out
        patch.setenv("DOCKER_CONFIG", str(home))
        patch.setenv("TROTH_SITE", site.host)
        self.folder = home
        authorities = home / "tls" / site.host
        authorities.mkdir(parents=True)
        (authorities / "ca.crt").write_bytes((site.folder / "var/ca/ca.crt").read_bytes())
        self.login("admin", PASSWORD)

    def login(self, user: str, password: str) -> None:
        """As `docker login` leaves it where the registry gives no identity token."""
        self._keep({"auth": b64encode(f"{user}:{password}".encode()).decode()})

    def identity(self, user: str, password: str) -> None:
        """As `docker login` leaves it: with an identity token in the password's place."""
        url = f"https://{self.site.host}/auth/token?service=troth&offline_token=true"
        basic = {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}
        context = ssl.create_default_context(cafile=str(self.site.folder / "var/ca/ca.crt"))
        with urllib.request.urlopen(urllib.request.Request(url, headers=basic), context=context) as answer:
            self._keep({"identitytoken": json.loads(answer.read())["refresh_token"]})

    def _keep(self, entry: dict[str, str]) -> None:
        (self.folder / "config.json").write_text(json.dumps({"auths": {self.site.host: entry}}))

    def __call__(self, *arguments: str, text: str = "", status: int = 0) -> str:
        """Run `troth admin`, which must end with `status`; what it printed, complaints included."""
        self._patch.setattr("sys.stdin", Keyboard(text))
        assert main(["admin", *arguments]) == status, self._out.readouterr()
        printed = self._out.readouterr()
        return printed.out + printed.err

    def json(self, *arguments: str) -> Any:
        """What it prints with --json."""
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def shell(
    site: DemoSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(site, tmp_path / "docker", monkeypatch, capsys)


def test_an_operators_day_from_a_shell(shell: Shell) -> None:
    shell("user", "add", "bob", text="a password of bob's\n")
    shell("user", "add", "carol", "--admin", text="a password of carol's\n")
    shell("org", "add", "base", "--owner", "carol")
    shell("team", "add", "base/devs")
    shell("team", "join", "base/devs", "bob")
    shell("grant", "set", "base/devs", "base/", "read-write")
    shell("grant", "set", "bob", "library/app", "read")
    shell("namespace", "assign", "tools", "base")
    shell("visibility", "library/app", "public")
    assert shell("user", "list") == (
        "USER    KIND            GRANTS\nadmin   administrator   -\nbob     user            library/app:read\n"
        "carol   administrator   -\n"
    )
    assert shell("team", "list", "base").splitlines()[1:] == [
        "devs     bob       base/:read-write",
        "owners   carol     -",
    ]
    assert shell("namespace", "list").split()[-3:] == ["tools", "organisation", "base"]
    assert shell("grant", "list", "library/app").split()[-3:] == ["user", "bob", "read"]
    assert shell("repo", "list").split()[-3:] == ["library/app", "public", "admin"]
    tags = [line.split() for line in shell("repo", "tags", "library/app").splitlines()]
    assert [(tag[0], tag[2], tag[3:]) for tag in tags[1:]] == [
        ("1", "yes", ["targets/releases"]), ("2", "no", ["-"]),
    ]  # fmt: skip
    shell("user", "demote", "carol")
    shell("user", "disable", "carol")
    assert "disabled user" in shell("user", "show", "carol")
    for words in (
        ("team", "leave", "base/devs", "bob"), ("team", "remove", "base/devs"), ("namespace", "release", "tools"),
        ("org", "remove", "base"), ("user", "remove", "carol"), ("user", "remove", "bob"),
        ("visibility", "library/app", "private"),
    ):  # fmt: skip
        assert shell(*words) == ""
    records = shell.json("audit", "--name", "bob")["records"]
    assert [(each["actor"], each["action"]) for each in records] == [("admin", "user.add"), ("admin", "user.remove")]
    assert "   user.remove   " in shell("audit", "--since", "2026-01-01")


def test_a_policy_is_shown_and_set_and_a_pull_explained(shell: Shell) -> None:
    image = f"{shell.site.host}/library/app"
    assert shell("explain", f"{image}:1").startswith(f"{image}:1: served, 200 SIGNED\n")
    assert "refused, 403 UNSIGNED" in shell("explain", f"{image}:2", status=1)
    assert shell.json("explain", f"{image}:1")["decision"] == "served"
    shell("policy", "set", "library/", "--mode", "permissive", "--grace", "2", "--immutable", "v*")
    shown = [line.split("   ") for line in shell("policy", "set", "library/app", "--require", "all").splitlines()]
    assert [cell.strip() for cell in shown[0] if cell] == [
        "PART", "library/app", "library/app (administrators)", "library/ (administrators)", "settings",
    ]  # fmt: skip
    assert shell.json("policy", "show", "library/app")["policy"] == {
        "mode": "permissive", "roles": ["targets/releases", "targets"], "require": "all", "needed": 2, "pins": [],
        "grace_days": 2, "immutable": ["v*"],
    }  # fmt: skip
    assert shell.json("policy", "set", "library/app", "--unsaid", "roles", "--mutable")["policy"]["immutable"] == []
    shell("policy", "reset", "library/app")
    assert shell.json("policy", "reset", "library/")["policy"]["mode"] == "enforced"
    assert "immutable" in shell("policy", "set", "library/", "--immutable", "v,1", status=2)


def test_tokens_are_shown_once_and_ended(shell: Shell) -> None:
    secret = shell("token", "create", "the build", "--scope", "admin", "--days", "3").strip()
    assert secret.startswith("troth_")
    (token,) = shell.json("token", "list")["tokens"]
    assert secret not in shell("token", "list")
    shell.login("admin", secret)
    assert shell("whoami").split()[-4:] == ["admin", "administrator", "admin", "-"]
    # A token makes nothing that outlives it, and what to do instead is said.
    for words in (("token", "create", "another"), ("user", "passwd", "admin")):
        said = shell(*words, text="another password\n", status=3)
        assert "asked for the password itself, given a token with the scope admin; give it with --username" in said
    shell("token", "revoke", str(token["id"]), "--user", "admin")
    assert "password is wrong" in shell("whoami", status=3)


def test_what_docker_login_keeps_will_do_and_a_password_is_asked_where_it_is_needed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.identity("admin", PASSWORD)
    assert shell.json("whoami")["name"] == "admin"
    shell("user", "add", "dora", text="a password of dora's\n")
    assert "give it with --username" in shell("user", "passwd", "dora", text="a new password\n", status=3)
    # With the password on standard input, before the new one.
    words = ("user", "passwd", "dora", "--username", "admin", "--password-stdin")
    shell(*words, text=f"{PASSWORD}\na new password\n")
    shell.login("dora", "a new password")
    assert shell.json("whoami")["name"] == "dora"
    # At a terminal a person is asked.
    shell.identity("admin", PASSWORD)
    asked: list[str] = []
    answers = iter([PASSWORD, "the third password", "the third password"])

    def ask(text: str) -> str:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(Keyboard, "isatty", lambda _: True)
    monkeypatch.setattr("getpass.getpass", ask)
    shell("user", "passwd", "dora")
    assert asked == ["Your own password, admin: ", "New password for dora: ", "The same again: "]
    shell.login("dora", "the third password")
    assert shell.json("whoami")["name"] == "dora"


def test_jobs_are_scheduled_and_run_and_followed(shell: Shell) -> None:
    kinds = {line.split()[0] for line in shell("job", "list").splitlines()}
    assert kinds == {"KIND", "drift", "gc", "prune", "refresh"}
    shell("job", "schedule", "gc", "30 1 * * 0", "--options", '{"grace_hours": 48}')
    shell("job", "disable", "gc")
    assert 'disabled (30 1 * * 0)   -     {"grace_hours": 48}' in shell("job", "show", "gc")
    shell("job", "enable", "gc")
    assert shell.json("job", "show", "gc")["enabled"]
    assert "at $.options" in shell("job", "schedule", "gc", "--options", '{"grace_hours": "x"}', status=2)
    first = shell.json("job", "run", "gc")["id"]
    assert shell.json("job", "runs")["runs"][0]["options"] == {"grace_hours": 48}
    shell("job", "cancel", str(first))
    assert shell("job", "report", str(first)).startswith("gc cancelled, started -, ended 2026-")
    second = str(shell.json("job", "run", "gc", "--options", '{"dry_run": true}')["id"])
    world = shell.site.world
    _job_worker(world.settings, world.database).turn("gc", Event())
    assert [line.split()[:3] for line in shell("job", "runs", "gc", "--count", "1").splitlines()[1:]] == [
        [second, "gc", "done"]
    ]
    assert [run["id"] for run in shell.json("job", "runs", "--before", second)["runs"]] == [first]
    told = shell("job", "report", second).splitlines()
    assert told[0].startswith("gc done, started 2026-")
    assert json.loads("\n".join(told[1:]))["dry_run"] is True
    assert "gc begins, started by admin" in shell("job", "log", second)
    assert "there is no run 4711" in shell("job", "log", "4711", status=1)


def test_a_webhook_is_looked_after_and_its_secret_shown_once_or_never(shell: Shell, tmp_path: Path) -> None:
    url = "https://hooks.example.com/troth"
    number, secret = shell("webhook", "add", url, "--event", "push", "--event", "delete", "--place", "lib/").split()
    assert secret.startswith("whsec_")
    row = [number, "lib/", url, "push", "delete", "on", "0", "admin"]
    for words in (("list",), ("list", "--place", "lib/"), ("show", number)):
        assert shell("webhook", *words).splitlines()[1].split() == row
    (tmp_path / "secret").write_text(SECRET)
    for file, text in ((str(tmp_path / "secret"), ""), ("-", f"{SECRET}\n")):
        brought = shell("webhook", "add", url, "--secret-file", file, text=text)
        assert brought.strip().isdecimal()
        shell("webhook", "remove", brought.strip())
    assert "cannot be read" in shell("webhook", "add", url, "--secret-file", str(tmp_path / "none"), status=2)
    assert "short-secret" not in shell("webhook", "add", url, "--secret-file", "-", text="short-secret\n", status=2)
    assert shell("webhook", "test", number) == "1\n"
    (told,) = shell.json("webhook", "deliveries", number)["deliveries"]
    assert shell("webhook", "deliveries", number, "--count", "1").split()[-9:-1] == [
        "1", "test", told["created"], "waiting", "0", "-", "-", "-"
    ]  # fmt: skip
    assert shell.json("webhook", "deliveries", number, "--before", "1") == {"deliveries": []}
    assert "still to be delivered" in shell("webhook", "redeliver", number, "1", status=3)
    assert "   off: switched off by admin   " in shell("webhook", "disable", number)
    assert "switched off" in shell("webhook", "test", number, status=3)
    assert shell.json("webhook", "enable", number)["enabled"]
    shell("webhook", "remove", number)
    assert "there is no such webhook" in shell("webhook", "show", number, status=1)


def test_a_password_beyond_ascii_is_the_same_for_docker_admin_and_the_library(shell: Shell) -> None:
    password = "pässword of €ric 密"
    shell("user", "add", "eric", text=f"{password}\n")
    shell("grant", "set", "eric", "library/app", "read")
    shell.login("eric", password)
    assert shell.json("whoami")["name"] == "eric"
    ca = shell.site.folder / "var/ca/ca.crt"
    library = trust.Registry(f"https://{shell.site.host}", ca=ca, credentials=("eric", password))
    assert library.resolve(trust.RepositoryName("library/app"), "1").digest
    wrong = trust.Registry(f"https://{shell.site.host}", ca=ca, credentials=("eric", "p\udce4ssword"))
    with pytest.raises(trust.InvalidError, match="no text in UTF-8") as refused:
        wrong.resolve(trust.RepositoryName("library/app"), "1")
    assert refused.value.__cause__ is None


def test_each_refusal_has_its_status_and_the_registrys_own_sentence(shell: Shell) -> None:
    assert "there is no such user" in shell("user", "show", "nobody", status=1)
    assert "already" in shell("user", "add", "admin", text="a password\n", status=3)
    assert "at $.password, minLength 8" in shell("user", "add", "eve", text="short\n", status=2)
    shell("user", "add", "erin", text="a password of erin's\n")
    shell.login("erin", "a password of erin's")
    assert "asked for administrator, given user" in shell("user", "list", status=3)
    assert "there is no such repository or namespace" in shell("policy", "show", "library/", status=1)
    assert "is no name" in shell("user", "show", "..", status=2)
    assert "is no name" in shell("repo", "remove", "a/../b", status=2)
    (shell.folder / "config.json").unlink()
    assert f"run 'docker login {shell.site.host}'" in shell("user", "list", status=3)
    assert "HOST:PORT" in shell("user", "list", "--site", "https://localhost", status=2)
    shell.login("admin", PASSWORD)
    for path in (shell.folder / "tls").rglob("*.crt"):
        path.unlink()
    assert "CERTIFICATE_VERIFY_FAILED" in shell("whoami", status=3)
    assert shell("whoami", "--tlscacert", str(shell.site.folder / "var/ca/ca.crt")).split()[4] == "admin"


def test_no_site_is_guessed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TROTH_SITE")
    assert "--site HOST:PORT, or TROTH_SITE" in shell("user", "list", status=2)


def test_what_the_registry_says_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    admin._print_rows([["\x1b[2J", {"a": "\x07"}, None]])
    assert capsys.readouterr().out == '?[2J   {"a": "\\u0007"}   -\n'


def test_every_operation_of_the_api_has_a_command(shell: Shell) -> None:
    context = ssl.create_default_context(cafile=str(shell.site.folder / "var/ca/ca.crt"))
    with urllib.request.urlopen(f"https://{shell.site.host}/api/v1/openapi.json", context=context) as answer:
        document = json.loads(answer.read())
    names = dict.fromkeys(("repository", "user", "name", "namespace", "token", "number", "run", "webhook"), "_")

    def form(path: str) -> str:
        for name, other in names.items():
            path = path.replace(f"{{{name}}}", other)
        return path

    offered = {(method.upper(), form(path)) for path, each in document["paths"].items() for method in each}
    taken = {(command.method, form(path)) for command in TABLE for path in (command.path, command.others) if path}
    assert taken <= offered
    assert offered - taken == {("GET", "/repositories/_")}  # `repo list` shows it


def test_a_password_is_no_argument() -> None:
    parser = argparse.ArgumentParser()
    admin.add_parser(parser.add_subparsers())
    for words in (
        ["user", "add", "bob", "secret"], ["user", "passwd", "bob", "--password", "secret"],
        ["webhook", "add", "https://hooks.example.com/", "--secret", SECRET],
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            parser.parse_args(["admin", *words])
