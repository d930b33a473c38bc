# SPDX-License-Identifier: Apache-2.0
"""Publish: check an upload, sign for it, store it.

The order is the reference's (NOTARY_V1 §3.1): root, targets and delegations, snapshot, timestamp, versions.  An
upload is published whole or not at all.

Reading, checking and signing happen without a lock, since the signer may be slow; what they are based on is the
version of the current timestamp, which every change of a collection raises.  The one transaction that writes begins
by looking whether that version is still current.  If not, everything is done again from the new state, a few times;
so two publishers of different roles both succeed, and of two publishers of the same version one gets VERSION.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from server.counts import LOST_RACES, stored
from server.envelope import read_upload
from server.errors import LostRaceError, VersionError
from server.footing import Footing, Footings, NotKeptError, read_footing
from server.models import TRAIL
from server.online import Online
from server.store import Store
from trust.metadata import Decoded
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun, RoleName
from trust.update import CheckedUpdate, RefusedUpdateError, check_update
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import BrokenOffError, Database

#: How often a publisher who lost a race begins again.
MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class _Upload:
    """What is to be published.

    Attributes:
        files: by role.
        versions: theirs, without a timestamp's.
        decoded: their JSON, where it has been read already.
    """

    files: Mapping[RoleName, bytes]
    versions: Mapping[RoleName, int]
    decoded: dict[RoleName, Decoded]


class Publisher:
    """Publishes uploads.

    Args:
        database: where files are stored.
        online: makes snapshots and timestamps.
        clock: tells the time.
        max_version_jump: how far a version may run ahead of the stored one, so that nobody can use up all versions
            with one upload (Cure53 TUF-01-002).
    """

    def __init__(
        self, database: Database, online: Online, clock: Callable[[], datetime], max_version_jump: int
    ) -> None:
        self._database = database
        self._online = online
        self._clock = clock
        self._max_version_jump = max_version_jump
        self._footings = Footings(database)

    def publish(self, gun: Gun, uploads: Mapping[RoleName, bytes], who: Who) -> None:
        """Publish `uploads`; none at all renews snapshot and timestamp of an existing collection.

        Args:
            gun: the collection.
            uploads: files by role; a timestamp among them is ignored.
            who: on whose behalf.

        Raises:
            MalformedJsonError: an upload is not JSON.
            RefusedUpdateError: the upload breaks a rule.
            VersionError: a version is stored already, or others keep being faster.
            UnavailableError: the signer or the database does not answer.
        """
        read = {role: read_upload(role, data) for role, data in uploads.items()}
        upload = _Upload(
            uploads,
            {role: version for role, (version, _) in read.items() if role != TIMESTAMP},
            {role: decoded for role, (_, decoded) in read.items() if decoded is not None},
        )
        for _ in range(MAX_ATTEMPTS):
            try:
                self._attempt(gun, upload, who)
                return
            except (LostRaceError, BrokenOffError):
                LOST_RACES.labels("publish").inc()
                continue
        raise VersionError

    def _attempt(self, gun: Gun, upload: _Upload, who: Who) -> None:
        now = self._clock()
        footing, update = self._checked(gun, upload, now)
        upload.decoded.clear()  # it may be large, and the signer may be slow
        files = {role: (upload.versions[role], data) for role, data in update.files.items()}
        root = update.root.signed
        snapshot = update.snapshot
        if snapshot is None:
            previous = footing.snapshot.signed if footing.snapshot else None
            snapshot = self._online.next_snapshot(gun, root, previous, update.loaded, now)
            files[SNAPSHOT] = (snapshot.signed.version, snapshot.to_bytes())
        timestamp = self._online.next_timestamp(gun, root, footing.version or 0, files[SNAPSHOT][1], now)
        files[TIMESTAMP] = (timestamp.signed.version, timestamp.to_bytes())
        replaced = _replaced_keys(update)
        with self._database.write() as session:
            hashes = Store(session).put_all(gun, files, now, after=footing.version)
            deeds = publish_deeds(gun, files, hashes, by_server=files.keys() - update.files.keys())
            if replaced:
                deeds = [replace(deed, detail=replaced) if deed.role == ROOT else deed for deed in deeds]
            TRAIL.append(session, who, now, *deeds)
        stored(files)
        self._footings.keep(
            gun,
            (timestamp.signed.version, hashes[TIMESTAMP]),
            update.root,
            snapshot,
            {**footing.files, **update.loaded, **update.files},
        )

    def _checked(self, gun: Gun, upload: _Upload, now: datetime) -> tuple[Footing, CheckedUpdate]:
        footing = self._footings.kept(gun, upload.versions)
        if footing is not None:
            with suppress(NotKeptError):
                return footing, self._check(gun, upload, footing, now)
        with self._database.read() as session:
            footing = read_footing(Store(session), gun, upload.versions)
            return footing, self._check(gun, upload, footing, now)

    def _check(self, gun: Gun, upload: _Upload, footing: Footing, now: datetime) -> CheckedUpdate:
        update = check_update(
            gun, upload.files, footing.current, now, checked_root=footing.root, decoded=upload.decoded
        )
        self._check_versions(upload.versions, footing.newest)
        return update

    def _check_versions(self, versions: Mapping[RoleName, int], newest: Mapping[RoleName, int]) -> None:
        """Spare the signer what the store would refuse anyway."""
        for role, version in versions.items():
            if version <= newest[role]:
                raise VersionError
            if version - newest[role] > self._max_version_jump:
                raise RefusedUpdateError(
                    "ErrValidation",
                    f"{role} version {version} is more than {self._max_version_jump} ahead of {newest[role]}",
                )


def publish_deeds(
    gun: Gun,
    files: Mapping[RoleName, tuple[int, bytes]],
    hashes: Mapping[RoleName, str],
    *,
    by_server: Collection[RoleName],
) -> list[Deed]:
    """What the audit trail says of stored files: `publish` for what came from outside, `sign` for what we made."""
    return [
        Deed(
            action="sign" if role in by_server else "publish",
            name=gun,
            role=role,
            version=files[role][0],
            sha256=sha256,
        )
        for role, sha256 in hashes.items()
    ]


def _replaced_keys(update: CheckedUpdate) -> dict[str, object]:
    """The roles whose keys differ between the stored root and an uploaded one."""
    if ROOT not in update.files or update.before is None:
        return {}
    before, after = update.before.signed.roles, update.root.signed.roles
    changed = [name for name in after if name not in before or set(before[name].keyids) != set(after[name].keyids)]
    return {"new_keys": sorted(changed)} if changed else {}
