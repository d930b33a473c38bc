# SPDX-License-Identifier: Apache-2.0
"""As much of protobuf's wire format as the Go signer's gRPC needs: numbered strings, bytes and messages.

    data = field(1, "ecdsa") + field(2, "localhost:5000/library/app")
    Message(data).text(1)

It reads as protobuf's own parsers do: unknown fields, and known ones of another wire type, are passed over; of a
field that comes several times the last one counts; a message that comes in several parts is their concatenation.
Groups, which proto3 no longer has, are refused.  Whatever the bytes are, `MessageError` is all that comes out.
"""

from __future__ import annotations

from trust.errors import InvalidError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = 2**29 - 1


class MessageError(InvalidError):
    """The bytes are not a protobuf message."""


class Message:
    """A message's fields of the wire type "length-delimited"; the others are skipped.

    Args:
        data: the message as it came.

    Raises:
        MessageError: it is malformed.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[bytes]] = {}
        position = 0
        while position < len(data):
            key, position = _read_varint(data, position)
            number, wire_type = key >> 3, key & 7
            if not 0 < number <= _MAX_FIELD_NUMBER:
                raise MessageError("the message has a field with an impossible number")
            if wire_type == _VARINT:
                _, position = _read_varint(data, position)
                continue
            if wire_type == _BYTES:
                length, position = _read_varint(data, position)
            elif wire_type in (_FIXED64, _FIXED32):
                length = 8 if wire_type == _FIXED64 else 4
            else:
                raise MessageError(f"the message has a field of the wire type {wire_type}, which is not known")
            if length > len(data) - position:
                raise MessageError("the message ends within a field")
            if wire_type == _BYTES:
                self._fields.setdefault(number, []).append(data[position : position + length])
            position += length

    def binary(self, number: int) -> bytes:
        """The bytes of a field; empty when it is absent."""
        return self._fields.get(number, [b""])[-1]

    def text(self, number: int) -> str:
        """The string of a field; empty when it is absent.

        Raises:
            MessageError: it is not UTF-8.
        """
        try:
            return self.binary(number).decode()
        except UnicodeDecodeError as error:
            raise MessageError(f"field {number} of the message is not UTF-8") from error

    def message(self, number: int) -> Message:
        """The message in a field; an empty one when it is absent.

        Raises:
            MessageError: it is malformed.
        """
        return Message(b"".join(self._fields.get(number, [])))


def field(number: int, value: str | bytes | int) -> bytes:
    """One field on the wire; nothing for an empty string or 0, which a reader takes an absent field for.

    Args:
        number: the field's.
        value: a string, bytes, another message's bytes, or a number that is not negative.
    """
    if not value:
        return b""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value <= 0x7F:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] <= 0x7F:
        return data[position], position + 1
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (2**64 - 1), position + index + 1
    raise MessageError("the message has a number that does not end")
