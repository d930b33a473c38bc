# SPDX-License-Identifier: Apache-2.0
"""PKCS#11 tokens, with SoftHSM: one session for all threads, keys that stay, and tokens that go and return."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from softhsm import MODULE, PIN, SoftHsm, SoftToken
from trust.errors import InvalidError, NotFoundError, SettingsError, UnavailableError
from trust.keys import NotarySigner, PrivateKey, public_key_of
from trust.keyuri import find_key, make_key
from trust.names import Gun
from trust.pkcs11 import Token
from trust.rootcerts import certify

pytestmark = pytest.mark.client("softhsm2")


@pytest.fixture(scope="module")
def shared(softhsm: SoftHsm) -> SoftToken:
    return softhsm.token()


def verified(key: PrivateKey, payload: bytes = b"payload") -> None:
    public_key_of(key).verify_signature(NotarySigner(key).sign(payload), payload)


def test_a_key_is_made_on_the_token_and_cannot_leave_it(shared: SoftToken) -> None:
    token = shared.open()
    for algorithm in ("ecdsa", "ed25519"):
        key_id, key = token.generate(f"made {algorithm}", algorithm)
        verified(key)
        assert token._session is not None
        held = token._session.get_key(ObjectClass.PRIVATE_KEY, id=key_id)
        assert held.label == f"made {algorithm}"
        attributes = {
            Attribute.SENSITIVE: True, Attribute.ALWAYS_SENSITIVE: True, Attribute.EXTRACTABLE: False,
            Attribute.NEVER_EXTRACTABLE: True, Attribute.LOCAL: True, Attribute.PRIVATE: True, Attribute.TOKEN: True,
            Attribute.SIGN: True, Attribute.DECRYPT: False, Attribute.UNWRAP: False, Attribute.DERIVE: False,
        }  # fmt: skip
        assert {name: held[name] for name in attributes} == attributes
        assert public_key_of(token.key(key_id=key_id)) == public_key_of(key)


def test_eight_threads_sign_thousands_of_times_and_make_keys_without_an_error(shared: SoftToken) -> None:
    token = shared.open()
    _, key = token.generate("for all", "ecdsa")

    def work(number: int) -> None:
        verified(key, f"payload {number}".encode())
        if number % 200 == 0:
            verified(token.generate(f"in between {number}", "ecdsa")[1])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(2000)))


def test_a_module_is_entered_by_a_thread_of_its_own(softhsm: SoftHsm) -> None:
    """What OpenSSL remembers of the module's errors must not meet this thread's TLS connections."""
    made = softhsm.token()
    seen: list[threading.Thread] = []

    def pin() -> str:
        seen.append(threading.current_thread())
        return PIN

    for _ in range(3):
        with ThreadPoolExecutor(1) as caller:
            caller.submit(Token(MODULE, made.label, pin).generate, "whose thread", "ecdsa").result()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()
    assert seen[0].name.startswith("pkcs11")


def test_two_tokens_and_two_openers_of_one_sign_side_by_side(softhsm: SoftHsm, shared: SoftToken) -> None:
    tokens = [shared.open(), shared.open(), softhsm.token().open()]
    keys = [token.generate(f"side by side {number}", "ecdsa")[1] for number, token in enumerate(tokens)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(verified, keys * 30))


def test_a_token_that_was_away_signs_when_it_returns(shared: SoftToken) -> None:
    token = shared.open()
    key_id, key = token.generate("goes away", "ecdsa")
    verified(key)
    with shared.away():
        for _ in range(2):
            with pytest.raises(UnavailableError, match=f"the token {shared.label} cannot be used"):
                NotarySigner(key).sign(b"payload")
        with pytest.raises(UnavailableError):
            token.check()
        with pytest.raises(UnavailableError):
            token.generate("not made", "ecdsa")
    verified(key)
    token.check(key_id)


def test_a_session_that_the_module_has_lost_is_opened_anew(shared: SoftToken) -> None:
    token = shared.open()
    _, key = token.generate("lost session", "ecdsa")
    verified(key)
    pkcs11.lib(str(MODULE)).finalize()
    verified(key)
    assert token._session is not None
    token._session.close()
    verified(key)


def test_a_key_that_was_deleted_is_unavailable_and_not_another(shared: SoftToken) -> None:
    token = shared.open()
    key_id, key = token.generate("deleted", "ecdsa")
    verified(key)
    assert token._session is not None
    token._session.get_key(ObjectClass.PRIVATE_KEY, id=key_id).destroy()
    with pytest.raises(UnavailableError, match="cannot be used: there is no key with ID"):
        NotarySigner(key).sign(b"payload")
    with pytest.raises(UnavailableError, match="there is no key with ID"):
        token.check(key_id)


def test_a_label_that_two_keys_have_names_neither(shared: SoftToken) -> None:
    token = shared.open()
    for _ in range(2):
        token.generate("twins", "ecdsa")
    with pytest.raises(NotFoundError, match="more than one key is with label 'twins'"):
        token.key(label="twins")
    with pytest.raises(NotFoundError, match="there is no key with label 'nobody'"):
        token.key(label="nobody")


def test_a_refused_pin_is_not_tried_again_until_it_changes(softhsm: SoftHsm) -> None:
    token, pins = softhsm.token(), ["9999"]
    opened = Token(MODULE, token.label, lambda: pins[0])
    with pytest.raises(UnavailableError, match="refuses the PIN"):
        opened.check()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="has refused this PIN, and it is not tried again") as caught:
            opened.check()
        assert "9999" not in str(caught.value)
    pins[0] = PIN
    opened.check()


def test_a_key_that_wants_the_pin_for_each_signature_gets_it(shared: SoftToken) -> None:
    token = shared.open()
    token.check()
    assert token._session is not None
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    domain = token._session.create_domain_parameters(KeyType.EC, parameters, local=True)
    wish = {Attribute.ALWAYS_AUTHENTICATE: True}
    domain.generate_keypair(label="each time", id=b"each", store=True, private_template=wish)
    key = token.key(label="each time")
    for _ in range(2):
        verified(key)


@pytest.mark.parametrize("curve", ["secp384r1", "secp521r1"])
def test_larger_curves_sign_with_sha256_on_a_token(shared: SoftToken, curve: str) -> None:
    token = shared.open()
    token.check()
    assert token._session is not None
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
    domain = token._session.create_domain_parameters(KeyType.EC, parameters, local=True)
    domain.generate_keypair(label=curve, id=curve.encode(), store=True)
    key = token.key(label=curve)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == curve
    verified(key)
    (certificate,) = certify(key, Gun("localhost/app"), datetime.now(UTC)).certificates
    certificate.verify_directly_issued_by(certificate)


def test_rsa_keys_of_a_token_sign_metadata_and_certificates(shared: SoftToken) -> None:
    token = shared.open()
    token.check()
    assert token._session is not None
    token._session.generate_keypair(KeyType.RSA, 2048, label="rsa", id=b"rsa", store=True)
    key = token.key(label="rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    verified(key)
    (certificate,) = certify(key, Gun("localhost/app"), datetime.now(UTC)).certificates
    certificate.verify_directly_issued_by(certificate)


def test_a_token_makes_no_other_keys(shared: SoftToken) -> None:
    with pytest.raises(InvalidError, match="not supported for create key"):
        shared.open().generate("rsa", "rsa")


def test_a_module_or_a_token_that_is_not_there_is_unavailable(shared: SoftToken, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be used"):
        Token(tmp_path / "no.so", "x", lambda: PIN).check()
    with pytest.raises(UnavailableError, match="cannot be used: NoSuchToken"):
        Token(MODULE, "not this one", lambda: PIN).check()


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(SettingsError, match=r"pip install 'troth\[hsm\]'"):
        Token(MODULE, "any", lambda: PIN).check()


def test_a_key_is_made_and_found_by_uri(shared: SoftToken) -> None:
    made, key = make_key(shared.uri("by uri"), "ed25519")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    for uri in (made, shared.uri("by uri")):
        exact, again = find_key(uri)
        assert exact == uri
        assert public_key_of(again) == public_key_of(key)
        verified(again)
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert len(raw) == 32


def test_a_person_is_asked_for_the_pin_once(softhsm: SoftHsm) -> None:
    token, asked = softhsm.token(), []

    def ask(label: str) -> str:
        asked.append(label)
        return PIN

    _, key = make_key(token.uri("asked", pin_file=False), ask_pin=ask)
    verified(key)
    verified(find_key(token.uri("asked", pin_file=False), ask_pin=ask)[1])
    assert asked == [token.label]


def test_without_a_person_the_pin_must_be_in_a_file_that_others_cannot_read(softhsm: SoftHsm) -> None:
    token = softhsm.token()
    with pytest.raises(SettingsError, match="name its file as pin-source"):
        find_key(token.uri("any", pin_file=False))
    other = softhsm.token()
    other.pin_file.chmod(0o644)
    with pytest.raises(SettingsError, match="must have mode 0600") as caught:
        find_key(other.uri("any"))
    assert PIN not in str(caught.value)
