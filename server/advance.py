# SPDX-License-Identifier: Apache-2.0
"""`troth-server advance`: after a restore, sign timestamps and snapshots that are newer than any that were seen.

    troth-server advance --config server.toml --by 1000

A database that was restored from a backup continues with versions that clients and registries have seen already, with
other content: they refuse them, as they must.  Only the operator knows that it is no attack.  This skips so many
versions that the next ones are new to everybody.  What people signed since the backup does not come back by it.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Snapshot

from server.models import TRAIL
from server.online import Online
from server.publish import publish_deeds
from server.settings import Settings
from server.store import Store
from trust.chain import check_root
from trust.errors import InvalidError, NotFoundError, TrustError, UnavailableError
from trust.metadata import parse_root, parse_snapshot
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun, RoleName
from trust.update import RefusedUpdateError
from trust.web.caller import Who
from trust.web.database import Database
from trust.web.run import complain, configure_logging

NAME = "troth-server"


def advance(database: Database, online: Online, gun: Gun, by: int, now: datetime) -> dict[RoleName, int]:
    """Sign snapshot and timestamp of a collection anew, `by` versions ahead.

    Args:
        database: the server's.
        online: signs.
        gun: the collection.
        by: how many versions to skip.
        now: the time.

    Returns:
        the new versions; without the snapshot's where its publisher holds the key.

    Raises:
        NotFoundError: there is no such collection.
        LostRaceError: somebody published meanwhile.
        TrustError: it cannot be signed, or the root does not hold.
    """
    with database.read() as session:
        chain = Store(session).current(gun, ROOT)
    if chain is None:
        raise NotFoundError(f"there is no collection {gun}")
    if chain.file is None or chain.snapshot is None:
        raise UnavailableError(f"{gun}: the root or the snapshot in force is missing")
    root = parse_root(chain.file.data)
    check_root(root, gun, now)
    files: dict[RoleName, tuple[int, bytes]] = {}
    data = chain.snapshot.data
    try:
        snapshot = online.next_snapshot(gun, root.signed, _ahead(data, by), {ROOT: chain.file.data}, now)
    except RefusedUpdateError as error:
        if error.name != "ErrBadHierarchy":
            raise
    else:
        data = snapshot.to_bytes()
        files[SNAPSHOT] = (snapshot.signed.version, data)
    timestamp = online.next_timestamp(gun, root.signed, chain.timestamp.version + by, data, now)
    files[TIMESTAMP] = (timestamp.signed.version, timestamp.to_bytes())
    with database.write() as session:
        hashes = Store(session).put_all(gun, files, now, after=chain.timestamp.version)
        TRAIL.append(session, Who(), now, *publish_deeds(gun, files, hashes, by_server=files))
    return {role: version for role, (version, _) in files.items()}


def main(
    arguments: Sequence[str], load: Callable[[Path | None], Settings], make_online: Callable[[Settings], Online]
) -> int:
    """Run `troth-server advance`; returns its exit status.

    Args:
        arguments: those behind `advance`.
        load: reads the settings, in whatever form the server itself takes them.
        make_online: gives what signs.
    """
    parser = argparse.ArgumentParser(
        prog=f"{NAME} advance", description="After a restore: skip versions that were seen before."
    )
    parser.add_argument("--config", "-config", type=Path, metavar="FILE", help="as for the server itself")
    parser.add_argument("--by", type=int, default=1000, metavar="N", help="how many versions to skip; default 1000")
    parser.add_argument("guns", nargs="*", metavar="GUN", help="a collection; none: all")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config)
        configure_logging("WARNING")
        if not 1 <= options.by <= settings.max_version_jump:
            raise InvalidError(f"--by must be from 1 to {settings.max_version_jump}")
        database, online = Database(settings.database_url), make_online(settings)
        with database.read() as session:
            guns = options.guns or Store(session).collections()
    except TrustError as error:
        return complain(NAME, error)
    status = 0
    for gun in guns:
        try:
            versions = advance(database, online, Gun(gun), options.by, datetime.now(UTC))
        except TrustError as error:
            print(f"{NAME}: {gun}: {error}", file=sys.stderr)
            status = 1
        else:
            print(f"{gun}: " + ", ".join(f"{role} {version}" for role, version in versions.items()))
    database.dispose()
    return status


def _ahead(data: bytes, by: int) -> Snapshot:
    payload = copy.deepcopy(parse_snapshot(data).signed)
    payload.version += by
    return payload
