# SPDX-License-Identifier: Apache-2.0
"""Names, checked once at the edge: a `Gun`, `RoleName`, `RepositoryName` or `Digest` is right for ever.

They are strings, so they go wherever a string goes; making one raises `InvalidError` when the text does not
follow the rules.

    >>> RoleName("targets/releases").parent
    'targets'
    >>> Gun("localhost:5000/library/app").path
    'library/app'
    >>> Digest("sha256:" + "0" * 64).algorithm
    'sha256'
"""

from __future__ import annotations

import re
from typing import Self

from trust.errors import InvalidError

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DELEGATION = re.compile(r"targets(?:/[-a-z0-9_]+)+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DIGEST_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


class Gun(str):
    """A globally unique name: the trust collection's name, host part included (NOTARY_V1 §2, §5.2).

    Args:
        text: such as `registry.example.com/team/app`.

    Raises:
        InvalidError: empty, longer than 255, or with `*`, control characters, an empty, `.`, `..` or `_trust`
            segment.

    Examples:
        >>> trust.Gun("registry.example.com/team/../app")
        Traceback (most recent call last):
        trust.errors.InvalidError: the trust collection's name (GUN) has a forbidden path segment
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        segments = text.split("/")
        if not 0 < len(text) <= 255 or "*" in text or _CONTROL.search(text):
            raise InvalidError("the trust collection's name (GUN) is empty, too long or has forbidden characters")
        if any(segment in ("", ".", "..", "_trust") for segment in segments):
            raise InvalidError("the trust collection's name (GUN) has a forbidden path segment")
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """What stands before the first slash, or the whole name if there is none.

        Examples:
            >>> trust.Gun("registry.example.com/team/app").host
            'registry.example.com'
        """
        return self.partition("/")[0]

    @property
    def path(self) -> str:
        """What stands behind the first slash: the repository, when the host is a registry's.

        Examples:
            >>> trust.Gun("registry.example.com/team/app").path
            'team/app'
        """
        return self.partition("/")[2]


class RoleName(str):
    """One of root, targets, snapshot, timestamp, or a delegation `targets/…` (NOTARY_V1 §1.7).

    The constants `ROOT`, `TARGETS`, `SNAPSHOT`, `TIMESTAMP` and `RELEASES` (`targets/releases`) are role names.

    Args:
        text: the name; delegations have lower-case letters, digits, `-` and `_`, and fewer than 256 characters.

    Raises:
        InvalidError: any other text.

    Examples:
        >>> trust.RoleName("targets/releases") == trust.RELEASES
        True
        >>> trust.RoleName("release")
        Traceback (most recent call last):
        trust.errors.InvalidError: invalid role name 'release'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if text not in TOP_LEVEL and not (len(text) < 256 and _DELEGATION.fullmatch(text)):
            raise InvalidError(f"invalid role name {text[:80]!r}")
        return super().__new__(cls, text)

    @property
    def is_delegation(self) -> bool:
        """Whether this is a role below `targets`.

        Examples:
            >>> trust.RELEASES.is_delegation, trust.TARGETS.is_delegation
            (True, False)
        """
        return "/" in self

    @property
    def is_targets(self) -> bool:
        """Whether files of this role have the type `Targets`.

        Examples:
            >>> trust.RELEASES.is_targets, trust.SNAPSHOT.is_targets
            (True, False)
        """
        return self == "targets" or self.is_delegation

    @property
    def parent(self) -> RoleName:
        """The role that delegates this one.

        Raises:
            InvalidError: this is no delegation.

        Examples:
            >>> trust.RELEASES.parent
            'targets'
        """
        return RoleName(self.rpartition("/")[0])


TOP_LEVEL = ("root", "targets", "snapshot", "timestamp")
#: Names the keys of all top-level roles.
ROOT = RoleName("root")
#: Signs tags where there are no delegations, and says who the delegations are.
TARGETS = RoleName("targets")
#: Says which files belong together.
SNAPSHOT = RoleName("snapshot")
#: Says which snapshot is the newest; signed anew by the server all the time.
TIMESTAMP = RoleName("timestamp")
#: The delegation that docker signs tags into and believes first (NOTARY_V1 §6.6).
RELEASES = RoleName("targets/releases")


class RepositoryName(str):
    """A repository's name within a registry (REGISTRY_API §1), at most 200 characters.

    Args:
        text: the name, without the registry's host.

    Raises:
        InvalidError: any other text.

    Examples:
        >>> trust.RepositoryName("Library/App")
        Traceback (most recent call last):
        trust.errors.InvalidError: a repository name has lower-case letters, digits and ...
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > 200 or not _REPOSITORY.fullmatch(text):
            raise InvalidError(
                "a repository name has lower-case letters, digits and single separators, in parts split by /, "
                "and at most 200 characters"
            )
        return super().__new__(cls, text)


class Tag(str):
    """A tag (REGISTRY_API §1).

    Args:
        text: 1 to 128 letters, digits, dots, dashes and underscores; no dot or dash first.

    Raises:
        InvalidError: any other text.

    Examples:
        >>> trust.Tag("1.4-rc.1")
        '1.4-rc.1'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _TAG.fullmatch(text):
            raise InvalidError("a tag has 1 to 128 letters, digits, dots, dashes and underscores")
        return super().__new__(cls, text)


class Digest(str):
    """`sha256:` or `sha512:` with the lower-case hex of that length.

    Args:
        text: the digest.

    Raises:
        InvalidError: any other text.

    Examples:
        >>> import hashlib
        >>> trust.Digest("sha256:" + hashlib.sha256(b"").hexdigest())
        'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        algorithm, _, encoded = text.partition(":")
        if _DIGEST_LENGTHS.get(algorithm) != len(encoded) or not _HEX.fullmatch(encoded):
            raise InvalidError("a digest is sha256:<64 hex digits> or sha512:<128 hex digits>, in lower case")
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`, as hashlib knows it.

        Examples:
            >>> trust.Digest("sha256:" + 64 * "0").algorithm
            'sha256'
        """
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hex digits.

        Examples:
            >>> trust.Digest("sha256:" + 64 * "0").encoded == 64 * "0"
            True
        """
        return self.partition(":")[2]
