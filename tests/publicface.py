# SPDX-License-Identifier: Apache-2.0
"""What `import trust` offers, with its docstrings taken apart: for the reference page, and for the tests of both.

    for item in public():
        item.name, item.kind, item.docstring

griffe reads the sources, so signatures stand as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

import griffe

import trust

ROOT = Path(__file__).parent.parent
#: A method that only implements what a protocol asks for says so, and the protocol says the rest.
_SEE = re.compile(r"See `([A-Za-z_.]+)`")
_OPTIONS = {
    "returns_named_value": False,
    "returns_multiple_items": False,
    "warn_unknown_params": False,
    "warn_missing_types": False,
}


@dataclass(frozen=True)
class Item:
    """A class, function, method, property or constant.

    Attributes:
        name: as a user writes it behind `trust.`, such as `Reader.refresh`.
        node: griffe's view of it.
    """

    name: str
    node: griffe.Object

    @property
    def docstring(self) -> str:
        """The text, or nothing; of a constant, the comment above it that begins with `#:`."""
        if self.node.docstring:
            return self.node.docstring.value
        assert isinstance(self.node.filepath, Path)  # a namespace package has a list of them, and no constants
        lines = self.node.filepath.read_text(encoding="utf-8").splitlines()[: (self.node.lineno or 1) - 1]
        above = list(takewhile(lambda line: line.startswith("#:"), reversed(lines)))
        return "\n".join(line.removeprefix("#:").strip() for line in reversed(above))

    @property
    def see(self) -> str:
        """The protocol's method that this one implements, or nothing."""
        match = _SEE.match(self.docstring)
        return match[1] if match else ""

    @property
    def parts(self) -> list[griffe.DocstringSection]:
        """The docstring's parts, in their order."""
        docstring = self.node.docstring or griffe.Docstring(self.docstring)
        return griffe.parse(docstring, "google", **_OPTIONS) if docstring.value else []

    @property
    def sections(self) -> dict[str, griffe.DocstringSection]:
        """The docstring's parts by kind, such as `parameters` or `returns`; the first text is `text`."""
        return {section.kind.value: section for section in reversed(self.parts)}

    @property
    def is_property(self) -> bool:
        """Whether it is read like an attribute."""
        return isinstance(self.node, griffe.Attribute) and "property" in self.node.labels

    @property
    def parameters(self) -> list[griffe.Parameter]:
        """What it is called with; of a class, what makes one."""
        node = self.node
        if isinstance(node, griffe.Class):
            node = node.members.get("__init__") or node.members.get("__new__")  # type: ignore[assignment]
        found = node.parameters if isinstance(node, griffe.Function) else ()
        return [each for each in found if each.name not in ("self", "cls")]


@cache
def public() -> tuple[Item, ...]:
    """Every public name, and every public method and property below it, in the order of the sources."""
    module = griffe.load("trust", search_paths=[ROOT], resolve_aliases=True)
    return tuple(item for name in trust.__all__ for item in _of(name, _final(module[name])))


def _of(name: str, node: griffe.Object) -> Iterator[Item]:
    yield Item(name, node)
    if isinstance(node, griffe.Class):
        for member, below in node.members.items():
            callable_ = isinstance(below, griffe.Function) or "property" in below.labels
            if callable_ and not member.startswith("_"):
                yield Item(f"{name}.{member}", _final(below))


def _final(node: griffe.Object | griffe.Alias) -> griffe.Object:
    return node.final_target if isinstance(node, griffe.Alias) else node
