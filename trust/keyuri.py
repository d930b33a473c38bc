# SPDX-License-Identifier: Apache-2.0
"""Keys by URI: what is in hardware, or in a cloud's key management, is named so.

    pkcs11:token=release;object=alice?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin
    awskms:1234abcd-12ab-34cd-56ef-1234567890ab
    gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1
    azurekms://vault.vault.azure.net/keys/name
    hv:name

    uri, key = find_key(uri)       # the private key, which stays where it is, and how to find it again
    key = open_key(uri, public)    # once its public half is known

`pkcs11` is RFC 7512; the others are securesystemslib's (trust.kms).  A URI holds no secret: a PIN in it is refused,
since URIs are typed in command lines and written in logs.  The PIN comes from the file that `pin-source` names, or
from a person; the module from `module-path`, or from TROTH_PKCS11_MODULE in the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, unquote_to_bytes

from trust import kms
from trust.errors import ConflictError, InvalidError, NotFoundError, SettingsError
from trust.keys import PrivateKey, PublicKey
from trust.pkcs11 import Token
from trust.secretfile import read_secret

MODULE_VARIABLE = "TROTH_PKCS11_MODULE"
#: Asks a person for the PIN of the token with the label that it is given.
AskPin = Callable[[str], str]

_SCHEME = "pkcs11:"
_PATH, _QUERY = {"token", "serial", "object", "id", "type"}, {"module-path", "pin-source"}
_IN_PATH = "[]:@!$'()*+,="  # besides letters, digits and -._~ (RFC 7512 §2.3)
_IN_QUERY = _IN_PATH + "/"
_tokens: dict[tuple[Path, str, str, Path | None], Token] = {}


@dataclass(frozen=True, slots=True)
class TokenUri:
    """A key on a PKCS#11 token.

    Attributes:
        token: the token's label.
        serial: the token's serial number, or empty.
        object: the key's label, or empty.
        id: the key's ID, or empty.
        module: the PKCS#11 module, if it is named.
        pin_file: the file that holds the PIN, if it is named.
    """

    token: str
    serial: str = ""
    object: str = ""
    id: bytes = b""
    module: Path | None = None
    pin_file: Path | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read the URI (RFC 7512); what is not understood is refused, and no error repeats it.

        Raises:
            InvalidError: it cannot be used.
        """
        path, _, query = uri.removeprefix(_SCHEME).partition("?")
        if not uri.startswith(_SCHEME) or re.search(r"%(?![0-9A-Fa-f]{2})|[^!-~]", uri):
            raise InvalidError("this is no PKCS#11 URI; a space in a name is %20 there, and so on")
        attributes, options = _attributes(path, ";", _PATH), _attributes(query, "&", _QUERY)
        if attributes.get("type", "private") != "private":
            raise InvalidError("the PKCS#11 URI names something that is no private key")
        key_id = unquote_to_bytes(attributes.get("id", ""))
        try:
            texts = {name: unquote(value, errors="strict") for name, value in attributes.items() if name != "id"}
            files = {name: unquote(value, errors="strict") for name, value in options.items()}
        except UnicodeDecodeError as error:
            raise InvalidError("the PKCS#11 URI is not UTF-8") from error
        if not texts.get("token"):
            raise InvalidError("the PKCS#11 URI must name the token: pkcs11:token=LABEL;object=LABEL")
        return cls(
            texts["token"],
            texts.get("serial", ""),
            texts.get("object", ""),
            key_id,
            _absolute("module-path", files.get("module-path", "")),
            _absolute("pin-source", files.get("pin-source", "").removeprefix("file:")),
        )

    def __str__(self) -> str:
        """The URI."""
        parts = [("token", self.token), ("serial", self.serial), ("object", self.object)]
        path = [f"{name}={quote(value, safe=_IN_PATH)}" for name, value in parts if value]
        path += ["id=" + "".join(f"%{byte:02X}" for byte in self.id)] if self.id else []
        query = [f"module-path={quote(str(self.module), safe=_IN_QUERY)}"] if self.module else []
        query += [f"pin-source=file:{quote(str(self.pin_file), safe=_IN_QUERY)}"] if self.pin_file else []
        return _SCHEME + ";".join(path) + ("?" + "&".join(query) if query else "")


def find_key(uri: str, ask_pin: AskPin | None = None) -> tuple[str, PrivateKey]:
    """Find a key in hardware or in a cloud, for `KeyFolder.attach` or to sign with.

    Args:
        uri: where it is: `pkcs11:…` (RFC 7512), `awskms:…`, `gcpkms:…`, `azurekms:…` or `hv:…`.
        ask_pin: asks for the PIN of a token when the URI names no file for it.

    Returns:
        The URI by which it is opened from now on, and the key, which only signs.  Where a home has versions, the
        URI names one.

    Raises:
        InvalidError: the URI cannot be used, or Notary has no keys of this kind.
        SettingsError: what is needed for such keys is not installed, or the PIN's file cannot be used.
        NotFoundError: there is no such key.
        UnavailableError: the key's home does not answer.

    Examples:
        >>> trust.find_key("pkcs11:token=release;object=alice?pin-value=1234")
        Traceback (most recent call last):
        ...
        trust.errors.InvalidError: a PIN does not belong into a URI; name a file that holds it: pin-source=file:/…
    """
    return (uri, _on_token(uri, None, ask_pin)) if uri.startswith(_SCHEME) else kms.find_key(uri)


def open_key(uri: str, public: PublicKey, ask_pin: AskPin | None = None) -> PrivateKey:
    """The key at `uri`, whose public half is `public`; nobody is asked before the first signature.

    Raises:
        TrustError: as for `find_key`.
    """
    return _on_token(uri, public, ask_pin) if uri.startswith(_SCHEME) else kms.open_key(uri, public)


def make_key(uri: str, algorithm: str = "ecdsa", ask_pin: AskPin | None = None) -> tuple[str, PrivateKey]:
    """Make a key on the token that `uri` names.

    Args:
        uri: the token, and in `object` the key's label.
        algorithm: `ecdsa` or `ed25519`.
        ask_pin: asks for the PIN if no file is named for it.

    Returns:
        the key's own URI, and the key.

    Raises:
        ConflictError: there is a key with this label.
        TrustError: as for `find_key`.
    """
    where = TokenUri.parse(uri)
    if not where.object or where.id:
        raise InvalidError("name the new key by object alone; its ID is given by the token")
    token = _token(where, ask_pin)
    try:
        token.key(label=where.object)
    except NotFoundError:
        key_id, key = token.generate(where.object, algorithm)
        return str(replace(where, id=key_id)), key
    raise ConflictError(f"there is a key {where.object!r} on the token {where.token} already")


def _on_token(uri: str, public: PublicKey | None, ask_pin: AskPin | None) -> PrivateKey:
    where = TokenUri.parse(uri)
    if not where.object and not where.id:
        raise InvalidError("the PKCS#11 URI must name the key: by object, or by id")
    return _token(where, ask_pin).key(key_id=where.id, label=where.object, public=public)


def _token(where: TokenUri, ask_pin: AskPin | None) -> Token:
    module = where.module or _absolute(MODULE_VARIABLE, os.environ.get(MODULE_VARIABLE, ""))
    if module is None:
        raise InvalidError(f"which PKCS#11 module? The URI has no module-path, and {MODULE_VARIABLE} is not set")

    def pin() -> str:
        if where.pin_file is not None:
            return read_secret(where.pin_file, "PIN")
        if ask_pin is None:
            raise SettingsError(f"nobody knows the PIN of the token {where.token}: name its file as pin-source")
        return ask_pin(where.token)

    # One for all keys on it: a person is asked once.
    kind = (module, where.token, where.serial, where.pin_file)
    return _tokens.setdefault(kind, Token(module, where.token, pin, serial=where.serial))


def _attributes(text: str, separator: str, known: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else []:
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise InvalidError("a PIN does not belong into a URI; name a file that holds it: pin-source=file:/…")
        if name not in known or not equals or not value or name in found:
            raise InvalidError(f"the PKCS#11 URI has an attribute that is not understood: {name[:20]!r}")
        found[name] = value
    return found


def _absolute(name: str, path: str) -> Path | None:
    if not path:
        return None
    if not path.startswith("/"):
        raise InvalidError(f"{name} must be the full path of a file")
    return Path(path)
