# SPDX-License-Identifier: Apache-2.0
"""The running things that the flows share: one stack, one engine, and clients with configurations of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from databases import KINDS
from flows.clients import DOCKERS, PRESENT, Docker, Skopeo
from flows.clienttable import Table
from flows.engine import Engine
from flows.images import write_image
from flows.sites import Site, site_on, site_with
from flows.stack import Stack

# They are no test modules, but full of asserts.
pytest.register_assert_rewrite("flows.dockerstory", "flows.notarystory", "flows.notarycast")

_TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that makes the page of clients."""
    parser.addoption(
        "--write-table",
        action="store_true",
        help="write docs/reference/clients.md from what the clients' stories find",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of clients, if that was asked for and nothing failed."""
    table = session.config.stash.get(_TABLE, None)
    if table is not None and table.writing and not session.testsfailed:
        table.write()


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """The page of clients, which the clients' stories are compared with."""
    return pytestconfig.stash.setdefault(_TABLE, Table(writing=pytestconfig.getoption("--write-table", False)))


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
