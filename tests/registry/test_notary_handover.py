# SPDX-License-Identifier: Apache-2.0
"""One address: the registry hands `/v2/<gun>/_trust/…` on to the notary server.

The first half has both as they run: gunicorn, TLS, real sockets.  In the second half a bare upstream says what came
to it, and misbehaves where a notary server would not.
"""

from __future__ import annotations

import base64
import contextvars
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from urllib3.exceptions import ProtocolError

from collection import Collection
from notaryserver import MULTIPART, multipart, tuf
from pushes import digest_of, image_manifest
from registry.manifests import OCI_IMAGE
from registry.notary import hand_over, source
from signerprocess import Tls
from trust.ca import self_signed
from trust.errors import SettingsError
from trust.keys import NotaryKey
from trust.names import ROOT, TARGETS, Gun
from trust.tokens import Issuer, parse_scopes
from trust.web import tracing
from trust.web.app import create_base_app

GUN = "localhost:5000/library/app"
LIMIT = 1 << 20
_ROOT = Path(__file__).parents[2]
# The online keys are in the memory of the one worker.
_SERVER = """
import sys
from pathlib import Path

from server.app import create_app, prepare
from server.settings import Settings
from trust.keystore import MemoryKeyStore
from trust.settings import load
from trust.web.run import Tls, run

settings = load(Settings, prefix="TROTH_SERVER", path=Path(sys.argv[1]))
prepare(settings)
tls = Tls(settings.tls_certificate, settings.tls_key)
app = lambda: create_app(settings, keys=MemoryKeyStore())
run("server", app, listen=settings.listen, tls=tls, workers=1, threads=8)
"""


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def code(self) -> str:
        """The code in an error's envelope."""
        (error,) = json.loads(self.data)["errors"]
        assert error["message"]
        return str(error["code"])


class Site:
    """A notary server and a registry before it, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tls = Tls(folder)
        self._processes: list[subprocess.Popen[bytes]] = []
        pair = self_signed("token", datetime.now(UTC))
        pair.write(folder / "token.crt", folder / "token.key")
        self._issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", "troth")
        self.server, self.registry = free_port(), free_port()
        common = {"token_certificate": "token.crt", "token_realm": "https://localhost:5000/auth/token"}
        self._write("server", self.server, common | {"max_body_bytes": LIMIT})
        url, ca = f"https://localhost:{self.server}", self._tls.ca.name
        mine = {"content_folder": "content", "notary_url": url, "notary_ca": ca, "token_key": "token.key"}
        self._write("registry", self.registry, common | mine)
        self.start_server()
        self._start(self.registry, "-m", "registry.app", "--config", str(folder / "registry.toml"))

    def start_server(self) -> None:
        """Start the notary server."""
        self._start(self.server, "-c", _SERVER, str(self._folder / "server.toml"))

    def stop(self) -> None:
        """End all that runs."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else is in it
            process.wait()

    def log(self) -> str:
        """What both wrote to standard error."""
        return (self._folder / "log").read_text()

    def token(self, actions: str, name: str = GUN) -> dict[str, str]:
        """Headers of somebody with these rights."""
        access = parse_scopes([f"repository:{name}:{actions}"])
        return {"Authorization": f"Bearer {self._issuer.issue('alice', access, datetime.now(UTC))}"}

    def connect(self, port: int | None = None) -> http.client.HTTPSConnection:
        """A connection to the registry, or to another port."""
        context = ssl.create_default_context(cafile=self._tls.ca)
        return http.client.HTTPSConnection("localhost", port or self.registry, timeout=20, context=context)

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        *,
        port: int | None = None,
    ) -> Reply:
        """Any request to the registry, its path as it is."""
        connection = self.connect(port)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def _write(self, name: str, port: int, settings: Mapping[str, str | int]) -> None:
        certificate, key = self._tls.issue(name, server=True, client=False)
        settings = {
            **settings,
            "listen": f"127.0.0.1:{port}",
            "tls_certificate": certificate.name,
            "tls_key": key.name,
            "database_url": f"sqlite:///{self._folder}/{name}.db",
        }
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        (self._folder / f"{name}.toml").write_text("".join(lines))

    def _start(self, port: int, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TROTH_")}
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment | {"PYTHONPATH": str(_ROOT)},
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert process.poll() is None, self.log()
                assert time.monotonic() < deadline, "nothing listens"
                time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both, running."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.stop()


@pytest.fixture(scope="module")
def collection(site: Site) -> Collection:
    """A collection that was published through the registry, from its keys on."""
    collection = Collection(GUN, datetime.now(UTC))
    for role in ("timestamp", "snapshot"):
        reply = site.ask("GET", tuf(GUN, f"{role}.key"), site.token("push,pull"))
        assert reply.status == 200, reply.data
        key = json.loads(reply.data)
        public = base64.b64decode(key["keyval"]["public"])
        collection.hand_over(role, NotaryKey.from_public(key["keytype"], public))
    collection.root()
    collection.targets({"1": b"manifest"})
    assert publish(site, collection, "root", "targets").status == 200
    return collection


def publish(site: Site, collection: Collection, *roles: str, chunked: bool = False) -> Reply:
    """Publish the latest files of these roles."""
    body = multipart([(role, collection.files[role]) for role in roles])  # type: ignore[index]  # a role's name
    pieces = (body[start : start + 100] for start in range(0, len(body), 100)) if chunked else body
    return site.ask("POST", tuf(GUN, ""), {**site.token("push,pull"), "Content-Type": MULTIPART}, pieces)


# As they run.


def test_what_was_published_through_it_is_read_through_it_byte_for_byte(site: Site, collection: Collection) -> None:
    for role in ("root", "targets", "snapshot", "timestamp"):
        path = tuf(GUN, f"{role}.json")
        reply, direct = (
            site.ask("GET", path, site.token("pull"), port=port) for port in (site.registry, site.server)
        )
        assert (reply.status, reply.data) == (200, direct.data)
        for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag", "Last-Modified"):
            assert reply.headers[name] == direct.headers[name]
        if role in collection.files:
            assert reply.data == collection.files[role]  # type: ignore[index]  # a role's name


def test_head_answers_as_get_does_and_leaves_the_connection_usable(site: Site, collection: Collection) -> None:
    connection = site.connect()
    for _ in range(3):
        for method, length in (("HEAD", 0), ("GET", len(collection.files[ROOT]))):
            connection.request(method, tuf(GUN, "root.json"), headers=site.token("pull"))
            answer = connection.getresponse()
            assert (answer.status, len(answer.read())) == (200, length)
            assert answer.headers["Content-Length"] == str(len(collection.files[ROOT]))
    connection.close()


@pytest.mark.usefixtures("collection")
def test_an_etag_saves_the_second_download(site: Site) -> None:
    etag = site.ask("GET", tuf(GUN, "root.json"), site.token("pull")).headers["ETag"]
    reply = site.ask("GET", tuf(GUN, "root.json"), {**site.token("pull"), "If-None-Match": etag})
    assert (reply.status, reply.data, reply.headers["ETag"]) == (304, b"", etag)
    other = site.ask("GET", tuf(GUN, "root.json"), {**site.token("pull"), "If-None-Match": '"other"'})
    assert other.status == 200


@pytest.mark.usefixtures("collection")
def test_the_notary_servers_own_refusals_come_through(site: Site) -> None:
    reply = site.ask("GET", tuf(GUN, "targets/nobody.json"), site.token("pull"))
    assert (reply.status, reply.code) == (404, "METADATA_NOT_FOUND")
    reply = site.ask("GET", tuf("localhost:5000/nothing", "root.json"), site.token("pull", "localhost:5000/nothing"))
    assert (reply.status, reply.code) == (404, "METADATA_NOT_FOUND")
    reply = site.ask("GET", tuf(GUN, "root.json"))
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    challenge = reply.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="https://localhost:5000/auth/token",service="troth"')
    assert f'scope="repository:{GUN}:pull"' in challenge
    reply = site.ask("DELETE", tuf(GUN, ""), site.token("pull,push"))
    assert reply.status == 401
    reply = site.ask("POST", tuf(GUN, ""), {**site.token("push,pull"), "Content-Type": MULTIPART}, b"no multipart")
    assert (reply.status, reply.code) == (400, "MALFORMED_UPLOAD")
    reply = site.ask("GET", "/v2/_trust/changefeed", site.token("pull"))
    assert reply.status == 401


def test_a_publish_in_chunks_is_a_publish(site: Site, collection: Collection) -> None:
    collection.targets({"2": b"chunked"})
    assert publish(site, collection, "targets", chunked=True).status == 200
    reply = site.ask("GET", tuf(GUN, "targets.json"), site.token("pull"))
    assert reply.data == collection.files[TARGETS]


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_past_the_limit_gets_the_notary_servers_413(site: Site, size: int, chunked: bool) -> None:
    body = multipart([("targets", b"x" * size)])
    pieces = iter([body]) if chunked else body
    reply = site.ask("POST", tuf(GUN, ""), {**site.token("push,pull"), "Content-Type": MULTIPART}, pieces)
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")
    assert site.ask("GET", tuf(GUN, "timestamp.json"), site.token("pull")).status == 200


def test_a_body_from_one_who_may_not_publish_gets_the_challenge(site: Site) -> None:
    reply = site.ask("POST", tuf(GUN, ""), {**site.token("pull"), "Content-Type": MULTIPART}, b"x" * LIMIT)
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]


@pytest.mark.usefixtures("collection")
def test_a_path_that_the_notary_server_would_clean_is_redirected_by_it(site: Site) -> None:
    reply = site.ask("GET", f"/v2/{GUN}//_trust/tuf/root.json?a=b", site.token("pull"))
    assert (reply.status, reply.headers["Location"]) == (301, f"/v2/{GUN}/_trust/tuf/root.json?a=b")
    assert reply.data == b""


PATHS = {
    f"/v2/{GUN}/../other/_trust/tuf/root.json": {400},
    f"/v2/{GUN}/_trust/../../../_notary_server/health": {400},
    f"/v2/{GUN}/_trust/../../../../_notary_server/health": {400},
    f"/v2/{GUN}/_trust/%2e%2e/%2e%2e/%2e%2e/%2e%2e/_notary_server/health": {400},
    f"/v2/{GUN}/_trust/..%2f..%2f..%2f..%2f_notary_server%2fhealth": {400},
    f"/v2/{GUN}/_trust/%252e%252e/%252e%252e/_notary_server/health": {404},
    f"/v2/{GUN}/./_trust/tuf/root.json": {400},
    f"/v2/{GUN}/_trust/tuf/root.json%00": {404},
    f"/v2/{GUN}%00/_trust/tuf/root.json": {404},
    f"/v2/{GUN}%0a/_trust/tuf/root.json": {404},
    f"/v2/{GUN}%0d%0aX:y/_trust/tuf/root.json": {404},
    f"/v2/{GUN}/_trust/tuf/targets%2f..%2froot.json": {400},
    f"/v2/{GUN}/_trust/tuf/root.json%3fa=b": {404},
    f"/v2/{GUN}/_trust/tuf/%ff%fe.json": {404},
    "/v2//_trust/tuf/root.json": {301, 404},
    "/v2/_trust/tuf/root.json": {404},
    "/v2/*/_trust/tuf/root.json": {404},
}


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("path", PATHS)
def test_no_way_of_writing_a_path_leads_elsewhere(site: Site, path: str) -> None:
    # Even for one who may do everything to every collection in question.
    names = (GUN, "localhost:5000/library/other", "localhost:5000/library")
    for name in names:
        reply = site.ask("GET", path, site.token("*", name))
        assert reply.status in PATHS[path] | {401}, reply.data
        assert b"signed" not in reply.data
    if reply.status != 301:
        assert reply.code


@pytest.mark.usefixtures("collection")
def test_an_encoded_slash_is_a_slash_to_the_notary_server_and_to_its_tokens(site: Site) -> None:
    path = f"/v2/{GUN.replace('/', '%2F')}/_trust/tuf/root.json"
    assert site.ask("GET", path, site.token("pull")).status == 200
    assert site.ask("GET", path, site.token("pull", "localhost:5000/library")).status == 401


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 1000\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nno number\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nshort!",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_body_that_breaks_off_breaks_nothing(site: Site, broken: bytes) -> None:
    connection = site.connect()
    connection.connect()
    token = site.token("push,pull")["Authorization"]
    head = f"POST {tuf(GUN, '')} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Type: {MULTIPART}\r\n"
    began = time.monotonic()
    connection.send(head.encode() + broken)
    connection.sock.shutdown(socket.SHUT_WR)
    answer = http.client.HTTPResponse(connection.sock)
    try:
        answer.begin()
        assert answer.status == 400
    except http.client.BadStatusLine:
        pass  # a client that is gone needs no answer
    connection.close()
    assert time.monotonic() - began < 5
    assert site.ask("GET", tuf(GUN, "timestamp.json"), site.token("pull")).status == 200


def test_nothing_of_all_this_was_an_error_of_ours(site: Site) -> None:
    log = site.log()
    assert "Traceback" not in log, log[log.find("Traceback") :][:3000]


def test_the_registry_decides_by_the_same_notary_server(site: Site, collection: Collection) -> None:
    """Its own way there, with its own token, over TLS."""
    config = b"{}"
    headers = site.token("pull,push", "library/app")
    digest = digest_of(config)
    start = f"/v2/library/app/blobs/uploads/?digest={digest}"
    assert site.ask("POST", start, headers, config).status == 201
    manifest = image_manifest(config, [])
    put = {**headers, "Content-Type": OCI_IMAGE}
    assert site.ask("PUT", "/v2/library/app/manifests/3", put, manifest).status == 201
    reader = site.token("pull", "library/app")
    assert site.ask("GET", "/v2/library/app/manifests/3", reader).code == "DENIED"
    collection.targets({"3": manifest})
    assert publish(site, collection, "targets").status == 200
    assert site.ask("GET", "/v2/library/app/manifests/3", reader).data == manifest


# What passes.


@dataclass
class Upstream:
    """A server that keeps what it is asked, and answers as it is told.

    Attributes:
        asked: request lines, headers and bodies.
        answer: the raw answer; the connection is closed after it.
        drops: how many requests to come are not answered, but hung up on.
    """

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    drops: int = 0


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream at an address of its own."""
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
                body += self.rfile.read(size + 2)[:-2]
            if state.drops:
                state.drops -= 1
                self.close_connection = True
                return
            state.asked.append((self.requestline, dict(self.headers), body))
            self.wfile.write(state.answer)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def client_of(url: str, ca: Path | None = None, published: Callable[[str], None] = lambda _gun: None) -> FlaskClient:
    """A client of an app that only hands over."""
    app = create_base_app("registry")
    app.register_blueprint(hand_over(url, ca, published))
    return app.test_client(use_cookies=False)


def test_only_headers_that_the_notary_server_needs_are_handed_on(upstream: Upstream) -> None:
    needed = {
        "Authorization": "Bearer x",
        "Content-Type": "text/plain",
        "Accept": "*/*",
        "If-None-Match": '"a"',
        "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT",
        "User-Agent": "notary",
    }
    refused = {
        "Cookie": "a=b",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=127.0.0.1",
        "X-Real-Ip": "127.0.0.1",
        "X-Http-Method-Override": "DELETE",
        "X-Original-Url": "/",
        "Connection": "keep-alive, Authorization",
        "Upgrade": "h2c",
        "Te": "trailers",
        "Proxy-Authorization": "Basic x",
        "Range": "bytes=0-0",
        "Expect": "100-continue",
        "Accept-Encoding": "gzip",
        "X-Anything": "else",
        "X-Request-Id": "not one\t",
    }
    answer = client_of(upstream.url).post(tuf(GUN, ""), headers=needed | refused, data=b"body")
    assert (answer.status_code, answer.data) == (200, b"ok")
    ((line, headers, body),) = upstream.asked
    assert (line, body) == (f"POST {tuf(GUN, '')} HTTP/1.1", b"body")
    ours = {"Host": upstream.url.removeprefix("http://"), "Accept-Encoding": "identity", "Content-Length": "4"}
    assert headers == needed | ours | {"X-Request-Id": answer.headers["X-Request-Id"]}


def test_a_publish_that_was_taken_is_looked_at_and_nothing_else_is(upstream: Upstream) -> None:
    looked: list[str] = []

    def ask(method: str, file: str, status: str = "200 OK") -> int:
        upstream.answer = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode()
        client = client_of(upstream.url, published=looked.append)
        return client.open(tuf(GUN, file), method=method, data=b"body", buffered=True).status_code

    for status in ("401 Unauthorized", "400 Bad Request", "503 Service Unavailable"):
        assert ask("POST", "", status) == int(status[:3])
    for method, file in (("GET", "root.json"), ("POST", "snapshot.key"), ("DELETE", "")):
        assert ask(method, file) == 200
    assert looked == []
    assert ask("POST", "") == 200
    assert looked == [GUN]


def test_a_question_is_asked_again_where_the_notary_server_hung_up(upstream: Upstream) -> None:
    """As it may on a kept connection; an upload is not sent twice."""
    client = client_of(upstream.url)
    for drops, status in ((1, 200), (2, 503)):
        upstream.drops = drops
        assert client.get(tuf(GUN, "root.json")).status_code == status
    assert len(upstream.asked) == 1
    upstream.drops = 1
    assert client.post(tuf(GUN, ""), data=b"upload").status_code == 503
    assert len(upstream.asked) == 1


def test_the_requests_id_goes_with_it_if_it_is_one(upstream: Upstream) -> None:
    client = client_of(upstream.url)
    for given in ("r-1", "r 2"):
        answer = client.get(tuf(GUN, "root.json"), headers={"X-Request-Id": given})
        assert upstream.asked[-1][1]["X-Request-Id"] == answer.headers["X-Request-Id"]
    assert upstream.asked[0][1]["X-Request-Id"] == "r-1"
    assert upstream.asked[1][1]["X-Request-Id"].isalnum()


def test_the_registrys_own_questions_carry_the_id_of_the_request_that_they_are_for(upstream: Upstream) -> None:
    reader = source(upstream.url, None, None)

    def ask_twice() -> None:
        token = tracing.enter("test", "r-3")
        try:
            assert reader.fetch(Gun(GUN), "root", LIMIT) == b"ok"
        finally:
            tracing.leave(token)
        assert reader.fetch(Gun(GUN), "root", LIMIT) == b"ok"

    # In a context of its own: in this thread another test's answer may not have been closed yet.
    contextvars.Context().run(ask_twice)
    assert [headers.get("X-Request-Id") for _, headers, _ in upstream.asked] == ["r-3", None]


def test_only_headers_that_a_client_needs_are_handed_back(upstream: Upstream) -> None:
    upstream.answer = (
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nWWW-Authenticate: Bearer realm="x"\r\n'
        b"Set-Cookie: a=b\r\nServer: secret/1\r\nX-Powered-By: x\r\nAlt-Svc: h3\r\nStrict-Transport-Security: x\r\n"
        b"Access-Control-Allow-Origin: *\r\nRetry-After: 7\r\n\r\nno"
    )
    answer = client_of(upstream.url).get(tuf(GUN, "root.json"))
    passed = {"Content-Length": "2", "WWW-Authenticate": 'Bearer realm="x"', "Retry-After": "7"}
    assert {name: value for name, value in answer.headers.items() if name != "X-Request-Id"} == passed
    assert (answer.status_code, answer.data) == (401, b"no")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_method_is_the_notary_servers_business(upstream: Upstream, method: str) -> None:
    upstream.answer = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"
    assert client_of(upstream.url).open(tuf(GUN, ""), method=method).status_code == 405
    assert upstream.asked[0][0].startswith(method)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (f"/v2/{GUN}/_trust/tuf/root.json", f"/v2/{GUN}/_trust/tuf/root.json"),
        (f"/v2/{GUN}/_trust/tuf/", f"/v2/{GUN}/_trust/tuf/"),
        (
            f"/v2/{GUN}/_trust/changefeed?records=1&change_id=-1",
            f"/v2/{GUN}/_trust/changefeed?records=1&change_id=-1",
        ),
        ("/v2/_trust/changefeed", "/v2/_trust/changefeed"),
        (f"/v2/{GUN}/_trust/tuf/a%3Fb%23c%25", f"/v2/{GUN}/_trust/tuf/a%3Fb%23c%25"),
        (f"/v2/{GUN}/_trust/tuf/a%0d%0ab", None),
        (f"/v2/{GUN}/_trust/tuf/%C3%A9?x=%0d%0a", f"/v2/{GUN}/_trust/tuf/%C3%A9?x=%0d%0a"),
        ("/v2/a/_trust/b/_trust/tuf/root.json", "/v2/a/_trust/b/_trust/tuf/root.json"),
        (f"/v2/{GUN}/_trust", None),
        (f"/v2/{GUN}/_trust/", None),
        (f"/v2/{GUN}/manifests/1", None),
        ("/_notary_server/health", None),
        ("/metrics", None),
        (f"/v2/{GUN}/_trust/../../../../metrics", None),
        (f"/v2/{GUN}/_trust/%2e%2e/%2e%2e/%2e%2e/%2e%2e/metrics", None),
    ],
)
def test_a_path_is_handed_on_as_it_was_meant_or_not_at_all(
    upstream: Upstream, sent: str, received: str | None
) -> None:
    answer = client_of(upstream.url).get(sent)
    lines = [line.split(" ")[1].lower() for line, _, _ in upstream.asked]
    assert lines == ([received.lower()] if received else [])
    assert answer.status_code == 200 if received else answer.status_code in (400, 404)


def test_redirects_are_the_clients_to_follow(upstream: Upstream) -> None:
    """AUTH-A11."""
    for location in ("/v2/x/_trust/tuf/root.json", "https://elsewhere.example/"):
        head = f"HTTP/1.1 301 Moved Permanently\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        upstream.answer = head.encode()
        answer = client_of(upstream.url).get(tuf(GUN, "root.json"))
        assert (answer.status_code, answer.headers["Location"]) == (301, location)
    assert len(upstream.asked) == 2


def test_no_content_type_is_made_up(upstream: Upstream) -> None:
    for status in (200, 404):
        upstream.answer = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
        for method in ("GET", "HEAD"):
            answer = client_of(upstream.url).open(tuf(GUN, "root.json"), method=method)
            assert (answer.status_code, "Content-Type" in answer.headers) == (status, False)


@pytest.mark.parametrize("answer", [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_a_notary_server_that_gives_no_answer_is_unavailable(upstream: Upstream, answer: bytes) -> None:
    upstream.answer = answer
    _is_unavailable(client_of(upstream.url))


def test_half_an_answer_is_not_handed_back_as_a_whole_one(upstream: Upstream) -> None:
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
    with pytest.raises(ProtocolError):  # on which the server breaks the connection off
        client_of(upstream.url).get(tuf(GUN, "root.json"), buffered=True)


def test_a_notary_server_that_is_away_is_unavailable() -> None:
    _is_unavailable(client_of(f"http://127.0.0.1:{free_port()}"))


def test_a_notary_server_with_a_certificate_of_another_ca_is_not_asked(site: Site, tmp_path: Path) -> None:
    url = f"https://localhost:{site.server}"
    _is_unavailable(client_of(url, Tls(tmp_path, "another one").ca))
    _is_unavailable(client_of(url))  # nor is one of ours believed by the system's


def test_a_ca_that_cannot_be_read_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.crt").touch()
    for name in ("missing.crt", "empty.crt"):
        with pytest.raises(SettingsError, match=name):
            hand_over("https://localhost:4443", tmp_path / name)


def _is_unavailable(client: FlaskClient) -> None:
    for method, body in (("GET", None), ("HEAD", None), ("POST", b"x" * LIMIT)):
        answer = client.open(tuf(GUN, ""), method=method, data=body)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        if method != "HEAD":
            (error,) = answer.get_json()["errors"]
            assert error == {"code": "UNAVAILABLE", "message": "the notary server does not answer"}
