# SPDX-License-Identifier: Apache-2.0
"""Captured exchanges of real clients with the original server and registry, and how to send them again.

    for exchange in exchanges("docker", "notary"):      # in the order in which they happened
        exchange.method, exchange.path, exchange.body, exchange.status, exchange.answer

Nobody has the private keys of those clients and of their server.  `Translator` makes an upload anew with keys of our
own: the same roles, versions, dates, targets, delegations, thresholds and signatures by the same parties, so that it
says of our server's files what the captured one said of the other's.  The same translation of a captured answer is
what our server should have answered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from collection import envelope, root_signer, signed, signer_of
from server.multipart import UploadLimits, read_upload
from trust import canonical
from trust.keys import NotaryKey, NotarySigner, generate_private
from trust.names import RoleName

CAPTURES = Path(__file__).parent / "fixtures" / "captures"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMITS = UploadLimits(1 << 20, 1 << 20, 100)
_METADATA = re.compile(r"/v2/(?P<gun>.+)/_trust/tuf/(?:[0-9]+\.)?(?P<role>[a-z/]+)(?:\.[0-9a-f]{64})?\.json")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        source: the name of the capture.
        service: who was asked: `notary`, `registry` or `token`.
        moment: when.
        path: percent-encoded, with the query.
        headers: the request's.
        answer_headers: the answer's; none were kept of the token service.
    """

    source: str
    service: str
    moment: datetime
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer_headers: Mapping[str, str]
    answer: bytes

    def __str__(self) -> str:
        return f"{self.source}: {self.service} {self.method} {self.path}"

    @property
    def gun(self) -> str:
        """The trust collection that it is about; empty if it is about none."""
        return self.path.removeprefix("/v2/").partition("/_trust/")[0] if "/_trust/" in self.path else ""

    @property
    def role(self) -> str:
        """The role whose metadata is asked for; empty if none is."""
        found = _METADATA.fullmatch(self.path)
        return found["role"] if found and self.method == "GET" else ""

    @property
    def is_publish(self) -> bool:
        """Whether it publishes metadata."""
        return self.method == "POST" and self.path.endswith("/_trust/tuf/")

    def uploads(self) -> dict[RoleName, bytes]:
        """The files in a publish, in the order in which they were sent."""
        return read_upload(BytesIO(self.body), self.headers["Content-Type"], _LIMITS)


@cache
def exchanges(*families: str) -> tuple[Exchange, ...]:
    """All exchanges of these families of captures, such as `docker`, in the order in which they happened."""
    found = [
        _exchange(path.stem, json.loads(line))
        for family in families
        for path in CAPTURES.glob(f"{family}-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return tuple(sorted(found, key=lambda exchange: exchange.moment))


def _exchange(source: str, captured: dict[str, Any]) -> Exchange:
    asked, answered = captured["req"], captured["resp"]
    return Exchange(
        source,
        captured["proxy"],
        datetime.fromtimestamp(captured["t"], UTC),
        asked["method"],
        asked["path"],
        dict(asked["headers"]),
        _body(asked),
        answered["status"],
        dict(answered.get("headers", ())),
        _body(answered),
    )


def _body(part: Mapping[str, Any]) -> bytes:
    if "body_b64" in part:
        return base64.b64decode(part["body_b64"])
    return str(part.get("body", "")).encode()


class Translator:
    """From the captured parties' keys and digests to ours.

    Args:
        clock: the time at which keys become valid.

    Attributes:
        digests: ours for each SHA-256 in the captures that is another here, in hex.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.digests: dict[str, str] = {}
        self._clock = clock
        self._keys: dict[str, NotaryKey] = {}
        self._signers: dict[str, NotarySigner] = {}
        self._files: dict[str, bytes] = {}

    def text(self, text: str) -> str:
        """Any text, such as a path, with our digests in it."""
        return _DIGEST.sub(lambda found: self.digests.get(found[0], found[0]), text)

    def server_key(self, theirs: bytes, ours: bytes) -> None:
        """Learn that our server's key stands where the captured one did; both as `*.key` answers them."""
        their_key, our_key = _public(theirs), _public(ours)
        known = self._keys.setdefault(their_key.keyid, our_key)
        assert known.keyid == our_key.keyid, "the other server gave the same key again"

    def digest(self, theirs: str, ours: str) -> None:
        """Learn what a digest is here."""
        assert self.digests.setdefault(theirs, ours) == ours

    def upload(self, exchange: Exchange) -> list[tuple[str, bytes]]:
        """The parts of a publish, signed by our parties."""
        uploads = exchange.uploads()
        made: dict[str, bytes] = {}
        # Keys are named before they sign, and a client's snapshot holds the hashes of all others.
        for role in sorted(uploads, key=lambda role: (role == "snapshot", role != "root", role.count("/"))):
            captured = json.loads(uploads[role])
            payload = canonical.encode(self.signed(captured["signed"]))
            signatures = [signed(self._signers[entry["keyid"]], payload) for entry in captured["signatures"]]
            made[role] = envelope(canonical.to_wire(payload), signatures)
            theirs, ours = (hashlib.sha256(data).hexdigest() for data in (uploads[role], made[role]))
            self.digest(theirs, ours)
            self._files[theirs] = made[role]
        return [(role, made[role]) for role in uploads]

    def file(self, data: bytes) -> bytes | None:
        """What was made of a client's file; None: the server made it."""
        return self._files.get(hashlib.sha256(data).hexdigest())

    def signed(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """A `signed` object with our keys and hashes."""
        ours: dict[str, Any] = json.loads(json.dumps(theirs))
        match ours["_type"]:
            case "Root":
                ours["keys"] = self._named(ours["keys"])
                for role in ours["roles"].values():
                    role["keyids"] = [self._keys[keyid].keyid for keyid in role["keyids"]]
            case "Targets":
                delegations = ours["delegations"]
                delegations["keys"] = self._named(delegations["keys"])
                for role in delegations["roles"] or ():
                    role["keyids"] = [self._keys[keyid].keyid for keyid in role["keyids"]]
                for target in ours["targets"].values():
                    target["hashes"] = {name: self._base64(value) for name, value in target["hashes"].items()}
            case "Snapshot":
                ours["meta"] = {role: self._entry(entry) for role, entry in ours["meta"].items()}
        return ours

    def keyid(self, theirs: str) -> str:
        """The ID of our key in a captured one's place."""
        return self._keys[theirs].keyid

    def _named(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        named = {}
        for keyid, content in keys.items():
            if keyid not in self._keys:
                self._signers[keyid] = signer = self._signer_like(NotaryKey.from_dict(keyid, dict(content)))
                self._keys[keyid] = signer.public_key
            named[self._keys[keyid].keyid] = self._keys[keyid].to_dict()
        return named

    def _signer_like(self, theirs: NotaryKey) -> NotarySigner:
        private = rsa.generate_private_key(65537, 2048) if theirs.keytype.startswith("rsa") else None
        if not theirs.keytype.endswith("-x509"):
            return signer_of(private or generate_private(theirs.keytype))
        (name,) = theirs.certificates[0].subject
        return root_signer(str(name.value), self._clock(), key=private)

    def _entry(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        data = self._files[_hex(theirs["hashes"]["sha256"])]
        hashes = {name: _b64(hashlib.new(name, data).hexdigest()) for name in theirs["hashes"]}
        return {**theirs, "hashes": hashes, "length": len(data)}

    def _base64(self, value: str) -> str:
        return _b64(self.digests.get(_hex(value), _hex(value)))


def _public(body: bytes) -> NotaryKey:
    content = json.loads(body)
    return NotaryKey.from_public(content["keytype"], base64.b64decode(content["keyval"]["public"]))


def _hex(value: str) -> str:
    return base64.b64decode(value).hex()


def _b64(value: str) -> str:
    return base64.b64encode(bytes.fromhex(value)).decode()
