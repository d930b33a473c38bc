# SPDX-License-Identifier: Apache-2.0
"""What an event is, and how it looks to who receives it: CloudEvents 1.0, in its structured mode.

    event = Event(kind=Kind.PUSH, repository="library/app", tag="1", digest=digest, actor="alice", time=now)
    body(to_json(event), source="https://registry.example.com", sequence=7)

An event is written down without its source and its sequence: the first is the site's, the second the endpoint's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from trust.web.caller import caller

#: The media type of a body.
MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
#: Of the member `data`: a field more does not change it, a field that goes or changes its meaning does.
VERSION = 1
#: Of a deleted manifest, so many are told.
MAX_TOLD = 100

_MAX_TEXT = 255


class Kind(StrEnum):
    """What happened."""

    PUSH = "push"  #: a manifest was pushed, by tag or by digest
    PULL = "pull"  #: a manifest was served
    DELETE = "delete"  #: a tag, or a manifest with its tags, was deleted
    PUBLISHED = "trust.published"  #: the registry saw a new version of a file of trust data
    DENIED = "trust.denied"  #: a pull was refused, or could not be decided
    DRIFT = "trust.drift"  #: a tag stands for something else than what is signed
    EXPIRING = "trust.expiring"  #: trust data ends soon, or has ended
    TEST = "test"  #: somebody wants to see whether events arrive


#: What an endpoint can ask for; a test comes without.
KINDS = tuple(kind for kind in Kind if kind is not Kind.TEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event.

    Attributes:
        kind: what happened.
        repository: where; empty: to nothing in particular.
        time: when, aware.
        tag: by which tag, if by one.
        digest: of the manifest.
        media_type: of the manifest.
        actor: who did it, where that is known.
        request_id: as in the request log.
        detail: more, JSON-able, by the names of the reference (docs/reference/events.md); never a secret.
        id: the same for all who are told of it, and whenever they are.
    """

    kind: Kind
    repository: str
    time: datetime
    tag: str | None = None
    digest: str | None = None
    media_type: str | None = None
    actor: str | None = None
    request_id: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def subject(self) -> str:
        """What it is about, in one word: `library/app:1`."""
        if self.tag is not None:
            return f"{self.repository}:{self.tag}"
        return f"{self.repository}@{self.digest}" if self.digest else self.repository


def of_request(
    kind: Kind,
    repository: str,
    now: datetime,
    *,
    tag: str | None = None,
    digest: str | None = None,
    media_type: str | None = None,
    **detail: object,
) -> Event:
    """An event that the caller of the current request brings about; arguments as of `Event`."""
    who = caller()
    return Event(
        kind=kind,
        repository=repository,
        time=now,
        tag=tag,
        digest=digest,
        media_type=media_type,
        actor=who.actor[:_MAX_TEXT],
        request_id=who.request_id or None,
        detail=detail,
    )


def to_json(event: Event) -> str:
    """The event as it is written down."""
    data = {
        "version": VERSION,
        "repository": event.repository or None,
        "tag": event.tag,
        "digest": event.digest,
        "media_type": event.media_type,
        "actor": event.actor,
        "request_id": event.request_id,
    }
    told = {
        "specversion": "1.0",
        "id": event.id,
        "type": f"troth.{event.kind}",
        "time": event.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None} | dict(event.detail),
    }
    return json.dumps(told | ({"subject": event.subject} if event.subject else {}))


def body(event: str, *, source: str, sequence: int) -> bytes:
    """The bytes that are sent, always the same for one delivery.

    Args:
        event: what `to_json` gave.
        source: the site, as a URI.
        sequence: the number of the event among those of its endpoint.
    """
    return json.dumps({"source": source, "sequence": f"{sequence:020d}"} | json.loads(event)).encode()
