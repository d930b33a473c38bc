# SPDX-License-Identifier: Apache-2.0
"""Each requirement and each attack case has a test that names it.

Their names are in two pages: R2.7a and the like in `docs/reference/protocol/REGISTRY_API.md`; E01, AUTH-A01 and T01
in `docs/reference/cases.md`.  A test names what it protects in its docstring, or a T in its own name, `test_t20_…`:

    def test_an_upload_can_be_cancelled(site: Site) -> None:
        \"\"\"R2.14.\"\"\"

What a page says is "(not offered)" needs no test, under a heading or in a row.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
API = ROOT / "docs/reference/protocol/REGISTRY_API.md"
CASES = ROOT / "docs/reference/cases.md"

_NAME = re.compile(r"\b(?:R[0-9]+\.[0-9]+[a-z]?|E[0-9]{2}|AUTH-A[0-9]{2}|T[0-9]{2})\b")
_OWN_NAME = re.compile(r"_t([0-9]{2})(?=_)")
_ROW = re.compile(r"(?:\| (?!-)|\* )(.*)")
_NOT_OFFERED = "(not offered)"


def rows(page: Path) -> dict[str, str]:
    """The rows and points of a page that are offered, each by its name."""
    found: dict[str, str] = {}
    offered = in_table = True
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            offered = _NOT_OFFERED not in line
        is_title = line.startswith("| ") and not in_table
        in_table = line.startswith("|")
        row = _ROW.match(line)
        if row is None or is_title or not offered or _NOT_OFFERED in line:
            continue
        name = _NAME.match(row[1])
        assert name, f"{page.name} has a row without a name: {line[:60]}"
        assert name[0] not in found, f"{page.name} has two rows {name[0]}"
        found[name[0]] = line
    return found


def named() -> dict[str, set[str]]:
    """What tests name, and the files where they do."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                own = [f"T{number}" for number in _OWN_NAME.findall(node.name)]
                for name in own + _NAME.findall(ast.get_docstring(node) or ""):
                    found.setdefault(name, set()).add(path.name)
    return found


def test_each_requirement_of_a_registry_is_named_by_a_test() -> None:
    required = rows(API)
    assert len(required) > 70
    assert sorted(required.keys() - named().keys()) == []


def test_each_attack_case_is_named_by_a_test() -> None:
    cases = rows(CASES)
    assert {f"T{number:02}" for number in range(1, 31)} <= cases.keys()
    assert len(cases) > 80
    assert sorted(cases.keys() - named().keys()) == []


def test_no_test_names_what_is_not_there() -> None:
    written = {name for page in (API, CASES) for name in _NAME.findall(page.read_text(encoding="utf-8"))}
    assert {name: files for name, files in named().items() if name not in written} == {}
