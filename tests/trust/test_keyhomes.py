# SPDX-License-Identifier: Apache-2.0
"""One contract for every home of people's keys: memory, a file, a token, and AWS's key management.

AWS is moto's: real boto3, real signatures, but moto hashes the digest that it is given once more.  Here that is put
right; that it would be noticed is a test of its own.  Google, Azure and Vault have no such stand-in.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from softhsm import SoftHsm
from trust.errors import InvalidError, UnavailableError
from trust.hardware import hardware_key
from trust.keyfolder import KeyFolder
from trust.keys import NotarySigner, PrivateKey, generate_private, public_key_of
from trust.keyuri import find_key, make_key
from trust.names import Gun
from trust.rootcerts import certify

GUN = Gun("localhost:5000/library/app")
#: Opens the same key again, as another process would.
Opener = Callable[[], PrivateKey]


def folder(path: Path) -> KeyFolder:
    return KeyFolder(path, lambda question: None if question.attempt else "correct horse battery")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """AWS's key management, by moto: signs wrongly, as moto does."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import boto3
        from moto import mock_aws

        with mock_aws():
            yield boto3.client("kms")


@pytest.fixture
def right_aws(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same, with moto's slip put right: what it is given is a digest."""
    from moto.kms import utils as moto

    prehashed = utils.Prehashed(hashes.SHA256())

    def ecdsa(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        return bytes(self.private_key.sign(message, ec.ECDSA(prehashed)))

    def pss(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        assert signing_algorithm == "RSASSA_PSS_SHA_256"
        way = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return bytes(self.private_key.sign(message, way, prehashed))

    monkeypatch.setattr(moto.ECDSAPrivateKey, "sign", ecdsa)
    monkeypatch.setattr(moto.RSAPrivateKey, "sign", pss)
    return aws


def aws_uri(aws: Any, spec: str) -> str:
    made = aws.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)
    return f"awskms:{made['KeyMetadata']['KeyId']}"


_ON_TOKEN = [
    pytest.param(f"softhsm2 {algorithm}", marks=pytest.mark.client("softhsm2")) for algorithm in ("ecdsa", "ed25519")
]
_HARDWARE = [*_ON_TOKEN, "awskms ECC_NIST_P256", "awskms RSA_2048"]


@pytest.fixture(params=["memory", "file ecdsa", "file ed25519", "file rsa", *_HARDWARE])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    home, _, kind = request.param.partition(" ")
    if home == "memory":
        private = generate_private("ecdsa")
        return lambda: private
    if home == "file":
        made = rsa.generate_private_key(65537, 2048) if kind == "rsa" else generate_private(kind)
        key_id = folder(tmp_path).add(made, role="alice").key_id
        return lambda: folder(tmp_path).open(key_id)
    if home == "softhsm2":
        softhsm: SoftHsm = request.getfixturevalue("softhsm")
        uri, key = make_key(softhsm.token().uri("alice"), kind)
    else:
        uri, key = find_key(aws_uri(request.getfixturevalue("right_aws"), kind))
    key_id = folder(tmp_path).attach(uri, key, role="alice").key_id
    return lambda: folder(tmp_path).open(key_id)


def test_a_key_signs_in_notarys_encoding_and_is_the_same_when_opened_again(opener: Opener) -> None:
    key = opener()
    public = public_key_of(key)
    signature = NotarySigner(key).sign(b"payload")
    ((method, raw),) = signature.candidates
    widths = {"ecdsa": 64, "eddsa": 64, "rsapss": 256}
    assert len(raw) == widths[method]
    public.verify_signature(signature, b"payload")
    again = opener()
    assert public_key_of(again) == public
    public.verify_signature(NotarySigner(again).sign(b"another"), b"another")


def test_eight_threads_sign_without_an_error(opener: Opener) -> None:
    key = opener()
    public = public_key_of(key)
    payloads = [f"payload {number}".encode() for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for payload, signature in zip(payloads, pool.map(NotarySigner(key).sign, payloads), strict=True):
            public.verify_signature(signature, payload)


@pytest.mark.parametrize("opener", ["memory", "file rsa", _ON_TOKEN[0], "awskms ECC_NIST_P256"], indirect=True)
def test_a_root_certificate_is_signed_by_its_key(opener: Opener) -> None:
    (certificate,) = certify(opener(), GUN, datetime.now(UTC)).certificates
    certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize("opener", [_ON_TOKEN[1], "awskms RSA_2048"], indirect=True)
def test_a_key_that_cannot_sign_its_certificate_is_no_root_key(opener: Opener) -> None:
    with pytest.raises(InvalidError, match="a root key must be ECDSA"):
        certify(opener(), GUN, datetime.now(UTC))


@pytest.mark.parametrize("opener", _HARDWARE, indirect=True)
def test_what_is_in_hardware_does_not_leave_it(opener: Opener, tmp_path: Path) -> None:
    key = opener()
    (held,) = folder(tmp_path).held(role="alice")
    form = serialization.PrivateFormat.PKCS8
    with pytest.raises(InvalidError, match="it can sign, and nothing else"):
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    with pytest.raises(InvalidError, match="does not leave it"):
        folder(tmp_path).export(held.key_id)
    with pytest.raises(InvalidError, match="it can sign, and nothing else"):
        folder(tmp_path / "other").add(key, role="alice")
    assert copy.copy(key) is copy.deepcopy(key) is key
    assert [path.parent.name for path in tmp_path.rglob("*") if path.is_file()] == ["hardware"]
    assert held.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_2048"])
def test_a_home_that_signs_wrongly_gets_nothing_signed(aws: Any, spec: str) -> None:
    _, key = find_key(aws_uri(aws, spec))
    with pytest.raises(UnavailableError, match="made a signature that is not valid: nothing was signed"):
        NotarySigner(key).sign(b"payload")


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1"])
def test_a_key_that_does_not_sign_with_sha256_is_refused(aws: Any, spec: str) -> None:
    with pytest.raises(InvalidError, match="Notary cannot"):
        find_key(aws_uri(aws, spec))


def test_a_cloud_that_does_not_know_the_key_says_so(aws: Any) -> None:
    with pytest.raises(UnavailableError, match="NotFoundException"):
        find_key("awskms:00000000-0000-0000-0000-000000000000")


def test_another_keys_signature_does_not_get_out() -> None:
    mine, other = generate_private("ecdsa"), generate_private("ecdsa")
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    key = hardware_key(mine.public_key(), lambda data, _: other.sign(data, ec.ECDSA(hashes.SHA256())), "here")
    with pytest.raises(UnavailableError, match="the key here made a signature that is not valid"):
        NotarySigner(key).sign(b"payload")


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()])
def test_curves_that_notary_cannot_sign_with_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(InvalidError, match="that Notary cannot sign with"):
        hardware_key(ec.generate_private_key(curve).public_key(), lambda data, _: b"", "here")
