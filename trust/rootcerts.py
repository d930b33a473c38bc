# SPDX-License-Identifier: Apache-2.0
"""The certificates by which a root key signs for one collection (NOTARY_V1 §1.6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from trust.errors import InvalidError
from trust.keys import NotaryKey, PrivateKey, certificate_key
from trust.names import Gun

LIFETIME = timedelta(days=3650)
_Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_HASHES: dict[str, _Hash] = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}


def certify(key: PrivateKey, gun: Gun, now: datetime) -> NotaryKey:
    """A root key for `gun`: the key's self-signed certificate, in the form of the Go clients.

    Args:
        key: the private root key.
        gun: the collection that it shall sign for.
        now: when the certificate begins.

    Raises:
        InvalidError: an Ed25519 key, which Notary has no certificates for.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidError("a root key must be ECDSA or RSA")
    # No validation: GUNs may be longer than the 64 characters that X.509 allows, and the Go programs do not mind.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, gun, _validate=False)])
    usage = x509.KeyUsage(
        digital_signature=True, key_encipherment=True, content_commitment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else ""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + LIFETIME)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, _HASHES.get(curve, hashes.SHA256()))
    )
    return certificate_key(certificate.public_bytes(serialization.Encoding.PEM))
