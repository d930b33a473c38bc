# SPDX-License-Identifier: Apache-2.0
"""HTTP to a notary server: metadata in and out, nothing believed (NOTARY_V1 §2, §5.1).

    server = NotaryServer("https://localhost:5000", ca="var/ca/ca.crt", credentials=("alice", password))
    server.fetch(Gun("localhost:5000/library/app"), "timestamp", limit=2**20)
    server.publish(gun, {RoleName("targets/releases"): data})

A 401 is answered once with a token from the realm that the challenge names.  Credentials go only to an https realm
when the server is https; redirects are not followed, and proxies of the environment are not used (trust.site).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from trust.errors import (
    ConflictError,
    DeniedError,
    FormatError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from trust.keys import NotaryKey
from trust.names import Gun, RoleName
from trust.site import LONGEST, SMALL, Answer, Paths, Site, read

#: What one may do with a collection: the actions of a token's scope.
_PULL, _PUSH, _ALL = "pull", "push,pull", "*"


class RefusedPublishError(InvalidError):
    """The server refuses what was published; the message is its own (NOTARY_V1 §3.1).

    Examples:
        >>> server.publish(image.gun, {trust.TARGETS: b"{}"})
        Traceback (most recent call last):
        trust.remote.RefusedPublishError: https://localhost:5000 refuses to publish localhost:5000/library/app: ...
    """


class NotaryServer:
    """A notary server to read from and to publish to.

    Args:
        url: its base address; metadata is below `<url>/v2/<gun>/_trust/tuf/`.
        ca: PEM file, or files, of the CAs that its certificate must come from; None: the system's.
        credentials: user and password for the token realm; the user `<token>` has an identity token for password.
        token: gives a bearer token for a GUN without asking a realm; it wins over `credentials`.
        timeout: seconds to wait for a connection, and between bytes.
        longest: seconds for a whole answer.
        headers: gives what else is sent with each request, such as the ID of the request that it is made for.

    Raises:
        InvalidError: the address is not http(s), or a CA file cannot be read.

    Examples:
        >>> server = trust.NotaryServer("https://localhost:5000", ca="var/ca/ca.crt", credentials=login)
        >>> len(server.fetch(image.gun, "root", limit=2**20)) > 1000
        True
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Paths | None = None,
        credentials: tuple[str, str] | None = None,
        token: Callable[[Gun], str] | None = None,
        timeout: float = 10.0,
        longest: float = LONGEST,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._site = Site(url, ca=ca, credentials=credentials, timeout=timeout, longest=longest, headers=headers)
        self.url = self._site.url
        self._token = token

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """A file of a collection (NOTARY_V1 §2.1); nothing is verified.

        Args:
            gun: the collection.
            name: a role, `<role>.<sha256>` or `<version>.<role>`.
            limit: the most bytes to take.

        Returns:
            The file's bytes.

        Raises:
            NotFoundError: the server has no such file.
            SizeError: it is longer than `limit`.
            UnauthorizedError: the server wants other credentials.
            UnavailableError: no answer, or one that says nothing.

        Examples:
            >>> trust.parse(trust.ROOT, server.fetch(image.gun, "1.root", limit=2**20)).signed.version
            1
        """
        with self._request("GET", gun, f"{quote(name, safe='/')}.json", _PULL) as answer:
            if answer.status == 404:
                raise NotFoundError(f"{self.url} does not have trust data for {gun}", detail={"file": name})
            if answer.status in (401, 403):
                raise UnauthorizedError(f"{self.url} does not let these credentials read {gun}")
            if answer.status != 200:
                raise UnavailableError(f"{self.url} answered {answer.status} for {name} of {gun}")
            return read(answer, limit, name)

    def publish(self, gun: Gun, files: Mapping[RoleName, bytes]) -> None:
        """Send new files; all of them become current, or none (NOTARY_V1 §2.2).

        Args:
            gun: the collection.
            files: by role; only what changed.

        Raises:
            ConflictError: somebody else has published these versions first.
            RefusedPublishError: the server does not accept them, and says why.
            UnauthorizedError: the server wants other credentials.
            DeniedError: this user may not publish here.
            UnavailableError: no answer, or one that says nothing.

        Examples:
            >>> releases = server.fetch(image.gun, "targets/releases", limit=2**20)
            >>> server.publish(image.gun, {trust.RELEASES: releases})
            Traceback (most recent call last):
            trust.errors.ConflictError: https://localhost:5000 has a newer version of ...
        """
        boundary = secrets.token_hex(30)
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{role}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
            + data
            + b"\r\n"
            for role, data in files.items()
        )
        body += f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        with self._request("POST", gun, "", _PUSH, body, headers) as answer:
            self._check(answer, gun, "publish")

    def key(self, gun: Gun, role: RoleName) -> NotaryKey:
        """The key with which the server signs timestamp or snapshot; made if there is none (NOTARY_V1 §2.3).

        Args:
            gun: the collection.
            role: timestamp or snapshot.

        Returns:
            The public key.

        Raises:
            UnauthorizedError: the server wants other credentials.
            DeniedError: this user may not have it.
            UnavailableError: no answer, or something else than a key.

        Examples:
            >>> server.key(image.gun, trust.TIMESTAMP).keyid in collection.root.signed.roles["timestamp"].keyids
            True
        """
        with self._request("GET", gun, f"{role}.key", _PUSH) as answer:
            return self._read_key(answer, gun, role)

    def rotate_key(self, gun: Gun, role: RoleName) -> NotaryKey:
        """A new key for timestamp or snapshot; it is in use as soon as a root names it (NOTARY_V1 §2.3).

        Args:
            gun: the collection.
            role: timestamp or snapshot.

        Returns:
            The new public key; `Repository.rotate` also publishes the root.

        Raises:
            UnauthorizedError: the server wants other credentials.
            DeniedError: this user may not rotate keys.
            UnavailableError: no answer, or something else than a key.

        Examples:
            >>> server.rotate_key(image.gun, trust.TIMESTAMP).keyid in collection.root.signed.keys
            False
        """
        with self._request("POST", gun, f"{role}.key", _ALL, b"") as answer:
            return self._read_key(answer, gun, role)

    def delete(self, gun: Gun) -> None:
        """Delete all trust data of a collection; it is no error if there is none (NOTARY_V1 §2.4).

        Args:
            gun: the collection.

        Raises:
            UnauthorizedError: the server wants other credentials.
            DeniedError: this user may not delete it.
            UnavailableError: no answer, or one that says nothing.

        Examples:
            >>> server.delete(image.gun)
            >>> server.fetch(image.gun, "root", limit=2**20)
            Traceback (most recent call last):
            trust.errors.NotFoundError: https://localhost:5000 does not have trust data for localhost:5000/library/app
        """
        with self._request("DELETE", gun, "", _ALL) as answer:
            self._check(answer, gun, "delete")

    def _request(
        self,
        method: str,
        gun: Gun,
        file: str,
        actions: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Answer]:
        sent = dict(headers or {})
        if self._token:
            sent["Authorization"] = f"Bearer {self._token(gun)}"
        path = f"/v2/{quote(gun, safe='/:')}/_trust/tuf/{file}"
        return self._site.request(method, path, scope=f"repository:{gun}:{actions}", body=body, headers=sent)

    def _read_key(self, answer: Answer, gun: Gun, role: RoleName) -> NotaryKey:
        self._check(answer, gun, f"give the {role} key of")
        try:
            decoded: Any = json.loads(read(answer, SMALL, f"{role}.key"))
            key = NotaryKey.from_dict("", decoded)
            return NotaryKey.from_public(key.keytype, key.public)
        except (ValueError, FormatError) as error:
            raise UnavailableError(f"{self.url} answered something else than a key") from error

    def _check(self, answer: Answer, gun: Gun, act: str) -> None:
        if answer.status == 200:
            return
        code, message = _error(read(answer, SMALL, "error"))
        if answer.status == 401:
            raise UnauthorizedError(f"{self.url} does not let these credentials {act} {gun}")
        if answer.status == 403:
            raise DeniedError(f"{self.url} does not let this user {act} {gun}")
        if code == "VERSION":
            raise ConflictError(f"{self.url} has a newer version of {gun} already")
        if answer.status in (400, 404, 413):
            raise RefusedPublishError(f"{self.url} refuses to {act} {gun}: {message or f'status {answer.status}'}")
        raise UnavailableError(f"{self.url} answered {answer.status} when asked to {act} {gun}")


def _error(body: bytes) -> tuple[str, str]:
    """Code and most telling message of an error's body (§2.2, §2.7)."""
    try:
        entry = json.loads(body)["errors"][0]
        code, message, detail = entry["code"], entry.get("message", ""), entry.get("detail")
        if isinstance(detail, dict) and "Error" in detail:
            message = detail["Error"]["Msg"]
        return str(code), str(message)[:500]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""
