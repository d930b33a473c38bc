# SPDX-License-Identifier: Apache-2.0
"""Just enough DER to take a private key out of its wrappings, and to put one in.

Key files of the Go programs hold forms that `cryptography` refuses (trust.keyfiles), so their outer layers are
opened by hand.  Only what such files contain is read: definite lengths, one-byte tags.

    >>> read(b"\\x30\\x03\\x02\\x01\\x05", SEQUENCE)
    b'\\x02\\x01\\x05'
"""

from __future__ import annotations

from trust.errors import InvalidError

INTEGER, OCTETS, NULL, OID, SEQUENCE, CONTEXT_0 = 0x02, 0x04, 0x05, 0x06, 0x30, 0xA0


def read(data: bytes, tag: int) -> bytes:
    """The content of `data`, which must be one element with this tag and nothing behind it.

    Raises:
        InvalidError: it is not.
    """
    found, content, rest = split(data)
    if found != tag or rest:
        raise InvalidError("malformed DER: another element was expected")
    return content


def items(content: bytes) -> list[tuple[int, bytes]]:
    """The elements that stand one after another in `content`: tag and content each.

    Raises:
        InvalidError: it is not a row of elements.
    """
    found = []
    while content:
        tag, item, content = split(content)
        found.append((tag, item))
    return found


def split(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and what stands behind it.

    Raises:
        InvalidError: there is none.
    """
    if len(data) < 2:
        raise InvalidError("malformed DER: it breaks off")
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        start += count
        if not 0 < count <= 4 or len(data) < start:
            raise InvalidError("malformed DER: a length cannot be read")
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise InvalidError("malformed DER: it breaks off")
    return tag, data[start : start + length], data[start + length :]


def element(tag: int, *contents: bytes) -> bytes:
    """An element with this tag, around `contents`."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER, from its dotted form."""
    first, second, *others = (int(part) for part in dotted.split("."))
    content = bytearray()
    for number in (40 * first + second, *others):
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        content += bytes(reversed(digits))
    return element(OID, bytes(content))
