# SPDX-License-Identifier: Apache-2.0
"""A site that is asked what real clients once asked the originals (tests/captures.py).

replay = Replay(tmp_path, "docker", "notary")
for exchange, answer in replay.answers():        # ours, each at the time of the captured one
    ...
for exchange, answer in read_again(tmp_path, "docker", "notary"):      # of the other server's own files
    ...
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from werkzeug.test import TestResponse

from captures import Exchange, Translator, exchanges
from notaryserver import NotaryServer, multipart
from pushes import digest_of
from registry.accounts.admin import add_user, grant
from registry.accounts.policy import Level
from server.store import Store
from trust.metadata import parse_timestamp, peek_version
from trust.names import TIMESTAMP, Gun, RepositoryName, RoleName
from world import PASSWORD, World

#: The captured registry's host; the names of the trust collections begin with it.
HOST = "localhost:25001"
USER = "alice"
_LOGIN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

_BLOB = re.compile(r"/v2/(?P<repository>.+)/blobs/sha256:(?P<digest>[0-9a-f]{64})")
_UPLOAD = re.compile(r"/v2/.+/blobs/uploads/(?P<id>[0-9a-f-]{36})\?")
_MOUNT = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/\?from=(?P<source>.+)&mount=sha256%3A(?P<digest>.+)")
_PUT = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/.*digest=sha256%3A(?P<digest>[0-9a-f]{64})")


class Replay:
    """A site and the captured clients of it.

    Args:
        folder: empty.
        families: of the captures; with `auth` among them everybody needs a token.

    Attributes:
        refused: what the captured clients read with a token for nobody, and what we answer to such a token.
    """

    def __init__(self, folder: Path, *families: str) -> None:
        self.exchanges = exchanges(*families)
        self.tokens = "auth" in families
        begin = self.exchanges[0].moment
        self.world = World(folder, begin, tokens=self.tokens, hosts=(HOST,), trust_mode="disabled")
        self.translator = Translator(lambda: self.world.now)
        self.refused: list[tuple[Exchange, TestResponse]] = []
        self._tokens: dict[str, str] = {}
        self._equal: dict[tuple[str, bool], TestResponse] = {}
        self._for_nobody: dict[str, str] = {}
        self._uploads: dict[str, str] = {}
        self._fill()

    def answers(self) -> Iterator[tuple[Exchange, TestResponse]]:
        """Each exchange with our answer to it."""
        for exchange in self.exchanges:
            self.world.now = exchange.moment
            answer = getattr(self, f"_{exchange.service}")(exchange)
            yield exchange, answer

    def _notary(self, exchange: Exchange) -> TestResponse:
        translator = self.translator
        if exchange.is_publish:
            boundary = exchange.headers["Content-Type"].partition("boundary=")[2]
            body = multipart(translator.upload(exchange), boundary=boundary)
            return self._send(exchange, exchange.path, body)
        answer = self._send(exchange, translator.text(exchange.path))
        if exchange.path.endswith(".key") and answer.status_code == exchange.status == 200:
            translator.server_key(exchange.answer, answer.data)
        if exchange.role == "timestamp" and answer.status_code == exchange.status == 200:
            translator.digest(_snapshot(exchange.answer), _snapshot(answer.data))
        return answer

    def _registry(self, exchange: Exchange) -> TestResponse:
        body = exchange.body
        if exchange.method == "PUT" and "/manifests/" in exchange.path:
            body = self.translator.text(body.decode()).encode()
            self.translator.digest(digest_of(exchange.body).partition(":")[2], digest_of(body).partition(":")[2])
        path = self.translator.text(exchange.path)
        if upload := _UPLOAD.match(exchange.path):
            digest = parse_qs(urlsplit(path).query).get("digest")
            path = self._uploads[upload["id"]]
            if digest:
                path += f"{'&' if '?' in path else '?'}digest={digest[0].replace(':', '%3A')}"
        answer = self._send(exchange, path, body)
        if exchange.status == answer.status_code == 202:
            self._uploads[exchange.answer_headers["Docker-Upload-Uuid"]] = answer.headers["Location"]
        return answer

    def _token(self, exchange: Exchange) -> TestResponse:
        query = urlsplit(exchange.path).query
        query = re.sub(r"service=[a-z]+", f"service={self.world.settings.token_service}", query)
        is_login = "Authorization" in exchange.headers
        # A password's check takes long, by intention; an equal request within seconds gets an equal token.
        answer = self._equal.get((query, is_login)) or self._send(exchange, f"/auth/token?{query}")
        self._equal[query, is_login] = answer
        captured = json.loads(exchange.answer)["token"]
        self._tokens[captured] = answer.get_json()["token"]
        if not is_login:
            # The notary client asks so at first, and goes on with a login if that is refused (NOTARY_V1 §5.3).
            self._for_nobody[captured] = self._tokens[captured]
            self._tokens[captured] = self._ask(
                exchange, f"/auth/token?{query}", {"Authorization": _LOGIN}
            ).get_json()["token"]
        return answer

    def _send(self, exchange: Exchange, path: str, body: bytes | None = None) -> TestResponse:
        headers = {name: value for name, value in exchange.headers.items() if name != "Content-Length"}
        scheme, _, credentials = headers.pop("Authorization", "").partition(" ")
        if credentials in self._for_nobody:
            bearer = {**headers, "Authorization": f"Bearer {self._for_nobody[credentials]}"}
            self.refused.append((exchange, self._ask(exchange, path, bearer, body)))
        if scheme == "Bearer":
            headers["Authorization"] = f"Bearer {self._tokens[credentials]}"
        elif scheme == "Basic":
            headers["Authorization"] = _LOGIN
        return self._ask(exchange, path, headers, body)

    def _ask(self, exchange: Exchange, path: str, headers: dict[str, str], body: bytes | None = None) -> TestResponse:
        is_chunked = "Transfer-Encoding" in headers
        body = exchange.body if body is None else body
        app = self.world.server.app if exchange.service == "notary" else self.world.app
        return app.test_client(use_cookies=False).open(
            path,
            method=exchange.method,
            headers=headers,
            input_stream=BytesIO(body),
            content_length=None if is_chunked else len(body),
            environ_overrides={"wsgi.input_terminated": True} if is_chunked else {},
            buffered=True,
        )

    def _fill(self) -> None:
        """Push the blobs that were there before the captures began."""
        sizes = {found: size for exchange in self.exchanges for found, size in _layers(exchange)}
        there: set[tuple[str, str]] = set()
        for exchange in self.exchanges:
            if found := _PUT.match(exchange.path):
                there.add((found["repository"], found["digest"]))
            if found := _MOUNT.match(exchange.path):
                self._push_before(found["source"].replace("%2F", "/"), found["digest"], sizes, there)
                there.add((found["repository"], found["digest"]))
            if exchange.status == 200 and (found := _BLOB.match(exchange.path)):
                self._push_before(found["repository"], found["digest"], sizes, there)
        if self.tokens:
            add_user(self.world.database, USER, PASSWORD, is_admin=False, now=self.world.now)
            names = {exchange.gun.removeprefix(f"{HOST}/") for exchange in self.exchanges if exchange.gun}
            for name in names | {repository for repository, _ in there}:
                grant(self.world.database, USER, RepositoryName(name), Level.ADMIN)

    def _push_before(self, repository: str, digest: str, sizes: dict[str, int], there: set[tuple[str, str]]) -> None:
        if (repository, digest) in there:
            return
        there.add((repository, digest))
        # The capture does not have the bytes, so the digest is another; the length is the same.
        ours = self.world.push_blob(repository, digest.encode().ljust(sizes[digest], b"."))
        self.translator.digest(digest, ours.partition(":")[2])


def read_again(folder: Path, *families: str) -> Iterator[tuple[Exchange, TestResponse]]:
    """Each captured reading of metadata, with our answer where the other server's own files were taken over.

    What a client published is stored as it was sent, with the snapshot and the timestamp that the other server made
    of it.  Nobody needs a token.
    """
    captured = exchanges(*families)
    server = NotaryServer(folder, captured[0].moment)
    newest: dict[str, int] = {}
    for number, exchange in enumerate(captured):
        server.now = exchange.moment
        if exchange.is_publish:
            files = dict(exchange.uploads())
            modified = exchange.moment
            for later in _readings(captured[number + 1 :], exchange.gun):
                if later.role in ("snapshot", "timestamp"):
                    files[RoleName(later.role)] = later.answer
                    modified = parsedate_to_datetime(later.answer_headers["Last-Modified"])
            if TIMESTAMP not in files:
                continue  # nobody read what came of it
            versions = {role: (peek_version(data), data) for role, data in files.items()}
            with server.database.write() as session:
                Store(session).put_all(Gun(exchange.gun), versions, modified, after=newest.get(exchange.gun))
            newest[exchange.gun] = versions[TIMESTAMP][0]
        elif exchange.method == "DELETE" or exchange.role:
            newest = {gun: version for gun, version in newest.items() if exchange.role or gun != exchange.gun}
            yield exchange, server.request(exchange.method, exchange.path)
    server.close()


def _readings(captured: Sequence[Exchange], gun: str) -> Iterator[Exchange]:
    """What was read of a collection before it changed again."""
    for exchange in captured:
        if exchange.gun == gun:
            if exchange.is_publish or exchange.method == "DELETE":
                return
            yield exchange


def _layers(exchange: Exchange) -> Iterator[tuple[str, int]]:
    """Digest and size of each blob that a pushed manifest names."""
    if exchange.service == "registry" and exchange.method == "PUT" and "/manifests/" in exchange.path:
        manifest = json.loads(exchange.body)
        for entry in (manifest["config"], *manifest["layers"]):
            yield entry["digest"].removeprefix("sha256:"), entry["size"]


def _snapshot(timestamp: bytes) -> str:
    """The SHA-256 of the snapshot that a timestamp names."""
    hashes = parse_timestamp(timestamp).signed.snapshot_meta.hashes
    assert hashes is not None
    return hashes["sha256"]
