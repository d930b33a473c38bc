# SPDX-License-Identifier: Apache-2.0
"""The exact bytes that are signed: Notary's canonical JSON (NOTARY_V1 §1.3).

Three forms of one value:

* `decode` reads JSON as Go does: every number passes through a 64-bit float, the last of duplicate members wins,
  bytes that are not UTF-8 and lone surrogates become U+FFFD;
* `encode` writes the canonical form, which is what signatures are over: members sorted by UTF-8 bytes, no white
  space, strings raw but for `"` and `\\`, integers only;
* `wire` writes the canonical form as it is sent, stored and hashed: `<`, `>`, `&`, U+2028 and U+2029 escaped.

    >>> encode(decode(b'{"b": 1e3, "a": "<"}'))
    b'{"a":"<","b":1000}'
    >>> wire(decode(b'{"a": "<"}'))
    b'{"a":"\\\\u003c"}'
"""

from __future__ import annotations

import codecs
import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from trust.errors import FormatError

_GO_UTF8 = "troth-go-utf8"
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(rb"[\x00-\x1f]")
# What the C encoder escapes although canonical JSON keeps it raw: control characters.
_ESCAPE = re.compile(r"\\([\"\\bfnrt]|u[0-9a-f]{4})")
_RAW = {'"': '\\"', "\\": "\\\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MIN_INT64 = -(2**63)


def _replace_one_byte(error: UnicodeError) -> tuple[str, int]:
    # Go replaces each invalid byte on its own, Python's "replace" a whole broken sequence.
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd", error.start + 1


codecs.register_error(_GO_UTF8, _replace_one_byte)


def decode(data: bytes) -> Any:
    """The JSON value in `data`; a number that is not integral comes as `Decimal`, which `encode` refuses.

    Raises:
        FormatError: not JSON, nested too deeply, or a number out of a float's range.
    """
    text = data.decode("utf-8", _GO_UTF8)
    if text.startswith("\ufeff"):
        raise FormatError("the JSON text begins with a byte order mark")
    try:
        # Only an escape can bring a surrogate in; most files have none and skip the walk.
        if "\\ud" not in text and "\\uD" not in text:
            return _decoder.decode(text)
        return _without_surrogates(_surrogate_decoder.decode(text))
    except RecursionError as error:
        raise FormatError("JSON nested too deeply") from error
    except ValueError as error:
        raise FormatError(f"not valid JSON: {error}") from error


def encode(value: Any) -> bytes:
    """The canonical form of `value`, over which signatures are made and checked.

    Args:
        value: what `decode` gives: dict, list, str, int, bool or None.

    Raises:
        FormatError: it holds a fraction (`1.5`), which has no canonical form, or is nested too deeply.
    """
    try:
        text = _encoder.encode(value)
    except RecursionError as error:
        raise FormatError("JSON nested too deeply") from error
    if "\\" in text:
        text = _ESCAPE.sub(_unescape, text)
    return text.encode("utf-8")


def wire(value: Any) -> bytes:
    """The canonical form of `value` as Go writes it into a file: with `<>&` and two separators escaped.

    Raises:
        FormatError: it holds a fraction or a control character (Go can sign the latter but never write it).
    """
    return to_wire(encode(value))


def to_wire(canonical: bytes) -> bytes:
    """`canonical` as it is embedded in an envelope; these characters occur in strings only.

    Raises:
        FormatError: it holds a control character.
    """
    if _CONTROL.search(canonical):
        raise FormatError("a string holds a control character, which cannot be written")
    return (
        canonical.replace(b"<", b"\\u003c")
        .replace(b">", b"\\u003e")
        .replace(b"&", b"\\u0026")
        .replace("\u2028".encode(), b"\\u2028")
        .replace("\u2029".encode(), b"\\u2029")
    )


def _integer(text: str) -> int:
    if len(text) < 16:  # below 2^53: exact in a float
        return int(text)
    return _from_float(text)


def _number(text: str) -> int | Decimal:
    value = float(text)
    return _from_float(text) if value.is_integer() or value in (float("inf"), float("-inf")) else Decimal(text)


def _from_float(text: str) -> int:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text[:40]} out of range")
    # What the reference's float to int64 conversion gives on amd64.
    return int(value) if abs(value) < 2**63 else _MIN_INT64


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value")


def _refuse(value: object) -> NoReturn:
    if isinstance(value, Decimal):
        raise FormatError(f"json: unsupported value: {str(value)[:40]}")
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    return _RAW[escape] if len(escape) == 1 else chr(int(escape[1:], 16))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Replaced before the last of equal names wins: two names may become one.
    return {_SURROGATE.sub("\ufffd", name): item for name, item in pairs}


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_surrogates(item) for name, item in value.items()}
    return value


_decoder = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_constant)
_surrogate_decoder = json.JSONDecoder(
    parse_int=_integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_members
)
_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_refuse)
