# SPDX-License-Identifier: Apache-2.0
"""The wire format: what protobuf's own tools write is read, what they read is written, and bad bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.protobuf import Message, MessageError, field


def test_a_message_is_written_as_protoc_writes_it() -> None:
    # protoc --encode: algorithm "ecdsa", gun "a/b", role "timestamp"
    data = field(1, "ecdsa") + field(2, "a/b") + field(3, "timestamp")
    assert data == b"\n\x05ecdsa\x12\x03a/b\x1a\ttimestamp"
    assert field(1, field(1, "id")) + field(16, 300) == b"\n\x04\n\x02id\x80\x01\xac\x02"


def test_what_has_its_default_value_is_not_written() -> None:
    assert field(1, "") + field(2, b"") + field(3, 0) == b""


def test_absent_fields_are_empty() -> None:
    message = Message(b"")
    assert (message.text(1), message.binary(2), message.message(3).text(1)) == ("", b"", "")


def test_unknown_fields_and_known_ones_of_another_type_are_passed_over() -> None:
    foreign = field(9, "x") + field(1, 7) + b"\x11" + bytes(8) + b"\x15" + bytes(4)
    assert Message(foreign + field(1, "kept") + foreign).text(1) == "kept"


def test_the_last_of_several_values_counts_and_messages_are_merged() -> None:
    assert Message(field(1, "a") + field(1, "b")).text(1) == "b"
    merged = Message(field(1, field(1, "a")) + field(1, field(2, "b"))).message(1)
    assert (merged.text(1), merged.text(2)) == ("a", "b")


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"\n\x05abc", b"\n\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc", b"\x80", b"\xff" * 20, b"\x00\x00",
        b"\x0b", b"\x0c", b"\x0e", b"\x0f", b"\x09abc", b"\x0dabc", b"\x08",
    ],
    ids=repr,
)  # fmt: skip
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        Message(data)


def test_a_string_must_be_utf_8_and_bytes_need_not() -> None:
    message = Message(field(1, b"\xff"))
    assert message.binary(1) == b"\xff"
    with pytest.raises(MessageError, match="field 1"):
        message.text(1)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        message = Message(data)
        message.binary(1)
        message.text(2)
        message.message(1).text(1)
    except MessageError:
        pass


@given(fields=st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(min_size=1, max_size=300)), max_size=5))
def test_what_was_written_is_read_again(fields: list[tuple[int, bytes]]) -> None:
    message = Message(b"".join(field(number, value) for number, value in fields))
    assert {number: message.binary(number) for number, _ in fields} == dict(fields)


@given(number=st.integers(0, 2**64 - 1), name=st.text(min_size=1))
def test_numbers_of_any_length_are_skipped(number: int, name: str) -> None:
    assert Message(field(1, number) + field(2, name)).text(2) == name
