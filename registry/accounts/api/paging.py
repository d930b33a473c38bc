# SPDX-License-Identifier: Apache-2.0
"""Long answers a page at a time: `n` says how many at most, another query parameter behind what the page begins.

n = page_size(call, MAX_PAGE)
names = list_names(session, last=call.query.get("last", ""), limit=n + 1)
return 200, {"names": names[:n]}, next_page("/names", names, n, last=names[n - 1])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from registry.accounts.api.operations import Call
from trust.errors import InvalidError

MAX_PAGE = 1000


def sizes(most: int = MAX_PAGE) -> Mapping[str, object]:
    """The schema of `n`."""
    return {"type": "integer", "minimum": 1, "maximum": most, "default": most}


def number(call: Call, name: str, least: int, most: int, default: int) -> int:
    """A number in the query.

    Raises:
        InvalidError: it is none, or out of bounds.
    """
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise InvalidError(f"{name} is a number from {least} to {most}")
    return int(text)


def page_size(call: Call, most: int = MAX_PAGE) -> int:
    """How many are asked for; see `number`."""
    return number(call, "n", 1, most, most)


def next_page(path: str, found: Sequence[object], size: int, **query: object) -> dict[str, str]:
    """The header that leads on, if more than `size` were found.

    Args:
        path: below `/api/v1`.
        found: one more than are sent, if there is one.
        size: of the page.
        query: of the next page; what is empty is left out.
    """
    if len(found) <= size:
        return {}
    text = urlencode({"n": size} | {name: value for name, value in query.items() if value})
    return {"Link": f'</api/v1{path}?{text}>; rel="next"'}
