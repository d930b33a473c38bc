# SPDX-License-Identifier: Apache-2.0
"""One question about one repository, with all that is needed to answer it.

    case = Case(session, repository, policy, collection)
    case.manifest(digest, tag)        # gives the digest to serve, or raises
    case.blob(digest)
    case.signatures(digest)           # who would miss it

`registry.enforce` asks, and decides what becomes of the answer.  The closure follows the edges that were written when
a manifest was pushed (docs/decisions/0015).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from sqlalchemy.orm import Session

from registry import repositories
from registry.errors import ManifestUnknownError
from registry.policies import Mode, Policy
from registry.repositories import StoredManifest
from registry.rules import Rule, agreeing, counted
from trust.collection import Collection, Target, matches
from trust.errors import DeniedError, TrustError, UnavailableError, UntrustedError
from trust.names import Digest, RepositoryName, RoleName, Tag

#: So many manifests are asked what indexes name them, before a thing counts as not signed.
MAX_LOOKUPS = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """A repository, its policy and its verified trust collection, asked about one thing."""

    session: Session
    repository: RepositoryName
    policy: Policy
    collection: Collection

    def manifest(self, digest: Digest, tag: Tag | None) -> Digest:
        """What may be served of a manifest that was asked for.

        Args:
            digest: the manifest; the one that the tag stands for in the registry.
            tag: by which tag it was asked for, if by one.

        Returns:
            `digest`; in the mode `resolve` what the tag is signed as.

        Raises:
            DeniedError: nothing, since it is not signed as the policy demands.
            UnavailableError: a role that counts cannot be verified, and the others do not suffice.
            ManifestUnknownError: it is gone.
        """
        stored = self._stored(digest, tag)
        if tag is not None:
            return self._tagged(stored, digest, tag)
        if not self._are_covered([stored], self._rule.covers):
            self._deny(*self._uncovered(stored), digest)
        return digest

    def blob(self, digest: Digest, _tag: Tag | None = None) -> Digest:
        """What may be served of a blob; errors as for `manifest`."""
        holders = repositories.holders(self.session, self.repository, digest)
        if not self._are_covered(holders, self._rule.covers):
            self._deny(f"no signed manifest of {self.collection.gun} names the blob {digest}", "UNSIGNED", digest)
        return digest

    def signatures(self, reference: Tag | Digest | None) -> list[tuple[str, RoleName]]:
        """Tags and roles whose signatures would stand for nothing if a tag, a manifest, or all (None) were deleted.

        Raises:
            UnavailableError: a role that counts cannot be verified.
        """
        found: set[tuple[str, RoleName]] = set()

        def collect(hashes: Mapping[str, str]) -> bool:
            found.update(self.collection.signatures_of(hashes, self.policy.roles))
            return bool(found)

        if reference is None:
            found.update((target.name, target.role) for target in self.collection.targets(self.policy.roles))
        elif isinstance(reference, Tag):
            found.update((reference, role) for role in self._rule.signed(reference))
        else:
            self._are_covered([self._stored(reference, None)], collect)
        if not found:
            for role, error in self._skipped():
                raise undecided(
                    f"whether {reference or self.repository} is signed cannot be told; "
                    f"{role} cannot be verified: {error}",
                    error, self.policy, gun=self.collection.gun,
                )  # fmt: skip
        return sorted(found)

    @property
    def _rule(self) -> Rule:
        return Rule(self.collection, self.policy)

    def _stored(self, digest: Digest, tag: Tag | None) -> StoredManifest:
        stored = repositories.find_manifest(self.session, self.repository, digest)
        if stored is None:  # deleted a moment ago
            raise ManifestUnknownError("the repository has no such manifest", detail={"reference": tag or digest})
        return stored

    def _tagged(self, stored: StoredManifest, digest: Digest, tag: Tag) -> Digest:
        name = f"{self.collection.gun}:{tag}"
        signed = self._rule.signed(tag)
        if not signed:
            self._deny(
                f"{name} is not signed; sign it with 'docker trust sign {name}'", "UNSIGNED", stored.digest, tag
            )
        target = self._rule.tag(tag)
        if target is None:
            agree = agreeing(signed, stored.hashes)
            seated = counted(self.collection, agree)
            shared = f" (with keys of their own: {', '.join(seated)})" if len(seated) < len(agree) else ""
            self._deny(
                f"{name} is signed as {stored.digest} by {', '.join(agree) or 'no role'}{shared}, "
                f"and {self._demand()}",
                "TOO_FEW", stored.digest, tag,
            )  # fmt: skip
        if self._rule.lets_out(tag, stored.hashes):
            return digest
        resolves = self.policy.mode is Mode.RESOLVE
        here = self._signed_one(tag, target) if resolves else None
        # A role that cannot be verified might say something newer, and here nothing but the signatures decides.
        if here is not None and not list(self._skipped()):
            return here
        missing = ", which is not here" if resolves and here is None else ""
        self._deny(
            f"{name} was signed as {target.digest}{missing}, and the tag now stands for {stored.digest}; "
            f"sign that with 'docker trust sign {name}', or pull the signed digest",
            "TAG_MOVED", stored.digest, tag, signed=target.digest,
        )  # fmt: skip

    def _signed_one(self, tag: Tag, target: Target) -> Digest | None:
        digest = Digest(target.digest)
        stored = repositories.find_manifest(self.session, self.repository, digest)
        if stored is None or not matches(target.hashes, stored.hashes):
            return None
        return digest if self._rule.is_met(tag, stored.hashes) else None

    def _uncovered(self, stored: StoredManifest) -> tuple[str, str]:
        name = f"{self.collection.gun}@{stored.digest}"
        if self.collection.is_signed(stored.hashes, self.policy.roles):
            return f"{name} is signed by too few, since {self._demand()}", "TOO_FEW"
        return f"{name} is not signed, nor part of a signed index", "UNSIGNED"

    def _demand(self) -> str:
        roles = ", ".join(self.policy.roles)
        return f"{self.policy.needed} of {roles} must sign the same, each with keys of its own"

    def _are_covered(
        self, manifests: Sequence[StoredManifest], is_signed: Callable[[Mapping[str, str]], bool]
    ) -> bool:
        """Whether one of the manifests, or an index above one, is signed (whatever the tag)."""
        seen = {each.sha256 for each in manifests}
        found, waiting, lookups = manifests, deque[StoredManifest](), 0
        while not any(is_signed(each.hashes) for each in found):
            # The newest first: what was pushed lately is signed more often than what is old.
            waiting.extend(reversed(found))
            if not waiting or lookups >= MAX_LOOKUPS:
                return False
            lookups += 1
            above = repositories.parents(self.session, self.repository, waiting.popleft().digest)
            found = [each for each in above if each.sha256 not in seen]
            seen.update(each.sha256 for each in found)
        return True

    def _skipped(self) -> Iterable[tuple[RoleName, UntrustedError]]:
        """Roles that say neither yes nor no, and on which one that counts rests."""
        for role, error in self.collection.skipped.items():
            if any(wanted == role or wanted.startswith(f"{role}/") for wanted in self.policy.roles):
                yield role, error

    def _deny(
        self, message: str, reason: str, digest: Digest, tag: Tag | None = None, *, signed: str | None = None
    ) -> NoReturn:
        facts = {"gun": self.collection.gun, "digest": digest, "tag": tag, "signed_digest": signed}
        for role, error in self._skipped():
            raise undecided(f"{message}; {role} cannot be verified: {error}", error, self.policy, **facts)
        raise denied(message, reason, self.policy, **facts)


def denied(message: str, reason: str, policy: Policy, **facts: str | None) -> DeniedError:
    """It is known that content is not signed as the policy demands."""
    return DeniedError(message, detail=_detail(reason, policy, facts))


def undecided(message: str, error: TrustError, policy: Policy, **facts: str | None) -> UnavailableError:
    """It cannot be known whether content is signed."""
    reason = error.reason if isinstance(error, UntrustedError) else "UNAVAILABLE"
    return UnavailableError(message, detail=_detail(reason, policy, facts))


def _detail(reason: str, policy: Policy, facts: Mapping[str, str | None]) -> dict[str, object]:
    known: dict[str, object] = {name: value for name, value in facts.items() if value is not None}
    if policy.needed > 1:
        known["required"] = policy.needed
    return {"reason": reason, "policy": policy.mode.value, "roles": list(policy.roles), **known}
