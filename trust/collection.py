# SPDX-License-Identifier: Apache-2.0
"""A verified trust collection: which tags are signed, to which digest, by whom, until when.

A `Collection` is what a reader gives once everything in it is verified.  It answers by docker's rule (NOTARY_V1
§6.6): a target counts only in the roles that one asks for, the first of them that has the name wins, and a role may
only sign names that every delegation above it allows (§1.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from trust.errors import ExpiredError, NotFoundError, UntrustedError
from trust.keys import NotaryKey
from trust.metadata import NotaryMetadata
from trust.names import RELEASES, TARGETS, Gun, RoleName

#: The roles whose targets docker believes, first wins (§6.6).
DOCKER_ROLES = (RELEASES, TARGETS)


@dataclass(frozen=True, slots=True)
class Target:
    """One signed name.

    Attributes:
        name: the tag.
        role: the role that signed it.
        hashes: algorithm (`sha256`, `sha512`) to lower-case hex of the manifest.
        length: bytes of the manifest, as signed.
        signers: delegations that signed the same name and digest, without `targets/`; empty when the repository's
            own key did.
        expires: when the first of the files that vouch for it ends.
        custom: what the publisher added, or None.

    Examples:
        >>> target = collection.lookup("1")
        >>> target.name, target.role, target.signers
        ('1', 'targets/releases', ('alice',))
        >>> target.expires > datetime.now(UTC)
        True
    """

    name: str
    role: RoleName
    hashes: Mapping[str, str]
    length: int
    signers: tuple[str, ...]
    expires: datetime
    custom: Any = None

    @property
    def digest(self) -> str:
        """`sha256:…`, or `sha512:…` where only that is signed; what to pull instead of the tag.

        Examples:
            >>> f"{image.gun}@{collection.lookup('1').digest}"
            'localhost:5000/library/app@sha256:...'
        """
        # TUF 1.0 allows other algorithms (trust.standard); then the first counts.
        algorithm = next(each for each in ("sha256", "sha512", *self.hashes) if each in self.hashes)
        return f"{algorithm}:{self.hashes[algorithm]}"


@dataclass(frozen=True)
class Collection:
    """Verified metadata of one GUN, as `Reader.refresh` gives it.

    Attributes:
        gun: whose it is.
        root: the root file; `root.signed` is python-tuf's model of it.
        timestamp: the timestamp file.
        snapshot: the snapshot file.
        roles: `targets` and each delegation that could be verified.
        paths: the name prefixes that each of these roles may sign.
        skipped: delegations that are expired or below threshold, and how; they say neither yes nor no.

    Examples:
        >>> list(collection.roles), collection.skipped
        (['targets', 'targets/alice', 'targets/releases'], {})
        >>> collection.root.signed.version, collection.roles[trust.RELEASES].signed.version
        (1, 1)
    """

    gun: Gun
    root: NotaryMetadata[Root]
    timestamp: NotaryMetadata[Timestamp]
    snapshot: NotaryMetadata[Snapshot]
    roles: Mapping[RoleName, NotaryMetadata[Targets]]
    paths: Mapping[RoleName, tuple[str, ...]]
    skipped: Mapping[RoleName, UntrustedError]

    def check_fresh(self, now: datetime, grace: timedelta = timedelta()) -> None:
        """All that the collection rests on is still valid at a time: for a collection that is kept in memory.

        Args:
            now: the time, aware.
            grace: for how long all but the root is believed after its time.

        Raises:
            ExpiredError: it is not; refresh.

        Examples:
            >>> collection.check_fresh(datetime.now(UTC))
            >>> collection.check_fresh(datetime.now(UTC) + timedelta(days=15))
            Traceback (most recent call last):
            trust.errors.ExpiredError: timestamp expired at ...
        """
        for meta in self._resting_on():
            if meta.signed.is_expired(now if meta is self.root else now - grace):
                raise ExpiredError(meta.role, meta.signed.expires)

    def expired(self, now: datetime) -> dict[RoleName, datetime]:
        """What the collection rests on although its time is over: nothing, unless its reader grants a grace.

        Args:
            now: the time, aware.

        Returns:
            When each of these roles expired.

        Examples:
            >>> collection.expired(datetime.now(UTC))
            {}
            >>> list(collection.expired(datetime.now(UTC) + timedelta(days=15)))
            ['timestamp']
        """
        return {meta.role: meta.signed.expires for meta in self._resting_on() if meta.signed.is_expired(now)}

    def lookup(self, name: str, roles: Sequence[RoleName] = DOCKER_ROLES) -> Target:
        """The signed target of a name, by docker's rule (NOTARY_V1 §6.6).

        Args:
            name: the tag.
            roles: which roles count; the first that has the name wins.

        Returns:
            The target.

        Raises:
            NotFoundError: none of them signs it.

        Examples:
            >>> collection.lookup("1", [trust.signer_role("alice")]).role
            'targets/alice'
            >>> collection.lookup("2")
            Traceback (most recent call last):
            trust.errors.NotFoundError: No valid trust data for 2
        """
        for role in roles:
            file = self._file(role, name)
            if file is not None:
                return self._target(role, name, file)
        raise NotFoundError(f"No valid trust data for {name}", detail={"gun": self.gun, "roles": list(roles)})

    def targets(self, roles: Sequence[RoleName] = DOCKER_ROLES) -> Iterator[Target]:
        """Every signed target, also where an earlier role has the same name.

        Args:
            roles: which roles count, in this order.

        Returns:
            The targets, made as they are asked for.

        Examples:
            >>> [(target.name, target.role) for target in collection.targets()]
            [('1', 'targets/releases')]
        """
        for role in roles:
            meta = self.roles.get(role)
            for name in meta.signed.targets if meta else ():
                file = self._file(role, name)
                if file is not None:
                    yield self._target(role, name, file)

    def is_signed(self, hashes: Mapping[str, str], roles: Sequence[RoleName] = DOCKER_ROLES) -> bool:
        """Whether some target names content with these hashes, whatever its tag: for a pull by digest.

        Args:
            hashes: algorithm to hex of the content, all that are known.
            roles: which roles count.

        Returns:
            Whether one does.

        Examples:
            >>> digest = registry.resolve(image.repository, "1").digest
            >>> collection.is_signed({digest.algorithm: digest.encoded})
            True
        """
        return any(True for _ in self.signatures_of(hashes, roles))

    def signatures_of(
        self, hashes: Mapping[str, str], roles: Sequence[RoleName] = DOCKER_ROLES
    ) -> Iterator[tuple[str, RoleName]]:
        """Under which names, and in which roles, content with these hashes is signed.

        Args:
            hashes: algorithm to hex of the content, all that are known.
            roles: which roles count.

        Returns:
            Tag and role, in no particular order; the same pair may come twice.

        Examples:
            >>> digest = registry.resolve(image.repository, "1").digest
            >>> set(collection.signatures_of({digest.algorithm: digest.encoded}))
            {('1', 'targets/releases')}
        """
        for algorithm, encoded in hashes.items():
            for role, name, file in self._by_hash.get((algorithm, encoded), ()):
                if role in roles and matches(file.hashes, hashes) and self._file(role, name) is not None:
                    yield name, role

    def keys(self, role: RoleName) -> tuple[NotaryKey, ...]:
        """The keys that may sign a role, as the root or the delegating role says (NOTARY_V1 §1.7).

        Args:
            role: a top-level role or a delegation.

        Returns:
            The public keys; those of root are certificates.

        Raises:
            NotFoundError: nobody delegates this role.

        Examples:
            >>> [key.canonical_id for key in collection.keys(trust.ROOT)] == ["3f1c…"]
            True
            >>> collection.keys(trust.RELEASES) == collection.keys(trust.signer_role("alice"))
            True
            >>> collection.keys(trust.signer_role("bob"))
            Traceback (most recent call last):
            trust.errors.NotFoundError: there is no role targets/bob
        """
        try:
            above = self._above(role)
            found = [above.get_key(keyid) for keyid in above.get_delegated_role(role).keyids]
        except (KeyError, ValueError) as error:
            raise self._no_role(role) from error
        return tuple(key for key in found if isinstance(key, NotaryKey))

    def threshold(self, role: RoleName) -> int:
        """How many of its keys must sign a role (NOTARY_V1 §1.7).

        Args:
            role: a top-level role or a delegation.

        Returns:
            The number.

        Raises:
            NotFoundError: nobody delegates this role.

        Examples:
            >>> collection.threshold(trust.RELEASES)
            1
        """
        try:
            return self._above(role).get_delegated_role(role).threshold
        except (KeyError, ValueError) as error:
            raise self._no_role(role) from error

    def signed_by(self, role: RoleName) -> tuple[NotaryKey, ...]:
        """The keys that did sign a role's file, which may be fewer than those that may, or more than must.

        Args:
            role: a top-level role or a delegation.

        Returns:
            The public keys, each once, however many IDs it is filed under.

        Raises:
            NotFoundError: the collection has no verified file of this role.

        Examples:
            >>> collection.signed_by(trust.RELEASES) == collection.keys(trust.signer_role("alice"))
            True
        """
        if role not in self._signed_by:
            top: dict[str, NotaryMetadata[Any]] = {
                meta.role: meta for meta in (self.root, self.timestamp, self.snapshot)
            }
            meta = top.get(role) or self.roles.get(role)
            if meta is None:
                raise self._no_role(role)
            signed = self._above(role).get_verification_result(role, meta.signed_bytes, meta.signatures).signed
            keys = {key.material: key for key in signed.values() if isinstance(key, NotaryKey)}
            self._signed_by[role] = tuple(keys.values())
        return self._signed_by[role]

    @cached_property
    def _signed_by(self) -> dict[RoleName, tuple[NotaryKey, ...]]:
        return {}  # filled as it is asked for: each signature is verified once more

    @cached_property
    def _by_hash(self) -> dict[tuple[str, str], list[tuple[RoleName, str, TargetFile]]]:
        # A pull by digest asks for one of perhaps 100,000 targets.
        found: dict[tuple[str, str], list[tuple[RoleName, str, TargetFile]]] = {}
        for role, meta in self.roles.items():
            for name, file in meta.signed.targets.items():
                for item in file.hashes.items():
                    found.setdefault(item, []).append((role, name, file))
        return found

    def _resting_on(self) -> list[NotaryMetadata[Any]]:
        return [self.root, self.timestamp, self.snapshot, *self.roles.values()]

    def _above(self, role: RoleName) -> Root | Targets:
        return self.roles[role.parent].signed if role.is_delegation else self.root.signed

    def _no_role(self, role: RoleName) -> NotFoundError:
        return NotFoundError(f"there is no role {role}", detail={"gun": self.gun, "role": role})

    def _file(self, role: RoleName, name: str) -> TargetFile | None:
        meta = self.roles.get(role)
        file = meta.signed.targets.get(name) if meta else None
        return file if file and any(name.startswith(path) for path in self.paths[role]) else None

    def _target(self, role: RoleName, name: str, file: TargetFile) -> Target:
        signers = tuple(
            other.removeprefix("targets/")
            for other in self.roles
            if other.is_delegation and other != RELEASES and self._signs_same(other, name, file)
        )
        vouching: list[NotaryMetadata[Any]] = [self.root, self.timestamp, self.snapshot, self.roles[role]]
        above = role
        while above.is_delegation:
            above = above.parent
            vouching.append(self.roles[above])
        expires = min(meta.signed.expires for meta in vouching)
        return Target(name, role, file.hashes, file.length, signers, expires, file.custom)

    def _signs_same(self, role: RoleName, name: str, file: TargetFile) -> bool:
        theirs = self._file(role, name)
        return theirs is not None and matches(theirs.hashes, file.hashes)


def matches(signed: Mapping[str, str], actual: Mapping[str, str]) -> bool:
    """Whether every signed hash that can be compared is right, and at least one was compared."""
    common = signed.keys() & actual.keys()
    return bool(common) and all(signed[algorithm] == actual[algorithm] for algorithm in common)
