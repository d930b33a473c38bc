# SPDX-License-Identifier: Apache-2.0
"""The short way to read an upload takes nothing that the long one would refuse."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.envelope import _as_go_writes, _read_version, read_upload
from trust.canonical import encode, wire
from trust.names import TARGETS, TIMESTAMP

_TEXT = st.text(st.sampled_from('ab"\\<&\u2028\ufffdé\U0001f600'), max_size=3)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_SIGNED = st.builds(lambda more, version: more | version, st.dictionaries(_TEXT, _VALUE, max_size=3),
                    st.just({}) | st.fixed_dictionaries({"version": st.integers(0, 2**31)}))  # fmt: skip
#: Put somewhere into the bytes, or taken out.
_PIECES = [b" ", b"}", b"{", b",", b'"a":1,', b'"signed":{},', b'"version":3,', b"\\u0061", b".0", b"\xff", b"1"]


def file(signed: object, signatures: object) -> bytes:
    return b'{"signed":' + wire(signed) + b',"signatures":' + wire(signatures) + b"}"


@given(_SIGNED, st.lists(_VALUE, max_size=2))
def test_what_the_go_programs_write_goes_the_short_way(signed: dict[str, object], signatures: list[object]) -> None:
    data = file(signed, signatures)
    decoded = _as_go_writes(data)
    exact = all(abs(number) < 2**53 for number in _numbers([signed]))
    assert (decoded is not None) or not exact
    if decoded is not None:
        assert decoded.signed_bytes == encode(signed)
        assert read_upload(TARGETS, data)[0] == _read_version(TARGETS, data) == signed.get("version", 0)
        assert read_upload(TIMESTAMP, data)[1] is None


@given(_SIGNED, st.lists(_VALUE, max_size=2), st.sampled_from(_PIECES), st.floats(0, 1), st.integers(0, 3))
@example({"version": 2}, [], b'"version":3,', 11 / 37, 0)
def test_what_the_long_way_refuses_does_not_go_the_short_one(
    signed: dict[str, object], signatures: list[object], piece: bytes, place: float, gone: int
) -> None:
    whole = file(signed, signatures)
    at = round(place * len(whole))
    data = whole[:at] + piece + whole[at + gone :]
    if _as_go_writes(data) is not None:
        assert read_upload(TARGETS, data)[0] == _read_version(TARGETS, data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"signed":{"version":2,"version":2},"signatures":[]}',
        b'{"signed":{"version":2},"signatures":[{"sig":"a","sig":"b"}]}',
        b'{"signed":{"version":2},"signatures":[],"signed":{"version":2}}',
        b'{"signed":{"version":2},"signatures":[]}x',
        b'{"signed":{"version":2},"signatures":[],"more":1}',
        b'{"signed":{"version":2.0},"signatures":[]}',
        b'{"signed":{"a":1,"a":1},"signatures":[]}',
        b'{"signed":null,"signatures":[]}',
        b'{"signatures":[],"signed":{"version":2}}',
        b'{"signed":{"version":2},"signatures":NaN}',
    ],
)
def test_other_forms_go_the_long_way(data: bytes) -> None:
    assert _as_go_writes(data) is None


def _numbers(value: object) -> list[int]:
    match value:
        case bool():
            return []
        case int():
            return [value]
        case dict():
            return [number for each in value.values() for number in _numbers(each)]
        case list():
            return [number for each in value for number in _numbers(each)]
        case _:
            return []
