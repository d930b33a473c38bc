# SPDX-License-Identifier: Apache-2.0
"""The `KeyStore` in SQL: keys sealed at rest, opened in memory to sign; or on a token, where they sign themselves.

    vault = Vault(database, Passphrases(folder, os.environ), "default", clock=clock)
    vault.sign(gun, TIMESTAMP, key_id, payload)

The rules, beside those of every `KeyStore`:

* a key is given out, or given out again, only if it can be opened: a root that names a key nobody can sign with
  would have to be rotated by hand;
* before a signature leaves, the key is marked as used: from then on `create` makes a new one (NOTARY_V1 §4.2);
* that a key is made, first used, deleted or imported is in the audit trail, with what is refused; that it signs again
  is not (docs/decisions/0018-audit.md);
* a row whose `deleted_at` is set is not there;
* names are compared here and not by the database, which may hold that `App` and `app` are the same.

Of a key on a token the row holds only where it is (`signer.tokenhome`).  Sealed keys and keys on a token sign side
by side, whichever kind the new ones are of, so that one can move from the one to the other by rotating keys.

Opening a key costs milliseconds on purpose, so the last ones stay open in memory, by the sealed bytes: a row that
is changed is opened anew.  The row itself is read for each signature, after it was made and before it leaves
(`signer.rows`); it is written for the first one and then once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from signer.models import TRAIL, SealedKey
from signer.passphrases import Passphrases
from signer.rows import Held, Placed, Rows, from_row, of_role, row_of
from signer.sealing import ENCRYPTION_ALGORITHM, KEYWRAP_ALGORITHM, SealError, seal, unseal
from signer.tokenhome import ON_TOKEN, TokenHome
from trust.errors import SettingsError, UnavailableError
from trust.keys import NotaryKey, NotarySignature, NotarySigner, PrivateKey, generate_private, public_key_of
from trust.keystore import Limits, check_key, check_payload, key_not_found
from trust.names import Gun, RoleName
from trust.web.audit import Deed
from trust.web.caller import Who, caller
from trust.web.database import Database
from trust.web.metrics import counter
from trust.web.refusals import Refusals

#: How often a row is read again that is another one each time.
_MAX_READINGS = 3
_SIGNATURES = counter("troth_signatures", "signatures made", service="troth-signer", role=("timestamp", "snapshot"))


class Vault:
    """The signer's keys.

    Args:
        database: where they are; its tables exist.
        passphrases: what they are sealed under.
        default_alias: the passphrase for new keys.
        token: where other keys are, if there is one.
        new_on_token: whether new keys are made there.
        clock: tells the time.
        limits: how far ahead a signed file may expire.
        cached_keys: how many stay open in memory.
    """

    def __init__(
        self,
        database: Database,
        passphrases: Passphrases,
        default_alias: str,
        *,
        token: TokenHome | None = None,
        new_on_token: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        limits: Limits | None = None,
        cached_keys: int = 1024,
    ) -> None:
        self._database = database
        self._passphrases = passphrases
        self._default_alias = default_alias
        self._token = token
        self._new_on_token = new_on_token
        self._clock = clock
        self._limits = limits or Limits()
        self._refusals = Refusals(TRAIL, database, clock)
        self._rows = Rows(database, cached_keys)
        self._unsealed = lru_cache(maxsize=cached_keys)(self._unseal)

    def create(self, gun: Gun, role: RoleName, algorithm: str, *, who: Who | None = None) -> NotaryKey:
        """See `KeyStore.create`.

        Args:
            gun: as there.
            role: as there.
            algorithm: as there.
            who: on whose behalf, for the audit trail; None: whoever makes the current request.
        """
        who = who or caller()
        with self._refusals.noted(Deed(action="key.create", name=gun, role=role), who):
            check_key(role, algorithm)
        with self._database.write() as session:
            held = self._pending(session, gun, role, algorithm)
            if held is None:
                # Two at once may both come here where the database lets them; then both keys are pending, both
                # can sign, and the next request gets the lower one.
                held = self._add(session, gun, role, algorithm)
                self._tell(session, who, "key.create", held, gun, role)
        self._check(held)
        return held.key

    def find(self, gun: Gun, role: RoleName, key_ids: Iterable[str]) -> list[NotaryKey]:
        """See `KeyStore.find`."""
        with self._database.read() as session:
            held = {each.key_id: each for each in of_role(session, gun, role)}
        return [held[key_id].key for key_id in dict.fromkeys(key_ids) if key_id in held]

    def sign(
        self, gun: Gun, role: RoleName, key_id: str, payload: bytes, *, who: Who | None = None
    ) -> NotarySignature:
        """See `KeyStore.sign`; `who` is as for `create`."""
        who = who or caller()
        with self._refusals.noted(Deed(action="sign", name=gun, role=role, detail={"key_id": key_id}), who):
            held = self._rows.expected(key_id)
            if held is None or not held.is_for(gun, role):
                held = self._rows.read(key_id)
            if held is None or not held.is_for(gun, role):
                raise key_not_found(key_id)
            check_payload(role, payload, self._clock(), self._limits)
        for _ in range(_MAX_READINGS):
            made = self._try(held, payload)
            found = self._rows.read(key_id)
            if found is None or not found.is_for(gun, role):  # deleted while we signed, or before
                raise key_not_found(key_id)
            if found == held:
                break
            held = found
        else:
            raise UnavailableError(f"the stored key {key_id[:64]} keeps changing")
        if isinstance(made, UnavailableError):
            raise made
        now = self._clock()
        if self._rows.must_be_touched(found, now):
            self._touch(found, gun, role, who)
            self._rows.touched(found, now)
        _SIGNATURES.labels(role).inc()
        return made

    def sign_by_id(self, key_id: str, payload: bytes, *, who: Who) -> tuple[Placed, NotarySignature]:
        """`sign` for a protocol that names a key by its ID alone (NOTARY_V1 §4.1).

        Args:
            key_id: the key.
            payload: as for `sign`.
            who: on whose behalf.

        Returns:
            What the key was made for, and the signature.

        Raises:
            NotFoundError: no such key is held.
            DeniedError: the payload is not what the key may sign.
            UnavailableError: the database does not answer, or the key cannot be opened.
        """
        held = self._rows.expected(key_id)
        placed = self.locate(key_id) if held is None else held.placed
        return placed, self.sign(placed.gun, placed.role, key_id, payload, who=who)

    def locate(self, key_id: str) -> Placed:
        """What the key `key_id` was made for: for a protocol that names a key by its ID alone (NOTARY_V1 §4.1).

        Raises:
            NotFoundError: no such key is held.
            UnavailableError: the database does not answer.
        """
        held = self._rows.read(key_id)
        if held is None:
            raise key_not_found(key_id)
        return held.placed

    def delete(self, key_id: str, *, who: Who | None = None) -> bool:
        """Mark the key `key_id` as deleted, if it is held; its row stays, as the Go signer's does (NOTARY_V1 §4.2).

        Args:
            key_id: the key.
            who: as for `create`.

        Returns:
            Whether it was held.

        Raises:
            UnavailableError: the database does not answer.
        """
        with self._database.write() as session:
            row = row_of(session, key_id)
            if row is None:
                return False
            row.deleted_at = row.updated_at = self._now()
            self._tell(session, who or caller(), "key.delete", from_row(row), row.gun, row.role)
            return True

    def ping(self) -> None:
        """Whether keys can be used now: the database answers, and so does the token, with its newest key on it.

        Raises:
            UnavailableError: not so.
        """
        with self._database.read() as session:
            newest = select(SealedKey).where(SealedKey.encryption_alg == ON_TOKEN, SealedKey.deleted_at.is_(None))
            row = session.scalars(newest.order_by(SealedKey.id.desc()).limit(1)).first()
            held = from_row(row) if row is not None else None
        if self._token is not None:
            self._token.check(held.sealed if held is not None else b"")

    def _try(self, held: Held, payload: bytes) -> NotarySignature | UnavailableError:
        """The signature, or why there is none: that counts only if the row is still what is held here."""
        try:
            return NotarySigner(self._open(held), held.key).sign(payload)
        except UnavailableError as error:
            return error

    def _touch(self, held: Held, gun: Gun, role: RoleName, who: Who) -> None:
        """Mark it as used; the first time with a record."""
        with self._database.write() as session:
            row = session.get(SealedKey, held.id, with_for_update=True)
            if row is None or row.deleted_at is not None:
                raise key_not_found(held.key_id)
            if row.last_used is None:
                self._tell(session, who, "key.use", held, gun, role)
            row.last_used = row.updated_at = self._now()

    def _check(self, held: Held) -> None:
        """Whether the key can be used."""
        self._open(held)
        if held.encryption == ON_TOKEN and self._token is not None:
            self._token.check(held.sealed)

    def _tell(self, session: Session, who: Who, action: str, held: Held, gun: str, role: str) -> None:
        detail = {"key_id": held.key_id, "algorithm": held.algorithm, "alias": held.alias}
        TRAIL.append(session, who, self._clock(), Deed(action=action, name=gun, role=role, detail=detail))

    def _pending(self, session: Session, gun: Gun, role: RoleName, algorithm: str) -> Held | None:
        unused = [
            each
            for each in of_role(session, gun, role)
            if each.algorithm == algorithm
            and not each.used
            and (each.encryption == ON_TOKEN) == self._new_on_token  # else one would wait for a token that was left
        ]
        return min(unused, key=lambda each: each.key_id, default=None)

    def _add(self, session: Session, gun: Gun, role: RoleName, algorithm: str) -> Held:
        key, private, described = self._make(gun, role, algorithm)
        now = self._now()
        row = SealedKey(
            created_at=now,
            updated_at=now,
            key_id=key.keyid,
            algorithm=algorithm,
            public=key.public,
            private=private,
            gun=str(gun),
            role=str(role),
            **described,
        )
        session.add(row)
        session.flush()
        return from_row(row)

    def _make(self, gun: Gun, role: RoleName, algorithm: str) -> tuple[NotaryKey, bytes, dict[str, str]]:
        """A new key: its public half, what the row keeps of the private one, and how."""
        if self._new_on_token:
            assert self._token is not None
            key, where = self._token.make(gun, role, algorithm)
            return key, where, {"encryption_alg": ON_TOKEN, "keywrap_alg": ON_TOKEN, "passphrase_alias": ""}
        private = generate_private(algorithm)
        sealed = seal(private, self._passphrase(self._default_alias))
        described = {"encryption_alg": ENCRYPTION_ALGORITHM, "keywrap_alg": KEYWRAP_ALGORITHM}
        return public_key_of(private), sealed, described | {"passphrase_alias": self._default_alias}

    def _open(self, held: Held) -> PrivateKey:
        if held.encryption == ON_TOKEN:
            if self._token is None:
                raise SealError(f"the stored key {held.key_id[:64]} is on a token, and this signer has none")
            # Its signatures are verified with the key that the row says.
            return self._token.open(held.sealed, held.key.public_key)
        return self._unsealed(held.sealed, held.algorithm, held.alias, held.key_id)

    def _unseal(self, sealed: bytes, algorithm: str, alias: str, key_id: str) -> PrivateKey:
        private = unseal(sealed, algorithm, self._passphrase(alias))
        # A row that was given another row's key must not sign.
        if public_key_of(private).keyid != key_id:
            raise SealError(f"the stored key {key_id[:64]} is not the one that its row says")
        return private

    def _passphrase(self, alias: str) -> str:
        try:
            return self._passphrases.of(alias)
        except SettingsError as error:
            # The operator's fault, and not the client's, as a SettingsError would be on the wire.
            raise SealError(f"the passphrase {alias[:50]!r} of a stored key cannot be used") from error

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(tzinfo=None)
