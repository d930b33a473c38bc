# SPDX-License-Identifier: Apache-2.0
"""What the outermost JSON of an uploaded file may look like.

The Go programs write exactly `{"signed":…,"signatures":[…]}`.  Whatever else an upload holds is covered by no
signature, and two readers may understand it in two ways: that broke collections for good (Cure53 TUF-01-001).  So:

* exactly these two members;
* no member of any object twice;
* nothing but white space after the value.

White space is kept and served as it came, since hashes are over the stored bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from server.errors import MalformedJsonError
from trust.canonical import to_wire
from trust.errors import FormatError
from trust.metadata import Decoded
from trust.names import TIMESTAMP, RoleName
from trust.update import RefusedUpdateError

_SPACE = re.compile(r"[ \t\n\r]*")
_MAX_INT64 = 2**63 - 1


class _DuplicateMemberError(ValueError):
    pass


def read_upload(role: RoleName, data: bytes) -> tuple[int, Decoded | None]:
    """`signed.version` of an upload, 0 where it is absent, if the upload may be looked at further.

    With it comes the JSON, where it was read as the rules of metadata read it.

    Raises:
        MalformedJsonError: there is no JSON object, or its version is not an integer as Go reads one.
        RefusedUpdateError: it is more than a file of metadata.
    """
    if role != TIMESTAMP and (decoded := _as_go_writes(data)) is not None:
        return _version(role, decoded.envelope), decoded
    return _read_version(role, data), None


def _as_go_writes(data: bytes) -> Decoded | None:
    """The JSON of an upload in the very form that the Go programs and ours write; None: it has another form.

    Whether a member stands twice need not be looked for: in the canonical form of what was read it does not, and the
    upload's bytes are that form.
    """
    try:
        decoded = Decoded.of(data)
        if not isinstance(decoded.envelope, dict) or not isinstance(decoded.envelope.get("signed"), dict):
            return None
        begin = b'{"signed":' + to_wire(decoded.signed_bytes) + b',"signatures":'
        if not data.startswith(begin):
            return None
        rest = data[len(begin) :].decode()
        _, end = _strict.raw_decode(rest)
    except (FormatError, ValueError, RecursionError):
        return None
    return decoded if rest[end:] == "}" else None


def _read_version(role: RoleName, data: bytes) -> int:
    # As Go does; the strict reader of trust.metadata decides what the text means.
    text = data.decode("utf-8", "replace")
    begin = _SPACE.match(text)
    assert begin is not None
    duplicate = None
    try:
        value, end = _strict.raw_decode(text, begin.end())
    except _DuplicateMemberError as error:
        duplicate = str(error)
        value, end = _lenient.raw_decode(text, begin.end())
    except (ValueError, RecursionError) as error:
        raise MalformedJsonError(f"{role} is not valid JSON") from error
    version = _version(role, value)
    if role == TIMESTAMP:
        return version  # it is ignored, whatever it holds
    rest = _SPACE.sub("", text[end:], count=1)
    if rest:
        _refuse(role, f"invalid character {rest[0]!r} after top-level value")
    if duplicate is not None:
        _refuse(role, duplicate)
    others = sorted(value.keys() - {"signed", "signatures"})
    if others:
        _refuse(role, f"member {others[0][:80]!r} is not signed and does not belong into a file of metadata")
    return version


def error_name(role: RoleName) -> str:
    """What clients call an error in a file of this role (NOTARY_V1 §2.2)."""
    return {"root": "ErrBadRoot", "snapshot": "ErrBadSnapshot"}.get(role, "ErrBadTargets")


def _version(role: RoleName, value: object) -> int:
    signed = value.get("signed") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(signed, dict | None):
        raise MalformedJsonError(f"{role} is not a JSON object with an object in it")
    version = (signed or {}).get("version", 0)
    if type(version) is not int or not -_MAX_INT64 <= version <= _MAX_INT64:  # True is an int to isinstance
        raise MalformedJsonError(f"the version of {role} is not an integer")
    return version


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateMemberError(f"member {twice[:80]!r} stands twice in one object")
    return members


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value")


def _refuse(role: RoleName, reason: str) -> NoReturn:
    raise RefusedUpdateError(error_name(role), reason)


_strict = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
_lenient = json.JSONDecoder(parse_constant=_constant)
