# SPDX-License-Identifier: Apache-2.0
"""The original clients against services on SQLite: a column of docs/reference/clients.md each."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import dockerstory, notarystory
from flows.clients import PRESENT
from flows.clienttable import Table
from flows.engine import Engine
from flows.sites import Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


@pytest.mark.client("docker.io")
@pytest.mark.parametrize("cli", PRESENT)
def test_docker_does_all_that_the_page_says(
    site: Site, cli: str, table: Table, engine: Engine, tmp_path: Path
) -> None:
    dockerstory.tell(cli, site, table, engine, tmp_path)


@pytest.mark.client("notary")
def test_notary_does_all_that_the_page_says(site: Site, table: Table, tmp_path: Path) -> None:
    notarystory.tell(site, table, tmp_path)
