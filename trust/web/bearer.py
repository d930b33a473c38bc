# SPDX-License-Identifier: Apache-2.0
"""Guard a view with a bearer token.

    guard = Guard(verifier, "https://localhost:5000/auth/token", "troth")

    def view(name: str) -> Response:
        grant = guard.require(Access("repository", name, frozenset({"pull"})))

`require` returns what the token grants, or raises `UnauthorizedError` with the challenge from which a client learns
where to get the token it lacks (NOTARY_V1 §5.1, REGISTRY_API §6.1).  Too few rights are 401 too, with
`error="insufficient_scope"` and a sentence that says what was asked for and what the token gives: the client may know
better credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import g, request

from trust.errors import UnauthorizedError
from trust.tokens import Access, Grant, Sites, Verifier, challenge, format_scope
from trust.web import tracing
from trust.web.metrics import counter

_OUTCOMES = ("allowed", "missing", "invalid_token", "insufficient_scope")
_ASKED = counter(
    "troth_authorizations",
    "requests that were asked for a token; clients begin without one, so that `missing` is no trouble",
    service="troth-registry, troth-server",
    outcome=_OUTCOMES,
)


@dataclass(frozen=True, slots=True)
class _Everything(Grant):
    """The grant of a service that is run without authentication."""

    def allows(self, type: str, name: str, action: str) -> bool:
        return True


_EVERYTHING = _Everything("", (), Sites(()))


class Guard:
    """Asks for tokens.

    Args:
        verifier: whom to believe; None lets everybody do everything.
        realm: URL of the token endpoint; fixed by the operator and never made from a request.
        service: the name under which tokens for us are asked.
        clock: tells the time.
    """

    def __init__(
        self,
        verifier: Verifier | None,
        realm: str,
        service: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._verifier = verifier
        self._realm = realm
        self._service = service
        self._clock = clock

    def grant(self, authorization: str, access: Access) -> Grant | None:
        """What `require` would return to a request with that header; None: it would raise, and is to do so itself.

        Nothing is counted; see `count`.

        Args:
            authorization: the header's value.
            access: what is wanted.
        """
        if self._verifier is None:
            return _EVERYTHING
        try:
            grant = self._verifier.verify(_token(authorization), self._clock())  # no token is no good one
        except UnauthorizedError:
            return None
        if not all(grant.allows(access.type, access.name, action) for action in access.actions):
            return None
        tracing.note(subject=grant.subject, is_granted=True)
        return grant

    @staticmethod
    def count(facts: tracing.Facts) -> None:
        """Count what `grant` allowed, once the answer is found that it was asked for."""
        if facts.is_granted:
            _ASKED.labels("allowed").inc()

    def require(self, *access: Access) -> Grant:
        """Let the current request pass only with a token that covers all of `access`.

        Without `access`, any valid token will do.

        Raises:
            UnauthorizedError: there is no token, it is not to be believed, or it grants too little.
        """
        if self._verifier is None:
            return _EVERYTHING
        token = _token(request.headers.get("Authorization", ""))
        if not token:
            raise self._refusal("authentication required", access)
        try:
            grant = self._verifier.verify(token, self._clock())
        except UnauthorizedError as error:
            raise self._refusal(error.message, access, "invalid_token") from error
        g.actor = grant.subject  # whose token it is, whatever it grants
        if not all(grant.allows(each.type, each.name, action) for each in access for action in each.actions):
            told = f"asked for {_scopes(access)}, given {_scopes(_about(grant, access)) or 'nothing'}"
            message = f"the token does not allow this: {told}"
            raise self._refusal(message, access, "insufficient_scope", grant.subject)
        _ASKED.labels("allowed").inc()
        tracing.note(subject=grant.subject)
        return grant

    def _refusal(
        self, message: str, access: Sequence[Access], error: str = "", subject: str | None = None
    ) -> UnauthorizedError:
        _ASKED.labels(error or "missing").inc()
        tracing.note(subject=subject)
        detail = [
            {"Type": each.type, "Class": each.class_, "Name": each.name, "Action": action}
            for each in access
            for action in sorted(each.actions)
        ]
        return UnauthorizedError(
            message, challenge=challenge(self._realm, self._service, access, error), detail=detail or None
        )


def _token(authorization: str) -> str:
    """The bearer token in that header; empty: there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _about(grant: Grant, access: Sequence[Access]) -> list[Access]:
    """What a token gives of the things that `access` names."""
    wanted = {(each.type, grant.sites.repository(each.name)) for each in access}
    return [each for each in grant.access if (each.type, grant.sites.repository(each.name)) in wanted]


def _scopes(access: Iterable[Access]) -> str:
    return " ".join(map(format_scope, access))
