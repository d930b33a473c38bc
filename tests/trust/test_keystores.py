# SPDX-License-Identifier: Apache-2.0
"""One contract for every home of keys: in memory, in the signer's database, on a token, and in a running signer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from databases import KINDS, new_database
from signer import migrations
from signer.passphrases import Passphrases
from signer.tokenhome import TokenHome
from signer.vault import Vault
from signerprocess import SignerProcess, payload
from softhsm import MODULE, SoftHsm, SoftToken
from trust.canonical import encode
from trust.errors import DeniedError, InvalidError, NotFoundError
from trust.keys import key_id
from trust.keystore import KeyStore, Limits, MemoryKeyStore, check_payload
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.web.database import Database
from trust.web.migrations import upgrade

_NUMBERS = count(1)
_NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    with SignerProcess(tmp_path_factory.mktemp("signer")) as signer:
        yield signer


@pytest.fixture(scope="module")
def token(softhsm: SoftHsm) -> SoftToken:
    return softhsm.token()


_TOKEN = pytest.param("softhsm2", marks=pytest.mark.client("softhsm2"))


@pytest.fixture(params=["memory", *KINDS, _TOKEN, "remote"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeyStore()
    elif request.param == "remote":
        signer: SignerProcess = request.getfixturevalue("signer")
        yield signer.open_store()
    elif request.param == "softhsm2":
        token: SoftToken = request.getfixturevalue("token")
        with new_database("sqlite", request, tmp_path) as url:
            database = Database(url)
            upgrade(database, migrations)
            home = TokenHome(MODULE, token.label, token.pin_file)
            yield Vault(database, Passphrases(None, {}), "default", token=home, new_on_token=True)
            database.dispose()
    else:  # the vault, in each kind of database
        with new_database(request.param, request, tmp_path) as url:
            database = Database(url)
            upgrade(database, migrations)
            yield Vault(database, Passphrases(None, {"NOTARY_SIGNER_DEFAULT": "secret"}), "default")
            database.dispose()


@pytest.fixture
def gun() -> Gun:
    # The running signer is shared by all tests here.
    return Gun(f"localhost:5000/library/app{next(_NUMBERS)}")


@pytest.mark.parametrize("algorithm", ["ecdsa", "ed25519"])
@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT])
def test_a_new_key_signs_its_role_and_the_signature_verifies(
    keys: KeyStore, gun: Gun, role: RoleName, algorithm: str
) -> None:
    key = keys.create(gun, role, algorithm)
    assert key.keytype == algorithm
    assert key.keyid == key_id(algorithm, key.public)
    data = payload(role)
    signature = keys.sign(gun, role, key.keyid, data)
    assert signature.keyid == key.keyid
    assert [method for method, _ in signature.candidates] == [{"ecdsa": "ecdsa", "ed25519": "eddsa"}[algorithm]]
    key.verify_signature(signature, data)


def test_the_pending_key_is_handed_out_until_it_has_signed(keys: KeyStore, gun: Gun) -> None:
    first = keys.create(gun, TIMESTAMP, "ecdsa")
    assert keys.create(gun, TIMESTAMP, "ecdsa") == first
    keys.sign(gun, TIMESTAMP, first.keyid, payload(TIMESTAMP))
    second = keys.create(gun, TIMESTAMP, "ecdsa")
    assert second != first
    assert keys.create(gun, TIMESTAMP, "ecdsa") == second
    # The old key goes on until the new one is in the root, and does not become pending again.
    keys.sign(gun, TIMESTAMP, first.keyid, payload(TIMESTAMP, version=2))
    assert keys.create(gun, TIMESTAMP, "ecdsa") == second


def test_a_refused_payload_does_not_use_up_the_pending_key(keys: KeyStore, gun: Gun) -> None:
    key = keys.create(gun, TIMESTAMP, "ecdsa")
    with pytest.raises(DeniedError):
        keys.sign(gun, TIMESTAMP, key.keyid, b"{}")
    assert keys.create(gun, TIMESTAMP, "ecdsa") == key


def test_each_gun_role_and_algorithm_has_a_pending_key_of_its_own(keys: KeyStore, gun: Gun) -> None:
    other = Gun(f"{gun}/other")
    made = [
        keys.create(each, role, algorithm).keyid
        for each in (gun, other)
        for role in (TIMESTAMP, SNAPSHOT)
        for algorithm in ("ecdsa", "ed25519")
    ]
    assert len(set(made)) == 8


def test_keys_that_are_asked_for_at_once_all_sign(keys: KeyStore, gun: Gun) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: keys.create(gun, SNAPSHOT, "ecdsa"), range(16)))
    data = payload(SNAPSHOT)
    for key in {each.keyid: each for each in made}.values():
        key.verify_signature(keys.sign(gun, SNAPSHOT, key.keyid, data), data)


def test_find_gives_the_keys_of_that_gun_and_role_in_the_order_asked(keys: KeyStore, gun: Gun) -> None:
    first, second = keys.create(gun, TIMESTAMP, "ecdsa"), keys.create(gun, TIMESTAMP, "ed25519")
    snapshot = keys.create(gun, SNAPSHOT, "ecdsa")
    foreign = keys.create(Gun(f"{gun}/other"), TIMESTAMP, "ecdsa")
    asked = [second.keyid, "0" * 64, snapshot.keyid, first.keyid, foreign.keyid, "no ID \0 at all", second.keyid]
    assert keys.find(gun, TIMESTAMP, asked) == [second, first]
    assert keys.find(gun, SNAPSHOT, asked) == [snapshot]
    assert keys.find(gun, TARGETS, asked) == []
    assert keys.find(gun, TIMESTAMP, []) == []


def test_a_key_of_another_gun_or_role_is_as_unknown_as_one_that_does_not_exist(keys: KeyStore, gun: Gun) -> None:
    """T22."""
    key = keys.create(gun, TIMESTAMP, "ecdsa")
    data = payload(TIMESTAMP)
    messages = []
    for asked, role, each in [
        (Gun(f"{gun}/other"), TIMESTAMP, key.keyid),
        (Gun(gun.upper()), TIMESTAMP, key.keyid),
        (gun, SNAPSHOT, key.keyid),
        (gun, ROOT, key.keyid),
        (gun, TIMESTAMP, key.keyid.upper()),
        (gun, TIMESTAMP, "0" * 64),
    ]:
        with pytest.raises(NotFoundError) as caught:
            keys.sign(asked, role, each, data)
        messages.append(caught.value.message.replace(each, "…"))
    assert len(set(messages)) == 1


@pytest.mark.parametrize("algorithm", ["rsa", "ECDSA", "", "ecdsa-x509", "x" * 1000])
def test_other_algorithms_are_invalid(keys: KeyStore, gun: Gun, algorithm: str) -> None:
    with pytest.raises(InvalidError, match="not supported for create key"):
        keys.create(gun, TIMESTAMP, algorithm)


@pytest.mark.parametrize("role", ["root", "targets", "targets/releases"])
def test_roles_that_people_sign_get_no_key(keys: KeyStore, gun: Gun, role: str) -> None:
    with pytest.raises(DeniedError, match="timestamp and snapshot"):
        keys.create(gun, RoleName(role), "ecdsa")


def _timestamp(**changes: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(payload(TIMESTAMP, now=_NOW))
    return {name: each for name, each in (value | changes).items() if each is not ...}


def _entry(**changes: object) -> dict[str, Any]:
    return {"snapshot": _timestamp()["meta"]["snapshot"] | changes}


_NOT_FOR_A_TIMESTAMP_KEY: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "malformed"),
    "no object": (b"[]", "malformed"),
    "free text": (b"sign me", "malformed"),
    "bytes": (b"\xff\xfe", "malformed"),
    "another role": (payload(SNAPSHOT, now=_NOW), "expected type Timestamp, not Snapshot"),
    "another role's name": (encode(_timestamp(_type="Root")), "expected type Timestamp, not Root"),
    "white space": (json.dumps(_timestamp()).encode(), "not canonical"),
    "a line after it": (payload(TIMESTAMP, now=_NOW) + b"\n", "not canonical"),
    "a float": (encode(_timestamp()).replace(b'"version":1', b'"version":1.0'), "not canonical"),
    "a duplicate": (encode(_timestamp()).replace(b"{", b'{"_type":"Root",', 1), "not canonical"),
    "an envelope": (encode({"signed": _timestamp(), "signatures": []}), "malformed"),
    "an unknown member": (encode(_timestamp(custom="x")), "do not belong"),
    "an unknown member inside": (encode(_timestamp(meta=_entry(custom={"a": 1}))), "do not belong"),
    "a second file": (encode(_timestamp(meta=_entry() | {"root": _entry()["snapshot"]})), "do not belong"),
    "no file": (encode(_timestamp(meta={})), "missing snapshot"),
    "a short hash": (encode(_timestamp(meta=_entry(hashes={"sha256": "AAAA"}))), "invalid length"),
    "version 0": (encode(_timestamp(version=0)), "less than one"),
    "version -1": (encode(_timestamp(version=-1)), "less than one"),
    "version 2^31": (encode(_timestamp(version=2**31)), "more than"),
    "no version": (encode(_timestamp(version=...)), "less than one"),
    "a version in words": (encode(_timestamp(version="2")), "not an integer"),
    "no expiry": (encode(_timestamp(expires=...)), "RFC 3339"),
    "expired": (payload(TIMESTAMP, days=-1, now=_NOW), "expired already"),
    "expires now": (payload(TIMESTAMP, days=0, now=_NOW), "expired already"),
    "too late an expiry": (payload(TIMESTAMP, days=31.01, now=_NOW), "more than 31 days ahead"),
    "an expiry in year 9999": (encode(_timestamp(expires="9999-12-31T23:59:59Z")), "more than 31 days ahead"),
}


@pytest.mark.parametrize("name", _NOT_FOR_A_TIMESTAMP_KEY)
def test_a_timestamp_key_signs_timestamps_only(name: str, gun: Gun) -> None:
    """T22."""
    data, reason = _NOT_FOR_A_TIMESTAMP_KEY[name]
    keys = MemoryKeyStore(clock=lambda: _NOW)
    key = keys.create(gun, TIMESTAMP, "ecdsa")
    with pytest.raises(DeniedError, match=reason):
        keys.sign(gun, TIMESTAMP, key.keyid, data)


@pytest.mark.parametrize("name", ["another role", "white space", "an unknown member"])
def test_every_home_refuses_the_same(keys: KeyStore, gun: Gun, name: str) -> None:
    """T22."""
    data, reason = _NOT_FOR_A_TIMESTAMP_KEY[name]
    key = keys.create(gun, TIMESTAMP, "ecdsa")
    with pytest.raises(DeniedError, match=reason):
        keys.sign(gun, TIMESTAMP, key.keyid, data)


@pytest.mark.parametrize("name", ["../root", "targets/../x", "Root", "", "snapshot", "timestamp"])
def test_a_snapshot_key_signs_no_snapshot_that_names_what_is_no_file_of_people(name: str) -> None:
    value = json.loads(payload(SNAPSHOT, now=_NOW))
    value["meta"][name] = value["meta"]["root"]
    with pytest.raises(DeniedError, match="names"):
        check_payload(SNAPSHOT, encode(value), _NOW, Limits())


def test_usual_lifetimes_are_within_the_limits_and_the_limits_can_be_set() -> None:
    check_payload(TIMESTAMP, payload(TIMESTAMP, days=14, now=_NOW), _NOW, Limits())
    snapshot = payload(SNAPSHOT, days=3 * 365, now=_NOW)
    assert check_payload(SNAPSHOT, snapshot, _NOW, Limits()).version == 1
    with pytest.raises(DeniedError, match="more than 1000 days"):
        check_payload(SNAPSHOT, snapshot, _NOW, Limits(snapshot=timedelta(days=1000)))


def test_an_expiry_with_an_offset_and_nanoseconds_is_signed_as_it_is() -> None:
    data = encode(_timestamp(expires="2030-01-05T05:20:42.580784727+02:00"))
    assert check_payload(TIMESTAMP, data, _NOW, Limits()).expires == datetime(2030, 1, 5, 3, 20, 42, tzinfo=UTC)
