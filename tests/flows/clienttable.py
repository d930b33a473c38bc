# SPDX-License-Identifier: Apache-2.0
"""The page `docs/reference/clients.md`: which flows of the original clients work, on which database.

The stories (dockerstory.py, notarystory.py) tell what they found, flow by flow:

    with table.story("notary", "0.7.0", site) as story:
        with story.flow("`notary init`") as flow:
            …                                            # an error fails the test and leaves no cell
            flow.note("what a reader of the table must know")

At the end of its story a test compares its column with the page, so that the page claims nothing that was not run.
With `--write-table` the columns of all stories become the page instead:

    python -m pytest tests/flows/test_clients_on_*.py --write-table
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.sites import DATABASES, Site

PAGE = Path(__file__).parents[2] / "docs/reference/clients.md"
#: The page's sections, in order: each client by a name that does not change, and what it is called in a heading.
CLIENTS = {"debian": "docker", "local": "docker", "notary": "notary"}
COMMAND = "python -m pytest tests/flows/test_clients_on_*.py --write-table"

_HEAD = f"""# Clients

The original clients against `troth up`, flow by flow, with all three services on each kind of database.
**yes**: the client did it, and what it should bring about was seen, by other users of the same client as well.
**no**: it did not, and the note says whose fault that is.
Refusals count as flows: what must be refused was refused, in words that say so.

This page is written by the tests that run these flows (`{COMMAND}`).
Each later run compares: a flow that is not run any more, or comes out otherwise, fails it.
The versions are those of the run that wrote the page.
"""


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


class Table:
    """The stories of a run.

    Args:
        writing: whether they become the page instead of being compared with it.
    """

    def __init__(self, *, writing: bool) -> None:
        self.writing = writing
        self.told: dict[tuple[str, str], Story] = {}

    @contextmanager
    def story(self, client: str, version: str, site: Site) -> Iterator[Story]:
        """Tell a story; at its end it is compared with the page."""
        story = Story(version, site.version)
        yield story
        self.told[client, site.kind] = story
        if not self.writing:
            written = read(PAGE.read_text(encoding="utf-8")).get((client, site.kind))
            assert written == story.cells, f"{PAGE.name} says otherwise; write it anew: {COMMAND}"

    def write(self) -> None:
        """Make the page from the stories; all must have been told."""
        missing = [column for column in columns() if column not in self.told]
        assert not missing, f"the page needs all stories, and these were not told: {missing}"
        PAGE.write_text(render(self.told), encoding="utf-8")


def columns() -> list[tuple[str, str]]:
    """Client and database of each column of the page."""
    return [(client, kind) for client in CLIENTS for kind in DATABASES]


def render(told: Mapping[tuple[str, str], Story]) -> str:
    """The page."""
    databases = ", ".join(f"{name} {told['notary', kind].database}" for kind, name in DATABASES.items())
    return f"{_HEAD}\nDatabases: {databases}.\n" + "".join(
        _section(f"{name} {told[client, 'sqlite'].client}", {kind: told[client, kind] for kind in DATABASES})
        for client, name in CLIENTS.items()
    )


def read(page: str) -> dict[tuple[str, str], dict[str, Cell]]:
    """What the page says, by client and database."""
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    sections = page.split("\n## ")[1:]
    assert len(sections) == len(CLIENTS), f"{len(sections)} clients are on the page"
    for client, section in zip(CLIENTS, sections, strict=True):
        notes = dict(re.findall(r"^(\d+)\. (.+)$", section, re.MULTILINE))
        heads, _, *rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        assert heads[1:] == list(DATABASES.values()), heads
        for flow, *cells in rows:
            for kind, cell in zip(DATABASES, cells, strict=True):
                done, number = re.fullmatch(r"(yes|no)(?: \((\d+)\))?", cell).groups()  # type: ignore[union-attr]
                found.setdefault((client, kind), {})[flow] = Cell(done == "yes", notes[number] if number else "")
    return found


def _section(heading: str, stories: Mapping[str, Story]) -> str:
    notes: list[str] = []
    lines = [f"\n## {heading}\n", f"| flow | {' | '.join(DATABASES.values())} |", f"|{' --- |' * (len(stories) + 1)}"]
    flows = list(stories["sqlite"].cells)
    assert all(list(story.cells) == flows for story in stories.values()), "not all databases were told the same story"
    for flow in flows:
        cells = [_cell(story.cells[flow], notes) for story in stories.values()]
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
