# SPDX-License-Identifier: Apache-2.0
"""What is known of the request that this thread is answering: for log lines, metrics, and the services behind us.

    facts = tracing.enter("troth-server", request.headers.get("X-Request-Id", ""))
    tracing.note(gun=gun, subject=grant.subject)
    RemoteKeyStore(url, …, headers=tracing.sent_on)      # the signer's log shows the same ID
    tracing.leave(facts)

`trust.web.app` enters and leaves; views note what they learn.  Outside of a request nothing is known, and noting
something is no error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: The header by which a request's ID travels.
HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Facts:
    """One request.

    Attributes:
        service: who answers.
        request_id: the caller's, or one of ours.
        route: the template of its path, never the path itself.
        gun: the trust collection that it is about.
        repository: the repository that it is about.
        subject: the user of its token, or the name in its client certificate.
        address: the network address of the peer, where no Flask request knows it (`trust.web.ahead`).
        seen: rows that were looked at for it, by their watch (`trust.web.watch`), and what was `awaited`.
        at_once: whether it is answered with what is at hand, or else by another thread (`trust.web.lane`).
        is_granted: whether its token was good for it.
        outer: the request within which this one came, in the same thread.
        is_over: whether `leave` was called.
    """

    service: str
    request_id: str
    route: str | None = None
    gun: str | None = None
    repository: str | None = None
    subject: str | None = None
    address: str | None = None
    seen: dict[object, Any] = field(default_factory=dict)
    at_once: bool = False
    is_granted: bool = False
    outer: Facts | None = None
    is_over: bool = False


class TakesTimeError(Exception):
    """An answer takes more than what is at hand; nothing was done for it yet."""


class AwaitsError(TakesTimeError):
    """An answer would be at hand if another service had answered.

    Attributes:
        key: what is asked; equal keys are the same question.
        ask: asks.
        request_id: the request that it is asked for.
    """

    def __init__(self, key: Hashable, ask: Callable[[], Any], request_id: str) -> None:
        super().__init__(key)
        self.key = key
        self.ask = ask
        self.request_id = request_id


_current: ContextVar[Facts | None] = ContextVar("troth_request", default=None)


def enter(service: str, given: str) -> Facts:
    """Begin a request.

    Args:
        service: who answers.
        given: the ID that the caller sent; one that is none is replaced, so that it cannot forge a log line.
    """
    request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
    facts = Facts(service, request_id, outer=_current.get())
    _current.set(facts)
    return facts


def leave(facts: Facts) -> None:
    """End what `enter` began; where answers are closed in another order than they began, too."""
    facts.is_over = True
    remaining = _current.get()
    while remaining is not None and remaining.is_over:
        remaining = remaining.outer
    _current.set(remaining)


def current() -> Facts | None:
    """What is known of this thread's request; None outside of one."""
    return _current.get()


def note(
    *,
    route: str | None = None,
    gun: str | None = None,
    repository: str | None = None,
    subject: str | None = None,
    is_granted: bool = False,
) -> None:
    """Add what has become known; None leaves it as it was."""
    facts = _current.get()
    if facts is None:
        return
    facts.route = route or facts.route
    facts.gun = gun or facts.gun
    facts.repository = repository or facts.repository
    facts.subject = subject or facts.subject
    facts.is_granted = is_granted or facts.is_granted


def takes_time() -> None:
    """Say that what follows waits for somebody, or is done once for a request.

    Raises:
        TakesTimeError: nobody may wait in this thread; the request is answered in another.
    """
    if is_at_once():
        raise TakesTimeError


def is_at_once() -> bool:
    """Whether this thread may not wait."""
    facts = _current.get()
    return facts is not None and facts.at_once


def awaited(key: Hashable, ask: Callable[[], T]) -> T:
    """The answer of another service, which takes time.

    Args:
        key: what is asked.
        ask: asks.

    Raises:
        AwaitsError: this thread may not wait, and nobody has asked for it yet.
    """
    facts = _current.get()
    if facts is None or not facts.at_once:
        return ask()
    if key not in facts.seen:
        raise AwaitsError(key, ask, facts.request_id)
    return cast(T, facts.seen[key])


def sent_on() -> dict[str, str]:
    """The headers that a request to another service carries for this one."""
    facts = _current.get()
    return {} if facts is None else {HEADER: facts.request_id}
