# SPDX-License-Identifier: Apache-2.0
"""Only signed content leaves, and what is signed stays.

Every read path asks this one place, after the caller's rights were checked and the tag was resolved, and serves the
very digest that it is given back:

* a manifest is served if its digest is a currently valid signed target, or a child of a signed index; by tag, only if
  it is the signed digest of that very tag (in the mode `resolve` that one is served, whatever the tag stands for);
* a blob is served if a servable manifest names it as config or layer;
* a subject's signature does not cover what refers to it.

Whose signatures count, and how many of them it takes, is the repository's policy (`registry.policies`); how they are
counted, `registry.rules`.  Deletion asks here as well: what is signed is not deleted by accident.

Who holds a token for push *and* pull of the repository may read what is not signed, because signing needs that.
Nothing else exempts: no User-Agent, no address, no way of logging in.

Not signed as the policy demands is 403 DENIED; what cannot be decided (trust data expired, tampered with, or out of
reach) is 503 UNAVAILABLE.  Never 401 and never 404: clients would loop, or go to another mirror.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from registry.cases import Case, denied, undecided
from registry.errors import SignedError
from registry.policies import Mode, Policies, Policy
from registry.trustdata import TrustData
from trust.collection import Collection
from trust.errors import (
    DeniedError,
    NotFoundError,
    TrustError,
    UnauthorizedError,
    UnavailableError,
    UntrustedError,
)
from trust.names import Digest, Gun, RepositoryName, Tag
from trust.tokens import Grant
from trust.web import tracing
from trust.web.database import Database

_log = logging.getLogger("troth.enforce")

#: Asks a case for a manifest or a blob, perhaps by a tag.
Judge = Callable[[Case, Digest, Tag | None], Digest]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to serve, or to delete.

    Attributes:
        digest: what may be served: what was asked for, or what its tag is signed as.
        warning: what the client should know though it gets its way; goes into a `Warning` header.
        reason: then, the reason in one word, as `reason_of` gives it, or `GRACE`.
    """

    digest: Digest | None = None
    warning: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one question, whatever becomes of it.

    Attributes:
        gun: the trust collection.
        policy: the repository's.
        collection: what was verified; None: nothing could be.
        digest: what may be served; None: nothing.
        refusal: why not.
        in_grace: what is believed although its time is over, as a sentence.
    """

    gun: Gun
    policy: Policy
    collection: Collection | None = None
    digest: Digest | None = None
    refusal: DeniedError | UnavailableError | None = None
    in_grace: str | None = None


class Enforcer:
    """Decides what may be served and deleted.

    Args:
        database: the registry's.
        policies: what each repository demands.
        trust_data: what the publishers signed.
    """

    def __init__(self, database: Database, policies: Policies, trust_data: TrustData) -> None:
        self._database = database
        self._policies = policies
        self._trust_data = trust_data

    def manifest(self, grant: Grant, repository: RepositoryName, digest: Digest, tag: Tag | None) -> Permit:
        """Which manifest may be served.

        Args:
            grant: the caller's.
            repository: where it is.
            digest: the manifest itself, or what the tag stands for.
            tag: the tag that it was asked by, or None when it was asked by digest.

        Returns:
            Leave to serve the very bytes that have the permit's digest.

        Raises:
            DeniedError: it is not signed as the repository's policy demands.
            UnavailableError: that cannot be decided now.
        """
        try:
            return self._serve(grant, repository, digest, tag, Case.manifest)
        except (DeniedError, UnavailableError) as error:
            if isinstance(error.detail, dict):  # where more is known (registry.views.explain)
                explain = f"/api/v1/repositories/{repository}/trust/explain?reference={tag or digest}"
                error.detail["explain"] = explain
            raise

    def blob(self, grant: Grant, repository: RepositoryName, digest: Digest) -> Permit:
        """Whether a blob may be served; arguments and errors as for `manifest`."""
        return self._serve(grant, repository, digest, None, Case.blob)

    def deletion(self, grant: Grant, repository: RepositoryName, reference: Tag | Digest, *, cascade: bool) -> Permit:
        """Whether a tag or a manifest may be deleted.

        Args:
            grant: the caller's, for the log.
            repository: where it is.
            reference: which tag, or which manifest.
            cascade: whether the caller wants it gone although it is signed.

        Raises:
            SignedError: it is signed, or part of a signed index.
            UnavailableError: that cannot be told now.
        """
        return self._delete(grant.subject, repository, reference, cascade)

    def emptying(self, subject: str, repository: RepositoryName, *, cascade: bool) -> Permit:
        """Whether a whole repository may be deleted: only if its trust collection signs nothing.

        Args:
            subject: the caller, for the log.
            repository: which one.
            cascade: as for `deletion`, whose errors this has.
        """
        return self._delete(subject, repository, None, cascade)

    def _delete(
        self, subject: str, repository: RepositoryName, reference: Tag | Digest | None, cascade: bool
    ) -> Permit:
        policy = self._policy(repository)
        if policy.mode is Mode.DISABLED:
            return Permit()
        gun, what = self._policies.gun(repository), reference or "all"
        try:
            self._refuse_signed(gun, repository, policy, reference)
        except (SignedError, UnavailableError) as error:
            if policy.mode.refuses and not cascade:
                _log.warning("refused to delete %s of %s for %r: %s", what, repository, subject, error)
                raise
            _log.warning("deleting %s of %s for %r although %s", what, repository, subject, error)
            return Permit(warning=f"deleted, and what is signed stays signed in the notary server: {error.message}")
        return Permit()

    def learn(self, gun: str) -> None:
        """Look at a trust collection that somebody has just published, so that what is new is known, and told of.

        It never fails: whoever pulls looks again.
        """
        host, _, name = gun.partition("/")
        if host != self._policies.host:
            return
        try:
            repository = RepositoryName(name)
            self._trust_data.of(self._policies.gun(repository), self._policy(repository))
        except TrustError as error:
            _log.warning("what was published for %r cannot be looked at now: %s", gun, error)

    def find(
        self,
        repository: RepositoryName,
        policy: Policy,
        digest: Digest,
        tag: Tag | None,
        judge: Judge = Case.manifest,
    ) -> Finding:
        """What a consumer would get of a manifest, and what is known about it; for `registry.explain`.

        Args:
            repository: where it is.
            policy: what is demanded.
            digest: the manifest itself, or what the tag stands for.
            tag: the tag that it is asked by, if by one.
            judge: asks something else than for that manifest; what it says follows from the case alone.
        """
        gun = self._policies.gun(repository)
        try:
            collection = self._collection(gun, policy, digest, tag)
        except (DeniedError, UnavailableError) as error:
            return Finding(gun, policy, refusal=error)
        in_grace = self._trust_data.in_grace(collection)

        def ask() -> tuple[Collection, Digest]:
            with self._database.read() as session:
                return collection, judge(Case(session, repository, policy, collection), digest, tag)

        # By its number, which is no other collection's for as long as the answer, which holds it, is kept.
        question = ("served", repository, policy, id(collection), digest, tag, judge)
        try:
            _, served = self._database.readings.get(question, ask)
        except (DeniedError, UnavailableError) as error:
            return Finding(gun, policy, collection, refusal=error, in_grace=in_grace)
        return Finding(gun, policy, collection, served, in_grace=in_grace)

    def _serve(
        self,
        grant: Grant,
        repository: RepositoryName,
        digest: Digest,
        tag: Tag | None,
        judge: Judge,
    ) -> Permit:
        policy = self._policy(repository)
        if policy.mode is Mode.DISABLED or may_sign(grant, repository):
            return Permit(digest)
        finding = self.find(repository, policy, digest, tag, judge)
        if finding.refusal is not None or finding.in_grace:
            tracing.takes_time()  # it is told of, once
        if (refusal := finding.refusal) is not None:
            if policy.mode.refuses:
                _log.warning("refused %s of %s to %r: %s", digest, repository, grant.subject, refusal)
                raise refusal
            _log.warning("would refuse %s of %s to %r: %s", digest, repository, grant.subject, refusal)
            return Permit(digest, f"would be refused: {refusal.message}", reason_of(refusal))
        if finding.in_grace:
            _log.warning("within the grace, served %s of %s: %s", digest, repository, finding.in_grace)
            warning = f"trust data is believed for a while after its end: {finding.in_grace}"
            return Permit(finding.digest, warning, "GRACE")
        return Permit(finding.digest)

    def _policy(self, repository: RepositoryName) -> Policy:
        def read() -> Policy:
            with self._database.read() as session:
                return self._policies.of(session, repository)

        return self._database.readings.get(("policy", repository), read)

    def _refuse_signed(
        self, gun: Gun, repository: RepositoryName, policy: Policy, reference: Tag | Digest | None
    ) -> None:
        try:
            collection = self._collection(gun, policy, None, None)
        except DeniedError:  # there is no trust data
            return
        with self._database.read() as session:
            signatures = Case(session, repository, policy, collection).signatures(reference)
        if signatures:
            what = reference or repository
            tags = sorted({tag for tag, _ in signatures})
            roles = sorted({role for _, role in signatures})
            raise SignedError(
                f"{what} is signed, as {', '.join(tags[:5])} by {', '.join(roles)}; take the signature away "
                f"first ('docker trust revoke {gun}:{tags[0]}'), or delete with ?trust=cascade",
                detail={"gun": gun, "reference": what, "tags": tags[:100], "roles": roles},
            )

    def _collection(self, gun: Gun, policy: Policy, digest: Digest | None, tag: Tag | None) -> Collection:
        try:
            return self._trust_data.of(gun, policy)
        except NotFoundError as error:
            raise denied(
                f"{gun} is not signed: there is no trust data for it; "
                f"sign it with 'docker trust sign {gun}:{tag or 'TAG'}'",
                "UNSIGNED", policy, gun=gun, digest=digest, tag=tag,
            ) from error  # fmt: skip
        except (UntrustedError, UnavailableError, UnauthorizedError) as error:
            raise undecided(
                f"the signatures of {gun} cannot be verified: {error.message}",
                error, policy, gun=gun, digest=digest, tag=tag,
            ) from error  # fmt: skip


def reason_of(error: DeniedError | UnavailableError) -> str:
    """The reason of a refusal in one word (docs/reference/refusals.md)."""
    # One without details is about a part of ours that does not answer.
    return str(error.detail["reason"]) if isinstance(error.detail, dict) else "UNAVAILABLE"


def may_sign(grant: Grant, repository: RepositoryName) -> bool:
    """Whether a caller may read what is not signed (docs/decisions/0016)."""
    # A registry without tokens gives everybody a grant without access: that exempts nobody.
    return bool(grant.access) and all(grant.allows("repository", repository, action) for action in ("pull", "push"))
