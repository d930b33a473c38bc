# SPDX-License-Identifier: Apache-2.0
"""Calls that come past WSGI (`trust.web.calls`) keep to HTTP/2's rules, and to gunicorn's limits."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from flows.stack import free_ports
from grpcclient import GrpcClient, framed
from signer import grpc
from signer.protobuf import Message, field
from signerprocess import SignerProcess, payload
from trust.names import TIMESTAMP

_HEALTH, _SIGN = "/grpc.health.v1.Health/Check", "/proto.Signer/Sign"
_CREATE = "/proto.KeyManagement/CreateKey"
_SERVING = framed(field(1, 1))


class _Signer(SignerProcess):
    """A signer with gRPC, and with metrics at `metrics_port`."""

    metrics_port = 0

    def scrape(self, wanted: str) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return [line for line in answer.read().decode().splitlines() if line.startswith(wanted)]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Signer]:
    signer = _Signer(tmp_path_factory.mktemp("signer"), grpc=True)
    (signer.metrics_port,) = free_ports(1)
    with signer.config.open("a") as settings:
        settings.write(f'metrics_listen = "127.0.0.1:{signer.metrics_port}"\n')
    with signer:
        yield signer


@pytest.fixture
def client(signer: _Signer) -> Iterator[GrpcClient]:
    with GrpcClient(signer, signer.client) as client:
        yield client


def _key(client: GrpcClient, gun: str) -> str:
    answer = client.call(_CREATE, field(1, "ecdsa") + field(2, gun) + field(3, "timestamp")).message
    return Message(answer).message(1).message(1).text(1)


def test_an_answer_comes_in_one_piece(client: GrpcClient) -> None:
    key = _key(client, "localhost:5000/library/piece")
    before = client.pieces
    assert client.call(_SIGN, field(1, field(1, key)) + field(2, payload(TIMESTAMP))).status == grpc.OK
    assert client.pieces == before + 1


@pytest.mark.parametrize("window", [1, 16, 100])
def test_a_client_with_a_small_window_gets_its_answer_bit_by_bit(signer: _Signer, window: int) -> None:
    with GrpcClient(signer, signer.client, window=window) as client:
        assert client.call(_HEALTH).body == _SERVING
        key = _key(client, "localhost:5000/library/window")
        request = field(1, field(1, key)) + field(2, payload(TIMESTAMP))
        reply = client.call(_SIGN, request)
        assert Message(reply.message).message(1).message(1).text(1) == key
        assert reply.trailers == {"grpc-status": "0"}


def test_a_connection_may_send_more_than_its_window_in_all(client: GrpcClient) -> None:
    key = _key(client, "localhost:5000/library/many")
    request = field(1, field(1, key)) + field(2, b" " * 30_000)
    for _ in range(10):  # 300 KB, where a client may send 64 KiB without leave
        assert client.call(_SIGN, request).status == grpc.PERMISSION_DENIED
    assert client.call(_SIGN, request + field(9, b" " * 100_000)).status == grpc.PERMISSION_DENIED


@pytest.mark.parametrize(
    "change",
    [
        ("expect", "100-continue"),
        ("content_type", "application/grpc; charset=utf-8"),
        ("content_type", "APPLICATION/GRPC"),
        ("content_type", "application/grpc+proto"),
    ],
    ids=str,
)
def test_what_is_out_of_the_ordinary_is_answered_alike(client: GrpcClient, change: tuple[str, str]) -> None:
    reply = client.call(_HEALTH, b"", **dict([change]))
    assert (reply.body, reply.trailers) == (_SERVING, {"grpc-status": "0"})
    assert client.call(f"{_HEALTH}?x=1").body == _SERVING


def test_a_call_with_too_many_or_too_long_headers_is_reset(client: GrpcClient) -> None:
    for headers in ({f"x_{number}": "1" for number in range(101)}, {"x_long": "1" * 9000}):
        stream = client.send(_HEALTH, framed(b""), **headers)
        assert client.receive(stream).headers == {}
        assert client.call(_HEALTH).body == _SERVING


def test_a_call_that_is_given_up_is_given_up(client: GrpcClient) -> None:
    client.reset(client.begin(_SIGN))
    assert client.call(_HEALTH).body == _SERVING


def test_a_flood_of_pings_ends_the_connection(signer: _Signer) -> None:
    def flood(client: GrpcClient) -> None:
        for _ in range(20):
            client.ping(100)

    with GrpcClient(signer, signer.client) as client:
        client.call(_HEALTH)
        with pytest.raises(ConnectionError):
            flood(client)
    assert "Traceback" not in signer.log.read_text()


def test_calls_are_counted_and_none_stays_in_flight(signer: _Signer, client: GrpcClient) -> None:
    labels = f'troth_requests_total{{method="GRPC",route="{_HEALTH}",service="troth-signer",status='
    client.call(_HEALTH, field(1, "x"))
    assert signer.scrape(f'{labels}"{grpc.NOT_FOUND}"')
    with suppress(ConnectionError), GrpcClient(signer, signer.client) as other:
        other.begin(_SIGN)
    deadline = time.monotonic() + 10
    while (lines := signer.scrape('troth_requests_in_flight{service="troth-signer"}')) and not lines[0].endswith(
        " 0.0"
    ):
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
    assert lines
