# SPDX-License-Identifier: Apache-2.0
"""Two signers on one database, of each kind (NOTARY_V1 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from signer import migrations
from signer.passphrases import Passphrases
from signer.vault import Vault
from signerprocess import payload
from trust.keys import NotaryKey
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.web.database import Database
from trust.web.migrations import upgrade

GUN = Gun("localhost:5000/library/app")
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
MANY = 8


@pytest.fixture
def vaults(database_url: str) -> Iterator[tuple[Vault, Vault]]:
    databases = Database(database_url), Database(database_url)
    upgrade(databases[0], migrations)
    passphrases = Passphrases(None, {"NOTARY_SIGNER_DEFAULT": "secret"})
    one, other = (Vault(database, passphrases, "default", clock=lambda: NOW) for database in databases)
    yield one, other
    for database in databases:
        database.dispose()


def test_every_key_that_two_signers_give_out_at_once_is_held_by_both_and_signs(vaults: tuple[Vault, Vault]) -> None:
    barrier, data = Barrier(MANY), payload(TIMESTAMP, now=NOW)

    def create(number: int) -> NotaryKey:
        barrier.wait()
        return vaults[number % 2].create(GUN, TIMESTAMP, "ecdsa")

    with ThreadPoolExecutor(MANY) as pool:
        keys = set(pool.map(create, range(MANY)))
    for vault in vaults:
        assert set(vault.find(GUN, TIMESTAMP, [key.keyid for key in keys])) == keys
        for key in keys:
            key.verify_signature(vault.sign(GUN, TIMESTAMP, key.keyid, data), data)
    # All are used, so the next is a new one, and the same at both.
    pending = vaults[0].create(GUN, TIMESTAMP, "ecdsa")
    assert pending not in keys
    assert vaults[1].create(GUN, TIMESTAMP, "ecdsa") == pending


def test_one_key_signs_at_two_signers_at_once(vaults: tuple[Vault, Vault]) -> None:
    key = vaults[0].create(GUN, SNAPSHOT, "ecdsa")
    barrier = Barrier(MANY)

    def sign(number: int) -> None:
        data = payload(SNAPSHOT, version=number + 1, now=NOW)
        barrier.wait()
        key.verify_signature(vaults[number % 2].sign(GUN, SNAPSHOT, key.keyid, data), data)

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(sign, range(MANY)))


def test_collections_whose_names_differ_in_case_alone_have_keys_of_their_own(vaults: tuple[Vault, Vault]) -> None:
    upper, lower = Gun("reg/App"), Gun("reg/app")
    key = vaults[0].create(upper, TIMESTAMP, "ecdsa")
    assert vaults[0].create(lower, TIMESTAMP, "ecdsa") != key
    assert vaults[1].find(lower, TIMESTAMP, [key.keyid]) == []
    assert vaults[1].find(upper, TIMESTAMP, [key.keyid]) == [key]
