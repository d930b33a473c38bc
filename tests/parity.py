# SPDX-License-Identifier: Apache-2.0
"""What our answers must have in common with the captured ones of the originals, and what may differ.

    for difference in differences(exchange, answer, translator):    # a key of DIFFERENCES, or a sentence: a fault

`DIFFERENCES` is the one list of wanted differences; the page docs/explanation/differences.md shows the same, and a
difference that is no longer one fails a test, too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from werkzeug.http import http_date
from werkzeug.test import TestResponse

from captures import Exchange, Translator

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "differences.md"
HEADING = "## Answer by answer"

#: Between the capture's clock, the other server's and its database's.
_TOLERANCE = timedelta(seconds=2)
_PUBLIC = re.compile(rb'(?<="public":")[^"]+')
_UPLOAD = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?P<id>[0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Difference:
    """One wanted difference: what the original answers, what we answer, and why."""

    original: str
    troth: str
    why: str


#: By what differs.
DIFFERENCES = {
    "`X-Request-Id`": Difference("none", "on every answer", "finds the log line of a request"),
    "`Last-Modified` of metadata": Difference("ends in `UTC` or `+0000`", "ends in `GMT`", "HTTP says so"),
    "`ETag` of metadata": Difference("none", "the file's SHA-256; If-None-Match works", "saves downloads"),
    "Metadata of more than 2 KiB": Difference("in chunks", "with `Content-Length`", "the length is known"),
    "HEAD of metadata": Difference("404", "as GET", "what HTTP says"),
    "`0.root.json`": Difference("the newest root, on PostgreSQL", "404", "no version is 0"),
    "`records=-1` of an empty changefeed": Difference(
        "the memory store drops the connection", "200, no records", "a question with an answer"
    ),
    "`/metrics` of the server": Difference(
        "Prometheus", "404", "they tell who is refused what, and have an address of their own"
    ),
    "Tokens for nobody": Difference(
        "allowed to pull, if the token service says so",
        "allow nothing: 401 `insufficient_scope`",
        "nothing is public",
    ),
    "Members of a token answer": Difference(
        "the token service's", "`scope`, too, and `refresh_token` if asked for", "says what was granted"
    ),
    "`detail` of the registry's first 401": Difference("`null`", "not there", "means the same"),
    "`Cache-Control` of blobs": Difference(
        "`max-age=31536000`", "`private`, too", "what one may read is not for a cache that serves others"
    ),
    "`Cache-Control` of manifests": Difference(
        "none", "`private, no-cache`", "whether a manifest may be served can change at any time"
    ),
    "`Location` of an upload": Difference("with `_state`", "without", "the state is in the database"),
    "`OCI-Tag` of a pushed manifest": Difference("none", "the tags that were set", "OCI distribution-spec 1.2"),
}

#: By case in tests/server/test_server_captures.py: what differs there, and our status.
CASES = {
    "GET 0.root.json": ("`0.root.json`", 404),
    "HEAD root.json": ("HEAD of metadata", 200),
    "metrics": ("`/metrics` of the server", 404),
    "changefeed -1 (reverse)": ("`records=-1` of an empty changefeed", 200),
}


def rows() -> list[str]:
    """The list as the rows of the page's table."""
    return [f"| {what} | {each.original} | {each.troth} | {each.why} |" for what, each in DIFFERENCES.items()]


def differences(
    exchange: Exchange, answer: TestResponse, translator: Translator | None, challenge: tuple[str, str] = ("", "")
) -> Iterator[str]:
    """Compare our answer with the captured one.

    Args:
        exchange: what was captured.
        answer: ours.
        translator: knows which keys and digests are others here; None: all are the same.
        challenge: our realm and service, which the operator sets.
    """
    if answer.status_code != exchange.status:
        yield f"{exchange}: status {exchange.status}, here {answer.status_code}: {answer.text[:300]}"
        return
    text = translator.text if translator else str
    if exchange.service != "token":
        yield from _headers(exchange, answer, text, challenge)
    if exchange.method == "HEAD":
        if answer.data:
            yield f"{exchange}: a body"
    elif exchange.service == "token":
        yield from _token(exchange, answer)
    elif exchange.status >= 400:
        yield from _error(exchange, answer, text)
    elif exchange.role and translator:
        yield from _metadata(exchange, answer, translator)
    elif exchange.path.endswith(".key"):
        # Order matters: `public` before `private` (NOTARY_V1 §1.4).
        their_form, our_form = (_PUBLIC.sub(b"", body) for body in (exchange.answer, answer.data))
        if our_form != their_form:
            yield f"{exchange}: a key in another form: {answer.text}"
    elif answer.data != exchange.answer:
        yield f"{exchange}: body {exchange.answer!r}, here {answer.data!r}"


def _headers(
    exchange: Exchange, answer: TestResponse, text: Callable[[str], str], challenge: tuple[str, str]
) -> Iterator[str]:
    theirs = {name.lower(): value for name, value in exchange.answer_headers.items()}
    ours = {name.lower(): value for name, value in answer.headers.items()}
    for name in sorted((theirs.keys() | ours.keys()) - {"date", "connection"}):
        expected = text(theirs[name]) if name in theirs else None
        if name == "www-authenticate" and expected:
            expected = re.sub(
                r'realm="[^"]+",service="[^"]+"', 'realm="{}",service="{}"'.format(*challenge), expected
            )
        found = ours.get(name)
        if found == expected:
            continue
        what = _wanted(name, expected, found, exchange, answer)
        if what is None:
            yield f"{exchange}: {name}: {expected}, here {found}"
        elif what:
            yield what


def _wanted(name: str, theirs: str | None, ours: str | None, exchange: Exchange, answer: TestResponse) -> str | None:
    """The key of a wanted difference in a header; empty for one that says nothing, None for a fault."""
    match name, theirs, ours:
        case "x-request-id", None, str():
            return "`X-Request-Id`"
        case "last-modified", str(), str():
            moment = parsedate_to_datetime(ours)
            near = abs(parsedate_to_datetime(theirs) - moment) <= _TOLERANCE
            return "`Last-Modified` of metadata" if near and ours == http_date(moment) else None
        case "etag", None, str() if exchange.role:
            return "`ETag` of metadata" if ours == f'"{hashlib.sha256(answer.data).hexdigest()}"' else None
        case ("transfer-encoding", "chunked", None) | ("content-length", None, str()) if exchange.role:
            return "Metadata of more than 2 KiB" if len(exchange.answer) > 2048 else None
        case "content-length", str(), str():
            # Of text that nobody sees, or of a body whose content is compared.
            is_right = exchange.status >= 400 if exchange.method == "HEAD" else int(ours) == len(answer.data)
            return "" if is_right else None
        case "cache-control", str(), str() if "/blobs/" in exchange.path:
            return "`Cache-Control` of blobs" if ours == f"private, {theirs}" else None
        case "cache-control", None, "private, no-cache" if "/manifests/" in exchange.path:
            return "`Cache-Control` of manifests"
        case "docker-upload-uuid", str(), str():
            return "" if re.fullmatch("[0-9a-f-]{36}", ours) else None
        case "location", str(), str():
            return "`Location` of an upload" if _is_same_place(theirs, ours, answer) else None
        case "oci-tag", None, str():
            return "`OCI-Tag` of a pushed manifest" if exchange.path.endswith(f"/manifests/{ours}") else None
    return None


def _is_same_place(theirs: str, ours: str, answer: TestResponse) -> bool:
    their_upload, our_upload = _UPLOAD.match(theirs), _UPLOAD.fullmatch(ours)
    if not their_upload or not our_upload:
        return False
    id_is_right = our_upload["id"] == answer.headers["Docker-Upload-Uuid"]
    return their_upload["repository"] == our_upload["repository"] and id_is_right


def _token(exchange: Exchange, answer: TestResponse) -> Iterator[str]:
    theirs, ours = json.loads(exchange.answer), answer.get_json()
    for name, value in theirs.items():
        if type(value) is not type(ours.get(name)):
            yield f"{exchange}: {name} is {ours.get(name)!r}"
    asked = {"scope"} | ({"refresh_token"} if "offline_token=true" in exchange.path else set())
    if ours.keys() - theirs.keys() == asked:
        yield "Members of a token answer"
    else:
        yield f"{exchange}: members {sorted(ours)}"
    their_claims, our_claims = _claims(theirs["token"]), _claims(ours["token"])
    if their_claims.keys() - our_claims.keys() or their_claims["sub"] != our_claims["sub"]:
        yield f"{exchange}: claims {our_claims}"
    if "Authorization" not in exchange.headers and not our_claims["access"]:
        yield "Tokens for nobody"
    elif _rights(our_claims) != _rights(their_claims):
        yield f"{exchange}: rights {_rights(our_claims)}"


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def _rights(claims: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["type"], each["name"], action) for each in claims["access"] for action in each["actions"]}


def _error(exchange: Exchange, answer: TestResponse, text: Callable[[str], str]) -> Iterator[str]:
    (theirs,), (ours,) = json.loads(exchange.answer)["errors"], answer.get_json()["errors"]
    if exchange.service == "registry" and theirs["detail"] is None and "detail" not in ours:
        del theirs["detail"]
        yield "`detail` of the registry's first 401"
    elif answer.text != text(exchange.answer.decode()):
        yield f"{exchange}: the bytes differ: {answer.text}"
    if theirs != ours:
        yield f"{exchange}: error {theirs}, here {ours}"


def _metadata(exchange: Exchange, answer: TestResponse, translator: Translator) -> Iterator[str]:
    if (made := translator.file(exchange.answer)) is not None:
        if answer.data != made:
            yield f"{exchange}: not the published bytes"
        return
    theirs, ours = json.loads(exchange.answer), json.loads(answer.data)
    their_signed, our_signed = translator.signed(theirs["signed"]), ours["signed"]
    # The order of members, too.
    if list(map(list, (theirs, their_signed))) != list(map(list, (ours, our_signed))):
        yield f"{exchange}: other members: {answer.text}"
    signatures = {(translator.keyid(each["keyid"]), each["method"]) for each in theirs["signatures"]}
    if {(each["keyid"], each["method"]) for each in ours["signatures"]} != signatures:
        yield f"{exchange}: other signatures: {answer.text}"
    expires = [datetime.fromisoformat(each.pop("expires")[:19] + "+00:00") for each in (their_signed, our_signed)]
    if abs(expires[0] - expires[1]) > _TOLERANCE:
        yield f"{exchange}: expires {expires}"
    if their_signed["_type"] == "Timestamp":  # what it names is compared when the snapshot is asked for
        for entry in (their_signed["meta"]["snapshot"], our_signed["meta"]["snapshot"]):
            entry.update(length=0, hashes={name: len(value) for name, value in entry["hashes"].items()})
    if their_signed != our_signed:
        yield f"{exchange}: {their_signed}, here {our_signed}"
