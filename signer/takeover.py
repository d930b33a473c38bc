# SPDX-License-Identifier: Apache-2.0
"""`troth-signer import`: take over the private keys of another notary signer, sealed as they are.

    troth-signer import --config signer.toml --from postgres://signer@db/notarysigner?sslmode=require

The rules:

* key IDs and sealed bytes never change: a key stays under the passphrase of its alias (NOTARY_V1 §4.2), which must be
  given to this signer in the same way, as `NOTARY_SIGNER_<ALIAS>` or in the passphrase folder;
* each key is opened once to see that it can be, unless that is not wanted; one that cannot be opened is taken all the
  same and reported, since its passphrase may still be found;
* what is here is never overwritten; a collection's keys come in one transaction, and an import can be repeated.

The oldest rows do not say whose key they hold.  The report of `troth-server import` does: see `--server-report`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import DateTime, Integer, LargeBinary, String, insert, inspect, make_url, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from signer.models import TRAIL, SealedKey
from signer.passphrases import Passphrases
from signer.sealing import SealError, unseal
from signer.settings import Settings
from trust.ca import write_file
from trust.errors import InvalidError, SettingsError, TrustError, UnavailableError
from trust.keys import public_key_of
from trust.names import Gun, RoleName
from trust.settings import load
from trust.takeover import EXTENDED, IMPORTED, PRESENT, REFUSED, Entry, Report
from trust.web.audit import Deed
from trust.web.caller import Who
from trust.web.database import BrokenOffError, Database
from trust.web.origin import Columns, Origin, Tables, moment
from trust.web.run import complain, configure_logging

NAME = "troth-signer"
PREFIX = "TROTH_SIGNER"
#: Where the address of the other database may stand, for a command line is no place for a password.
VARIABLE = f"{PREFIX}_IMPORT_FROM"

_TABLE = "private_keys"


@dataclass(frozen=True, slots=True)
class OriginKey:
    """A row of the other signer; sealed, so it holds no secret that the passphrase does not guard."""

    key_id: str
    algorithm: str
    alias: str
    gun: str
    role: str
    public: bytes
    private: bytes
    encryption: str
    keywrap: str
    created: datetime | None
    updated: datetime | None
    used: datetime | None

    @property
    def content(self) -> tuple[object, ...]:
        """What must be the same for two rows to hold the same key."""
        return (self.algorithm, self.alias, self.gun, self.role, self.public, self.private)


class Succession:
    """Takes keys over, collection by collection.

    Args:
        keys: those of the other signer.
        database: where they go; its table is there.
        passphrases: what they are opened with to see that they can be; None: they are not opened.
        now: the time.
        present: where to look for what is here already, if not in `database`: for a dry run.
        dry_run: whether everything is undone at the end.
    """

    def __init__(
        self,
        keys: Sequence[OriginKey],
        database: Database,
        passphrases: Passphrases | None,
        now: datetime,
        *,
        present: Database | None = None,
        dry_run: bool = False,
    ) -> None:
        self._database = database
        self._passphrases = passphrases
        self._present = present or database
        self._now = now.astimezone(UTC).replace(tzinfo=None)
        self._dry_run = dry_run
        self._by_gun: dict[str, list[OriginKey]] = defaultdict(list)
        for key in keys:
            self._by_gun[key.gun].append(key)
        self._lacking: dict[str, str] = {}

    def collections(self, guns: Sequence[str]) -> Report:
        """Take over the keys of these collections, or all if there are none.

        What stops it altogether is the report's last problem: what was done before is done.
        """
        entries = []
        problems = []
        try:
            entries = [self.collection(gun) for gun in guns or sorted(self._by_gun)]
        except TrustError as error:
            problems.append(f"stopped: {error}")
        problems = [
            f"the passphrase of the alias {alias!r} is not to be had: {why}" for alias, why in self._lacking.items()
        ] + problems
        return Report(program=NAME, dry_run=self._dry_run, entries=tuple(entries), problems=tuple(problems))

    def collection(self, gun: str) -> Entry:
        """Take over one collection's keys.

        Raises:
            UnavailableError: the database does not answer.
        """
        keys = self._by_gun.get(gun, [])
        refused = Entry(gun=gun, state=REFUSED)
        if not keys:
            return replace(refused, problems=("the other signer has no key of such a collection",))
        with self._present.read() as session:
            rows = session.scalars(select(SealedKey).where(SealedKey.key_id.in_([key.key_id for key in keys])))
            here = {row.key_id: _from_row(row) for row in rows}
        problems = [
            f"key {key.key_id} is here with other content"
            for key in keys
            if key.key_id in here and here[key.key_id].content != key.content
        ]
        if problems:
            return replace(refused, problems=tuple(problems))
        missing = [key for key in keys if key.key_id not in here]
        try:
            with self._database.write() as session:
                if missing:
                    session.execute(insert(SealedKey), [self._row(key) for key in missing])
                    self._tell(session, gun, missing)
                if self._dry_run:
                    session.rollback()
        except (IntegrityError, BrokenOffError):
            return replace(refused, problems=("somebody else writes its keys here at the same time; try again",))
        state = (EXTENDED if here else IMPORTED) if missing else PRESENT
        problems = [problem for key in keys if (problem := self._problem(key))]
        return Entry(gun=gun, state=state, keys=tuple(key.key_id for key in keys), problems=tuple(problems))

    def _tell(self, session: Session, gun: str, keys: Sequence[OriginKey]) -> None:
        if self._dry_run:
            return
        deeds = [
            Deed(
                action="import",
                name=gun,
                role=key.role,
                detail={"key_id": key.key_id, "algorithm": key.algorithm, "alias": key.alias},
            )
            for key in keys
        ]
        TRAIL.append(session, Who(), self._now.replace(tzinfo=UTC), *deeds)

    def _row(self, key: OriginKey) -> dict[str, object]:
        return {
            "created_at": key.created or self._now,
            "updated_at": key.updated or key.created or self._now,
            "key_id": key.key_id,
            "encryption_alg": key.encryption,
            "keywrap_alg": key.keywrap,
            "algorithm": key.algorithm,
            "passphrase_alias": key.alias,
            "public": key.public,
            "private": key.private,
            "gun": key.gun,
            "role": key.role,
            "last_used": key.used,
        }

    def _problem(self, key: OriginKey) -> str | None:
        """Why the key cannot sign here; None if it can."""
        try:
            Gun(key.gun)
            RoleName(key.role)
        except InvalidError:
            return f"key {key.key_id} does not say which role of which collection it is of; see --server-report"
        if self._passphrases is None:
            return None
        try:
            passphrase = self._passphrases.of(key.alias)
        except SettingsError as error:
            self._lacking.setdefault(key.alias, str(error))
            return f"key {key.key_id} ({key.role}) is sealed under {key.alias!r}, whose passphrase is not to be had"
        try:
            private = unseal(key.private, key.algorithm, passphrase)
        except SealError as error:
            return f"key {key.key_id} ({key.role}), under {key.alias!r}: {error}"
        public = public_key_of(private)
        if (public.keyid, public.public) != (key.key_id, key.public):
            return f"key {key.key_id} ({key.role}) is not the one that its row says"
        return None


def read_keys(tables: Tables, owners: Mapping[str, tuple[str, str]]) -> list[OriginKey]:
    """The keys of another signer that are not deleted.

    Args:
        tables: its tables.
        owners: by key ID, the collection and role of keys whose row says none.

    Raises:
        InvalidError: there is no table `private_keys`.
        UnavailableError: the database does not answer.
    """
    if not tables.has(_TABLE):
        raise InvalidError(f"the other database has no table {_TABLE}: it is not a notary signer's")
    wanted: Columns = {
        "id": Integer(), "key_id": String(), "algorithm": String(), "passphrase_alias": String(), "gun": String(),
        "role": String(), "public": LargeBinary(), "private": LargeBinary(), "encryption_alg": String(),
        "keywrap_alg": String(), "created_at": DateTime(), "updated_at": DateTime(), "last_used": DateTime(),
    }  # fmt: skip
    keys = []
    for row in tables.rows(_TABLE, wanted):
        gun, role = row.gun or "", row.role or ""
        if not gun or not role:
            gun, role = owners.get(row.key_id, (gun, role))
        keys.append(
            OriginKey(
                key_id=row.key_id,
                algorithm=row.algorithm,
                alias=row.passphrase_alias,
                gun=gun,
                role=role,
                public=bytes(row.public),
                private=bytes(row.private),
                encryption=row.encryption_alg,
                keywrap=row.keywrap_alg,
                created=moment(row.created_at),
                updated=moment(row.updated_at),
                used=moment(row.last_used),
            )
        )
    return keys


def main(arguments: Sequence[str], prepare: Callable[[Settings], None]) -> int:
    """Run `troth-signer import`; returns its exit status.

    Args:
        arguments: those behind `import`.
        prepare: brings the signer's database to where its code wants it.
    """
    parser = argparse.ArgumentParser(prog=f"{NAME} import", description="Take over another notary signer's keys.")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings in TOML; {PREFIX}_… overrides them")
    parser.add_argument("--from", dest="origin", metavar="URL", default=os.environ.get(VARIABLE),
                        help=f"the other signer's database, or its configuration file; {VARIABLE} keeps a password "
                             "out of the command line")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and report what would be done")
    parser.add_argument("--gun", action="append", metavar="GUN", help="this collection's keys only; may be repeated")
    parser.add_argument(
        "--no-check", action="store_true", help="do not open the keys: their passphrases are not here"
    )
    parser.add_argument("--server-report", type=Path, metavar="FILE",
                        help="report of `troth-server import`: says whose the oldest keys are")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there, as JSON")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # an SQLite database is for its owner
    try:
        settings = load(Settings, prefix=PREFIX, path=options.config)
        configure_logging("WARNING")
        if not options.origin:
            raise SettingsError(f"say where to take from: --from URL, or {VARIABLE}")
        with Origin(options.origin).read() as tables:
            keys = read_keys(tables, _owners(options.server_report))
        report = _take_over(keys, settings, options, prepare)
        if options.report is not None:
            write_file(options.report, report.to_json(), mode=0o644)
    except TrustError as error:
        return complain(NAME, error)
    except OSError as error:
        return complain(NAME, UnavailableError(f"{error.filename} cannot be used: {error.strerror}"))
    sys.stdout.write(report.table())
    return report.status


def _take_over(
    keys: Sequence[OriginKey], settings: Settings, options: argparse.Namespace, prepare: Callable[[Settings], None]
) -> Report:
    with ExitStack() as stack:
        target = Database(settings.database_url)
        stack.callback(target.dispose)
        database, present = target, None
        if options.dry_run:
            # Nothing is written, not even an empty table: what would be is tried elsewhere.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="troth-"))
            prepare(replace(settings, database_url=f"sqlite:///{folder}/dry-run.db"))
            database = Database(f"sqlite:///{folder}/dry-run.db")
            stack.callback(database.dispose)
            present = target if _is_prepared(settings.database_url, target) else database
        else:
            prepare(settings)
        passphrases = None if options.no_check else Passphrases(settings.passphrase_folder, os.environ)
        succession = Succession(
            keys, database, passphrases, datetime.now(UTC), present=present, dry_run=options.dry_run
        )
        return succession.collections(options.gun or ())


def _owners(report: Path | None) -> dict[str, tuple[str, str]]:
    if report is None:
        return {}
    entries = Report.from_json(report.read_bytes()).entries
    return {key_id: (entry.gun, role) for entry in entries for role, ids in entry.online.items() for key_id in ids}


def _is_prepared(url: str, database: Database) -> bool:
    """Whether the table is there; without making an SQLite file to find out."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file():
        return False
    try:
        return inspect(database.engine).has_table(_TABLE)
    except SQLAlchemyError as error:
        raise UnavailableError(f"this signer's database does not answer: {type(error).__name__}") from error


def _from_row(row: SealedKey) -> OriginKey:
    return OriginKey(
        key_id=row.key_id,
        algorithm=row.algorithm,
        alias=row.passphrase_alias,
        gun=row.gun,
        role=row.role,
        public=row.public,
        private=row.private,
        encryption=row.encryption_alg,
        keywrap=row.keywrap_alg,
        created=row.created_at,
        updated=row.updated_at,
        used=row.last_used,
    )
