# SPDX-License-Identifier: Apache-2.0
"""What a notary server records: who published, rotated, deleted and imported what, and who tried to."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from collection import Collection, with_a_broken_signature
from notaryserver import NOW, NotaryServer, tuf
from server import app
from server.models import TRAIL
from server.origin import Folder
from server.succession import Succession
from shelf import Shelf
from signerprocess import SignerProcess, tls_connection
from trust.keystore import MemoryKeyStore
from trust.names import ROOT, TARGETS
from trust.rescue import rescue, write
from trust.web.audit import Record
from trust.web.auditcheck import check
from world import APP, World

GUN = f"localhost:5000/{APP}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NotaryServer]:
    server = NotaryServer(tmp_path)
    yield server
    server.close()


def trail(server: NotaryServer, after: int = 0) -> list[Record]:
    """The records behind number `after` of a trail that is whole."""
    with server.database.read() as session:
        check(TRAIL, session)
        return list(TRAIL.records(session, after=after))


def told(record: Record) -> tuple[str, str, str, str, int | None]:
    return record.actor, record.action, record.outcome, record.role, record.version


def test_a_publish_is_one_record_for_each_file_with_its_hash_and_publisher(tmp_path: Path) -> None:
    world = World(tmp_path)
    collection = world.collection(APP)
    collection.root()
    collection.targets({"v1": b"manifest"})
    world.server.headers = world.token(GUN, "pull,push", user="alice") | {"X-Request-Id": "request-1"}
    assert world.server.publish(collection, "root", "targets").status_code == 200
    found = trail(world.server)
    assert [told(record) for record in found] == [
        ("alice", "publish", "done", "root", 1),
        ("alice", "publish", "done", "targets", 1),
        ("alice", "sign", "done", "snapshot", 1),
        ("alice", "sign", "done", "timestamp", 1),
    ]
    for record in found:
        stored = world.server.get(collection, f"{record.role}.json").data
        assert record.sha256 == hashlib.sha256(stored).hexdigest()
        assert (record.name, record.request_id, record.address) == (GUN, "request-1", "127.0.0.1")
        assert record.time == NOW.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_root_with_other_keys_says_for_which_roles(server: NotaryServer) -> None:
    collection = server.published(GUN)
    collection.rotate("targets")
    collection.root()
    collection.targets()
    assert server.publish(collection, "root", "targets").status_code == 200
    details = {record.role: json.loads(record.detail) for record in trail(server, after=4)}
    assert details == {"root": {"new_keys": ["targets"]}, "targets": {}, "snapshot": {}, "timestamp": {}}


def test_a_renewal_is_the_servers_own_and_a_read_is_nothing(server: NotaryServer) -> None:
    collection = server.published(GUN)
    assert server.get(collection, "timestamp.json").status_code == 200
    assert len(trail(server)) == 4
    server.now += timedelta(days=8)
    assert server.get(collection, "timestamp.json").status_code == 200
    assert [told(record) for record in trail(server, after=4)] == [("(service)", "sign", "done", "timestamp", 2)]


def test_a_publish_that_is_refused_is_recorded_as_that_alone(server: NotaryServer) -> None:
    collection = server.collection(GUN)
    collection.root()
    collection.targets({"v1": b"manifest"})
    bad = with_a_broken_signature(collection.files[TARGETS])
    assert server.upload(collection, [("root", collection.files[ROOT]), ("targets", bad)]).status_code == 400
    (record,) = trail(server)
    assert told(record) == ("(anonymous)", "publish", "refused", "", None)
    assert json.loads(record.detail)["code"] == "INVALID_UPDATE"
    assert "targets" in json.loads(record.detail)["reason"]


@pytest.mark.parametrize("table", ["changefeed", "server_audit"])
def test_a_publish_and_its_records_are_kept_together_or_not_at_all(server: NotaryServer, table: str) -> None:
    collection = server.collection(GUN)
    collection.root()
    collection.targets({"v1": b"manifest"})
    with server.database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT no_such_function(); END"
        )
    assert server.publish(collection, "root", "targets").status_code == 503
    assert trail(server) == []
    assert server.get(collection, "root.json").status_code == 404


def test_keys_are_recorded_when_they_are_given_and_not_when_they_are_read(server: NotaryServer) -> None:
    first = server.get(GUN, "timestamp.key")
    assert first.status_code == 200
    assert server.request("POST", tuf(GUN, "snapshot.key")).status_code == 200
    found = trail(server)
    assert [told(record) for record in found] == [
        ("(anonymous)", "key", "done", "timestamp", None),
        ("(anonymous)", "key", "done", "snapshot", None),
    ]
    assert json.loads(found[0].detail).keys() == {"key_id", "algorithm"}
    server.published("localhost:5000/library/other")
    before = len(trail(server))
    assert server.get("localhost:5000/library/other", "timestamp.key").status_code == 200
    assert len(trail(server)) == before


def test_a_deletion_says_how_much_there_was(server: NotaryServer) -> None:
    server.published(GUN)
    for _ in range(2):
        assert server.request("DELETE", tuf(GUN, "")).status_code == 200
    found = trail(server, after=4)
    assert [(record.action, record.name, json.loads(record.detail)) for record in found] == [
        ("delete", GUN, {"files": 4}),
        ("delete", GUN, {"files": 0}),
    ]


def test_who_may_not_is_named_and_who_shows_no_token_is_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    reader = world.token(GUN, "pull", user="mallory")
    for headers in ({}, {"Authorization": "Bearer nonsense"}, reader):
        for method, path in (("POST", ""), ("POST", "timestamp.key"), ("DELETE", "")):
            assert world.server.request(method, tuf(GUN, path), headers=headers).status_code == 401
        assert world.server.get(GUN, "root.json", headers=headers).status_code in (401, 404)
    assert [told(record) for record in trail(world.server)] == [
        ("mallory", "publish", "refused", "", None),
        ("mallory", "key", "refused", "timestamp", None),
        ("mallory", "delete", "refused", "", None),
    ]


def test_nobody_can_pass_for_the_operator(tmp_path: Path) -> None:
    world = World(tmp_path)
    headers = world.token(GUN, "pull", user="(operator)")
    assert world.server.request("DELETE", tuf(GUN, ""), headers=headers).status_code == 401
    assert trail(world.server)[0].actor == "operator)"


def test_without_tokens_a_client_is_named_by_its_certificate(server: NotaryServer, tmp_path: Path) -> None:
    signer = SignerProcess(tmp_path)  # for its certificates
    near, far = tls_connection(signer, signer.tls.issue("(operator) alice"))
    with near, far:
        overrides = {"gunicorn.socket": near}
        assert server.request("DELETE", tuf(GUN, ""), environ_overrides=overrides).status_code == 200
    assert trail(server)[0].actor == "operator) alice"


def test_an_import_is_the_operators_and_a_repeated_one_changes_nothing(server: NotaryServer, tmp_path: Path) -> None:
    collection = Collection(GUN, NOW)
    shelf = Shelf(collection.publish({"v1": b"one"}))
    write(rescue(collection.gun, shelf, NOW), tmp_path / "rescued")
    for _ in range(2):
        Succession(Folder(tmp_path / "rescued"), server.database, NOW).collections(())
    Succession(Folder(tmp_path / "rescued"), server.database, NOW, dry_run=True).collections(())
    (record,) = trail(server)
    assert told(record) == ("(operator)", "import", "done", "", None)
    assert json.loads(record.detail) == {"changes": 1, "files": 4, "problems": 0}


def test_servers_that_publish_at_once_on_one_database_write_one_trail(tmp_path: Path, database_url: str) -> None:
    keys = MemoryKeyStore(clock=lambda: NOW)
    servers = [NotaryServer(tmp_path, keys=keys, database_url=database_url) for _ in range(2)]
    collections = [servers[0].published(f"localhost:5000/library/app{number}") for number in range(4)]
    barrier = Barrier(len(collections))

    def publish(number: int) -> None:
        collection = collections[number]
        barrier.wait()
        for count in range(4):
            collection.targets({f"v{count}": b"manifest"})
            assert servers[number % 2].publish(collection, "targets").status_code == 200

    with ThreadPoolExecutor(barrier.parties) as pool:
        list(pool.map(publish, range(barrier.parties)))
    found = trail(servers[0])
    assert [record.seq for record in found] == list(range(1, 4 * 4 + 4 * 4 * 3 + 1))
    for collection in collections:
        versions = [record.version for record in found if (record.name, record.role) == (collection.gun, "targets")]
        assert versions == [1, 2, 3, 4, 5]
    for server in servers:
        server.close()


# The command.


def command(server: NotaryServer, *arguments: str, folder: Path) -> int:
    config = folder / "server.toml"
    config.write_text(f'database_url = "{server.settings.database_url}"\n')
    return app.main(["audit", "--config", str(config), *arguments])


def heads(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "troth.audit"]


def test_the_command_prints_what_is_asked_for(
    server: NotaryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.published(GUN)
    server.now += timedelta(days=1)
    server.published("localhost:5000/library/other")
    assert command(server, folder=tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[1] == (f"2  2026-11-24T08:00:00.000000Z  (anonymous) at 127.0.0.1  publish {GUN} targets version 1")
    assert command(server, "--gun", GUN, "--since", "2026-11-24", folder=tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == lines[:4]
    assert command(server, "--since", "2026-11-25", folder=tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == lines[4:]
    assert command(server, "--json", folder=tmp_path) == 0
    read = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["hash"] for each in read] == [record.hash for record in trail(server)]


def test_verify_says_whether_the_trail_is_whole_and_its_status_does_too(
    server: NotaryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "troth.audit")
    server.published(GUN)
    head = heads(caplog)[-1].split()[1].rstrip(":")
    TRAIL.log_start(server.settings.database_url)
    assert heads(caplog)[-1] == f"head {head}: troth-server starts"
    assert command(server, "verify", "--head", head, folder=tmp_path) == 0
    assert capsys.readouterr().out == f"troth-server: the audit trail is whole, head {head}\n"
    assert command(server, "verify", "--head", f"3:{'0' * 64}", folder=tmp_path) == 1
    assert "BROKEN at record 3: is not the one that was known" in capsys.readouterr().out
    with server.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE server_audit SET actor = 'bob' WHERE seq = 2")
    assert command(server, "verify", folder=tmp_path) == 1
    why = "record 2: was changed: its hash is not that of what it says"
    assert capsys.readouterr().out == f"troth-server: the audit trail is BROKEN at {why}\n"


def test_options_that_do_not_go_together_are_refused(
    server: NotaryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(server, "verify", "--gun", GUN, folder=tmp_path) == 1
    assert command(server, "--after", f"3:{'0' * 64}", folder=tmp_path) == 1
    assert capsys.readouterr().err.count("audit verify") == 2
    with pytest.raises(SystemExit):
        command(server, "--since", "yesterday", folder=tmp_path)
