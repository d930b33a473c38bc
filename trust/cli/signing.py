# SPDX-License-Identifier: Apache-2.0
"""`troth sign` and `troth revoke`: what a publisher does every day, without an engine.

    troth sign localhost:5000/library/app:1 localhost:5000/library/app:latest
    troth revoke localhost:5000/library/app:1

`sign` asks the registry what each tag stands for, single image or index, verifies the bytes, and signs the digest as
`docker trust sign` does (trust.tags).  A new collection is begun with the user as its first signer.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from trust.changes import Change, Draft, add_signer
from trust.cli.exits import NOT_SIGNED, SIGNED, guarded
from trust.cli.session import Session, add_server_options
from trust.errors import InvalidError, NotFoundError
from trust.images import Image
from trust.keys import NotaryKey, generate_private
from trust.names import Gun, RoleName
from trust.repository import Creation
from trust.tags import RevokeTag, SignTag, signer_role

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add `sign` and `revoke` to the commands of `troth`."""
    sign = commands.add_parser("sign", help="sign what tags stand for in the registry")
    sign.add_argument("images", nargs="+", metavar="IMAGE:TAG")
    sign.add_argument("--role", action="append", default=[], help="sign into this role (default: where docker would)")
    sign.add_argument("--signer", metavar="NAME", help="the first signer of a new collection (default: the user)")
    sign.add_argument("--no-signer", action="store_true", help="begin a new collection without a signer")
    sign.add_argument("--root-keys", type=int, default=1, metavar="N", help="root keys of a new collection")
    sign.add_argument("--root-threshold", type=int, default=1, metavar="N", help="how many must sign its root")
    sign.add_argument("--targets-keys", type=int, default=1, metavar="N", help="targets keys of a new collection")
    sign.add_argument("--targets-threshold", type=int, default=1, metavar="N", help="how many must sign its targets")
    sign.add_argument("--custom", metavar="JSON", help="what else is signed with each tag")
    sign.add_argument("--json", action="store_true", help="print JSON")
    add_server_options(sign)
    sign.set_defaults(run=guarded(_sign))

    revoke = commands.add_parser("revoke", help="take the signatures of a tag, or of all tags, back")
    revoke.add_argument("image", metavar="IMAGE[:TAG]")
    revoke.add_argument("-y", "--yes", action="store_true", help="revoke all tags without asking")
    add_server_options(revoke)
    revoke.set_defaults(run=guarded(_revoke))


def _sign(options: argparse.Namespace) -> int:
    session = Session(options)
    creation = Creation(
        options.root_keys, options.root_threshold, options.targets_keys, options.targets_threshold
    )  # fmt: skip
    roles = tuple(RoleName(role) for role in options.role)
    custom = _json(options.custom)
    images: dict[Gun, list[Image]] = {}
    for name in options.images:
        image = Image.parse(name)
        images.setdefault(image.gun, []).append(image)
    signed = []
    for gun, tagged in images.items():
        registry = session.registry(tagged[0])
        manifests = [(image.tag, registry.resolve(image.repository, image.tag)) for image in tagged]
        repository = session.repository(gun)
        changes: list[Change] = [
            SignTag(session.keys, tag, manifest.digest, manifest.size, roles, custom) for tag, manifest in manifests
        ]
        create = None if options.no_signer else _FirstSigner(session, gun, options.signer)
        done = repository.publish(*([create] if create else []), *changes, create=creation)
        for tag, manifest in manifests:
            signed.append({
                "image": f"{gun}:{tag}", "digest": manifest.digest, "size": manifest.size,
                "mediaType": manifest.media_type, "published": dict(done.versions), "created": done.created,
            })  # fmt: skip
    if options.json:
        print(json.dumps(signed, indent=2))
    else:
        for entry in signed:
            already = "" if entry["published"] else " (it was signed already)"
            print(f"Successfully signed {entry['image']} {entry['digest']}{already}")
    return SIGNED


class _FirstSigner:
    """Makes the user the first signer of a collection that is being begun; a change."""

    def __init__(self, session: Session, gun: Gun, name: str | None) -> None:
        self._session = session
        self._gun = gun
        self._name = name

    def apply(self, draft: Draft) -> None:
        """See `trust.changes.Change`."""
        if draft.root.version > 0:
            return  # it has been begun before; who signs is for its owner to say
        for change in add_signer(*self._signer()):
            change.apply(draft)

    def _signer(self) -> tuple[RoleName, list[NotaryKey]]:
        login = self._session.login(Image.parse(self._gun).host)
        name = self._name or (login[0].lower() if login else "")
        try:
            role = signer_role(name)
        except InvalidError as error:
            raise InvalidError(f"{error}; give --signer NAME, or --no-signer") from error
        keys = self._session.keys
        held = keys.held(role=name)
        key_id = held[0].key_id if held else keys.add(generate_private("ecdsa"), role=name).key_id
        return role, [keys.signer(key_id).public_key]


def _revoke(options: argparse.Namespace) -> int:
    session = Session(options)
    image = Image.parse(options.image)
    tags = [image.tag] if has_tag(options.image) else None
    repository = session.repository(image.gun)
    present = repository.present()
    found = {name for meta in present.roles.values() for name in meta.signed.targets if not tags or name in tags}
    if not found:
        what = f"No valid trust data for {image.tag}" if tags else "no signed tags to remove"
        raise NotFoundError(f"could not remove signature for {options.image}: {what}")
    if tags is None and not options.yes and not confirmed(f"delete all signature data for {image.gun}"):
        print("Nothing was changed.")
        return NOT_SIGNED
    repository.publish(RevokeTag(session.keys, tags))
    left = [
        role
        for role, meta in repository.present().roles.items()
        if any(tags is None or name in tags for name in meta.signed.targets)
    ]
    if left:
        raise NotFoundError(f"{options.image} is still signed in {', '.join(sorted(left))}, whose keys are not here")
    print(f"Successfully deleted signature for {options.image}")
    return SIGNED


def has_tag(name: str) -> bool:
    """Whether an image's name says its tag."""
    return ":" in name.rpartition("/")[2]


def confirmed(act: str) -> bool:
    """Whether the person agrees."""
    try:
        return input(f"Please confirm you would like to {act} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _json(text: str | None) -> object:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidError("--custom is not JSON") from error
