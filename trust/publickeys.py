# SPDX-License-Identifier: Apache-2.0
"""Public keys and certificates in PEM files, as people hand them to whoever adds them as a signer.

    key = read_public_key(Path("alice.pub").read_bytes())
    repository.publish(*add_signer(signer_role("alice"), [key]))

`docker trust key generate`, `troth key generate` and `openssl` write such files.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from trust.errors import FormatError, InvalidError
from trust.keyfiles import read_public
from trust.keys import NotaryKey, certificate_key


def read_public_key(pem: bytes) -> NotaryKey:
    """The public key, or certificate, in a PEM file, such as the `alice.pub` that docker writes (NOTARY_V1 §1.4).

    Args:
        pem: the file; its first `PUBLIC KEY` or `CERTIFICATE` counts.

    Returns:
        The key, with the ID that follows from its content.

    Raises:
        InvalidError: there is none in it, or none of a kind, curve and size that may sign.

    Examples:
        >>> alice = trust.read_public_key(Path("alice.pub").read_bytes())
        >>> alice.keytype, len(alice.keyid)
        ('ecdsa', 64)
    """
    kind, body = read_public(pem)
    try:
        if kind == "CERTIFICATE":
            chain = x509.load_der_x509_certificate(body).public_bytes(serialization.Encoding.PEM)
            found = certificate_key(chain)
            if not found.is_sound:
                raise FormatError("the certificate is signed with SHA-1, ends before it begins, or is of a short key")
            return found
        key = serialization.load_der_public_key(body)
        if isinstance(key, ed25519.Ed25519PublicKey):
            raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return NotaryKey.from_public("ed25519", raw)
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        keytype = {ec.EllipticCurvePublicKey: "ecdsa", rsa.RSAPublicKey: "rsa"}
        name = next((name for cls, name in keytype.items() if isinstance(key, cls)), "")
        found = NotaryKey.from_public(name, spki)
        found.public_key  # noqa: B018  # checks kind, curve and size
    except (ValueError, UnsupportedAlgorithm, FormatError) as error:
        raise InvalidError(f"this is no public key that may sign: {error}") from error
    return found
