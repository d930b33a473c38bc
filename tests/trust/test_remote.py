# SPDX-License-Identifier: Apache-2.0
"""Reading from a notary server over real sockets: tokens, limits, certificates, and servers that mean ill."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shelf import World
from trust.ca import Authority, Pair, new_authority, self_signed
from trust.cache import MemoryCache
from trust.errors import InvalidError, NotFoundError, SizeError, UnauthorizedError, UnavailableError
from trust.names import Gun
from trust.reader import Reader
from trust.remote import NotaryServer

NOW = datetime.now(UTC)
GUN = Gun("localhost:5000/library/app")
TUF = "/v2/localhost:5000/library/app/_trust/tuf/"
SECRETS = ("alice", "correct horse: battery")

Answer = Callable[[BaseHTTPRequestHandler], None]


class Peer:
    """A server on a loopback port; `answers` says what it does for a path, `seen` what it was asked.

    Args:
        certificate: with it, it speaks TLS.
    """

    def __init__(self, certificate: Pair | None = None, folder: Path | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                peer.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                peer.answers.get(path, status(404))(self)

            do_POST = do_GET  # noqa: N815  # http.server's name

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that hang up are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate and folder:
            certificate.write(folder / "peer.crt", folder / "peer.key")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "peer.crt", folder / "peer.key")
            # The handshake is made in the connection's own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if certificate else 'http'}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def serve(self, name: str, answer: Answer | bytes) -> None:
        """Give this answer for a metadata file."""
        self.answers[f"{TUF}{name}.json"] = body(answer) if isinstance(answer, bytes) else answer

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of every request for `path`."""
        return [headers for _, target, headers in self.seen if urlsplit(target).path == path]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def body(data: bytes, code: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, **headers: str) -> Answer:
    return body(b'{"errors":[]}', code, **headers)


def endless(code: int = 200, *, chunked: bool = True) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if code == 401:
            handler.send_header("WWW-Authenticate", 'Bearer realm="nowhere"')
        handler.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(2**40))))
        handler.end_headers()
        block = b"x" * 2**16
        chunk = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
        end = time.monotonic() + 6  # a client that waits for the end fails, and does not hang
        while time.monotonic() < end:
            handler.wfile.write(chunk)

    return answer


def raw(data: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Starts servers, with TLS if a certificate is given."""
    started: list[Peer] = []

    def start(certificate: Pair | None = None) -> Peer:
        folder = tmp_path / f"peer{len(started)}"
        folder.mkdir()
        started.append(Peer(certificate, folder))
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


@pytest.fixture
def peer(peers: Callable[..., Peer]) -> Peer:
    return peers()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Authority, Path]:
    pair = new_authority("test", NOW)
    (tmp_path / "ca.crt").write_bytes(pair.certificate_pem)
    return Authority(pair), tmp_path / "ca.crt"


def issue(authority: tuple[Authority, Path], *hosts: str, now: datetime = NOW) -> Pair:
    return authority[0].issue("server", hosts or ("localhost", "127.0.0.1"), server=True, client=False, now=now)


# Files.


@pytest.mark.parametrize("name", ["root", "3.root", "targets/releases", f"targets/releases.{'ab' * 32}"])
def test_a_file_comes_byte_for_byte_from_its_address(peer: Peer, name: str) -> None:
    data = b'{"signed":{}}\xff\x00\n'
    peer.serve(name, data)
    assert NotaryServer(peer.url).fetch(GUN, name, 100) == data
    ((method, path, headers),) = peer.seen
    assert (method, path) == ("GET", f"{TUF}{name}.json")
    assert "authorization" not in headers
    assert headers["accept-encoding"] == "identity"


def test_a_base_address_may_have_a_path_and_a_slash(peer: Peer) -> None:
    peer.answers[f"/notary{TUF}root.json"] = body(b"root")
    for url in (f"{peer.url}/notary", f"{peer.url}/notary/"):
        assert NotaryServer(url).fetch(GUN, "root", 10) == b"root"


def test_a_guns_odd_characters_are_encoded(peer: Peer) -> None:
    with pytest.raises(NotFoundError):
        NotaryServer(peer.url).fetch(Gun("a b/é?x=1#y%2F&/c"), "root", 10)
    assert peer.seen[0][1] == "/v2/a%20b/%C3%A9%3Fx%3D1%23y%252F%26/c/_trust/tuf/root.json"


def test_what_is_not_there_is_not_found(peer: Peer) -> None:
    with pytest.raises(NotFoundError, match=f"does not have trust data for {GUN}") as refusal:
        NotaryServer(peer.url).fetch(GUN, "root", 10)
    assert refusal.value.detail == {"file": "root"}


@pytest.mark.parametrize("code", [201, 204, 206, 304, 400, 410, 429, 500, 502, 503])
def test_any_other_answer_says_nothing(peer: Peer, code: int) -> None:
    peer.serve("root", status(code) if code not in (204, 304) else raw(b"HTTP/1.1 %d X\r\n\r\n" % code))
    with pytest.raises(UnavailableError, match=f"answered {code} for root"):
        NotaryServer(peer.url).fetch(GUN, "root", 100)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(peers: Callable[..., Peer], code: int) -> None:
    """AUTH-A11."""
    peer, elsewhere = peers(), peers()
    elsewhere.serve("root", b"evil")
    peer.answers["/other"] = body(b"evil")
    for target in (f"{elsewhere.url}{TUF}root.json", "/other"):
        peer.serve("root", status(code, Location=target))
        with pytest.raises(UnavailableError, match=f"answered {code}"):
            NotaryServer(peer.url).fetch(GUN, "root", 100)
    assert elsewhere.seen == []
    assert len(peer.seen) == 2


def test_connections_are_used_again(peer: Peer) -> None:
    peer.serve("root", b"root")
    server = NotaryServer(peer.url)
    for _ in range(5):
        assert server.fetch(GUN, "root", 10) == b"root"
        with pytest.raises(NotFoundError):
            server.fetch(GUN, "missing", 10)
    assert peer.connections == 1


def test_many_threads_may_read_at_once(peer: Peer) -> None:
    for number in range(20):
        peer.serve(f"{number}.root", b"%d" % number)
    server = NotaryServer(peer.url)
    got: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=n: got.update({n: server.fetch(GUN, f"{n}.root", 10)})) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: b"%d" % number for number in range(20)}


# Limits and broken answers.


def test_a_file_may_be_as_long_as_the_limit_and_no_longer(peer: Peer) -> None:
    peer.serve("root", b"12345")
    server = NotaryServer(peer.url)
    assert server.fetch(GUN, "root", 5) == b"12345"
    for limit in (4, 0):
        with pytest.raises(SizeError, match=f"root is longer than the allowed {limit} bytes"):
            server.fetch(GUN, "root", limit)
    assert server.fetch(GUN, "root", 5) == b"12345"


def test_a_chunked_file_is_read_whole_and_has_the_same_limit(peer: Peer) -> None:
    peer.serve("root", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
    assert NotaryServer(peer.url).fetch(GUN, "root", 5) == b"abcde"
    with pytest.raises(SizeError):
        NotaryServer(peer.url).fetch(GUN, "root", 4)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (200, SizeError),
        (404, NotFoundError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (500, UnavailableError),
    ],
)
def test_an_answer_without_end_ends(peer: Peer, code: int, error: type[Exception], chunked: bool) -> None:
    """T07."""
    peer.serve("root", endless(code, chunked=chunked))
    begin = time.monotonic()
    with pytest.raises(error):
        NotaryServer(peer.url).fetch(GUN, "root", 2**20)
    assert time.monotonic() - begin < 5


def drip(beginning: bytes) -> Answer:
    """Then one byte now and then, and never an end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            handler.wfile.write(b"x")
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    ("beginning", "secure"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nX: ", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
    ],
    ids=["status", "header", "body", "body over TLS", "body until the end"],
)
def test_t08_an_answer_that_trickles_ends(
    peers: Callable[..., Peer], authority: tuple[Authority, Path], beginning: bytes, secure: bool
) -> None:
    peer = peers(issue(authority) if secure else None)
    peer.serve("root", drip(beginning))
    peer.serve("2.root", b"root")
    server = NotaryServer(peer.url, ca=authority[1], longest=0.5)
    begin = time.monotonic()
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.5 seconds"):
        server.fetch(GUN, "root", 100)
    assert time.monotonic() - begin < 3
    assert server.fetch(GUN, "2.root", 100) == b"root"
    server.fetch(GUN, "2.root", 100)
    time.sleep(0.6)  # the limit of the one before cuts no later one off
    assert server.fetch(GUN, "2.root", 100) == b"root"


def test_t08_a_handshake_that_trickles_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                line, _ = listener.accept()
                with line:
                    line.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB is to come
                    for _ in range(200):
                        line.sendall(b"x")
                        time.sleep(0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(UnavailableError, match=r"did not answer within 0\.5 seconds"):
            NotaryServer(f"https://127.0.0.1:{listener.getsockname()[1]}", longest=0.5).fetch(GUN, "root", 100)
        assert time.monotonic() - begin < 3
    thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 9999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2**17 + b"\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"",
    ],
)
def test_a_broken_answer_is_no_answer(peer: Peer, data: bytes) -> None:
    peer.serve("timestamp", raw(data))
    with pytest.raises(UnavailableError):
        NotaryServer(peer.url).fetch(GUN, "timestamp", 100)


def test_compression_that_nobody_asked_for_is_not_undone(peer: Peer) -> None:
    """T07."""
    peer.serve("root", body(b"\x1f\x8bnot really", Content_Encoding="gzip"))
    assert NotaryServer(peer.url).fetch(GUN, "root", 100) == b"\x1f\x8bnot really"


def test_a_server_that_is_not_there_or_does_not_answer_is_unavailable(peer: Peer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="does not answer"):
            NotaryServer(f"http://127.0.0.1:{free.getsockname()[1]}").fetch(GUN, "root", 10)
    with pytest.raises(UnavailableError):
        NotaryServer("http://host.invalid").fetch(GUN, "root", 10)
    peer.serve("root", lambda _: time.sleep(3))
    with pytest.raises(UnavailableError):
        NotaryServer(peer.url, timeout=0.2).fetch(GUN, "root", 10)


# Tokens.


class Realm:
    """A token service that knows one user, beside a notary server that wants its tokens."""

    def __init__(self, notary: Peer, service: Peer) -> None:
        self.notary, self.service = notary, service
        self.valid = {"token-1"}
        self.next = "token-1"
        self.challenge = f'Bearer realm="{service.url}/auth/token",service="troth",scope="repository:{GUN}:push,pull"'
        notary.serve("root", self._file)
        service.answers["/auth/token"] = self._token

    def _file(self, handler: BaseHTTPRequestHandler) -> None:
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        good = scheme == "Bearer" and token in self.valid
        (body(b"root") if good else status(401, WWW_Authenticate=self.challenge))(handler)

    def _token(self, handler: BaseHTTPRequestHandler) -> None:
        expected = base64.b64encode(":".join(SECRETS).encode()).decode()
        good = handler.headers.get("Authorization") == f"Basic {expected}"
        (body(json.dumps({"token": self.next}).encode()) if good else status(401))(handler)

    @property
    def requests(self) -> list[dict[str, str]]:
        return self.service.asked("/auth/token")


@pytest.fixture
def realm(peers: Callable[..., Peer]) -> Realm:
    return Realm(peers(), peers())


def test_a_401_is_answered_with_a_token_from_the_realm(realm: Realm) -> None:
    server = NotaryServer(realm.notary.url, credentials=SECRETS)
    assert server.fetch(GUN, "root", 10) == b"root"
    assert [seen[2].get("authorization") for seen in realm.notary.seen] == [None, "Bearer token-1"]
    query = parse_qs(urlsplit(realm.service.seen[0][1]).query)
    assert (query["service"], query["scope"]) == (["troth"], [f"repository:{GUN}:pull"])


def test_a_token_is_kept_until_it_is_refused(realm: Realm) -> None:
    server = NotaryServer(realm.notary.url, credentials=SECRETS)
    for _ in range(3):
        server.fetch(GUN, "root", 10)
    assert len(realm.requests) == 1
    realm.valid, realm.next = {"token-2"}, "token-2"
    for _ in range(3):
        assert server.fetch(GUN, "root", 10) == b"root"
    assert len(realm.requests) == 2


def test_a_token_of_one_collection_is_not_shown_for_another(realm: Realm) -> None:
    server = NotaryServer(realm.notary.url, credentials=SECRETS)
    server.fetch(GUN, "root", 10)
    with pytest.raises(NotFoundError):
        server.fetch(Gun("localhost:5000/library/other"), "root", 10)
    assert "authorization" not in realm.notary.seen[-1][2]


def test_a_token_that_is_refused_is_not_asked_for_again_and_again(realm: Realm) -> None:
    realm.valid = set()
    with pytest.raises(UnauthorizedError, match="does not let these credentials read"):
        NotaryServer(realm.notary.url, credentials=SECRETS).fetch(GUN, "root", 10)
    assert (len(realm.notary.seen), len(realm.requests)) == (2, 1)


def test_wrong_credentials_are_refused_and_never_repeated_in_the_message(realm: Realm) -> None:
    """T28."""
    with pytest.raises(UnauthorizedError, match="refused the credentials") as refusal:
        NotaryServer(realm.notary.url, credentials=("alice", "wr0ng-secret")).fetch(GUN, "root", 10)
    assert "wr0ng-secret" not in repr(refusal.value) + repr(refusal.value.__cause__)
    assert len(realm.requests) == 1


def test_without_credentials_the_realm_is_asked_anonymously(realm: Realm) -> None:
    with pytest.raises(UnauthorizedError):
        NotaryServer(realm.notary.url).fetch(GUN, "root", 10)
    assert "authorization" not in realm.requests[0]
    realm.service.answers["/auth/token"] = body(b'{"access_token":"token-1"}')
    assert NotaryServer(realm.notary.url).fetch(GUN, "root", 10) == b"root"


def test_the_password_goes_to_the_realm_alone(realm: Realm) -> None:
    NotaryServer(realm.notary.url, credentials=SECRETS).fetch(GUN, "root", 10)
    for _, path, headers in realm.notary.seen:
        assert "Basic" not in headers.get("authorization", "")
        assert "battery" not in path


def test_a_token_that_is_given_is_used_and_no_realm_is_asked(realm: Realm) -> None:
    asked: list[Gun] = []

    def token(gun: Gun) -> str:
        asked.append(gun)
        return "token-1"

    server = NotaryServer(realm.notary.url, token=token, credentials=SECRETS)
    assert server.fetch(GUN, "root", 10) == b"root"
    assert asked == [GUN]
    realm.valid = set()
    with pytest.raises(UnauthorizedError):
        server.fetch(GUN, "root", 10)
    assert realm.requests == []


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Bearer",
        "Basic realm=x",
        'Negotiate realm="http://localhost"',
        'Bearer service="troth"',
        'Bearer realm=""',
        'Bearer realm="ftp://localhost/"',
        'Bearer realm="file:///etc/passwd"',
        'Bearer realm="/auth/token"',
        'Bearer realm="http://["',
        'Bearer realm="http://localhost:99999/"',
        'Bearer realm="http://"',
        "Bearer realm='http://localhost/'",
        'Bearer realm="http://localhost/',
    ],
)
def test_a_challenge_that_makes_no_sense_is_unauthorized(peer: Peer, challenge: str) -> None:
    peer.serve("root", status(401, WWW_Authenticate=challenge))
    with pytest.raises(UnauthorizedError):
        NotaryServer(peer.url, credentials=SECRETS).fetch(GUN, "root", 10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b'"token"',
        b"{}",
        b'{"token":""}',
        b'{"token":5}',
        b'{"token":["x"]}',
        b'{"token":"a\\r\\nX-Evil: 1"}',
        b'{"token":"a b"}',
        b'{"token":"\\u00e9\\u4e2d"}',
        b"\xff\xfe",
        b"[" * 10_000,
    ],
)
def test_a_realm_that_gives_no_token_is_unavailable(realm: Realm, answer: bytes) -> None:
    realm.service.answers["/auth/token"] = body(answer)
    with pytest.raises(UnavailableError):
        NotaryServer(realm.notary.url, credentials=SECRETS).fetch(GUN, "root", 10)
    assert len(realm.notary.seen) == 1


def test_a_realm_without_end_or_elsewhere_is_not_followed(realm: Realm, peers: Callable[..., Peer]) -> None:
    thief = peers()
    thief.answers["/"] = body(b'{"token":"token-1"}')
    realm.service.answers["/auth/token"] = status(302, Location=f"{thief.url}/")
    with pytest.raises(UnauthorizedError):
        NotaryServer(realm.notary.url, credentials=SECRETS).fetch(GUN, "root", 10)
    assert thief.seen == []
    for code, error in ((200, SizeError), (500, (UnauthorizedError, UnavailableError))):
        realm.service.answers["/auth/token"] = endless(code)
        with pytest.raises(error):
            NotaryServer(realm.notary.url, credentials=SECRETS).fetch(GUN, "root", 10)


# TLS.


def test_a_server_with_a_certificate_of_the_given_authority_is_read(
    peers: Callable[..., Peer], authority: tuple[Authority, Path]
) -> None:
    peer = peers(issue(authority))
    peer.serve("root", b"root")
    for url in (peer.url, peer.url.replace("localhost", "127.0.0.1")):
        assert NotaryServer(url, ca=authority[1]).fetch(GUN, "root", 10) == b"root"


def test_any_doubt_about_the_certificate_ends_the_connection(
    peers: Callable[..., Peer], authority: tuple[Authority, Path]
) -> None:
    foreign = Authority(new_authority("test", NOW))
    for certificate in (
        foreign.issue("server", ["localhost"], server=True, client=False, now=NOW),
        issue(authority, "other.example"),
        issue(authority, now=NOW - timedelta(days=2000)),
        issue(authority, now=NOW + timedelta(days=2)),
        authority[0].issue("localhost", ["localhost"], server=False, client=True, now=NOW),
        self_signed("localhost", NOW),
    ):
        peer = peers(certificate)
        peer.serve("root", b"root")
        with pytest.raises(UnavailableError, match=r"(?i)certificate"):
            NotaryServer(peer.url, ca=authority[1]).fetch(GUN, "root", 10)
        assert peer.seen == []


def test_a_private_authority_is_unknown_to_the_system(
    peers: Callable[..., Peer], authority: tuple[Authority, Path]
) -> None:
    peer = peers(issue(authority))
    peer.serve("root", b"root")
    with pytest.raises(UnavailableError, match=r"(?i)certificate"):
        NotaryServer(peer.url).fetch(GUN, "root", 10)
    assert peer.seen == []


def test_there_is_no_way_from_https_to_http(peer: Peer, authority: tuple[Authority, Path]) -> None:
    peer.serve("root", b"root")
    with pytest.raises(UnavailableError):
        NotaryServer(peer.url.replace("http:", "https:"), ca=authority[1]).fetch(GUN, "root", 10)
    assert peer.seen == []


def test_credentials_never_leave_https_for_http(
    peers: Callable[..., Peer], authority: tuple[Authority, Path]
) -> None:
    plain = peers()
    plain.answers["/auth/token"] = body(b'{"token":"x"}')
    peer = peers(issue(authority))
    for scheme in ("http", "HTTP"):
        realm = plain.url.replace("http", scheme)
        peer.serve("root", status(401, WWW_Authenticate=f'Bearer realm="{realm}/auth/token"'))
        with pytest.raises(UnauthorizedError, match="without TLS"):
            NotaryServer(peer.url, ca=authority[1], credentials=SECRETS).fetch(GUN, "root", 10)
    assert plain.seen == []


def test_the_realms_certificate_is_verified_before_credentials_are_sent(
    peers: Callable[..., Peer], authority: tuple[Authority, Path]
) -> None:
    foreign = Authority(new_authority("evil", NOW)).issue("x", ["localhost"], server=True, client=False, now=NOW)
    thief, peer = peers(foreign), peers(issue(authority))
    thief.answers["/auth/token"] = body(b'{"token":"x"}')
    peer.serve("root", status(401, WWW_Authenticate=f'Bearer realm="{thief.url}/auth/token"'))
    with pytest.raises(UnavailableError, match=r"(?i)certificate"):
        NotaryServer(peer.url, ca=authority[1], credentials=SECRETS).fetch(GUN, "root", 10)
    assert thief.seen == []


def test_proxies_of_the_environment_are_not_used(peers: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, peer = peers(), peers()
    peer.serve("root", b"root")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.upper(), proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert NotaryServer(peer.url).fetch(GUN, "root", 10) == b"root"
    assert proxy.seen == []


# Settings.


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "localhost:4443", "ftp://localhost", "https://", "http://h/?q=1", "http://h/#f", "http://["],
)
def test_an_address_must_be_http_or_https(url: str) -> None:
    with pytest.raises(InvalidError, match="http or https URL"):
        NotaryServer(url)


def test_an_authority_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage")
    for path in (tmp_path / "missing", tmp_path / "garbage", tmp_path):
        with pytest.raises(InvalidError, match="cannot be read"):
            NotaryServer("https://localhost", ca=path)


# A reader over the wire.


def test_a_reader_reads_over_tls_with_a_token(peers: Callable[..., Peer], authority: tuple[Authority, Path]) -> None:
    world = World()
    world.publish({"v1": b"manifest"})
    peer = peers(issue(authority))
    challenge = f'Bearer realm="{peer.url}/auth/token",service="troth"'
    peer.answers["/auth/token"] = body(b'{"token":"good"}')

    def guarded(data: bytes) -> Answer:
        def answer(handler: Any) -> None:
            good = handler.headers.get("Authorization") == "Bearer good"
            (body(data) if good else status(401, WWW_Authenticate=challenge))(handler)

        return answer

    for name, data in {**world.shelf.named, **world.shelf.current}.items():
        peer.serve(name, guarded(data))
    server = NotaryServer(peer.url, ca=authority[1], credentials=SECRETS)
    reader = Reader(world.made.gun, server, MemoryCache(), clock=lambda: world.now)
    assert reader.refresh().lookup("v1").length == 8
    assert len(peer.asked("/auth/token")) == 1
    peer.serve("timestamp", guarded(world.shelf.current["timestamp"] + b" "))
    with pytest.raises(Exception, match="two different timestamps"):
        reader.refresh()
