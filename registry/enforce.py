# SPDX-License-Identifier: Apache-2.0
"""Only signed content leaves.

Every read path asks this one place, after the caller's rights were checked and the tag was resolved, and serves the
very digest that it asked about:

* a manifest is served if its digest is a currently valid signed target, or a child of a signed index; by tag, only if
  it is the signed digest of that very tag;
* a blob is served if a servable manifest names it as config or layer;
* a subject's signature does not cover what refers to it.

Who holds a token for push *and* pull of the repository may read what is not signed, because signing needs that.
Nothing else exempts: no User-Agent, no address, no way of logging in.

Not signed as the policy demands is 403 DENIED; what cannot be decided (trust data expired, tampered with, or out of
reach) is 503 UNAVAILABLE.  Never 401 and never 404: clients would loop, or go to another mirror.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import NoReturn

from sqlalchemy.orm import Session

from registry import repositories
from registry.errors import ManifestUnknownError
from registry.policies import Mode, Policies, Policy
from registry.repositories import StoredManifest
from trust.cache import Cache
from trust.collection import Collection, matches
from trust.errors import (
    DeniedError,
    NotFoundError,
    RollbackError,
    TrustError,
    UnauthorizedError,
    UnavailableError,
    UntrustedError,
)
from trust.names import Digest, Gun, RepositoryName, RoleName, Tag
from trust.pins import Pins
from trust.reader import Reader, Source
from trust.tokens import Grant
from trust.web.database import Database

#: So many manifests are asked what indexes name them, before a thing counts as not signed.
MAX_LOOKUPS = 1000
#: How often a reader that looks as if it were shown old files begins again.
_OVERTAKEN = 3
#: Collections that a process remembers verified.
_REMEMBERED = 500

_log = logging.getLogger("troth.enforce")


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to serve.

    Attributes:
        warning: in permissive mode, why it would have been refused; goes into a `Warning` header.
        reason: then, the reason in one word, as `reason_of` gives it.
    """

    warning: str | None = None
    reason: str | None = None


class Enforcer:
    """Decides what may be served.

    Args:
        database: the registry's.
        policies: what each repository demands.
        source: the notary server; None: there is none, so nothing can be decided.
        cache: what was believed before.
        clock: gives the time, aware.
    """

    def __init__(
        self,
        database: Database,
        policies: Policies,
        source: Source | None,
        cache: Cache,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._policies = policies
        self._source = source
        self._cache = cache
        self._clock = clock
        self._readers: OrderedDict[tuple[Gun, tuple[str, ...], tuple[RoleName, ...]], Reader] = OrderedDict()
        self._lock = Lock()

    def manifest(self, grant: Grant, repository: RepositoryName, digest: Digest, tag: Tag | None) -> Permit:
        """Whether a manifest may be served.

        Args:
            grant: the caller's.
            repository: where it is.
            digest: the manifest itself; the caller of this method serves these very bytes.
            tag: the tag that it was asked by, or None when it was asked by digest.

        Raises:
            DeniedError: it is not signed as the repository's policy demands.
            UnavailableError: that cannot be decided now.
        """
        return self._decide(grant, repository, digest, tag, lambda case: case.manifest(digest, tag))

    def blob(self, grant: Grant, repository: RepositoryName, digest: Digest) -> Permit:
        """Whether a blob may be served; arguments and errors as for `manifest`."""
        return self._decide(grant, repository, digest, None, lambda case: case.blob(digest))

    def _decide(
        self,
        grant: Grant,
        repository: RepositoryName,
        digest: Digest,
        tag: Tag | None,
        judge: Callable[[_Case], None],
    ) -> Permit:
        with self._database.read() as session:
            policy = self._policies.of(session, repository)
        if policy.mode is Mode.DISABLED or _may_sign(grant, repository):
            return Permit()
        try:
            collection = self._collection(repository, policy, digest, tag)
            with self._database.read() as session:
                judge(_Case(session, repository, policy, collection))
        except (DeniedError, UnavailableError) as error:
            if policy.mode is Mode.ENFORCED:
                _log.warning("refused %s of %s to %r: %s", digest, repository, grant.subject, error)
                raise
            _log.warning("would refuse %s of %s to %r: %s", digest, repository, grant.subject, error)
            return Permit(f"would be refused: {error.message}", reason_of(error))
        return Permit()

    def _collection(self, repository: RepositoryName, policy: Policy, digest: Digest, tag: Tag | None) -> Collection:
        gun = self._policies.gun(repository)
        try:
            return _refreshed(self._reader(gun, policy))
        except NotFoundError as error:
            raise _denied(
                f"{gun} is not signed: there is no trust data for it; "
                f"sign it with 'docker trust sign {gun}:{tag or 'TAG'}'",
                "UNSIGNED", policy, gun=gun, digest=digest, tag=tag,
            ) from error  # fmt: skip
        except (UntrustedError, UnavailableError, UnauthorizedError) as error:
            raise _undecided(
                f"the signatures of {gun} cannot be verified: {error.message}",
                error, policy, gun=gun, digest=digest, tag=tag,
            ) from error  # fmt: skip

    def _reader(self, gun: Gun, policy: Policy) -> Reader:
        if self._source is None:
            raise UnavailableError("no notary server is configured")
        key = (gun, policy.pins, policy.roles)
        with self._lock:
            reader = self._readers.get(key)
            if reader is None:
                pins = Pins(certs={gun: policy.pins}) if policy.pins else Pins()
                reader = Reader(gun, self._source, self._cache, pins=pins, roles=policy.roles, clock=self._clock)
                self._readers[key] = reader
                if len(self._readers) > _REMEMBERED:
                    self._readers.popitem(last=False)
            self._readers.move_to_end(key)
            return reader


@dataclass(frozen=True, slots=True)
class _Case:
    """One question, with all that is needed to answer it."""

    session: Session
    repository: RepositoryName
    policy: Policy
    collection: Collection

    def manifest(self, digest: Digest, tag: Tag | None) -> None:
        stored = repositories.find_manifest(self.session, self.repository, digest)
        if stored is None:  # deleted a moment ago
            raise ManifestUnknownError("the repository has no such manifest", detail={"reference": tag or digest})
        if tag is not None:
            self._tagged(stored, tag)
        elif not self._are_covered([stored]):
            self._deny(
                f"{self.collection.gun}@{digest} is not signed, nor part of a signed index", "UNSIGNED", digest
            )

    def blob(self, digest: Digest) -> None:
        if not self._are_covered(repositories.holders(self.session, self.repository, digest)):
            self._deny(f"no signed manifest of {self.collection.gun} names the blob {digest}", "UNSIGNED", digest)

    def _tagged(self, stored: StoredManifest, tag: Tag) -> None:
        name = f"{self.collection.gun}:{tag}"
        try:
            target = self.collection.lookup(tag, self.policy.roles)
        except NotFoundError:
            self._deny(
                f"{name} is not signed; sign it with 'docker trust sign {name}'", "UNSIGNED", stored.digest, tag
            )
        if not matches(target.hashes, _hashes(stored)):
            self._deny(
                f"{name} was signed as {target.digest}, and the tag now stands for {stored.digest}; "
                f"sign that with 'docker trust sign {name}', or pull the signed digest",
                "TAG_MOVED", stored.digest, tag, signed=target.digest,
            )  # fmt: skip

    def _are_covered(self, manifests: Sequence[StoredManifest]) -> bool:
        """Whether one of the manifests, or an index above one, is signed (whatever the tag)."""
        seen = {each.sha256 for each in manifests}
        found, waiting, lookups = manifests, deque[StoredManifest](), 0
        while not any(self.collection.is_signed(_hashes(each), self.policy.roles) for each in found):
            # The newest first: what was pushed lately is signed more often than what is old.
            waiting.extend(reversed(found))
            if not waiting or lookups >= MAX_LOOKUPS:
                return False
            lookups += 1
            above = repositories.parents(self.session, self.repository, waiting.popleft().digest)
            found = [each for each in above if each.sha256 not in seen]
            seen.update(each.sha256 for each in found)
        return True

    def _deny(
        self, message: str, reason: str, digest: Digest, tag: Tag | None = None, *, signed: str | None = None
    ) -> NoReturn:
        facts = {"gun": self.collection.gun, "digest": digest, "tag": tag, "signed_digest": signed}
        for role, error in self.collection.skipped.items():
            # It says neither yes nor no, and neither does what it delegates.
            if any(wanted == role or wanted.startswith(f"{role}/") for wanted in self.policy.roles):
                raise _undecided(f"{message}; {role} cannot be verified: {error}", error, self.policy, **facts)
        raise _denied(message, reason, self.policy, **facts)


def reason_of(error: DeniedError | UnavailableError) -> str:
    """The reason of a refusal in one word (docs/reference/refusals.md)."""
    # One without details is about a part of ours that does not answer.
    return str(error.detail["reason"]) if isinstance(error.detail, dict) else "UNAVAILABLE"


def _refreshed(reader: Reader) -> Collection:
    for _ in range(_OVERTAKEN):
        try:
            return reader.refresh()
        except RollbackError:
            # Perhaps another thread or process kept a newer file while this one was still reading: then it only has
            # to read again.
            continue
    return reader.refresh()


def _may_sign(grant: Grant, repository: RepositoryName) -> bool:
    # A registry without tokens gives everybody a grant without access: that exempts nobody.
    return bool(grant.access) and all(grant.allows("repository", repository, action) for action in ("pull", "push"))


def _hashes(manifest: StoredManifest) -> Mapping[str, str]:
    return {"sha256": manifest.sha256, "sha512": manifest.sha512}


def _denied(message: str, reason: str, policy: Policy, **facts: str | None) -> DeniedError:
    return DeniedError(message, detail=_detail(reason, policy, facts))


def _undecided(message: str, error: TrustError, policy: Policy, **facts: str | None) -> UnavailableError:
    reason = error.reason if isinstance(error, UntrustedError) else "UNAVAILABLE"
    return UnavailableError(message, detail=_detail(reason, policy, facts))


def _detail(reason: str, policy: Policy, facts: Mapping[str, str | None]) -> dict[str, object]:
    known = {name: value for name, value in facts.items() if value is not None}
    return {"reason": reason, "policy": policy.mode.value, "roles": list(policy.roles), **known}
