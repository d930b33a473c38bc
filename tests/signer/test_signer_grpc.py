# SPDX-License-Identifier: Apache-2.0
"""The second door answers as the Go signer does (NOTARY_V1 §4.1), and lets in nobody whom the first refuses."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from grpcclient import GrpcClient, framed
from signer import grpc
from signer.app import create_app
from signer.models import SealedKey
from signer.protobuf import Message, field
from signerprocess import SignerProcess, Tls, payload, tls_connection
from trust.keys import NotaryKey, NotarySignature
from trust.names import SNAPSHOT, TIMESTAMP, Gun
from trust.web.database import Database

_GUN = "localhost:5000/library/app"
_CREATE, _DELETE = "/proto.KeyManagement/CreateKey", "/proto.KeyManagement/DeleteKey"
_INFO, _SIGN = "/proto.KeyManagement/GetKeyInfo", "/proto.Signer/Sign"
_HEALTH = "/grpc.health.v1.Health/Check"
_METHODS = (_CREATE, _DELETE, _INFO, _SIGN, _HEALTH)
_REFUSED = (ssl.SSLError, ConnectionError)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    with SignerProcess(tmp_path_factory.mktemp("signer"), grpc=True) as signer:
        yield signer


@pytest.fixture
def client(signer: SignerProcess) -> Iterator[GrpcClient]:
    with GrpcClient(signer, signer.client) as client:
        yield client


def _creation(algorithm: str = "ecdsa", gun: str = _GUN, role: str = "timestamp") -> bytes:
    return field(1, algorithm) + field(2, gun) + field(3, role)


def _sign_request(key_id: str, content: bytes) -> bytes:
    return field(1, field(1, key_id)) + field(2, content)


def _key(answer: bytes) -> NotaryKey:
    message = Message(answer)
    info = message.message(1)
    return NotaryKey(info.message(1).text(1), info.message(2).text(1), message.binary(2))


def test_a_call_is_in_the_log_under_the_id_that_came_with_it(signer: SignerProcess, client: GrpcClient) -> None:
    client.call(_CREATE, _creation(), x_request_id="call-1")
    lines = [line for line in signer.log.read_text().splitlines() if line.endswith(" id=call-1")]
    assert any(" is given to 'notary-server' " in line for line in lines)
    assert f" troth-signer GRPC {_CREATE} -> 0 " in lines[-1]


@pytest.mark.parametrize(("algorithm", "method"), [("ecdsa", "ecdsa"), ("ed25519", "eddsa")])
@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT])
def test_a_key_is_made_shown_and_signs(client: GrpcClient, algorithm: str, method: str, role: str) -> None:
    key = _key(client.call(_CREATE, _creation(algorithm, role=role)).message)
    assert (key, key.keytype) == (NotaryKey.from_public(algorithm, key.public), algorithm)
    assert _key(client.call(_CREATE, _creation(algorithm, role=role)).message) == key  # pending still
    shown = client.call(_INFO, field(1, key.keyid)).message
    assert (_key(shown), Message(shown).text(3)) == (key, role)
    data = payload(TIMESTAMP if role == TIMESTAMP else SNAPSHOT)
    signature = Message(client.call(_SIGN, _sign_request(key.keyid, data)).message)
    assert signature.message(1).message(1).text(1) == key.keyid
    assert (signature.message(1).message(2).text(1), signature.message(2).text(1)) == (algorithm, method)
    key.verify_signature(NotarySignature(key.keyid, ((method, signature.binary(3)),)), data)
    assert _key(client.call(_CREATE, _creation(algorithm, role=role)).message) != key


def test_both_doors_lead_to_the_same_keys(signer: SignerProcess, client: GrpcClient) -> None:
    gun = "localhost:5000/library/both"
    key = _key(client.call(_CREATE, _creation(gun=gun)).message)
    keys = signer.open_store()
    assert keys.find(Gun(gun), TIMESTAMP, [key.keyid]) == [key]
    data = payload(TIMESTAMP)
    key.verify_signature(keys.sign(Gun(gun), TIMESTAMP, key.keyid, data), data)


@pytest.mark.parametrize("algorithm", ["rsa", "", "ECDSA"])
def test_an_unsupported_algorithm_is_unknown(client: GrpcClient, algorithm: str) -> None:
    reply = client.call(_CREATE, _creation(algorithm))
    assert (reply.status, reply.text) == (grpc.UNKNOWN, f"algorithm {algorithm} not supported for create key")
    assert reply.body == b""


def test_a_key_that_is_not_there_is_not_found(client: GrpcClient) -> None:
    for key_id in ("0" * 64, "", "é%\t\n"):
        reply = client.call(_INFO, field(1, key_id))
        assert (reply.status, reply.text) == (grpc.NOT_FOUND, f"key {key_id} not found")
        reply = client.call(_SIGN, _sign_request(key_id, payload(TIMESTAMP)))
        assert (reply.status, reply.text) == (grpc.NOT_FOUND, f"signing key not found: {key_id}")
        assert client.call(_DELETE, field(1, key_id)).message == b""


def test_a_deleted_key_is_not_there_and_its_row_stays(signer: SignerProcess, client: GrpcClient) -> None:
    key = _key(client.call(_CREATE, _creation(gun="localhost:5000/library/deleted")).message)
    assert client.call(_DELETE, field(1, key.keyid)).message == b""
    assert client.call(_INFO, field(1, key.keyid)).status == grpc.NOT_FOUND
    assert client.call(_SIGN, _sign_request(key.keyid, payload(TIMESTAMP))).status == grpc.NOT_FOUND
    database = Database(signer.database_url)
    with database.write() as session:
        restored = session.execute(update(SealedKey).where(SealedKey.key_id == key.keyid).values(deleted_at=None))
        assert restored.rowcount == 1  # type: ignore[attr-defined]  # an UPDATE's result has it
    database.dispose()
    assert _key(client.call(_INFO, field(1, key.keyid)).message) == key
    assert f"key {key.keyid} is deleted for 'notary-server'" in signer.log.read_text()


def test_a_row_without_a_collection_or_role_is_not_found(signer: SignerProcess, client: GrpcClient) -> None:
    key = _key(client.call(_CREATE, _creation(gun="localhost:5000/library/nameless")).message)
    database = Database(signer.database_url)
    with database.write() as session:
        session.execute(update(SealedKey).where(SealedKey.key_id == key.keyid).values(gun="", role=""))
    assert client.call(_INFO, field(1, key.keyid)).status == grpc.NOT_FOUND
    assert client.call(_SIGN, _sign_request(key.keyid, payload(TIMESTAMP))).status == grpc.NOT_FOUND
    with database.write() as session:
        session.execute(delete(SealedKey).where(SealedKey.key_id == key.keyid))
    database.dispose()


@pytest.mark.parametrize("role", ["root", "targets", "targets/releases"])
def test_no_keys_are_made_for_roles_that_people_sign(client: GrpcClient, role: str) -> None:
    reply = client.call(_CREATE, _creation(role=role))
    assert (reply.status, "not for" in reply.text) == (grpc.PERMISSION_DENIED, True)


@pytest.mark.parametrize("changes", [{"gun": ""}, {"gun": "a/../b"}, {"role": ""}, {"role": "nobody"}], ids=str)
def test_names_that_are_none_are_invalid_arguments(client: GrpcClient, changes: dict[str, str]) -> None:
    assert client.call(_CREATE, _creation(**changes)).status == grpc.INVALID_ARGUMENT


def test_only_metadata_of_the_keys_own_role_is_signed(client: GrpcClient) -> None:
    key = _key(client.call(_CREATE, _creation()).message)
    for content in (payload(SNAPSHOT), payload(TIMESTAMP, days=90), payload(TIMESTAMP) + b"\n", b"{}", b""):
        assert client.call(_SIGN, _sign_request(key.keyid, content)).status == grpc.PERMISSION_DENIED
    assert _key(client.call(_CREATE, _creation()).message) == key  # it has not signed


def test_payloads_and_messages_have_a_limit(client: GrpcClient) -> None:
    key = _key(client.call(_CREATE, _creation()).message)
    limit = 16 * 2**20
    reply = client.call(_SIGN, _sign_request(key.keyid, b" " * (limit + 1)))
    assert (reply.status, "the payload is longer" in reply.text) == (grpc.RESOURCE_EXHAUSTED, True)
    # The prefix alone is enough to refuse it.
    reply = client.receive(client.send(_SIGN, bytes(1) + (2**32 - 1).to_bytes(4, "big")))
    assert (reply.status, "the message is longer" in reply.text) == (grpc.RESOURCE_EXHAUSTED, True)


@pytest.mark.parametrize("service", grpc.HEALTH_SERVICES)
def test_the_services_are_serving(client: GrpcClient, service: str) -> None:
    assert client.call(_HEALTH, field(1, service)).message == field(1, 1)


@pytest.mark.parametrize("service", ["grpc.health.v1.Health.Overall", "x"])
def test_the_health_of_another_service_is_not_found(client: GrpcClient, service: str) -> None:
    reply = client.call(_HEALTH, field(1, service))
    assert (reply.status, reply.text) == (grpc.NOT_FOUND, "unknown service")


def test_an_unknown_method_is_unimplemented(client: GrpcClient) -> None:
    for path in ("/", "/proto.Signer/Other", "/proto.signer/Sign", "/proto.Signer/Sign/", "/v1/keys"):
        assert client.call(path).status == grpc.UNIMPLEMENTED
    assert client.call(_HEALTH, method="PUT").status == grpc.UNIMPLEMENTED


def test_compressed_messages_are_unimplemented(client: GrpcClient) -> None:
    reply = client.receive(client.send(_HEALTH, b"\x01" + bytes(4)))
    assert (reply.status, reply.text) == (grpc.UNIMPLEMENTED, "compressed messages are not supported")


@pytest.mark.parametrize(
    "body", [b"", b"\0\0", bytes(4) + b"\x05abc", framed(b"") + framed(b""), framed(b"\x0b")], ids=repr
)
def test_a_body_that_is_not_one_message_is_an_invalid_argument(client: GrpcClient, body: bytes) -> None:
    for path in _METHODS:
        assert client.receive(client.send(path, body)).status == grpc.INVALID_ARGUMENT


def test_the_answer_is_framed_as_grpc_wants_it(client: GrpcClient) -> None:
    assert client.protocol == "h2"
    reply = client.call(_HEALTH, content_type="application/grpc+proto")
    assert (reply.headers[":status"], reply.headers["content-type"]) == ("200", "application/grpc")
    assert reply.trailers == {"grpc-status": "0"}
    assert reply.body == framed(b"\x08\x01")


def test_calls_on_one_connection_do_not_wait_for_one_anothers_bodies(client: GrpcClient) -> None:
    streams = [client.send(_HEALTH, framed(b"")) for _ in range(20)]
    assert [client.receive(stream).status for stream in reversed(streams)] == [0] * 20


@pytest.mark.parametrize("name", ["notary-server2", "registry", "*"])
def test_the_right_authority_and_another_name_is_denied_everything(signer: SignerProcess, name: str) -> None:
    with GrpcClient(signer, signer.tls.issue(name)) as client:
        for path in (*_METHODS, "/unknown"):
            reply = client.call(path, _creation())
            assert (reply.status, reply.body) == (grpc.PERMISSION_DENIED, b"")
            assert "not of a client that this signer knows" in reply.text


def test_no_certificate_or_one_that_is_not_for_us_ends_the_connection(signer: SignerProcess, tmp_path: Path) -> None:
    issued = (
        None,
        Tls(tmp_path, "the right one").issue("notary-server"),
        signer.tls.issue("notary-server", expired=True),
        signer.tls.issue("notary-server", server=True, client=False),
    )
    for certificate in issued:
        with pytest.raises(_REFUSED), GrpcClient(signer, certificate) as client:
            client.call(_HEALTH)


def test_plain_http2_gets_no_answer(signer: SignerProcess) -> None:
    with socket.create_connection(("127.0.0.1", signer.grpc_port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        with suppress(ConnectionError):
            assert b"HTTP" not in connection.recv(100)


def test_grpc_over_http_1_is_refused(signer: SignerProcess) -> None:
    for port in (signer.port, signer.grpc_port):
        context = signer.client_context(signer.client)
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
        connection.request("POST", _HEALTH, framed(b""), {"Content-Type": "application/grpc"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (505, b"gRPC needs HTTP/2\n")
        connection.close()


def test_the_https_api_keeps_its_rules_over_http_2(signer: SignerProcess, client: GrpcClient) -> None:
    body = b'{"gun":"localhost:5000/library/app","role":"timestamp","algorithm":"ecdsa"}'
    kind = {"content_type": "application/json"}

    def status(client: GrpcClient, body: bytes, **headers: str) -> str:
        return client.receive(client.send("/v1/keys", body, **kind, **headers)).headers[":status"]

    assert status(client, body, content_length=str(len(body))) == "200"
    assert status(client, b"nonsense", content_length="8") == "400"
    assert status(client, b" " * (2**20 + 1), content_length=str(2**20 + 1)) == "413"
    assert status(client, b" " * (2**20 + 1)) in ("400", "413")  # of unknown length
    with GrpcClient(signer, signer.tls.issue("registry")) as stranger:
        assert status(stranger, body, content_length=str(len(body))) == "403"


def test_without_the_setting_there_is_no_grpc(tmp_path: Path) -> None:
    with SignerProcess(tmp_path) as signer:
        with pytest.raises(ConnectionError):
            GrpcClient(signer, signer.client)
        with GrpcClient(signer, signer.client, signer.port) as client:
            assert client.protocol is None


def test_while_the_database_is_away_each_method_says_so(signer: SignerProcess) -> None:
    away = replace(
        signer.settings, database_url=f"sqlite:///{signer.folder}/away/signer.db", grpc_listen="localhost:1"
    )
    app = create_app(away)
    near, far = tls_connection(signer, signer.client)

    def call(path: str, message: bytes) -> tuple[bytes, dict[str, str]]:
        trailers: dict[str, str] = {}
        environ = {"gunicorn.socket": near, "gunicorn.http2.send_trailers": trailers.update}
        response = app.test_client().post(
            path, data=framed(message), content_type="application/grpc", environ_overrides=environ
        )
        return response.data, trailers

    with near, far:
        assert call(_CREATE, _creation()) == (
            b"",
            {"grpc-status": str(grpc.INTERNAL), "grpc-message": "Key%20creation%20failed"},
        )
        for path, message in [(_SIGN, _sign_request("0", b"")), (_INFO, field(1, "0")), (_DELETE, field(1, "0"))]:
            assert call(path, message)[1]["grpc-status"] == str(grpc.UNAVAILABLE)
        assert call(_HEALTH, b"") == (framed(field(1, 2)), {"grpc-status": "0"})


@given(path=st.sampled_from(_METHODS), body=st.binary(max_size=80))
@settings(max_examples=150)
def test_any_body_is_answered(signer: SignerProcess, path: str, body: bytes) -> None:
    with GrpcClient(signer, signer.client) as client:
        assert client.receive(client.send(path, body)).status in (0, 2, 3, 5, 7, 8, 12)


@given(path=st.sampled_from(_METHODS), first=st.text(max_size=70), second=st.text(max_size=70))
@settings(max_examples=150)
def test_any_texts_are_answered(signer: SignerProcess, path: str, first: str, second: str) -> None:
    with GrpcClient(signer, signer.client) as client:
        message = field(1, first) + field(2, second) + field(3, "timestamp")
        assert client.call(path, message).status in (0, 2, 3, 5, 7)


def test_nothing_was_unforeseen(signer: SignerProcess) -> None:
    assert "Traceback" not in signer.log.read_text()
