# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the marker `client`, databases, and hypothesis without chance.

A test that talks to a real client or database says which, by the name of a Debian package:

    @pytest.mark.client("docker.io", "notary")
    def test_…

Where one is missing the test is left out, and the last lines of the run say so and name the packages.  In CI
(`CI=true` in the environment) a missing client fails the test instead: nothing is left out there.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from databases import MARIADB, database_url, mariadb_server, postgres, postgresql_server
from softhsm import UTIL, softhsm
from templates import migrations_are_known
from trust.web.logs import JsonFormatter, TextFormatter

__all__ = [
    "database_url",
    "mariadb_server",
    "migrations_are_known",
    "postgresql_server",
    "softhsm",
]  # fixtures for all tests

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ci")

#: Debian package -> a program that comes with it.
PROGRAMS = {
    "docker.io": Path("/usr/sbin/dockerd"),
    "notary": Path("/usr/bin/notary"),
    "skopeo": Path("/usr/bin/skopeo"),
    "podman": Path("/usr/bin/podman"),
    "buildah": Path("/usr/bin/buildah"),
    "umoci": Path("/usr/bin/umoci"),
    "docker-registry": Path("/usr/bin/docker-registry"),
    "postgresql": postgres(),
    "mariadb-server": MARIADB,
    "softhsm2": UTIL,
    "nginx": Path("/usr/sbin/nginx"),
    "mount": Path("/usr/bin/mount"),
    "wrk": Path("/usr/bin/wrk"),
    "hey": Path("/usr/bin/hey"),
}
_ROOTS = ("docker.io", "mount")
_LEFT_OUT = pytest.StashKey[Counter[str]]()
#: What takes longest and mostly waits for other programs; it begins first, so that a run does not end with waiting.
SLOWEST = ("tests/fuzz/", "tests/flows/", "tests/signer/test_signer_app", "tests/registry/test_registry_server")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that lengthens the load on the garbage collector."""
    parser.addoption(
        "--load-seconds",
        type=float,
        default=3,
        metavar="N",
        help="how long test_garbage_under_load.py keeps each kind of database busy (default: 3)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing left out."""
    config.stash[_LEFT_OUT] = Counter()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many processes as processors: for much of its time a test waits for another program."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files; the order within a file stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOWEST))


@pytest.fixture(autouse=True)
def _no_logs_of_another_test() -> Iterator[None]:
    """End what a service that ran in a test's own process set up: it logs to that test's standard error."""
    yield
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, TextFormatter | JsonFormatter):
            root.removeHandler(handler)


@pytest.hookimpl(tryfirst=True)  # before fixtures start the clients
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a test whose client is missing; in CI, fail it."""
    needed = [package for marker in item.iter_markers("client") for package in marker.args]
    missing = sorted({obstacle for package in needed if (obstacle := _obstacle(package))})
    if not missing:
        return
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        pytest.fail(f"in CI nothing is left out, but this is missing: {', '.join(missing)}", pytrace=False)
    item.config.stash[_LEFT_OUT].update(missing)
    pytest.skip(f"missing: {', '.join(missing)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and what would bring it."""
    left_out = config.stash[_LEFT_OUT]
    if left_out:
        terminalreporter.section("left out", yellow=True)
        for missing, count in sorted(left_out.items()):
            terminalreporter.line(f"tests with real clients and databases, for want of {missing}: {count}")
        terminalreporter.line("`make test` as root installs Debian packages that are missing.")


def _obstacle(package: str) -> str | None:
    if not PROGRAMS[package].exists():
        return f"the Debian package {package}"
    if package in _ROOTS and os.geteuid() != 0:
        return f"root, which {package} needs"
    return None
