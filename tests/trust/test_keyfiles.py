# SPDX-License-Identifier: Apache-2.0
"""Key files of docker, notary and OpenSSL are read; what we write is what they read (see also tests/flows)."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from trust import der
from trust.errors import InvalidError
from trust.keyfiles import PassphraseError, parse, public_pem, read_public, seal
from trust.keys import PrivateKey, generate_private, public_key_of
from trust.pem import write

#: Made by `docker trust key generate alice` (CLIs 20.10 and 28.2) and `notary key generate` (0.7).
FIXTURES = Path(__file__).parent.parent / "fixtures/keys"
PASSPHRASE = "correct horse battery"


CURVES = {"P-224": ec.SECP224R1(), "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def key_of(kind: str) -> PrivateKey:
    if kind.startswith("P-"):
        return ec.generate_private_key(CURVES[kind])
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return generate_private("ed25519")


KINDS = ["P-224", "P-256", "P-384", "P-521", "rsa", "ed25519"]


@pytest.mark.parametrize(
    ("name", "role", "key_id", "passphrase"),
    [
        (
            "docker-20-alice",
            "alice",
            "6bb9259572834891defe341ca491301209dd81a618b2dfd50f477a38b742642d",
            "repopass12",
        ),
        (
            "docker-28-alice",
            "alice",
            "afd763ef2f6c83bc71c0264485305e59447ebaaa6dac3d4c6a6042a0ae3a98ca",
            "repopass12",
        ),
        ("notary-07-root", "root", "24b68c742c48c29052950db1d791f9a10bc2bfa3f541838a515adc4b5a200a82", "rootpass12"),
    ],
)
def test_keys_of_the_go_clients_are_read(name: str, role: str, key_id: str, passphrase: str) -> None:
    file = parse((FIXTURES / f"{name}.pem").read_bytes())
    assert (file.role, file.gun, file.is_encrypted) == (role, "", True)
    assert public_key_of(file.open(passphrase)).keyid == key_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_sealed_key_opens_with_its_passphrase_alone(kind: str) -> None:
    key = key_of(kind)
    file = parse(seal(key, PASSPHRASE, role="targets", gun="localhost:5000/library/app"))
    assert (file.role, file.gun, file.kind) == ("targets", "localhost:5000/library/app", "ENCRYPTED PRIVATE KEY")
    assert public_key_of(file.open(PASSPHRASE)) == public_key_of(key)
    for wrong in ("", "correct horse batterY"):
        with pytest.raises(PassphraseError) as caught:
            file.open(wrong)
        assert PASSPHRASE not in str(caught.value)
    with pytest.raises(PassphraseError, match="no passphrase was given"):
        file.open()


def test_the_form_is_the_one_that_go_reads() -> None:
    pem = seal(generate_private("ecdsa"), PASSPHRASE, role="root")
    lines = pem.decode().splitlines()
    assert lines[:3] == ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "role: root", ""]
    assert {len(line) for line in lines[3:-2]} == {64}
    body = parse(pem).body
    assert der.oid("1.2.840.113549.2.7") not in body  # a PRF that is named is not read
    assert der.integer(2048) in body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_standard_pkcs8_is_read(kind: str, encrypted: bool) -> None:
    key = key_of(kind)
    how = serialization.BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    assert public_key_of(parse(pem).open(PASSPHRASE if encrypted else None)) == public_key_of(key)


@pytest.mark.parametrize("kind", ["P-256", "P-521", "rsa"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_the_older_forms_are_read(kind: str, encrypted: bool) -> None:
    key = key_of(kind)
    how = serialization.BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, how)
    assert (b"DEK-Info" in pem) == encrypted
    file = parse(pem)
    assert public_key_of(file.open(PASSPHRASE if encrypted else None)) == public_key_of(key)
    if encrypted:
        with pytest.raises(PassphraseError):
            file.open("wrong")


def test_notarys_own_ed25519_form_is_read() -> None:
    key = generate_private("ed25519")
    seed = key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    public = public_key_of(key).public
    pem = write("ED25519 PRIVATE KEY", public + seed + public, {"role": "root"})
    assert public_key_of(parse(pem).open()) == public_key_of(key)
    forged = write("ED25519 PRIVATE KEY", bytes(32) + seed + public, {})
    with pytest.raises(InvalidError):
        parse(forged).open()


def test_openssl_reads_what_stands_below_the_headers(tmp_path: Path) -> None:
    key = generate_private("ecdsa")
    plain = tmp_path / "key"
    plain.write_bytes(write("ENCRYPTED PRIVATE KEY", parse(seal(key, PASSPHRASE, role="root")).body, {}))
    command = ["openssl", "pkey", "-in", str(plain), "-passin", f"pass:{PASSPHRASE}", "-pubout", "-outform", "DER"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout == public_key_of(key).public


def test_the_public_half_keeps_its_name() -> None:
    key = generate_private("ecdsa")
    pem = public_pem(key, role="alice")
    assert b"\nrole: alice\n\n" in pem
    assert read_public(pem) == ("PUBLIC KEY", public_key_of(key).public)


@pytest.mark.parametrize("role", ["two\nlines", "with blank", "ünicode", "x" * 256])
def test_a_header_cannot_be_broken_out_of(role: str) -> None:
    with pytest.raises(InvalidError):
        seal(generate_private("ecdsa"), PASSPHRASE, role=role)


def test_a_key_does_not_show_in_its_repr() -> None:
    file = parse(seal(generate_private("ecdsa"), PASSPHRASE, role="root"))
    assert base64.b64encode(file.body)[:20].decode() not in repr(file)
    assert repr(file.body)[2:20] not in repr(file)


@given(st.binary(max_size=300))
def test_anything_in_a_file_gives_our_errors_only(data: bytes) -> None:
    for reader in (parse, read_public):
        with pytest.raises(InvalidError):
            reader(data)


@given(
    st.sampled_from(
        ["ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ED25519 PRIVATE KEY"]
    ),
    st.binary(max_size=200),
    st.sampled_from([{}, {"DEK-Info": "AES-256-CBC,00112233445566778899aabbccddeeff"}, {"DEK-Info": "DES-CBC,00"}]),
)
def test_any_content_of_a_key_gives_our_errors_only(kind: str, body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        parse(b"-----BEGIN " + kind.encode() + b"-----\n" + _lines(headers) + base64.b64encode(body) + b"\n"
              b"-----END " + kind.encode() + b"-----\n").open("passphrase")  # fmt: skip


@given(st.data(), st.sampled_from(["docker-28-alice", "plain P-256", "plain rsa"]))
def test_any_damage_to_a_key_gives_our_errors_only(data: st.DataObject, name: str) -> None:
    file = parse(PLAIN[name] if name in PLAIN else (FIXTURES / f"{name}.pem").read_bytes())
    body = bytearray(file.body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 40 if file.is_encrypted else len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidError):  # or it still opens: not every bit matters
        parse(write(file.kind, bytes(body), {})).open("repopass12")


def _lines(headers: dict[str, str]) -> bytes:
    return b"".join(f"{name}: {value}\n".encode() for name, value in headers.items()) + b"\n" * bool(headers)


PLAIN = {
    f"plain {kind}": key_of(kind).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for kind in ("P-256", "rsa")
}
