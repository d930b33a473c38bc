# SPDX-License-Identifier: Apache-2.0
"""The thread that answers what is at hand on kept connections."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from gunicorn.config import Config
from gunicorn.http import RequestParser
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import text

from trust.ca import Authority, new_authority
from trust.errors import NotFoundError, UnavailableError
from trust.web import lane, tracing
from trust.web import run as running
from trust.web.ahead import Ahead, Answer
from trust.web.app import create_base_app
from trust.web.database import Database
from trust.web.run import Tls, configure_logging, run

HOST = b"Host: localhost:4443\r\n"


def _as_gunicorn(data: bytes) -> tuple[dict[str, str], bytes]:
    """What gunicorn reads of a request, and what it leaves behind it."""
    parser = RequestParser(Config(), iter([data]), ("127.0.0.1", 1))
    message = next(parser)
    assert message.body.read() == b""
    environ = {"REQUEST_METHOD": message.method, "PATH_INFO": message.path, "QUERY_STRING": message.query}
    for name, value in message.headers:
        if name in ("AUTHORIZATION", "IF-NONE-MATCH", "X-REQUEST-ID"):
            environ["HTTP_" + name.replace("-", "_")] = value
    assert not message.should_close()
    return environ, parser.unreader.take_buffered()


_names = st.sampled_from(
    ["Host", "host", "Authorization", "If-None-Match", "X-Request-Id", "Accept", "User-Agent", "Connection", "Range",
     "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "X_Request_Id", "Cache-Control"]
)  # fmt: skip
_values = st.one_of(
    st.sampled_from(["localhost", "0", "5", "chunked", "keep-alive", "close", "100-continue", " x ", "", "é", "\t"]),
    st.text(st.characters(codec="latin-1"), max_size=12),
)
_lines = st.lists(st.tuples(_names, st.sampled_from([":", ": ", " : ", ""]), _values), max_size=5)
_heads = st.builds(
    lambda method, path, version, lines, end, more: (
        f"{method} {path} {version}\r\n".encode("latin-1")
        + "".join(f"{name}{colon}{value}\r\n" for name, colon, value in lines).encode("latin-1")
        + end
        + more
    ),
    st.sampled_from(["GET", "HEAD", "POST", "get"]),
    st.one_of(
        st.sampled_from(["/", "//", "/v2/a:5/_trust/tuf/1.root.json", "/a%2fb", "/a?b=c", "/a#b", "*", "http://x/y"]),
        st.text(st.characters(codec="latin-1"), max_size=10).map("/".__add__),
    ),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2"]),
    _lines,
    st.sampled_from([b"\r\n", b"\n", b""]),
    st.sampled_from([b"", b"x", b"GET / HTTP/1.1\r\n\r\n"]),
)


@given(_heads)
@example(b"GET /v2/a/_trust/tuf/root.json HTTP/1.1\r\n" + HOST + b"Authorization: Bearer x\r\nAccept: */*\r\n\r\n")
@example(b"HEAD /a HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n\r\n")
def test_what_the_lane_reads_of_a_request_is_what_gunicorn_reads(data: bytes) -> None:
    environ = lane.parse(data)
    if environ is None:
        return  # it is gunicorn's
    assert environ.pop("RAW_URI") == environ["PATH_INFO"]
    assert _as_gunicorn(data) == (environ, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.1\r\nAccept: x\r\n\r\n",
        b"GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a?n=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"x" * lane.MAX_HEAD + b"\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_request_that_may_mean_more_is_left_to_gunicorn(head: bytes) -> None:
    assert lane.parse(head) is None


def test_a_header_never_becomes_two() -> None:
    with pytest.raises(ValueError, match="more than one line"):
        lane.head_of(Answer(200, [("ETag", "a\r\nX: b")], b""))


def _app(url: str) -> Flask:
    """Gives out values of a table ahead of the app, which stores them; says which thread answered."""
    database, app = Database(url), create_base_app("test")
    row = "SELECT value FROM facts WHERE name = :name"

    @app.put("/<name>")
    def put(name: str) -> str:
        statement = text("INSERT OR REPLACE INTO facts VALUES (:name, :value)")
        with database.write() as session:
            session.execute(statement, {"name": name, "value": request.get_data()})
        return "kept"

    asks = itertools.count()

    def ask() -> int:
        """Another service, that counts how often it is asked and takes its time."""
        time.sleep(0.05)
        return next(asks)

    def fail() -> int:
        raise UnavailableError("the other service fails")

    def find(environ: Any) -> Answer | None:
        if (other := {"/awaited": ask, "/failing": fail}.get(environ["PATH_INFO"])) is not None:
            number = b"%d" % tracing.awaited(other, other)
            return Answer(200, [("Content-Length", str(len(number))), ("X-By", "lane")], number)

        def read() -> bytes | None:
            with database.read() as session:
                value: bytes | None = session.scalar(text(row), {"name": environ["PATH_INFO"][1:]})
            return value

        if (value := database.readings.get(environ["PATH_INFO"], read)) is None:
            raise NotFoundError("there is nothing at this path")
        by = "lane" if environ.get("wsgi.version") is None else "pool"
        return Answer(200, [("Content-Length", str(len(value))), ("X-By", by)], value)

    app.wsgi_app = Ahead("test", app.wsgi_app, find, database.readings.changes)  # type: ignore[method-assign]
    return app


def _serve(port: int, log: Path, url: str, tls: Tls | None, keepalive: int) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    configure_logging("info")
    running.KEEPALIVE_SECONDS = keepalive
    run("test", lambda: _app(url), listen=f"127.0.0.1:{port}", tls=tls, workers=1, threads=2)


class Service:
    """One worker with two threads and the lane."""

    def __init__(self, folder: Path, tls: Tls | None, keepalive: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._tls, self.log = tls, folder / "log"
        url = f"sqlite:///{folder}/facts.db"
        database = Database(url)
        with database.write() as session:
            session.execute(text("CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB)"))
        database.dispose()
        arguments = (self.port, self.log, url, tls, keepalive)
        self.process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        context = ssl.create_default_context(cafile=self._tls.certificate.parent / "ca.crt")
        return http.client.HTTPSConnection("localhost", self.port, context=context, timeout=10)


@contextlib.contextmanager
def _service(folder: Path, tls: Tls | None = None, *, keepalive: int = 30) -> Iterator[Service]:
    service = Service(folder, tls, keepalive)
    service.process.start()
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(ConnectionError), contextlib.closing(service.connect()) as first:
                _put(first, "/a", b"one")
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield service
    finally:
        service.process.terminate()
        service.process.join(30)
    assert service.process.exitcode == 0
    assert "Traceback" not in service.log.read_text()


def _put(client: http.client.HTTPConnection, path: str, value: bytes) -> None:
    client.request("PUT", path, value)
    assert client.getresponse().read() == b"kept"


def _get(client: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, str | None, bytes]:
    client.request("GET", path, headers=headers)
    response = client.getresponse()
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-Id"])
    return response.status, response.headers["X-By"], response.read()


def _tls(folder: Path) -> Tls:
    now = datetime.now(UTC)
    authority = Authority(new_authority("test CA", now))
    pair = authority.issue("localhost", ["localhost"], server=True, client=False, now=now)
    pair.write(folder / "tls.crt", folder / "tls.key")
    (folder / "ca.crt").write_bytes(authority.certificate_pem)
    return Tls(folder / "tls.crt", folder / "tls.key")


@pytest.fixture(scope="module", params=["plain", "tls"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("lane")
    with _service(folder, _tls(folder) if request.param == "tls" else None) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(service.connect()) as client:
        _put(client, "/a", b"one")
        yield client


def _to_the_lane(client: http.client.HTTPConnection, path: str = "/a") -> int:
    """Ask until the lane answers, and how often: it gets a connection the later, the more it had to pass on."""
    for asked in range(1, lane.MAX_DETOUR + 3):
        if _get(client, path)[1] == "lane":
            return asked
    pytest.fail("the lane never answers")


def test_the_lane_answers_what_is_at_hand_and_sees_a_change_at_once(
    service: Service, client: http.client.HTTPConnection
) -> None:
    lines = service.log.read_text().count("GET /a -> 200")
    with contextlib.ExitStack() as exits:
        # More than the worker has threads.
        clients = [client, *(exits.enter_context(contextlib.closing(service.connect())) for _ in range(5))]
        asked = sum(_to_the_lane(each) for each in clients)
        assert [_get(each, "/a") for each in clients] == 6 * [(200, "lane", b"one")]
        for number in range(20):
            _put(client, "/a", value := b"%d" % number)
            assert {_get(each, "/a")[2] for each in clients} == {value}
    # Each once, whoever answers.
    assert service.log.read_text().count("GET /a -> 200") - lines == asked + 6 + 6 * 20


def test_what_is_not_at_hand_gets_the_apps_answer_on_the_same_connection(client: http.client.HTTPConnection) -> None:
    _to_the_lane(client)
    port = client.sock.getsockname()[1]
    assert _get(client, "/none")[0] == 404
    assert _get(client, "/a", Range="bytes=0-0")[1] == "pool"
    client.request("HEAD", "/a")
    response = client.getresponse()
    assert (response.status, response.headers["Content-Length"], response.read()) == (200, "3", b"")
    _put(client, "/b", b"x" * 100_000)
    assert _get(client, "/b")[2] == b"x" * 100_000
    assert _get(client, "/a")[2] == b"one"
    assert client.sock.getsockname()[1] == port


def test_requests_in_pieces_and_several_at_once_are_all_answered_in_their_order(
    client: http.client.HTTPConnection,
) -> None:
    for name in "bcd":
        _put(client, f"/{name}", name.encode())
    for name in "abcd":
        _get(client, f"/{name}")
    _to_the_lane(client)
    heads = [f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in "abcdabcd"]
    for pieces in ([b"".join(heads)], heads, [bytes([byte]) for byte in b"".join(heads[:2])] + heads[2:]):
        for piece in pieces:
            client.sock.sendall(piece)
            time.sleep(0.001)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 8 or not got.endswith(b"\r\n\r\nd"):
            data = client.sock.recv(65536)
            assert data
            got += data
        assert re.findall(rb"\r\n\r\n(one|[bcd])", got) == [b"one", b"b", b"c", b"d"] * 2


def test_a_client_that_is_slow_to_read_holds_up_nobody_and_gets_all(
    service: Service, client: http.client.HTTPConnection
) -> None:
    value = os.urandom(100_000)
    _put(client, "/large", value)
    with contextlib.closing(service.connect()) as slow:
        for each in (slow, client):
            _to_the_lane(each, "/large")
        answers = 120  # more than any buffer takes; one by one, or they were not for the lane
        for _ in range(answers):
            slow.sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert _get(client, "/large")[2] == value
        got = bytearray()
        while len(got) < answers * len(value) or got[-len(value) :] != value:
            data = slow.sock.recv(1 << 20)
            assert data
            got += data
        assert got.count(value) == got.count(b"HTTP/1.1 200 OK") == answers


def test_one_question_to_another_service_answers_all_who_came_before_it_and_nobody_who_came_later(
    service: Service, client: http.client.HTTPConnection
) -> None:
    callers, rounds = 8, 10

    def repeat(_number: int) -> list[int]:
        with contextlib.closing(service.connect()) as mine:
            _get(mine, "/a")
            return [int(_get(mine, "/awaited")[2]) for _ in range(rounds)]

    with ThreadPoolExecutor(callers) as threads:
        asking = [threads.submit(repeat, number) for number in range(callers)]
        pauses = []
        while not all(each.done() for each in asking):
            begun = time.monotonic()
            assert _get(client, "/a")[2] == b"one"
            pauses.append(time.monotonic() - begun)
        assert sorted(pauses)[len(pauses) // 2] < 0.04  # nobody else waits for that service
    answers = [each.result() for each in asking]
    for numbers in answers:
        assert numbers == sorted(set(numbers))  # never what was asked before they came
    assert max(map(max, answers)) < callers * rounds / 2  # and together


def test_when_the_other_service_fails_each_who_waited_gets_the_apps_answer(
    service: Service, client: http.client.HTTPConnection
) -> None:
    with contextlib.ExitStack() as exits:
        clients = [client, *(exits.enter_context(contextlib.closing(service.connect())) for _ in range(5))]
        for each in clients:
            _get(each, "/a")
        for each in clients:
            each.request("GET", "/failing")
        for each in clients:
            response = each.getresponse()
            assert (response.status, json.load(response)["errors"][0]["code"]) == (503, "UNAVAILABLE")
        assert {_get(each, "/a")[2] for each in clients} == {b"one"}


def test_idle_connections_are_closed_in_time_and_do_not_keep_a_worker_from_ending(tmp_path: Path) -> None:
    with _service(tmp_path, _tls(tmp_path), keepalive=2) as service, contextlib.ExitStack() as exits:
        idle, kept = (exits.enter_context(contextlib.closing(service.connect())) for _ in range(2))
        for each in (idle, kept):
            _to_the_lane(each)
        begun = time.monotonic()
        assert idle.sock.recv(1) == b""
        assert 1 < time.monotonic() - begun < 6
        last = exits.enter_context(contextlib.closing(service.connect()))
        _get(last, "/a")
        begun = time.monotonic()
        service.process.terminate()
        service.process.join(30)
        assert time.monotonic() - begun < 6
        assert last.sock.recv(1) == b""
