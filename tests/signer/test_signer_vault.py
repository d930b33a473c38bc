# SPDX-License-Identifier: Apache-2.0
"""The keys in the signer's database: sealed, marked, forgotten, and never mixed up (NOTARY_V1 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, select, update

from signer import migrations
from signer.models import SealedKey
from signer.passphrases import Passphrases
from signer.sealing import SealError, unseal
from signer.vault import Vault
from signerprocess import payload
from trust.errors import NotFoundError, UnavailableError
from trust.keys import NotarySignature, NotarySigner, public_key_of
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.web.database import Database
from trust.web.migrations import upgrade

_GUN = Gun("localhost:5000/library/app")
_NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database, migrations)
    yield database
    database.dispose()


def _vault(database: Database, alias: str = "default", *, cached: int = 1024, **passphrases: str) -> Vault:
    environ = {f"NOTARY_SIGNER_{name.upper()}": value for name, value in (passphrases or {alias: "secret"}).items()}
    return Vault(database, Passphrases(None, environ), alias, clock=lambda: _NOW, cached_keys=cached)


def _row(database: Database, key_id: str) -> SealedKey:
    with database.read() as session:
        row = session.scalars(select(SealedKey).where(SealedKey.key_id == key_id)).one()
        session.expunge(row)
        return row


def test_the_table_has_the_go_signers_columns_and_constraints(database: Database) -> None:
    inspector = inspect(database.engine)
    columns = {column["name"]: column for column in inspector.get_columns("private_keys")}
    assert list(columns) == [
        "id", "created_at", "updated_at", "deleted_at", "key_id", "encryption_alg", "keywrap_alg", "algorithm",
        "passphrase_alias", "public", "private", "gun", "role", "last_used",
    ]  # fmt: skip
    unique = {tuple(each["column_names"]) for each in inspector.get_unique_constraints("private_keys")}
    assert unique == {("key_id",), ("key_id", "algorithm")}
    assert {name for name, column in columns.items() if column["nullable"]} == {"deleted_at", "last_used"}


def test_a_row_says_what_the_go_signer_needs_and_the_key_is_sealed_in_it(database: Database) -> None:
    key = _vault(database).create(_GUN, TIMESTAMP, "ecdsa")
    row = _row(database, key.keyid)
    assert (row.gun, row.role, row.algorithm) == (_GUN, "timestamp", "ecdsa")
    assert (row.encryption_alg, row.keywrap_alg) == ("A256GCM", "PBES2-HS256+A128KW")
    assert (row.public, row.passphrase_alias) == (key.public, "default")
    assert row.created_at == row.updated_at == datetime(2030, 1, 1, 12)  # UTC, as Go keeps it
    assert public_key_of(unseal(row.private, "ecdsa", "secret")) == key


def test_last_used_is_set_by_a_signature_and_by_nothing_else(database: Database) -> None:
    vault = _vault(database)
    key = vault.create(_GUN, TIMESTAMP, "ecdsa")
    vault.find(_GUN, TIMESTAMP, [key.keyid])
    assert _row(database, key.keyid).last_used is None
    vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=_NOW))
    assert _row(database, key.keyid).last_used == datetime(2030, 1, 1, 12)


def test_keys_outlive_the_process(database: Database) -> None:
    key = _vault(database).create(_GUN, SNAPSHOT, "ed25519")
    again = _vault(database)
    assert again.create(_GUN, SNAPSHOT, "ed25519") == key
    data = payload(SNAPSHOT, now=_NOW)
    key.verify_signature(again.sign(_GUN, SNAPSHOT, key.keyid, data), data)


def test_a_deleted_key_is_not_there(database: Database) -> None:
    vault = _vault(database)
    key = vault.create(_GUN, TIMESTAMP, "ecdsa")
    vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=_NOW))  # and it is open in memory
    with database.write() as session:
        session.get_one(SealedKey, _row(database, key.keyid).id).deleted_at = datetime(2030, 1, 1)
    assert vault.find(_GUN, TIMESTAMP, [key.keyid]) == []
    with pytest.raises(NotFoundError):
        vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=_NOW))
    assert vault.create(_GUN, TIMESTAMP, "ecdsa") != key


def test_a_row_that_another_process_deletes_restores_or_moves_is_seen_at_the_next_signature(
    database: Database,
) -> None:
    vault, data = _vault(database), payload(TIMESTAMP, now=_NOW)
    key = vault.create(_GUN, TIMESTAMP, "ecdsa")
    vault.sign(_GUN, TIMESTAMP, key.keyid, data)
    before = _row(database, key.keyid)
    other = Database(database.engine.url.render_as_string(hide_password=False))
    changes: list[tuple[dict[str, object], bool]] = [
        ({"deleted_at": datetime(2030, 1, 1)}, False),
        ({"deleted_at": None}, True),
        ({"gun": "localhost:5000/library/other"}, False),
        ({"gun": str(_GUN), "role": "snapshot"}, False),
        ({"role": "timestamp", "private": b"nothing that was sealed"}, False),
        ({"private": before.private}, True),
    ]
    for values, signs in changes:
        with other.write() as session:
            session.execute(update(SealedKey).values(**values))
        if signs:
            key.verify_signature(vault.sign(_GUN, TIMESTAMP, key.keyid, data), data)
        else:
            with pytest.raises((NotFoundError, SealError)):
                vault.sign(_GUN, TIMESTAMP, key.keyid, data)
    other.dispose()


def test_a_signature_by_a_key_that_is_deleted_meanwhile_does_not_leave(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = _vault(database)
    key = vault.create(_GUN, TIMESTAMP, "ecdsa")
    vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=_NOW))
    made = NotarySigner.sign

    def sign_and_delete(signer: NotarySigner, data: bytes) -> NotarySignature:
        signature = made(signer, data)
        assert vault.delete(key.keyid)
        return signature

    monkeypatch.setattr(NotarySigner, "sign", sign_and_delete)
    with pytest.raises(NotFoundError):
        vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP, now=_NOW))


def test_last_used_is_exact_to_the_minute_and_what_signs_again_within_it_writes_nothing(database: Database) -> None:
    moment = [_NOW]
    vault = Vault(
        database, Passphrases(None, {"NOTARY_SIGNER_DEFAULT": "secret"}), "default", clock=lambda: moment[0]
    )
    key, data = vault.create(_GUN, TIMESTAMP, "ecdsa"), payload(TIMESTAMP, now=_NOW)
    for seconds, last in ((0, 0), (59, 0), (60, 60), (61, 60), (30, 30)):  # a clock may be set back
        moment[0] = _NOW + timedelta(seconds=seconds)
        vault.sign(_GUN, TIMESTAMP, key.keyid, data)
        assert _row(database, key.keyid).last_used == datetime(2030, 1, 1, 12) + timedelta(seconds=last)


def test_keys_under_an_old_alias_sign_while_its_passphrase_is_there(database: Database) -> None:
    old = _vault(database, "old", old="first").create(_GUN, TIMESTAMP, "ecdsa")
    both = _vault(database, "new", old="first", new="second")
    both.sign(_GUN, TIMESTAMP, old.keyid, payload(TIMESTAMP, now=_NOW))
    new = both.create(_GUN, TIMESTAMP, "ecdsa")
    assert _row(database, new.keyid).passphrase_alias == "new"
    with pytest.raises(SealError, match="passphrase 'old' of a stored key cannot be used") as caught:
        _vault(database, "new", new="second").sign(_GUN, TIMESTAMP, old.keyid, payload(TIMESTAMP, now=_NOW))
    # Not the client's fault.
    assert isinstance(caught.value, UnavailableError)


def test_a_pending_key_that_cannot_be_opened_is_not_handed_out(database: Database) -> None:
    _vault(database, default="right").create(_GUN, TIMESTAMP, "ecdsa")
    with pytest.raises(SealError, match="wrong passphrase"):
        _vault(database, default="wrong").create(_GUN, TIMESTAMP, "ecdsa")


def test_a_row_that_was_given_another_rows_key_does_not_sign(database: Database) -> None:
    vault = _vault(database)
    mine = vault.create(_GUN, TIMESTAMP, "ecdsa")
    other = vault.create(Gun("localhost:5000/library/other"), TIMESTAMP, "ecdsa")
    with database.write() as session:
        session.get_one(SealedKey, _row(database, mine.keyid).id).private = _row(database, other.keyid).private
    with pytest.raises(SealError, match="not the one that its row says"):
        vault.sign(_GUN, TIMESTAMP, mine.keyid, payload(TIMESTAMP, now=_NOW))
    assert _row(database, mine.keyid).last_used is None


def test_more_keys_than_stay_open_in_memory_all_sign(database: Database) -> None:
    vault = _vault(database, cached=2)
    guns = [Gun(f"localhost:5000/library/app{number}") for number in range(5)]
    made = {gun: vault.create(gun, TIMESTAMP, "ecdsa") for gun in guns}
    data = payload(TIMESTAMP, now=_NOW)
    for _ in range(2):
        for gun, key in made.items():
            key.verify_signature(vault.sign(gun, TIMESTAMP, key.keyid, data), data)


def test_a_database_without_its_table_is_unavailable(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(UnavailableError):
        _vault(database).create(_GUN, TIMESTAMP, "ecdsa")
    database.dispose()
