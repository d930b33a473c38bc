# SPDX-License-Identifier: Apache-2.0
"""An object store that dies in the middle of a push and of a pull, and comes back."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from objectstores import Bucket, Container, s3, swift
from pushes import digest_of
from registryprocess import APP, MIB, Process, blocks
from relay import Relay


@pytest.fixture(params=["s3", "swift"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Process, Relay]]:
    """A registry, and the way to its store."""
    with ExitStack() as stack:
        running: AbstractContextManager[Bucket | Container] = s3() if request.param == "s3" else swift(tmp_path)
        store = stack.enter_context(running)
        host, _, port = urlsplit(store.endpoint).netloc.partition(":")
        relay = stack.enter_context(Relay(host, int(port)))
        seen = replace(store, endpoint=f"http://{relay.address}").settings("registry")
        secrets = tmp_path / "secrets"
        secrets.write_text("".join(f"{name} = {value}\n" for name, value in store.secrets.items()))
        secrets.chmod(0o600)
        registry = Process(
            tmp_path,
            CONTENT_FOLDER=None,
            STORAGE_URL=seen["storage_url"],
            STORAGE_OPTIONS=",".join(seen["storage_options"]),
            STORAGE_SECRETS=str(secrets),
            STORAGE_REDIRECT="false",
        )
        registry.start()
        stack.callback(registry.kill)
        yield registry, relay


def test_a_store_that_dies_is_unavailable_and_nothing_wrong_or_half_is_ever_served(
    site: tuple[Process, Relay],
) -> None:
    registry, relay = site
    data = b"".join(blocks(24))
    digest = digest_of(data)
    location = registry.upload()
    assert registry.ask("PATCH", location, b"")[0] == 202

    relay.die_after(sent=10 * MIB)
    status, _, body = registry.ask("PATCH", location, data)
    assert (status, b'"UNAVAILABLE"' in body, relay.is_dead) == (503, True, True)
    assert relay.address.encode() not in body
    relay.come_back()
    assert registry.ask("GET", location)[1]["Range"] == "0-0"
    assert registry.ask("PATCH", location, data)[0] == 202
    assert registry.ask("PUT", f"{location}?digest={digest}", b"")[0] == 201

    relay.die_after(received=10 * MIB)
    connection = registry.connect()
    connection.request("GET", f"/v2/{APP}/blobs/{digest}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(data)))
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    connection.close()
    assert 0 < len(cut.value.partial) < len(data)
    assert data.startswith(cut.value.partial)
    status, _, body = registry.ask("GET", f"/v2/{APP}/blobs/{digest}")
    assert (status, b'"UNAVAILABLE"' in body) == (503, True)

    relay.come_back()
    assert registry.ask("GET", f"/v2/{APP}/blobs/{digest}")[2] == data
