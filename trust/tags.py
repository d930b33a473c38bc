# SPDX-License-Identifier: Apache-2.0
"""Tags as docker signs and revokes them, as changes of a collection (NOTARY_V1 §6.7).

* a tag is signed into every direct delegation whose keys are here and whose paths allow it; into `targets` only
  where there are no delegations;
* it is revoked from every role whose keys are here;
* a signer who leaves takes the own role along, and the part in releases.

    repository.publish(SignTag(keys, "v1", digest, length))
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuf.api.metadata import DelegatedRole, Role, Root, Targets

from trust.changes import Draft, RemoveDelegation, RemoveDelegationKeys, RemoveTarget, SetTarget, Witness
from trust.errors import InvalidError, NotFoundError
from trust.keyfolder import KeyFolder
from trust.keys import NotaryKey
from trust.metadata import NotaryMetadata
from trust.names import RELEASES, TARGETS, Digest, RoleName
from trust.repository import MissingKeysError


@dataclass(frozen=True, slots=True)
class SignTag:
    """Sign that a tag is this manifest.

    Attributes:
        keys: what can be signed with.
        tag: the tag.
        digest: of the manifest.
        length: of the manifest.
        roles: sign into these; empty: where docker would.
        custom: what else is signed; None keeps what is signed of the same content.

    `Repository.publish` raises MissingKeysError for it where there are delegations, and the keys of none that may
    sign this tag are here.

    Examples:
        >>> manifest = registry.resolve(image.repository, "2")
        >>> repository.publish(trust.SignTag(keys, "2", manifest.digest, manifest.size)).versions
        {'targets/alice': 2, 'targets/releases': 2}
    """

    keys: KeyFolder = field(repr=False)
    tag: str
    digest: Digest
    length: int
    roles: tuple[RoleName, ...] = ()
    custom: Any = None

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        custom = self.custom if self.custom is not None else self._known_custom(draft)
        for role in self.roles or signable(draft, self.keys, self.tag):
            SetTarget.of_digest(role, self.tag, self.digest, self.length, custom).apply(draft)

    def _known_custom(self, draft: Draft) -> Any:
        for payload in draft.roles.values():
            known = payload.targets.get(self.tag)
            if known and known.custom is not None and known.hashes.get(self.digest.algorithm) == self.digest.encoded:
                return known.custom
        return None


@dataclass(frozen=True, slots=True)
class RevokeTag:
    """Take tags out of every role that can be signed.

    Attributes:
        keys: what can be signed with.
        tags: which; None is all.

    Examples:
        >>> _ = repository.publish(trust.RevokeTag(keys, ["1"]))
        >>> list(repository.present().roles[trust.RELEASES].signed.targets)
        []
    """

    keys: KeyFolder = field(repr=False)
    tags: Sequence[str] | None = None

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        for role, payload in list(draft.roles.items()):
            names = [name for name in payload.targets if self.tags is None or name in self.tags]
            if names and has_keys(draft, self.keys, role):
                for name in names:
                    RemoveTarget(role, name).apply(draft)


@dataclass(frozen=True, slots=True)
class RemoveSigner:
    """Let a signer sign no more.

    Releases is signed anew where the keys for that are here: what stands there was signed while the signer was one.

    Attributes:
        keys: what can be signed with.
        role: the signer's role, such as `targets/alice`.

    Examples:
        >>> repository.publish(trust.RemoveSigner(keys, trust.signer_role("alice"))).versions
        {'targets': 2}
    """

    keys: KeyFolder = field(repr=False)
    role: RoleName

    def apply(self, draft: Draft) -> None:
        """See `Change.apply`."""
        delegated = draft.children(TARGETS).get(self.role)
        if delegated is None:
            return
        ids = frozenset(key.canonical_id for key in keys_of(draft.targets(TARGETS), delegated))
        if RELEASES in draft.children(TARGETS):
            RemoveDelegationKeys(RELEASES, ids).apply(draft)
        RemoveDelegation(self.role).apply(draft)
        if RELEASES in draft.roles and has_keys(draft, self.keys, RELEASES):
            Witness(RELEASES).apply(draft)


def signer_role(name: str) -> RoleName:
    """The role of a signer's name.

    Args:
        name: lower-case letters, digits, `-` and `_`, beginning with a letter or digit, and not `releases`.

    Returns:
        The delegation below `targets`.

    Raises:
        InvalidError: docker would not have such a signer.

    Examples:
        >>> trust.signer_role("alice")
        'targets/alice'
    """
    if name == "releases" or not name or name[0] in "-_" or "/" in name:
        raise InvalidError(
            f"{name[:80]!r} cannot be a signer's name: it has lower-case letters, digits, - and _, begins with a "
            "letter or digit, and is not releases"
        )
    return RoleName(f"targets/{name}")


def signable(draft: Draft, keys: KeyFolder, tag: str) -> list[RoleName]:
    """The roles that `tag` is signed into.

    Raises:
        MissingKeysError: there are delegations, and the keys of none that may sign this tag are here.
    """
    children = draft.children(TARGETS)
    if not children:
        return [TARGETS]
    found = [
        RoleName(name)
        for name, role in children.items()
        if role.is_delegated_path(tag) and has_keys(draft, keys, RoleName(name))
    ]
    if not found:
        raise MissingKeysError(f"no valid signing keys for delegation roles: {', '.join(sorted(children))}")
    return found


def has_keys(draft: Draft, keys: KeyFolder, role: RoleName) -> bool:
    """Whether enough keys of `role` are in the folder."""
    delegated: Role | DelegatedRole
    if role.is_delegation:
        try:
            delegator: Root | Targets = draft.targets(role.parent)
            delegated = draft.delegation(role)
        except NotFoundError:
            return False
    else:
        delegator, delegated = draft.root, draft.root.roles[role]
    here = {held.key_id for held in keys.held()}
    return len({key.canonical_id for key in keys_of(delegator, delegated)} & here) >= delegated.threshold


def keeps_signatures(targets: Targets, meta: NotaryMetadata[Targets], gone: Collection[str]) -> bool:
    """Whether a delegation's file is signed well enough by the keys that are left when some go.

    Args:
        targets: delegates the role of `meta`.
        meta: the role's file.
        gone: canonical IDs of the keys that go.
    """
    role = targets.get_delegated_role(meta.role)
    left = {key.canonical_id for key in keys_of(targets, role)} - set(gone)
    signed = targets.get_verification_result(meta.role, meta.signed_bytes, meta.signatures).signed.values()
    signers = left & {key.canonical_id for key in signed if isinstance(key, NotaryKey)}
    return bool(left) and len(signers) >= min(role.threshold, len(left))


def keys_of(delegator: Root | Targets, role: Role) -> list[NotaryKey]:
    """The keys of a role, as its delegator lists them."""
    found = (delegator.get_key(keyid) for keyid in role.keyids)
    return [key for key in found if isinstance(key, NotaryKey)]
