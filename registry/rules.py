# SPDX-License-Identifier: Apache-2.0
"""What a policy's roles say together: which of them sign the same, and whether these are enough.

    rule = Rule(collection, policy)
    rule.tag("1")                 # the target that the tag is signed as, by enough roles; or None
    rule.covers(hashes)           # whether some tag is signed as content with these hashes, by enough roles

Two roles agree if they sign the same tag as the same content.  The first role of the policy's order with whom enough
others agree decides; where any role will do, that is docker's own rule (NOTARY_V1 §6.6).

No key counts twice.  Each role that counts brings as many keys as its threshold, and a key that was brought by one
is not there for another, whatever IDs it is filed under: who sits in two teams is not two people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.policies import Policy
from trust.collection import Collection, Target, matches
from trust.errors import NotFoundError
from trust.names import RoleName


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy's demand, and the collection that should meet it."""

    collection: Collection
    policy: Policy

    def signed(self, name: str) -> dict[RoleName, Target]:
        """What each role that counts signs a tag as, in the policy's order."""
        found = {}
        for role in dict.fromkeys(self.policy.roles):
            try:
                found[role] = self.collection.lookup(name, [role])
            except NotFoundError:
                continue
        return found

    def tag(self, name: str) -> Target | None:
        """What a tag is signed as, by enough roles."""
        signed = self.signed(name)
        for target in signed.values():
            if self.is_enough(agreeing(signed, target.hashes)):
                return target
        return None

    def lets_out(self, name: str, hashes: Mapping[str, str]) -> bool:
        """Whether content with these hashes is what a tag is signed as, by enough roles."""
        target = self.tag(name)
        return target is not None and matches(target.hashes, hashes) and self.is_met(name, hashes)

    def is_met(self, name: str, hashes: Mapping[str, str]) -> bool:
        """Whether enough roles sign a tag as content with these hashes."""
        return self.is_enough(agreeing(self.signed(name), hashes))

    def covers(self, hashes: Mapping[str, str]) -> bool:
        """Whether some tag is signed as content with these hashes, by enough roles."""
        found: dict[str, set[RoleName]] = {}
        for name, role in self.collection.signatures_of(hashes, self.policy.roles):
            if self.policy.needed == 1:
                return True
            found.setdefault(name, set()).add(role)
        # There may be many tags, and few ways in which they are signed.
        return any(self.is_enough(roles) for roles in {frozenset(roles) for roles in found.values()})

    def is_enough(self, roles: Iterable[RoleName]) -> bool:
        """Whether these roles, if they agree, are as many as the policy wants."""
        roles = set(roles)
        return len(roles) >= self.policy.needed and len(counted(self.collection, roles)) >= self.policy.needed


def agreeing(signed: Mapping[RoleName, Target], hashes: Mapping[str, str]) -> list[RoleName]:
    """Those roles that sign content with these hashes."""
    return [role for role, target in signed.items() if matches(target.hashes, hashes)]


def counted(collection: Collection, roles: Iterable[RoleName]) -> tuple[RoleName, ...]:
    """Those of `roles` that count side by side, each with keys of its own."""
    ballots = {
        role: Ballot(frozenset(key.material for key in collection.signed_by(role)), collection.threshold(role))
        for role in roles
    }
    return seated(ballots)


@dataclass(frozen=True, slots=True)
class Ballot:
    """The keys that signed a role, and how many of them it takes."""

    keys: frozenset[bytes]
    threshold: int


def seated(ballots: Mapping[RoleName, Ballot]) -> tuple[RoleName, ...]:
    """The roles that can have as many keys as their thresholds, none of which another has.

    Roles with a low threshold are seated first.  Where all thresholds are 1, nobody could seat more of them; where
    some are higher, it may be fewer than possible, never more.
    """
    seats: list[frozenset[bytes]] = []  # for each key that is needed, who could sit there
    holders: dict[bytes, int] = {}  # who sits where
    found = []
    for role in sorted(ballots, key=lambda role: (ballots[role].threshold, role)):
        wanted = [*seats, *[ballots[role].keys] * ballots[role].threshold]
        attempt = dict(holders)
        if all(_seat(seat, wanted, attempt, set()) for seat in range(len(seats), len(wanted))):
            seats, holders = wanted, attempt
            found.append(role)
    return tuple(found)


def _seat(seat: int, wanted: list[frozenset[bytes]], holders: dict[bytes, int], asked: set[bytes]) -> bool:
    """Find somebody for a seat, who may have to leave another if there is somebody else for that one."""
    for key in sorted(wanted[seat] - asked):
        asked.add(key)
        if key not in holders or _seat(holders[key], wanted, holders, asked):
            holders[key] = seat
            return True
    return False
