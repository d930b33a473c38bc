# SPDX-License-Identifier: Apache-2.0
"""`troth signer` and `troth key`: who may sign, and with what.

troth key generate alice
troth signer add --key alice.pub alice localhost:5000/library/app
troth signer remove alice localhost:5000/library/app
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trust.ca import write_file
from trust.changes import Delegate
from trust.cli import hardware
from trust.cli.exits import NOT_SIGNED, SIGNED, guarded
from trust.cli.session import Session, add_folder_options, add_server_options
from trust.cli.signing import confirmed
from trust.cli.verifying import table
from trust.errors import ConflictError, InvalidError, NotFoundError
from trust.images import Image
from trust.keyfiles import public_pem
from trust.keyfolder import HeldKey
from trust.keys import NotaryKey, generate_private
from trust.names import RELEASES, TARGETS
from trust.publickeys import read_public_key
from trust.repository import Creation
from trust.tags import RemoveSigner, keeps_signatures, keys_of, signer_role

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add `signer` and `key` to the commands of `troth`."""
    signer = commands.add_parser("signer", help="add or remove who may sign").add_subparsers(
        metavar="COMMAND", required=True
    )
    add = signer.add_parser("add", help="let somebody sign tags; begins a new collection if need be")
    add.add_argument("name", metavar="NAME")
    add.add_argument("repositories", nargs="+", metavar="REPOSITORY")
    add.add_argument("--key", action="append", required=True, type=Path, metavar="FILE", help="PEM of the public key")
    add.add_argument("--threshold", type=int, metavar="N", help="how many of the signer's own keys must sign")
    add_server_options(add)
    add.set_defaults(run=guarded(_add))
    remove = signer.add_parser("remove", help="let somebody sign no more")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("repositories", nargs="+", metavar="REPOSITORY")
    remove.add_argument("-f", "--force", action="store_true", help="even if released tags lose their signatures")
    add_server_options(remove)
    remove.set_defaults(run=guarded(_remove))

    key = commands.add_parser("key", help="make, load, attach, export and list private keys").add_subparsers(
        metavar="COMMAND", required=True
    )
    generate = key.add_parser("generate", help="make a signer's key; writes NAME.pub")
    generate.add_argument("name", metavar="NAME")
    generate.add_argument("--dir", type=Path, default=Path(), help="folder for NAME.pub (default: here)")
    add_folder_options(generate)
    generate.set_defaults(run=guarded(_generate))
    load = key.add_parser("load", help="put a private key from a file into the key folder")
    load.add_argument("file", type=Path, metavar="FILE")
    load.add_argument("--name", default="", help="the signer's name, or root (default: what the file says)")
    add_folder_options(load)
    load.set_defaults(run=guarded(_load))
    hardware.add_parser(key)
    export = key.add_parser("export", help="write a key as a file, encrypted, that every client imports")
    export.add_argument("key_id", metavar="ID")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    add_folder_options(export)
    export.set_defaults(run=guarded(_export))
    listing = key.add_parser("list", help="list the private keys")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add_folder_options(listing)
    listing.set_defaults(run=guarded(_list))


def public_key(path: Path) -> NotaryKey:
    """The public key, or certificate, in a PEM file.

    Raises:
        InvalidError: there is none that may sign.
    """
    try:
        key = read_public_key(path.read_bytes())
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidError as error:
        raise InvalidError(f"{path}: {error}") from error
    if any(each.not_valid_after_utc < datetime.now(UTC) for each in key.certificates[:1]):
        raise InvalidError(f"{path}: the certificate has expired")
    return key


def _add(options: argparse.Namespace) -> int:
    session = Session(options)
    role = signer_role(options.name)
    keys = tuple(public_key(path) for path in options.key)
    for name in options.repositories:
        gun = Image.parse(name).gun
        done = session.repository(gun).publish(
            Delegate(role, keys, ("",), options.threshold), Delegate(RELEASES, keys, ("",)), create=Creation()
        )
        how = "was added to" if done.versions else "was a signer before of"
        print(f"Signer {options.name} {how} {gun}")
    return SIGNED


def _remove(options: argparse.Namespace) -> int:
    session = Session(options)
    role = signer_role(options.name)
    for name in options.repositories:
        gun = Image.parse(name).gun
        repository = session.repository(gun)
        present = repository.present()
        targets = present.roles[TARGETS].signed
        children = (targets.delegations.roles if targets.delegations else None) or {}
        if role not in children:
            raise NotFoundError(f"no signer {options.name} for repository {gun}")
        left = {key.canonical_id for key in keys_of(targets, children[RELEASES])} if RELEASES in children else set()
        gone = {key.canonical_id for key in keys_of(targets, children[role])}
        here = {held.key_id for held in session.keys.held()}
        released = present.roles.get(RELEASES)  # not what has lost its signatures before
        stays = released is None or keeps_signatures(targets, released, gone)
        if not stays and not (left - gone) & here and not options.force:
            print(
                f"The released tags of {gun} lose their signatures, until another signer signs them again.",
                file=sys.stderr,
            )
            if not confirmed(f"remove the signer {options.name}"):
                print("Nothing was changed.")
                return NOT_SIGNED
        repository.publish(RemoveSigner(session.keys, role))
        print(f"Successfully removed {options.name} from {gun}")
    return SIGNED


def _generate(options: argparse.Namespace) -> int:
    session = Session(options)
    signer_role(options.name)
    path: Path = options.dir / f"{options.name}.pub"
    if path.exists():
        raise ConflictError(f"{path} is there already")
    key = generate_private("ecdsa")
    held = session.keys.add(key, role=options.name)
    try:
        write_file(path, public_pem(key, role=options.name), mode=0o600)
    except OSError as error:
        session.keys.remove(held.key_id)
        raise InvalidError(f"{path} cannot be written: {error.strerror}") from error
    print(f"Key {held.key_id} of {options.name} was made; its public half is in {path}")
    return SIGNED


def _load(options: argparse.Namespace) -> int:
    try:
        if os.stat(options.file).st_mode & 0o077:
            raise InvalidError(f"{options.file} can be read by others; chmod 600 it")
        pem = options.file.read_bytes()
    except OSError as error:
        raise InvalidError(f"{options.file} cannot be read: {error.strerror}") from error
    if options.name not in ("", "root"):
        signer_role(options.name)
    held = Session(options).keys.load(pem, role=options.name)
    print(f"Key {held.key_id} of {held.role} was loaded")
    return SIGNED


def _export(options: argparse.Namespace) -> int:
    pem = Session(options).keys.export(options.key_id)
    if options.output is None:
        print(pem.decode(), end="")
        return SIGNED
    if options.output.exists():
        raise ConflictError(f"{options.output} is there already")
    try:
        write_file(options.output, pem, mode=0o600)
    except OSError as error:
        raise InvalidError(f"{options.output} cannot be written: {error.strerror}") from error
    return SIGNED


def _list(options: argparse.Namespace) -> int:
    held = Session(options).keys.held()
    if options.json:
        print(json.dumps([_facts(key) for key in held], indent=2))
    else:
        table([["ROLE", "GUN", "KEY ID", "WHERE"], *([key.role, key.gun, key.key_id, key.uri] for key in held)])
    return SIGNED


def _facts(key: HeldKey) -> dict[str, str]:
    return {"role": key.role, "gun": key.gun, "id": key.key_id} | ({"uri": key.uri} if key.uri else {})
