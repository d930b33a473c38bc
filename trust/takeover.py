# SPDX-License-Identifier: Apache-2.0
"""What came of taking over a notary's data: for people a table, for programs JSON, for shells an exit status.

    report = Report(program="troth-server", dry_run=False, entries=(Entry(gun="…", state=IMPORTED, files=7),))
    report.to_json(), report.table(), report.status

The server's and the signer's reports are made by two programs; `merge` puts them side by side and says which
collections the signer cannot sign for.  Key IDs are in a report, and no secret is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from trust.errors import InvalidError

#: what became of a collection
IMPORTED = "imported"  # was not here, is now
EXTENDED = "extended"  # was here, and later versions were added
PRESENT = "present"  # was here as it is there
REFUSED = "refused"  # nothing was written

DONE, NOTHING_DONE, PROBLEMS = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What became of one collection.

    Attributes:
        gun: its name, as the other notary has it.
        state: `imported`, `extended`, `present` or `refused`.
        files: metadata files that were written.
        changes: rows of the changefeed that were written.
        keys: IDs of the private keys that are here now.
        online: by role, the IDs of the keys that must sign for it: the timestamp's and the snapshot's.
        problems: what is wrong, a sentence each.
        notes: what is good to know.
    """

    gun: str
    state: str
    files: int = 0
    changes: int = 0
    keys: tuple[str, ...] = ()
    online: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one run.

    Attributes:
        program: who did it.
        dry_run: whether nothing was written, and this is what would have come of it.
        entries: one a collection.
        problems: what is wrong with no collection in particular.
    """

    program: str
    dry_run: bool
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status: 0 all is good, 1 nothing was or could be done, 2 there are problems."""
        if all(entry.state == REFUSED for entry in self.entries):
            return NOTHING_DONE
        return PROBLEMS if self.problems or any(entry.problems for entry in self.entries) else DONE

    def to_json(self) -> bytes:
        """The report as JSON."""
        states = [entry.state for entry in self.entries]
        content = {
            "program": self.program,
            "dry_run": self.dry_run,
            "status": self.status,
            "summary": {state: states.count(state) for state in (IMPORTED, EXTENDED, PRESENT, REFUSED)},
            "problems": self.problems,
            "guns": [asdict(entry) for entry in self.entries],
        }
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidError: it is something else.
        """
        try:
            content = json.loads(data)
            entries = tuple(_entry(fields) for fields in content["guns"])
            return cls(
                program=content["program"],
                dry_run=content["dry_run"],
                entries=entries,
                problems=tuple(content["problems"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidError("this is not the report of an import") from error

    def table(self) -> str:
        """The report for a person."""
        lines = [f"{self.program}: nothing was written; this is what would be" if self.dry_run else self.program]
        width = max((len(_printable(entry.gun)) for entry in self.entries), default=0)
        for entry in self.entries:
            counts = {"file": entry.files, "change": entry.changes, "key": len(entry.keys)}
            shown = ", ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items() if count)
            lines.append(f"  {_printable(entry.gun):{width}}  {entry.state:8}  {shown}".rstrip())
            lines += [f"      problem: {_printable(problem)}" for problem in entry.problems]
            lines += [f"      note: {_printable(note)}" for note in entry.notes]
        lines += [f"  problem: {_printable(problem)}" for problem in self.problems]
        states = [entry.state for entry in self.entries]
        totals = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        bad = sum(bool(entry.problems) for entry in self.entries)
        lines.append(f"{', '.join(totals) or 'nothing found'}; {bad or 'none'} with problems")
        return "\n".join(lines) + "\n"


def merge(server: Report, signer: Report) -> Report:
    """Both reports as one, with what only both together show: who can sign for which collection."""
    keys = {entry.gun: entry for entry in signer.entries}
    entries = [_joined(entry, keys.pop(entry.gun, None)) for entry in server.entries]
    return Report(
        program="troth",
        dry_run=server.dry_run,
        # Keys without files: a publisher asked for them and never published, or the collection was deleted.
        entries=(*entries, *keys.values()),
        problems=(*server.problems, *signer.problems),
    )


def _joined(files: Entry, keys: Entry | None) -> Entry:
    held = set(keys.keys) if keys else set()
    problems, notes = [*files.problems], [*files.notes]
    if keys is not None:
        problems += keys.problems
        notes += keys.notes
    online = files.online
    if online and not held.issuperset(online.get("timestamp", ())):
        problems.append("its timestamp key is not in the signer: it is served as it is until its timestamp expires")
    if online and not held.issuperset(online.get("snapshot", ())):
        notes.append("its snapshot key is its publisher's")
    state = files.state
    if keys is not None and files.state == PRESENT and keys.state != PRESENT:
        state = keys.state
    return replace(files, state=state, keys=tuple(sorted(held)), problems=tuple(problems), notes=tuple(notes))


def _entry(fields: dict[str, Any]) -> Entry:
    for name in ("keys", "problems", "notes"):
        fields[name] = tuple(fields[name])
    fields["online"] = {role: tuple(ids) for role, ids in fields["online"].items()}
    return Entry(**fields)


def _printable(text: str) -> str:
    """`text` on one line: it may come from a stranger's database."""
    return "".join(c if c.isprintable() else "?" for c in text[:500])
