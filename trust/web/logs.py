# SPDX-License-Identifier: Apache-2.0
"""How log lines look: text for people, or JSON for programs.

    2026-11-26 08:00:00,123 INFO troth.request troth-server GET /v2/ -> 200 0.9ms id=4f…
    {"time": "2026-11-26T08:00:00.123Z", "level": "INFO", "logger": "troth.request", "message": "…", …}

No request can forge a line in either form: whatever is not printable is escaped, and the lines of a traceback are
indented, so that each line that begins at the margin is a record of ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gunicorn.glogging import Logger

from trust.web import tracing

FORMATS = ("text", "json")
_INDENT = "\n    "


class TextFormatter(logging.Formatter):
    """One line a record, with the ID of the request that it belongs to, and a traceback behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = f"{self.formatTime(record)} {record.levelname} {record.name} {_printable(record.getMessage())}"
        facts = tracing.current()
        if facts is not None and not line.endswith(mark := f" id={facts.request_id}"):
            line += mark
        traceback = _traceback(self, record)
        return line if traceback is None else line + _INDENT + _INDENT.join(map(_printable, traceback.splitlines()))


class JsonFormatter(logging.Formatter):
    """One JSON object a record, on one line of ASCII.

    Args:
        service: who logs.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        moment = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self._service,
        }
        facts = tracing.current()
        if facts is not None:
            entry["request_id"] = facts.request_id
        if (fields := getattr(record, "fields", None)) is not None:
            entry |= {name: value for name, value in fields().items() if value is not None}
        traceback = _traceback(self, record)
        if traceback is not None:
            entry["exception"] = traceback
        return json.dumps({name: _encodable(value) for name, value in entry.items()})


class ServerLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own log, through the same handler as all else."""

    def setup(self, cfg: Any) -> None:
        """See gunicorn."""
        super().setup(cfg)
        for handler in list(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log.propagate = True


def with_fields(fields: Callable[[], Mapping[str, object]]) -> dict[str, object]:
    """The `extra` of a logging call that gives a JSON line more members.

    Args:
        fields: gives them, where they are written at all; those without a value are left out.
    """
    return {"fields": fields}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    # Not `record.exc_text`, where another handler may have left its own form.
    return formatter.formatException(record.exc_info) if record.exc_info else None


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _encodable(value: object) -> object:
    # A path that is not UTF-8 has code points that JSON can write and few programs can read.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
