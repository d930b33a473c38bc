# SPDX-License-Identifier: Apache-2.0
"""`troth status`, `troth refresh` and `troth rotate`: keep a collection alive, and its keys in good hands.

troth status localhost:5000/library/app                         # when does what end?
troth refresh --within 180 localhost:5000/library/app           # sign anew what ends soon, or has ended
troth rotate localhost:5000/library/app snapshot --server
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from trust.changes import Change, Draft, Witness
from trust.cli.exits import DUE, SIGNED, guarded
from trust.cli.session import Session, add_server_options
from trust.cli.verifying import table
from trust.dialect import Payload
from trust.errors import InvalidError
from trust.images import Image
from trust.keyfolder import KeyFolder
from trust.names import ROOT, SNAPSHOT, TARGETS, RoleName
from trust.present import Present
from trust.repository import MissingKeysError
from trust.rootcerts import certify
from trust.tags import has_keys

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

#: When a role is due, unless `--within` says otherwise.
WITHIN = 180


def add_parser(commands: Commands) -> None:
    """Add `status`, `refresh` and `rotate` to the commands of `troth`."""
    status = commands.add_parser("status", help="show when the files of collections expire")
    status.add_argument("repositories", nargs="+", metavar="GUN")
    status.add_argument("--json", action="store_true", help="print JSON")
    add_server_options(status)
    status.set_defaults(run=guarded(_status))

    refresh = commands.add_parser("refresh", help="sign anew what expires soon or has expired")
    refresh.add_argument("repositories", nargs="+", metavar="GUN")
    refresh.add_argument(
        "--within", type=int, default=WITHIN, metavar="DAYS", help=f"what counts as soon (default: {WITHIN})"
    )
    refresh.add_argument("--json", action="store_true", help="print JSON")
    add_server_options(refresh)
    refresh.set_defaults(run=guarded(_refresh))

    rotate = commands.add_parser("rotate", help="replace the keys of a role")
    rotate.add_argument("repository", metavar="GUN")
    rotate.add_argument("role", choices=("root", "targets", "snapshot", "timestamp"))
    rotate.add_argument("--server", dest="to_server", action="store_true", help="the server shall hold the new key")
    rotate.add_argument(
        "--key", action="append", default=[], metavar="ID", help="a key of the key folder (default: a new one)"
    )
    add_server_options(rotate, server="--server-url")
    rotate.set_defaults(run=guarded(_rotate))


def _status(options: argparse.Namespace) -> int:
    session = Session(options)
    now = datetime.now(UTC)
    worst, found = timedelta.max, []
    for name in options.repositories:
        gun = Image.parse(name).gun
        present = session.repository(gun).present(revive=True)
        for role, payload, mine in _files(present, session.keys):
            left = payload.expires - now
            worst = min(worst, left)
            found.append({
                "gun": gun, "role": role, "version": payload.version, "expires": payload.expires.isoformat(),
                "days": left.days, "keyHere": mine,
            })  # fmt: skip
    found.sort(key=lambda entry: (str(entry["expires"]), str(entry["gun"]), str(entry["role"])))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        rows = [["EXPIRES", "DAYS", "GUN", "ROLE", "KEY"]]
        for entry in found:
            here = "here" if entry["keyHere"] else "elsewhere"
            rows.append([str(entry["expires"])[:10], str(entry["days"]), str(entry["gun"]), str(entry["role"]), here])
        table(rows)
    return next((status for limit, status, _ in DUE if worst <= limit), SIGNED)


def _refresh(options: argparse.Namespace) -> int:
    session = Session(options)
    if options.within < 0:
        raise InvalidError("--within takes a number of days")
    limit = datetime.now(UTC) + timedelta(days=options.within)
    done, missing = [], []
    for name in options.repositories:
        gun = Image.parse(name).gun
        repository = session.repository(gun)
        due = [
            (role, mine)
            for role, payload, mine in _files(repository.present(revive=True), session.keys)
            if payload.expires <= limit
        ]
        missing += [f"{role} of {gun}" for role, mine in due if not mine]
        changes: list[Change] = [Witness(role) for role, mine in due if mine and role != SNAPSHOT]
        if not changes and (SNAPSHOT, True) in due:
            changes = [Witness(TARGETS)]  # whatever is published, the snapshot is signed along
        versions: dict[RoleName, int] = {}
        if changes:
            versions |= repository.publish(*changes, revive=True).versions
        done.append({"gun": gun, "signed": versions})
        if not options.json:
            signed = ", ".join(f"{role} (version {version})" for role, version in sorted(versions.items()))
            print(f"{gun}: {'signed ' + signed if signed else 'nothing to sign'}")
    if options.json:
        print(json.dumps(done, indent=2))
    if missing:
        raise MissingKeysError(
            f"these expire soon or have expired, and their keys are not here: {', '.join(missing)}"
        )
    return SIGNED


def _rotate(options: argparse.Namespace) -> int:
    session = Session(options)
    gun, role = Image.parse(options.repository).gun, RoleName(options.role)
    keys = []
    for key_id in options.key:
        if options.to_server:
            raise InvalidError("with --server the server makes the key")
        private = session.keys.open(session.keys.find(key_id).key_id)
        keys.append(
            certify(private, gun, datetime.now(UTC)) if role == ROOT else session.keys.signer(key_id).public_key
        )
    done = session.repository(gun).rotate(role, server=options.to_server, keys=keys)
    print(f"Successfully rotated the {role} key of {gun} (root version {done.versions[ROOT]})")
    return SIGNED


def _files(present: Present, keys: KeyFolder) -> list[tuple[RoleName, Payload, bool]]:
    """Every file that a person signs: role, payload, and whether the keys are here.

    The server renews its own by itself; a snapshot is listed only where its key is here.
    """
    roles = {role: meta.signed for role, meta in present.roles.items()}
    draft = Draft(present.root.signed, roles)
    files: list[tuple[RoleName, Payload, bool]] = [(ROOT, present.root.signed, has_keys(draft, keys, ROOT))]
    files += [(role, payload, has_keys(draft, keys, role)) for role, payload in roles.items()]
    if present.snapshot is not None and has_keys(draft, keys, SNAPSHOT):
        files.append((SNAPSHOT, present.snapshot.signed, True))
    return files
