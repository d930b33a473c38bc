# SPDX-License-Identifier: Apache-2.0
"""`troth rescue` and `troth adopt`: bring collections out of a notary that ends, and give them a new home.

troth rescue https://notary.docker.io docker.io/library/alpine --to rescued
troth-server import --config server.toml --from-folder rescued        # served as it was, and renewed by nobody
troth adopt docker.io/library/alpine --server https://localhost:4443  # by who holds the root key: renewed from now on
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trust.changes import ReplaceKeys
from trust.cli.exits import SIGNED, guarded, status_of
from trust.cli.session import Session, add_server_options
from trust.errors import SettingsError, TrustError
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, Gun
from trust.remote import NotaryServer
from trust.rescue import Rescued, rescue, write

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add `rescue` and `adopt` to the commands of `troth`."""
    parser = commands.add_parser("rescue", help="copy all public trust data of collections from any notary")
    parser.add_argument("server", metavar="URL", help="the notary server")
    parser.add_argument("repositories", nargs="+", metavar="GUN", help="a collection, host part included")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument("--tlscacert", type=Path, metavar="FILE", help="CA of the server's certificate")
    parser.add_argument("--username", metavar="NAME", help="user (default: nobody in particular)")
    parser.add_argument("--password-stdin", action="store_true", help="read the user's password from standard input")
    parser.set_defaults(run=guarded(_rescue))

    adopt = commands.add_parser("adopt", help="let a server that was given rescued collections sign for them")
    adopt.add_argument("repositories", nargs="+", metavar="GUN")
    add_server_options(adopt)
    adopt.set_defaults(run=guarded(_adopt))


def _rescue(options: argparse.Namespace) -> int:
    if options.password_stdin != bool(options.username):
        raise SettingsError("--username and --password-stdin go together")
    # Docker's logins are for registries; a stranger's notary is not to see them unasked.
    credentials = (options.username, sys.stdin.readline().rstrip("\r\n")) if options.username else None
    server = NotaryServer(options.server, ca=options.tlscacert, credentials=credentials)
    status = SIGNED
    for name in options.repositories:
        try:
            rescued = rescue(Gun(name), server, datetime.now(UTC))
            written = write(rescued, options.to)
        except TrustError as error:
            # The others may be rescued all the same: there may not be a next time.
            print(f"troth: {name}: {error}", file=sys.stderr)
            status = max(status, status_of(error))
            continue
        print(_told(rescued, written))
    return status


def _told(rescued: Rescued, written: int) -> str:
    found = rescued.survey
    names = sum(len(meta.signed.targets) for meta in found.targets.values())
    lines = [
        f"{found.gun}: {len(rescued.files)} files, {written} of them new; "
        f"root {found.root.signed.version}, roles {', '.join(found.targets)}, signed names: {names}"
    ]
    lines += [f"  note: {error}" for error in found.expired]
    lines += [f"  note: {role} is passed over by readers: {error}" for role, error in found.skipped.items()]
    lines += [f"  note: no delegation leads to {role}, and the notary has no file of it" for role in rescued.missing]
    return "\n".join(lines)


def _adopt(options: argparse.Namespace) -> int:
    session = Session(options)
    for name in options.repositories:
        gun = Gun(name)
        repository = session.repository(gun)
        server = repository.server
        # Both at once: the server cannot sign what either of the lost keys should.
        changes = [ReplaceKeys(role, (server.rotate_key(gun, role),), 1) for role in (TIMESTAMP, SNAPSHOT)]
        done = repository.publish(*changes, revive=True)
        print(f"{gun}: root version {done.versions[ROOT]} names the server's own timestamp and snapshot keys")
    return SIGNED
