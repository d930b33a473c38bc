# SPDX-License-Identifier: Apache-2.0
"""The report of a take-over: what people, programs and shells are told."""

from __future__ import annotations

import pytest

from trust.errors import InvalidError
from trust.takeover import (
    DONE,
    EXTENDED,
    IMPORTED,
    NOTHING_DONE,
    PRESENT,
    PROBLEMS,
    REFUSED,
    Entry,
    Report,
    merge,
)

GUN = "localhost:5000/library/app"


def report(*entries: Entry, problems: tuple[str, ...] = ()) -> Report:
    return Report(program="troth-server", dry_run=False, entries=entries, problems=problems)


def entry(state: str, *problems: str, gun: str = GUN) -> Entry:
    return Entry(gun=gun, state=state, problems=problems)


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (report(entry(IMPORTED), entry(PRESENT), entry(EXTENDED)), DONE),
        (report(), NOTHING_DONE),
        (report(entry(REFUSED, "no"), entry(REFUSED, "no")), NOTHING_DONE),
        (report(entry(IMPORTED), entry(REFUSED, "no")), PROBLEMS),
        (report(entry(IMPORTED, "half")), PROBLEMS),
        (report(entry(IMPORTED), problems=("stopped",)), PROBLEMS),
    ],
)
def test_the_status_says_whether_all_some_or_nothing_is_good(made: Report, status: int) -> None:
    assert made.status == status


def test_a_report_can_be_read_again() -> None:
    full = Entry(
        gun=GUN,
        state=IMPORTED,
        files=7,
        changes=3,
        keys=("a",),
        online={"timestamp": ("a",)},
        problems=("p",),
        notes=("n",),
    )
    made = report(full, problems=("q",))
    assert Report.from_json(made.to_json()) == made


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"guns": [1]}', b'{"guns": [{"gun": "x"}]}'])
def test_something_else_is_not_taken_for_a_report(data: bytes) -> None:
    with pytest.raises(InvalidError):
        Report.from_json(data)


def test_a_name_cannot_forge_a_line_of_the_table() -> None:
    said = report(entry(REFUSED, "bad", gun="x\n  localhost:5000/good  imported")).table()
    assert "\n  localhost:5000/good" not in said


def test_together_they_show_who_cannot_be_signed_for() -> None:
    online = {"timestamp": ("t",), "snapshot": ("s",)}
    server = report(Entry(gun=GUN, state=IMPORTED, online=online))
    both = merge(server, report(Entry(gun=GUN, state=IMPORTED, keys=("s", "t"))))
    assert (both.status, both.entries[0].problems, both.entries[0].notes) == (DONE, (), ())
    snapshot_elsewhere = merge(server, report(Entry(gun=GUN, state=IMPORTED, keys=("t",))))
    assert (snapshot_elsewhere.status, snapshot_elsewhere.entries[0].problems) == (DONE, ())
    assert snapshot_elsewhere.entries[0].notes == ("its snapshot key is its publisher's",)
    for signer in (report(), report(Entry(gun=GUN, state=REFUSED, problems=("no",)))):
        none = merge(server, signer)
        assert none.status == PROBLEMS
        assert "its timestamp key is not in the signer" in none.entries[0].problems[-1]


def test_keys_without_files_are_in_the_report() -> None:
    both = merge(report(entry(IMPORTED)), report(Entry(gun="other", state=IMPORTED, keys=("k",))))
    assert [each.gun for each in both.entries] == [GUN, "other"]
