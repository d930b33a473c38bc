# SPDX-License-Identifier: Apache-2.0
"""Publish a TUF 1.0 repository: a folder that any web server can serve, edited as a Notary collection is.

    repository = StandardRepository(Path("public"), keys, name="example/app")
    repository.publish(repository.store("app/1.0.tar.gz", data), create=Creation())
    repository.publish(Delegate(StandardRole("linux"), (key,), ("linux/*",)))
    repository.renew()                                     # every day, by cron

    public/metadata/1.root.json, 1.targets.json, 1.snapshot.json, timestamp.json
    public/targets/app/<sha256>.1.0.tar.gz

All keys are in the key folder, those of snapshot and timestamp as well.  A publish writes new files beside the old
ones and replaces `timestamp.json` last, so that readers see the old state or the new one; a new root is seen at
once, and its timestamp a moment later.  Before anything is written, all that readers will find is verified.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Role, Root, Targets

from trust.ca import write_file
from trust.changes import Change, ReplaceKeys, SetTarget, empty_targets
from trust.errors import InvalidError, NotFoundError, UnavailableError
from trust.keyfolder import KeyFolder
from trust.keys import NotaryKey, generate_private, public_key_of
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, TOP_LEVEL, Gun, RoleName
from trust.repository import Creation, Published
from trust.standard.draft import StandardDraft
from trust.standard.keys import KeyNames, notary_key
from trust.standard.names import StandardRole
from trust.standard.present import StandardPresent, read_roots
from trust.standard.signing import Signing

#: How long what we sign is valid; delegations live as long as targets.
LIFETIMES: Mapping[str, timedelta] = {
    ROOT: timedelta(days=365), TARGETS: timedelta(days=365), SNAPSHOT: timedelta(days=30),
    TIMESTAMP: timedelta(days=7),
}  # fmt: skip
#: A target's path: a relative URL that needs no escapes, in which no part is hidden or leads up.
_PATH = re.compile(r"(?:[A-Za-z0-9_~@+-][A-Za-z0-9._~@+=-]*/)*[A-Za-z0-9_~@+-][A-Za-z0-9._~@+=-]*")


class StandardRepository:
    """A repository that one publishes to.

    Args:
        folder: where it is, or will be.
        keys: what is signed with.
        name: the name under which new keys are filed in the key folder.
        root: the root that is trusted first, as a file's content; None: the first one in the folder.
        lifetimes: how long new files are valid, by top-level role, where it is not as in `LIFETIMES`.
        clock: gives the time, aware.

    Raises:
        InvalidError: the name cannot be one.
    """

    def __init__(
        self,
        folder: Path,
        keys: KeyFolder,
        *,
        name: str,
        root: bytes | None = None,
        lifetimes: Mapping[str, timedelta] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = folder
        self.keys = keys
        self.name = Gun(name)
        self._metadata = folder / "metadata"
        self._root = root
        self._lifetimes = {**LIFETIMES, **(lifetimes or {})}
        self._clock = clock

    def present(self, *, revive: bool = False) -> StandardPresent:
        """The newest state, verified; see `StandardPresent.load`."""
        return StandardPresent.load(self._metadata, self._clock(), root=self._root, revive=revive)

    def store(self, path: str, content: bytes, *, role: RoleName = TARGETS, custom: Any = None) -> SetTarget:
        """Put a target's content into the folder, and give the edit that signs it.

        Args:
            path: its path: letters, digits and `._~@+=-` in parts that begin with none of `.=`.
            content: what it is.
            role: who signs it.
            custom: what else is signed, as JSON.

        Raises:
            InvalidError: it cannot have that path.
            UnavailableError: it cannot be written.
        """
        if not _PATH.fullmatch(path):
            raise InvalidError(f"{path[:80]!r} cannot be the path of a target")
        sha256 = hashlib.sha256(content).hexdigest()
        roots = list(read_roots(self._metadata, self._root))
        above, slash, last = path.rpartition("/")
        if not roots or roots[-1].signed.consistent_snapshot:
            last = f"{sha256}.{last}"
        self._write(self.folder / "targets" / f"{above}{slash}{last}", content)
        return SetTarget(role, path, {"sha256": sha256}, len(content), custom)

    def publish(self, *changes: Change, create: Creation | None = None, revive: bool = False) -> Published:
        """Make these changes.

        Args:
            changes: applied in this order; roles are `TARGETS`, `ROOT`, … or a `StandardRole`, keys bare ones.
            create: how to begin the repository if there is none; None: that is an error.
            revive: whether what is there may have expired (see `StandardPresent.load`).

        Raises:
            NotFoundError: there is no repository, or a change concerns a role that does not exist.
            MissingKeysError: the keys of a role that has to be signed are not here.
            PassphraseError: nobody knew the passphrase of one of them.
            InvalidError: a change cannot be made, or would leave a role without enough signatures.
            UntrustedError: the present state is not to be believed.
            UnavailableError: the folder cannot be read or written.
        """
        return self._locked_publish(changes, create, [], revive=revive)

    def renew(self, *, revive: bool = False) -> Published:
        """Sign anew what has lived half of its life and whose keys are here.

        Raises:
            NotFoundError: there is no repository.
            TrustError: as for `publish`.
        """
        return self._locked_publish((), None, [], revive=revive, renew=True)

    def rotate(self, role: RoleName, *, keys: Iterable[NotaryKey] = (), revive: bool = False) -> Published:
        """Replace the keys of a top-level role, and publish that.

        Args:
            role: root, targets, snapshot or timestamp.
            keys: the new keys, whose private halves are in the key folder; without any, as many are made as there
                were.  Replaced keys that no other role has are deleted from the folder, but for root keys.
            revive: see `publish`.

        Raises:
            TrustError: as for `publish`.
        """
        before = self.present(revive=revive).root.signed
        made: list[str] = []
        try:
            new = list(keys) or [self._new_key(role, made) for _ in before.roles[role].keyids]
            done = self._locked_publish((ReplaceKeys(role, tuple(new)),), None, made, revive=revive)
        except BaseException:
            self._forget(made)
            raise
        if role != ROOT:
            used = _key_ids(self.present(revive=revive))
            for keyid in before.roles[role].keyids:
                known = notary_key(before.keys[keyid])
                if known is not None and known.keyid not in used and self.keys.holds(known):
                    self.keys.remove(known.keyid)
        return done

    def _locked_publish(
        self,
        changes: Iterable[Change],
        create: Creation | None,
        made: list[str],
        *,
        revive: bool,
        renew: bool = False,
    ) -> Published:
        """Publish; `made` are new keys, which are deleted again where nothing comes of it."""
        with self._locked():
            try:
                present = self.present(revive=revive)
            except NotFoundError:
                if create is None or any(self._metadata.glob("*.json")):
                    raise  # what is there is damaged, and not to be written over
                present = None
            try:
                return self._publish(present, changes, create, made, renew=renew)
            except BaseException:
                self._forget(made)
                raise

    def _publish(
        self,
        present: StandardPresent | None,
        changes: Iterable[Change],
        create: Creation | None,
        made: list[str],
        *,
        renew: bool,
    ) -> Published:
        names = KeyNames()
        if present is None:
            assert create is not None
            next_ = self._begin(create, made)
        else:
            next_ = StandardDraft(present.root.signed, _payloads(present.roles), _payloads(present.unsigned))
            names.to_notary(next_.root)
            for payload in (*next_.roles.values(), *next_.unsigned.values()):
                if payload.delegations is not None:
                    names.to_notary(payload.delegations)
        for change in changes:
            change.apply(next_)
        for parent in list(next_.roles):
            for child in next_.children(parent):
                if child not in next_.unsigned and child not in next_.roles:
                    # Readers take it amiss when a delegation has no file.
                    next_.roles[StandardRole(child, parent)] = empty_targets()
                    next_.changed.add(StandardRole(child, parent))
        names.to_standard(next_.root)
        for payload in next_.roles.values():
            if payload.delegations is not None:
                names.to_standard(payload.delegations)
        files = Signing(self.keys, self._lifetimes, self._clock(), next_, present).sign(renew=renew)
        made.clear()  # from here on they may be in use
        consistent = bool(next_.root.consistent_snapshot)
        # A root is seen at once; everything that it demands lies there already, but for the timestamp.
        for role in sorted(files, key=lambda role: (role == TIMESTAMP, role == ROOT)):
            meta = files[role]
            version = f"{meta.signed.version}." if role == ROOT or (consistent and role != TIMESTAMP) else ""
            self._write(self._path(f"{version}{role}.json"), meta.to_bytes())
        return Published({role: meta.signed.version for role, meta in files.items()}, created=present is None)

    def _begin(self, creation: Creation, made: list[str]) -> StandardDraft:
        root = Root(consistent_snapshot=True)
        root.version = 0  # python-tuf refuses it, but at birth only
        root.roles = {name: Role([], 1) for name in TOP_LEVEL}
        next_ = StandardDraft(root, {TARGETS: Targets()})
        next_.roles[TARGETS].version = 0
        held = [key.key_id for key in self.keys.held(role=ROOT)][: creation.root_keys]
        root_keys = [public_key_of(self.keys.open(key_id)) for key_id in held]
        # As for a Notary collection, a new root key stays whatever comes: it is the person's.
        root_keys += [self._new_key(ROOT, []) for _ in range(creation.root_keys - len(held))]
        ReplaceKeys(ROOT, tuple(root_keys), creation.root_threshold).apply(next_)
        targets_keys = tuple(self._new_key(TARGETS, made) for _ in range(creation.targets_keys))
        ReplaceKeys(TARGETS, targets_keys, creation.targets_threshold).apply(next_)
        for role in (SNAPSHOT, TIMESTAMP):
            ReplaceKeys(role, (self._new_key(role, made),)).apply(next_)
        return next_

    def _new_key(self, role: RoleName, made: list[str]) -> NotaryKey:
        key = generate_private("ecdsa")
        made.append(self.keys.add(key, role=role, gun="" if role == ROOT else self.name).key_id)
        return public_key_of(key)

    def _forget(self, made: list[str]) -> None:
        while made:
            self.keys.remove(made.pop())

    def _write(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data, mode=0o644)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        parts = name.split("/")  # as web servers find a role whose name has a slash
        if any(part in ("", ".", "..") for part in parts):
            raise InvalidError(f"there can be no file {name[:80]}")
        return self._metadata.joinpath(*parts)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else publishes here meanwhile."""
        try:
            self._metadata.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._metadata, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UnavailableError(f"{self._metadata} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _key_ids(present: StandardPresent) -> set[str]:
    """The IDs in a key folder of all keys that are in use."""
    delegations = [meta.signed.delegations for meta in {**present.roles, **present.unsigned}.values()]
    homes = [present.root.signed.keys, *(each.keys for each in delegations if each is not None)]
    return {known.keyid for keys in homes for key in keys.values() if (known := notary_key(key)) is not None}


def _payloads(files: Mapping[RoleName, Metadata[Targets]]) -> dict[RoleName, Targets]:
    return {role: meta.signed for role, meta in files.items()}
