# SPDX-License-Identifier: Apache-2.0
"""A person's keys: the folder that docker, notary and troth share (NOTARY_V1 §6.1).

    folder = KeyFolder(Path("~/.docker/trust").expanduser(), from_environment(os.environ))
    folder.held(role="root")
    folder.add(generate_private("ecdsa"), role="targets", gun="localhost:5000/library/app")
    folder.signer(key_id).sign(payload)

A key may also be in hardware or in a cloud: then the folder knows where (trust.keyreferences), and it signs there.

One file a key, `private/<canonical ID>.key`, 0600 in folders of 0700.  Older layouts of the Go clients (folders below
`private`, names with the role behind the ID) are read where they are.  A key is opened when it first signs, and its
passphrase is asked for once.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trust.ca import write_file
from trust.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from trust.keyfiles import KeyFile, PassphraseError, parse, seal
from trust.keyreferences import KeyReference, KeyReferences
from trust.keys import NotaryKey, NotarySigner, PrivateKey, public_key_of
from trust.keyuri import AskPin, open_key
from trust.passphrases import ATTEMPTS, Passphrases, Question
from trust.pem import write

_KEY_NAME = re.compile(r"([0-9a-f]{64})(?:_(.+))?")


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key in the folder.

    Attributes:
        key_id: the canonical ID.
        role: `root`, `targets`, `snapshot`, `timestamp`, or a signer's name; empty where nothing says it.
        gun: the collection it is for; empty for root and signers' keys.
        path: its file.
        uri: where it is, when the file does not hold the key itself.

    Examples:
        >>> [(held.role, held.gun) for held in keys.held(role="targets")]
        [('targets', 'localhost:5000/library/app')]
    """

    key_id: str
    role: str
    gun: str
    path: Path
    uri: str = ""


class KeyFolder:
    """The private keys below a trust folder.

    Args:
        folder: such as `~/.docker/trust`; made when the first key is added.
        passphrases: opens keys, and closes new ones.
        ask_pin: asks for the PINs of tokens that no file is named for.

    Attributes:
        folder: the trust folder.

    Examples:
        >>> keys = trust.KeyFolder(Path.home() / ".docker/trust", trust.from_environment(os.environ))
        >>> sorted(held.role for held in keys.held())
        ['alice', 'root', 'targets']
    """

    def __init__(
        self, folder: str | os.PathLike[str], passphrases: Passphrases, *, ask_pin: AskPin | None = None
    ) -> None:
        self.folder = Path(folder)
        self._references = KeyReferences(self.folder)
        self._ask_pin = ask_pin
        self._private = self.folder / "private"
        self._passphrases = passphrases
        self._open: dict[str, PrivateKey] = {}

    def held(self, *, role: str | None = None, gun: str | None = None) -> list[HeldKey]:
        """The keys, in the order of their IDs.

        Args:
            role: only those for this role or signer.
            gun: only those for this collection.

        Returns:
            What is known of them without opening them.

        Raises:
            UnavailableError: the folder cannot be read.

        Examples:
            >>> [held.role for held in keys.held(role="alice")]
            ['alice']
        """
        found = {}
        try:
            for path in sorted(self._private.rglob("*.key")):
                match = _KEY_NAME.fullmatch(path.stem)
                if match is None:
                    continue
                try:
                    file = parse(path.read_bytes())
                except InvalidError:
                    continue  # no key, whatever its name: there is nothing to sign with
                in_root = "root_keys" in path.parts
                named = file.role or match[2] or ("root" if in_root else "")
                found[match[1]] = HeldKey(match[1], named, file.gun, path)
        except OSError as error:
            raise UnavailableError(f"the keys in {self._private} cannot be read: {error.strerror}") from error
        for path, reference in self._references:
            key_id = reference.key_id
            found[key_id] = HeldKey(key_id, reference.role, reference.gun, path, reference.uri)
        return [
            key
            for key in sorted(found.values(), key=lambda key: key.key_id)
            if role in (None, key.role) and gun in (None, key.gun)
        ]

    def find(self, key_id: str) -> HeldKey:
        """The key with this ID, or with an ID that begins so.

        Args:
            key_id: the canonical ID, or its beginning.

        Returns:
            What is known of it without opening it.

        Raises:
            NotFoundError: there is none, or more than one.

        Examples:
            >>> (alice,) = keys.held(role="alice")
            >>> keys.find(alice.key_id[:12]) == alice
            True
        """
        found = [key for key in self.held() if key_id and key.key_id.startswith(key_id)]
        if len(found) != 1:
            how = "more than one key begins" if found else "there is no key"
            raise NotFoundError(f"{how} with ID {key_id[:64]} in {self._private}")
        return found[0]

    def holds(self, key: NotaryKey) -> bool:
        """Whether the private half of a key is here.

        Args:
            key: a public key, or a certificate.

        Returns:
            Whether it is.

        Examples:
            >>> keys.holds(trust.read_public_key(Path("alice.pub").read_bytes()))
            True
        """
        return any(held.key_id == key.canonical_id for held in self.held())

    def signer(self, key_id: str, public: NotaryKey | None = None) -> NotarySigner:
        """A signer with the key of this ID.

        Args:
            key_id: the canonical ID.
            public: how metadata names the key, when that is a certificate.

        Returns:
            The signer; its passphrase has been asked for.

        Raises:
            NotFoundError: there is no such key.
            PassphraseError: nobody knew its passphrase.
            InvalidError: its file is damaged or holds another key.

        Examples:
            >>> (alice,) = keys.held(role="alice")
            >>> keys.signer(alice.key_id).public_key.canonical_id == alice.key_id
            True
        """
        return NotarySigner(self.open(key_id), public)

    def open(self, key_id: str) -> PrivateKey:
        """The private key of an ID; its passphrase is asked for once.  A key in hardware only signs.

        Args:
            key_id: the canonical ID.

        Returns:
            The key, for `cryptography`.

        Raises:
            NotFoundError: there is no such key.
            PassphraseError: nobody knew its passphrase.
            InvalidError: its file is damaged or holds another key.
            SettingsError: what is needed to reach it is not installed.
            UnavailableError: its home does not answer.

        Examples:
            >>> keys.open(keys.held(role="alice")[0].key_id).key_size
            256
        """
        if key_id not in self._open:
            held = self.find(key_id)
            key = self._reach(held) if held.uri else self._unseal(self._read(held), held)
            if public_key_of(key).canonical_id != held.key_id:
                raise InvalidError(f"{held.path} does not hold the key that it is named after")
            self._open[key_id] = key
        return self._open[key_id]

    def add(self, key: PrivateKey, *, role: str, gun: str = "") -> HeldKey:
        """Keep a key, encrypted; one that is here already is left as it is.

        Args:
            key: the private key.
            role: the role, or the signer's name.
            gun: for keys of targets and snapshot: the collection.

        Returns:
            The key's place in the folder.

        Raises:
            ConflictError: it is here already, for another role or collection.
            PassphraseError: nobody gave a passphrase.
            UnavailableError: it cannot be written.

        Examples:
            >>> held = keys.add(trust.generate_private("ecdsa"), role="bob")
            >>> held.role, held.path.name == f"{held.key_id}.key"
            ('bob', True)
        """
        key_id = public_key_of(key).canonical_id
        if (known := self._known(key_id, role, gun)) is not None:
            return known
        passphrase = self._new_passphrase(role, gun, key_id)
        path = self._private / f"{key_id}.key"
        try:
            for folder in (self.folder, self._private):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(path, seal(key, passphrase, role=role, gun=gun), mode=0o600)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
        self._open[key_id] = key
        return HeldKey(key_id, role, gun, path)

    def attach(self, uri: str, key: PrivateKey, *, role: str, gun: str = "") -> HeldKey:
        """Remember where a key is, which stays there, in hardware or in a cloud.

        Args:
            uri: where it is.
            key: the key there; `trust.find_key` gives both.
            role: the role, or the signer's name.
            gun: for keys of targets and snapshot: the collection.

        Returns:
            The key's place in the folder.

        Raises:
            ConflictError: it is here already, for another role or collection.
            UnavailableError: the reference cannot be written.

        Examples:
            >>> key = trust.generate_private("ecdsa")  # in place of the one that find_key gives
            >>> held = keys.attach("awskms:alias/release", key, role="carol")
            >>> held.role, held.uri
            ('carol', 'awskms:alias/release')
        """
        key_id = public_key_of(key).canonical_id
        self._known(key_id, role, gun)
        path = self._references.add(KeyReference(uri, key.public_key(), role, gun))
        self._open[key_id] = key
        return HeldKey(key_id, role, gun, path, uri)

    def load(self, pem: bytes, *, role: str = "", gun: str = "") -> HeldKey:
        """Keep a private key that comes in a file, encrypted or not (NOTARY_V1 §6.1).

        Args:
            pem: the file: PKCS #8 or older.
            role: the role, or the signer's name; empty: what the file says.
            gun: for keys of targets and snapshot, the collection; empty: what the file says.

        Returns:
            The key's place in the folder.

        Raises:
            InvalidError: there is no key in it, or nothing says what it is for.
            PassphraseError: it cannot be opened, or nobody gave a new passphrase.
            ConflictError: it is here already, for another role.
            UnavailableError: it cannot be written.

        Examples:
            >>> other = trust.KeyFolder("other", trust.from_environment(os.environ))
            >>> other.load(keys.export(keys.held(role="alice")[0].key_id)).role
            'alice'
        """
        file = parse(pem)
        role, gun = role or file.role, gun or file.gun
        if not role:
            raise InvalidError("the key file does not say whose key it is: give a signer's name")
        key = self._unseal(file, HeldKey("in the file", role, gun, Path()))
        return self.add(key, role=role, gun=gun)

    def export(self, key_id: str) -> bytes:
        """A key's file, still encrypted, in the form that every client imports.

        Args:
            key_id: the canonical ID, or its beginning.

        Returns:
            The file, in PEM.

        Raises:
            NotFoundError: there is no such key.
            PassphraseError: it lies there in another form, and nobody gave the passphrase for the file.
            InvalidError: it is in hardware.
            UnavailableError: it cannot be read.

        Examples:
            >>> keys.export(keys.held(role="alice")[0].key_id).splitlines()[0]
            b'-----BEGIN ENCRYPTED PRIVATE KEY-----'
        """
        held = self.find(key_id)
        if held.uri:
            raise InvalidError(f"the key {held.key_id[:7]} is not here but at {held.uri}, and does not leave it")
        file = self._read(held)
        headers = {"gun": held.gun, "path": held.key_id, "role": held.role}
        if file.kind == "ENCRYPTED PRIVATE KEY":
            return write(file.kind, file.body, headers)
        key = self._unseal(file, held)
        return seal(key, self._new_passphrase(held.role, held.gun, held.key_id), **headers)

    def remove(self, key_id: str) -> None:
        """Delete a key's file; of a key in hardware, what is known of it here.

        Args:
            key_id: the canonical ID, or its beginning.

        Raises:
            NotFoundError: there is no such key.
            UnavailableError: it cannot be deleted.

        Examples:
            >>> keys.remove(keys.held(role="alice")[0].key_id)
            >>> keys.held(role="alice")
            []
        """
        held = self.find(key_id)
        self._open.pop(held.key_id, None)
        try:
            held.path.unlink()
        except OSError as error:
            raise UnavailableError(f"{held.path} cannot be deleted: {error.strerror}") from error

    def _known(self, key_id: str, role: str, gun: str) -> HeldKey | None:
        for held in self.held():
            if held.key_id == key_id:
                if (held.role, held.gun) != (role, gun):
                    raise ConflictError(f"the key {key_id[:7]} is here already, as one of {held.role}")
                return held
        return None

    def _reach(self, held: HeldKey) -> PrivateKey:
        reference = next(reference for path, reference in self._references if path == held.path)
        return open_key(reference.uri, reference.public, self._ask_pin)

    def _read(self, held: HeldKey) -> KeyFile:
        try:
            return parse(held.path.read_bytes())
        except OSError as error:
            raise UnavailableError(f"{held.path} cannot be read: {error.strerror}") from error

    def _unseal(self, file: KeyFile, held: HeldKey) -> PrivateKey:
        if not file.is_encrypted:
            return file.open()
        for attempt in range(ATTEMPTS + 1):
            passphrase = self._passphrases(Question(held.role, held.gun, held.key_id, attempt=attempt))
            if passphrase is None:
                break
            try:
                return file.open(passphrase)
            except PassphraseError:
                continue
        how = "wrong" if attempt else "not known"
        raise PassphraseError(f"the passphrase of the {held.role or 'delegation'} key {held.key_id} is {how}")

    def _new_passphrase(self, role: str, gun: str, key_id: str) -> str:
        passphrase = self._passphrases(Question(role, gun, key_id, new=True))
        if not passphrase:
            raise PassphraseError(f"there is no passphrase for the new {role} key {key_id}")
        return passphrase
