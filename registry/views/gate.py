# SPDX-License-Identifier: Apache-2.0
"""The gate: all that the views ask of tokens and of trust.

Two questions, always in this order.  May this caller do this at all?  `reader`, `writer`, `deleter`, `cataloguer` and
`mounter` answer with a `Grant` or raise 401.  May this content leave?  `manifest` tells what may be served, `blob`
returns in silence, or they raise 403 or 503; `listed` and `mountable` leave out what may not be seen; `deletable`
keeps what is signed from deletion.  Nothing else in the views knows the guard or the enforcer, and a view that is
said to be gated and does not ask the second question has its answer thrown away (`registry.views.routes`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from flask import Response, after_this_request, g

from registry.enforce import Enforcer, Permit, reason_of
from registry.errors import NameInvalidError
from registry.events.event import Kind, of_request
from registry.events.reporter import Reporter
from registry.repositories import StoredManifest
from trust.errors import DeniedError, InvalidError, NotFoundError, UnauthorizedError, UnavailableError
from trust.names import Digest, RepositoryName, Tag
from trust.tokens import Access, Grant, Sites
from trust.web import tracing
from trust.web.bearer import Guard
from trust.web.metrics import counter

_DECISIONS = counter(
    "troth_enforcement_decisions",
    "manifests and blobs that were asked for by somebody with the right to pull",
    service="troth-registry",
    content=("manifest", "blob"),
    outcome=("served", "warned", "denied", "undecided"),
    reason=(),
)
_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")


class Gate:
    """Asks the guard and the enforcer.

    Args:
        guard: knows tokens.
        enforcer: knows what is signed.
        sites: our host names, which no repository may begin with.
        reporter: is told what is refused.
        clock: tells the time.
    """

    def __init__(
        self, guard: Guard, enforcer: Enforcer, sites: Sites, reporter: Reporter, clock: Callable[[], datetime]
    ) -> None:
        self._reporter = reporter
        self._clock = clock
        self._guard = guard
        self._enforcer = enforcer
        self._sites = sites

    def anyone(self) -> Grant:
        """Let everybody with a valid token pass.

        Raises:
            UnauthorizedError: there is none.
        """
        return self._guard.require()

    def reader(self, repository: RepositoryName) -> Grant:
        """Let those pass who may pull from `repository`.

        Raises:
            UnauthorizedError: the caller may not, as in the methods below.
            NameInvalidError: no repository can have this name here.
        """
        return self._require(repository, "pull")

    def writer(self, repository: RepositoryName) -> Grant:
        """Let those pass who may push to `repository`."""
        return self._require(repository, "pull", "push")

    def deleter(self, repository: RepositoryName) -> Grant:
        """Let those pass who may delete from `repository`."""
        return self._require(repository, "delete")

    def cataloguer(self) -> Grant:
        """Let those pass who may see the names of all repositories."""
        return self._guard.require(Access("registry", "catalog", frozenset({"*"})))

    def mounter(self, repository: RepositoryName, source: RepositoryName) -> Grant:
        """Let those pass who may push to `repository`; whether they may read `source` too is for `mountable`."""
        try:
            return self.writer(repository)
        except UnauthorizedError:
            # The challenge names both, so that one token will do for the mount (REGISTRY_API §6.1).
            return self._guard.require(self._access(repository, "pull", "push"), self._access(source, "pull"))

    def manifest(self, grant: Grant, repository: RepositoryName, digest: Digest, tag: Tag | None) -> Digest:
        """Let a manifest leave; by which tag it was asked for matters.

        Returns:
            Which one: `digest`, or where the policy says so what the tag is signed as.

        Raises:
            DeniedError: it may not leave.
            UnavailableError: that cannot be decided now.
        """
        g.gate_asked = True
        permit = self.permit(grant, repository, digest, tag)
        _warn(permit.warning)
        return permit.digest or digest

    def plain_reader(self, authorization: str, repository: RepositoryName) -> Grant | None:
        """What `reader` returns to a request with that header; None: that is for `reader` to say.

        Raises:
            NameInvalidError: as in `reader`.
        """
        return self._guard.grant(authorization, self._access(repository, "pull"))

    def permit(self, grant: Grant, repository: RepositoryName, digest: Digest, tag: Tag | None) -> Permit:
        """As `manifest`, but whoever asks warns the client, by the header of `warning_of`.

        Raises:
            DeniedError: it may not leave.
            UnavailableError: that cannot be decided now.
        """
        with self._refusals_told(repository, digest, tag):
            return _counted("manifest", lambda: self._enforcer.manifest(grant, repository, digest, tag))

    def blob(self, grant: Grant, repository: RepositoryName, digest: Digest) -> None:
        """Let a blob leave.

        Raises:
            DeniedError: it may not leave.
            UnavailableError: that cannot be decided now.
        """
        g.gate_asked = True
        with self._refusals_told(repository, digest, None):
            permit = _counted("blob", lambda: self._enforcer.blob(grant, repository, digest))
        _warn(permit.warning)

    def deletable(self, grant: Grant, repository: RepositoryName, reference: Tag | Digest, *, cascade: bool) -> None:
        """Let a tag or a manifest be deleted.

        Raises:
            SignedError: it is signed, and the caller did not say that the signature does not matter.
            UnavailableError: whether it is signed cannot be told now.
        """
        _warn(self._enforcer.deletion(grant, repository, reference, cascade=cascade).warning)

    def listed(
        self, grant: Grant, repository: RepositoryName, manifests: Iterable[StoredManifest]
    ) -> list[StoredManifest]:
        """Those of `manifests` that the caller could also get.

        Raises:
            UnavailableError: that cannot be decided now.
        """
        g.gate_asked = True
        return [each for each in manifests if self._permits(grant, repository, each.digest)]

    def mountable(self, grant: Grant, source: RepositoryName, digest: Digest) -> bool:
        """Whether the caller could also get the blob from `source`.  A no has no reason: it would tell too much."""
        g.gate_asked = True
        if not grant.allows("repository", source, "pull"):
            return False
        try:
            self._enforcer.blob(grant, source, digest)
        except (DeniedError, UnavailableError, NotFoundError):
            return False
        return True

    @contextmanager
    def _refusals_told(self, repository: RepositoryName, digest: Digest, tag: Tag | None) -> Iterator[None]:
        try:
            yield
        except (DeniedError, UnavailableError) as error:
            self._reporter.report(
                of_request(
                    Kind.DENIED,
                    repository,
                    self._clock(),
                    tag=tag,
                    digest=digest,
                    status=error.status,
                    reason=reason_of(error),
                    message=error.message,
                )
            )
            raise

    def _require(self, repository: RepositoryName, *actions: str) -> Grant:
        tracing.note(repository=repository)
        return self._guard.require(self._access(repository, *actions))

    def _access(self, repository: RepositoryName, *actions: str) -> Access:
        try:
            self._sites.check_repository(repository)
        except InvalidError as error:
            raise NameInvalidError(error.message) from error
        return Access("repository", repository, frozenset(actions))

    def _permits(self, grant: Grant, repository: RepositoryName, digest: Digest) -> bool:
        try:
            self._enforcer.manifest(grant, repository, digest, None)
        except (DeniedError, NotFoundError):  # refused, or deleted a moment ago
            return False
        return True


def _counted(content: str, decide: Callable[[], Permit]) -> Permit:
    try:
        permit = decide()
    except (DeniedError, UnavailableError) as error:
        outcome = "denied" if isinstance(error, DeniedError) else "undecided"
        _DECISIONS.labels(content, outcome, reason_of(error)).inc()
        raise
    _DECISIONS.labels(content, "served" if permit.reason is None else "warned", permit.reason or "").inc()
    return permit


def warning_of(sentence: str) -> tuple[str, str]:
    """The header that warns a client: 299, at most 4096 bytes in all (REGISTRY_API §5)."""
    return "Warning", f'299 - "{_UNQUOTABLE.sub("?", sentence)[:4000]}"'


def _warn(sentence: str | None) -> None:
    if sentence is None:
        return

    @after_this_request
    def _add(response: Response) -> Response:
        response.headers.extend([warning_of(sentence)])
        return response
