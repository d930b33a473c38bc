# SPDX-License-Identifier: Apache-2.0
"""The signer's keys on a token, SoftHSM: what its rows hold, what it does when the token is away, how it starts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from signer import migrations
from signer.models import SealedKey
from signer.passphrases import Passphrases
from signer.sealing import SealError
from signer.tokenhome import TokenHome
from signer.vault import Vault
from signerprocess import SignerProcess, payload
from softhsm import CONFIGURATION, MODULE, PIN, SoftHsm, SoftToken
from trust.errors import SettingsError, UnavailableError
from trust.keyuri import TokenUri
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.remotekeys import KEYS_PATH
from trust.web.database import Database
from trust.web.migrations import upgrade

pytestmark = pytest.mark.client("softhsm2")

_GUN = Gun("localhost:5000/library/app")


@pytest.fixture(scope="module")
def token(softhsm: SoftHsm) -> SoftToken:
    return softhsm.token("signer")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/signer.db")
    upgrade(database, migrations)
    yield database
    database.dispose()


def _vault(database: Database, token: SoftToken | None, *, new_on_token: bool = True, secret: str = "") -> Vault:
    environ = {"NOTARY_SIGNER_DEFAULT": secret} if secret else {}
    home = TokenHome(MODULE, token.label, token.pin_file) if token else None
    return Vault(database, Passphrases(None, environ), "default", token=home, new_on_token=new_on_token)


def _row(database: Database, key_id: str) -> SealedKey:
    with database.read() as session:
        row = session.scalars(select(SealedKey).where(SealedKey.key_id == key_id)).one()
        session.expunge(row)
        return row


def test_a_row_says_whose_key_it_is_and_where_and_no_more(database: Database, token: SoftToken) -> None:
    key = _vault(database, token).create(_GUN, TIMESTAMP, "ecdsa")
    row = _row(database, key.keyid)
    assert (row.gun, row.role, row.algorithm, row.public) == (_GUN, "timestamp", "ecdsa", key.public)
    assert (row.encryption_alg, row.keywrap_alg, row.passphrase_alias) == ("pkcs11", "pkcs11", "")
    uri = TokenUri.parse(row.private.decode())
    assert (uri.token, uri.object, len(uri.id)) == (token.label, f"timestamp {_GUN}", 16)
    assert (uri.module, uri.pin_file) == (None, None)


def test_sealed_keys_and_keys_on_the_token_sign_side_by_side_and_new_ones_are_where_they_shall_be(
    database: Database, token: SoftToken
) -> None:
    before = _vault(database, None, new_on_token=False, secret="secret")
    sealed = before.create(_GUN, TIMESTAMP, "ecdsa")
    moved = _vault(database, token, secret="secret")
    # It was never used, but a key that is handed out now must be on the token.
    on_token = moved.create(_GUN, TIMESTAMP, "ecdsa")
    assert on_token != sealed
    for key in (sealed, on_token):
        moved.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP))
    back = _vault(database, token, new_on_token=False, secret="secret")
    back.sign(_GUN, TIMESTAMP, on_token.keyid, payload(TIMESTAMP))
    new = back.create(_GUN, TIMESTAMP, "ecdsa")
    assert _row(database, new.keyid).encryption_alg != "pkcs11"
    without = _vault(database, None, new_on_token=False, secret="secret")
    with pytest.raises(SealError, match="is on a token, and this signer has none"):
        without.sign(_GUN, TIMESTAMP, on_token.keyid, payload(TIMESTAMP))


def test_a_token_that_is_away_is_unavailable_in_health_too_and_signs_when_it_returns(
    database: Database, token: SoftToken
) -> None:
    vault = _vault(database, token)
    vault.ping()
    key = vault.create(_GUN, TIMESTAMP, "ecdsa")
    with token.away():
        for act in (
            vault.ping,
            lambda: vault.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP)),
            lambda: vault.create(_GUN, TIMESTAMP, "ecdsa"),
            lambda: vault.create(_GUN, SNAPSHOT, "ecdsa"),
        ):
            with pytest.raises(UnavailableError, match="cannot be used"):
                act()
    vault.ping()
    assert vault.create(_GUN, TIMESTAMP, "ecdsa") == key  # it was not used up
    data = payload(TIMESTAMP)
    key.verify_signature(vault.sign(_GUN, TIMESTAMP, key.keyid, data), data)


def test_a_row_that_was_given_another_rows_place_does_not_sign(database: Database, token: SoftToken) -> None:
    vault = _vault(database, token)
    mine, other = vault.create(_GUN, TIMESTAMP, "ecdsa"), vault.create(Gun(f"{_GUN}/other"), TIMESTAMP, "ecdsa")
    with database.write() as session:
        session.get_one(SealedKey, _row(database, mine.keyid).id).private = _row(database, other.keyid).private
    with pytest.raises(UnavailableError, match="made a signature that is not valid"):
        vault.sign(_GUN, TIMESTAMP, mine.keyid, payload(TIMESTAMP))
    assert _row(database, mine.keyid).last_used is None


def test_keys_of_another_token_are_not_looked_for_on_this_one(
    database: Database, token: SoftToken, softhsm: SoftHsm
) -> None:
    key = _vault(database, token).create(_GUN, TIMESTAMP, "ecdsa")
    other = _vault(database, softhsm.token("other"))
    for act in (other.ping, lambda: other.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP))):
        with pytest.raises(UnavailableError, match="a stored key is on the token"):
            act()
    with database.write() as session:
        session.get_one(SealedKey, _row(database, key.keyid).id).private = b"\xff"
    with pytest.raises(UnavailableError, match="does not say where it is"):
        other.ping()


@pytest.fixture
def process(token: SoftToken, softhsm: SoftHsm, tmp_path: Path) -> SignerProcess:
    """A signer whose keys are on the token; it has no passphrase."""
    signer = SignerProcess(tmp_path, grpc=True)
    signer.passphrase_file.unlink()
    with signer.config.open("a") as config:
        config.write(
            f'key_home = "pkcs11"\npkcs11_module = "{MODULE}"\npkcs11_token = "{token.label}"\n'
            f'pkcs11_pin_file = "{token.pin_file}"\nworkers = 1\n'
        )
    return signer.started_with({CONFIGURATION: str(softhsm.configuration)})


def test_the_process_signs_with_many_threads_and_again_after_a_kill(process: SignerProcess) -> None:
    with process:
        store = process.open_store()
        key = store.create(_GUN, TIMESTAMP, "ecdsa")

        def sign(number: int) -> None:
            data = payload(TIMESTAMP, version=number + 1)
            key.verify_signature(store.sign(_GUN, TIMESTAMP, key.keyid, data), data)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(sign, range(100)))
        process.kill()
        process.start()
        sign(101)
        assert PIN not in process.log.read_text()
        assert "Traceback" not in process.log.read_text()


def test_a_request_whose_body_comes_late_is_waited_for(process: SignerProcess) -> None:
    """The module leaves errors in OpenSSL's queue of its thread, where a TLS connection took them for its own."""
    body = json.dumps({"gun": _GUN, "role": TIMESTAMP, "algorithm": "ecdsa"}).encode()
    head = f"POST {KEYS_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        process,
        socket.create_connection(("127.0.0.1", process.port)) as plain,
        process.client_context(process.client).wrap_socket(plain, server_hostname="localhost") as line,
        line.makefile("rb") as answers,
    ):
        for _ in range(16):  # one after the other on one connection, which each of the threads gets in turn
            line.sendall(head)
            time.sleep(0.01)
            line.sendall(body)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(each.lower().split(b":", 1) for each in iter(answers.readline, b"\r\n"))
            answers.read(int(headers[b"content-length"]))


def test_a_signer_does_not_start_without_its_token(
    process: SignerProcess, softhsm: SoftHsm, token: SoftToken, tmp_path: Path
) -> None:
    environment = {CONFIGURATION: str(softhsm.configuration)}
    assert process.run("--config", str(process.config), "--check", **environment).returncode == 0
    wrong = tmp_path / "wrong.pin"
    wrong.touch(mode=0o600)
    wrong.write_text("8642")
    for arguments, name, value, reason in (
        ((), "PIN_FILE", str(wrong), f"the token {token.label} refuses the PIN"),
        (("--check",), "TOKEN", "another", "the token another cannot be used: NoSuchToken"),
    ):
        done = process.run(
            "--config", str(process.config), *arguments, **environment, **{f"TROTH_SIGNER_PKCS11_{name}": value}
        )
        said = done.stdout + done.stderr
        assert (done.returncode, reason in said, "8642" in said, "Traceback" in said) == (1, True, False, False), said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_home": "hsm"}, "key_home must be database or pkcs11"),
        ({"key_home": "pkcs11"}, "pkcs11_module: there is no file"),
        ({"key_home": "pkcs11"}, "pkcs11_token must be the label"),
        ({"key_home": "pkcs11"}, "pkcs11_pin_file must be the file"),
        ({"key_home": "pkcs11"}, "workers must be 1"),
        ({"pkcs11_token": "left"}, "pkcs11_module: there is no file"),
        ({"pkcs11_module": MODULE, "pkcs11_token": "left", "pkcs11_pin_file": MODULE}, "workers must be 1"),
    ],
)
def test_settings_of_a_token_go_together(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    settings = SignerProcess(tmp_path).settings
    with pytest.raises(SettingsError, match=reason):
        replace(settings, **changes)  # type: ignore[arg-type]  # checked by the settings themselves
