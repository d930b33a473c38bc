# SPDX-License-Identifier: Apache-2.0
"""The page of clients claims what the stories run, and nothing else; each story compares its own column."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.clienttable import PAGE, Cell, Story, Table, columns, read, render
from flows.sites import Site
from flows.stack import Stack
from trust.web.database import Database


def test_the_page_has_the_columns_that_are_run_and_no_other() -> None:
    assert list(read(PAGE.read_text(encoding="utf-8"))) == columns()


def stories() -> dict[tuple[str, str], Story]:
    cells = {"`push`": Cell(), "`pull`": Cell(True, "first"), "`remove`": Cell(False, "second"), "`sign`": Cell()}
    return {column: Story("1.2", "3.4", dict(cells)) for column in columns()}


def test_what_is_written_is_what_is_read() -> None:
    told = stories()
    told["notary", "mariadb"].cells["`pull`"] = Cell(False, "not here")
    page = render(told)
    assert "| `remove` | no (2) | no (2) | no (2) |" in page
    assert read(page) == {column: story.cells for column, story in told.items()}


def test_databases_that_were_told_different_stories_make_no_page() -> None:
    told = stories()
    del told["notary", "mariadb"].cells["`push`"]
    with pytest.raises(AssertionError, match="not all databases"):
        render(told)


def test_a_story_that_is_not_the_pages_fails(tmp_path: Path) -> None:
    site = Site("sqlite", Stack(tmp_path), "3.4", Database(f"sqlite:///{tmp_path}/registry.db"))
    table = Table(writing=False)
    with (
        pytest.raises(AssertionError, match="write it anew"),
        table.story("notary", "1.2", site) as story,
        story.flow("`fly`"),
    ):
        pass
