# SPDX-License-Identifier: Apache-2.0
"""What the registry has believed, in its database: roots, and the highest versions seen, of each trust collection.

It outlives restarts and is shared by all workers and replicas, so that neither a restart, a replica that has not
looked yet, nor deletion and re-creation of the trust data brings back trust on first use.

Whatever way a publish took to the notary server, here is where the registry learns of it: so here it is told.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from sqlalchemy import Integer, Select, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.base import Base
from registry.events import outbox
from registry.events.event import Event, Kind
from registry.inserts import insert_or_find
from registry.models import TRAIL, ascii_text, bytes_of_any_length
from trust.names import ROOT, Gun, RoleName
from trust.web.audit import Deed
from trust.web.caller import caller
from trust.web.database import Database


class TrustFileRow(Base):
    """The newest verified file of one role of one collection."""

    __tablename__ = "trust_files"

    gun: Mapped[str] = mapped_column(ascii_text(255), primary_key=True)
    role: Mapped[str] = mapped_column(ascii_text(255), primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(bytes_of_any_length())


class DatabaseCache:
    """`trust.cache.Cache` in the registry's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, gun: Gun, role: RoleName) -> bytes | None:
        """See `Cache`."""

        def read() -> bytes | None:
            with self._database.read() as session:
                return session.scalar(_find(gun, role).with_only_columns(TrustFileRow.data))

        return self._database.readings.get(("trust", gun, role), read)

    def save(self, gun: Gun, role: RoleName, version: int, data: bytes) -> None:
        """See `Cache`."""

        def work(session: Session) -> None:
            fresh = TrustFileRow(gun=gun, role=role, version=version, data=data)
            # Locked, so that of two replicas the one with the higher version stays.
            row = insert_or_find(session, fresh, _find(gun, role).with_for_update())
            is_new = row is fresh or version > row.version
            if row is not fresh and version >= row.version:
                row.version, row.data = version, data
            if is_new and (role == ROOT or role.is_targets):
                outbox.tell(session, _published(gun, role, version, data))

        self._database.transact(work)
        self._database.readings.renew()

    def drop(self, gun: Gun, role: RoleName) -> None:
        """See `Cache`."""
        with self._database.write() as session:
            session.execute(delete(TrustFileRow).where(TrustFileRow.gun == gun, TrustFileRow.role == role))
        self._database.readings.renew()

    def forget(self, gun: Gun) -> bool:
        """Forget all of a collection, so that its next root is believed anew: only an administrator may want this.

        Returns:
            whether anything was known.
        """
        with self._database.write() as session:
            known = session.scalar(select(TrustFileRow.version).where(TrustFileRow.gun == gun).limit(1)) is not None
            session.execute(delete(TrustFileRow).where(TrustFileRow.gun == gun))
            if known:
                TRAIL.append(session, caller(), datetime.now(UTC), Deed(action="trust.forget", name=gun))
        return known


def _published(gun: Gun, role: RoleName, version: int, data: bytes) -> Event:
    """That the registry believes a new file; who published it, the notary server's audit trail says."""
    return Event(
        kind=Kind.PUBLISHED,
        repository=gun.partition("/")[2],
        time=datetime.now(UTC),
        detail={"gun": gun, "role": role, "trust_version": version, "sha256": hashlib.sha256(data).hexdigest()},
    )


def _find(gun: Gun, role: RoleName) -> Select[TrustFileRow]:
    return select(TrustFileRow).where(TrustFileRow.gun == gun, TrustFileRow.role == role)
