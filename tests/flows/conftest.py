# SPDX-License-Identifier: Apache-2.0
"""The running things that the flows share: one stack, one engine, and clients with configurations of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.clients import Docker, Skopeo
from flows.engine import Engine
from flows.images import write_image
from flows.stack import Stack

#: Debian's docker CLI, and another where the machine has one.
DOCKERS = {"debian": "/usr/bin/docker", "local": "/usr/local/bin/docker"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running `troth up`."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.start()
    yield stack
    assert stack.stop() == 0


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running docker engine."""
    # pytest's own temporary folders have names too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="troth-engine-"))
    engine = Engine(folder)
    yield engine
    engine.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=[name for name, path in DOCKERS.items() if name == "debian" or Path(path).exists()])
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
