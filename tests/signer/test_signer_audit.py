# SPDX-License-Identifier: Apache-2.0
"""What a signer records: keys made, first used, deleted and imported, and what it was asked in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from signer import app, migrations
from signer.grpc import Methods
from signer.models import TRAIL
from signer.passphrases import Passphrases
from signer.protobuf import Message, field
from signer.takeover import OriginKey, Succession
from signer.vault import Vault
from signerprocess import SignerProcess, payload, tls_connection
from trust.errors import DeniedError, NotFoundError
from trust.keys import generate_private, public_key_of
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun
from trust.remotekeys import KEYS_PATH
from trust.web.audit import Record
from trust.web.auditcheck import check
from trust.web.caller import Who
from trust.web.database import Database
from trust.web.migrations import upgrade

GUN = Gun("localhost:5000/library/app")
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SERVER = Who("notary-server", "192.0.2.1", "r1")
SECRET = "correct horse battery staple"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database, migrations)
    yield database
    database.dispose()


def vault(database: Database) -> Vault:
    return Vault(database, Passphrases(None, {"NOTARY_SIGNER_DEFAULT": SECRET}), "default", clock=lambda: NOW)


def trail(database: Database) -> list[Record]:
    """The records of a trail that is whole."""
    with database.read() as session:
        check(TRAIL, session)
        return list(TRAIL.records(session))


def told(record: Record) -> tuple[str, str, str, str]:
    return record.actor, record.action, record.outcome, record.role


def test_a_key_is_recorded_when_it_is_made_first_used_and_deleted_and_at_no_other_time(database: Database) -> None:
    keys = vault(database)
    key = keys.create(GUN, TIMESTAMP, "ecdsa", who=SERVER)
    assert keys.create(GUN, TIMESTAMP, "ecdsa", who=SERVER) == key  # pending still
    for version in (1, 2, 3):
        keys.sign(GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, version=version, now=NOW), who=SERVER)
    keys.find(GUN, TIMESTAMP, [key.keyid])
    assert keys.delete(key.keyid, who=SERVER)
    assert not keys.delete(key.keyid, who=SERVER)
    found = trail(database)
    assert [told(record) for record in found] == [
        ("notary-server", action, "done", "timestamp") for action in ("key.create", "key.use", "key.delete")
    ]
    for record in found:
        assert (record.name, record.address, record.request_id) == (GUN, "192.0.2.1", "r1")
        assert json.loads(record.detail) == {"key_id": key.keyid, "algorithm": "ecdsa", "alias": "default"}


def test_the_first_use_is_recorded_once_also_when_many_are_the_first(database: Database) -> None:
    keys = vault(database)
    key = keys.create(GUN, TIMESTAMP, "ecdsa")
    barrier = Barrier(4)

    def sign(version: int) -> None:
        barrier.wait()
        keys.sign(GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, version=version, now=NOW), who=SERVER)

    with ThreadPoolExecutor(barrier.parties) as pool:
        list(pool.map(sign, range(1, barrier.parties + 1)))
    assert [record.action for record in trail(database)] == ["key.create", "key.use"]


@pytest.fixture
def signer(tmp_path: Path) -> SignerProcess:
    signer = SignerProcess(tmp_path)
    app.prepare(signer.settings)
    return signer


def test_what_is_asked_in_vain_is_recorded(signer: SignerProcess) -> None:
    database = Database(signer.database_url)
    keys = vault(database)
    key = keys.create(GUN, TIMESTAMP, "ecdsa", who=SERVER)
    with pytest.raises(DeniedError):
        keys.create(GUN, ROOT, "ecdsa", who=SERVER)
    with pytest.raises(DeniedError):
        keys.sign(GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, days=4000, now=NOW), who=SERVER)
    with pytest.raises(NotFoundError):
        keys.sign(GUN, SNAPSHOT, key.keyid, payload(SNAPSHOT, now=NOW), who=SERVER)
    found = trail(database)[1:]
    assert [told(record)[1:] for record in found] == [
        ("key.create", "refused", "root"),
        ("sign", "refused", "timestamp"),
        ("sign", "refused", "snapshot"),
    ]
    assert json.loads(found[1].detail)["key_id"] == key.keyid
    database.dispose()


def test_through_either_door_the_client_is_named_by_its_certificate(signer: SignerProcess) -> None:
    application = app.create_app(signer.settings)
    near, far = tls_connection(signer, signer.client)
    with near, far:
        answer = application.test_client().post(
            KEYS_PATH,
            json={"gun": GUN, "role": "timestamp", "algorithm": "ecdsa"},
            headers={"X-Request-Id": "r7"},
            environ_overrides={"gunicorn.socket": near},
        )
    assert answer.status_code == 200
    database = Database(signer.database_url)
    methods = Methods(vault(database), 1000)
    methods.create_key(Message(field(1, "ecdsa") + field(2, GUN) + field(3, "snapshot")), SERVER)
    first, second = trail(database)
    assert (told(first), first.request_id) == (("notary-server", "key.create", "done", "timestamp"), "r7")
    assert (told(second), second.request_id) == (("notary-server", "key.create", "done", "snapshot"), "r1")
    database.dispose()


def test_an_import_is_recorded_key_by_key_and_a_dry_run_is_not(signer: SignerProcess) -> None:
    database = Database(signer.database_url)
    public = public_key_of(generate_private("ecdsa"))
    row = OriginKey(
        public.keyid, "ecdsa", "old", GUN, "timestamp", public.public, b"sealed", "a", "b", NOW, NOW, None
    )
    Succession([row], database, None, NOW, dry_run=True).collections(())
    for _ in range(2):
        Succession([row], database, None, NOW).collections(())
    (record,) = trail(database)
    assert told(record) == ("(operator)", "import", "done", "timestamp")
    assert json.loads(record.detail) == {"key_id": public.keyid, "algorithm": "ecdsa", "alias": "old"}
    database.dispose()


def test_no_secret_is_in_the_trail_and_the_command_prints_it(
    signer: SignerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(signer.database_url)
    keys = vault(database)
    key = keys.create(GUN, TIMESTAMP, "ecdsa", who=SERVER)
    keys.sign(GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=NOW), who=SERVER)
    database.dispose()
    assert app.main(["audit", "--config", str(signer.config), "--json"]) == 0
    out = capsys.readouterr().out
    assert [json.loads(line)["action"] for line in out.splitlines()] == ["key.create", "key.use"]
    assert not any(word in out for word in (SECRET, "PRIVATE", "eyJ"))
    assert app.main(["audit", "--config", str(signer.config), "verify"]) == 0
    assert capsys.readouterr().out.startswith("troth-signer: the audit trail is whole, head 2:")
