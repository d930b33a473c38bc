# SPDX-License-Identifier: Apache-2.0
"""`registry.rules`: however teams and their members overlap, no key counts twice."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from registry.rules import Ballot, seated
from trust.names import RoleName

ROLES = [RoleName(f"targets/{name}") for name in "abcd"]
PEOPLE = [b"1", b"2", b"3", b"4"]


def ballots(thresholds: st.SearchStrategy[int]) -> st.SearchStrategy[dict[RoleName, Ballot]]:
    """Teams with members, each signed by enough of them, as verified files are."""
    ballot = st.builds(Ballot, st.frozensets(st.sampled_from(PEOPLE), min_size=1), thresholds)
    whole = ballot.filter(lambda each: len(each.keys) >= each.threshold)
    return st.dictionaries(st.sampled_from(ROLES), whole)


def are_apart(chosen: tuple[Ballot, ...]) -> bool:
    """Whether there is a way to give each its keys and no key to two; every way is tried."""
    ways = [list(combinations(sorted(each.keys), each.threshold)) for each in chosen]
    return any(len(set(taken := [key for keys in way for key in keys])) == len(taken) for way in product(*ways))


def most(teams: dict[RoleName, Ballot]) -> int:
    """How many can be seated at best; every choice is tried."""
    counts = range(len(teams), 0, -1)
    return next((count for count in counts if any(map(are_apart, combinations(teams.values(), count)))), 0)


@given(ballots(st.just(1)))
def test_where_one_key_of_a_role_is_enough_as_many_are_seated_as_can_be(teams: dict[RoleName, Ballot]) -> None:
    found = seated(teams)
    assert are_apart(tuple(teams[role] for role in found))
    assert len(found) == most(teams)


@given(ballots(st.integers(1, 3)))
def test_whatever_the_thresholds_no_key_is_seated_twice(teams: dict[RoleName, Ballot]) -> None:
    found = seated(teams)
    assert are_apart(tuple(teams[role] for role in found))
    assert len(found) >= min(1, len(teams))  # one role alone always counts


def test_who_sits_for_one_team_makes_room_when_another_can_do_it() -> None:
    a, b, c = ROLES[:3]
    teams = {a: Ballot(frozenset({b"1", b"2"}), 1), b: Ballot(frozenset({b"1"}), 1), c: Ballot(frozenset({b"2"}), 1)}
    assert len(seated({a: teams[a], b: teams[b]})) == 2
    assert len(seated(teams)) == 2  # three teams, two people
