# SPDX-License-Identifier: Apache-2.0
"""What a publisher changes: each act as a value, applied to a `Draft` of the next state.

A change says what shall be, not how it was before: applied a second time it changes nothing.  So when somebody else
has published in between, the same changes are applied to the new state (trust.repository).

    draft = Draft(root, {TARGETS: targets})
    SetTarget(TARGETS, "v1", "sha256:…", 528).apply(draft)
    draft.changed
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tuf.api.metadata import DelegatedRole, Delegations, Key, Role, Root, TargetFile, Targets

from trust import canonical
from trust.dialect import PrefixRole
from trust.errors import FormatError, InvalidError, NotFoundError
from trust.keys import NotaryKey
from trust.names import RELEASES, ROOT, TARGETS, Digest, RoleName


class Draft:
    """The next state of a collection, while it is being made.

    Args:
        root: the present root's payload.
        roles: the present payloads of targets and delegations; all are copied.
        unsigned: those that too few keys have signed.  They are carried on by a `Witness` alone; any other change
            begins such a role anew, so that nothing comes back that only a removed key has signed.

    Attributes:
        root: the next root's payload.
        roles: the next payloads.
        changed: the roles that must be signed anew.
        removed: delegations that exist no longer.

    Examples:
        >>> draft = repository.present().draft()
        >>> trust.RemoveTarget(trust.RELEASES, "1").apply(draft)
        >>> draft.changed
        {'targets/releases'}
    """

    def __init__(
        self, root: Root, roles: Mapping[RoleName, Targets], unsigned: Mapping[RoleName, Targets] | None = None
    ) -> None:
        self.root = copy.deepcopy(root)
        self.roles = {role: copy.deepcopy(payload) for role, payload in roles.items()}
        self.unsigned = {role: copy.deepcopy(payload) for role, payload in (unsigned or {}).items()}
        self.changed: set[RoleName] = set()
        self.removed: set[RoleName] = set()

    def targets(self, role: RoleName) -> Targets:
        """The payload of a role, an empty one if it is delegated and has none yet.

        Args:
            role: targets or a delegation.

        Returns:
            python-tuf's model of it.  Who changes it adds the role to `changed`.

        Raises:
            NotFoundError: nobody delegates this role.

        Examples:
            >>> draft = repository.present().draft()
            >>> list(draft.targets(trust.RELEASES).targets)
            ['1']
        """
        if role not in self.roles:
            self.delegation(role)
            before = self.unsigned.pop(role, None)
            self.roles[role] = empty_targets(before.version if before else 0)
        return self.roles[role]

    def delegation(self, role: RoleName) -> DelegatedRole:
        """How a role is delegated: its keys' IDs, threshold and paths (NOTARY_V1 §1.7).

        Args:
            role: a delegation.

        Returns:
            python-tuf's model of the delegation.

        Raises:
            NotFoundError: nobody delegates it.

        Examples:
            >>> draft = repository.present().draft()
            >>> draft.delegation(trust.RELEASES).threshold
            1
        """
        found = self.children(role.parent).get(role)
        if found is None:
            raise NotFoundError(f"there is no role {role}")
        return found

    def children(self, role: RoleName) -> dict[str, DelegatedRole]:
        """The delegations that a role makes.

        Args:
            role: targets or a delegation.

        Returns:
            The delegations by name; empty if it makes none.

        Examples:
            >>> draft = repository.present().draft()
            >>> sorted(draft.children(trust.TARGETS))
            ['targets/alice', 'targets/releases']
        """
        payload = self.roles.get(role)
        return dict((payload.delegations.roles if payload and payload.delegations else None) or {})

    def _new_delegation(
        self, role: RoleName, keyids: list[str], threshold: int, paths: list[str], before: DelegatedRole | None
    ) -> DelegatedRole:
        """How `role` is delegated from now on; `before`, how it was."""
        return PrefixRole(role, keyids, threshold, terminating=False, paths=paths)

    def _below(self, role: RoleName) -> list[RoleName]:
        """`role` and all roles that exist by its delegations."""
        known = {**self.roles, **self.unsigned}
        return [other for other in known if other == role or other.startswith(f"{role}/")]

    def write_delegations(
        self, parent: RoleName, keys: Mapping[str, Key], roles: Mapping[str, DelegatedRole]
    ) -> None:
        """Let a role make just these delegations.

        Args:
            parent: targets or a delegation.
            keys: by ID; those that no delegation names are left out.
            roles: the delegations by name.

        Raises:
            NotFoundError: nobody delegates `parent`.

        Examples:
            >>> draft = repository.present().draft()
            >>> draft.write_delegations(trust.TARGETS, {}, {})
            >>> draft.children(trust.TARGETS), draft.changed
            ({}, {'targets'})
        """
        used = {keyid for role in roles.values() for keyid in role.keyids}
        payload = self.targets(parent)
        payload.delegations = Delegations({i: key for i, key in keys.items() if i in used}, dict(roles))
        self.changed.add(parent)


def empty_targets(version: int = 0) -> Targets:
    """A payload without targets, as after `version`."""
    payload = Targets(delegations=Delegations({}, {}))
    payload.version = version  # python-tuf refuses 0, but at birth only
    return payload


class Change(Protocol):
    """One act of a publisher: anything with this method.

    Examples:
        >>> class Tidy:
        ...     def apply(self, draft):
        ...         for tag in [tag for tag in draft.targets(trust.RELEASES).targets if tag.startswith("tmp-")]:
        ...             trust.RemoveTarget(trust.RELEASES, tag).apply(draft)
        >>> repository.publish(Tidy()).versions
        {}
    """

    def apply(self, draft: Draft) -> None:
        """Make the change, or nothing where all is so already.

        When somebody else has published in between it is called again, with a draft of the newer state.

        Args:
            draft: the next state; it is changed in place.

        Raises:
            NotFoundError: it concerns a role that does not exist.
            InvalidError: it cannot be done.

        Examples:
            >>> draft = repository.present().draft()
            >>> trust.RevokeTag(keys, ["no such tag"]).apply(draft)
            >>> draft.changed
            set()
        """
        ...


@dataclass(frozen=True, slots=True)
class SetTarget:
    """Let `role` sign that `name` is this content.

    Attributes:
        role: targets or a delegation.
        name: the target's name: a tag.
        hashes: algorithm to hex.
        length: bytes of the content.
        custom: what else is signed, as JSON; None keeps what stood there for the same content.

    Raises:
        InvalidError: `custom` or the name has a form that cannot be signed.

    Examples:
        >>> change = trust.SetTarget(trust.RELEASES, "notes", {"sha256": "0" * 64}, 12, custom={"language": "en"})
        >>> repository.publish(change).versions
        {'targets/releases': 2}
    """

    role: RoleName
    name: str
    hashes: Mapping[str, str]
    length: int
    custom: Any = None

    def __post_init__(self) -> None:
        try:
            canonical.wire({self.name: self.custom})
        except (FormatError, TypeError) as error:
            raise InvalidError(f"the target {self.name!r} cannot be signed: {error}") from error

    @classmethod
    def of_digest(cls, role: RoleName, name: str, digest: Digest, length: int, custom: Any = None) -> SetTarget:
        """A target as docker signs it: by the manifest's digest alone.

        Args:
            role: targets or a delegation.
            name: the tag.
            digest: of the manifest.
            length: bytes of the manifest.
            custom: see the class.

        Returns:
            The change.

        Raises:
            InvalidError: `custom` or the name has a form that cannot be signed.

        Examples:
            >>> manifest = registry.resolve(image.repository, "2")
            >>> change = trust.SetTarget.of_digest(trust.RELEASES, "2", manifest.digest, manifest.size)
            >>> repository.publish(change).versions
            {'targets/releases': 2}
        """
        return cls(role, name, {digest.algorithm: digest.encoded}, length, custom)

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        _check_path(draft, self.role, self.name)
        payload = draft.targets(self.role)
        before = payload.targets.get(self.name)
        same = before is not None and (before.hashes, before.length) == (dict(self.hashes), self.length)
        custom = before.custom if self.custom is None and before is not None and same else self.custom
        if before is not None and same and before.custom == custom:
            return
        kept = {} if custom is None else {"custom": custom}
        payload.targets[self.name] = TargetFile(self.length, dict(self.hashes), self.name, kept)
        draft.changed.add(self.role)


@dataclass(frozen=True, slots=True)
class RemoveTarget:
    """Let a role no longer sign a name.

    Attributes:
        role: targets or a delegation.
        name: the target's name: a tag.

    Examples:
        >>> repository.publish(trust.RemoveTarget(trust.RELEASES, "1")).versions
        {'targets/releases': 2}
    """

    role: RoleName
    name: str

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        if self.role in draft.roles and draft.roles[self.role].targets.pop(self.name, None) is not None:
            draft.changed.add(self.role)


@dataclass(frozen=True, slots=True)
class Delegate:
    """Let a delegation exist with these keys and paths, beside those that it has (NOTARY_V1 §1.7).

    Attributes:
        role: the delegation; its parent must exist.
        keys: added.
        paths: prefixes of names, added; `""` is all names.
        threshold: how many of its keys must sign; None keeps it, or begins with 1.

    Examples:
        >>> qa = keys.signer(keys.add(trust.generate_private("ecdsa"), role="qa").key_id).public_key
        >>> repository.publish(trust.Delegate(trust.RoleName("targets/qa"), (qa,), ("test-",))).versions
        {'targets': 2}
    """

    role: RoleName
    keys: tuple[NotaryKey, ...] = ()
    paths: tuple[str, ...] = ()
    threshold: int | None = None

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        if not self.role.is_delegation:
            raise InvalidError(f"{self.role} is not a delegation")
        parent = draft.targets(self.role.parent)
        roles = draft.children(self.role.parent)
        before = roles.get(self.role)
        keyids = list(before.keyids) if before else []
        known = _canonical_ids(parent, keyids)
        added = [key for key in self.keys if key.canonical_id not in known]
        keyids += [key.keyid for key in added]
        paths = list(dict.fromkeys([*((before.paths if before else None) or ()), *self.paths]))
        threshold = self.threshold or (before.threshold if before else 1)
        if threshold < 1 or len(keyids) < threshold:
            raise InvalidError(f"{self.role} would need {threshold} signatures and have {len(keyids)} keys")
        after = draft._new_delegation(self.role, keyids, threshold, paths, before)
        if before is not None and _facts(before) == _facts(after):
            return
        keys = {**(parent.delegations.keys if parent.delegations else {}), **{key.keyid: key for key in added}}
        draft.write_delegations(self.role.parent, keys, roles | {self.role: after})
        draft.removed.discard(self.role)


@dataclass(frozen=True, slots=True)
class RemoveDelegationKeys:
    """Let a delegation no longer be signed by these keys; without any key left the role goes, too.

    A threshold that the keys left cannot meet is lowered to their number.

    Attributes:
        role: the delegation.
        key_ids: canonical or TUF IDs.

    Examples:
        >>> (alice,) = keys.held(role="alice")
        >>> change = trust.RemoveDelegationKeys(trust.RELEASES, frozenset({alice.key_id}))
        >>> repository.publish(change).versions
        {'targets': 2}
    """

    role: RoleName
    key_ids: frozenset[str]

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        parent = draft.targets(self.role.parent)
        roles = draft.children(self.role.parent)
        before = roles.get(self.role)
        if before is None or parent.delegations is None:
            return
        keys = parent.delegations.keys
        left = [i for i in before.keyids if not {i, *_canonical_ids(parent, [i])} & self.key_ids]
        if left == list(before.keyids):
            return
        if not left:
            RemoveDelegation(self.role).apply(draft)
            return
        threshold = min(before.threshold, len(left))
        roles[self.role] = draft._new_delegation(self.role, left, threshold, list(before.paths or ()), before)
        draft.write_delegations(self.role.parent, keys, roles)


@dataclass(frozen=True, slots=True)
class RemoveDelegation:
    """Let a delegation and all below it exist no longer.

    Attributes:
        role: the delegation.

    Examples:
        >>> repository.publish(trust.RemoveDelegation(trust.signer_role("alice"))).versions
        {'targets': 2}
    """

    role: RoleName

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        parent = draft.targets(self.role.parent)
        roles = draft.children(self.role.parent)
        if roles.pop(self.role, None) is None or parent.delegations is None:
            return
        below = draft._below(self.role)
        draft.write_delegations(self.role.parent, parent.delegations.keys, roles)
        for role in below:
            draft.roles.pop(role, None)
            draft.unsigned.pop(role, None)
            draft.removed.add(role)
            draft.changed.discard(role)


@dataclass(frozen=True, slots=True)
class Witness:
    """Sign the file of a role anew as it is: after its keys have changed, or before it expires.

    Attributes:
        role: root, targets or a delegation.

    Examples:
        >>> repository.publish(trust.Witness(trust.RELEASES)).versions
        {'targets/releases': 2}
    """

    role: RoleName

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        if self.role in draft.unsigned:
            draft.delegation(self.role)
            draft.roles[self.role] = draft.unsigned.pop(self.role)
        if self.role != ROOT:
            draft.targets(self.role)
        draft.changed.add(self.role)


@dataclass(frozen=True, slots=True)
class ReplaceKeys:
    """Let root, targets, snapshot or timestamp be signed by these keys instead of those before.

    Attributes:
        role: one of the four.
        keys: the new ones; those of root are certificates.
        threshold: how many must sign; None keeps it.

    `Repository.rotate` makes the new keys, too.

    Examples:
        >>> held = keys.add(trust.generate_private("ecdsa"), role="targets", gun=image.gun)
        >>> new = keys.signer(held.key_id).public_key
        >>> repository.publish(trust.ReplaceKeys(trust.TARGETS, (new,))).versions
        {'root': 2, 'targets': 2}
    """

    role: RoleName
    keys: tuple[NotaryKey, ...]
    threshold: int | None = None

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        before = draft.root.roles[self.role]
        threshold = self.threshold or before.threshold
        if threshold < 1 or len(self.keys) < threshold:
            raise InvalidError(f"{self.role} would need {threshold} signatures and have {len(self.keys)} keys")
        keyids = [key.keyid for key in self.keys]
        if (list(before.keyids), before.threshold) == (keyids, threshold):
            return
        draft.root.roles[self.role] = Role(keyids, threshold)
        draft.root.keys |= {key.keyid: key for key in self.keys}
        if self.role != ROOT:  # the Go clients keep old root keys and drop others (NOTARY_V1 §6.4)
            used = {keyid for role in draft.root.roles.values() for keyid in role.keyids}
            for keyid in set(before.keyids) - used:
                draft.root.keys.pop(keyid, None)
        draft.changed.add(ROOT)
        if self.role == TARGETS:
            draft.changed.add(TARGETS)


def add_signer(name: RoleName, keys: Iterable[NotaryKey]) -> list[Change]:
    """The changes by which docker adds a signer: a role of its own, and a part in releases (NOTARY_V1 §6.7).

    Args:
        name: the signer's role, such as `signer_role("alice")` gives.
        keys: what the signer signs with; any one of them does.

    Returns:
        Changes for `Repository.publish`.

    Examples:
        >>> bob = keys.signer(keys.add(trust.generate_private("ecdsa"), role="bob").key_id).public_key
        >>> repository.publish(*trust.add_signer(trust.signer_role("bob"), [bob])).versions
        {'targets': 2}
    """
    added = tuple(keys)
    return [Delegate(name, added, ("",)), Delegate(RELEASES, added, ("",))]


def _check_path(draft: Draft, role: RoleName, name: str) -> None:
    while role.is_delegation:
        if not draft.delegation(role).is_delegated_path(name):
            raise InvalidError(f"{role} may not sign {name}: its paths do not allow it")
        role = role.parent


def _canonical_ids(parent: Targets, keyids: Iterable[str]) -> set[str]:
    keys = parent.delegations.keys if parent.delegations else {}
    return {key.canonical_id for i in keyids if isinstance(key := keys.get(i), NotaryKey)}


def _facts(role: DelegatedRole) -> tuple[list[str], int, list[str], list[str] | None]:
    return list(role.keyids), role.threshold, list(role.paths or ()), role.path_hash_prefixes
