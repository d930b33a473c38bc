# SPDX-License-Identifier: Apache-2.0
"""Where tags and signatures have drifted apart.

For each repository that has trust data: a signed tag that stands for something else here (`moved`), that is not here
any more (`deleted`), or whose signed content is not here (`missing`); a tag that too few of the roles sign alike
(`too-few`); trust data that cannot be believed (`unverifiable`), and what ends soon (`expiring`).

What a tag is worth is asked of `registry.cases`, as for a pull; what it is signed as, of `registry.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.orm import Session

from registry.jobs.findings import Finding, Findings, expiring, unverifiable
from registry.jobs.kinds import Report, Turn
from registry.jobs.trust import Parts, Signed, each_signed
from registry.operations import Schema, object_schema
from registry.repositories import find_manifest, list_tags, resolve_tag
from registry.rules import Rule
from trust.collection import Target, matches
from trust.errors import DeniedError, InvalidError, NotFoundError, TrustError, UnavailableError
from trust.names import Digest, RepositoryName, Tag

#: Days ahead of their end that roles are told of.
WITHIN_DAYS = 90
#: So many repositories are in a report one by one.
MAX_REPOSITORIES = 1000
_PAGE = 500

#: The options of the job.
OPTIONS: Schema = object_schema(
    {
        "within_days": {
            "type": "integer",
            "minimum": 0,
            "maximum": 3650,
            "description": f"tell of what ends within so many days; {WITHIN_DAYS}",
        }
    }
)


def drift(parts: Parts, turn: Turn) -> Report:
    """Look at every repository; the report has the findings, and for each repository how many."""
    within = timedelta(days=turn.options.get("within_days", WITHIN_DAYS))
    repositories: dict[str, dict[str, int]] = {}
    findings, count = Findings(turn), 0
    for repository, signed in each_signed(parts, turn):
        before, tags, signed_tags = findings.count, 0, 0
        if isinstance(signed, TrustError):
            findings.add(unverifiable(parts.policies.gun(repository), repository, signed))
        elif signed.collection is None:
            continue
        else:
            for tag, target in _tags(parts, signed):
                turn.check()
                tags += 1
                signed_tags += target is not None
                with parts.database.read() as session:
                    finding = _look(session, signed, tag, target)
                if finding is not None:
                    findings.add(finding)
            for role, error in signed.collection.skipped.items():
                findings.add(unverifiable(signed.gun, repository, error, role))
            for each in expiring(repository, signed.collection, parts.clock(), within):
                findings.add(each)
        count += 1
        if len(repositories) < MAX_REPOSITORIES:
            found = findings.count - before
            repositories[str(repository)] = {"tags": tags, "signed": signed_tags, "findings": found}
    return {"collections": count, "repositories": repositories, **findings.facts()}


def _tags(parts: Parts, signed: Signed) -> Iterator[tuple[Tag, Target | None]]:
    """Every tag that is here or signed, with what it is signed as by enough roles."""
    assert signed.collection is not None
    rule, last, seen = Rule(signed.collection, signed.policy), "", set()
    while True:
        with parts.database.read() as session:
            names = list_tags(session, signed.repository, last, _PAGE)
        for name in names:
            seen.add(name)
            yield Tag(name), rule.tag(name)
        if len(names) < _PAGE:
            break
        last = names[-1]
    for target in signed.collection.targets(signed.policy.roles):
        if target.name not in seen:
            seen.add(target.name)
            try:
                yield Tag(target.name), rule.tag(target.name)
            except InvalidError:  # a name that no image can have: notary signs any file
                continue


def _look(session: Session, signed: Signed, tag: Tag, target: Target | None) -> Finding | None:
    """What is wrong with a tag, if something is."""
    assert signed.collection is not None
    digest = resolve_tag(session, signed.repository, tag)
    signed_digest = None if target is None else target.digest

    def finding(word: str, message: str) -> Finding:
        return Finding(
            finding=word, repository=signed.repository, gun=signed.gun, message=message, tag=tag, digest=digest,
            signed_digest=signed_digest,
        )  # fmt: skip

    if target is not None and not _is_here(session, signed.repository, target):
        stands = f"stands for {digest} here" if digest else "is not here either"
        return finding("missing", f"{tag} is signed as {signed_digest}, which is not here; the tag {stands}")
    if digest is None:
        if target is None:
            return None  # signed by too few, and not here
        return finding("deleted", f"{tag} is signed as {signed_digest}, and the tag is not here")
    try:
        served = signed.case(session).manifest(digest, tag)
    except DeniedError as error:
        reason = error.detail["reason"] if isinstance(error.detail, dict) else ""
        words = {"TAG_MOVED": "moved", "TOO_FEW": "too-few"}  # UNSIGNED: nothing has drifted
        return finding(words[reason], error.message) if reason in words else None
    except (UnavailableError, NotFoundError):  # a role cannot be verified, which is told once; or it was deleted
        return None
    if served != digest:  # in the mode `resolve`
        return finding("moved", f"{tag} stands for {digest}, and is served as what it is signed as, {served}")
    return None


def _is_here(session: Session, repository: RepositoryName, target: Target) -> bool:
    try:
        stored = find_manifest(session, repository, Digest(target.digest))
    except InvalidError:
        return False
    return stored is not None and matches(target.hashes, stored.hashes)
