# SPDX-License-Identifier: Apache-2.0
"""Keys and signatures: every kind that Notary knows verifies, and no other encoding, method or ID of it does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key

from collection import root_signer
from shelf import golden, golden_names
from trust.errors import FormatError, InvalidError, KeyIdError, SignatureError
from trust.keys import (
    MAX_SIGNATURES_PER_KEY,
    METHODS,
    NotaryKey,
    NotarySignature,
    NotarySigner,
    certificate_key,
    generate_private,
    key_id,
    public_key_of,
    sign_raw,
)
from trust.metadata import parse
from trust.names import RoleName

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
PAYLOAD = b'{"_type":"Targets"}'
SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
KINDS = ("p224", "p256", "p384", "p521", "ed25519", "rsa2048", "rsa3072", "p256-x509", "p384-x509", "rsa-x509")
CURVES: dict[str, ec.EllipticCurve] = {
    "p224": ec.SECP224R1(), "p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()
}  # fmt: skip


@cache
def signer(kind: str) -> NotarySigner:
    """One signer of each kind; RSA keys take long to make."""
    bare, _, certificate = kind.partition("-")
    if bare == "ed25519":
        return NotarySigner(ed25519.Ed25519PrivateKey.generate())
    if bare.startswith("rsa"):
        private = rsa.generate_private_key(65537, int(bare.removeprefix("rsa") or 2048))
        return root_signer("gun", NOW, key=private) if certificate else NotarySigner(private)
    curve = ec.generate_private_key(CURVES[bare])
    return root_signer("gun", NOW, key=curve) if certificate else NotarySigner(curve)


def private(kind: str) -> Any:
    """The private half of `signer(kind)`."""
    return signer(kind)._private


def raw_of(signature: NotarySignature) -> bytes:
    ((_method, raw),) = signature.candidates
    return raw


def verify(key: NotaryKey, method: str, raw: bytes, payload: bytes = PAYLOAD) -> None:
    key.verify_signature(NotarySignature(key.keyid, ((method, raw),)), payload)


def refused(key: NotaryKey, method: str, raw: bytes, payload: bytes = PAYLOAD) -> bool:
    try:
        verify(key, method, raw, payload)
    except UnverifiedSignatureError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_signs_and_verifies(kind: str) -> None:
    key = signer(kind).public_key
    signature = signer(kind).sign(PAYLOAD)
    ((method, raw),) = signature.candidates
    assert method == METHODS[key.keytype]
    key.verify_signature(signature, PAYLOAD)
    assert refused(key, method, raw, PAYLOAD + b" ")
    assert refused(key, method, raw, b"")


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_key_verifies_a_signature(kind: str) -> None:
    raw = raw_of(signer(kind).sign(PAYLOAD))
    for other in KINDS:
        key = signer(other).public_key
        if other != kind:
            assert refused(key, METHODS[key.keytype], raw)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("p224", 56), ("p256", 64), ("p384", 96), ("p521", 132), ("ed25519", 64), ("rsa2048", 256), ("rsa3072", 384)],
)
def test_signatures_have_the_length_that_go_expects(kind: str, size: int) -> None:
    for payload in (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g"):  # r and s are short now and then
        assert len(sign_raw(private(kind), payload)) == size


def test_short_r_and_s_are_padded_on_the_left() -> None:
    key = private("p521")
    for number in range(200):
        payload = str(number).encode()
        raw = sign_raw(key, payload)
        verify(signer("p521").public_key, "ecdsa", raw, payload)
        if raw[0] == 0 and raw[1] < 0x80 and raw[66] == 0:
            return
    pytest.fail("no short numbers in 200 signatures")  # each has at least one chance in eight


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_the_digest_is_sha256_whatever_the_curve(kind: str) -> None:
    for digest in (hashes.SHA384(), hashes.SHA512()):
        r, s = decode_dss_signature(private(kind).sign(PAYLOAD, ec.ECDSA(digest)))
        width = (CURVES[kind].key_size + 7) // 8
        assert refused(signer(kind).public_key, "ecdsa", r.to_bytes(width, "big") + s.to_bytes(width, "big"))


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "p256-x509"])
def test_a_der_encoded_ecdsa_signature_is_refused(kind: str) -> None:
    """T12."""
    der = private(kind).sign(PAYLOAD, ec.ECDSA(hashes.SHA256()))
    assert refused(signer(kind).public_key, "ecdsa", der)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_another_length_is_refused(kind: str) -> None:
    key = signer(kind).public_key
    method, raw = METHODS[key.keytype], raw_of(signer(kind).sign(PAYLOAD))
    for changed in (b"", raw[:-1], raw[1:], raw + b"\0", b"\0" + raw, raw * 2, b"\0"):
        assert refused(key, method, changed)


@pytest.mark.parametrize("kind", ["p224", "p256", "p384", "p521"])
def test_zero_and_the_order_are_no_r_and_no_s(kind: str) -> None:
    """T12."""
    key, raw = signer(kind).public_key, raw_of(signer(kind).sign(PAYLOAD))
    width = len(raw) // 2
    r, s = raw[:width], raw[width:]
    orders = {
        "p224": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
        "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "p384": int("ff" * 24 + "c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16),
        "p521": int("01ff" + "ff" * 31 + "fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16),
    }  # fmt: skip
    for number in (0, orders[kind]):
        bad = number.to_bytes(width, "big")
        for changed in (bad + s, r + bad, bad + bad):
            assert refused(key, "ecdsa", changed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_method_must_be_one_of_the_keys_own_type(kind: str) -> None:
    """T12, CVE-2015-9258."""
    key = signer(kind).public_key
    raw = raw_of(signer(kind).sign(PAYLOAD))
    own = {METHODS[key.keytype]} | ({"pycrypto-pkcs#1 pss"} if "rsa" in key.keytype else set())
    for method in ("ecdsa", "eddsa", "rsapss", "rsapkcs1v15", "ed25519", "rsa", "hmac", "none", "", "ECDSA "):
        if method not in own:
            assert refused(key, method, raw)


def test_pkcs1v15_signatures_verify_under_their_own_name_only() -> None:
    key = signer("rsa2048").public_key
    raw = private("rsa2048").sign(PAYLOAD, padding.PKCS1v15(), hashes.SHA256())
    verify(key, "rsapkcs1v15", raw)
    assert refused(key, "rsapss", raw)
    sha1 = private("rsa2048").sign(PAYLOAD, padding.PKCS1v15(), hashes.SHA512())
    assert refused(key, "rsapkcs1v15", sha1)


@pytest.mark.parametrize("salt", [0, 20, 31, 33, 64])
def test_pss_with_another_salt_length_is_refused(salt: int) -> None:
    raw = private("rsa2048").sign(PAYLOAD, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    assert refused(signer("rsa2048").public_key, "rsapss", raw)


def test_pss_with_another_digest_is_refused() -> None:
    for outer, inner in ((hashes.SHA512(), hashes.SHA256()), (hashes.SHA256(), hashes.SHA512())):
        raw = private("rsa2048").sign(PAYLOAD, padding.PSS(padding.MGF1(inner), 32), outer)
        assert refused(signer("rsa2048").public_key, "rsapss", raw)


def test_a_pem_rsa_key_of_the_python_clients_of_old_verifies() -> None:
    pem = private("rsa2048").public_key().public_bytes(serialization.Encoding.PEM, SPKI[1])
    key = NotaryKey.from_public("rsa", pem)
    verify(key, "pycrypto-pkcs#1 pss", sign_raw(private("rsa2048"), PAYLOAD))


@pytest.mark.parametrize("bits", [1024, 2040])
def test_an_rsa_key_below_2048_bits_verifies_nothing(bits: int) -> None:
    small = rsa.generate_private_key(65537, bits)
    key = public_key_of(small)
    raw = sign_raw(small, PAYLOAD)
    assert refused(key, "rsapss", raw)
    assert refused(key, "rsapkcs1v15", small.sign(PAYLOAD, padding.PKCS1v15(), hashes.SHA256()))
    certificate = root_signer("gun", NOW, key=small).public_key
    assert refused(certificate, "rsapss", raw)
    with pytest.raises(FormatError, match="kind, curve or size"):
        _ = key.public_key


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(*SPKI)
    return encoded


@pytest.mark.parametrize(
    ("keytype", "public"),
    [
        ("rsa", spki(ec.generate_private_key(ec.SECP256R1()))),
        ("ecdsa", spki(ed25519.Ed25519PrivateKey.generate())),
        ("ecdsa", spki(ec.generate_private_key(ec.SECP256K1()))),
        ("ecdsa", spki(ec.generate_private_key(ec.BrainpoolP256R1()))),
        ("ecdsa", spki(ed448.Ed448PrivateKey.generate())),
        ("ecdsa", spki(x25519.X25519PrivateKey.generate())),
        ("rsa", spki(dsa.generate_private_key(1024))),
        ("ed25519", spki(ed25519.Ed25519PrivateKey.generate())),
        ("ed25519", b"\0" * 31),
        ("ecdsa-x509", b"not a certificate"),
        ("ecdsa-x509", b""),
        ("rsa-x509", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ed25519-x509", b"\0" * 32),
        ("ed448", b"\0" * 57),
        ("", b""),
        ("ecdsa", b"0" * 100_000),
        ("ecdsa", b"-----BEGIN PUBLIC KEY-----\n"),
    ],
    ids=map(str, count()),  # the keys are new in every process
)
def test_a_key_of_another_kind_than_its_type_is_read_and_verifies_nothing(keytype: str, public: bytes) -> None:
    key = NotaryKey.from_public(keytype, public)
    for method in ("ecdsa", "eddsa", "rsapss", "rsapkcs1v15"):
        assert refused(key, method, b"\1" * 64)
    with pytest.raises(FormatError):
        _ = key.public_key


def test_an_x509_key_must_hold_a_key_of_its_type() -> None:
    elliptic = signer("p256-x509").public_key
    mislabelled = NotaryKey.from_public("rsa-x509", elliptic.public)
    assert refused(mislabelled, "ecdsa", raw_of(signer("p256-x509").sign(PAYLOAD)))


@pytest.mark.parametrize("kind", ["p256", "ed25519", "rsa2048", "p256-x509", "rsa-x509"])
def test_a_key_id_is_over_private_null_before_public(kind: str) -> None:
    key = signer(kind).public_key
    encoded = base64.b64encode(key.public).decode()
    text = f'{{"keytype":"{key.keytype}","keyval":{{"private":null,"public":"{encoded}"}}}}'
    assert key.keyid == hashlib.sha256(text.encode()).hexdigest() == key_id(key.keytype, key.public)


@pytest.mark.parametrize(("kind", "bare"), [("p256-x509", "ecdsa"), ("p384-x509", "ecdsa"), ("rsa-x509", "rsa")])
def test_a_certificate_has_two_ids_and_a_bare_key_one(kind: str, bare: str) -> None:
    key = signer(kind).public_key
    inner = public_key_of(private(kind))
    assert key.canonical_id == key_id(bare, spki(private(kind))) == inner.keyid == inner.canonical_id
    assert key.canonical_id != key.keyid


def test_the_canonical_id_is_of_the_first_certificate() -> None:
    leaf, other = signer("p256-x509").public_key, root_signer("gun", NOW).public_key
    assert certificate_key(leaf.public + other.public).canonical_id == leaf.canonical_id


def test_a_key_filed_under_a_foreign_id_fails_the_whole_check() -> None:
    right = signer("p256").public_key
    wrong = NotaryKey("0" * 64, right.keytype, right.public)
    signature = NotarySignature(wrong.keyid, signer("p256").sign(PAYLOAD).candidates)
    with pytest.raises(KeyIdError, match="key ID is not valid for key content"):
        wrong.verify_signature(signature, PAYLOAD)
    assert issubclass(KeyIdError, SignatureError)


@pytest.mark.parametrize("spelling", [str.upper, lambda text: text[:-1], lambda text: f" {text}"])
def test_an_id_must_be_spelled_exactly(spelling: Callable[[str], str]) -> None:
    right = signer("ed25519").public_key
    keyid = spelling(right.keyid)
    wrong = NotaryKey(keyid, right.keytype, right.public)
    with pytest.raises(KeyIdError):
        wrong.verify_signature(NotarySignature(keyid, signer("ed25519").sign(PAYLOAD).candidates), PAYLOAD)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "key",
        {},
        {"keytype": "ecdsa"},
        {"keytype": "ecdsa", "keyval": None},
        {"keytype": "ecdsa", "keyval": {}},
        {"keytype": "ecdsa", "keyval": {"public": None}},
        {"keytype": "ecdsa", "keyval": {"public": 1}},
        {"keytype": "ecdsa", "keyval": {"public": "not base64!"}},
        {"keytype": "ecdsa", "keyval": {"public": "é"}},
        {"keytype": "ecdsa", "keyval": {"public": "AAA"}},
        {"keytype": 1, "keyval": {"public": "AAAA"}},
        {"keytype": ["ecdsa"], "keyval": {"public": "AAAA"}},
        {"keyval": {"public": "AAAA"}},
    ],
)
def test_a_malformed_key_is_a_format_error(value: Any) -> None:
    with pytest.raises(FormatError, match="malformed"):
        NotaryKey.from_dict("id", value)


@pytest.mark.parametrize("kind", ["p256", "ed25519", "rsa2048", "p256-x509"])
def test_a_key_is_written_as_it_was_read(kind: str) -> None:
    written = signer(kind).public_key.to_dict()
    assert list(written["keyval"]) == ["private", "public"]
    assert written["keyval"]["private"] is None
    again = NotaryKey.from_dict(signer(kind).public_key.keyid, written)
    assert again.to_dict() == written
    assert again == signer(kind).public_key


def test_any_good_signature_under_an_id_is_enough_as_in_notary() -> None:
    key = signer("p256").public_key
    good = signer("p256").sign(PAYLOAD).candidates
    bad = (("ecdsa", b"\1" * 64), ("eddsa", b""), ("nonsense", b"x"))
    for candidates in (bad + good, good + bad, bad[:1] + good + bad[1:]):
        key.verify_signature(NotarySignature(key.keyid, candidates), PAYLOAD)
    with pytest.raises(UnverifiedSignatureError):
        key.verify_signature(NotarySignature(key.keyid, bad), PAYLOAD)
    assert len(bad + good) < MAX_SIGNATURES_PER_KEY


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519", "p521-x509"])
def test_every_single_flipped_bit_of_a_signature_is_noticed(kind: str) -> None:
    key = signer(kind).public_key
    method, raw = METHODS[key.keytype], raw_of(signer(kind).sign(PAYLOAD))
    for position in range(0, len(raw) * 8, 5):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        assert refused(key, method, bytes(changed))


@given(
    st.sampled_from(["ecdsa", "eddsa", "rsapss", "rsapkcs1v15", "x"]), st.binary(max_size=300), st.sampled_from(KINDS)
)
def test_arbitrary_bytes_are_never_a_signature(method: str, raw: bytes, kind: str) -> None:
    assert refused(signer(kind).public_key, method, raw)


@given(st.sampled_from([*METHODS, "other"]), st.binary(max_size=200))
def test_arbitrary_bytes_as_a_key_raise_nothing_but_format_errors(keytype: str, public: bytes) -> None:
    key = NotaryKey.from_public(keytype, public)
    assert refused(key, "ecdsa", b"\1" * 64)
    for member in ("public_key", "certificates", "canonical_id"):
        try:
            getattr(key, member)
        except FormatError:
            continue


@pytest.mark.parametrize("algorithm", ["rsa", "RSA", "p256", "ECDSA", "", "ed448", "x" * 1000])
def test_only_ecdsa_and_ed25519_keys_are_generated(algorithm: str) -> None:
    with pytest.raises(InvalidError, match="not supported for create key") as refusal:
        generate_private(algorithm)
    assert len(refusal.value.message) < 100


def test_generated_keys_are_of_the_algorithm_and_new_each_time() -> None:
    for algorithm in ("ecdsa", "ed25519"):
        keys = [public_key_of(generate_private(algorithm)) for _ in range(2)]
        assert [key.keytype for key in keys] == [algorithm] * 2
        assert keys[0].keyid != keys[1].keyid
    elliptic = generate_private("ecdsa")
    assert isinstance(elliptic, ec.EllipticCurvePrivateKey)
    assert elliptic.curve.name == "secp256r1"


def test_a_certificate_for_another_kind_of_key_is_no_root_key() -> None:
    with pytest.raises(FormatError):
        certificate_key(b"nothing")
    with pytest.raises(FormatError, match="ECDSA or RSA"):
        certificate_key(ED25519_CERTIFICATE)


def test_the_table_of_securesystemslib_is_left_alone() -> None:
    assert not [entry for entry, cls in KEY_FOR_TYPE_AND_SCHEME.items() if cls is NotaryKey]
    assert issubclass(NotaryKey, Key)


def test_a_key_home_by_uri_is_refused() -> None:
    with pytest.raises(InvalidError):
        NotarySigner.from_priv_key_uri("file:key", signer("p256").public_key)


@pytest.mark.parametrize("name", golden_names())
def test_every_key_of_the_original_programs_has_the_id_that_we_compute(name: str) -> None:
    count = 0
    for stem, data in golden(name).files.items():
        if "root" not in stem and "targets" not in stem:
            continue
        payload = parse(RoleName("root" if "root" in stem else "targets"), data).signed if "/" not in stem else None
        keys = getattr(payload, "keys", None) or getattr(getattr(payload, "delegations", None), "keys", {})
        for keyid, key in keys.items():
            assert key_id(key.keytype, key.public) == keyid
            _ = key.public_key
            count += 1
    assert count >= 4


def _ed25519_certificate() -> bytes:
    from cryptography import x509

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gun")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, None)
        .public_bytes(serialization.Encoding.PEM)
    )


ED25519_CERTIFICATE = _ed25519_certificate()
