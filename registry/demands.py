# SPDX-License-Identifier: Apache-2.0
"""What can be demanded of signatures, and which of two demands is the stricter: values and pure functions.

    Policy(Mode.ENFORCED, roles=(RoleName("targets/qa"),), pins=(keyid,))
    tightened(policy, Said(mode=Mode.PERMISSIVE, grace_days=0))     # still enforced, and without a grace

A `Policy` is whole; what a place says of itself (`Said`) may leave parts open.  Where what is said counts, and whose
word it is, `registry.policies` knows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from trust.collection import DOCKER_ROLES
from trust.errors import InvalidError
from trust.names import RoleName

MAX_PINS = 16
MAX_ROLES = 16
MAX_PATTERNS = 16
MAX_GRACE_DAYS = 365
_PIN = re.compile(r"[0-9a-f]{64}")
_REQUIRE = re.compile(r"any|all|[1-9][0-9]?")
_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}")


class Mode(StrEnum):
    """What happens to content that is not signed as the policy demands."""

    DISABLED = "disabled"  #: it is served; nothing is asked
    PERMISSIVE = "permissive"  #: it is served, with a warning and a log line
    ENFORCED = "enforced"  #: it is refused
    RESOLVE = "resolve"  #: it is refused; but a tag that was moved is served as what it is signed as

    @property
    def refuses(self) -> bool:
        """Whether anything is refused at all."""
        return self in (Mode.ENFORCED, Mode.RESOLVE)


@dataclass(frozen=True, slots=True)
class Policy:
    """The demand on one repository.

    Attributes:
        mode: see `Mode`.
        roles: whose signatures count; the first role that has a tag decides what it stands for.
        pins: IDs of root keys (the key's or its certificate's) of which one must have signed the root; empty: the
            first root seen is believed, and then for ever.
        require: how many of the roles must sign the same: `any`, `all`, or a number.
        grace_days: for how many days expired trust data is believed; never a root.
        immutable: patterns (`*`, `?`, `[…]`) of tags that cannot be moved or deleted once they were pushed.

    Raises:
        InvalidError: a role signs no content, a pin is no key ID, a number is out of range, or a list is too long.
    """

    mode: Mode
    roles: tuple[RoleName, ...] = DOCKER_ROLES
    pins: tuple[str, ...] = ()
    require: str = "any"
    grace_days: int = 0
    immutable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.roles) <= MAX_ROLES or not all(role.is_targets for role in self.roles):
            raise InvalidError(f"the roles that count are targets and its delegations, 1 to {MAX_ROLES} of them")
        if len(self.pins) > MAX_PINS or not all(_PIN.fullmatch(pin) for pin in self.pins):
            raise InvalidError(f"a pin is a key ID of 64 hex digits, and there are at most {MAX_PINS}")
        if not _REQUIRE.fullmatch(self.require) or self.needed > len(set(self.roles)):
            raise InvalidError("any, all, or a number of the roles that count must sign, and not more than there are")
        if not 0 <= self.grace_days <= MAX_GRACE_DAYS:
            raise InvalidError(f"the grace for expired trust data is 0 to {MAX_GRACE_DAYS} days")
        # Not how many: they add up.
        if not all(_PATTERN.fullmatch(each) for each in self.immutable):
            raise InvalidError("a pattern of immutable tags has letters, digits, ._- and the wildcards * ? [ ]")

    @property
    def needed(self) -> int:
        """How many of the roles must sign the same."""
        if self.require == "all":
            return len(set(self.roles))
        return 1 if self.require == "any" else int(self.require)

    @property
    def grace(self) -> timedelta:
        """For how long expired trust data is believed."""
        return timedelta(days=self.grace_days)

    def is_immutable(self, tag: str) -> bool:
        """Whether `tag`, once pushed, stays what it is."""
        return any(fnmatchcase(tag, pattern) for pattern in self.immutable)


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says of itself; None: as the next wider one.  The parts are those of `Policy`.

    `require` belongs to `roles` and is never said without them.
    """

    mode: Mode | None = None
    roles: tuple[RoleName, ...] | None = None
    require: str | None = None
    pins: tuple[str, ...] | None = None
    grace_days: int | None = None
    immutable: tuple[str, ...] | None = None

    def parts(self) -> dict[str, object]:
        """What is said, by the parts' names."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


#: The parts that a policy has.
PARTS = tuple(each.name for each in fields(Said))
_STRICTNESS = (Mode.DISABLED, Mode.PERMISSIVE, Mode.RESOLVE, Mode.ENFORCED)


def refined(wider: Policy, said: Said) -> Policy:
    """`wider` with all that is said in the place of what was there; roles bring their number along."""
    roles, require = (said.roles, said.require or "any") if said.roles else (wider.roles, wider.require)
    return Policy(
        said.mode or wider.mode,
        roles,
        said.pins or wider.pins,
        require,
        wider.grace_days if said.grace_days is None else said.grace_days,
        wider.immutable if said.immutable is None else said.immutable,
    )


def tightened(wider: Policy, said: Said) -> Policy:
    """`wider` with what is said on top: never less strict than it, whatever is said.

    A part that falls short of `wider` does not count.  Patterns of immutable tags are added up, and of pins those
    count that both name.
    """
    short = falls_short(wider, said)
    own = refined(wider, said)
    roles = wider if "roles" in short else own
    return Policy(
        wider.mode if "mode" in short else own.mode,
        roles.roles,
        tuple(pin for pin in own.pins if not wider.pins or pin in wider.pins) or wider.pins,
        roles.require,
        wider.grace_days if "grace_days" in short else own.grace_days,
        tuple(dict.fromkeys((*wider.immutable, *own.immutable))),
    )


def falls_short(wider: Policy, said: Said) -> list[str]:
    """Which parts of what is said are less strict than `wider`, or neither stricter nor less strict."""
    own = refined(wider, said)
    short = {
        "mode": _STRICTNESS.index(own.mode) < _STRICTNESS.index(wider.mode),
        "roles": _least(own, wider.roles) < wider.needed,
        "pins": bool(wider.pins) and not set(own.pins) <= set(wider.pins),
        "grace_days": own.grace_days > wider.grace_days,
    }
    return [part for part, is_short in short.items() if is_short]


def _least(policy: Policy, roles: Sequence[RoleName]) -> int:
    """How many of `roles` sign at least whatever `policy` lets out."""
    return policy.needed - len(set(policy.roles) - set(roles))
