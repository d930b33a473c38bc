# SPDX-License-Identifier: Apache-2.0
"""Verified metadata, kept: one contract for every cache, so that nothing that was believed can be taken back."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databases import KINDS, new_database
from registry import migrations
from registry.trustcache import DatabaseCache
from trust.cache import Cache, FileCache, MemoryCache
from trust.errors import UnavailableError
from trust.names import Gun, RoleName
from trust.web.database import Database
from trust.web.migrations import upgrade

GUN = Gun("localhost:5000/library/app")
ROOT, TARGETS, TIMESTAMP = RoleName("root"), RoleName("targets"), RoleName("timestamp")
RELEASES, DEEP = RoleName("targets/releases"), RoleName("targets/releases/a-b_c/0")


def file(version: int, note: str = "") -> bytes:
    return json.dumps({"signed": {"version": version, "note": note}, "signatures": []}).encode()


@pytest.fixture(params=["memory", "folder", *KINDS])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Cache]]:
    """Opens the cache; a second time, it is another object over the same files (but for the one in memory)."""
    opened: list[Database] = []
    memory = MemoryCache()
    urls = ExitStack()
    url = ""
    if request.param not in ("memory", "folder"):
        url = urls.enter_context(new_database(request.param, request, tmp_path))

    def open_cache() -> Cache:
        if request.param == "memory":
            return memory
        if request.param == "folder":
            return FileCache(tmp_path / "cache")
        opened.append(Database(url))
        upgrade(opened[-1], migrations)
        return DatabaseCache(opened[-1])

    with urls:
        yield open_cache
        for database in opened:
            database.dispose()


@pytest.fixture
def cache(reopen: Callable[[], Cache]) -> Cache:
    return reopen()


# The contract.


def test_an_empty_cache_holds_nothing(cache: Cache) -> None:
    for role in (ROOT, TARGETS, RELEASES):
        assert cache.load(GUN, role) is None


@pytest.mark.parametrize("role", [ROOT, TARGETS, TIMESTAMP, RELEASES, DEEP])
def test_what_was_kept_is_there_byte_for_byte(reopen: Callable[[], Cache], role: RoleName) -> None:
    data = file(1, "é\u2028") + b"\n\x00\xff"
    reopen().save(GUN, role, 1, data)
    assert reopen().load(GUN, role) == data


def test_a_higher_version_replaces_a_lower_one_and_never_the_other_way(reopen: Callable[[], Cache]) -> None:
    reopen().save(GUN, TARGETS, 5, file(5))
    for version in (4, 1, 0):
        reopen().save(GUN, TARGETS, version, file(version))
        assert reopen().load(GUN, TARGETS) == file(5)
    reopen().save(GUN, TARGETS, 6, file(6))
    assert reopen().load(GUN, TARGETS) == file(6)
    reopen().save(GUN, TARGETS, 2**31 - 1, file(2**31 - 1))
    assert reopen().load(GUN, TARGETS) == file(2**31 - 1)


def test_the_same_version_may_be_kept_again(cache: Cache) -> None:
    cache.save(GUN, ROOT, 2, file(2, "one"))
    cache.save(GUN, ROOT, 2, file(2, "two"))
    assert cache.load(GUN, ROOT) == file(2, "two")


def test_roles_and_collections_are_kept_apart(cache: Cache) -> None:
    names = [
        GUN,
        Gun("localhost:5000/library/ap"),
        Gun("localhost:5000/library/app/x"),
        Gun("localhost:5001/library/app"),
    ]
    roles = [ROOT, TARGETS, RELEASES, DEEP]
    for i, gun in enumerate(names):
        for j, role in enumerate(roles):
            cache.save(gun, role, 1 + i * 10 + j, file(1 + i * 10 + j))
    for i, gun in enumerate(names):
        for j, role in enumerate(roles):
            assert cache.load(gun, role) == file(1 + i * 10 + j)
    cache.drop(GUN, TARGETS)
    assert cache.load(GUN, TARGETS) is None
    assert cache.load(GUN, RELEASES) == file(3)
    assert cache.load(names[1], TARGETS) == file(12)


@pytest.mark.parametrize(
    ("gun", "role", "other", "others_role"),
    [
        ("a", "targets/metadata/root", "a/metadata/targets", "root"),
        ("a", "targets/metadata/timestamp", "a/metadata/targets", "timestamp"),
        ("a", "targets/x/metadata/targets/y", "a/metadata/targets/x", "targets/y"),
        ("a", "root", "a/metadata/root.json", "root"),
        ("a", "targets", "a/metadata/targets.json/b", "root"),
        ("a", "targets/metadata/targets/metadata/root", "a/metadata/targets/metadata/targets", "root"),
    ],
)
def test_a_role_is_not_taken_for_another_collections(
    cache: Cache, gun: str, role: str, other: str, others_role: str
) -> None:
    one, another = (Gun(gun), RoleName(role)), (Gun(other), RoleName(others_role))
    cache.save(*one, 2**31 - 1, file(2**31 - 1))
    assert cache.load(*another) is None
    cache.save(*another, 1, file(1))
    assert cache.load(*another) == file(1)
    cache.drop(*one)
    assert (cache.load(*one), cache.load(*another)) == (None, file(1))


@pytest.mark.parametrize(
    "gun",
    ["app", "localhost:5000/library/app", "[::1]:5000/a.b/c-d__e", "reg.example.com/a/b/c/d", "...", "a..b/c", "~/x",
     "with space/x", "é/ü", "a%2Fb", "metadata", "tuf/metadata/root.json", "x" * 255, "a/" * 127 + "a", "C:\\x"],
)  # fmt: skip
def test_any_name_can_be_kept(cache: Cache, gun: str) -> None:
    cache.save(Gun(gun), DEEP, 3, file(3))
    assert cache.load(Gun(gun), DEEP) == file(3)
    assert cache.load(Gun(gun), ROOT) is None


def test_names_that_differ_in_case_are_kept_apart(cache: Cache) -> None:
    cache.save(Gun("reg/App"), ROOT, 1, file(1))
    cache.save(Gun("reg/app"), ROOT, 2, file(2))
    assert cache.load(Gun("reg/App"), ROOT) == file(1)


def test_after_a_drop_any_version_may_come(reopen: Callable[[], Cache]) -> None:
    reopen().save(GUN, TIMESTAMP, 2**31 - 1, file(2**31 - 1))
    reopen().drop(GUN, TIMESTAMP)
    assert reopen().load(GUN, TIMESTAMP) is None
    reopen().save(GUN, TIMESTAMP, 1, file(1))
    assert reopen().load(GUN, TIMESTAMP) == file(1)


def test_dropping_what_is_not_there_is_no_error(cache: Cache) -> None:
    cache.drop(GUN, RELEASES)
    cache.drop(Gun("never/seen"), ROOT)


def test_of_concurrent_writers_the_highest_version_stays(reopen: Callable[[], Cache]) -> None:
    writers, rounds = 8, 12
    start = threading.Barrier(writers)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            cache = reopen()
            start.wait(30)
            for turn in range(rounds):
                version = 1 + (turn * writers + number) * 7 % (rounds * writers)
                cache.save(GUN, RELEASES, version, file(version))
                kept = json.loads(cache.load(GUN, RELEASES) or b"")["signed"]["version"]
                assert kept >= version
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert reopen().load(GUN, RELEASES) == file(rounds * writers)


def test_a_large_file_is_kept_whole(cache: Cache) -> None:
    data = file(1, "x" * 2**21)
    cache.save(GUN, TARGETS, 1, data)
    assert cache.load(GUN, TARGETS) == data


# The database's own act.


def test_only_an_administrator_makes_a_database_forget_a_collection(database_url: str) -> None:
    database = Database(database_url)
    upgrade(database, migrations)
    cache = DatabaseCache(database)
    other = Gun("localhost:5000/library/app2")
    for gun in (GUN, other):
        cache.save(gun, ROOT, 3, file(3))
        cache.save(gun, RELEASES, 3, file(3))
    assert cache.forget(GUN)
    assert not cache.forget(GUN)
    assert [cache.load(GUN, role) for role in (ROOT, RELEASES)] == [None, None]
    assert [cache.load(other, role) for role in (ROOT, RELEASES)] == [file(3)] * 2
    database.dispose()


# The folder.


def test_the_folder_has_the_layout_of_the_go_clients(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    cache.save(GUN, ROOT, 1, file(1))
    cache.save(GUN, RELEASES, 1, file(1))
    metadata = tmp_path / "tuf" / "localhost:5000" / "library" / "app" / "metadata"
    assert (metadata / "root.json").read_bytes() == file(1)
    assert (metadata / "targets" / "releases.json").read_bytes() == file(1)


_GUNS = st.lists(
    st.sampled_from(["a", "metadata", "targets", "root.json", "targets.json", ".lock"]), min_size=1, max_size=6
)
_ROLES = st.lists(st.sampled_from(["a", "metadata", "targets", "root", "_trust"]), min_size=1, max_size=6)


@given(st.lists(st.tuples(_GUNS.map("/".join), _ROLES.map("/".join)), min_size=2, max_size=2, unique=True))
def test_no_two_files_share_a_place_and_none_is_in_the_way_of_another(names: list[tuple[str, str]]) -> None:
    cache = FileCache(Path("/cache"))
    one, other = (cache._path(Gun(gun), RoleName(f"targets/{role}")) for gun, role in names)
    tops = [cache._path(Gun(gun), RoleName(role)) for gun, _ in names for role in ("root", "targets")]
    for first, second in combinations({one, other, *tops}, 2):
        assert first not in second.parents
        assert second not in first.parents
    assert one != other
    assert one not in tops
    assert other not in tops


def test_a_cache_of_the_go_clients_can_be_used(tmp_path: Path) -> None:
    metadata = tmp_path / "tuf" / GUN / "metadata" / "targets"
    metadata.mkdir(parents=True)
    (metadata / "releases.json").write_bytes(file(9))
    cache = FileCache(tmp_path)
    cache.save(GUN, RELEASES, 8, file(8))
    assert cache.load(GUN, RELEASES) == file(9)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_may_read_or_write_what_is_kept(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        cache = FileCache(tmp_path / "new" / "cache")
        for role in (ROOT, RELEASES, DEEP):
            cache.save(GUN, role, 1, file(1))
            cache.save(GUN, role, 2, file(2))
    finally:
        os.umask(before)
    made = list((tmp_path / "new").rglob("*"))
    assert len(made) > 9
    for path in [tmp_path / "new", *made]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_nothing_is_written_before_something_is_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    assert cache.load(GUN, ROOT) is None
    cache.drop(GUN, ROOT)
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_file_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = FileCache(tmp_path)
    for version in range(1, 5):
        cache.save(GUN, ROOT, version, file(version))
    left = sorted(path.name for path in (tmp_path / "tuf" / GUN / "metadata").iterdir())
    assert left == [".lock", "root.json"]


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"[]", b'{"signed":{"version":"9"}}', b"\xff" * 100])
def test_a_damaged_file_protects_nothing_and_is_replaced(tmp_path: Path, garbage: bytes) -> None:
    cache = FileCache(tmp_path)
    cache.save(GUN, TARGETS, 1, file(1))
    (tmp_path / "tuf" / GUN / "metadata" / "targets.json").write_bytes(garbage)
    cache.save(GUN, TARGETS, 1, file(1))
    assert cache.load(GUN, TARGETS) == file(1)


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    cache = FileCache(blocked)
    assert cache.load(GUN, ROOT) is None
    with pytest.raises(UnavailableError, match="cannot be kept"):
        cache.save(GUN, ROOT, 1, file(1))


def test_what_cannot_be_read_is_an_error_and_not_an_empty_cache(tmp_path: Path) -> None:
    # An unreadable file that counted as "never seen" would bring back trust on first use.
    (tmp_path / "tuf" / GUN / "metadata" / "root.json").mkdir(parents=True)
    cache = FileCache(tmp_path)
    with pytest.raises(UnavailableError, match="cannot be read"):
        cache.load(GUN, ROOT)
    with pytest.raises(UnavailableError):
        cache.save(GUN, ROOT, 1, file(1))
    with pytest.raises(UnavailableError):
        cache.drop(GUN, ROOT)


def test_a_name_too_long_for_the_file_system_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        FileCache(tmp_path).save(Gun("é" * 255), ROOT, 1, file(1))
    with pytest.raises(UnavailableError):
        FileCache(tmp_path).load(Gun("é" * 255), ROOT)


def test_processes_that_write_at_once_keep_the_highest_version(tmp_path: Path) -> None:
    program = (
        "import sys, json; from pathlib import Path; from trust.cache import FileCache; from trust.names import *\n"
        "cache = FileCache(Path(sys.argv[1]))\n"
        "for v in range(int(sys.argv[2]), 400, 4):\n"
        "    cache.save(Gun('a/b'), RELEASES, v, json.dumps({'signed': {'version': v}}).encode())\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, tmp_path, str(number)]) for number in range(1, 5)]
    assert [process.wait() for process in running] == [0] * 4
    kept = FileCache(tmp_path).load(Gun("a/b"), RELEASES)
    assert kept is not None
    assert json.loads(kept)["signed"]["version"] == 400 - 1
