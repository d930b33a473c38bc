# SPDX-License-Identifier: Apache-2.0
"""PEM blocks with headers, as the Go programs write them and OpenSSL refuses to read them (NOTARY_V1 §6.1).

>>> [block] = blocks(write("PUBLIC KEY", b"...", {"role": "alice"}))
>>> block.kind, block.headers, block.body
('PUBLIC KEY', {'role': 'alice'}, b'...')
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trust.errors import InvalidError

_MAX_BYTES = 2**20
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n(.*?)-----END \1-----[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_HEADER = re.compile(r"([A-Za-z0-9-]+): ?(.*)")
_VALUE = re.compile(r"[!-~]{0,255}")


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block.

    Attributes:
        kind: what stands behind BEGIN.
        headers: name to value.
        body: the decoded content.
    """

    kind: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def blocks(pem: bytes) -> list[Block]:
    """The blocks in `pem`; text around them is passed over.

    Raises:
        InvalidError: it is too long, or a block is malformed.
    """
    if len(pem) > _MAX_BYTES:
        raise InvalidError("a PEM file of more than a megabyte is not read")
    return [Block(match[1].decode(), *_content(match[2])) for match in _BLOCK.finditer(pem)]


def write(kind: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A PEM block with those of `headers` that are not empty, sorted as Go sorts them.

    Raises:
        InvalidError: a header holds what none can.
    """
    lines = [f"-----BEGIN {kind}-----"]
    for name, value in sorted(headers.items()):
        if not _VALUE.fullmatch(value):
            raise InvalidError(f"the {name} of a key has at most 255 printable ASCII characters without blanks")
        if value:
            lines.append(f"{name}: {value}")
    if len(lines) > 1:
        lines.append("")
    encoded = base64.b64encode(body).decode()
    lines += [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
    return "\n".join([*lines, f"-----END {kind}-----", ""]).encode()


def _content(text: bytes) -> tuple[dict[str, str], bytes]:
    try:
        lines = text.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidError("a PEM block holds something else than ASCII") from error
    headers = {}
    while lines and (match := _HEADER.fullmatch(lines[0])):
        headers[match[1]] = match[2].strip()
        lines.pop(0)
    try:
        return headers, base64.b64decode("".join(line.strip() for line in lines), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidError("a PEM block is not base64") from error
