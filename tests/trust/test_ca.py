# SPDX-License-Identifier: Apache-2.0
"""The private authority: what its certificates say, and that no key is ever readable by others."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from trust.ca import (
    CERTIFICATE_LIFETIME,
    Authority,
    Pair,
    new_authority,
    not_after,
    self_signed,
    write_file,
)
from trust.errors import InvalidError

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = ["localhost", "127.0.0.1", "::1", "Build-Box"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(new_authority("test authority", NOW))


@contextmanager
def mode_of_new_files(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def certificate(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


def usages(pair: Pair) -> list[x509.ObjectIdentifier]:
    return list(certificate(pair).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Speak TLS over a socket pair; raises what the client sees."""
    near, far = socket.socketpair()
    failures: list[Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as end:
                end.sendall(b"x")
                end.recv(1)
        except (OSError, ssl.SSLError) as error:
            failures.append(error)
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as end:
            end.recv(1)
    finally:
        near.close()
        thread.join()
    if failures:
        raise failures[0]


def contexts(authority: Authority, pair: Pair, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    pair.write(folder / "x.crt", folder / "x.key")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "x.crt", folder / "x.key")
    server.load_verify_locations(cadata=authority.certificate_pem.decode())
    client = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return server, client


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "build-box"])
def test_a_tls_client_that_knows_the_authority_accepts_each_name(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    pair = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    handshake(*contexts(authority, pair, tmp_path), name)


def test_a_tls_client_refuses_another_name(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|not valid for|mismatch"):
        handshake(*contexts(authority, pair, tmp_path), "elsewhere")


def test_a_clients_certificate_does_not_make_a_server(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("notary-server", HOSTS, server=False, client=True, now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(*contexts(authority, pair, tmp_path), "localhost")


def test_a_servers_certificate_does_not_open_a_door_for_clients(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    server, client = contexts(authority, pair, tmp_path)
    server.verify_mode = ssl.CERT_REQUIRED
    client.load_cert_chain(tmp_path / "x.crt", tmp_path / "x.key")
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(server, client, "localhost")


def test_names_and_addresses_are_told_apart(authority: Authority) -> None:
    pair = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    names = certificate(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "build-box"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]


def test_usages_are_those_asked_for(authority: Authority) -> None:
    both = authority.issue("both", [], server=True, client=True, now=NOW)
    assert usages(both) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    one = authority.issue("one", [], server=False, client=True, now=NOW)
    assert usages(one) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(InvalidError, match="for a server, for a client"):
        authority.issue("none", [], server=False, client=False, now=NOW)


def test_all_keys_are_p256(authority: Authority) -> None:
    issued = authority.issue("registry", [], server=True, client=False, now=NOW)
    for pair in (new_authority("a", NOW), issued, self_signed("t", NOW)):
        key = certificate(pair).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)


def test_nothing_outlives_its_issuer(authority: Authority) -> None:
    late = authority.not_after - timedelta(days=10)
    pair = authority.issue("registry", [], server=True, client=False, now=late)
    assert not_after(pair.certificate_pem) == authority.not_after


@pytest.mark.parametrize("host", ["bücher.example", "ü"])
def test_a_host_that_is_no_name_is_refused(authority: Authority, host: str) -> None:
    with pytest.raises(InvalidError, match="neither a DNS name nor an IP address"):
        authority.issue("registry", [host], server=True, client=False, now=NOW)


def test_a_common_name_that_is_too_long_is_refused(authority: Authority) -> None:
    with pytest.raises(InvalidError, match="common name"):
        authority.issue("x" * 65, [], server=True, client=False, now=NOW)


def test_an_issued_certificate_is_no_authority(authority: Authority) -> None:
    with pytest.raises(InvalidError, match="certificate authority"):
        Authority(authority.issue("registry", [], server=True, client=False, now=NOW))
    with pytest.raises(InvalidError, match="certificate authority"):
        Authority(self_signed("tokens", NOW))
    with pytest.raises(InvalidError, match="certificate authority"):
        Authority(Pair(b"nonsense", b"nonsense"))


def test_renewal_is_due_in_the_last_third(authority: Authority) -> None:
    pem = authority.issue("registry", HOSTS, server=True, client=False, now=NOW).certificate_pem
    assert not authority.must_be_renewed(pem, HOSTS, NOW)
    assert not authority.must_be_renewed(pem, HOSTS, NOW + CERTIFICATE_LIFETIME * 0.6)
    assert authority.must_be_renewed(pem, HOSTS, NOW + CERTIFICATE_LIFETIME * 0.7)
    assert authority.must_be_renewed(pem, HOSTS, NOW + CERTIFICATE_LIFETIME * 2)


def test_renewal_is_due_when_a_name_is_missing(authority: Authority) -> None:
    pem = authority.issue("registry", HOSTS, server=True, client=False, now=NOW).certificate_pem
    assert not authority.must_be_renewed(pem, ["localhost", "BUILD-BOX"], NOW)
    assert authority.must_be_renewed(pem, [*HOSTS, "192.0.2.1"], NOW)


def test_renewal_is_due_when_another_authority_issued_it(authority: Authority) -> None:
    other = Authority(new_authority("test authority", NOW))
    pem = other.issue("registry", HOSTS, server=True, client=False, now=NOW).certificate_pem
    assert authority.must_be_renewed(pem, HOSTS, NOW)
    assert authority.must_be_renewed(b"nonsense", HOSTS, NOW)


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_a_key_file_is_for_its_owner_alone(authority: Authority, tmp_path: Path, mask: int) -> None:
    pair = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    with mode_of_new_files(mask):
        pair.write(tmp_path / "x.crt", tmp_path / "x.key")
    assert stat.S_IMODE((tmp_path / "x.key").stat().st_mode) == 0o600
    assert Pair.read(tmp_path / "x.crt", tmp_path / "x.key") == pair
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.crt", "x.key"]


def test_a_key_replaces_a_file_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as held_by_another:
        write_file(path, b"new", mode=0o600)
        assert held_by_another.read() == b"old"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "occupied").touch()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path / "x", b"data", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_foreign_key_is_not_taken_for_the_certificates(authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.issue("x", [], server=True, client=False, now=NOW) for _ in range(2))
    Pair(first.certificate_pem, second.key_pem).write(tmp_path / "x.crt", tmp_path / "x.key")
    with pytest.raises(InvalidError, match="is not the key of"):
        Pair.read(tmp_path / "x.crt", tmp_path / "x.key")


def test_a_pair_does_not_show_its_key() -> None:
    pair = self_signed("tokens", NOW)
    assert "PRIVATE" not in repr(pair)
