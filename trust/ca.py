# SPDX-License-Identifier: Apache-2.0
"""A private certificate authority and what it issues: enough for the three services to speak TLS.

This room makes certificates and keeps them in files; which names they carry and when they are renewed is for the
caller to say.  It owns no clock: `now` is given.

The rules:
* every key is ECDSA P-256, unencrypted PKCS #8, in a file that nobody but its owner could ever read;
* the authority may sign certificates and nothing else, and no authority below it;
* a certificate is for servers, for clients or for both, as asked, and says so (extended key usage);
* names stand in the subject alternative name, addresses as addresses; the common name is for logs and for
  the signer's list of clients.

    authority = Authority(new_authority("troth", now))
    pair = authority.issue("registry", ["localhost", "127.0.0.1"], server=True, client=False, now=now)
    pair.write(Path("registry.crt"), Path("registry.key"))
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.errors import InvalidError

AUTHORITY_LIFETIME = timedelta(days=3650)
#: The longest that all TLS clients accept for a server, those of Apple included.
CERTIFICATE_LIFETIME = timedelta(days=825)
SELF_SIGNED_LIFETIME = timedelta(days=3650)

# A machine whose clock is a little behind must not find the certificate "not yet valid".
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Self:
        """Read both files and check that they belong together.

        Raises:
            InvalidError: not a certificate and its key.
            OSError: a file cannot be read.
        """
        pair = cls(certificate.read_bytes(), key.read_bytes())
        try:
            public = x509.load_pem_x509_certificate(pair.certificate_pem).public_key()
            private = serialization.load_pem_private_key(pair.key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise InvalidError(f"{certificate} or {key} is not a certificate and its key in PEM") from error
        if private.public_key() != public:
            raise InvalidError(f"{key} is not the key of the certificate {certificate}")
        return pair

    def write(self, certificate: Path, key: Path) -> None:
        """Write both files, each whole or not at all; the key first, so that no certificate is without one.

        Raises:
            OSError: a file cannot be written.
        """
        write_file(key, self.key_pem, mode=0o600)
        write_file(certificate, self.certificate_pem, mode=0o644)


class Authority:
    """Issues certificates in the name of `pair`, made by `new_authority`.

    Raises:
        InvalidError: the pair is not a certificate authority's.
    """

    def __init__(self, pair: Pair) -> None:
        self.certificate_pem = pair.certificate_pem
        try:
            self._certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
            constraints = self._certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            key = serialization.load_pem_private_key(pair.key_pem, password=None)
        except (ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise InvalidError("this is not the certificate and key of a certificate authority") from error
        if not constraints.ca or not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidError("this is not the certificate and key of a certificate authority with an ECDSA key")
        self._key = key

    @property
    def not_after(self) -> datetime:
        """When the authority's own certificate ends (aware, UTC)."""
        return self._certificate.not_valid_after_utc

    def issue(self, common_name: str, hosts: Iterable[str], *, server: bool, client: bool, now: datetime) -> Pair:
        """Issue a certificate for a new key.

        Args:
            common_name: the subject.
            hosts: DNS names and IP addresses; may be empty for a client.
            server: whether TLS clients may accept it from a server.
            client: whether TLS servers may accept it from a client.
            now: when it begins.

        Raises:
            InvalidError: a host that is neither a name nor an address, or a certificate for nobody's use.
        """
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        if not usages:
            raise InvalidError("a certificate must be for a server, for a client, or for both")
        key = ec.generate_private_key(ec.SECP256R1())
        # Nothing that is issued may outlive its issuer.
        end = min(now + CERTIFICATE_LIFETIME, self.not_after)
        builder = (
            _builder(_name(common_name), self._certificate.subject, key.public_key(), now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signature=True, certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        names = [_general_name(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _sign(builder, self._key, key)

    def must_be_renewed(self, certificate_pem: bytes, hosts: Iterable[str], now: datetime) -> bool:
        """Whether a certificate should be issued again: foreign, in its last third, or without one of `hosts`.

        Raises:
            InvalidError: a host that is neither a name nor an address.
        """
        wanted = {_general_name(host) for host in hosts}
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):  # malformed, or another authority's
            return True
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < begin or (now > end - (end - begin) / 3 and end < self.not_after):
            return True
        try:
            names = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = set()
        return not wanted <= names


def new_authority(name: str, now: datetime) -> Pair:
    """Make an authority: a self-signed certificate that may sign others, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(name), _name(name), key.public_key(), now, now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signature=False, certificates=True), critical=True)
    )
    return _sign(builder, key, key)


def self_signed(common_name: str, now: datetime) -> Pair:
    """Make a certificate that only names its own key: the token issuer's, which no TLS peer should accept."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(common_name), _name(common_name), key.public_key(), now, now + SELF_SIGNED_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signature=True, certificates=False), critical=True)
    )
    return _sign(builder, key, key)


def not_after(certificate_pem: bytes) -> datetime:
    """When a certificate ends (aware, UTC).

    Raises:
        InvalidError: not a certificate.
    """
    try:
        return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc
    except ValueError as error:
        raise InvalidError("this is not a certificate in PEM") from error


def write_file(path: Path, data: bytes, *, mode: int) -> None:
    """Replace `path` by `data` in one step; a reader sees the old file or the new one, and never another mode.

    Raises:
        OSError: it cannot be written; then `path` is as before.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Made with its final mode: a chmod afterwards would leave a moment in which others can open it.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in `folder` survive a power cut.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(common_name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError as error:
        raise InvalidError(f"{common_name[:80]!r} cannot be a certificate's common name: 1 to 64 letters") from error


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.lower())
    except ValueError as error:
        raise InvalidError(f"{host[:80]!r} is neither a DNS name nor an IP address") from error


def _key_usage(*, signature: bool, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=certificates, crl_sign=certificates, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _sign(
    builder: x509.CertificateBuilder, issuer_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
