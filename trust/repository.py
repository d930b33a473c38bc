# SPDX-License-Identifier: Apache-2.0
"""The publisher's side of a trust collection (NOTARY_V1 §6.4).

    repository = Repository(gun, server, keys, FileCache(folder))
    repository.publish(SetTarget.of_digest(RELEASES, "v1", digest, length))

A publish reads the present state and verifies it, applies the changes, signs what they touch and sends it in one
request.  When somebody else was faster, it begins anew, from the new state.

The rules:
* every signed file is a new version with a new expiry, in the exact form of the Go programs (trust.metadata);
* a root is signed by its own keys and, when its keys have changed, by those before it;
* a root within six months of its end is signed anew along the way, if its keys are at hand;
* the snapshot is ours if we hold its keys, else the server's;
* nothing is signed below its threshold: what cannot be published is not begun.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import MetaFile, Role, Root, Snapshot, Targets

from trust.cache import Cache
from trust.changes import Change, Draft, ReplaceKeys, empty_targets
from trust.dialect import Payload
from trust.errors import ConflictError, InvalidError, NotFoundError, TrustError, UnavailableError
from trust.keyfolder import KeyFolder
from trust.keys import NotaryKey, generate_private, public_key_of
from trust.metadata import describe, draft, peek_version
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, TOP_LEVEL, Gun, RoleName
from trust.pins import Pins
from trust.present import Present
from trust.reader import ROOT_LIMIT, Source
from trust.remote import RefusedPublishError
from trust.rootcerts import certify

#: How long what we sign is valid (NOTARY_V1 §1.2).
LIFETIMES = {"root": timedelta(days=3650), "targets": timedelta(days=1095), "snapshot": timedelta(days=1095)}
#: A root that ends sooner is signed anew with any other change.
SOON = timedelta(days=183)
_ATTEMPTS = 8
#: Seconds that who has lost a race waits at most, so that two do not meet again and again.
_PAUSE = 0.5


class MissingKeysError(NotFoundError):
    """Keys that are needed to sign are not in the key folder.

    Examples:
        >>> empty = trust.KeyFolder("empty", trust.from_environment(os.environ))
        >>> trust.open_repository(image.gun, empty, ca=ca, credentials=login).publish(trust.Witness(trust.RELEASES))
        Traceback (most recent call last):
        trust.repository.MissingKeysError: targets/releases cannot be signed: 1 of these keys needed, 0 here: ...
    """


class Server(Source, Protocol):
    """A server that one can publish to: a `Source` that also takes files and has keys, as a `NotaryServer` does.

    Examples:
        >>> server: trust.Server = trust.NotaryServer(image.server_url, ca=ca, credentials=login)
        >>> trust.Repository(image.gun, server, keys, trust.MemoryCache()).present().root.signed.version
        1
    """

    def publish(self, gun: Gun, files: Mapping[RoleName, bytes]) -> None:
        """See `NotaryServer.publish`."""

    def key(self, gun: Gun, role: RoleName) -> NotaryKey:
        """See `NotaryServer.key`."""

    def rotate_key(self, gun: Gun, role: RoleName) -> NotaryKey:
        """See `NotaryServer.rotate_key`."""


@dataclass(frozen=True, slots=True)
class Creation:
    """How a collection begins.

    Attributes:
        root_keys: how many root keys it has; those in the key folder are taken first, and new ones are made.  Of
            those in the folder, the ones in hardware come first.
        root_threshold: how many of them must sign a root.
        targets_keys: how many keys its targets have; those in hardware are taken first, and new ones are made.
        targets_threshold: how many of them must sign.
        server_snapshot: whether the server signs the snapshot, as docker wants it.

    Raises:
        InvalidError: a threshold that cannot be met.

    Examples:
        >>> manifest = registry.resolve(image.repository, "1")
        >>> other = trust.open_repository("localhost:5000/library/other", keys, ca=ca, credentials=login)
        >>> change = trust.SignTag(keys, "1", manifest.digest, manifest.size)
        >>> other.publish(change, create=trust.Creation(targets_keys=2))
        Published(versions={'root': 1, 'targets': 1}, created=True)
    """

    root_keys: int = 1
    root_threshold: int = 1
    targets_keys: int = 1
    targets_threshold: int = 1
    server_snapshot: bool = True

    def __post_init__(self) -> None:
        for keys, threshold in ((self.root_keys, self.root_threshold), (self.targets_keys, self.targets_threshold)):
            if not 1 <= threshold <= keys:
                raise InvalidError(f"a threshold of {threshold} cannot be met by {keys} keys")


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did.

    Attributes:
        versions: the files that were sent, and their versions; empty if nothing had to be changed.
        created: whether the collection is new.

    Examples:
        >>> repository.publish(trust.Witness(trust.RELEASES))
        Published(versions={'targets/releases': 2}, created=False)
    """

    versions: Mapping[RoleName, int] = field(default_factory=dict)
    created: bool = False


class Repository:
    """A collection that one publishes to.

    Args:
        gun: the collection.
        server: where it lives.
        keys: what is signed with.
        cache: what was believed before.
        pins: whom to believe first.
        clock: gives the time, aware.

    Attributes:
        gun: the collection.
        server: where it lives.
        keys: what is signed with.

    `open_repository` is the short way to one.

    Examples:
        >>> repository = trust.Repository(image.gun, server, keys, trust.FileCache(keys.folder))
        >>> repository.publish(trust.RevokeTag(keys, ["1"])).versions
        {'targets/alice': 2, 'targets/releases': 2}
    """

    def __init__(
        self,
        gun: Gun,
        server: Server,
        keys: KeyFolder,
        cache: Cache,
        *,
        pins: Pins | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gun = gun
        self.server = server
        self.keys = keys
        self._cache = cache
        self._pins = pins or Pins()
        self._clock = clock

    def present(self, *, revive: bool = False) -> Present:
        """The newest state, verified: what a publish starts from.

        Args:
            revive: whether what is there may have expired (see `Present.load`).

        Returns:
            The state.

        Raises:
            NotFoundError: the server has no trust data for the GUN.
            UntrustedError: it is not to be believed; the subclass says why.
            UnauthorizedError: the server wants other credentials.
            UnavailableError: the server does not answer.

        Examples:
            >>> releases = repository.present().roles[trust.RELEASES].signed
            >>> list(releases.targets), releases.version
            (['1'], 1)
        """
        return Present.load(self.gun, self.server, self._cache, self._pins, self._clock(), revive=revive)

    def publish(self, *changes: Change, create: Creation | None = None, revive: bool = False) -> Published:
        """Make changes, sign what they touch and send it, all or nothing (NOTARY_V1 §2.2, §6.4).

        Args:
            changes: applied in this order.
            create: how to begin the collection if the server has none; None: that is an error.
            revive: whether what is there may have expired (see `Present.load`).

        Returns:
            What was sent.

        Raises:
            NotFoundError: the server has no trust data for the GUN, or a change concerns a role that does not exist.
            MissingKeysError: the keys of a role that has to be signed are not here.
            PassphraseError: nobody knew the passphrase of one of them.
            InvalidError: a change cannot be made, or the server does not accept it (`RefusedPublishError`).
            UntrustedError: the present state is not to be believed.
            ConflictError: others have kept publishing first.
            UnauthorizedError: the server wants other credentials.
            DeniedError: this user may not publish here.
            UnavailableError: the server does not answer.

        Examples:
            >>> manifest = registry.resolve(image.repository, "2")
            >>> done = repository.publish(
            ...     trust.RevokeTag(keys, ["1"]), trust.SignTag(keys, "2", manifest.digest, manifest.size))
            >>> done.versions
            {'targets/alice': 2, 'targets/releases': 2}
        """
        refusal: Exception | None = None
        before: tuple[int, ...] | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(_PAUSE, 0.05 * 2**attempt)))  # noqa: S311  # no secret
            try:
                present = self.present(revive=revive)
            except NotFoundError:
                if create is None:
                    raise
                present = None
            state = present.state if present else ()
            if refusal is not None and state == before:
                raise refusal  # nobody was in between: it is meant as it is said
            before = state
            try:
                return self._publish(present, changes, create)
            except (ConflictError, RefusedPublishError, UnavailableError) as error:
                refusal = error
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def rotate(self, role: RoleName, *, server: bool = False, keys: Iterable[NotaryKey] = ()) -> Published:
        """Replace the keys of a role, and publish that (NOTARY_V1 §6.4).

        Args:
            role: root, targets, snapshot or timestamp.
            server: whether the server shall hold the new key; always so for timestamp, never for root and targets.
            keys: the new keys, certificates for root, whose private halves are in the key folder; without any, as
                many are made as there were.  Replaced keys of targets and snapshot are deleted from
                the folder (NOTARY_V1 §6.4).

        Returns:
            What was sent.

        Raises:
            InvalidError: such a key cannot be there.
            TrustError: as for `publish`.

        Examples:
            >>> repository.rotate(trust.TARGETS).versions
            {'root': 2, 'targets': 2}
            >>> repository.rotate(trust.SNAPSHOT, server=True).versions
            {'root': 3}
        """
        if server != (role == TIMESTAMP) and role != SNAPSHOT:
            raise InvalidError(f"the {role} key is {'never' if server else 'always'} the server's")
        before = self.present().root.signed
        made: list[str] = []
        new = list(keys)
        try:
            if server:
                new = [self.server.rotate_key(self.gun, role)]
            elif not new:
                new = [self._new_key(role, made) for _ in before.roles[role].keyids]
            done = self.publish(ReplaceKeys(role, tuple(new), 1 if server else None))
        except BaseException:
            self._forget(made)
            raise
        if role in (TARGETS, SNAPSHOT):
            kept = {key.canonical_id for key in new}
            for key in _keys(before, before.roles[role]):
                if key.canonical_id not in kept and self.keys.holds(key):
                    self.keys.remove(key.canonical_id)
        return done

    def can_sign(self, delegator: Root | Targets, role: RoleName) -> bool:
        """Whether the key folder holds enough keys for a role.

        Args:
            delegator: the payload that says which keys the role has: the root's, or that of the parent.
            role: the role.

        Returns:
            Whether it does.

        Examples:
            >>> present = repository.present()
            >>> repository.can_sign(present.roles[trust.TARGETS].signed, trust.RELEASES)
            True
        """
        delegated = delegator.get_delegated_role(role)
        return len(self._held(_keys(delegator, delegated))) >= delegated.threshold

    def _publish(self, present: Present | None, changes: Iterable[Change], create: Creation | None) -> Published:
        now = self._clock()
        made: list[str] = []
        if present is None:
            assert create is not None
            next_ = self._begin(create, now, made)
        else:
            next_ = present.draft()
        try:
            for change in changes:
                change.apply(next_)
            if not next_.changed:
                return Published()
            self._renew_root(next_, now)
            files = self._sign(next_, present, now)
            self.server.publish(self.gun, files)
        except BaseException:
            self._forget(made)
            raise
        return Published({role: peek_version(data) for role, data in files.items()}, created=present is None)

    def _begin(self, creation: Creation, now: datetime, made: list[str]) -> Draft:
        root = Root(consistent_snapshot=False)
        root.version = 0  # python-tuf refuses it, but at birth only
        root.roles = {name: Role([], 1) for name in TOP_LEVEL}
        here = sorted(self.keys.held(role=ROOT), key=lambda key: not key.uri)
        held = [key.key_id for key in here][: creation.root_keys]
        while len(held) < creation.root_keys:
            held.append(self.keys.add(generate_private("ecdsa"), role=ROOT).key_id)
        certificates = [certify(self.keys.open(key_id), self.gun, now) for key_id in held]
        targets = self._first_keys(TARGETS, creation.targets_keys, made)
        snapshot = (
            self.server.key(self.gun, SNAPSHOT)
            if creation.server_snapshot
            else self._first_keys(SNAPSHOT, 1, made)[0]
        )
        next_ = Draft(root, {TARGETS: empty_targets()})
        ReplaceKeys(ROOT, tuple(certificates), creation.root_threshold).apply(next_)
        ReplaceKeys(TARGETS, tuple(targets), creation.targets_threshold).apply(next_)
        ReplaceKeys(SNAPSHOT, (snapshot,)).apply(next_)
        ReplaceKeys(TIMESTAMP, (self.server.key(self.gun, TIMESTAMP),)).apply(next_)
        return next_

    def _first_keys(self, role: RoleName, count: int, made: list[str]) -> list[NotaryKey]:
        """Keys for a role of a new collection.

        Files of an earlier collection of this name are left alone; who puts a key into hardware wants it used.
        """
        here = [key for key in self.keys.held(role=role, gun=self.gun) if key.uri][:count]
        keys = [self.keys.signer(key.key_id).public_key for key in here]
        return keys + [self._new_key(role, made) for _ in range(count - len(keys))]

    def _new_key(self, role: RoleName, made: list[str]) -> NotaryKey:
        key = generate_private("ecdsa")
        made.append(self.keys.add(key, role=role, gun="" if role == ROOT else self.gun).key_id)
        return certify(key, self.gun, self._clock()) if role == ROOT else public_key_of(key)

    def _forget(self, made: Iterable[str]) -> None:
        """Delete keys that came to no use."""
        for key_id in made:
            self.keys.remove(key_id)

    def _renew_root(self, next_: Draft, now: datetime) -> None:
        """Sign the root along, if it ends soon and can be; and with certificates that outlast it, if it is signed."""
        if next_.root.version > 0 and next_.root.expires < now + SOON and self.can_sign(next_.root, ROOT):
            next_.changed.add(ROOT)
        if ROOT not in next_.changed:
            return
        listed = _keys(next_.root, next_.root.roles[ROOT])
        if not all(key.certificates for key in listed):
            raise InvalidError("a root key must be a certificate")
        keys = [
            self._renewed(key, now) if key.certificates[0].not_valid_after_utc < now + SOON else key for key in listed
        ]
        ReplaceKeys(ROOT, tuple(keys)).apply(next_)

    def _renewed(self, key: NotaryKey, now: datetime) -> NotaryKey:
        if not self.keys.holds(key):
            return key
        return certify(self.keys.open(key.canonical_id), self.gun, now)

    def _sign(self, next_: Draft, present: Present | None, now: datetime) -> dict[RoleName, bytes]:
        files: dict[RoleName, bytes] = {}
        if ROOT in next_.changed:
            files[ROOT] = self._sign_root(next_.root, present.root.signed if present else None, now)
        for role in sorted(next_.changed - {ROOT}):
            payload = next_.roles[role]
            if payload.version == 0 and present is not None:
                payload.version = self._last_version(role)
            delegator: Root | Targets = next_.roles[role.parent] if role.is_delegation else next_.root
            delegated = delegator.get_delegated_role(role)
            files[role] = self._signed(role, payload, [(_keys(delegator, delegated), delegated.threshold)], now)
        snapshot = next_.root.roles[SNAPSHOT]
        if len(self._held(_keys(next_.root, snapshot))) >= snapshot.threshold:
            payload_ = self._snapshot(next_, present, files)
            files[SNAPSHOT] = self._signed(
                SNAPSHOT, payload_, [(_keys(next_.root, snapshot), snapshot.threshold)], now
            )
        return files

    def _sign_root(self, root: Root, before: Root | None, now: datetime) -> bytes:
        role = root.roles[ROOT]
        signing = [(_keys(root, role), role.threshold)]
        if before is not None and set(before.roles[ROOT].keyids) != set(role.keyids):
            signing.append((_keys(before, before.roles[ROOT]), before.roles[ROOT].threshold))
        return self._signed(ROOT, root, signing, now)

    def _signed(
        self, role: RoleName, payload: Payload, signing: list[tuple[list[NotaryKey], int]], now: datetime
    ) -> bytes:
        """The next version of `payload`, signed by the keys at hand; each list's threshold must be met."""
        payload.version += 1
        payload.expires = now.replace(microsecond=0) + LIFETIMES["targets" if role.is_targets else role]
        # Go servers hash what they have read and written again, which loses what they do not know (NOTARY_V1 §3.1).
        payload.unrecognized_fields = {}
        keys: dict[str, NotaryKey] = {}
        for listed, threshold in signing:
            held = self._held(listed)
            if len({key.canonical_id for key in held}) < threshold:
                ids = ", ".join(sorted(key.canonical_id for key in listed))
                raise MissingKeysError(
                    f"{role} cannot be signed: {threshold} of these keys needed, {len(held)} here: {ids}"
                )
            keys |= {key.keyid: key for key in held}
        meta: Any = draft(role, payload)
        for key in keys.values():
            try:
                meta.sign(self.keys.signer(key.canonical_id, key), append=True)
            except UnsignedMetadataError as error:
                # python-tuf's wrapping; inside is what the key's home says.
                raise error.__cause__ if isinstance(error.__cause__, TrustError) else error from None
        data: bytes = meta.to_bytes()
        return data

    def _snapshot(self, next_: Draft, present: Present | None, files: Mapping[RoleName, bytes]) -> Snapshot:
        entries: dict[str, MetaFile] = {}
        version = 0
        if present is not None:
            entries[ROOT] = describe(present.root.to_bytes())
            entries |= {
                role: describe(meta.to_bytes()) for role, meta in {**present.roles, **present.unsigned}.items()
            }
            version = present.snapshot.signed.version if present.snapshot else self._last_version(SNAPSHOT)
        entries |= {role: describe(data) for role, data in files.items()}
        snapshot = Snapshot(meta={role: meta for role, meta in entries.items() if role not in next_.removed})
        snapshot.version = version
        return snapshot

    def _last_version(self, role: RoleName) -> int:
        """The version of a file that was not read as part of the present state, such as a role that was removed."""
        try:
            return peek_version(self.server.fetch(self.gun, role, ROOT_LIMIT))
        except NotFoundError:
            return 0

    def _held(self, keys: Iterable[NotaryKey]) -> list[NotaryKey]:
        here = {held.key_id for held in self.keys.held()}
        return [key for key in keys if key.canonical_id in here]


def _keys(delegator: Root | Targets, role: Role) -> list[NotaryKey]:
    found = (delegator.get_key(keyid) for keyid in role.keyids)
    return [key for key in found if isinstance(key, NotaryKey)]
