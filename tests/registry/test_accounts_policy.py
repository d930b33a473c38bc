# SPDX-License-Identifier: Apache-2.0
"""Who may do what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounts.policy import Account, Level, Place, decide
from trust.errors import InvalidError
from trust.tokens import Access, Sites, format_scope, parse_scopes

SITES = Sites(("localhost:5000",))
ADMIN = Account(1, "admin", is_admin=True)
ALICE = Account(2, "alice", is_admin=False)


def decided(account: Account | None, scope: str, place: str = "library/app", app: Level | None = None) -> str:
    """What `account` gets of `scope`, in sorted order, with the level `app` in `place`."""
    (access,) = parse_scopes([scope])
    granted = decide(account, {place: app} if app else {}, access, SITES)
    assert format_scope(granted).rpartition(":")[0] == scope.rpartition(":")[0]  # the name as it was asked
    return ",".join(sorted(granted.actions))


@pytest.mark.parametrize(
    ("level", "granted"),
    [(Level.READ, "pull"), (Level.READ_WRITE, "delete,pull,push"), (Level.ADMIN, "*,delete,pull,push")],
)
def test_a_level_gives_its_actions(level: Level, granted: str) -> None:
    assert decided(ALICE, "repository:library/app:*,pull,push,delete", app=level) == granted
    assert decided(ALICE, "repository:library/app:pull", app=level) == "pull"
    assert decided(ALICE, "repository:library/app:", app=level) == ""
    assert decided(ALICE, "repository:library/other:pull", app=level) == ""
    assert decided(ALICE, "repository:library/app/below:pull", app=level) == ""


def test_the_trust_collection_is_the_repository() -> None:
    """AUTH-A04, R6.8"""
    for host in ("localhost:5000/", "LOCALHOST:5000/", ""):
        assert decided(ALICE, f"repository:{host}library/app:push,pull", app=Level.READ_WRITE) == "pull,push"
    assert decided(ALICE, "repository:evil.example.com/library/app:pull", app=Level.ADMIN) == ""
    assert decided(ALICE, "repository:evil.example.com:5000/library/app:pull", app=Level.ADMIN) == ""


def test_what_begins_with_the_sites_own_name_is_nobodys() -> None:
    localhost = Account(3, "localhost", is_admin=False)
    for account in (ADMIN, localhost):
        for name in ("localhost/app", "localhost:5000/localhost/app"):
            for place in ("localhost/", name):
                levels = {place: Level.ADMIN}
                (access,) = parse_scopes([f"repository:{name}:pull,push"])
                assert decide(account, levels, access, SITES).actions == frozenset()
    assert decided(ADMIN, "repository:localhost:5000/localhost:pull,push") == "pull,push"


def test_a_level_in_a_namespace_is_one_in_all_its_repositories() -> None:
    for name in ("alice/app", "alice/deep/app", "localhost:5000/alice/app"):
        assert decided(ALICE, f"repository:{name}:*,pull", "alice/", Level.ADMIN) == "*,pull"
    for name in (
        "alice",
        "alice2/app",
        "al/app",
        "x/alice/app",
        "evil.example.com/alice/app",
        "alice//app",
        "alice/",
    ):
        assert decided(ALICE, f"repository:{name}:*,pull,push", "alice/", Level.ADMIN) == ""


def test_the_highest_level_counts() -> None:
    access = Access("repository", "alice/app", frozenset({"push"}))
    for levels in (
        {"alice/app": Level.READ, "alice/": Level.ADMIN},
        {"alice/app": Level.READ_WRITE, "alice/": Level.READ},
    ):
        assert decide(ALICE, levels, access, SITES) == access


def test_an_access_token_cuts_down_to_its_scope() -> None:
    everything = "repository:library/app:*,pull,push,delete"
    for level in Level:
        for limit in Level:
            got = decided(Account(2, "alice", False, limit), everything, app=level)
            assert set(got.split(",")) == level.actions & limit.actions
    for limit, actions in ((Level.READ, "pull"), (Level.READ_WRITE, "delete,pull,push")):
        assert decided(Account(1, "admin", True, limit), everything) == actions
        assert decided(Account(1, "admin", True, limit), "registry:catalog:*") == "*"  # names: to read


def test_an_administrator_gets_what_is_asked_for() -> None:
    for scope in ("repository:any/thing:*,pull,push", "repository:localhost:5000/any/thing:*", "registry:catalog:*"):
        assert decided(ADMIN, scope) == scope.rpartition(":")[2]


def test_the_catalog_is_for_administrators_only() -> None:
    assert decided(ALICE, "registry:catalog:*") == ""
    assert decided(ADMIN, "registry:other:*") == ""


def test_the_anonymous_get_what_is_public_to_pull_and_never_more() -> None:
    """R6.9."""
    assert decided(None, "repository:library/app:pull") == ""
    assert decided(None, "registry:catalog:*") == ""
    for level in Level:
        assert decided(None, "repository:library/app:*,pull,push,delete", app=level) == "pull"


@pytest.mark.parametrize("text", ["library/app", "app", "a/b/c", "library/", f"{'a' * 198}/"])
def test_a_place_is_a_repository_or_a_namespace(text: str) -> None:
    assert Place(text) == text
    assert Place(text).namespace == (text.split("/")[0] if "/" in text else "")


@pytest.mark.parametrize("text", ["", "*", "/", "a/b/", "A/", "library/*", "*/app", "a*", f"{'a' * 199}/", "a//"])
def test_nothing_else_is_a_place(text: str) -> None:
    with pytest.raises(InvalidError):
        Place(text)


@pytest.mark.parametrize("name", ["Library/App", "a//b", "a/../b", "/a", "a/", "a___b", "*", "é", "a:1/b", "a" * 201])
def test_what_is_no_repository_name_gives_nothing_even_to_an_administrator(name: str) -> None:
    assert decided(ADMIN, f"repository:{name}:pull,push,*") == ""


scopes = st.text("abcrepositoyulish:/.,*()-5", max_size=60) | st.text(max_size=40)


@given(
    st.sampled_from([None, ALICE, ADMIN]),
    st.lists(scopes | scopes.map("repository:{}:pull,*".format), max_size=4),
    st.dictionaries(st.sampled_from(["library/app", "library/", "a"]), st.sampled_from(Level)),
)
def test_nobody_gets_more_than_was_asked_for(
    account: Account | None, asked: list[str], levels: dict[str, Level]
) -> None:
    try:
        parsed = parse_scopes(asked)
    except InvalidError:
        return
    for access in parsed:
        granted = decide(account, levels, access, SITES)
        assert granted.actions <= access.actions
        assert (granted.type, granted.name, granted.class_) == (access.type, access.name, access.class_)
