# SPDX-License-Identifier: Apache-2.0
"""The registries, Debian's docker-registry (distribution 2.8) and ours: manifests, blobs, whole images, memory."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from bench import load
from bench.cases import Case, Scale
from bench.memory import megabytes
from bench.notaries import Notary, made
from collection import Collection
from databases import Server
from flows.clients import DOCKERS, Client, Docker
from flows.engine import Engine
from flows.gonotary import OurPair, Place, listens
from flows.images import write_image, write_layout
from flows.stack import wait_until
from pushes import image_manifest
from registry.manifests import OCI_IMAGE
from warm import LEAN

REPOSITORY = "bench/app"
_CHUNK = 10 << 20
_numbers = count(1)


class Registry:
    """A running registry of one maker.

    Args:
        place: its address and certificate.
        tls: whether it speaks TLS.
        process: it.
    """

    def __init__(self, place: Place, tls: bool, process: subprocess.Popen[bytes]) -> None:
        self.host = f"localhost:{place.port}"
        self.url = f"http{'s' if tls else ''}://{self.host}"
        self.pid = process.pid
        self._ca = place.ca

    def connect(self) -> load.Connection:
        """A connection of its own."""
        return load.Connection(self.url, self._ca)

    def push(self, tag: str) -> bytes:
        """Push a small image, and return its manifest."""
        config, layer = b"{}", b"a layer"
        connection = self.connect()
        for blob in (config, layer):
            put(connection, blob, _digest(blob))
        manifest = image_manifest(config, [layer])
        path = f"/v2/{REPOSITORY}/manifests/{tag}"
        connection.request("PUT", path, manifest, {"Content-Type": OCI_IMAGE})
        connection.close()
        return manifest

    def manifest(self, reference: str, seconds: float, method: str = "GET") -> float:
        """Requests a second of a manifest."""
        url = f"{self.url}/v2/{REPOSITORY}/manifests/{reference}"
        return load.gets(url, seconds=seconds, headers=[f"Accept: {OCI_IMAGE}"], method=method)


def put(connection: load.Connection, blob: bytes | memoryview, digest: str, chunk: int = 0) -> None:
    """Push a blob, in one PUT or in chunks."""
    answer, _ = connection.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/", headers={"Content-Length": "0"})
    location = answer.headers["Location"]
    rest = memoryview(blob)
    for start in range(0, len(blob), chunk) if chunk else ():
        part, rest = rest[:chunk], rest[chunk:]
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + len(part) - 1}"}
        answer, _ = connection.request("PATCH", _path(location), part, headers)
        location = answer.headers["Location"]
    path = _path(location)
    path += f"{'&' if '?' in path else '?'}digest={digest}"
    connection.request("PUT", path, rest, {"Content-Type": "application/octet-stream"})


def manifests_and_blobs(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Both with a folder for content; ours with SQLite, as `troth up` has it."""
    ours, peer = exits.enter_context(our_registry(folder / "ours")), exits.enter_context(go_registry(folder / "go"))
    manifests = {"1": ours.push("1")}
    peer.push("1")
    digest = _digest(manifests["1"])
    yield Case(
        "memory of the registry, idle", "MB", 1.5,
        lambda: megabytes([ours.pid]), lambda: megabytes([peer.pid]), less_is_better=True,
    )  # fmt: skip
    for method in ("GET", "HEAD"):
        for by, reference in (("tag", "1"), ("digest", digest)):
            yield Case(
                f"{method} a manifest by {by}, enforcement off", "/s", 2,
                partial(ours.manifest, reference, scale.seconds, method),
                partial(peer.manifest, reference, scale.seconds, method),
            )  # fmt: skip
    yield from _blobs(ours, peer, scale, "TLS")
    yield Case(
        "memory of the registry, after load", "MB", 1.5,
        lambda: megabytes([ours.pid]), lambda: megabytes([peer.pid]), less_is_better=True,
    )  # fmt: skip
    plain = exits.enter_context(our_registry(folder / "ours-plain", tls=False))
    plain_peer = exits.enter_context(go_registry(folder / "go-plain", tls=False))
    yield from _blobs(plain, plain_peer, scale, "plain HTTP")


def enforcement(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Ours with enforcement on against ours with it off."""
    urls = {name: f"sqlite:///{folder}/{name}.db" for name in ("server", "signer")}
    notary = Notary(exits.enter_context(OurPair(folder / "notary", Place(made(folder / "notary")), urls)))
    trust = {"trust_mode": "enforced", "notary_url": notary.place.url, "notary_ca": str(notary.place.ca)}
    on = exits.enter_context(our_registry(folder / "on", trust))
    aged = exits.enter_context(our_registry(folder / "aged", trust | {"trust_age_seconds": 1}))
    off = exits.enter_context(our_registry(folder / "off"))
    manifest = on.push("1")
    for registry in (aged, off):
        registry.push("1")
    collection = notary.publish(f"{on.host}/{REPOSITORY}", {"1": manifest})
    notary.publish(f"{aged.host}/{REPOSITORY}", {"1": manifest})
    for method in ("GET", "HEAD"):
        for by, reference in (("tag", "1"), ("digest", _digest(manifest))):
            yield Case(
                f"{method} a manifest by {by}, enforcement on against off", "/s", 0.9,
                partial(on.manifest, reference, scale.seconds, method),
                partial(off.manifest, reference, scale.seconds, method),
            )  # fmt: skip
    yield Case(
        "GET a manifest by tag, enforcement on with answers that count for a second, against off", "/s", 0.9,
        partial(aged.manifest, "1", scale.seconds), partial(off.manifest, "1", scale.seconds),
    )  # fmt: skip
    for targets in scale.growth:
        called = f"enforced, {targets:,} target{'s' if targets > 1 else ''}"
        notary.grow(collection, targets)
        yield Case(
            f"the first GET of a manifest after a publish, {called}", "s", None,
            partial(_first_pull, on, notary, collection), less_is_better=True,
        )  # fmt: skip
        yield Case(f"GET a manifest by tag, {called}", "/s", None, partial(_again, on, scale))


def _again(registry: Registry, scale: Scale) -> float:
    """Pulls when every worker has verified what there is."""
    for _ in range(2):
        registry.manifest("1", 0)
    return registry.manifest("1", scale.seconds)


def _first_pull(registry: Registry, notary: Notary, collection: Collection) -> float:
    """Publish, and see how long the pull takes that has all of it to verify."""
    with closing(notary.connect()) as connection:
        for post in notary.publishes(connection, collection, 1):
            post()
    with closing(registry.connect()) as connection:
        path = f"/v2/{REPOSITORY}/manifests/1"
        return _time(lambda: connection.request("GET", path, headers={"Accept": OCI_IMAGE}))


def images(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Whole images by docker and skopeo."""
    ours, peer = exits.enter_context(our_registry(folder / "ours")), exits.enter_context(go_registry(folder / "go"))
    # Short, for a socket's path has at most 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="troth-engine-"))
    exits.callback(shutil.rmtree, place, ignore_errors=True)
    engine = Engine(place)
    exits.callback(engine.stop)
    docker = Docker(DOCKERS["debian"], folder / "home", engine.host)
    size = scale.image
    called = f"of {size // 1_000_000} MB"

    def push(registry: Registry) -> float:
        name = f"{registry.host}/{REPOSITORY}:{next(_numbers)}"
        archive = write_image(folder / "image.tar", name, size, name)
        docker("load", "--input", archive)
        took = _time(partial(docker, "push", name))
        docker("rmi", name)
        last[registry.host] = name
        return took

    def pull(registry: Registry) -> float:
        took = _time(partial(docker, "pull", last[registry.host]))
        docker("rmi", last[registry.host])
        return took

    last: dict[str, str] = {}
    for what, run in (("push", push), ("pull", pull)):
        yield Case(f"docker {what} {called}", "s", 1, partial(run, ours), partial(run, peer), less_is_better=True)
    skopeo = Client("/usr/bin/skopeo", folder / "skopeo")

    def copy(registry: Registry) -> float:
        layout = folder / f"layout{next(_numbers)}"
        write_layout(layout, size, layout.name)
        target = f"docker://{registry.host}/{REPOSITORY}:{layout.name}"
        took = _time(partial(skopeo, "copy", "--dest-tls-verify=false", f"oci:{layout}:1", target))
        shutil.rmtree(layout)
        return took

    yield Case(f"skopeo copy {called} to it", "s", 1, partial(copy, ours), partial(copy, peer), less_is_better=True)


def _blobs(ours: Registry, peer: Registry, scale: Scale, over: str) -> Iterator[Case]:
    size = scale.blob
    called = f"a blob of {size >> 20} MiB, {over}"
    content = bytearray(random.Random(1).randbytes(size))

    def upload(registry: Registry, chunk: int) -> float:
        content[:8] = next(_numbers).to_bytes(8, "big")  # never the same twice
        digest = _digest(content)
        connection = registry.connect()
        took = _time(lambda: put(connection, memoryview(content), digest, chunk))
        connection.close()
        last[registry.url] = digest
        return size / took / 1e6

    def fetch(registry: Registry) -> float:
        connection, block = registry.connect(), memoryview(bytearray(1 << 20))
        path = f"/v2/{REPOSITORY}/blobs/{last[registry.url]}"
        took = _time(lambda: [connection.fetch(path, block) for _ in range(5)])
        connection.close()
        return 5 * size / took / 1e6

    last: dict[str, str] = {}
    for how, chunk in (("in one PUT", 0), ("in chunks", _CHUNK)):
        yield Case(f"push {called}, {how}", "MB/s", 1.5, partial(upload, ours, chunk), partial(upload, peer, chunk))
    yield Case(f"GET {called}", "MB/s", 1, partial(fetch, ours), partial(fetch, peer))


@contextmanager
def our_registry(
    folder: Path, settings: Mapping[str, object] | None = None, *, tls: bool = True
) -> Iterator[Registry]:
    """Ours, with SQLite and a folder; without enforcement if `settings` say nothing of it."""
    place = Place(made(folder))
    values: dict[str, object] = {
        "listen": f"127.0.0.1:{place.port}",
        "hosts": [f"localhost:{place.port}"],
        "database_url": f"sqlite:///{folder}/registry.db",
        "content_folder": str(folder / "content"),
        "trust_mode": "disabled",
        **(settings or {}),
    }
    if tls:
        values["tls_certificate"], values["tls_key"] = map(str, place.files["notary-server"])
    path = folder / "registry.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    program = Path(sys.executable).parent / "troth-registry"
    with _running([str(program), "--config", str(path), "serve"], folder, place) as process:
        yield Registry(place, tls, process)


@contextmanager
def go_registry(folder: Path, *, tls: bool = True) -> Iterator[Registry]:
    """Debian's."""
    place = Place(made(folder))
    certificate, key = map(str, place.files["notary-server"])
    http = {"addr": f"127.0.0.1:{place.port}"} | ({"tls": {"certificate": certificate, "key": key}} if tls else {})
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "content")}, "delete": {"enabled": True}},
        "http": http,
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    with _running(["/usr/bin/docker-registry", "serve", str(path)], folder, place) as process:
        yield Registry(place, tls, process)


@contextmanager
def _running(command: list[str], folder: Path, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TROTH_", "REGISTRY_", "OTEL_"))
    }
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=kept | LEAN, stdout=out, stderr=out) as process:
        try:
            wait_until(lambda: listens(place.port) or process.poll() is not None, f"{command[0]} listens", 30)
            assert process.poll() is None, log.read_text()[-3000:]
            yield process
        finally:
            process.terminate()


def _time(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _digest(data: bytes | bytearray) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _path(location: str) -> str:
    return location[location.index("/v2/") :]
