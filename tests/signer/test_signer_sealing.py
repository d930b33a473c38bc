# SPDX-License-Identifier: Apache-2.0
"""A key comes back from its seal, and from nothing else (NOTARY_V1 §4.2)."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from hypothesis import given
from hypothesis import strategies as st

from signer.sealing import SealError, seal, unseal
from trust.keys import generate_private, public_key_of

_PASSPHRASE = "correct horse — battery staple"


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _by_hand(
    plaintext: bytes, passphrase: str = _PASSPHRASE, header: bytes | None = None, rounds: int = 8192
) -> bytes:
    """A JWE written by RFC 7516 and RFC 7518 alone."""
    salt, iv, content_key = b"twelve bytes", b"\1" * 12, b"\2" * 32
    header = (
        header
        or json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": rounds, "p2s": _encoded(salt)}).encode()
    )
    derived = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), b"PBES2-HS256+A128KW\0" + salt, rounds, 16)
    protected = _encoded(header)
    encrypted = AESGCM(content_key).encrypt(iv, plaintext, protected.encode())
    parts = [aes_key_wrap(derived, content_key), iv, encrypted[:-16], encrypted[-16:]]
    return ".".join([protected, *map(_encoded, parts)]).encode()


def _sec1(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@pytest.mark.parametrize("algorithm", ["ecdsa", "ed25519"])
def test_a_sealed_key_comes_back(algorithm: str) -> None:
    key = generate_private(algorithm)
    sealed = seal(key, _PASSPHRASE)
    assert public_key_of(unseal(sealed, algorithm, _PASSPHRASE)) == public_key_of(key)
    assert seal(key, _PASSPHRASE) != sealed


def test_the_seal_has_the_form_that_the_go_signer_reads() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    header, wrapped, iv, ciphertext, tag = seal(key, _PASSPHRASE).decode().split(".")
    text = _decoded(header).decode()
    fields = json.loads(text)
    salt = _decoded(fields["p2s"])
    assert text == (
        '{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2c":8192,"p2s":"' + fields["p2s"] + '"}'
    )  # order and spacing included
    assert (len(salt), len(_decoded(iv)), len(_decoded(tag))) == (12, 12, 16)
    derived = hashlib.pbkdf2_hmac("sha256", _PASSPHRASE.encode(), b"PBES2-HS256+A128KW\0" + salt, 8192, 16)
    content_key = aes_key_unwrap(derived, _decoded(wrapped))
    plaintext = AESGCM(content_key).decrypt(_decoded(iv), _decoded(ciphertext) + _decoded(tag), header.encode())
    assert plaintext == _sec1(key)


def test_an_ed25519_key_is_sealed_as_public_seed_public() -> None:
    key = generate_private("ed25519")
    public = public_key_of(key).public
    seed = key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    opened = unseal(_by_hand(public + seed + public), "ed25519", _PASSPHRASE)
    assert public_key_of(opened).public == public
    with pytest.raises(SealError):
        unseal(_by_hand(b"\0" * 32 + seed + public), "ed25519", _PASSPHRASE)
    with pytest.raises(SealError):
        unseal(_by_hand(seed), "ed25519", _PASSPHRASE)


def test_the_key_derivation_is_that_of_the_rfc() -> None:
    # RFC 7517, appendix C.4: passphrase, salt and count there give this wrapped key.
    salt = _decoded("2WCTcJZ1Rvd_CJuJripQ1w")
    derived = hashlib.pbkdf2_hmac(
        "sha256", b"Thus from my lips, by yours, my sin is purged.", b"PBES2-HS256+A128KW\0" + salt, 4096, 16
    )
    wrapped = _decoded("TrqXOwuNUfDV9VPTNbyGvEJ9JMjefAVn-TR1uIxR9p6hsRQh9Tk7BA")
    assert aes_key_unwrap(derived, wrapped)[:4] == bytes([111, 27, 25, 52])


@pytest.mark.parametrize("rounds", [1000, 4096, 20000])
def test_other_numbers_of_rounds_are_read(rounds: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    opened = unseal(_by_hand(_sec1(key), rounds=rounds), "ecdsa", _PASSPHRASE)
    assert public_key_of(opened) == public_key_of(key)


@pytest.mark.parametrize("rounds", [1, 999, 2_000_001, 2**40, -1, 0, True, "8192", 8192.0, None])
def test_too_few_and_too_many_rounds_are_refused_before_they_are_run(rounds: object) -> None:
    fields = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": rounds, "p2s": _encoded(b"twelve bytes")}
    with pytest.raises(SealError):
        unseal(_by_hand(b"x", header=json.dumps(fields).encode()), "ecdsa", _PASSPHRASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "dir"}, {"alg": "none"}, {"alg": "PBES2-HS512+A256KW"}, {"enc": "A128GCM"}, {"zip": "DEF"},
        {"crit": ["x"]}, {"p2s": ""}, {"p2s": "c2hvcnQ"}, {"p2s": 1}, {"p2s": "!!!"},
    ],
    ids=str,
)  # fmt: skip
def test_other_headers_are_refused(changes: dict[str, object]) -> None:
    fields = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": 8192, "p2s": _encoded(b"twelve bytes")}
    sealed = _by_hand(_sec1(ec.generate_private_key(ec.SECP256R1())), header=json.dumps(fields | changes).encode())
    with pytest.raises(SealError):
        unseal(sealed, "ecdsa", _PASSPHRASE)


@pytest.mark.parametrize("passphrase", ["", "correct horse", _PASSPHRASE + "\n"])
def test_a_wrong_passphrase_is_one_clear_error_without_secrets(passphrase: str) -> None:
    sealed = seal(generate_private("ecdsa"), _PASSPHRASE)
    with pytest.raises(SealError, match="wrong passphrase, or tampered with") as caught:
        unseal(sealed, "ecdsa", passphrase)
    assert caught.value.__cause__ is None
    assert "horse" not in str(caught.value)


@pytest.mark.parametrize("part", range(5))
def test_every_part_is_protected(part: int) -> None:
    parts = seal(generate_private("ecdsa"), _PASSPHRASE).split(b".")
    whole = bytearray(_decoded(parts[part].decode()))
    for position in {0, len(whole) // 2, len(whole) - 1}:
        changed = bytearray(whole)
        changed[position] ^= 1
        parts[part] = _encoded(bytes(changed)).encode()
        with pytest.raises(SealError):
            unseal(b".".join(parts), "ecdsa", _PASSPHRASE)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(SealError, match="not of the kind"):
        unseal(seal(generate_private("ecdsa"), _PASSPHRASE), "ed25519", _PASSPHRASE)
    with pytest.raises(SealError, match="not of the kind"):
        unseal(seal(generate_private("ed25519"), _PASSPHRASE), "ecdsa", _PASSPHRASE)
    with pytest.raises(SealError, match="not of the kind"):
        unseal(_by_hand(b"no key"), "ecdsa", _PASSPHRASE)
    pkcs8 = generate_private("ed25519").private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(SealError, match="not of the kind"):
        unseal(_by_hand(pkcs8), "ecdsa", _PASSPHRASE)


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda text: f"{text}.a.b.c.d".encode()))
def test_any_bytes_in_the_database_are_one_error(stored: bytes) -> None:
    with pytest.raises(SealError):
        unseal(stored, "ecdsa", _PASSPHRASE)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_any_json_as_header_is_one_error(header: object) -> None:
    encoded = _encoded(json.dumps(header).encode())
    with pytest.raises(SealError):
        unseal(f"{encoded}.a.b.c.d".encode(), "ecdsa", _PASSPHRASE)
