# SPDX-License-Identifier: Apache-2.0
"""What a job found that somebody should look at, in a form that a program can act on.

    Finding("moved", repository, gun, subject="1", digest=…, signed_digest=…).facts()

The same state of affairs gives the same `id` at every run, so that whoever is told of findings can tell what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from registry.jobs.kinds import Turn
from trust.collection import Collection
from trust.errors import TrustError, UntrustedError
from trust.metadata import NotaryMetadata
from trust.names import SNAPSHOT, TIMESTAMP, Gun, RepositoryName

#: So many findings are in a report; of more, only how many there are.
MAX_FINDINGS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        finding: what it is, in a word (docs/how-to/jobs.md).
        repository: where.
        gun: the trust collection.
        message: what it is, in a sentence.
        tag: which tag it is about, if it is about one.
        role: which role it is about, if it is about one.
        digest: what the tag stands for here.
        signed_digest: what it is signed as.
        expires: when the role ends.
    """

    finding: str
    repository: RepositoryName
    gun: Gun
    message: str
    tag: str | None = None
    role: str | None = None
    digest: str | None = None
    signed_digest: str | None = None
    expires: datetime | None = None

    def facts(self) -> dict[str, str]:
        """What there is of it, for JSON."""
        values: dict[str, str | None] = {
            "finding": self.finding,
            "repository": self.repository,
            "gun": self.gun,
            "tag": self.tag,
            "role": self.role,
            "digest": self.digest,
            "signed_digest": self.signed_digest,
            "expires": None if self.expires is None else self.expires.isoformat(),
        }
        known = {name: str(value) for name, value in values.items() if value is not None}
        return known | {"id": "|".join(known.values()), "message": self.message}


class Findings:
    """Collects findings, and says each in the run's log."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._found: list[dict[str, str]] = []
        self.count = 0

    def add(self, finding: Finding) -> None:
        """Add one."""
        self.count += 1
        self._turn.log(f"{finding.repository}: {finding.message}")
        if len(self._found) < MAX_FINDINGS:
            self._found.append(finding.facts())

    def facts(self) -> dict[str, object]:
        """Members of a report: `findings`, and how many are not among them."""
        return {"findings": self._found, "findings_left_out": self.count - len(self._found)}


def expiring(
    repository: RepositoryName, collection: Collection, now: datetime, within: timedelta
) -> Iterator[Finding]:
    """The roles that people sign and that end soon, or have ended and are believed for a while all the same.

    The snapshot is among them only if the notary server, whose business it is to renew it once half of its life is
    over, has not done so: then its key is its owner's.
    """
    files: list[NotaryMetadata[Any]] = [collection.root, collection.snapshot, *collection.roles.values()]
    for meta in files:
        left = meta.signed.expires - now
        if left <= within:
            by = "its owner has the key of the snapshot" if meta.role == SNAPSHOT else "only its signers can renew it"
            yield _ends("expiring", repository, collection, meta.role, meta.signed.expires, left, by)


def not_renewed(
    repository: RepositoryName, collection: Collection, now: datetime, within: timedelta
) -> Iterator[Finding]:
    """The timestamp, if the notary server has been asked for it and has not renewed it although it ends soon."""
    expires = collection.timestamp.signed.expires
    if expires - now <= within:
        why = "the notary server does not renew it: look at its log, and at the signer"
        yield _ends("not-renewed", repository, collection, TIMESTAMP, expires, expires - now, why)


def unverifiable(gun: Gun, repository: RepositoryName, error: TrustError, role: str | None = None) -> Finding:
    """Trust data that cannot be had or believed; of one role, or none at all."""
    reason = error.reason if isinstance(error, UntrustedError) else "UNAVAILABLE"
    message = f"{role or 'the trust data'} cannot be believed ({reason}): {error.message}"
    return Finding(finding="unverifiable", repository=repository, gun=gun, message=message, role=role)


def _ends(
    word: str,
    repository: RepositoryName,
    collection: Collection,
    role: str,
    expires: datetime,
    left: timedelta,
    why: str,
) -> Finding:
    when = f"ends in {left.days} days" if left > timedelta() else "has ended"
    return Finding(
        finding=word, repository=repository, gun=collection.gun, role=role, expires=expires,
        message=f"{role} {when}, at {expires.isoformat()}; {why}",
    )  # fmt: skip
