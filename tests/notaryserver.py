# SPDX-License-Identifier: Apache-2.0
"""A whole notary server in the test's own process: SQLite, real online keys in memory, a clock that stands still.

server = NotaryServer(tmp_path, now)
collection = server.collection("localhost:5000/library/app")     # its timestamp and snapshot keys are the server's
collection.root()
collection.targets({"v1": b"manifest"})
server.publish(collection, "root", "targets").status_code
server.get(collection, "timestamp.json").data
server.now += timedelta(days=8)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from collection import Collection
from server.app import DATABASE, create_app, prepare
from server.settings import Settings
from trust.keystore import KeyStore, MemoryKeyStore
from trust.metadata import parse
from trust.names import Gun, RoleName
from trust.web.database import Database

BOUNDARY = "afb6a68c67b07070cdab17a6fcbbe9b62256f67afaa848fc5dd26fbe10b8"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
NOW = datetime.fromisoformat("2026-11-24T08:00:00Z")


class NotaryServer:
    """A notary server and a client of it.

    Args:
        folder: for the database.
        now: where the clock stands at first.
        keys: another home of the online keys.
        settings: what differs from the defaults.
        database_url: another database.
    """

    def __init__(
        self,
        folder: Path,
        now: datetime = NOW,
        *,
        keys: KeyStore | None = None,
        database_url: str | None = None,
        **settings: Any,
    ) -> None:
        self.now = now
        self.keys = keys or MemoryKeyStore(clock=lambda: self.now)
        url = database_url or f"sqlite:///{folder / 'server.db'}"
        self.settings = replace(Settings(database_url=url), **settings)
        prepare(self.settings)
        self.app = create_app(self.settings, keys=self.keys, clock=lambda: self.now)
        self.database = Database(url)
        self.headers: dict[str, str] = {}

    def close(self) -> None:
        """Close all connections to the database."""
        self.database.dispose()
        self.app.extensions[DATABASE].dispose()

    def collection(self, gun: str, *, snapshot: bool = True, algorithm: str = "ecdsa") -> Collection:
        """A new collection; the server holds its timestamp key and, if `snapshot`, its snapshot key."""
        collection = Collection(gun, self.now)
        for role in ("timestamp", "snapshot") if snapshot else ("timestamp",):
            collection.hand_over(role, self.keys.create(Gun(gun), RoleName(role), algorithm))
        return collection

    def published(self, gun: str, contents: Mapping[str, bytes] | None = None) -> Collection:
        """A collection with root and targets that the server has accepted."""
        collection = self.collection(gun)
        collection.root()
        collection.targets(contents or {"v1": b"manifest"})
        response = self.publish(collection, "root", "targets")
        assert response.status_code == 200, response.data
        return collection

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        """Any request; `path` is percent-encoded."""
        headers = {**self.headers, **options.pop("headers", {})}
        # A client each, since requests come from several threads.
        return self.app.test_client(use_cookies=False).open(path, method=method, headers=headers, **options)

    def get(self, gun: Collection | str, file: str, **options: Any) -> TestResponse:
        """GET a file of a collection, such as `timestamp.json`."""
        return self.request("GET", tuf(gun, file), **options)

    def publish(self, collection: Collection, *roles: str) -> TestResponse:
        """Publish the latest files of these roles, as the Go clients do."""
        return self.upload(collection, [(role, collection.files[RoleName(role)]) for role in roles])

    def upload(self, gun: Collection | str, parts: Sequence[tuple[str, bytes]]) -> TestResponse:
        """POST these parts, by file name."""
        return self.post(gun, multipart(parts))

    def post(self, gun: Collection | str, body: bytes, content_type: str = MULTIPART) -> TestResponse:
        """POST a body as it is."""
        # As a stream: of an empty multipart body Werkzeug's client would make one of its own.
        return self.request("POST", tuf(gun, ""), input_stream=BytesIO(body), content_type=content_type)

    def file(self, gun: Collection | str, role: str) -> Any:
        """The parsed current file of a role."""
        response = self.get(gun, f"{role}.json")
        assert response.status_code == 200, response.data
        return parse(RoleName(role), response.data)


def tuf(gun: Collection | str, file: str) -> str:
    """The path of a collection's file."""
    return f"/v2/{gun.gun if isinstance(gun, Collection) else gun}/_trust/tuf/{file}"


def multipart(parts: Sequence[tuple[str, bytes]], *, field: str = "files", boundary: str = BOUNDARY) -> bytes:
    """A body as the Go clients write it (NOTARY_V1 §2.2)."""
    body = b""
    for filename, content in parts:
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def error(response: TestResponse) -> tuple[int, str, object]:
    """Status, code and detail of an error."""
    (entry,) = response.get_json()["errors"]
    return response.status_code, entry["code"], entry.get("detail")


def refusal(response: TestResponse) -> tuple[str, str]:
    """Name and message of a refused update."""
    status, code, detail = error(response)
    assert (status, code) == (400, "INVALID_UPDATE"), response.data
    assert isinstance(detail, dict)
    # The Go clients read no more of an error than this (NOTARY_V1 §1.2).
    assert len(response.data) <= 1024
    return detail["Name"], detail["Error"]["Msg"]
