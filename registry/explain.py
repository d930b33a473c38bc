# SPDX-License-Identifier: Apache-2.0
"""Why a pull is served or refused, as facts: what `registry.enforce` decides, and all that the decision rests on.

    explainer = Explainer(database, policies, enforcer, trust_data)
    explainer.explain(repository, Tag("1"))["decision"]
    explainer.tags(repository, last="", limit=100)[0]["signed_by"]

It asks the enforcer itself, so it cannot say anything else than a pull would get.  The answer is that of a consumer
(a token for pull alone); the members are in docs/reference/refusals.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry import repositories
from registry.cases import Case
from registry.enforce import Enforcer, Finding
from registry.policies import Mode, Policies, Policy
from registry.repositories import StoredManifest
from registry.rules import Rule, agreeing, counted
from registry.trustdata import TrustData
from trust.collection import Collection, Target
from trust.errors import NotFoundError, UnavailableError, UntrustedError
from trust.keys import NotaryKey
from trust.metadata import NotaryMetadata
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Digest, RepositoryName, RoleName, Tag
from trust.web.database import Database

Facts = dict[str, Any]

#: What nothing has.
_NOTHING = Digest(f"sha256:{'0' * 64}")


def _allow(_case: Case, digest: Digest, _tag: Tag | None) -> Digest:
    return digest


class Explainer:
    """Explains decisions.

    Args:
        database: the registry's.
        policies: what each repository demands.
        enforcer: decides.
        trust_data: knows which root was believed last.
    """

    def __init__(self, database: Database, policies: Policies, enforcer: Enforcer, trust_data: TrustData) -> None:
        self._database = database
        self._policies = policies
        self._enforcer = enforcer
        self._trust_data = trust_data

    def explain(self, repository: RepositoryName, reference: Tag | Digest) -> Facts:
        """What a consumer would get, and why.

        Args:
            repository: where.
            reference: what is asked for.

        Returns:
            An object for JSON.
        """
        tag = reference if isinstance(reference, Tag) else None
        with self._database.read() as session:
            policy = self._policies.of(session, repository)
            sources = self._policies.sources(session, repository)
            digest = repositories.resolve_tag(session, repository, tag) if tag else Digest(reference)
            stored = None if digest is None else repositories.find_manifest(session, repository, digest)
        # What is not here is not served; what the trust data says of it is told all the same.
        asked = digest or _NOTHING
        try:
            finding = self._enforcer.find(repository, policy, asked, tag, Case.manifest if stored else _allow)
        except NotFoundError:  # deleted a moment ago
            return self.explain(repository, reference)
        facts: Facts = {
            "repository": repository,
            "reference": reference,
            "gun": finding.gun,
            "digest": digest,
            **_decision(finding, stored),
            "policy": _policy(policy, sources),
            "root": {"believed_version": self._trust_data.believed_root(finding.gun)},
            "roles": [],
        }
        if finding.collection is not None:
            facts["root"] |= _root(finding.collection, policy)
            facts["roles"] = list(_roles(finding.collection, policy, tag, stored))
            facts["signed_digest"] = _signed(finding.collection, policy, tag)
        return facts

    def tags(self, repository: RepositoryName, last: str, limit: int) -> list[Facts]:
        """The tags after `last`, in ASCII order, with whose signatures they have; the trust data is read once.

        Args:
            repository: where.
            last: a tag, or nothing.
            limit: how many at most.

        Returns:
            Objects for JSON.  `signed` says whether the policy's demand is met by what the tag stands for; None: that
            cannot be told now.
        """
        with self._database.read() as session:
            policy = self._policies.of(session, repository)
            found = repositories.list_tagged(session, repository, last, limit)
        finding = self._enforcer.find(repository, policy, _NOTHING, None, _allow)
        unknown = isinstance(finding.refusal, UnavailableError)
        rule = None if finding.collection is None else Rule(finding.collection, policy)
        return [
            {
                "tag": tag,
                "digest": stored.digest,
                "media_type": stored.media_type,
                "size": stored.size,
                "moved": f"{moved:%Y-%m-%dT%H:%M:%SZ}",
                "signed": None if unknown else rule is not None and rule.lets_out(tag, stored.hashes),
                "signed_by": list(agreeing(rule.signed(tag), stored.hashes)) if rule else [],
                "signed_digest": target.digest if rule and (target := rule.tag(tag)) else None,
                "immutable": policy.is_immutable(tag),
            }
            for tag, moved, stored in found
        ]


def _decision(finding: Finding, stored: StoredManifest | None) -> Facts:
    """What happens, with which status and code, and why in one sentence."""
    refusal, mode = finding.refusal, finding.policy.mode
    detail = refusal.detail if refusal is not None else None
    reason = str(detail["reason"]) if isinstance(detail, dict) else "SIGNED"
    message = refusal.message if refusal is not None else "signed as the policy demands"
    if stored is None:
        return {
            "decision": "absent", "status": 404, "reason": "NOT_HERE", "served_digest": None,
            "message": "the repository has no such tag or manifest",
        }  # fmt: skip
    if mode is Mode.DISABLED:
        message = "the policy asks for no signature"
        return {
            "decision": "served", "status": 200, "reason": "DISABLED", "served_digest": stored.digest,
            "message": message if refusal is None else f"{message}; it would be refused: {refusal.message}",
        }  # fmt: skip
    if refusal is None:
        if finding.digest not in stored.digests:
            message = f"the tag stands for {stored.digest}, and is served as what it is signed as"
        return {
            "decision": "served", "status": 200, "reason": "GRACE" if finding.in_grace else reason,
            "served_digest": finding.digest,
            "message": f"{message}, within the grace: {finding.in_grace}" if finding.in_grace else message,
        }  # fmt: skip
    if not mode.refuses:
        return {
            "decision": "served", "status": 200, "reason": reason, "served_digest": stored.digest,
            "message": f"served with a warning, since the policy is permissive: {message}",
        }  # fmt: skip
    undecided = isinstance(refusal, UnavailableError)
    return {
        "decision": "undecided" if undecided else "refused", "status": refusal.status, "reason": reason,
        "served_digest": None, "message": message,
    }  # fmt: skip


def _policy(policy: Policy, sources: list[str]) -> Facts:
    return {
        "mode": policy.mode.value,
        "roles": list(policy.roles),
        "require": policy.require,
        "needed": policy.needed,
        "pins": list(policy.pins),
        "grace_days": policy.grace_days,
        "immutable": list(policy.immutable),
        "from": [*sources, "settings"],
    }


def _root(collection: Collection, policy: Policy) -> Facts:
    keys = collection.keys(ROOT)
    pinned = [key.keyid for key in keys if {key.keyid, key.canonical_id} & set(policy.pins)]
    return {
        "version": collection.root.signed.version,
        "expires": collection.root.signed.expires.isoformat(),
        "threshold": collection.threshold(ROOT),
        "keys": [_key(key) for key in keys],
        "signed_by": [_key(key) for key in collection.signed_by(ROOT)],
        "pinned": pinned,
    }


def _roles(collection: Collection, policy: Policy, tag: Tag | None, stored: StoredManifest | None) -> Iterator[Facts]:
    """Each role that was looked at, from the timestamp down."""
    signed = Rule(collection, policy).signed(tag) if tag else {}
    agree = set(agreeing(signed, stored.hashes)) if tag and stored else _signing(collection, policy, stored)
    seated = counted(collection, agree)
    files: dict[RoleName, NotaryMetadata[Any]] = {TIMESTAMP: collection.timestamp, SNAPSHOT: collection.snapshot}
    for role, meta in (files | dict(collection.roles)).items():
        facts: Facts = {
            "role": role,
            "version": meta.signed.version,
            "expires": meta.signed.expires.isoformat(),
            "threshold": collection.threshold(role),
            "keys": [_key(key) for key in collection.keys(role)],
            "signed_by": [_key(key) for key in collection.signed_by(role)],
            "counts": role in policy.roles,
        }
        if role in policy.roles:
            target: Target | None = signed.get(role)
            facts |= {
                "signs": target.digest if target else None,
                "agrees": role in agree,
                "counted": role in seated,
            }
        yield facts
    for role, error in collection.skipped.items():
        yield {"role": role, "counts": role in policy.roles, "reason": error.reason, "error": error.message}
    for role in dict.fromkeys(policy.roles):
        if role not in collection.roles and role not in collection.skipped:
            yield {"role": role, "counts": True, "reason": "ABSENT", "error": f"{TARGETS} leads to no such file"}


def _signing(collection: Collection, policy: Policy, stored: StoredManifest | None) -> set[RoleName]:
    """Roles that sign a manifest under whichever tag."""
    return {role for _, role in collection.signatures_of(stored.hashes, policy.roles)} if stored else set()


def _signed(collection: Collection, policy: Policy, tag: Tag | None) -> str | None:
    target = Rule(collection, policy).tag(tag) if tag else None
    return target.digest if target else None


def _key(key: NotaryKey) -> str:
    """As key files are named."""
    try:
        return key.canonical_id
    except UntrustedError:
        return key.keyid
