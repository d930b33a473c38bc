# SPDX-License-Identifier: Apache-2.0
"""Pages of tables that say which flows work with which client, made by the tests that run them.

The pages are in clientpages.py.  The stories (dockerstory.py, notarystory.py, registrystory.py) tell what they found,
flow by flow:

    with table.story("notary", "sqlite", client="0.7.0", database="3.40.1") as story:
        with story.flow("`notary init`") as flow:
            …                                            # an error fails the test and leaves no cell
            flow.note("what a reader of the table must know")

At the end of its story a test compares its column with the page, so that the page claims nothing that was not run.
With `--write-table` the columns of all stories become the page instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """How a flow came out.

    Attributes:
        done: whether the client did what it should.
        note: what a reader must know beside that.
    """

    done: bool = True
    note: str = ""


class Flow:
    """A flow that is being run."""

    def __init__(self) -> None:
        self.cell = Cell()

    def note(self, text: str) -> None:
        """It works, and that is to be known of it."""
        self.cell = Cell(True, text)

    def falls_short(self, text: str) -> None:
        """The client does not do it, for this reason."""
        self.cell = Cell(False, text)


@dataclass
class Story:
    """A column of the table: one client on one database.

    Attributes:
        client: its version.
        database: its version.
        cells: by flow, in the order in which they were run.
    """

    client: str
    database: str
    cells: dict[str, Cell] = field(default_factory=dict)

    @contextmanager
    def flow(self, name: str) -> Iterator[Flow]:
        """Run a flow; its cell is there when it has ended well."""
        assert name not in self.cells, name
        flow = Flow()
        yield flow
        self.cells[name] = flow.cell


#: The stories of a run by section and column.
Told = Mapping[tuple[str, str], Story]


@dataclass(frozen=True)
class Page:
    """A page: sections, each with a table; a story is a column of one of them.

    Attributes:
        path: where it is.
        command: what writes it.
        introduction: what stands above the sections.
        sections: what they are called by, and how their headings begin, in order.
        columns: the same of the columns, of which each section has all.
        versions: adds the versions of a run: to the introduction, to the headings of sections and of columns.
    """

    path: Path
    command: str
    introduction: str
    sections: Mapping[str, str]
    columns: Mapping[str, str]
    versions: Callable[[Told], tuple[str, Mapping[str, str], Mapping[str, str]]]

    @property
    def stories(self) -> list[tuple[str, str]]:
        """Section and column of each story that the page needs."""
        return [(section, column) for section in self.sections for column in self.columns]

    def render(self, told: Told) -> str:
        """The page that says what was told."""
        more, sections, columns = self.versions(told)
        return f"{self.introduction}{more}" + "".join(
            _section(sections[section], columns.values(), [told[section, column] for column in self.columns])
            for section in self.sections
        )

    def read(self, page: str) -> dict[tuple[str, str], dict[str, Cell]]:
        """What a page says, by section and column."""
        found: dict[tuple[str, str], dict[str, Cell]] = {}
        parts = page.split("\n## ")[1:]
        assert len(parts) == len(self.sections), f"{len(parts)} sections are on the page"
        for (section, title), part in zip(self.sections.items(), parts, strict=True):
            assert part.startswith(title), f"the page has {part.splitlines()[0]} in the place of {title}"
            notes = dict(re.findall(r"^(\d+)\. (.+)$", part, re.MULTILINE))
            heads, _, *rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
            for head, column in zip(heads[1:], self.columns.values(), strict=True):
                assert head.startswith(column), heads
            for flow, *cells in rows:
                for column, cell in zip(self.columns, cells, strict=True):
                    done, number = re.fullmatch(r"(yes|no)(?: \((\d+)\))?", cell).groups()  # type: ignore[union-attr]
                    found.setdefault((section, column), {})[flow] = Cell(
                        done == "yes", notes[number] if number else ""
                    )
        return found


class Table:
    """The stories of a run.

    Args:
        page: what they are compared with.
        writing: whether they become the page instead.
    """

    def __init__(self, page: Page, *, writing: bool) -> None:
        self.page = page
        self.writing = writing
        self.told: dict[tuple[str, str], Story] = {}

    @contextmanager
    def story(self, section: str, column: str, *, client: str, database: str) -> Iterator[Story]:
        """Tell a story; at its end it is compared with the page."""
        story = Story(client, database)
        yield story
        self.told[section, column] = story
        if not self.writing:
            written = self.page.read(self.page.path.read_text(encoding="utf-8")).get((section, column))
            assert written == story.cells, f"{self.page.path.name} says otherwise; write it anew: {self.page.command}"

    def write(self) -> None:
        """Make the page from the stories; all must have been told."""
        missing = [story for story in self.page.stories if story not in self.told]
        assert not missing, f"the page needs all stories, and these were not told: {missing}"
        self.page.path.write_text(self.page.render(self.told), encoding="utf-8")


def _section(title: str, heads: Collection[str], stories: Sequence[Story]) -> str:
    notes: list[str] = []
    lines = [f"\n## {title}\n", f"| flow | {' | '.join(heads)} |", f"|{' --- |' * (len(heads) + 1)}"]
    flows = list(stories[0].cells)
    assert all(list(story.cells) == flows for story in stories), "not all columns were told the same story"
    for flow in flows:
        cells = [_cell(story.cells[flow], notes) for story in stories]
        lines.append(f"| {flow} | {' | '.join(cells)} |")
    if notes:
        lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, notes: list[str]) -> str:
    word = "yes" if cell.done else "no"
    if not cell.note:
        return word
    if cell.note not in notes:
        notes.append(cell.note)
    return f"{word} ({notes.index(cell.note) + 1})"
