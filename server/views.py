# SPDX-License-Identifier: Apache-2.0
"""The notary server's HTTP API (NOTARY_V1 §2).

A path is cleaned, then matched against `_ROUTES` from the top; what matches nothing is METADATA_NOT_FOUND, to those
who may see the catalog.  For a collection, the order is: is its name served here, may the caller do this, does it
exist.

Where we answer better than the reference: HEAD of metadata answers as GET does, metadata has an ETag (its sha256) and
If-None-Match is honoured, and Last-Modified is in GMT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

from flask import Response, request

from server.counts import LOST_RACES
from server.errors import (
    InvalidGunError,
    InvalidParametersError,
    LostRaceError,
    MetadataNotFoundError,
    TooLargeError,
)
from server.health import Health
from server.models import TRAIL
from server.multipart import UploadLimits, read_upload
from server.publish import Publisher
from server.reads import PULL, TEXT_TYPE, ReadRoute, Reads, role_in
from server.settings import Settings
from server.store import Change, Store
from trust.errors import InvalidError, UnavailableError
from trust.keys import NotaryKey
from trust.keystore import KeyStore
from trust.metadata import parse_root
from trust.names import ROOT, Gun
from trust.tokens import Access
from trust.web import tracing
from trust.web.app import JSON_TYPE, UNMATCHED
from trust.web.audit import Deed
from trust.web.bearer import Guard
from trust.web.caller import caller
from trust.web.database import BrokenOffError, Database
from trust.web.refusals import Refusals

_KNOWN_METHODS = ("GET", "POST", "PUT", "HEAD", "DELETE")
_CATALOG = Access("registry", "catalog", frozenset({"*"}))
_PUSH = frozenset({"push", "pull"})
_ALL = frozenset({"*"})

_HEALTH, _BASE, _CHANGEFEED = _SITE_PATHS = ("/_notary_server/health", "/v2/", "/v2/_trust/changefeed")
_SITE_ROUTES = {path: path for path in _SITE_PATHS}

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_GUN = r"/v2/(?P<gun>(?s:.+))/_trust/"
_ROLE = r"(?P<role>root|snapshot|timestamp|targets(?:/[^/\s]+)*)"
_CHECKSUM = r"(?P<checksum>[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128})"
_KEY_FILE = r"tuf/(?P<role>snapshot|timestamp)\.key"
_MAX_INT32 = 2**31 - 1
_MAX_DELETIONS = 8


@dataclass(frozen=True, slots=True)
class Ports:
    """What the views use."""

    settings: Settings
    database: Database
    keys: KeyStore
    reads: Reads
    publisher: Publisher
    health: Health
    guard: Guard
    refusals: Refusals
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Route:
    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    #: what metrics and logs call it
    template: str
    view: Callable[[Views, Gun, dict[str, str]], Response]
    actions: frozenset[str]
    #: what the audit trail calls it; None: it only reads
    action: str | None = None
    #: what a name that is not served here becomes
    refuse_gun: Callable[[object], Exception] = lambda _detail: MetadataNotFoundError()


class Views:
    """One method a route; the routes are below."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        settings = ports.settings
        self._limits = UploadLimits(settings.max_body_bytes, settings.max_part_bytes, settings.max_parts)

    def answer(self) -> Response:
        """Answer the current request."""
        # The path as it was sent, percent-decoded once; Flask's own has lost a double slash at its beginning.
        path = request.environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        tracing.note(route=_SITE_ROUTES.get(path, UNMATCHED))
        if request.method not in _KNOWN_METHODS:
            return _empty(405)
        clean = _clean(path)
        if clean != path:
            return _moved(clean)
        if request.method == "GET" and path == _HEALTH:
            return self._health()
        for route in _ROUTES:
            if request.method in route.methods and (match := route.pattern.fullmatch(path)):
                tracing.note(route=route.template)
                gun = self._gun(match["gun"], route)
                tracing.note(gun=gun)
                access = Access("repository", gun, route.actions)
                if route.action is None:
                    self._ports.guard.require(access)
                    return route.view(self, gun, match.groupdict())
                deed = Deed(action=route.action, name=gun, role=match.groupdict().get("role", ""))
                with self._ports.refusals.noted(deed):
                    self._ports.guard.require(access)
                    return route.view(self, gun, match.groupdict())
        self._ports.guard.require(_CATALOG)
        if request.method == "GET" and path == _BASE:
            return _text("{}")
        if request.method == "GET" and path == _CHANGEFEED:
            return self._changes(None)
        raise MetadataNotFoundError

    def publish(self, gun: Gun, _path: dict[str, str]) -> Response:
        """POST tuf/: publish an upload."""
        if (request.content_length or 0) > self._limits.body:  # no need to read it
            raise TooLargeError(f"the body is longer than {self._limits.body} bytes")
        uploads = read_upload(request.stream, request.headers.get("Content-Type", ""), self._limits)
        self._ports.publisher.publish(gun, uploads, caller())
        return _empty(200)

    def key(self, gun: Gun, path: dict[str, str]) -> Response:
        """GET {snapshot,timestamp}.key: the key in use, or one for a collection that is to be."""
        role = role_in(path)
        with self._ports.database.read() as session:
            chain = Store(session).current(gun, ROOT)
        if chain is not None and chain.file is not None:
            key_ids = parse_root(chain.file.data).signed.roles[role].keyids
            if held := self._ports.keys.find(gun, role, key_ids):
                return _key(held[0])
        return self.new_key(gun, path)

    def new_key(self, gun: Gun, path: dict[str, str]) -> Response:
        """POST {snapshot,timestamp}.key: a key for a rotation; nothing changes until a root names it."""
        role = role_in(path)
        key = self._ports.keys.create(gun, role, self._ports.settings.key_algorithm)
        deed = Deed(action="key", name=gun, role=role, detail={"key_id": key.keyid, "algorithm": key.keytype})
        # The signer has it by now; unless this is recorded it is given to nobody.
        self._ports.database.transact(lambda session: TRAIL.append(session, caller(), self._ports.clock(), deed))
        return _key(key)

    def delete(self, gun: Gun, _path: dict[str, str]) -> Response:
        """DELETE tuf/: everything but the signer's keys; also of a collection that does not exist (§2.4)."""
        for _ in range(_MAX_DELETIONS):
            try:
                with self._ports.database.write() as session:
                    now = self._ports.clock()
                    files = Store(session).delete(gun, now)
                    TRAIL.append(session, caller(), now, Deed(action="delete", name=gun, detail={"files": files}))
                return _empty(200)
            except (LostRaceError, BrokenOffError):
                LOST_RACES.labels("deletion").inc()
                continue
        raise UnavailableError("others keep changing the collection")

    def changes(self, gun: Gun, _path: dict[str, str]) -> Response:
        """GET changefeed of one collection."""
        return self._changes(gun)

    def _changes(self, gun: Gun | None) -> Response:
        records = _records(request.args.get("records", ""))
        change_id = _change_id(request.args.get("change_id", ""))
        with self._ports.database.read() as session:
            changes = Store(session).changes(gun, change_id, records)
        listed = [_change(change) for change in changes]
        return _text(json.dumps({"count": len(listed), "records": listed}, separators=(",", ":"), ensure_ascii=False))

    def _health(self) -> Response:
        failing = self._ports.health.failing()
        return Response(json.dumps(failing), status=503 if failing else 200, content_type=JSON_TYPE)

    def gun(self, text: str) -> Gun:
        """The name of a collection that may be served here.

        Raises:
            InvalidError: it is none.
        """
        # Some databases do not see a space at the end.
        gun = Gun(text.removesuffix(" "))
        if gun != text:
            raise InvalidError("the trust collection's name (GUN) ends with a space")
        prefixes = self._ports.settings.gun_prefixes
        if prefixes and not gun.startswith(prefixes):
            raise InvalidError(f"Require GUNs with prefix: [{' '.join(prefixes)}]")
        return gun

    def _gun(self, text: str, route: _Route) -> Gun:
        try:
            return self.gun(text)
        except InvalidError as error:
            raise route.refuse_gun(error.message) from error

    def _metadata(self, gun: Gun, path: dict[str, str], read: ReadRoute) -> Response:
        answer = read.find(self._ports.reads, gun, path).answer(request.headers.get("If-None-Match"))
        return Response(answer.body, answer.status, answer.headers)


_TRUST = "/v2/<gun>/_trust/"
_TUF = f"{_TRUST}tuf/"
READS = (
    ReadRoute(
        re.compile(_GUN + rf"tuf/{_ROLE}\.{_CHECKSUM}\.json"), f"{_TUF}<role>.<checksum>.json", Reads.by_checksum
    ),
    ReadRoute(
        re.compile(_GUN + rf"tuf/(?P<version>[0-9]+)\.{_ROLE}\.json"),
        f"{_TUF}<version>.<role>.json",
        Reads.by_version,
    ),
    ReadRoute(re.compile(_GUN + rf"tuf/{_ROLE}\.json"), f"{_TUF}<role>.json", Reads.current),
)
_ROUTES = (
    _Route(("POST",), re.compile(_GUN + r"tuf/"), _TUF, Views.publish, _PUSH, "publish", InvalidGunError),
    *(
        _Route(("GET", "HEAD"), each.pattern, each.template, partial(Views._metadata, read=each), PULL)
        for each in READS
    ),
    _Route(("GET",), re.compile(_GUN + _KEY_FILE), f"{_TUF}<role>.key", Views.key, _PUSH, "key"),
    _Route(("POST",), re.compile(_GUN + _KEY_FILE), f"{_TUF}<role>.key", Views.new_key, _ALL, "key"),
    _Route(("DELETE",), re.compile(_GUN + r"tuf/"), _TUF, Views.delete, _ALL, "delete"),
    _Route(("GET",), re.compile(_GUN + r"changefeed"), f"{_TRUST}changefeed", Views.changes, PULL),
)  # fmt: skip


def _records(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        # In the words of the reference's Go, which clients may show.
        raise InvalidParametersError(
            f'invalid records parameter: strconv.ParseInt: parsing "{text[:80]}": invalid syntax'
        )
    if len(text) > 20 or not -_MAX_INT32 <= int(text) <= _MAX_INT32:
        raise InvalidParametersError(
            f'invalid records parameter: strconv.ParseInt: parsing "{text[:80]}": value out of range'
        )
    return int(text)


def _change_id(text: str) -> int:
    if not text:
        return 0
    if not _INTEGER.fullmatch(text) or len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise InvalidParametersError({})
    return int(text)


def _change(change: Change) -> dict[str, object]:
    created = change.created or datetime(1, 1, 1, tzinfo=UTC)
    return {
        "ID": str(change.id),
        "CreatedAt": created.isoformat().replace("+00:00", "Z"),
        "GUN": change.gun,
        "Version": change.version,
        "SHA256": change.sha256,
        "Category": change.category,
    }


def _key(key: NotaryKey) -> Response:
    # Not canonical: here `public` stands before `private` (§1.4).
    keyval = {"public": key.keyval["public"], "private": None}
    return _text(json.dumps({"keytype": key.keytype, "keyval": keyval}, separators=(",", ":")))


def _text(body: str | bytes) -> Response:
    return Response(body, content_type=TEXT_TYPE)


def _empty(status: int) -> Response:
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def _clean(path: str) -> str:
    """`path` without empty and `.` segments; a `..` is left for the name's own check to refuse."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    clean = "/" + "/".join(parts)
    return clean + "/" if parts and path.endswith("/") else clean


def _moved(path: str) -> Response:
    response = _empty(301)
    query = request.query_string.decode("latin-1")
    response.headers["Location"] = quote(path, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    response.autocorrect_location_header = False
    return response
