# SPDX-License-Identifier: Apache-2.0
"""TUF 1.0 repositories that python-tuf writes, right or wrong, and a web server for them.

    made = Made(folder)
    made.target("app/a", b"content")
    made.delegate("linux", ["linux/*"])
    made.target("linux/b", b"content", role="linux")
    made.write()                                       # the next version of everything
    with web(folder) as url: …

Payloads may be changed freely; `sign(role)` writes one file, by whatever keys `signers` has, and nothing else.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from trust.names import TOP_LEVEL

DAY = timedelta(days=1)


class Made:
    """A repository and its keys.

    Args:
        folder: gets `metadata` and `targets`.
        consistent: whether files have their versions in their names.
        hashes: whether snapshot and timestamp name files by hash and length, beside their versions.

    Attributes:
        payloads: what the next `sign` of a role signs.
        signers: who signs a role.
        files: the last file of each role.
    """

    def __init__(self, folder: Path, *, consistent: bool = True, hashes: bool = True) -> None:
        self.folder = folder
        self.consistent = consistent
        self.hashes = hashes
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.files: dict[str, bytes] = {}
        self.payloads: dict[str, Any] = {
            "root": Root(consistent_snapshot=consistent),
            "targets": Targets(),
            "snapshot": Snapshot(meta={}),
            "timestamp": Timestamp(),
        }
        for role, payload in self.payloads.items():
            payload.version = 0
            self.rekey(role)
        self.until(30 * DAY)

    @property
    def root(self) -> bytes:
        """The first root."""
        return (self.folder / "metadata" / "1.root.json").read_bytes()

    def until(self, time: timedelta, *roles: str) -> None:
        """Let the next files of these roles, or of all, end so long from now."""
        for role in roles or self.payloads:
            self.payloads[role].expires = datetime.now(UTC).replace(microsecond=0) + time

    def rekey(self, role: str, *, count: int = 1, threshold: int = 1) -> list[CryptoSigner]:
        """Give a top-level role new keys, and return those before."""
        before, self.signers[role] = self.signers.get(role, []), [_signer(role) for _ in range(count)]
        root = self.payloads["root"]
        root.roles[role] = Role([], threshold)
        for signer in self.signers[role]:
            root.add_key(signer.public_key, role)
        return before

    def delegate(
        self,
        role: str,
        paths: list[str],
        *,
        parent: str = "targets",
        terminating: bool = False,
        count: int = 1,
        threshold: int = 1,
    ) -> None:
        """Delegate `role`; it gets keys and an empty payload where it has none."""
        if role not in self.signers:
            self.payloads[role] = Targets(expires=self.payloads["targets"].expires)
            self.payloads[role].version = 0
            self.signers[role] = [_signer(role) for _ in range(count)]
        delegator = self.payloads[parent]
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        delegator.delegations.roles[role] = DelegatedRole(role, [], threshold, terminating, paths)
        for signer in self.signers[role]:
            delegator.add_key(signer.public_key, role)

    def target(self, name: str, content: bytes, *, role: str = "targets", custom: object = None) -> None:
        """Let `role` sign `name`, and store the content."""
        file = TargetFile.from_data(name, content, ["sha256"])
        if custom is not None:
            file.unrecognized_fields["custom"] = custom
        self.payloads[role].targets[name] = file
        path = self.folder / "targets" / (file.get_prefixed_paths()[0] if self.consistent else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def write(self, *roles: str) -> None:
        """The next version of these roles, or of all, and then always of snapshot and timestamp."""
        chosen = roles or tuple(self.payloads)
        for role in chosen:
            if role not in ("snapshot", "timestamp"):
                self.sign(role)
        self.sign("snapshot")
        self.sign("timestamp")

    def sign(self, role: str, *, version: int | None = None, also: list[CryptoSigner] | None = None) -> bytes:
        """Write the next version of one file."""
        payload = self.payloads[role]
        payload.version = version or payload.version + 1
        meta: Metadata[Any] = Metadata(payload)
        for signer in (*self.signers[role], *(also or ())):
            meta.sign(signer, append=True)
        self.put(role, meta.to_bytes())
        if role not in TOP_LEVEL or role == "targets":
            self.payloads["snapshot"].meta[f"{role}.json"] = self._entry(role)
        if role == "snapshot":
            self.payloads["timestamp"].snapshot_meta = self._entry(role)
        return self.files[role]

    def put(self, role: str, data: bytes, *, version: int | None = None) -> None:
        """Put any bytes where the file of `role` is."""
        numbered = role == "root" or (self.consistent and role != "timestamp")
        prefix = f"{version or self.payloads[role].version}." if numbered else ""
        path = self.folder / "metadata" / f"{prefix}{role}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.files[role] = data

    def _entry(self, role: str) -> MetaFile:
        version = self.payloads[role].version
        return MetaFile.from_data(version, self.files[role], ["sha256"]) if self.hashes else MetaFile(version)


_numbers = itertools.count()


def _signer(role: str) -> CryptoSigner:
    number = next(_numbers)
    # Every other one with a key ID that is no hash, as other programs give them.
    return CryptoSigner.generate_ed25519(f"{role}-{number}") if number % 2 else CryptoSigner.generate_ecdsa()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """The address of a web server for `folder`, while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
