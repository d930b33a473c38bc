# SPDX-License-Identifier: Apache-2.0
"""The two roles that the server signs: snapshot and timestamp (NOTARY_V1 §3.1 steps 5-6, §3.3).

`Online` makes the next version of each and has it signed by the keys that root names and the key store holds.  It
reads no database and owns no clock.  What comes back is verified before anybody stores it.

    online = Online(keys)
    snapshot = online.next_snapshot(gun, root, previous, {ROOT: root_bytes, TARGETS: targets_bytes}, now)
    timestamp = online.next_timestamp(gun, root, previous_timestamp, snapshot.to_bytes(), now)

Hashes are over the very bytes given.  The reference hashes a re-serialisation and so accepts uploads that nobody can
download afterwards (§3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Root, Snapshot, Timestamp

from trust.chain import check_signatures
from trust.dialect import MAX_VERSION
from trust.errors import DeniedError, InvalidError, NotFoundError, UnavailableError, UntrustedError
from trust.keystore import KeyStore
from trust.metadata import NotaryMetadata, describe, draft
from trust.names import SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.update import RefusedUpdateError

SNAPSHOT_LIFETIME = timedelta(days=3 * 365)
TIMESTAMP_LIFETIME = timedelta(days=14)

#: How many keys are remembered to be there.
_MAX_HELD = 10_000
_KeyOf = tuple[Gun, RoleName, str]


class Online:
    """Makes and signs the roles whose keys are online.

    Args:
        keys: where the keys are.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        #: keys that have signed, the oldest first
        self._held: dict[_KeyOf, None] = {}

    def next_snapshot(
        self,
        gun: Gun,
        root: Root,
        previous: Snapshot | None,
        files: Mapping[RoleName, bytes],
        now: datetime,
    ) -> NotaryMetadata[Snapshot]:
        """The snapshot after `previous`, with `files` named anew.

        Entries for other roles stay as they were, also where their delegation is gone, as in the reference.

        Args:
            gun: whose it is.
            root: names the keys.
            previous: the snapshot so far, if there is one.
            files: root, targets and delegations as they will be stored.
            now: the time.

        Raises:
            RefusedUpdateError: the snapshot key is not here, or there are no targets to name.
            UnavailableError: the key store does not sign.
        """
        if previous is None and TARGETS not in files:
            raise RefusedUpdateError("ErrValidation", "targets must be loaded first")
        meta = {name: entry for name, entry in previous.meta.items() if _belongs(name)} if previous else {}
        meta |= {role: describe(data) for role, data in files.items()}
        snapshot = Snapshot(
            version=_next(previous.version if previous else 0, SNAPSHOT), expires=now + SNAPSHOT_LIFETIME, meta=meta
        )
        signed = self._signed(gun, root, draft(SNAPSHOT, snapshot))
        if signed is None:
            raise RefusedUpdateError(
                "ErrBadHierarchy",
                "no snapshot was included in update and server does not hold current snapshot key for repository",
                missing="snapshot",
            )
        return signed

    def next_timestamp(
        self, gun: Gun, root: Root, previous: int, snapshot: bytes, now: datetime
    ) -> NotaryMetadata[Timestamp]:
        """The timestamp after version `previous`, for the file `snapshot`.

        Raises:
            RefusedUpdateError: the timestamp key is not here.
            UnavailableError: the key store does not sign.
        """
        timestamp = Timestamp(
            version=_next(previous, TIMESTAMP), expires=now + TIMESTAMP_LIFETIME, snapshot_meta=describe(snapshot)
        )
        signed = self._signed(gun, root, draft(TIMESTAMP, timestamp))
        if signed is None:
            raise RefusedUpdateError("ErrBadRoot", "no timestamp keys exist on the server")
        return signed

    def _signed(self, gun: Gun, root: Root, meta: NotaryMetadata[Any]) -> NotaryMetadata[Any] | None:
        """`meta` with as many signatures as `root` asks for; None if too few of its keys are held."""
        role = root.roles[meta.role]
        # What is signed is made once, and is what is checked and written.
        meta = NotaryMetadata(meta.role, meta.signed, canonical_bytes=meta.signed_bytes)
        wanted = [(gun, meta.role, keyid) for keyid in role.keyids]
        # A key that signed before is asked to sign at once: that it is gone is what the answer would say.
        held = [key for key in wanted if key in self._held][: role.threshold]
        if len(held) < role.threshold or not self._add_signatures(meta, held):
            held = [(gun, meta.role, key.keyid) for key in self._keys.find(gun, meta.role, role.keyids)]
            if len(held) < role.threshold or not self._add_signatures(meta, held[: role.threshold]):
                return None
        try:
            # What we store is what readers will verify: look at it as they do, before they have to.
            check_signatures(root, meta)
        except UntrustedError as error:
            raise UnavailableError(f"the signer's signature of the {meta.role} is not valid: {error}") from error
        return meta

    def _add_signatures(self, meta: NotaryMetadata[Any], keys: Iterable[_KeyOf]) -> bool:
        """Have `meta` signed by these keys; False if one of them is not there, or not any more."""
        meta.signatures.clear()
        for key in keys:
            gun, role, keyid = key
            try:
                meta.signatures[keyid] = self._keys.sign(gun, role, keyid, meta.signed_bytes)
            except NotFoundError:
                self._held.pop(key, None)
                return False
            except (DeniedError, InvalidError) as error:
                raise UnavailableError(f"the signer refuses to sign the {role}: {error}") from error
            self._held[key] = None
            while len(self._held) > _MAX_HELD:
                self._held.pop(next(iter(self._held)), None)
        return True


def _belongs(name: str) -> bool:
    """Whether a snapshot of ours names it; a publisher's own may hold anything, which no signer would sign."""
    try:
        return RoleName(name) not in (SNAPSHOT, TIMESTAMP)
    except InvalidError:
        return False


def _next(version: int, role: RoleName) -> int:
    if version >= MAX_VERSION:
        raise RefusedUpdateError("ErrValidation", f"{role} version {version} is the last one possible")
    return version + 1
