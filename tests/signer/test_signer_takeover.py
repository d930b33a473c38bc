# SPDX-License-Identifier: Apache-2.0
"""What the signer takes over from another's database: sealed keys, as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from databases import Server
from gotables import go_url, make_tables
from signer.app import prepare
from signer.passphrases import Passphrases
from signer.sealing import ENCRYPTION_ALGORITHM, KEYWRAP_ALGORITHM, seal
from signer.takeover import main
from signer.vault import Vault
from signerprocess import SignerProcess, payload
from trust.keys import generate_private, public_key_of
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.takeover import IMPORTED, Entry, Report
from trust.web.database import Database

GUN, OTHER = "localhost:5000/library/app", "localhost:5000/library/tool"
SECRET = "what the other site's keys are sealed under"

KEYS = """
    SELECT key_id, gun, role, algorithm, passphrase_alias, encryption_alg, keywrap_alg, public, private
    FROM private_keys WHERE deleted_at IS NULL ORDER BY key_id
"""


class Original:
    """The database of an original signer, filled by hand."""

    def __init__(self, url: str) -> None:
        make_tables(url, "signer")
        self.url = url
        self._engine = create_engine(url)

    def put(
        self, gun: str, role: str, *, algorithm: str = "ecdsa", alias: str = "timestamp_1", **columns: Any
    ) -> str:
        """Store a new key as the original does; `columns` say what is otherwise."""
        key = generate_private(algorithm)
        public = public_key_of(key)
        row = {
            "created_at": datetime(2020, 2, 29, 12), "updated_at": datetime(2020, 3, 1), "key_id": public.keyid,
            "encryption_alg": ENCRYPTION_ALGORITHM, "keywrap_alg": KEYWRAP_ALGORITHM, "algorithm": algorithm,
            "passphrase_alias": alias, "public": public.public, "private": seal(key, SECRET), "gun": gun,
            "role": role, **columns,
        }  # fmt: skip
        self.run(f"INSERT INTO private_keys ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)
        return public.keyid

    def run(self, statement: str, row: dict[str, Any] | None = None) -> None:
        """Run a statement."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), row or {})

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


class Ours:
    """Our signer's database and settings, and `troth-signer import` into it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        signer = SignerProcess(folder)
        self.url = signer.database_url
        self.file = folder / "signer.db"
        self.settings = signer.settings
        self._config = signer.config
        self._report = folder / "report.json"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("NOTARY_SIGNER_TIMESTAMP_1", SECRET)

    def take(self, address: str, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Take over; returns the exit status, and the entries of the report by collection."""
        self._report.unlink(missing_ok=True)
        self._monkeypatch.setenv("TROTH_SIGNER_IMPORT_FROM", address)
        status = main([f"--config={self._config}", f"--report={self._report}", *options], prepare)
        self.said = "".join(self._capsys.readouterr())
        content = json.loads(self._report.read_bytes()) if self._report.exists() else {"guns": [], "problems": []}
        self.problems = content["problems"]
        return status, {entry["gun"]: entry for entry in content["guns"]}


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ours:
    return Ours(tmp_path, monkeypatch, capsys)


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.client("postgresql")),
        pytest.param("mariadb", marks=pytest.mark.client("mariadb-server")),
    ]
)
def original(request: pytest.FixtureRequest) -> Iterator[Original]:
    """An original signer's database, empty."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    with server.database() as url:
        original = Original(url)
        yield original
        original.close()


def test_keys_come_sealed_as_they_are(original: Original, ours: Ours) -> None:
    held = [original.put(GUN, "timestamp", last_used=datetime(2021, 1, 1)), original.put(GUN, "snapshot")]
    held += [original.put(OTHER, "timestamp", algorithm="ed25519")]
    original.put(GUN, "timestamp", deleted_at=datetime(2021, 1, 1))
    status, entries = ours.take(go_url(original.url))
    assert (status, {entry["state"] for entry in entries.values()}) == (0, {"imported"})
    assert sorted(entries[GUN]["keys"] + entries[OTHER]["keys"]) == sorted(held)
    assert rows(ours.url, KEYS) == rows(original.url, KEYS)
    used = rows(ours.url, "SELECT created_at, last_used IS NULL FROM private_keys WHERE role = 'timestamp'")
    assert used == [("2020-02-29 12:00:00.000000", 0), ("2020-02-29 12:00:00.000000", 1)]
    assert SECRET not in ours.said


def test_a_key_that_was_taken_over_signs(original: Original, ours: Ours) -> None:
    key_id = original.put(GUN, "timestamp")
    ours.take(original.url)
    database = Database(ours.url)
    vault = Vault(database, Passphrases(None, {"NOTARY_SIGNER_TIMESTAMP_1": SECRET}), "default")
    data = payload(TIMESTAMP)
    (key,) = vault.find(Gun(GUN), TIMESTAMP, [key_id])
    key.verify_signature(vault.sign(Gun(GUN), TIMESTAMP, key_id, data), data)
    database.dispose()


def test_a_second_import_finds_nothing_to_do_and_new_keys_are_added(original: Original, ours: Ours) -> None:
    original.put(GUN, "timestamp")
    ours.take(original.url)
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (0, "present")
    original.put(GUN, "snapshot")
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (0, "extended")
    assert rows(ours.url, KEYS) == rows(original.url, KEYS)


def test_a_dry_run_writes_nothing(original: Original, ours: Ours) -> None:
    original.put(GUN, "timestamp")
    status, entries = ours.take(original.url, "--dry-run")
    assert (status, entries[GUN]["state"]) == (0, "imported")
    assert not ours.file.exists()


def test_a_key_that_differs_is_never_overwritten(original: Original, ours: Ours) -> None:
    original.put(GUN, "timestamp")
    ours.take(original.url)
    before = rows(ours.url, KEYS)
    original.run("UPDATE private_keys SET role = 'snapshot'")
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (1, "refused")
    assert rows(ours.url, KEYS) == before


def test_an_alias_without_a_passphrase_is_said(original: Original, ours: Ours) -> None:
    original.put(GUN, "timestamp", alias="forgotten")
    original.put(OTHER, "timestamp")
    status, entries = ours.take(original.url)
    assert (status, entries[GUN]["state"]) == (2, "imported")
    assert "sealed under 'forgotten'" in entries[GUN]["problems"][0]
    assert entries[OTHER]["problems"] == []
    assert len(ours.problems) == 1
    assert "'forgotten'" in ours.problems[0]
    assert ours.take(original.url, "--no-check")[0] == 0


@pytest.mark.parametrize("damage", ["wrong passphrase", "another key's public half", "cut off"])
def test_a_key_that_cannot_be_opened_is_said(
    original: Original, ours: Ours, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    other = public_key_of(generate_private("ecdsa"))
    damages: dict[str, dict[str, Any]] = {
        "wrong passphrase": {},
        "another key's public half": {"public": other.public, "key_id": other.keyid},
        "cut off": {"private": b"eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ci"},
    }
    original.put(GUN, "timestamp", **damages[damage])
    if damage == "wrong passphrase":
        monkeypatch.setenv("NOTARY_SIGNER_TIMESTAMP_1", "another")
    status, entries = ours.take(original.url)
    assert status == 2
    assert len(entries[GUN]["problems"]) == 1


def test_the_oldest_keys_get_their_owner_from_the_servers_report(
    original: Original, ours: Ours, tmp_path: Path
) -> None:
    key_id = original.put("", "")
    status, entries = ours.take(original.url, "--dry-run")
    assert status == 2
    assert "does not say which role" in entries[""]["problems"][0]
    report = tmp_path / "server.json"
    entry = Entry(gun=GUN, state=IMPORTED, online={"timestamp": ("0" * 64,), "snapshot": (key_id,)})
    report.write_bytes(Report(program="troth-server", dry_run=False, entries=(entry,)).to_json())
    status, entries = ours.take(original.url, f"--server-report={report}")
    assert (status, entries[GUN]["keys"]) == (0, [key_id])
    assert rows(ours.url, "SELECT gun, role FROM private_keys") == [(GUN, SNAPSHOT)]


def test_a_database_of_something_else_is_refused(original: Original, ours: Ours) -> None:
    original.run("DROP TABLE private_keys")
    assert ours.take(original.url)[0] == 1
    assert "no table private_keys" in ours.said
