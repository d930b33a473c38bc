# SPDX-License-Identifier: Apache-2.0
"""The pages of clients claim what the stories run, and nothing else; each story compares its own column."""

from __future__ import annotations

import pytest

from flows.clientpages import ORIGINALS, REGISTRY_CLIENTS
from flows.clienttable import Cell, Page, Story, Table

pages = pytest.mark.parametrize("page", [ORIGINALS, REGISTRY_CLIENTS], ids=lambda page: page.path.stem)


@pages
def test_the_page_has_the_columns_that_are_run_and_no_other(page: Page) -> None:
    assert list(page.read(page.path.read_text(encoding="utf-8"))) == page.stories


def stories(page: Page) -> dict[tuple[str, str], Story]:
    cells = {"`push`": Cell(), "`pull`": Cell(True, "first"), "`remove`": Cell(False, "second"), "`sign`": Cell()}
    return {story: Story("1.2", "3.4", dict(cells)) for story in page.stories}


@pages
def test_what_is_written_is_what_is_read(page: Page) -> None:
    told = stories(page)
    told[page.stories[-1]].cells["`pull`"] = Cell(False, "not here")
    written = page.render(told)
    assert f"| `remove` |{' no (2) |' * (len(page.columns) - 1)}" in written
    assert page.read(written) == {column: story.cells for column, story in told.items()}


@pages
def test_columns_that_were_told_different_stories_make_no_page(page: Page) -> None:
    told = stories(page)
    del told[page.stories[-1]].cells["`push`"]
    with pytest.raises(AssertionError, match="not all columns"):
        page.render(told)


def test_a_story_that_is_not_the_pages_fails() -> None:
    table = Table(ORIGINALS, writing=False)
    with (
        pytest.raises(AssertionError, match="write it anew"),
        table.story("notary", "sqlite", client="1.2", database="3.4") as story,
        story.flow("`fly`"),
    ):
        pass
