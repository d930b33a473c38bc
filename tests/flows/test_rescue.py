# SPDX-License-Identifier: Apache-2.0
"""A notary is switched off: what it had is rescued, served as it was, and adopted by its publishers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.clients import PASSPHRASE, Client
from flows.gonotary import GoAlone, OurPair, Place

pytestmark = pytest.mark.client("notary")

OWN, SERVERS = "localhost:5000/library/own", "localhost:5000/library/servers"


@dataclass(frozen=True)
class Rescued:
    """What is left of a notary: a folder, and its clients with their keys and caches.

    Attributes:
        pair: our server and signer, which run where it ran.
        folder: what was rescued.
        publisher: holds the root keys.
        reader: has seen both collections before.
    """

    pair: OurPair
    folder: Path
    publisher: Client
    reader: Client

    def listed(self, gun: str) -> set[str]:
        """What the reader lists."""
        return set(re.findall(r"^(\S+) +[0-9a-f]{64} ", self.reader("list", gun), re.MULTILINE))

    def troth(self, command: str, *arguments: str | Path) -> tuple[int, str]:
        """Run a command of `troth` as the publisher."""
        trust = f"--trust-dir={self.publisher.home}/.notary"
        options = [trust, f"--server={self.pair.place.url}", f"--tlscacert={self.pair.place.ca}"]
        return self.pair.run("troth", command, *options, *arguments, NOTARY_ROOT_PASSPHRASE=PASSPHRASE)


def notary(place: Place, home: Path) -> Client:
    """Debian's notary client, which verifies the server's certificate."""
    passphrases = {f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in ("ROOT", "TARGETS", "SNAPSHOT")}
    options = ["--server", place.url, "--tlscacert", str(place.ca), "--trustDir", str(home / ".notary")]
    return Client("/usr/bin/notary", home, options, passphrases)


@pytest.fixture(scope="module")
def rescued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rescued]:
    """Two collections of a notary that is gone, imported; one has its own snapshot key, one had the notary's."""
    folder = tmp_path_factory.mktemp("rescue")
    place, artifact = Place(folder), folder / "artifact"
    artifact.write_bytes(b"something to sign\n")
    publisher, reader = notary(place, folder / "publisher"), notary(place, folder / "reader")
    pair = OurPair(folder, place, {name: f"sqlite:///{folder}/{name}.db" for name in ("server", "signer")})
    with GoAlone(folder, place):
        for gun in (OWN, SERVERS):
            publisher("init", gun)
            publisher("add", gun, "v1", artifact)
            publisher("publish", gun)
            reader("list", gun)
        publisher("key", "rotate", SERVERS, "snapshot", "--server-managed")
        publisher("key", "rotate", SERVERS, "targets")
        command = ["rescue", place.url, f"--tlscacert={place.ca}", f"--to={folder}/rescued"]
        status, said = pair.run("troth", *command, OWN, "localhost:5000/library/none", SERVERS)
        assert status == 1, said
        assert "does not have trust data for localhost:5000/library/none" in said
        status, said = pair.run("troth", *command, OWN, SERVERS)
        assert status == 0, said
        assert f"{SERVERS}: " in said
        assert "root 3, roles targets, signed names: 1" in said
    imported = ["import", f"--config={pair.configuration('server')}", f"--from-folder={folder}/rescued"]
    report = folder / "report.json"
    status, said = pair.run("troth-server", *imported, f"--report={report}")
    assert status == 0, said
    assert {entry["state"] for entry in json.loads(report.read_bytes())["guns"]} == {"imported"}
    status, said = pair.run("troth-server", *imported)
    assert (status, set(re.findall("imported|present", said))) == (0, {"present"}), said
    with pair:
        yield Rescued(pair, folder / "rescued", publisher, reader)


@pytest.mark.parametrize("gun", [OWN, SERVERS])
def test_it_is_served_as_it_was_until_it_is_adopted(rescued: Rescued, gun: str, tmp_path: Path) -> None:
    assert rescued.listed(gun) == {"v1"}
    assert "v1" in notary(rescued.pair.place, tmp_path)("list", gun)
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"something else\n")
    rescued.publisher("add", gun, "too-early", artifact)
    rescued.publisher.refused("publish", gun)
    rescued.publisher("reset", gun, "--all")
    assert rescued.listed(gun) == {"v1"}


def test_a_publisher_with_a_snapshot_key_adopts_it_with_notary(rescued: Rescued, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"something else\n")
    rescued.publisher("key", "rotate", OWN, "timestamp", "--server-managed")
    rescued.publisher("key", "rotate", OWN, "snapshot", "--server-managed")
    rescued.publisher("add", OWN, "v2", artifact)
    rescued.publisher("publish", OWN)
    assert rescued.listed(OWN) == {"v1", "v2"}


def test_a_publisher_whose_snapshot_key_was_the_servers_adopts_it_with_troth(
    rescued: Rescued, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"something else\n")
    # notary rotates one key at a time, and of two lost keys neither can be replaced alone.
    rescued.publisher.refused("key", "rotate", SERVERS, "timestamp", "--server-managed")
    status, said = rescued.troth("adopt", SERVERS)
    assert status == 0, said
    assert "root version 4" in said
    assert rescued.listed(SERVERS) == {"v1"}
    rescued.publisher("add", SERVERS, "v2", artifact)
    rescued.publisher("publish", SERVERS)
    assert rescued.listed(SERVERS) == {"v1", "v2"}
