# SPDX-License-Identifier: Apache-2.0
"""Object stores on loopback that speak the real protocols, for tests of the registry's storage.

    with s3() as bucket:
        ObjectStorage(bucket.store("some/prefix"))
        bucket.settings("some/prefix")                 # the same, as the registry's settings

S3 is moto's server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

KEY_ID, SECRET, REGION, BUCKET = "testing", "a secret of the store", "us-east-1", "content"


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server at this address."""

    endpoint: str

    def store(self, prefix: str) -> S3Store:
        """The bucket below `prefix`."""
        return S3Store(
            BUCKET,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def settings(self, prefix: str) -> dict[str, Any]:
        """What the registry needs to be told of it, but for the secrets."""
        options = (f"endpoint={self.endpoint}", f"region={REGION}", f"access_key_id={KEY_ID}", "allow_http=true")
        return {"content_folder": None, "storage_url": f"s3://{BUCKET}/{prefix}", "storage_options": options}


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
