# SPDX-License-Identifier: Apache-2.0
"""A verified TUF 1.0 repository: which targets are signed, by whom, until when.

`StandardCollection` answers as `trust.collection.Collection` does, by the standard's rule (TUF 1.0 §5.6.7): roles are
asked in the order of their delegations, each before those that it delegates to, and the first that has the name
decides; behind a terminating delegation nobody else is asked.  A delegation that cannot be verified decides, too:
nothing below it or behind it is believed for the names that it was given.

Delegations are read when a name needs them, since a repository may have thousands; what was read stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from trust.collection import Target, matches
from trust.errors import (
    DelegationError,
    ExpiredError,
    FormatError,
    InvalidError,
    NotFoundError,
    RollbackError,
    UnavailableError,
    UntrustedError,
)
from trust.names import ROOT, TARGETS, RoleName
from trust.standard.failures import translated
from trust.standard.names import StandardRole

#: So many roles are asked for one name (python-tuf's limit), and read in all.
MAX_WALK = 32
MAX_ROLES = 1000

Chain = tuple[Metadata[Targets], ...]


class StandardCollection:
    """Verified metadata of one repository.

    Args:
        root: the top-level files, all of them verified.
        timestamp: see there.
        snapshot: see there.
        targets: see there.
        fetch: gives the file of a delegation, unverified; its snapshot entry says which.
        clock: gives the time, aware.
    """

    def __init__(
        self,
        root: Metadata[Root],
        timestamp: Metadata[Timestamp],
        snapshot: Metadata[Snapshot],
        targets: Metadata[Targets],
        fetch: Callable[[str, MetaFile], bytes],
        clock: Callable[[], datetime],
    ) -> None:
        self.root = root
        self.timestamp = timestamp
        self.snapshot = snapshot
        self._fetch = fetch
        self._clock = clock
        self._outcomes: dict[tuple[str, str], Metadata[Targets] | UntrustedError] = {(TARGETS, ROOT): targets}

    @property
    def roles(self) -> Mapping[RoleName, Metadata[Targets]]:
        """`targets` and each delegation that can be verified; reads them all.

        Raises:
            DelegationError: there are too many.
            UnavailableError: one cannot be read.
        """
        return self._all()[0]

    @property
    def skipped(self) -> Mapping[RoleName, UntrustedError]:
        """Delegations that are not to be believed, and why; reads them all, see `roles`."""
        return self._all()[1]

    def check_fresh(self, now: datetime) -> None:
        """All that was read is still valid at `now`.

        Raises:
            ExpiredError: it is not; refresh.
        """
        read = [meta for meta in self._outcomes.values() if isinstance(meta, Metadata)]
        resting_on: list[Metadata[Any]] = [self.root, self.timestamp, self.snapshot, *read]
        for meta in resting_on:
            if meta.signed.is_expired(now):
                raise ExpiredError(meta.signed.type, meta.signed.expires)

    def lookup(self, name: str, roles: Sequence[RoleName] | None = None) -> Target:
        """The signed target `name`.

        Args:
            name: its path in the repository.
            roles: whose word counts; None is everybody's.  Who decides is for the repository to say: a name that
                another role decides is not signed by these.

        Raises:
            NotFoundError: nobody who counts signs it.
            InvalidError: the name is no text that can be signed.
            UntrustedError: a delegation that has a say is not to be believed.
            UnavailableError: a delegation cannot be read.
        """
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidError(f"{name[:80]!r} cannot be the name of a target") from error
        for role, chain in self._walk(name):
            file = chain[-1].signed.targets.get(name)
            if file is None:
                continue
            if roles is not None and role not in roles:
                break
            return self._target(name, role, file, chain)
        raise NotFoundError(f"No valid trust data for {name}", detail={"roles": list(roles or ())})

    def targets(self, roles: Sequence[RoleName] | None = None) -> Iterator[Target]:
        """Every target that `lookup` finds; names that a role in `skipped` would decide are left out."""
        for name in dict.fromkeys(name for meta in self.roles.values() for name in meta.signed.targets):
            try:
                yield self.lookup(name, roles)
            except (NotFoundError, InvalidError, UntrustedError):
                continue  # outside of the role's paths, or undecided

    def is_signed(self, hashes: Mapping[str, str], roles: Sequence[RoleName] | None = None) -> bool:
        """Whether some target names content with these hashes, whatever its name.

        Args:
            hashes: algorithm to hex of the content, all that are known.
            roles: whose word counts; None is everybody's.
        """
        return any(matches(target.hashes, hashes) for target in self.targets(roles))

    def _target(self, name: str, role: RoleName, file: TargetFile, chain: Chain) -> Target:
        vouching: list[Metadata[Any]] = [self.root, self.timestamp, self.snapshot, *chain]
        expires = min(meta.signed.expires for meta in vouching)
        signers = (str(role),) if role.is_delegation else ()
        return Target(name, role, file.hashes, file.length, signers, expires, file.custom)

    def _walk(self, name: str) -> Iterator[tuple[RoleName, Chain]]:
        """The roles that may say something of `name`, who counts most first, each with those above it."""
        waiting: list[tuple[RoleName, RoleName, Chain]] = [(TARGETS, ROOT, ())]
        asked: set[RoleName] = set()
        while waiting:
            role, delegator, above = waiting.pop()
            if role in asked:
                continue
            if len(asked) > MAX_WALK:
                raise DelegationError(f"more than {MAX_WALK} delegations would have to be asked for {name[:80]}")
            asked.add(role)
            meta = self._verified(role, delegator, above)
            chain = (*above, meta)
            yield role, chain
            below = []
            for child, terminating in _children_for(meta.signed.delegations, name):
                below.append((_role(child, role), role, chain))
                if terminating:
                    waiting = []
                    break
            waiting += reversed(below)

    def _all(self) -> tuple[dict[RoleName, Metadata[Targets]], dict[RoleName, UntrustedError]]:
        found: dict[RoleName, Metadata[Targets]] = {}
        skipped: dict[RoleName, UntrustedError] = {}
        waiting: list[tuple[RoleName, RoleName, Chain]] = [(TARGETS, ROOT, ())]
        while waiting:
            role, delegator, above = waiting.pop()
            if role in found:
                continue
            if len(found) + len(skipped) > MAX_ROLES:
                raise DelegationError(f"more than {MAX_ROLES} delegations")
            try:
                found[role] = self._verified(role, delegator, above)
            except UntrustedError as error:
                skipped[role] = error
                continue
            skipped.pop(role, None)  # another role delegates it as well, and rightly
            chain = (*above, found[role])
            children = [_role(name, role) for name in _names(found[role].signed.delegations)]
            waiting += [(child, role, chain) for child in reversed(children)]
        return found, skipped

    def _verified(self, role: RoleName, delegator: RoleName, above: Chain) -> Metadata[Targets]:
        """The file of `role`, as `delegator` vouches for it; what it was found to be, it stays."""
        outcome = self._outcomes.get((role, delegator))
        if outcome is None:
            try:
                outcome = self._read(role, above[-1].signed)
            except UntrustedError as error:
                outcome = error
            self._outcomes[role, delegator] = outcome
        if isinstance(outcome, UntrustedError):
            raise outcome
        return outcome

    def _read(self, role: str, delegator: Targets) -> Metadata[Targets]:
        # What python-tuf's TrustedMetadataSet.update_delegated_targets does (TUF 1.0 §5.6).
        entry = self.snapshot.signed.meta.get(f"{role}.json")
        if entry is None:
            raise DelegationError(f"{role} is delegated, and the snapshot does not name it")
        files: list[bytes] = []
        with translated(files):
            try:
                data = self._fetch(role, entry)
            except DownloadHTTPError as error:
                raise UnavailableError(f"{role} is named by signed metadata and is not there") from error
            files.append(data)
            entry.verify_length_and_hashes(data)
            meta = Metadata[Targets].from_bytes(data)
            if not isinstance(meta.signed, Targets):
                raise FormatError(f"{role} is of the type {meta.signed.type}")
            delegator.verify_delegate(role, meta.signed_bytes, meta.signatures)
        if meta.signed.version != entry.version:
            raise RollbackError(f"{role} is version {meta.signed.version}, the snapshot names {entry.version}")
        if meta.signed.is_expired(self._clock()):
            raise ExpiredError(role, meta.signed.expires)
        return meta


def _children_for(delegations: Delegations | None, name: str) -> Iterator[tuple[str, bool]]:
    return iter(()) if delegations is None else delegations.get_roles_for_target(name)


def _role(name: str, delegator: RoleName) -> StandardRole:
    try:
        return StandardRole(name, delegator)
    except InvalidError as error:
        raise FormatError(error.message) from error


def _names(delegations: Delegations | None) -> list[str]:
    if delegations is None:
        return []
    if delegations.succinct_roles is not None:
        if delegations.succinct_roles.number_of_bins > MAX_ROLES:
            raise DelegationError(f"more than {MAX_ROLES} delegations")
        return list(delegations.succinct_roles.get_roles())
    return list(delegations.roles or ())
