# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON is what signatures are over: one wrong byte and nothing verifies any more."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.canonical import decode, encode, to_wire, wire
from trust.errors import FormatError

# Canonical strings hold control characters raw, which JSON cannot read back; surrogates never get past `decode`.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20))
_NUMBERS = st.integers(-(2**53), 2**53)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("-12", "-12"),
        ("10e-1", "1"),
        ("1e-400", "0"),
        ("999999999999999", "999999999999999"),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", "9007199254740992"),
        ("9007199254740993", "9007199254740992"),
        ("9007199254740993.0", "9007199254740992"),
        ("9007199254740990.5", "9007199254740990"),
        ("1.00000000000000000001", "1"),
        ("-9007199254740993", "-9007199254740992"),
        ("9223372036854774784", "9223372036854774784"),
        ("9223372036854775807", "-9223372036854775808"),
        ("9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775808"),
        ("18446744073709551616", "-9223372036854775808"),
        ("1e300", "-9223372036854775808"),
    ],
)
def test_a_number_is_written_as_the_64_bit_integer_that_go_makes_of_it(text: str, canonical: str) -> None:
    assert encode(decode(text.encode())) == canonical.encode()


@pytest.mark.parametrize("text", ["1.5", "0.1", "-0.5", "1e-3", "4503599627370495.5", '{"a":[{"b":1.5}]}'])
def test_a_fraction_can_be_read_but_has_no_canonical_form(text: str) -> None:
    value = decode(text.encode())
    with pytest.raises(FormatError, match="unsupported value"):
        encode(value)


def test_a_long_fraction_does_not_make_a_long_message() -> None:
    with pytest.raises(FormatError) as refusal:
        encode(decode(b"0." + b"1" * 100_000))
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1" * 400, "9" * 100_000, "NaN", "Infinity", "-Infinity"])
def test_a_number_out_of_a_floats_range_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        decode(text.encode())


@pytest.mark.parametrize("text", ["01", "+1", "1.", ".5", "0x1", "1_000", "１", "--1"])
def test_what_json_does_not_call_a_number_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        decode(text.encode())


def test_members_are_sorted_by_their_utf8_bytes_and_not_by_utf16() -> None:
    # U+FF5E comes before U+1F600 in UTF-8 and after its surrogates in UTF-16.
    assert encode({"\U0001f600": 1, "\uff5e": 2, "é": 3, "a": 4, "B": 5, "": 6}) == (
        '{"":6,"B":5,"a":4,"é":3,"\uff5e":2,"\U0001f600":1}'.encode()
    )


def test_there_is_no_white_space() -> None:
    assert encode(decode(b' { "b" : [ 1 , { } , [ ] ] ,\r\n\t"a" : null } \n')) == b'{"a":null,"b":[1,{},[]]}'


def test_only_quote_and_backslash_are_escaped_in_what_is_signed() -> None:
    text = '"\\/<>&\u2028\u2029é\U0001f600\x7f'
    assert encode(text) == '"\\"\\\\/<>&\u2028\u2029é\U0001f600\x7f"'.encode()


@pytest.mark.parametrize("code", [*range(0x20), 0x7F])
def test_control_characters_are_signed_raw(code: int) -> None:
    assert encode(decode(b'"a\\u%04xb"' % code)) == b'"a' + bytes([code]) + b'b"'


def test_an_escape_that_was_itself_escaped_stays() -> None:
    assert encode(decode(rb'"\\u0041\\n"')) == rb'"\\u0041\\n"'


def test_what_go_escapes_in_a_file_is_not_escaped_in_what_is_signed() -> None:
    text = "a<b>c&d\u2028e\u2029é"
    assert encode(text) == f'"{text}"'.encode()
    assert wire(text) == rb'"a\u003cb\u003ec\u0026d\u2028e\u2029' + "é".encode() + b'"'


@pytest.mark.parametrize("code", range(0x20))
def test_a_control_character_cannot_be_written_into_a_file(code: int) -> None:
    with pytest.raises(FormatError, match="control character"):
        wire({"name": chr(code)})
    with pytest.raises(FormatError, match="control character"):
        to_wire(encode({chr(code): 1}))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"\uD800"', "\ufffd"),
        (rb'"\udc00\ud800"', "\ufffd\ufffd"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\ud83dA"', "\ufffdA"),
        (rb'"\ud83d\u0041"', "\ufffdA"),
        (b'"\xff"', "\ufffd"),
        (b'"\xe2\x82"', "\ufffd\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),  # a surrogate in UTF-8: three bad bytes to Go
        (b'"\xf0\x9f\x98"', "\ufffd\ufffd\ufffd"),
        (b'"\xc0\x80"', "\ufffd\ufffd"),
        (b'"\xf4\x90\x80\x80"', "\ufffd\ufffd\ufffd\ufffd"),
    ],
)
def test_what_is_not_unicode_becomes_replacement_characters_as_in_go(data: bytes, text: str) -> None:
    assert decode(data) == text
    assert encode(decode(data)) == f'"{text}"'.encode()


def test_member_names_and_nested_strings_lose_their_surrogates_too() -> None:
    assert decode(rb'{"\ud800":[{"a":"\udfff"}]}') == {"\ufffd": [{"a": "\ufffd"}]}


@pytest.mark.parametrize(
    "data", [rb'{"a":1,"b":2,"a":3}', rb'{"a":[],"b":2,"\u0061":3}', b'{"a":{"x":1},"b":2,"a":3}']
)
def test_the_last_of_duplicate_members_wins(data: bytes) -> None:
    assert encode(decode(data)) == b'{"a":3,"b":2}'


def test_the_last_member_wins_also_where_names_become_the_same_by_replacement() -> None:
    assert decode(rb'{"\ud800":1,"\ufffd":2,"\udfff":3}') == {"\ufffd": 3}
    assert decode(rb'{"\ud800":1,"\ufffd":2,"\ud800":3}') == {"\ufffd": 3}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"{}x",
        b"{}{}",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"nul",
        b"True",
        b"// comment\n1",
        b'"\n"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\u12"',
        b'"open',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        "{}".encode("utf-16"),
        b"\x00",
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_deep_nesting_is_refused_and_does_not_end_the_process(text: bytes) -> None:
    with pytest.raises(FormatError):
        decode(text)


def test_nesting_that_can_be_read_can_be_written_or_is_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(FormatError, match="nested"):
        encode(value)


def test_the_many_depths_around_the_limit_end_in_a_value_or_a_refusal() -> None:
    for depth in range(1, 3000, 37):
        data = rb'"\ud800"'.join([b"[" * depth, b"]" * depth])
        try:
            assert encode(decode(data)).count(b"[") == depth
        except FormatError:
            assert depth > 200


@given(_VALUES)
def test_decoding_undoes_encoding(value: Any) -> None:
    assert decode(encode(value)) == value


@given(_VALUES)
def test_encoding_is_stable(value: Any) -> None:
    assert encode(decode(encode(value))) == encode(value)


@given(_VALUES)
def test_the_form_in_a_file_says_the_same_as_the_form_that_is_signed(value: Any) -> None:
    assert decode(wire(value)) == value
    assert encode(decode(wire(value))) == encode(value)


@given(_VALUES)
def test_the_form_in_a_file_is_safe_in_html(value: Any) -> None:
    assert not set("<>&\u2028\u2029") & set(wire(value).decode())


@given(_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_spelling_and_spacing_do_not_change_what_is_signed(value: Any, ascii_only: bool, indent: int | None) -> None:
    spelled = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert encode(decode(spelled)) == encode(value)


@given(st.integers(-(2**70), 2**70))
def test_any_integer_is_written_as_its_float_or_as_the_overflow(number: int) -> None:
    rounded = int(float(number))
    expected = rounded if -(2**63) <= rounded < 2**63 else -(2**63)
    assert encode(decode(str(number).encode())) == str(expected).encode()


@given(st.dictionaries(_TEXT, _NUMBERS))
def test_members_always_come_in_the_order_of_their_utf8_bytes(value: dict[str, int]) -> None:
    members = [f"{encode(name).decode()}:{value[name]}" for name in sorted(value, key=lambda n: n.encode())]
    assert encode(value) == f"{{{','.join(members)}}}".encode()


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_a_value_or_a_format_error(data: bytes) -> None:
    try:
        value = decode(data)
    except FormatError:
        return
    with contextlib.suppress(FormatError):  # a fraction
        encode(value).decode("utf-8")
