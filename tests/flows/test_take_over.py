# SPDX-License-Identifier: Apache-2.0
"""A site's notary is replaced on a Friday, and its clients notice nothing: same address, same keys, same caches."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from databases import Server
from flows.clients import PASSPHRASE, Client
from flows.gonotary import SECRET, GoPair, OurPair, Place

pytestmark = pytest.mark.client("notary", "postgresql")

GUN, OTHER, GONE, DOCKERS = (f"localhost:5000/library/{name}" for name in ("app", "tool", "gone", "image"))


@pytest.fixture(params=["sqlite", "postgresql"])
def ours(request: pytest.FixtureRequest, postgresql_server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The databases of our pair, of each kind in turn."""
    with ExitStack() as stack:
        yield {
            program: f"sqlite:///{tmp_path}/{program}.db"
            if request.param == "sqlite"
            else stack.enter_context(postgresql_server.database())
            for program in ("server", "signer")
        }


def notary(place: Place, home: Path) -> Client:
    """Debian's notary client, which verifies the server's certificate."""
    passphrases = {f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")}
    options = ["--server", place.url, "--tlscacert", str(place.ca), "--trustDir", str(home / ".notary")]
    return Client("/usr/bin/notary", home, options, passphrases)


def docker(place: Place, home: Path) -> Client:
    """A docker CLI; what it is asked here needs no engine."""
    environment = {
        "DOCKER_CONFIG": str(home / ".docker"),
        "DOCKER_HOST": f"unix://{home}/nobody.sock",
        "DOCKER_CONTENT_TRUST_SERVER": place.url,
        "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": PASSPHRASE,
        "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": PASSPHRASE,
    }
    return Client("/usr/bin/docker", home, environment=environment)


def delegation_key(folder: Path) -> tuple[Path, Path]:
    """A private key, and the certificate that makes it a signer."""
    key, certificate = folder / "releases.key", folder / "releases.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "30", "-subj", "/CN=releases"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


FILES = "SELECT gun, role, version, data, sha256 FROM tuf_files ORDER BY gun, role, version"
# PostgreSQL pads an empty CHAR(64) with spaces.
CHANGES = "SELECT id, gun, version, RTRIM(sha256), category FROM changefeed ORDER BY id"
KEYS = """
    SELECT key_id, gun, role, algorithm, passphrase_alias, public, private, last_used IS NULL
    FROM private_keys WHERE deleted_at IS NULL ORDER BY key_id
"""


def listed(client: Client, gun: str = GUN) -> dict[str, str]:
    """Names and roles of what a client lists."""
    return dict(re.findall(r"^(\S+) +[0-9a-f]{64} +\d+ +(\S+)$", client("list", gun), re.MULTILINE))


@dataclass(frozen=True)
class Site:
    """A site that the original served until a moment ago.

    Attributes:
        place: where it is found.
        databases: what the original left.
        sources: the options that name them to `troth import`.
        homes: of its clients.
        lists: what a reader saw last.
    """

    place: Place
    databases: dict[str, str]
    sources: list[str]
    homes: Path
    lists: dict[str, dict[str, str]]

    def clients(self, folder: Path) -> tuple[Client, Client, Client, Client]:
        """Publisher, reader, delegated signer and docker, each with a copy of its keys and caches."""
        shutil.copytree(self.homes, folder)
        publisher, reader, signer = (notary(self.place, folder / name) for name in ("publisher", "reader", "signer"))
        return publisher, reader, signer, docker(self.place, folder / "docker")


@pytest.fixture(scope="module")
def site(postgresql_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a history: delegations, rotated keys, a deleted collection, and one of docker's."""
    folder = tmp_path_factory.mktemp("site")
    place, homes, artifact = Place(folder), folder / "homes", folder / "artifact"
    artifact.write_bytes(b"something to sign\n")
    publisher, reader, signer = (notary(place, homes / name) for name in ("publisher", "reader", "signer"))
    cli = docker(place, homes / "docker")
    key, certificate = delegation_key(folder)
    with ExitStack() as stack:
        databases = {name: stack.enter_context(postgresql_server.database()) for name in ("server", "signer")}
        go = GoPair(folder, place, databases)
        with go:
            publisher("init", GUN)
            publisher("add", GUN, "v1", artifact)
            publisher("delegation", "add", GUN, "targets/releases", certificate, "--all-paths")
            publisher("publish", GUN)
            publisher("key", "rotate", GUN, "snapshot", "--server-managed")
            signer("key", "import", key, "--role", "targets/releases")
            signer("add", GUN, "v2", artifact, "--roles", "targets/releases")
            signer("publish", GUN)
            publisher("key", "rotate", GUN, "targets")
            publisher("init", OTHER)
            publisher("add", OTHER, "a", artifact)
            publisher("publish", OTHER)  # its snapshot key stays with the publisher
            publisher("init", GONE)
            publisher("publish", GONE)
            publisher("delete", GONE, "--remote")
            cli("trust", "key", "generate", "alice")
            cli("trust", "signer", "add", "--key", cli.home / "alice.pub", "alice", DOCKERS)
            lists = {name: listed(reader, name) for name in (GUN, OTHER)}
            assert lists == {GUN: {"v1": "targets", "v2": "targets/releases"}, OTHER: {"a": "targets"}}
        sources = [f"--{program}-from={go.configuration(program)}" for program in ("server", "signer")]
        yield Site(place, databases, sources, homes, lists)


def test_clients_go_on_with_their_keys_and_caches(site: Site, ours: dict[str, str], tmp_path: Path) -> None:
    pair = OurPair(tmp_path, site.place, ours)
    report = tmp_path / "report.json"
    settings = [f"--{program}-config={pair.configuration(program)}" for program in ("server", "signer")]
    command = ["import", *settings, *site.sources, f"--report={report}"]
    status, said = pair.run("troth", *command, "--dry-run")
    assert status == 0, said
    assert "nothing was written" in said
    assert not (tmp_path / "server.db").exists()
    status, said = pair.run("troth", *command)
    assert status == 0, said
    entries = {entry["gun"]: entry for entry in json.loads(report.read_bytes())["guns"]}
    assert {entry["state"] for entry in entries.values()} == {"imported"}
    assert entries[OTHER]["notes"] == ["its snapshot key is its publisher's"]
    assert not any(entry["problems"] for entry in entries.values())
    assert SECRET not in report.read_text() + said
    for program, query in (("server", FILES), ("server", CHANGES), ("signer", KEYS)):
        assert rows(ours[program], query) == rows(site.databases[program], query)

    publisher, reader, signer, cli = site.clients(tmp_path / "homes")
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"something else to sign\n")
    with pair:
        assert {name: listed(reader, name) for name in (GUN, OTHER)} == site.lists
        signer("add", GUN, "v3", artifact, "--roles", "targets/releases")
        signer("publish", GUN)
        publisher("add", GUN, "v4", artifact)
        publisher("publish", GUN)
        publisher("add", OTHER, "b", artifact)
        publisher("publish", OTHER)
        publisher("key", "rotate", GUN, "timestamp", "--server-managed")
        assert listed(reader) == site.lists[GUN] | {"v3": "targets/releases", "v4": "targets"}
        assert listed(reader, OTHER) == {"a": "targets", "b": "targets"}
        assert "does not have trust data" in publisher.refused("list", GONE)
        cli("trust", "key", "generate", "bob")
        cli("trust", "signer", "add", "--key", cli.home / "bob.pub", "bob", DOCKERS)
        shown = json.loads(cli("trust", "inspect", DOCKERS))
        assert {each["Name"] for each in shown[0]["Signers"]} == {"alice", "bob"}
    changes = rows(ours["server"], CHANGES)
    assert len(changes) > len(rows(site.databases["server"], CHANGES))  # the next ones have new IDs
