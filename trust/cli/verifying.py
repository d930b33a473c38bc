# SPDX-License-Identifier: Apache-2.0
"""`troth verify` and `troth inspect`: what is signed, by whom, until when; verified, not just shown.

docker pull "localhost:5000/library/app@$(troth verify localhost:5000/library/app:1)"
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from trust.changes import Draft
from trust.cli.exits import NOT_SIGNED, SIGNED, guarded
from trust.cli.session import Session, add_server_options
from trust.cli.signing import has_tag
from trust.collection import DOCKER_ROLES, Collection
from trust.dialect import Payload
from trust.images import Image
from trust.keys import NotaryKey
from trust.names import RELEASES, ROOT, TARGETS, RoleName
from trust.tags import keys_of

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add `verify` and `inspect` to the commands of `troth`."""
    verify = commands.add_parser("verify", help="print the signed digest of a tag; exit 1 if it is not signed")
    verify.add_argument("image", metavar="IMAGE:TAG")
    verify.add_argument("--role", action="append", default=[], help="who counts (default: targets/releases, targets)")
    verify.add_argument("--json", action="store_true", help="print JSON")
    add_server_options(verify)
    verify.set_defaults(run=guarded(_verify))

    inspect = commands.add_parser("inspect", help="show signed tags, signers, keys and expiries")
    inspect.add_argument("image", metavar="IMAGE[:TAG]")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    add_server_options(inspect)
    inspect.set_defaults(run=guarded(_inspect))


def _verify(options: argparse.Namespace) -> int:
    image = Image.parse(options.image)
    roles = tuple(RoleName(role) for role in options.role) or DOCKER_ROLES
    target = Session(options).reader(image.gun).refresh().lookup(image.tag, roles)
    if options.json:
        facts = {"image": f"{image.gun}:{image.tag}", "digest": target.digest, "size": target.length,
                 "role": target.role, "signers": list(target.signers), "expires": target.expires.isoformat(),
                 "custom": target.custom}  # fmt: skip
        print(json.dumps(facts, indent=2))
    else:
        print(target.digest)
    return SIGNED


def _inspect(options: argparse.Namespace) -> int:
    image = Image.parse(options.image)
    facts = facts_of(Session(options).reader(image.gun).refresh())
    if has_tag(options.image):
        facts["tags"] = [entry for entry in facts["tags"] if entry["tag"] == image.tag]
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        _show(facts)
    return SIGNED if facts["tags"] else NOT_SIGNED


def facts_of(collection: Collection) -> dict[str, Any]:
    """What `inspect` tells of a collection, as JSON."""
    root, targets = collection.root.signed, collection.roles[TARGETS].signed
    draft = Draft(root, {role: meta.signed for role, meta in collection.roles.items()})
    files: dict[str, Payload] = {"root": root, "timestamp": collection.timestamp.signed}
    files |= {"snapshot": collection.snapshot.signed}
    files |= {role: meta.signed for role, meta in collection.roles.items()}
    children = draft.children(TARGETS)
    return {
        "gun": collection.gun,
        "tags": [
            {"tag": target.name, "digest": target.digest, "size": target.length, "role": target.role,
             "signers": list(target.signers), "expires": target.expires.isoformat()}
            for target in sorted(collection.targets(), key=lambda target: (target.name, target.role))
        ],
        "signers": {
            name.removeprefix("targets/"): _ids(keys_of(targets, role))
            for name, role in sorted(children.items()) if name != RELEASES
        },
        "administrativeKeys": {
            "root": _ids(keys_of(root, root.roles[ROOT])),
            "repository": _ids(keys_of(root, root.roles[TARGETS])),
        },
        "thresholds": {
            **{name: role.threshold for name, role in root.roles.items()},
            **{name: role.threshold for name, role in children.items()},
        },
        "expires": {name: payload.expires.isoformat() for name, payload in files.items()},
        "invalid": {role: str(error) for role, error in collection.skipped.items()},
    }  # fmt: skip


def _ids(keys: list[NotaryKey]) -> list[str]:
    return sorted(key.canonical_id for key in keys)


def _show(facts: dict[str, Any]) -> None:
    print(f"Signatures for {facts['gun']}\n")
    rows = [["SIGNED TAG", "DIGEST", "SIGNERS", "UNTIL"]]
    for entry in facts["tags"]:
        signers = ", ".join(entry["signers"]) or "(Repo Admin)"
        rows.append([entry["tag"], entry["digest"], signers, entry["expires"][:10]])
    table(rows)
    print(f"\nSigners and their keys for {facts['gun']}\n")
    table(
        [["SIGNER", "KEYS"], *([name, ", ".join(key[:12] for key in ids)] for name, ids in facts["signers"].items())]
    )
    print(f"\nAdministrative keys for {facts['gun']}\n")
    table([[f"{name}:", ", ".join(ids)] for name, ids in facts["administrativeKeys"].items()])
    print("\nExpiry of each role\n")
    table([[name, expires] for name, expires in facts["expires"].items()])
    for role, why in facts["invalid"].items():
        print(f"\n{role} counts for nothing: {why}")


def table(rows: list[list[str]]) -> None:
    """Print rows in columns."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
