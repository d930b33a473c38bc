# SPDX-License-Identifier: Apache-2.0
"""What is counted, under which labels, and that several worker processes count as one."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask, Response
from prometheus_client.parser import text_string_to_metric_families

from notaryserver import NotaryServer
from pushes import Site
from trust.errors import NotFoundError, SettingsError
from trust.settings import observing_problems
from trust.web.app import create_base_app
from trust.web.metrics import FAMILIES, REGISTRY, counter, everything
from trust.web.run import configure_logging, run
from trust.web.scrape import Listener

_SAMPLE = tuple[str, frozenset[tuple[str, str]]]


def _samples() -> dict[_SAMPLE, float]:
    found = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def _counted(before: dict[_SAMPLE, float], name: str) -> list[tuple[dict[str, str], float]]:
    """What has been added to a metric since."""
    return [
        (dict(labels), value - before.get((sample, labels), 0))
        for (sample, labels), value in _samples().items()
        if sample == name and value != before.get((sample, labels), 0)
    ]


def _app(name: str = "test") -> Flask:
    app = create_base_app(name)

    @app.get("/things/<thing>")
    def _thing(thing: str) -> Response:
        if thing == "none":
            raise NotFoundError("there is no such thing")
        if thing == "bomb":
            raise RuntimeError
        return Response(str(os.getpid()))

    @app.get("/slow")
    def _slow() -> Response:
        time.sleep(60)
        return Response()

    return app


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/things/a%0ab", ("GET", "/things/<thing>", "200")),
        ("GET", "/things/none", ("GET", "/things/<thing>", "404")),
        ("GET", "/things/bomb", ("GET", "/things/<thing>", "500")),
        ("POST", "/things/a", ("POST", "unmatched", "405")),
        ("GET", "/elsewhere/a", ("GET", "unmatched", "404")),
        ("BREW", "/things/a", ("other", "unmatched", "405")),
    ],
)
def test_a_request_counts_under_its_route_and_never_under_its_path(
    method: str, path: str, labels: tuple[str, str, str]
) -> None:
    before = _samples()
    _app().test_client().open(path, method=method)
    expected = {"service": "test", **dict(zip(("method", "route", "status"), labels, strict=True))}
    assert _counted(before, "troth_requests_total") == [(expected, 1)]
    assert _counted(before, "troth_request_duration_seconds_count") == [(expected, 1)]


def test_the_notary_servers_routes_are_told_apart_and_are_few(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    before = _samples()
    for number in range(3):
        collection = server.published(f"localhost:5000/app{number}")
        tuf = f"/v2/{collection.gun}/_trust/tuf/"
        for path in (
            "timestamp.json", "1.root.json", f"root.{'0' * 64}.json", "snapshot.key", "../changefeed?records=1",
            "targets/releases.json", "other", "x.key",
        ):  # fmt: skip
            server.request("GET", tuf.removesuffix("tuf/") + path[3:] if path.startswith("../") else tuf + path)
        server.request("POST", tuf + "timestamp.key")
        server.request("DELETE", tuf)
        for path in ("/v2/", "/v2/_trust/changefeed?records=1", "/_notary_server/health", f"/x/{number}", "//v2/"):
            server.request("GET", path)
    server.close()
    found = _counted(before, "troth_requests_total")
    routes = {labels["route"] for labels, _ in found}
    assert routes == {
        "/v2/<gun>/_trust/tuf/",
        "/v2/<gun>/_trust/tuf/<role>.json",
        "/v2/<gun>/_trust/tuf/<version>.<role>.json",
        "/v2/<gun>/_trust/tuf/<role>.<checksum>.json",
        "/v2/<gun>/_trust/tuf/<role>.key",
        "/v2/<gun>/_trust/changefeed",
        "/v2/",
        "/v2/_trust/changefeed",
        "/_notary_server/health",
        "unmatched",
    }
    for method in ("POST", "DELETE"):
        whole = {"service": "troth-server", "method": method, "route": "/v2/<gun>/_trust/tuf/", "status": "200"}
        assert (whole, 3) in found


def test_the_registrys_routes_have_no_names_of_repositories_in_them(tmp_path: Path) -> None:
    site = Site(tmp_path, trust_mode="disabled")
    before = _samples()
    site.client.get("/v2/library/secret/manifests/latest")
    site.client.get("/v2/library/secret/blobs/sha256:" + "0" * 64)
    site.client.get("/v2/")
    routes = {labels["route"] for labels, _ in _counted(before, "troth_requests_total")}
    assert routes == {
        "/v2/<repository:name>/manifests/<reference>",
        "/v2/<repository:name>/blobs/<digest>",
        "/v2/",
    }


def test_published_versions_are_counted_by_kind_of_role(tmp_path: Path) -> None:
    server = NotaryServer(tmp_path)
    before = _samples()
    collection = server.published("localhost:5000/app")
    collection.delegation("targets/alice")
    collection.targets()
    collection.targets({"v2": b"other"}, role="targets/alice")
    assert server.publish(collection, "targets", "targets/alice").status_code == 200
    assert server.publish(collection, "targets").status_code == 400  # again: nothing is stored
    server.close()
    counted = {labels["role"]: count for labels, count in _counted(before, "troth_published_versions_total")}
    assert counted == {"root": 1, "targets": 2, "delegation": 1, "snapshot": 2, "timestamp": 2}


def test_every_metric_is_named_as_prometheus_wants_it_and_explained() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"troth_[a-z]+(?:_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.meaning


def test_the_address_of_metrics_is_checked_and_is_no_other_address() -> None:
    assert observing_problems("json", "127.0.0.1:9443", "127.0.0.1:4443", None) == []
    assert observing_problems("text", "[::1]:9443") == []
    assert len(observing_problems("xml", "localhost")) == 2
    assert observing_problems("text", "a:1", "a:1")
    assert observing_problems("text", "a:1", "b:1", "a:1")


def test_an_address_that_is_taken_is_told_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="metrics_listen: "):
            Listener(f"127.0.0.1:{port}")


def test_nothing_but_metrics_is_at_their_address() -> None:
    (port,) = _ports(1)
    listener = Listener(f"127.0.0.1:{port}")
    listener.serve(everything("test"))
    assert _get(port, "/metrics")[0] == 200
    assert b'troth_build_info{python="' in _get(port, "/metrics")[1]
    for path in ("/", "/metrics/", "/v2/", "/favicon.ico"):
        assert _get(port, path)[0] == 404
    assert _get(port, "/metrics", "POST")[0] == 501


def _ports(number: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


_ZERO = counter("troth_test", "of this test", service="test", colour=("red", "green"))


def _serve(port: int, metrics_port: int, folder: str) -> None:
    os.environ["TMPDIR"] = f"{folder}/tmp"
    with Path(folder, "log").open("w") as log:
        os.dup2(log.fileno(), 2)
    configure_logging(form="json", service="test")
    listen, metrics_listen = f"127.0.0.1:{port}", f"127.0.0.1:{metrics_port}"
    _app().test_client().get("/things/a")  # what the master counts before it forks is nobody's request
    run("test", _app, listen=listen, tls=None, workers=2, threads=2, metrics_listen=metrics_listen)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A service with two workers: its port and that of its metrics."""
    port, metrics_port = _ports(2)
    (tmp_path / "tmp").mkdir()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port, metrics_port, str(tmp_path)))
    process.start()
    try:
        _wait(lambda: _get(port, "/things/none")[0] == 404)
        yield port, metrics_port
    finally:
        process.terminate()
        process.join(30)
    assert process.exitcode is not None
    # The workers' folder goes with the service.
    assert not list((tmp_path / "tmp").iterdir())


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _scraped(port: int, name: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels."""
    status, text = _get(port, "/metrics")
    assert status == 200
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def test_workers_count_as_one_and_what_a_dead_one_counted_stays(service: tuple[int, int], tmp_path: Path) -> None:
    port, metrics_port = service
    asked = 0
    workers: set[int] = set()

    def ask() -> None:
        nonlocal asked
        workers.add(int(_get(port, "/things/a")[1]))
        asked += 1

    def total() -> float:
        return _scraped(metrics_port, "troth_requests_total", status="200", route="/things/<thing>")

    while len(workers) < 2:
        ask()
        assert asked < 2000
    # Whichever worker answers the scrape.
    assert {total() for _ in range(10)} == {asked}
    assert _scraped(metrics_port, "troth_request_duration_seconds_count", status="200") == asked
    assert _scraped(metrics_port, "troth_test_total", colour="red") == 0

    (folder,) = (tmp_path / "tmp").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {path.name for path in folder.iterdir()}

    # A worker dies at work: its request is over, its counts are not.
    slow = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    slow.request("GET", "/slow")
    _wait(lambda: _scraped(metrics_port, "troth_requests_in_flight") == 1)
    dead = set(workers)
    for worker in dead:
        os.kill(worker, signal.SIGKILL)
    slow.close()
    workers.clear()
    _wait(lambda: _get(port, "/things/none")[0] == 404)
    while len(workers) < 2:
        ask()
        assert asked < 4000
    assert not workers & dead
    assert {total() for _ in range(10)} == {asked}
    _wait(lambda: _scraped(metrics_port, "troth_requests_in_flight") == 0)
    # The successors have taken the seats, so that there are no more files than before.
    assert {path.name for path in folder.iterdir()} == files
    # What gunicorn has to say is in the same form.
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line["logger"] == "gunicorn.error" and "SIGKILL" in line["message"] for line in lines)


def test_a_worker_that_leaves_takes_nothing_with_it(service: tuple[int, int], tmp_path: Path) -> None:
    port, metrics_port = service
    worker = int(_get(port, "/things/a")[1])
    os.kill(worker, signal.SIGTERM)  # it runs through all that is behind `run`, as the master does at its end
    _wait(lambda: not Path(f"/proc/{worker}").exists())
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert _scraped(metrics_port, "troth_requests_total", status="200") == 1


def test_a_process_alone_is_scraped_from_its_memory() -> None:
    shown = everything("test")
    before = shown.get_sample_value("troth_test_total", {"colour": "red"}) or 0
    _ZERO.labels("red").inc()
    assert shown.get_sample_value("troth_test_total", {"colour": "red"}) == before + 1
