# SPDX-License-Identifier: Apache-2.0
"""The running things that the flows share: one stack, one engine, and clients with configurations of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from databases import KINDS
from flows.clientpages import ORIGINALS, REGISTRY_CLIENTS
from flows.clients import DOCKERS, PRESENT, Docker, Skopeo
from flows.clienttable import Page, Table
from flows.engine import Engine
from flows.images import write_image
from flows.sites import Site, site_on, site_with
from flows.stack import Stack

# They are no test modules, but full of asserts.
pytest.register_assert_rewrite("flows.dockerstory", "flows.notarystory", "flows.notarycast")
pytest.register_assert_rewrite("flows.registryclient", "flows.registryclients", "flows.registrystory")

_TABLES = pytest.StashKey[list[Table]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that makes the pages of clients."""
    parser.addoption(
        "--write-table",
        action="store_true",
        help="write the page (docs/reference/clients.md, registry-clients.md) that the stories of this run are about",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the pages of clients of which anything was told, if that was asked for and nothing failed."""
    for table in session.config.stash.get(_TABLES, []):
        if table.writing and not session.testsfailed:
            table.write()


def _table(config: pytest.Config, page: Page) -> Table:
    table = Table(page, writing=config.getoption("--write-table", False))
    config.stash.setdefault(_TABLES, []).append(table)
    return table


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """The page of the original clients, which their stories are compared with."""
    return _table(pytestconfig, ORIGINALS)


@pytest.fixture(scope="session")
def registry_table(pytestconfig: pytest.Config) -> Table:
    """The page of all clients of the registry, which their stories are compared with."""
    return _table(pytestconfig, REGISTRY_CLIENTS)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running `troth up`."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.start()
    yield stack
    assert stack.stop() == 0


@pytest.fixture(scope="session", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running `troth up` on each kind of database in turn; the one on SQLite is the one of all flows."""
    if request.param == "sqlite":
        stack: Stack = request.getfixturevalue("stack")
        with site_on("sqlite", stack, f"sqlite:///{stack.state}/registry.db") as site:
            yield site
        return
    server = request.getfixturevalue(f"{request.param}_server")
    with site_with(request.param, server, tmp_path_factory.mktemp(request.param)) as site:
        yield site


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running docker engine."""
    # pytest's own temporary folders have names too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="troth-engine-"))
    engine = Engine(folder)
    yield engine
    engine.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=PRESENT)
def docker(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Docker:
    """Each docker CLI of this machine in turn, with a fresh home."""
    return Docker(DOCKERS[request.param], tmp_path / "home", engine.host)


@pytest.fixture
def make_image(docker: Docker, tmp_path: Path) -> Callable[[str, str], None]:
    """Loads an image of 100 kB into the engine: `make_image(name, seed)`."""

    def make(name: str, seed: str) -> None:
        docker("load", "--input", write_image(tmp_path / "image.tar", name, 100_000, seed))

    return make


@pytest.fixture
def skopeo(stack: Stack, tmp_path: Path) -> Skopeo:
    """skopeo, logged in."""
    return Skopeo(stack, tmp_path / "skopeo")
