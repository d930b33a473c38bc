# SPDX-License-Identifier: Apache-2.0
"""Every error that troth raises, in one tree, by who is to blame.

    TrustError
    ├── UntrustedError            the data is not to be believed (fail closed)
    │   ├── FormatError           not metadata of the role that it claims to be
    │   ├── SignatureError        too few valid signatures
    │   │   └── KeyIdError        a key filed under an ID that is not its own
    │   ├── RotationError         a new root that the old root's keys did not sign
    │   ├── PinError              a root that the pins do not allow
    │   ├── ExpiredError          its time is over
    │   ├── RollbackError         older than what was seen before
    │   ├── HashError             not the bytes that the referring file names
    │   ├── SizeError             longer than announced or allowed
    │   └── DelegationError       no valid parent delegates this role
    ├── InvalidError              the caller asked for something malformed
    │   └── SettingsError         the operator's settings cannot be used
    ├── UnauthorizedError         the caller must show a (better) token
    ├── DeniedError               the caller is known, and may not
    ├── NotFoundError             there is no such thing
    ├── ConflictError             somebody else was first
    └── UnavailableError          a part that is needed does not answer

Each class carries the HTTP `status` and wire `code` that it becomes when nothing more exact is known; services
subclass these with the codes of their own protocol.  Errors never log, exit or translate themselves.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class TrustError(Exception):
    """The root of all errors raised by troth.

    Args:
        message: one sentence for a person; it never holds a secret.
        detail: JSON-able facts for a program, sent as `errors[].detail`.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class UntrustedError(TrustError):
    """The data is not to be believed.  "Could not check" counts as this."""

    status = 503
    code = "UNAVAILABLE"
    #: short upper-case word for `errors[].detail.reason`
    reason: ClassVar[str] = "UNTRUSTED"


class FormatError(UntrustedError):
    """The bytes are not well-formed metadata of the expected role (NOTARY_V1 §1.1–1.3)."""

    reason = "FORMAT"


class SignatureError(UntrustedError):
    """Fewer valid signatures than the threshold (NOTARY_V1 §1.5)."""

    reason = "THRESHOLD"


class KeyIdError(SignatureError):
    """A key is filed under an ID that does not follow from its content (NOTARY_V1 §1.4)."""

    reason = "KEY_ID"


class RotationError(UntrustedError):
    """A new root is not signed by the keys of the root before it (NOTARY_V1 §6.2)."""

    reason = "ROTATION"


class PinError(UntrustedError):
    """A root does not match the configured pins (NOTARY_V1 §6.2)."""

    reason = "PIN"


class ExpiredError(UntrustedError):
    """Metadata whose `expires` has passed.

    Args:
        role: the expired role.
        expires: when it expired (aware, UTC).
    """

    reason = "EXPIRED"

    def __init__(self, role: str, expires: datetime) -> None:
        # The wording, weekday first, is what Go clients know (NOTARY_V1 §3.1).
        when = f"{expires:%a %b} {expires.day} {expires:%H:%M:%S} UTC {expires.year}"
        super().__init__(f"{role} expired at {when}", detail={"role": role, "expires": expires.isoformat()})
        self.role = role
        self.expires = expires


class RollbackError(UntrustedError):
    """A version lower than one that was already seen (NOTARY_V1 §6.3)."""

    reason = "ROLLBACK"


class HashError(UntrustedError):
    """The bytes differ from what the referring metadata names."""

    reason = "HASH"


class SizeError(UntrustedError):
    """More bytes than the limit or the announced length."""

    reason = "SIZE"


class DelegationError(UntrustedError):
    """No parent delegates this role (NOTARY_V1 §1.7)."""

    reason = "DELEGATION"


class InvalidError(TrustError):
    """The caller's request is malformed."""

    status = 400
    code = "INVALID_PARAMETERS"


class SettingsError(InvalidError):
    """A setting is missing, unknown or cannot be used."""


class UnauthorizedError(TrustError):
    """The caller must authenticate.

    Args:
        challenge: value for `WWW-Authenticate`, if the caller can be told how.
    """

    status = 401
    code = "UNAUTHORIZED"

    def __init__(self, message: str, *, challenge: str = "", detail: object = None) -> None:
        super().__init__(message, detail=detail)
        self.challenge = challenge


class DeniedError(TrustError):
    """The caller is known and may not do this."""

    status = 403
    code = "DENIED"


class NotFoundError(TrustError):
    """There is no such thing."""

    status = 404
    code = "NOT_FOUND"


class ConflictError(TrustError):
    """Somebody else was first."""

    status = 409
    code = "CONFLICT"


class UnavailableError(TrustError):
    """A part that is needed does not answer."""

    status = 503
    code = "UNAVAILABLE"
