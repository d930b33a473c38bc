# SPDX-License-Identifier: Apache-2.0
"""From an edited draft to the signed files of a TUF 1.0 repository: what must be signed anew, by whom, until when.

* a root is signed by its own keys and by those before it; one that has lived half of its life is signed along the
  way, if its keys are here;
* a snapshot is signed anew with any targets, and a timestamp with any snapshot;
* nothing is signed below its threshold, and a role that its own file no longer satisfies stops the publish.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from trust.dialect import Payload
from trust.errors import InvalidError
from trust.keyfolder import KeyFolder
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.repository import MissingKeysError
from trust.standard.draft import StandardDraft
from trust.standard.keys import notary_key
from trust.standard.present import StandardPresent

Files = dict[RoleName, Metadata[Any]]


class Signing:
    """Signs one new state.

    Args:
        keys: what is signed with.
        lifetimes: how long new files are valid, by top-level role.
        now: the time.
        next_: the new state, its keys in the standard's form.
        present: the state before; None at the beginning.
    """

    def __init__(
        self,
        keys: KeyFolder,
        lifetimes: Mapping[str, timedelta],
        now: datetime,
        next_: StandardDraft,
        present: StandardPresent | None,
    ) -> None:
        self._keys = keys
        self._lifetimes = lifetimes
        self._now = now.replace(microsecond=0)
        self._next = next_
        self._present = present
        self._here = {held.key_id for held in keys.held()}

    def sign(self, *, renew: bool = False) -> Files:
        """The files that are new, signed and verified.

        Args:
            renew: whether everything that has lived half of its life is signed anew, if its keys are here.

        Raises:
            MissingKeysError: keys that are needed are not here.
            PassphraseError: nobody knew the passphrase of one of them.
            InvalidError: a role would be left without enough signatures.
        """
        changed = {str(role) for role in self._next.changed}
        if (renew or changed) and self._is_due(ROOT, self._next.root):
            changed.add(ROOT)
        if renew:
            changed |= {role for role, payload in self._next.roles.items() if self._is_due(role, payload)}
        files: Files = {}
        root = self._next.root
        if ROOT in changed:
            before = [self._present.root.signed] if self._present else []
            files[ROOT] = self._signed(ROOT, root, [root, *before])
        for role, payload in self._next.roles.items():
            if role in changed:
                if payload.version == 0:
                    payload.version = self._last_version(role)
                files[role] = self._signed(role, payload, [self._delegator(role)])
            else:
                self._check_still_signed(role)
        for role in self._next.unsigned:
            self._check_still_signed(role)
        if any(role.is_targets for role in files) or self._must(SNAPSHOT, renew):
            files[SNAPSHOT] = self._signed(SNAPSHOT, self._snapshot(files), [root])
        if SNAPSHOT in files or self._must(TIMESTAMP, renew):
            files[TIMESTAMP] = self._signed(TIMESTAMP, self._timestamp(files), [root])
        return files

    def _must(self, role: RoleName, renew: bool) -> bool:
        """Whether snapshot or timestamp is signed anew for its own sake: by other keys, or for its age."""
        if self._present is None or self._present.root.signed.roles[role] != self._next.root.roles[role]:
            return True
        meta = self._present.snapshot if role == SNAPSHOT else self._present.timestamp
        return renew and self._is_due(role, meta.signed)

    def _is_due(self, role: RoleName, payload: Payload) -> bool:
        delegator = self._delegator(role)
        return (
            payload.version > 0
            and payload.expires < self._now + self._lifetime(role) / 2
            and len(self._held(role, delegator)) >= delegator.get_delegated_role(role).threshold
        )

    def _signed(self, role: RoleName, payload: Payload, delegators: Sequence[Root | Targets]) -> Metadata[Any]:
        payload.version += 1
        payload.expires = self._now + self._lifetime(role)
        meta: Metadata[Any] = Metadata(payload)
        for delegator in delegators:
            held = self._held(role, delegator)
            delegated = delegator.get_delegated_role(role)
            if len(held) < delegated.threshold:
                ids = ", ".join(sorted(_folder_id(delegator.get_key(keyid)) for keyid in delegated.keyids))
                raise MissingKeysError(
                    f"{role} cannot be signed: {delegated.threshold} of these keys needed, {len(held)} here: {ids}"
                )
            for key_id, key in held.items():
                meta.sign(CryptoSigner(self._keys.open(key_id), key), append=True)
        for delegator in delegators:
            delegator.verify_delegate(role, meta.signed_bytes, meta.signatures)
        return meta

    def _check_still_signed(self, role: RoleName) -> None:
        assert self._present is not None
        meta = {**self._present.roles, **self._present.unsigned}[role]
        try:
            self._delegator(role).verify_delegate(role, meta.signed_bytes, meta.signatures)
        except UnsignedMetadataError as error:
            raise InvalidError(f"{error}: have them sign it along (Witness), or take it away") from error

    def _snapshot(self, files: Files) -> Snapshot:
        snapshot = copy.deepcopy(self._present.snapshot.signed) if self._present else Snapshot(meta={})
        if self._present is None:
            snapshot.version = 0  # python-tuf refuses it, but at birth only
        # Entries of roles that exist no longer stay: readers take a name that has gone for a rollback.
        for role, meta in files.items():
            if role.is_targets:
                entry = MetaFile.from_data(meta.signed.version, meta.to_bytes(), ["sha256"])
                snapshot.meta[f"{role}.json"] = entry
        return snapshot

    def _timestamp(self, files: Files) -> Timestamp:
        timestamp = copy.deepcopy(self._present.timestamp.signed) if self._present else Timestamp()
        if self._present is None:
            timestamp.version = 0
        if SNAPSHOT in files:
            meta = files[SNAPSHOT]
            timestamp.snapshot_meta = MetaFile.from_data(meta.signed.version, meta.to_bytes(), ["sha256"])
        return timestamp

    def _last_version(self, role: RoleName) -> int:
        """The version of a role that was removed, and comes again."""
        entry = self._present.snapshot.signed.meta.get(f"{role}.json") if self._present else None
        return entry.version if entry else 0

    def _delegator(self, role: RoleName) -> Root | Targets:
        return self._next.roles[role.parent] if role.is_delegation else self._next.root

    def _held(self, role: RoleName, delegator: Root | Targets) -> dict[str, SSlibKey]:
        """The keys of `role` that are here, by their IDs in the folder."""
        keys = [delegator.get_key(keyid) for keyid in delegator.get_delegated_role(role).keyids]
        return {i: key for key in keys if isinstance(key, SSlibKey) and (i := _folder_id(key)) in self._here}

    def _lifetime(self, role: RoleName) -> timedelta:
        return self._lifetimes[TARGETS if role.is_targets else role]


def _folder_id(key: Key) -> str:
    known = notary_key(key)
    return known.keyid if known else key.keyid
