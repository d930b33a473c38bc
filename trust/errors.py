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

    Attributes:
        message: the sentence.
        detail: the facts, or None.
        status: the HTTP status that a service answers with when it knows nothing more exact.
        code: the word in `errors[].code` of that answer.

    Examples:
        >>> try:
        ...     trust.resolve("localhost:5000/library/app:2", ca=ca, credentials=login)
        ... except trust.TrustError as error:
        ...     print(error.status, error.code, error)
        404 NOT_FOUND No valid trust data for 2
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class UntrustedError(TrustError):
    """The data is not to be believed.  "Could not check" counts as this.

    Attributes:
        reason: a short upper-case word, different for each subclass, for `errors[].detail.reason`.

    Examples:
        >>> try:
        ...     trust.resolve("localhost:5000/library/app:1", ca=ca, credentials=login, root_keys=["0" * 64])
        ... except trust.UntrustedError as error:
        ...     print(error.reason)
        PIN
    """

    status = 503
    code = "UNAVAILABLE"
    #: short upper-case word for `errors[].detail.reason`
    reason: ClassVar[str] = "UNTRUSTED"


class FormatError(UntrustedError):
    """The bytes are not well-formed metadata of the expected role (NOTARY_V1 §1.1–1.3).

    Examples:
        >>> trust.parse(trust.ROOT, b"{}")
        Traceback (most recent call last):
        trust.errors.FormatError: root type metadata invalid: ...
    """

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
    """A root does not match the configured pins (NOTARY_V1 §6.2).

    Examples:
        >>> trust.open_reader(image.gun, ca=ca, credentials=login, pins=trust.Pins(tofu=False)).refresh()
        Traceback (most recent call last):
        trust.errors.PinError: could not validate the path to a trusted root: ...
    """

    reason = "PIN"


class ExpiredError(UntrustedError):
    """Metadata whose `expires` has passed (NOTARY_V1 §6.3).

    Args:
        role: the expired role.
        expires: when it expired (aware, UTC).

    Attributes:
        role: the expired role.
        expires: when it expired (aware, UTC).

    Examples:
        >>> try:
        ...     collection.check_fresh(datetime.now(UTC) + timedelta(days=15))
        ... except trust.ExpiredError as error:
        ...     print(error.role, error.expires > datetime.now(UTC))
        timestamp True
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
    """The bytes differ from what the referring metadata names (NOTARY_V1 §6.3)."""

    reason = "HASH"


class SizeError(UntrustedError):
    """More bytes than the limit or the announced length.

    Examples:
        >>> server.fetch(image.gun, "root", limit=100)
        Traceback (most recent call last):
        trust.errors.SizeError: root is longer than the allowed 100 bytes
    """

    reason = "SIZE"


class DelegationError(UntrustedError):
    """No parent delegates this role (NOTARY_V1 §1.7)."""

    reason = "DELEGATION"


class InvalidError(TrustError):
    """The caller's request is malformed.

    Examples:
        >>> trust.Tag("no tag!")
        Traceback (most recent call last):
        trust.errors.InvalidError: a tag has 1 to 128 letters, digits, dots, dashes and underscores
    """

    status = 400
    code = "INVALID_PARAMETERS"


class SettingsError(InvalidError):
    """A setting is missing, unknown or cannot be used.

    Examples:
        >>> trust.from_file("no such file")
        Traceback (most recent call last):
        trust.errors.SettingsError: the passphrase file no such file cannot be read
    """


class UnauthorizedError(TrustError):
    """The caller must authenticate.

    Args:
        message: one sentence for a person.
        challenge: value for `WWW-Authenticate`, if the caller can be told how.
        detail: JSON-able facts for a program.

    Examples:
        >>> trust.resolve("localhost:5000/library/app:1", ca=ca, credentials=("admin", "a guess"))
        Traceback (most recent call last):
        trust.errors.UnauthorizedError: the token service localhost:5000 refused the credentials
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
    """There is no such thing: an image that is not signed, a key that is not here.

    Examples:
        >>> collection.lookup("2")
        Traceback (most recent call last):
        trust.errors.NotFoundError: No valid trust data for 2
    """

    status = 404
    code = "NOT_FOUND"


class ConflictError(TrustError):
    """Somebody else was first.

    Examples:
        >>> alice = keys.open(keys.held(role="alice")[0].key_id)
        >>> keys.add(alice, role="bob")
        Traceback (most recent call last):
        trust.errors.ConflictError: the key ... is here already, as one of alice
    """

    status = 409
    code = "CONFLICT"


class UnavailableError(TrustError):
    """A part that is needed does not answer.

    Examples:
        >>> trust.resolve("localhost:5000/library/app:1", server="https://localhost:1")
        Traceback (most recent call last):
        trust.errors.UnavailableError: https://localhost:1 does not answer: ...
    """

    status = 503
    code = "UNAVAILABLE"
