# SPDX-License-Identifier: Apache-2.0
"""The errors of the notary protocol, with the codes and messages that its clients know (NOTARY_V1 §2.7).

The message is fixed by the protocol; what is particular goes into `detail`.  Where the reference sends a detail, ours
is the same; where it sends none, ours may hold a sentence that helps.
"""

from __future__ import annotations

from typing import ClassVar

from trust.errors import ConflictError, InvalidError, NotFoundError, TrustError


class _NotaryError(TrustError):
    """An error whose message the protocol fixes."""

    text: ClassVar[str]

    def __init__(self, detail: object = None) -> None:
        super().__init__(self.text, detail=detail)


class NoFilenameError(_NotaryError, InvalidError):
    """A part of an upload does not say which role it is of."""

    code = "NO_FILENAME"
    text = "No file/role name provided."


class InvalidRoleError(_NotaryError, InvalidError):
    """A part of an upload is of a role that cannot exist."""

    code = "INVALID_ROLE"
    text = "The role you are attempting to operate on is invalid."


class MalformedJsonError(_NotaryError, InvalidError):
    """A part of an upload is not JSON, or has no integer version."""

    code = "MALFORMED_JSON"
    text = "JSON sent by the client could not be parsed by the server"


class MalformedUploadError(_NotaryError, InvalidError):
    """A body that is not what a publish needs."""

    code = "MALFORMED_UPLOAD"
    text = "The body of your request is malformed."


class TooLargeError(_NotaryError, InvalidError):
    """More bytes or parts than the server's limits allow; the reference has no limits."""

    status = 413
    code = "SIZE_INVALID"
    text = "The body of your request is too large."


class InvalidGunError(_NotaryError, InvalidError):
    """A name under which this server keeps nothing."""

    code = "INVALID_GUN"
    text = "The server does not support actions on images of this name."


class InvalidParametersError(_NotaryError, InvalidError):
    """A query parameter is missing or malformed."""

    code = "INVALID_PARAMETERS"
    text = "The parameters provided are not valid."


class MetadataNotFoundError(_NotaryError, NotFoundError):
    """There is no such file, or no such route; the detail is `{}` for the former and absent for the latter."""

    code = "METADATA_NOT_FOUND"
    text = "You have requested metadata that does not exist."


class VersionError(_NotaryError, ConflictError):
    """A file of that version or a later one is stored already."""

    status = 400
    code = "VERSION"
    text = "A newer version of metadata is already available."

    def __init__(self) -> None:
        super().__init__({})


class LostRaceError(ConflictError):
    """Somebody else changed the collection since it was read; reading again helps.  It never leaves the server."""
