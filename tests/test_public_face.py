# SPDX-License-Identifier: Apache-2.0
"""`import trust` is all that a user needs: complete, documented, and every example in it is true."""

from __future__ import annotations

import doctest
from collections.abc import Iterator

import griffe
import pytest

from demosite import DemoSite
from publicface import public

ITEMS = {item.name: item for item in public()}
CALLED = {
    name: item
    for name, item in ITEMS.items()
    if isinstance(item.node, griffe.Class | griffe.Function) and not item.see
}
#: Errors that a few lines cannot bring about: they need forged trust data, or a second person.
UNSHOWN = {"DelegationError", "DeniedError", "HashError", "KeyIdError", "RollbackError", "RotationError",
           "SignatureError"}  # fmt: skip
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.mark.parametrize("name", [name for name, item in ITEMS.items() if ">>>" in item.docstring])
def test_the_examples_are_true(name: str, site: DemoSite) -> None:
    item = ITEMS[name]
    names = site.names()
    test = doctest.DocTestParser().get_doctest(
        site.localised(item.docstring), names, f"trust.{name}", str(item.node.filepath), item.node.lineno
    )
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=report.append)
    assert outcome.attempted
    assert not outcome.failed, "".join(report)


def test_everything_public_is_told() -> None:
    assert not [name for name, item in ITEMS.items() if not item.docstring]


def test_everything_public_has_an_example() -> None:
    without = {name for name, item in ITEMS.items() if not item.see and ">>>" not in item.docstring}
    constants = {name for name in without if isinstance(ITEMS[name].node, griffe.Attribute) and "." not in name}
    assert without - constants == UNSHOWN


@pytest.mark.parametrize("name", CALLED)
def test_every_argument_and_result_is_told(name: str) -> None:
    item = CALLED[name]
    sections = item.sections
    assert "text" in sections or item.see
    told = {each.name for kind in ("parameters", "attributes") if kind in sections for each in sections[kind].value}
    assert told >= {parameter.name for parameter in item.parameters}
    if isinstance(item.node, griffe.Function):
        gives = str(item.node.returns or "None") != "None"
        assert ("returns" in sections) == gives
        # What looks like a type in front of a colon is none.
        assert not gives or [each.annotation for each in sections["returns"].value] == [item.node.returns]


def test_what_a_method_leaves_to_a_protocol_is_public_and_told_there() -> None:
    left = {item.see for item in ITEMS.values() if item.see}
    assert left
    assert not [name for name in left if name not in CALLED]


def test_no_public_signature_needs_a_private_name() -> None:
    homes = {item.node.canonical_path for item in ITEMS.values()}
    private = {
        f"{name}: {path}"
        for name, item in ITEMS.items()
        for annotation in _annotations(item.node)
        for path in _paths(annotation)
        if path.startswith("trust.") and path not in homes
    }
    assert not private


def _annotations(node: griffe.Object) -> Iterator[griffe.Expr | str | None]:
    if isinstance(node, griffe.Function):
        yield node.returns
        for parameter in node.parameters:
            yield parameter.annotation
    elif isinstance(node, griffe.Attribute):
        yield node.annotation
    elif isinstance(node, griffe.Class):
        for name in ("__init__", "__new__"):
            if name in node.members:
                yield from _annotations(node.members[name])  # type: ignore[arg-type]
        for name, member in node.members.items():
            if isinstance(member, griffe.Attribute) and not name.startswith("_"):
                yield member.annotation


def _paths(annotation: griffe.Expr | str | None) -> Iterator[str]:
    if isinstance(annotation, griffe.Expr):
        for part in annotation.iterate():
            if isinstance(part, griffe.ExprName):
                yield part.canonical_path
