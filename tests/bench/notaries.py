# SPDX-License-Identifier: Apache-2.0
"""The notary servers, the original's and ours: reading, publishing, signing, memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine

from bench import load
from bench.cases import Case, Scale
from bench.grpccaller import Caller
from bench.memory import megabytes
from collection import Collection
from databases import Server
from flows.gonotary import GoAlone, GoPair, OurPair, Place
from notaryserver import MULTIPART, multipart, tuf
from signer.protobuf import field
from signerprocess import payload
from trust.keys import NotaryKey, key_id
from trust.names import TIMESTAMP, RoleName
from trust.remotekeys import SIGN_PATH, SignRequest

_NAMES = count(1)

#: How often a service may end by itself in one turn.
_REVIVALS = 10


class Notary:
    """A running notary server of one maker.

    Args:
        pair: its processes.
    """

    def __init__(self, pair: GoPair | GoAlone | OurPair) -> None:
        self.pair = pair
        self.place = pair.place

    def connect(self) -> load.Connection:
        """A connection of its own."""
        return load.Connection(self.place.url, self.place.ca)

    def collection(self, targets: int) -> Collection:
        """A new collection that is published, with so many targets."""
        contents = {f"v{number}": b"manifest %d" % number for number in range(targets)}
        return self.publish(f"localhost:5000/bench/app{next(_NAMES)}", contents)

    def publish(self, gun: str, contents: Mapping[str, bytes]) -> Collection:
        """A new collection that is published, with targets for these contents."""
        collection = Collection(gun, datetime.now(UTC))
        connection = self.connect()
        for role in ("timestamp", "snapshot"):
            _, data = connection.request("GET", tuf(collection, f"{role}.key"))
            answer = json.loads(data)
            keytype, public = answer["keytype"], base64.b64decode(answer["keyval"]["public"])
            collection.hand_over(role, NotaryKey(key_id(keytype, public), keytype, public))
        collection.root()
        collection.targets(contents)
        self._post(connection, collection, ("root", "targets"))()
        connection.close()
        return collection

    def grow(self, collection: Collection, targets: int) -> None:
        """Publish more targets into it, until it has so many."""
        missing = range(len(collection.fields("targets")["targets"]), targets)
        connection = self.connect()
        collection.targets({f"v{number}": b"manifest %d" % number for number in missing})
        self._post(connection, collection, ("targets",))()
        connection.close()

    def publishes(
        self, connection: load.Connection, collection: Collection, times: int
    ) -> list[Callable[[], object]]:
        """The next versions of a collection's targets, each signed now and to be published when it is called."""
        posts = []
        for number in range(times):
            collection.targets({"v0": b"moved %d" % number})
            posts.append(self._post(connection, collection, ("targets",)))
        return posts

    def read(self, collection: Collection, file: str, seconds: float) -> float:
        """GETs a second of a file."""
        return load.gets(self.place.url + tuf(collection, file), seconds=seconds)

    @staticmethod
    def _post(connection: load.Connection, collection: Collection, roles: tuple[str, ...]) -> Callable[[], object]:
        path = tuf(collection, "")
        body = multipart([(role, collection.files[RoleName(role)]) for role in roles])
        return lambda: connection.request("POST", path, body, {"Content-Type": MULTIPART})


def reads_and_publishes(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Both pairs over PostgreSQL, with TLS, without tokens."""
    ours, peer = (_pair(exits, folder / name, kind, server) for name, kind in (("ours", OurPair), ("go", GoPair)))
    for state in ("idle", "after load"):
        yield Case(
            f"memory of server and signer, {state}", "MB", 1.5,
            lambda: megabytes(ours.pair.pids), lambda: megabytes(peer.pair.pids), less_is_better=True,
        )  # fmt: skip
        if state == "idle":
            yield from _reads(ours, peer, scale, "PostgreSQL", 3)
            yield _by_hash(ours, peer, scale)
    for targets, goal in ((1, 1.5), (200, 1.5)):
        yield Case(
            f"publish, {targets} target{'s' if targets > 1 else ''}, PostgreSQL", "/s", goal,
            _publishing(ours, targets, scale.publishes, 8), _publishing(peer, targets, scale.publishes, 8),
        )  # fmt: skip
    yield Case(
        f"publish, {scale.large:,} targets, PostgreSQL", "/s", 1.5,
        _publishing(ours, scale.large, 5, 1), _publishing(peer, scale.large, 5, 1),
    )  # fmt: skip
    yield from _signing(ours, peer, scale)
    for targets in scale.growth:
        yield from _growth(ours, peer, targets, scale)


def reads_from_memory(exits: ExitStack, folder: Path, server: Server, scale: Scale) -> Iterator[Case]:
    """Ours on SQLite against the original's store in memory, which forgets everything."""
    place = Place(made(folder / "go"))
    peer = Notary(exits.enter_context(GoAlone(folder / "go", place)))
    urls = {name: f"sqlite:///{folder}/{name}.db" for name in ("server", "signer")}
    ours = Notary(exits.enter_context(OurPair(folder / "ours", Place(made(folder / "ours")), urls)))
    yield from _reads(ours, peer, scale, "SQLite against memory", 0.5)


def _pair(exits: ExitStack, folder: Path, kind: type[OurPair] | type[GoPair], server: Server) -> Notary:
    databases = {name: exits.enter_context(server.database()) for name in ("server", "signer")}
    pair: OurPair | GoPair = kind(folder, Place(made(folder)), databases)
    if isinstance(pair, OurPair):
        with pair.configuration("signer").open("a") as settings:
            settings.write(f'grpc_listen = "127.0.0.1:{pair.place.health_port}"\n')
    exits.enter_context(pair)
    return Notary(pair)


def made(folder: Path) -> Path:
    """The folder, which is made."""
    folder.mkdir(parents=True)
    return folder


def _reads(ours: Notary, peer: Notary, scale: Scale, where: str, goal: float) -> Iterator[Case]:
    one, other = ours.collection(1), peer.collection(1)
    for file in ("timestamp.json", "snapshot.json", "root.json", "targets.json", "1.root.json", "targets.{}.json"):
        by = {"1.root.json": "root.json by version", "targets.{}.json": "targets.json by hash"}.get(file, file)
        # The original answers these from a cache that never looks again: see `_by_hash`.
        cached = where == "PostgreSQL" and by.endswith("by hash")
        yield Case(
            f"GET {by}, {where}", "/s", None if cached else goal,
            partial(ours.read, one, _named(one, file), scale.seconds),
            partial(peer.read, other, _named(other, file), scale.seconds),
        )  # fmt: skip


def _by_hash(ours: Notary, peer: Notary, scale: Scale) -> Case:
    """Many files by their hashes, each once: what a process has kept does not help.

    One after the other, for several at once end the original's process ("concurrent map writes" in its cache).
    """
    count = max(1, round(scale.seconds)) * 8_000

    def side(notary: Notary) -> Callable[[], float]:
        gun = notary.collection(1).gun
        engine = create_engine(notary.pair.databases["server"])
        # As if it had been published so often; the files' hashes are made up.
        statement = """
            INSERT INTO tuf_files (created_at, updated_at, gun, role, version, data, sha256)
            SELECT created_at, updated_at, gun, role, version + number, data, lpad(to_hex(number), 64, '0')
            FROM tuf_files, generate_series(1, %(count)s) AS number WHERE gun = %(gun)s AND role = 'targets'
        """
        with engine.begin() as connection:
            connection.exec_driver_sql(statement, {"count": count * scale.rounds, "gun": gun})
            connection.exec_driver_sql("ANALYZE tuf_files")  # as PostgreSQL itself does a minute later
        engine.dispose()
        url = f"{notary.place.url}/v2/{gun}/_trust/tuf/targets.%064x.json"
        firsts = iter(range(1, count * scale.rounds, count))
        return lambda: load.gets_of_many(url, next(firsts), count, seconds=scale.seconds)

    return Case("GET targets.json by hash, each once, one caller, PostgreSQL", "/s", 3, side(ours), side(peer))


def _named(collection: Collection, file: str) -> str:
    return file.format(sha256(collection.history["targets", 1]).hexdigest())


def _publishing(notary: Notary, targets: int, times: int, clients: int) -> Callable[[], float]:
    """So many publishes by so many clients, each into a collection of its own.

    Several clients sometimes end the original's process ("concurrent map writes" in its cache of files); then it is
    started again, and its turn begins anew.
    """

    def made() -> list[Collection]:
        return [notary.collection(targets) for _ in range(clients)]

    collections = made()

    def work() -> float:
        nonlocal collections
        for _ in range(_REVIVALS):
            try:
                return _publishing_into(notary, collections, times)()
            except ConnectionError:
                if not notary.pair.revive():
                    raise
                collections = made()
        raise AssertionError("a service ends again and again")

    return work


def _publishing_into(notary: Notary, collections: Sequence[Collection], times: int) -> Callable[[], float]:
    def work() -> float:
        with ExitStack() as exits:
            connections = [exits.enter_context(closing(notary.connect())) for _ in collections]
            # Signed before the clock runs: list by list.
            return load.works(
                [
                    notary.publishes(connection, collection, -(-times // len(collections)))
                    for connection, collection in zip(connections, collections, strict=True)
                ]
            )

    return work


def _signing(ours: Notary, peer: Notary, scale: Scale) -> Iterator[Case]:
    one = _grpc(ours, ours.place.health_port, scale.seconds)
    other = _grpc(peer, peer.place.signer_port, scale.seconds)
    own = _own_protocol(ours, scale.seconds)
    for callers in (1, 8):
        name = f"sign a timestamp, {callers} caller{'s' if callers > 1 else ''}"
        yield Case(f"{name}, both by gRPC", "/s", 1, partial(one, callers), partial(other, callers))
        yield Case(f"{name}, ours by its own protocol", "/s", 1, partial(own, callers), partial(other, callers))


def _grpc(notary: Notary, port: int, seconds: float) -> Callable[[int], float]:
    """Signatures a second, by how many call."""
    (key,) = notary.collection(1).keys("timestamp")
    message = field(1, field(1, key.keyid)) + field(2, payload(TIMESTAMP))
    place = notary.place

    def work(callers: int) -> float:
        each = [Caller(port, place.ca, place.files["client"], "/proto.Signer/Sign", message) for _ in range(callers)]
        try:
            return load.calls(each, seconds=seconds)
        finally:
            for caller in each:
                caller.close()

    return work


def _own_protocol(notary: Notary, seconds: float) -> Callable[[int], float]:
    collection = notary.collection(1)
    (key,) = collection.keys("timestamp")
    body = SignRequest(collection.gun, TIMESTAMP, key.keyid, payload(TIMESTAMP)).encode()
    place = notary.place
    headers = {"Content-Type": "application/json"}

    def work(callers: int) -> float:
        url = f"https://localhost:{place.signer_port}"
        each = [load.Connection(url, place.ca, place.files["client"]) for _ in range(callers)]
        try:
            return load.calls(
                [partial(one.request, "POST", SIGN_PATH, body, headers) for one in each], seconds=seconds
            )
        finally:
            for one in each:
                one.close()

    return work


def _growth(ours: Notary, peer: Notary, targets: int, scale: Scale) -> Iterator[Case]:
    one, other = ours.collection(targets), peer.collection(targets)
    called = f"a collection of {targets:,} target{'s' if targets > 1 else ''}"
    yield Case(
        f"publish into {called}", "/s", None,
        _publishing_into(ours, [one], 3), _publishing_into(peer, [other], 3),
    )  # fmt: skip
    for file in ("timestamp.json", "targets.json"):
        yield Case(
            f"GET {file} of {called}", "/s", None,
            partial(ours.read, one, file, scale.seconds), partial(peer.read, other, file, scale.seconds),
        )  # fmt: skip
