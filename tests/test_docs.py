# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import reference
import trust
import trustreference
from trust.web.metrics import FAMILIES

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def test_the_settings_reference_is_what_the_code_says() -> None:
    assert reference.SETTINGS.read_text(encoding="utf-8") == reference.settings(), "run: python tests/reference.py"


def test_the_librarys_reference_is_what_the_docstrings_say() -> None:
    written = {path: path.read_text(encoding="utf-8") for path in trustreference.FOLDER.glob("*.md")}
    made = trustreference.pages()
    stale = sorted(path.name for path in written.keys() | made.keys() if written.get(path) != made.get(path))
    assert not stale, "run: python tests/reference.py"


def test_the_librarys_reference_tells_every_public_name_once() -> None:
    assert sorted(name for subject in trustreference.SUBJECTS for name in subject.names) == sorted(trust.__all__)


def test_each_section_of_the_protocol_that_clients_and_operators_see_is_named_by_a_test() -> None:
    # §2 to §5: the HTTP API, the server's update, signer and configuration, tokens and names.
    page = (ROOT / "docs" / "reference" / "protocol" / "NOTARY_V1.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## ([2-5]\.[0-9]+) ", page, re.MULTILINE)
    assert len(sections) > 15
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    named = {
        section
        for text in tests
        for line in re.findall(r"NOTARY_V1 .*", text)
        for section in re.findall(r"§([0-9]+(?:\.[0-9]+)?)", line)
    }
    assert [section for section in ("2", *sections) if section not in named] == []


def test_the_metrics_reference_is_what_the_code_says() -> None:
    assert reference.METRICS.read_text(encoding="utf-8") == reference.metrics(), "run: python tests/reference.py"


def test_every_metric_that_the_alerts_ask_for_exists() -> None:
    asked = set(re.findall(r"\btroth_\w+", (ROOT / "docs/how-to/monitor.md").read_text(encoding="utf-8")))
    known = {family.name for family in FAMILIES}
    assert asked
    assert {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in asked} <= known


def test_every_relative_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
