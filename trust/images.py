# SPDX-License-Identifier: Apache-2.0
"""From an image's name to its signed digest, a reader or a publisher: the short way into the library.

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
from trust.keyfolder import KeyFolder
from trust.names import Gun, RepositoryName, RoleName, Tag
from trust.pins import Pins
from trust.reader import Reader
from trust.remote import NotaryServer
from trust.repository import Repository
from trust.site import Paths

_DOCKER_HUB = "docker.io"
_HUB_NOTARY = "https://notary.docker.io"
_HUB_REGISTRY = "https://registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Image:
    """An image's name, taken apart as docker does it (NOTARY_V1 §5.2).

    Attributes:
        host: the registry, with its port if it has one.
        repository: the name within the registry.
        tag: `latest` where none was given.

    Examples:
        >>> trust.Image.parse("registry.example.com/team/app:1.4")
        Image(host='registry.example.com', repository='team/app', tag='1.4')
    """

    host: str
    repository: RepositoryName
    tag: Tag

    @classmethod
    def parse(cls, name: str) -> Image:
        """Read an image's name as docker does.

        Args:
            name: `[HOST[:PORT]/]REPOSITORY[:TAG]`.

        Returns:
            Its parts; what is left out is as docker has it, `docker.io`, `library/` before one word, and `latest`.

        Raises:
            InvalidError: it is not such a name, or names a digest, which needs no resolving.

        Examples:
            >>> trust.Image.parse("alpine")
            Image(host='docker.io', repository='library/alpine', tag='latest')
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
        """The name of the trust collection: host and repository.

        Examples:
            >>> trust.Image.parse("alpine:3.20").gun
            'docker.io/library/alpine'
        """
        return Gun(f"{self.host}/{self.repository}")

    @property
    def server_url(self) -> str:
        """Where docker looks for the trust data, when it is not told otherwise.

        Examples:
            >>> trust.Image.parse("alpine").server_url
            'https://notary.docker.io'
        """
        return _HUB_NOTARY if self.host == _DOCKER_HUB else f"https://{self.host}"

    @property
    def registry_url(self) -> str:
        """Where the image itself is.

        Examples:
            >>> trust.Image.parse("alpine").registry_url
            'https://registry-1.docker.io'
        """
        return _HUB_REGISTRY if self.host == _DOCKER_HUB else f"https://{self.host}"


def open_reader(
    gun: Gun | str,
    *,
    server: str | None = None,
    ca: Paths | None = None,
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
        ca: PEM file, or files, of the CAs that the server's certificate must come from; by default the system's.
        credentials: user and password, for servers that ask; the user `<token>` has an identity token for password.
        root_keys: IDs of root keys of which one must have signed the root (as `docker trust inspect` shows them, or
            as key files are named).
        pins: a whole set of pins, instead of `root_keys`.
        cache: a folder, or a cache of your own.  Without one nothing is remembered, so a rollback between two calls
            is not seen: then pin the root.
        roles: the targets roles of interest; None is all.
        offline: whether kept data does, while it is valid, when the server does not answer.

    Returns:
        A reader; nothing has been asked yet.

    Raises:
        InvalidError: a name or address is malformed, or a CA file cannot be read.

    Examples:
        >>> reader = trust.open_reader("localhost:5000/library/app", ca=ca, credentials=login, cache="kept")
        >>> [target.name for target in reader.refresh().targets()]
        ['1']
    """
    gun = Gun(gun)
    source = NotaryServer(server or Image.parse(gun).server_url, ca=ca, credentials=credentials)
    return Reader(gun, source, _cache(cache), pins=_pins(gun, root_keys, pins), roles=roles, offline=offline)


def open_repository(
    gun: Gun | str,
    keys: KeyFolder,
    *,
    server: str | None = None,
    ca: Paths | None = None,
    credentials: tuple[str, str] | None = None,
    root_keys: Sequence[str] = (),
    pins: Pins | None = None,
    cache: str | os.PathLike[str] | Cache | None = None,
) -> Repository:
    """A trust collection to publish to.

    Args:
        gun: the collection: an image's name without the tag.
        keys: what is signed with.
        server: address of the notary server; by default the image's own host, as docker does.
        ca: see `open_reader`, as for the others.
        credentials: see there; the user must have the right to push.
        root_keys: see there.
        pins: see there.
        cache: see there; by default the key folder, where docker keeps verified metadata, too.

    Returns:
        The collection; nothing has been asked yet, and it need not exist.

    Raises:
        InvalidError: a name or address is malformed, or a CA file cannot be read.

    Examples:
        >>> repository = trust.open_repository("localhost:5000/library/app", keys, ca=ca, credentials=login)
        >>> repository.publish(trust.RevokeTag(keys, ["1"])).versions
        {'targets/alice': 2, 'targets/releases': 2}
    """
    gun = Gun(gun)
    remote = NotaryServer(server or Image.parse(gun).server_url, ca=ca, credentials=credentials)
    kept = _cache(keys.folder if cache is None else cache)
    return Repository(gun, remote, keys, kept, pins=_pins(gun, root_keys, pins))


def resolve(
    image: str,
    *,
    roles: Sequence[RoleName] = DOCKER_ROLES,
    server: str | None = None,
    ca: Paths | None = None,
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

    Returns:
        The digest to use from here on, who signed it, and until when that holds.

    Raises:
        NotFoundError: the tag is not signed, or there is no trust data at all.
        UntrustedError: the trust data is not to be believed: expired, tampered with, rolled back, of another root.
        UnavailableError: the server does not answer.
        UnauthorizedError: the server wants other credentials.
        InvalidError: a name or address is malformed, or a CA file cannot be read.

    Examples:
        >>> target = trust.resolve("localhost:5000/library/app:1", ca="var/ca/ca.crt", credentials=login)
        >>> target.digest == registry.resolve(image.repository, "1").digest
        True
        >>> target.signers
        ('alice',)
    """
    parsed = Image.parse(image)
    reader = open_reader(parsed.gun, server=server, ca=ca, credentials=credentials, root_keys=root_keys, cache=cache)
    return reader.refresh().lookup(parsed.tag, roles)


def _pins(gun: Gun, root_keys: Sequence[str], pins: Pins | None) -> Pins:
    if pins is not None:
        return pins
    return Pins(certs={gun: tuple(root_keys)}) if root_keys else Pins()


def _cache(cache: str | os.PathLike[str] | Cache | None) -> Cache:
    if cache is None:
        return MemoryCache()
    return FileCache(Path(cache)) if isinstance(cache, str | os.PathLike) else cache
