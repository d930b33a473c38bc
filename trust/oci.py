# SPDX-License-Identifier: Apache-2.0
"""A registry, asked what a tag stands for, so that it can be signed without an engine (REGISTRY_API §4).

    registry = Registry("https://localhost:5000", ca="var/ca/ca.crt", credentials=("alice", password))
    manifest = registry.resolve(RepositoryName("library/app"), "v1")
    manifest.digest, manifest.size, manifest.media_type

The manifest itself is fetched and hashed: the digest is that of the bytes, not what the registry says.  Single
images and indexes are treated alike: what the tag stands for is what is signed.  A registry that shows unsigned
images only to those who may push asks for that right, so the token is for pull and push.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import quote

from trust.errors import HashError, NotFoundError, UnauthorizedError, UnavailableError, UntrustedError
from trust.names import Digest, RepositoryName
from trust.site import Paths, Site, read

MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LIMIT = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a tag stands for.

    Attributes:
        digest: SHA-256 of its bytes.
        size: how many bytes.
        media_type: as the registry says.

    Examples:
        >>> manifest = registry.resolve(image.repository, "1")
        >>> manifest.media_type
        'application/vnd.oci.image.manifest.v1+json'
    """

    digest: Digest
    size: int
    media_type: str

    @property
    def is_index(self) -> bool:
        """Whether it stands for images of several platforms.

        Examples:
            >>> registry.resolve(image.repository, "1").is_index
            False
        """
        return "index" in self.media_type or "list" in self.media_type


class Registry:
    """A registry to read manifests from.

    Args:
        url: its base address.
        ca: PEM file, or files, of the CAs that its certificate must come from; none: the system's.
        credentials: user and password; the user `<token>` has an identity token for password.
        timeout: seconds to wait for a connection, and between bytes.

    Raises:
        InvalidError: the address is not http(s), or a CA file cannot be read.

    Examples:
        >>> registry = trust.Registry("https://localhost:5000", ca="var/ca/ca.crt", credentials=login)
        >>> registry.resolve(trust.RepositoryName("library/app"), "1").digest
        'sha256:...'
    """

    def __init__(
        self, url: str, *, ca: Paths | None = None, credentials: tuple[str, str] | None = None, timeout: float = 10.0
    ) -> None:
        self._site = Site(url, ca=ca, credentials=credentials, timeout=timeout)
        self.url = self._site.url

    def resolve(self, repository: RepositoryName, reference: str) -> Manifest:
        """The manifest that a tag, or digest, stands for: fetched and hashed (REGISTRY_API §4).

        Args:
            repository: the name within the registry.
            reference: a tag or a digest.

        Returns:
            Its digest, size and type, which is what gets signed.

        Raises:
            NotFoundError: there is no such tag.
            HashError: the registry gives bytes that are not those it names.
            UntrustedError: what it gives is no manifest of a known kind.
            SizeError: the manifest is longer than the 4 MiB that registries allow.
            UnauthorizedError: the registry wants other credentials.
            UnavailableError: no answer, or one that says nothing.

        Examples:
            >>> manifest = registry.resolve(image.repository, image.tag)
            >>> manifest.digest == registry.resolve(image.repository, manifest.digest).digest
            True
            >>> manifest.size
            416
        """
        path = f"/v2/{quote(repository)}/manifests/{quote(reference, safe=':')}"
        scope = f"repository:{repository}:pull,push"
        with self._site.request("GET", path, scope=scope, headers={"Accept": ", ".join(MEDIA_TYPES)}) as answer:
            if answer.status == 404:
                raise NotFoundError(f"{self.url} has no {repository}:{reference}")
            if answer.status in (401, 403):
                raise UnauthorizedError(f"{self.url} does not show {repository}:{reference} with these credentials")
            if answer.status != 200:
                raise UnavailableError(f"{self.url} answered {answer.status} for {repository}:{reference}")
            data = read(answer, _LIMIT, f"{repository}:{reference}")
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            claimed = answer.headers.get("Docker-Content-Digest", "")
        return _checked(data, media_type, reference, claimed)


def _checked(data: bytes, media_type: str, reference: str, claimed: str) -> Manifest:
    if media_type not in MEDIA_TYPES:
        # A signature must not say yes to something that clients may read as another thing.
        raise UntrustedError(f"{reference} is of the type {media_type[:80]!r}, which is not an image or index")
    for named in (claimed, reference):
        if named.startswith(("sha256:", "sha512:")):
            digest = Digest(named)
            if hashlib.new(digest.algorithm, data).hexdigest() != digest.encoded:
                raise HashError(f"the registry names {reference} {named} and gives other bytes")
    try:
        content = json.loads(data)
        inner = content.get("mediaType", media_type)
    except (ValueError, AttributeError) as error:
        raise UntrustedError(f"{reference} is not a manifest") from error
    if inner != media_type:
        raise UntrustedError(f"{reference} says that it is {str(inner)[:80]!r}, and the registry {media_type!r}")
    return Manifest(Digest(f"sha256:{hashlib.sha256(data).hexdigest()}"), len(data), media_type)
