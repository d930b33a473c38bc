# SPDX-License-Identifier: Apache-2.0
"""Object stores on loopback that speak the real protocols, for tests of the registry's storage.

    with s3() as bucket:
        bucket.home("some/prefix")                     # a home of content
        bucket.settings("some/prefix")                 # the same, as the registry's settings

S3 is moto's server, Swift is OpenStack's own (`swiftserver`).
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from swiftclient import Connection

from registry.storage.base import Storage
from registry.storage.objects import ObjectStorage
from registry.storage.swift import LONGEST, SEGMENT, SwiftStorage
from registry.storage.swiftcontainer import Container as SwiftContainer

KEY_ID, SECRET, REGION, BUCKET = "testing", "a secret of the store", "us-east-1", "content"


#: Swift's user and password, as `swiftserver` makes them, and the key of temporary URLs.
USER, PASSWORD, TEMP_URL_KEY = "test:tester", "a-password-of-the-store", "a key for addresses"


class Store(Protocol):
    """A place in an object store."""

    def home(self, prefix: str) -> Storage:
        """The home of content below `prefix`."""

    def settings(self, prefix: str) -> dict[str, Any]:
        """What the registry needs to be told of it, but for the secrets."""

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server at this address."""

    endpoint: str

    @property
    def secrets(self) -> dict[str, str]:
        """See `Store`."""
        return {"secret_access_key": SECRET}

    def home(self, prefix: str) -> Storage:
        """See `Store`."""
        store = S3Store(
            BUCKET,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        return ObjectStorage(store)

    def settings(self, prefix: str) -> dict[str, Any]:
        """See `Store`."""
        options = (f"endpoint={self.endpoint}", f"region={REGION}", f"access_key_id={KEY_ID}", "allow_http=true")
        return {"content_folder": None, "storage_url": f"s3://{BUCKET}/{prefix}", "storage_options": options}


@dataclass(frozen=True)
class Container:
    """A container of a Swift server at this address."""

    endpoint: str

    @property
    def secrets(self) -> dict[str, str]:
        """See `Store`."""
        return {"password": PASSWORD, "temp_url_key": TEMP_URL_KEY}

    def connect(self) -> Connection:
        """A connection that does not try twice."""
        return Connection(f"{self.endpoint}/auth/v1.0", USER, PASSWORD, retries=0)

    def home(self, prefix: str, *, segment: int = SEGMENT, longest: int = LONGEST) -> SwiftStorage:
        """See `Store`; `segment` and `longest` are the home's."""
        container = SwiftContainer(self.connect, BUCKET, f"{prefix}/", temp_url_key=TEMP_URL_KEY, allow_http=True)
        return SwiftStorage(container, segment=segment, longest=longest)

    def settings(self, prefix: str) -> dict[str, Any]:
        """See `Store`."""
        auth = ("auth_type=v1password", f"auth_url={self.endpoint}/auth/v1.0", f"username={USER}")
        options = (*auth, "allow_http=true")
        return {"content_folder": None, "storage_url": f"swift://{BUCKET}/{prefix}", "storage_options": options}


@contextmanager
def swift(folder: Path) -> Iterator[Container]:
    """A running Swift that keeps all in `folder`, with an empty container."""
    program = Path(__file__).with_name("swiftserver.py")
    with (folder / "swift.log").open("wb") as log, subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", sys.executable, "-W", "ignore", program, folder / "swift"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            assert port, (folder / "swift.log").read_text()
            container = Container(f"http://127.0.0.1:{port}")
            connection = container.connect()
            connection.post_account({"X-Account-Meta-Temp-URL-Key": TEMP_URL_KEY})
            connection.put_container(BUCKET)
            connection.close()
            yield container
        finally:
            process.kill()


@contextmanager
def s3() -> Iterator[Bucket]:
    """A running S3 server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield Bucket(endpoint)
    finally:
        server.stop()
