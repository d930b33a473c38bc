# SPDX-License-Identifier: Apache-2.0
"""The keys that live in a notary-signer, and both halves of the JSON that is spoken with it.

    keys = RemoteKeyStore("https://signer:4444", ca=ca, certificate=certificate, key=key)
    keys.sign(gun, TIMESTAMP, key_id, payload)

    POST /v1/keys        {"gun", "role", "algorithm"}                   -> {"key": {"key_id", "algorithm", "public"}}
    POST /v1/keys/find   {"gun", "role", "key_ids": […]}                -> {"keys": [{…}, …]}
    POST /v1/sign        {"gun", "role", "key_id", "payload": base64}   -> {"signature": {"keyid", "method", "sig"}}

Errors come in the envelope that all services share: `{"errors": [{"code", "message", "detail"}]}`.

What the client side keeps:

* TLS 1.2 or later, the signer's certificate and name checked against the one given CA, our own certificate shown;
* no redirects, no proxies from the environment, bounded answers;
* connections are kept and used again.  When a kept one turns out to be broken the request is sent once more:
  all three are safe to repeat, since `create` hands out the same pending key and a second signature is as good.

It does not verify the signature: who embeds it in a file does.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self, TypeVar

import urllib3
from urllib3.exceptions import LocationParseError

from trust.canonical import decode
from trust.errors import (
    DeniedError,
    FormatError,
    InvalidError,
    NotFoundError,
    SettingsError,
    TrustError,
    UnavailableError,
)
from trust.keys import NotaryKey, NotarySignature, key_id
from trust.lines import Lines
from trust.names import Gun, RoleName

KEYS_PATH = "/v1/keys"
FIND_PATH = "/v1/keys/find"
SIGN_PATH = "/v1/sign"

_Answer = TypeVar("_Answer")
_MAX_ANSWER = 2**20


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The body of `POST /v1/keys`."""

    gun: Gun
    role: RoleName
    algorithm: str

    def encode(self) -> bytes:
        """The body."""
        return _dump({"gun": self.gun, "role": self.role, "algorithm": self.algorithm})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body; raises InvalidError when it is malformed."""
        fields = _fields(body, "gun", "role", "algorithm")
        return cls(Gun(_text(fields, "gun")), RoleName(_text(fields, "role")), _text(fields, "algorithm"))


@dataclass(frozen=True, slots=True)
class FindRequest:
    """The body of `POST /v1/keys/find`."""

    gun: Gun
    role: RoleName
    key_ids: tuple[str, ...]

    def encode(self) -> bytes:
        """The body."""
        return _dump({"gun": self.gun, "role": self.role, "key_ids": self.key_ids})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body; raises InvalidError when it is malformed."""
        fields = _fields(body, "gun", "role", "key_ids")
        key_ids = fields["key_ids"]
        if not isinstance(key_ids, list) or not all(isinstance(each, str) for each in key_ids):
            raise InvalidError("key_ids is not a list of strings")
        return cls(Gun(_text(fields, "gun")), RoleName(_text(fields, "role")), tuple(key_ids))


@dataclass(frozen=True, slots=True)
class SignRequest:
    """The body of `POST /v1/sign`."""

    gun: Gun
    role: RoleName
    key_id: str
    payload: bytes

    def encode(self) -> bytes:
        """The body."""
        payload = base64.b64encode(self.payload).decode()
        return _dump({"gun": self.gun, "role": self.role, "key_id": self.key_id, "payload": payload})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body; raises InvalidError when it is malformed."""
        fields = _fields(body, "gun", "role", "key_id", "payload")
        gun, role = Gun(_text(fields, "gun")), RoleName(_text(fields, "role"))
        return cls(gun, role, _text(fields, "key_id"), _bytes(fields, "payload"))


def encode_key(key: NotaryKey) -> bytes:
    """The answer to a create request."""
    return _dump({"key": _key_to_dict(key)})


def decode_key(body: bytes) -> NotaryKey:
    """Read `encode_key`'s answer; raises InvalidError when it is malformed."""
    return _key_from_dict(_fields(body, "key")["key"])


def encode_keys(keys: Iterable[NotaryKey]) -> bytes:
    """The answer to a find request."""
    return _dump({"keys": [_key_to_dict(key) for key in keys]})


def decode_keys(body: bytes) -> list[NotaryKey]:
    """Read `encode_keys`' answer; raises InvalidError when it is malformed."""
    keys = _fields(body, "keys")["keys"]
    if not isinstance(keys, list):
        raise InvalidError("keys is not a list")
    return [_key_from_dict(key) for key in keys]


def encode_signature(signature: NotarySignature) -> bytes:
    """The answer to a sign request."""
    (entry,) = signature.to_list()
    return _dump({"signature": entry})


def decode_signature(body: bytes) -> NotarySignature:
    """Read `encode_signature`'s answer; raises InvalidError when it is malformed."""
    entry = _object(_fields(body, "signature")["signature"], "keyid", "method", "sig")
    return NotarySignature(_text(entry, "keyid"), ((_text(entry, "method"), _bytes(entry, "sig")),))


class RemoteKeyStore:
    """A `KeyStore` whose keys live in the notary-signer at `url`.  Make it after a fork, not before.

    Args:
        url: `https://host:port`.
        ca: the CA that the signer's certificate must come from.
        certificate: our own certificate, for TLS clients.
        key: its private key.
        timeout: seconds to wait for a connection, and for each part of an answer.
        longest: seconds for a whole answer.
        headers: gives what else is sent with each request, such as the ID of the request that it is made for.

    Raises:
        SettingsError: one of these cannot be used.
    """

    def __init__(
        self,
        url: str,
        ca: Path,
        certificate: Path,
        key: Path,
        timeout: float = 10.0,
        longest: float = 30.0,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        host, port = _address(url)
        self._url = url
        self._headers = headers
        self._lines = Lines(host, port, _context(ca, certificate, key), timeout=timeout, longest=longest)

    def create(self, gun: Gun, role: RoleName, algorithm: str) -> NotaryKey:
        """See `KeyStore.create`."""
        return self._ask(KEYS_PATH, CreateRequest(gun, role, algorithm).encode(), decode_key)

    def find(self, gun: Gun, role: RoleName, key_ids: Iterable[str]) -> list[NotaryKey]:
        """See `KeyStore.find`."""
        return self._ask(FIND_PATH, FindRequest(gun, role, tuple(key_ids)).encode(), decode_keys)

    def sign(self, gun: Gun, role: RoleName, key_id: str, payload: bytes) -> NotarySignature:
        """See `KeyStore.sign`."""
        return self._ask(SIGN_PATH, SignRequest(gun, role, key_id, payload).encode(), decode_signature)

    def close(self) -> None:
        """Close the kept connections."""
        self._lines.close()

    def _ask(self, path: str, body: bytes, read: Callable[[bytes], _Answer]) -> _Answer:
        headers = {**self._headers(), "Content-Type": "application/json"}
        try:
            status, answer = self._lines.post(path, headers, body, most=_MAX_ANSWER)
        except ssl.SSLError as error:
            raise UnavailableError(f"the signer at {self._url} and we do not trust each other: {error}") from error
        except (OSError, HTTPException) as error:
            raise UnavailableError(f"the signer at {self._url} does not answer: {type(error).__name__}") from error
        if len(answer) > _MAX_ANSWER:
            raise self._nonsense("too long an answer")
        if status != 200:
            raise self._refusal(status, answer)
        try:
            return read(answer)
        except InvalidError as error:
            raise self._nonsense(error.message) from error

    def _refusal(self, status: int, answer: bytes) -> TrustError:
        try:
            errors = _fields(answer, "errors")["errors"]
            entry: dict[str, Any] = errors[0]
            message = _text(entry, "message")
        except (InvalidError, TypeError, KeyError, IndexError):
            return self._nonsense(f"status {status}")
        match status:
            case 404:
                return NotFoundError(message)
            case 403:
                return DeniedError(message)
            case 400 | 413:
                return InvalidError(message)
            case _:
                return UnavailableError(f"the signer at {self._url} cannot: {message}")

    def _nonsense(self, what: str) -> UnavailableError:
        return UnavailableError(f"the signer at {self._url} does not answer as a signer does: {what}")


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urllib3.util.parse_url(url)
    except LocationParseError as error:
        raise SettingsError("the signer's URL cannot be read") from error
    if parts.scheme != "https" or not parts.host:
        raise SettingsError(f"the signer's URL must be https://host:port, not {url[:80]!r}")
    if parts.auth or parts.query or parts.fragment or parts.path not in (None, "", "/"):
        raise SettingsError("the signer's URL must be https://host:port and nothing more")
    return parts.host.strip("[]"), parts.port or 443


def _context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    # Only the given CA: that a public authority knows some host must not make it our signer.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the signer's CA certificate {ca} cannot be used: {error}") from error
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key must not ask on a terminal
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate {certificate} or its key {key} cannot be used: {error}") from error
    return context


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _fields(body: bytes, *names: str) -> dict[str, Any]:
    try:
        value = decode(body)
    except FormatError as error:
        raise InvalidError(error.message) from error
    return _object(value, *names)


def _object(value: object, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or any(name not in value for name in names):
        raise InvalidError(f"not a JSON object with {', '.join(names)}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise InvalidError(f"{name} is not a string")
    return value


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(fields, name), validate=True)
    except ValueError as error:
        raise InvalidError(f"{name} is not base64") from error


def _key_to_dict(key: NotaryKey) -> dict[str, str]:
    return {"key_id": key.keyid, "algorithm": key.keytype, "public": base64.b64encode(key.public).decode()}


def _key_from_dict(value: object) -> NotaryKey:
    entry = _object(value, "key_id", "algorithm", "public")
    keyid, algorithm, public = _text(entry, "key_id"), _text(entry, "algorithm"), _bytes(entry, "public")
    if key_id(algorithm, public) != keyid:
        raise InvalidError("the key's ID does not follow from its content")
    return NotaryKey(keyid, algorithm, public)
