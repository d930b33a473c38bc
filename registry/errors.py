# SPDX-License-Identifier: Apache-2.0
"""The registry's errors: each carries its status and its code from the protocol's closed list (REGISTRY_API §5).

    InvalidError                     UnavailableError
    ├── NameInvalidError             └── StorageError
    ├── TagInvalidError                  └── StorageFullError
    ├── DigestInvalidError           NotFoundError
    ├── ManifestInvalidError         ├── NameUnknownError
    ├── MissingChildError            ├── ManifestUnknownError
    ├── UploadInvalidError           ├── BlobUnknownError
    ├── SizeInvalidError             └── UploadUnknownError
    ├── TooLargeError                ConflictError
    ├── RangeInvalidError            ├── UploadBusyError
    ├── TooManyTagsError             ├── SignedError
    ├── PaginationError              └── TagImmutableError
    └── QueryInvalidError            TrustError
                                     ├── UnsupportedError
                                     └── TooManyUploadsError

The families are those of `trust.errors`: who is to blame decides the status, unless the protocol says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from trust.errors import ConflictError, InvalidError, NotFoundError, TrustError, UnavailableError


class NameInvalidError(InvalidError):
    """Not the name of a repository (REGISTRY_API §1)."""

    code = "NAME_INVALID"


class TagInvalidError(InvalidError):
    """Neither a tag nor a digest."""

    code = "TAG_INVALID"


class DigestInvalidError(InvalidError):
    """Not a digest, one of an unknown algorithm, or not the digest of what was sent."""

    code = "DIGEST_INVALID"


class ManifestInvalidError(InvalidError):
    """Not a manifest that this registry takes (REGISTRY_API §4)."""

    code = "MANIFEST_INVALID"


class MissingChildError(InvalidError):
    """A manifest names blobs or manifests that its repository does not hold; told as an error for each (§4, R4.4).

    Args:
        repository: which.
        missing: their digests, at least one.
    """

    code = "MANIFEST_BLOB_UNKNOWN"
    #: So many are told of, and the others counted.
    MAX_TOLD = 100

    def __init__(self, repository: str, missing: Sequence[str]) -> None:
        super().__init__(_lacks(repository, missing, 1), detail={"digest": missing[0]})
        self._repository, self._missing = repository, missing

    def entries(self) -> list[tuple[str, dict[str, str]]]:
        """Message and detail for each missing digest."""
        told = enumerate(self._missing[: self.MAX_TOLD], 1)
        return [(_lacks(self._repository, self._missing, number), {"digest": digest}) for number, digest in told]


def _lacks(repository: str, missing: Sequence[str], number: int) -> str:
    return f"{repository} lacks {missing[number - 1]}, {number} of {len(missing)} missing parts of the manifest"


class UploadInvalidError(InvalidError):
    """An upload that cannot go on as the client asked."""

    code = "BLOB_UPLOAD_INVALID"


class SizeInvalidError(InvalidError):
    """Fewer or more bytes than the client announced."""

    code = "SIZE_INVALID"


class TooLargeError(InvalidError):
    """More bytes than this registry takes."""

    status = 413
    code = "SIZE_INVALID"


class RangeInvalidError(InvalidError):
    """A chunk out of order, or a range beyond the end."""

    status = 416
    code = "RANGE_INVALID"


class TooManyTagsError(InvalidError):
    """One push asks for more tags than are made at once."""

    status = 414
    code = "TAG_INVALID"


class PaginationError(InvalidError):
    """`n` is no number, or `last` can be no name."""

    code = "PAGINATION_NUMBER_INVALID"


class QueryInvalidError(InvalidError):
    """A parameter of the address has a value that means nothing here."""

    code = "UNSUPPORTED"


class NameUnknownError(NotFoundError):
    """There is no such repository, or nothing at all at this path."""

    code = "NAME_UNKNOWN"


class ManifestUnknownError(NotFoundError):
    """The repository has no such manifest or tag."""

    code = "MANIFEST_UNKNOWN"


class BlobUnknownError(NotFoundError):
    """The repository has no such blob."""

    code = "BLOB_UNKNOWN"


class UploadUnknownError(NotFoundError):
    """The repository has no such upload; it may have been finished or cancelled."""

    code = "BLOB_UPLOAD_UNKNOWN"


class UploadBusyError(ConflictError):
    """Somebody else is writing to this upload."""

    code = "BLOB_UPLOAD_INVALID"


class SignedError(ConflictError):
    """What is signed is not deleted by accident."""

    code = "DENIED"


class TagImmutableError(ConflictError):
    """A tag that the repository's policy keeps where it is."""

    status = 403
    code = "DENIED"


class UnsupportedError(TrustError):
    """Understood, and not done by this registry."""

    status = 405
    code = "UNSUPPORTED"


class TooManyUploadsError(TrustError):
    """The caller has begun more uploads than one may have open at once."""

    status = 429
    code = "TOOMANYREQUESTS"


class StorageError(UnavailableError):
    """The home of the content does not do what it should; the log knows more."""


class StorageFullError(StorageError):
    """There is no room for more content.

    Docker's engine shows of a 5xx its status line alone, so the status says it: 507 Insufficient Storage.
    """

    status = 507

    def __init__(self) -> None:
        super().__init__("the registry's storage is full; nothing of this request was kept")
