# SPDX-License-Identifier: Apache-2.0
"""From an image's name to its signed digest: the short way into the library.

    import trust

    target = trust.resolve("localhost:5000/library/app:1", ca="var/ca/ca.crt", root_keys=["<key ID>"],
                           credentials=("admin", password))
    target.digest, target.signers, target.expires

Names are read as docker reads them (NOTARY_V1 §5.2).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trust.cache import Cache, FileCache, MemoryCache
from trust.collection import DOCKER_ROLES, Target
from trust.errors import InvalidError
from trust.names import Gun, RepositoryName, RoleName, Tag
from trust.pins import Pins
from trust.reader import Reader
from trust.remote import NotaryServer

_DOCKER_HUB = "docker.io"
_HUB_NOTARY = "https://notary.docker.io"


@dataclass(frozen=True, slots=True)
class Image:
    """An image's name, taken apart.

    Attributes:
        host: the registry, with its port if it has one.
        repository: the name within the registry.
        tag: `latest` where none was given.
    """

    host: str
    repository: RepositoryName
    tag: Tag

    @classmethod
    def parse(cls, name: str) -> Image:
        """Read `[HOST[:PORT]/]REPOSITORY[:TAG]` as docker does: `alpine` is `docker.io/library/alpine:latest`.

        Raises:
            InvalidError: it is not such a name, or names a digest, which needs no resolving.
        """
        if "@" in name:
            raise InvalidError("the name holds a digest already; give a tag")
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:  # the colon, if any, is a port's
            path, tag = name, "latest"
        host, slash, rest = path.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, rest = _DOCKER_HUB, path
        if host == "index.docker.io":
            host = _DOCKER_HUB
        if host == _DOCKER_HUB and "/" not in rest:
            rest = f"library/{rest}"
        return cls(host, RepositoryName(rest), Tag(tag))

    @property
    def gun(self) -> Gun:
        """The name of the trust collection."""
        return Gun(f"{self.host}/{self.repository}")

    @property
    def server_url(self) -> str:
        """Where docker looks for the trust data, when it is not told otherwise."""
        return _HUB_NOTARY if self.host == _DOCKER_HUB else f"https://{self.host}"


def open_reader(
    gun: Gun | str,
    *,
    server: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    credentials: tuple[str, str] | None = None,
    root_keys: Sequence[str] = (),
    pins: Pins | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
    roles: Sequence[RoleName] | None = None,
    offline: bool = False,
) -> Reader:
    """A reader of a trust collection.

    Args:
        gun: the collection: an image's name without the tag.
        server: address of the notary server; by default the image's own host, as docker does.
        ca: PEM file of the CA that the server's certificate comes from; by default the system's.
        credentials: user and password, for servers that ask.
        root_keys: IDs of root keys of which one must have signed the root (as `docker trust inspect` shows them, or
            as key files are named).
        pins: a whole set of pins, instead of `root_keys`.
        cache: a folder, or a cache of your own.  Without one nothing is remembered, so a rollback between two calls
            is not seen: then pin the root.
        roles: the targets roles of interest; None is all.
        offline: whether kept data does, while it is valid, when the server does not answer.

    Raises:
        InvalidError: a name or address is malformed, or the CA file cannot be read.
    """
    gun = Gun(gun)
    source = NotaryServer(server or Image.parse(gun).server_url, ca=Path(ca) if ca else None, credentials=credentials)
    if pins is None:
        pins = Pins(certs={gun: tuple(root_keys)}) if root_keys else Pins()
    if cache is None:
        cache = MemoryCache()
    elif isinstance(cache, str | os.PathLike):
        cache = FileCache(Path(cache))
    return Reader(gun, source, cache, pins=pins, roles=roles, offline=offline)


def resolve(
    image: str,
    *,
    roles: Sequence[RoleName] = DOCKER_ROLES,
    server: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    credentials: tuple[str, str] | None = None,
    root_keys: Sequence[str] = (),
    cache: str | os.PathLike[str] | Cache | None = None,
) -> Target:
    """The signed target that an image's tag stands for.

    Args:
        image: `HOST/REPOSITORY:TAG`.
        roles: whose signatures count; the first role that has the tag wins.
        server: see `open_reader`, as for the others.
        ca: see there.
        credentials: see there.
        root_keys: see there.
        cache: see there.

    Raises:
        NotFoundError: the tag is not signed, or there is no trust data at all.
        UntrustedError: the trust data is not to be believed: expired, tampered with, rolled back, of another root.
        UnavailableError: the server does not answer.
        UnauthorizedError: the server wants other credentials.
        InvalidError: a name or address is malformed.
    """
    parsed = Image.parse(image)
    reader = open_reader(parsed.gun, server=server, ca=ca, credentials=credentials, root_keys=root_keys, cache=cache)
    return reader.refresh().lookup(parsed.tag, roles)
