# SPDX-License-Identifier: Apache-2.0
"""The running signer answers the clients that its settings name, through mutual TLS, and nobody else."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from signerprocess import SignerProcess, Tls, payload
from trust.errors import DeniedError, InvalidError, SettingsError, UnavailableError
from trust.names import TIMESTAMP, Gun
from trust.remotekeys import SIGN_PATH, RemoteKeyStore, SignRequest, decode_signature

_GUN = Gun("localhost:5000/library/app")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    with SignerProcess(tmp_path_factory.mktemp("signer")) as signer:
        yield signer


def _get(signer: SignerProcess, client: tuple[Path, Path] | None, path: str = "/health") -> int:
    context = signer.client_context(client)
    connection = http.client.HTTPSConnection("localhost", signer.port, timeout=10, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_right_certificate_is_answered(signer: SignerProcess) -> None:
    assert _get(signer, signer.client) == 200
    assert _get(signer, signer.client, "/unknown") == 404


# With TLS 1.3 a client learns at its first read that it was refused.
_REFUSED = (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)


def test_no_certificate_is_refused(signer: SignerProcess) -> None:
    """T23."""
    with pytest.raises(_REFUSED):
        _get(signer, None)


def test_a_certificate_of_another_authority_is_refused(signer: SignerProcess, tmp_path: Path) -> None:
    """T23."""
    for name in ("a stranger", "the right one"):  # it may well have the same name
        client = Tls(tmp_path, name).issue("notary-server")
        with pytest.raises(_REFUSED):
            _get(signer, client)


def test_an_expired_certificate_is_refused(signer: SignerProcess) -> None:
    """T23."""
    with pytest.raises(_REFUSED):
        _get(signer, signer.tls.issue("notary-server", expired=True))


def test_a_certificate_for_servers_only_is_refused(signer: SignerProcess) -> None:
    with pytest.raises(_REFUSED):
        _get(signer, signer.tls.issue("notary-server", server=True, client=False))


@pytest.mark.parametrize("name", ["notary-server2", "Notary-Server", "registry", "notary-server,x", "*"])
def test_the_right_authority_and_another_name_is_refused(signer: SignerProcess, name: str) -> None:
    """T23."""
    client = signer.tls.issue(name)
    for path in ("/health", "/unknown"):
        assert _get(signer, client, path) == 403
    keys = signer.open_store(client)
    with pytest.raises(DeniedError, match="not of a client that this signer knows"):
        keys.create(_GUN, TIMESTAMP, "ecdsa")
    with pytest.raises(DeniedError, match="not of a client that this signer knows"):
        keys.sign(_GUN, TIMESTAMP, "0" * 64, payload(TIMESTAMP))


def test_plain_http_gets_no_answer(signer: SignerProcess) -> None:
    with socket.create_connection(("127.0.0.1", signer.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not _received(connection).startswith(b"HTTP")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionError:
        return b""


def test_tls_below_1_2_is_refused(signer: SignerProcess) -> None:
    # NOTARY_V1 §4.1, §4.3; all services share this
    context = signer.client_context(signer.client)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("localhost", signer.port), timeout=10) as plain, pytest.raises(_REFUSED):
        context.wrap_socket(plain, server_hostname="localhost")


def test_served_without_tls_it_refuses_every_request(tmp_path: Path) -> None:
    with SignerProcess(tmp_path, plain=True) as signer:
        connection = http.client.HTTPConnection("127.0.0.1", signer.port, timeout=10)
        for method, path in [("GET", "/health"), ("POST", "/v1/keys"), ("POST", "/v1/sign"), ("GET", "/")]:
            connection.request(
                method, path, b"{}", {"X-Forwarded-Proto": "https", "X-SSL-Client-CN": "notary-server"}
            )
            response = connection.getresponse()
            assert (response.status, b"mutual TLS only" in response.read()) == (403, True)
        connection.close()


def test_one_connection_carries_many_requests(signer: SignerProcess) -> None:
    context = signer.client_context(signer.client)
    connection = http.client.HTTPSConnection("localhost", signer.port, timeout=10, context=context)
    connection.connect()
    first = connection.sock
    for _ in range(5):
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"{}")
        assert connection.sock is first
    connection.close()


def test_a_request_of_unknown_length_is_signed_as_any_other(signer: SignerProcess) -> None:
    gun, data = Gun("localhost:5000/library/chunked"), payload(TIMESTAMP)
    key = signer.open_store().create(gun, TIMESTAMP, "ecdsa")
    body = SignRequest(gun, TIMESTAMP, key.keyid, data).encode()
    context = signer.client_context(signer.client)
    with closing(http.client.HTTPSConnection("localhost", signer.port, timeout=10, context=context)) as connection:
        for content in (iter([body[:50], body[50:]]), body):
            connection.request("POST", SIGN_PATH, content)
            response = connection.getresponse()
            assert response.status == 200
            key.verify_signature(decode_signature(response.read()), data)


def test_many_threads_share_the_store(signer: SignerProcess) -> None:
    keys = signer.open_store()
    key = keys.create(_GUN, TIMESTAMP, "ecdsa")
    data = payload(TIMESTAMP)
    with ThreadPoolExecutor(16) as pool:
        signatures = list(pool.map(lambda _: keys.sign(_GUN, TIMESTAMP, key.keyid, data), range(64)))
    for signature in signatures:
        key.verify_signature(signature, data)


def test_a_signer_that_was_killed_and_came_back_is_used_again(tmp_path: Path) -> None:
    with SignerProcess(tmp_path) as signer:
        keys = signer.open_store(timeout=5)
        key = keys.create(_GUN, TIMESTAMP, "ecdsa")
        signer.kill()
        with pytest.raises(UnavailableError, match=f"the signer at {signer.url} does not answer"):
            keys.sign(_GUN, TIMESTAMP, key.keyid, payload(TIMESTAMP))
        signer.start()
        data = payload(TIMESTAMP)
        key.verify_signature(keys.sign(_GUN, TIMESTAMP, key.keyid, data), data)


def test_a_client_believes_only_the_signers_own_authority_and_name(signer: SignerProcess, tmp_path: Path) -> None:
    foreign = RemoteKeyStore(signer.url, Tls(tmp_path, "a stranger").ca, *signer.client)
    with pytest.raises(UnavailableError, match="do not trust each other"):
        foreign.create(_GUN, TIMESTAMP, "ecdsa")
    # The certificate is for localhost and 127.0.0.1; this is the same machine under a name that it lacks.
    other_name = RemoteKeyStore(f"https://127.0.0.2:{signer.port}", signer.tls.ca, *signer.client)
    with pytest.raises(UnavailableError):
        other_name.create(_GUN, TIMESTAMP, "ecdsa")
    by_address = RemoteKeyStore(f"https://127.0.0.1:{signer.port}", signer.tls.ca, *signer.client)
    assert by_address.find(_GUN, TIMESTAMP, []) == []
    for store in (foreign, other_name, by_address):
        store.close()


def test_proxies_of_the_environment_are_not_used(signer: SignerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert signer.open_store().find(_GUN, TIMESTAMP, []) == []


def test_a_payload_past_the_limit_is_invalid(signer: SignerProcess) -> None:
    keys = signer.open_store()
    key = keys.create(_GUN, TIMESTAMP, "ecdsa")
    with pytest.raises(InvalidError, match="longer than"):
        keys.sign(_GUN, TIMESTAMP, key.keyid, b"x" * (16 * 2**20 + 1))
    assert keys.find(_GUN, TIMESTAMP, [key.keyid]) == [key]


def test_nothing_that_listens_is_taken_for_a_signer_that_answers(signer: SignerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}"
        keys = RemoteKeyStore(url, signer.tls.ca, *signer.client, timeout=0.5)
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=url):
            keys.find(_GUN, TIMESTAMP, [])
        assert time.monotonic() - started < 5
        keys.close()


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "localhost:4444", "https://", "https://u:p@h", "https://h/path", "https://h?q", ""]
)
def test_a_url_that_is_not_an_address_over_https_is_refused(signer: SignerProcess, url: str) -> None:
    with pytest.raises(SettingsError, match="signer's URL"):
        RemoteKeyStore(url, signer.tls.ca, *signer.client)


def test_files_that_are_not_tls_material_are_refused_by_name(signer: SignerProcess, tmp_path: Path) -> None:
    certificate, key = signer.client
    missing, empty = tmp_path / "missing.crt", tmp_path / "empty.crt"
    empty.touch()
    for wrong in (missing, empty):
        with pytest.raises(SettingsError, match=wrong.name):
            RemoteKeyStore(signer.url, wrong, certificate, key)
        with pytest.raises(SettingsError, match=wrong.name):
            RemoteKeyStore(signer.url, signer.tls.ca, wrong, key)
    with pytest.raises(SettingsError, match=signer.key.name):  # another certificate's key
        RemoteKeyStore(signer.url, signer.tls.ca, certificate, signer.key)
