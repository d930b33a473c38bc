# SPDX-License-Identifier: Apache-2.0
"""The API's operation on the audit trail: to read it, as an administrator; `troth-registry audit` verifies it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice

from registry.accounts.api.operations import Api, Call
from registry.accounts.api.paging import next_page, number, page_size, sizes
from registry.models import TRAIL
from registry.operations import Answer
from trust.errors import InvalidError
from trust.web.audit import Record

_LAST = 2**63 - 1
_SINCE = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?)?$"


def declare(api: Api) -> None:
    """Declare the operation."""

    @api.operation(
        "GET", "/audit", "who did what, the oldest first, a page at a time, for administrators",
        query={
            "n": sizes(),
            "after": {
                "type": "integer", "minimum": 0, "maximum": _LAST, "default": 0,
                "description": "the page begins behind this number",
            },
            "name": {
                "type": "string", "maxLength": 255, "default": "",
                "description": "of this repository, place, user, organisation or team only",
            },
            "since": {
                "type": "string", "pattern": _SINCE, "default": "",
                "description": "from this day or moment on, in UTC",
            },
        },
        answers={200: "AuditRecords"},
    )  # fmt: skip
    def audit(call: Call) -> Answer:
        call.require_administrator()
        size, after = page_size(call), number(call, "after", 0, _LAST, 0)
        name, since = call.query.get("name", ""), call.query.get("since", "")
        if len(name) > 255 or not (name.isprintable() and name.encode(errors="replace").decode() == name):
            raise InvalidError("name is a text of at most 255 printable characters")
        with call.database.read() as session:
            records = TRAIL.records(session, name=name or None, since=_moment(since) if since else None, after=after)
            found = list(islice(records, size + 1))
            head = TRAIL.head(session)
        page = found[:size]
        link = next_page("/audit", found, size, after=page[-1].seq if page else 0, name=name, since=since)
        return 200, {"records": list(map(_record, page)), "head": str(head)}, link


def _moment(text: str) -> datetime:
    try:
        if not re.fullmatch(_SINCE, text):
            raise ValueError
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidError("since is a day or a moment, such as 2026-11-24 or 2026-11-24T08:00:00Z") from error


def _record(record: Record) -> dict[str, object]:
    try:
        fields = record.fields()
    except ValueError:  # somebody has changed it; `audit verify` says so
        fields = {name: getattr(record, name) for name in Record.__dataclass_fields__}
    return fields | {"hash": record.hash}
