# SPDX-License-Identifier: Apache-2.0
"""`troth key attach`: sign with a key in hardware, or in a cloud's key management.

troth key attach 'pkcs11:token=release;object=alice?module-path=…&pin-source=file:…' alice
troth key attach --make 'pkcs11:token=release;object=root?…' root
troth key attach awskms:alias/release targets --gun localhost:5000/library/app

The key folder remembers where the key is; from then on every command signs with it as with any other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ed25519

from trust.ca import write_file
from trust.cli.exits import SIGNED, guarded
from trust.cli.session import Session, add_folder_options
from trust.errors import ConflictError, InvalidError
from trust.images import Image
from trust.keyfiles import public_pem
from trust.keys import NotarySigner
from trust.keyuri import find_key, make_key
from trust.names import ROOT, SNAPSHOT, TARGETS
from trust.tags import signer_role

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# A signature that is worth nothing: no client reads this as metadata.
_PROOF = b"troth key attach: can the key at this URI sign?"


def add_parser(key: Commands) -> None:
    """Add `attach` to the commands of `troth key`."""
    attach = key.add_parser("attach", help="sign with a key in hardware or in a cloud")
    attach.add_argument("uri", metavar="URI", help="where the key is: pkcs11:…, awskms:…, gcpkms:…, azurekms:…, hv:…")
    attach.add_argument("name", metavar="NAME", help="the signer's name, or root, targets or snapshot")
    attach.add_argument("--gun", default="", metavar="GUN", help="for targets and snapshot: the collection")
    attach.add_argument("--make", action="store_true", help="make the key first, on the token of a pkcs11: URI")
    attach.add_argument("--ed25519", action="store_true", help="with --make: Ed25519 instead of ECDSA on P-256")
    attach.add_argument("--dir", type=Path, default=Path(), help="folder for a signer's NAME.pub (default: here)")
    add_folder_options(attach)
    attach.set_defaults(run=guarded(_attach))


def _attach(options: argparse.Namespace) -> int:
    session = Session(options)
    name, gun = options.name, Image.parse(options.gun).gun if options.gun else ""
    if bool(gun) != (name in (TARGETS, SNAPSHOT)):
        raise InvalidError("--gun is for keys of targets and snapshot, and these need it")
    is_signer = name not in (ROOT, TARGETS, SNAPSHOT)
    path: Path = options.dir / f"{name}.pub"
    if is_signer:
        signer_role(name)
        if path.exists():
            raise ConflictError(f"{path} is there already")
    if options.ed25519 and (name == ROOT or not options.make):
        raise InvalidError("--ed25519 is for keys that are made, and not for root: Notary has no such certificates")
    if options.make:
        algorithm = "ed25519" if options.ed25519 else "ecdsa"
        uri, key = make_key(options.uri, algorithm, session.ask_pin)
    else:
        uri, key = find_key(options.uri, session.ask_pin)
    if name == ROOT and isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidError("a root key must be ECDSA or RSA")
    NotarySigner(key).sign(_PROOF)
    held = session.keys.attach(uri, key, role=name, gun=gun)
    print(f"Key {held.key_id} of {name} is at {uri}")
    if is_signer:
        try:
            write_file(path, public_pem(key, role=name), mode=0o600)
        except OSError as error:
            raise InvalidError(f"{path} cannot be written: {error.strerror}") from error
        print(f"Its public half is in {path}")
    return SIGNED
