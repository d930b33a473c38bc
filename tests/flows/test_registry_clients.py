# SPDX-License-Identifier: Apache-2.0
"""All clients of the registry, with enforcement off and on: a column of docs/reference/registry-clients.md each."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flows.clients import PRESENT
from flows.clienttable import Table
from flows.engine import Engine
from flows.registryclients import CLIENTS, Skopeo
from flows.registrystory import Indexes, open_namespace, tell
from flows.sites import Site

pytestmark = [
    pytest.mark.client("docker.io", "skopeo"),
    pytest.mark.parametrize("site", ["sqlite"], indirect=True),
]
PACKAGES = {"podman": "podman", "buildah": "buildah", "umoci": "umoci"}
COLUMNS = [
    pytest.param(column, marks=pytest.mark.client(PACKAGES[column])) if column in PACKAGES else column
    for column in CLIENTS
    if column != "local" or column in PRESENT
]


@pytest.fixture(scope="module", params=["off", "on"])
def namespace(
    request: pytest.FixtureRequest, site: Site, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Indexes]:
    """A namespace with enforcement off or on, and the indexes in it."""
    mode: str = request.param
    folder = tmp_path_factory.mktemp(mode)
    return mode, open_namespace(site, mode, folder, Skopeo(site, folder / "skopeo", engine))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_client_does_all_that_the_page_says(
    column: str, namespace: tuple[str, Indexes], site: Site, registry_table: Table, engine: Engine
) -> None:
    mode, indexes = namespace
    # podman wants a short path.
    with TemporaryDirectory(prefix="troth-") as folder:
        client = CLIENTS[column](site, Path(folder), engine)
        tell(column, client, mode, indexes, site, registry_table)
