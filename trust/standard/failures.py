# SPDX-License-Identifier: Apache-2.0
"""python-tuf's errors as ours.

with translated(fetcher.seen):
    updater.refresh()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError, SerializationError

from trust.errors import (
    ExpiredError,
    FormatError,
    HashError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    SizeError,
    TrustError,
    UnavailableError,
    UntrustedError,
)

_ORDER = ("root", "timestamp", "snapshot", "targets")


@contextmanager
def translated(files: Sequence[bytes] = ()) -> Iterator[None]:
    """Raise our errors for python-tuf's.

    Args:
        files: the metadata that was read so far.  It says which file has expired, and when, as python-tuf does not;
            and where some is, a file that is missing was promised.

    Raises:
        UntrustedError: what was read is not to be believed; the subclass says why.
        NotFoundError: there is no repository.
        UnavailableError: something could not be read or kept.
    """
    try:
        yield
    except TrustError:
        raise
    except RepositoryError as error:
        raise _untrusted(error, files) from error
    except DownloadLengthMismatchError as error:
        raise SizeError(str(error)) from error
    except DownloadHTTPError as error:
        if error.status_code == 404 and not files:
            raise NotFoundError(str(error)) from error
        raise UnavailableError(str(error)) from error
    except DownloadError as error:
        raise UnavailableError(str(error) or "a file took too long to come") from error
    except OSError as error:
        raise UnavailableError(f"metadata cannot be read or kept: {error}") from error


def _untrusted(error: RepositoryError, files: Iterable[bytes]) -> UntrustedError:
    message = str(error)
    if isinstance(error, DeserializationError | SerializationError):
        return FormatError(f"the metadata is malformed: {error.__cause__ or message}")
    if isinstance(error, UnsignedMetadataError):
        return (RotationError if message.startswith("root ") else SignatureError)(message)
    if isinstance(error, ExpiredMetadataError):
        return _expired(files) or UntrustedError(message)
    if isinstance(error, BadVersionNumberError):
        return RollbackError(message)
    if isinstance(error, LengthOrHashMismatchError):
        return HashError(message)
    return UntrustedError(message)


def _expired(files: Iterable[bytes]) -> ExpiredError | None:
    """The error for the first of these files, in the order of reading, whose time is over."""
    found: dict[str, Any] = {}
    for data in files:
        try:
            signed = Metadata.from_bytes(data).signed
        except DeserializationError:
            continue
        found[signed.type] = signed  # the newest of a type is the one in question
    for type_ in _ORDER:
        if type_ in found and found[type_].is_expired():
            return ExpiredError(type_, found[type_].expires)
    return None
