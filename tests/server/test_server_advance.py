# SPDX-License-Identifier: Apache-2.0
"""`troth-server advance`: a restored server gets ahead of what was seen (T30)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from notaryserver import NotaryServer
from server import app
from server.advance import advance, main
from server.online import Online
from server.settings import PREFIX, Settings
from trust.errors import NotFoundError
from trust.keystore import MemoryKeyStore
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.settings import load
from trust.update import RefusedUpdateError

GUN = Gun("localhost:5000/library/app")


@pytest.fixture
def server(tmp_path: Path) -> NotaryServer:
    return NotaryServer(tmp_path)


def test_snapshot_and_timestamp_skip_versions_and_publishing_goes_on_from_there(server: NotaryServer) -> None:
    collection = server.published(GUN)
    before = server.get(GUN, "targets.json").data
    done = advance(server.database, Online(server.keys), GUN, 100, server.now)
    assert done == {SNAPSHOT: 102, TIMESTAMP: 102}
    assert server.file(GUN, "timestamp").signed.version == 102
    assert server.file(GUN, "snapshot").signed.version == 102
    assert server.get(GUN, "targets.json").data == before
    collection.targets({"v2": b"other"})
    assert server.publish(collection, "targets").status_code == 200
    assert server.file(GUN, "timestamp").signed.version == 103


def test_a_snapshot_that_its_publisher_signs_stays(server: NotaryServer) -> None:
    collection = server.collection(GUN, snapshot=False)
    collection.root()
    collection.targets({"v1": b"manifest"})
    collection.snapshot()
    assert server.publish(collection, "root", "targets", "snapshot").status_code == 200
    assert advance(server.database, Online(server.keys), GUN, 100, server.now) == {TIMESTAMP: 102}
    assert server.get(GUN, "snapshot.json").data == collection.files[SNAPSHOT]


def test_what_cannot_be_signed_is_left_as_it_is(server: NotaryServer) -> None:
    with pytest.raises(NotFoundError):
        advance(server.database, Online(server.keys), GUN, 100, server.now)
    server.published(GUN)
    stranger = Online(MemoryKeyStore(clock=lambda: server.now))
    with pytest.raises(RefusedUpdateError):
        advance(server.database, stranger, GUN, 100, server.now)
    assert server.file(GUN, "timestamp").signed.version == 1


def settings_in(path: Path | None) -> Settings:
    return load(Settings, prefix=PREFIX, path=path)


def test_the_command_goes_through_all_collections_and_says_what_it_could_not(
    server: NotaryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Gun("localhost:5000/library/other")
    server.now = datetime.now(UTC)  # the command has no other clock
    for gun in (GUN, other):
        server.published(gun)
    config = tmp_path / "server.toml"
    config.write_text(f'database_url = "{server.settings.database_url}"\n')
    arguments = ["--config", str(config), "--by", "10"]
    assert main(arguments, settings_in, lambda _: Online(server.keys)) == 0
    assert capsys.readouterr().out == f"{GUN}: snapshot 12, timestamp 12\n{other}: snapshot 12, timestamp 12\n"
    assert main([*arguments, other, "never/seen"], settings_in, lambda _: Online(server.keys)) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{other}: snapshot 23, timestamp 23\n"
    assert captured.err == "troth-server: never/seen: there is no collection never/seen\n"
    for by in ("0", "10001"):
        assert main([*arguments[:2], "--by", by], settings_in, lambda _: Online(server.keys)) == 1
        assert "--by must be from 1 to 10000" in capsys.readouterr().err
    assert server.file(GUN, "timestamp").signed.version == 12


def test_without_a_signer_the_command_says_what_is_missing(
    server: NotaryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "server.toml"
    config.write_text(f'database_url = "{server.settings.database_url}"\n')
    assert app.main(["advance", "--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith("troth-server: signer_ca, signer_client_certificate")


def test_the_command_takes_the_originals_configuration_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "server.json"
    config.write_text('{"server": {"http_addr": ":4443"}, "trust_service": {"type": "remote"}}')
    assert app.main(["advance", "--config", str(config)]) == 1
    complaint = capsys.readouterr().err
    assert "trust_service.hostname" in complaint
    assert "TOML" not in complaint
