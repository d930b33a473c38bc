# SPDX-License-Identifier: Apache-2.0
"""What a registry says a tag stands for is checked before it is signed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trust.errors import HashError, NotFoundError, SizeError, UnauthorizedError, UnavailableError, UntrustedError
from trust.names import RepositoryName
from trust.oci import MEDIA_TYPES, Registry

INDEX, IMAGE = MEDIA_TYPES[:2]
NAME = RepositoryName("library/app")
BODY = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Answering:
    """A registry that gives one answer to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, BODY, {"Content-Type": INDEX, "Docker-Content-Digest": DIGEST}
        self.asked: list[str] = []
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                answering.asked.append(self.path)
                self.send_response(answering.status)
                for name, value in answering.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answering.body)))
                self.end_headers()
                self.wfile.write(answering.body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.registry = Registry(f"http://127.0.0.1:{self.http.server_port}")


@pytest.fixture
def site() -> Iterator[Answering]:
    site = Answering()
    thread = threading.Thread(target=site.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.http.shutdown()
    thread.join()
    site.http.server_close()


def test_the_digest_is_that_of_the_bytes(site: Answering) -> None:
    manifest = site.registry.resolve(NAME, "v1")
    assert (manifest.digest, manifest.size, manifest.is_index) == (DIGEST, len(BODY), True)
    del site.headers["Docker-Content-Digest"]
    assert site.registry.resolve(NAME, "v1").digest == DIGEST
    assert site.asked == ["/v2/library/app/manifests/v1"] * 2


def test_other_bytes_than_those_named_are_not_signed(site: Answering) -> None:
    with pytest.raises(HashError):
        site.registry.resolve(NAME, f"sha256:{'0' * 64}")
    site.body = BODY.replace(b"2", b"3")
    with pytest.raises(HashError):
        site.registry.resolve(NAME, "v1")


def test_what_could_be_read_as_another_thing_is_not_signed(site: Answering) -> None:
    site.headers["Content-Type"] = IMAGE
    with pytest.raises(UntrustedError, match="says that it is"):
        site.registry.resolve(NAME, "v1")
    site.headers["Content-Type"] = "text/html"
    with pytest.raises(UntrustedError, match="not an image or index"):
        site.registry.resolve(NAME, "v1")


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFoundError), (403, UnauthorizedError), (401, UnauthorizedError), (500, UnavailableError),
     (302, UnavailableError)],
)  # fmt: skip
def test_each_refusal_has_its_error(site: Answering, status: int, error: type[Exception]) -> None:
    site.status = status
    site.headers["Location"] = "http://127.0.0.1:1/"
    with pytest.raises(error):
        site.registry.resolve(NAME, "v1")


def test_a_manifest_without_end_is_not_read(site: Answering) -> None:
    site.body = b" " * (4 * 2**20 + 1)
    with pytest.raises(SizeError):
        site.registry.resolve(NAME, "v1")
