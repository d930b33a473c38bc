# SPDX-License-Identifier: Apache-2.0
"""Two registries on one database, of each kind: races are decided once, and nothing that was believed goes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from urllib.parse import unquote

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pushes import Site, digest_of, image_manifest
from registry import migrations, repositories
from registry.accounts.admin import add_user, grant, list_users
from registry.accounts.logins import LoginError, Logins
from registry.accounts.models import LoginFailure
from registry.accounts.policy import Level
from registry.app import DATABASE
from registry.blobs import StoredBlob, expect_blob, find_blob, hold_blob
from registry.errors import ManifestUnknownError, TagImmutableError
from registry.inserts import insert_or_find
from registry.manifests import parse
from registry.models import BlobRow, ManifestEdgeRow, ManifestRow, RepositoryRow, TagHistoryRow
from registry.policies import Mode, Namespace, Policies, Policy
from registry.storage.file import FileStorage
from registry.trustcache import DatabaseCache
from registry.uploads import Chunk, Uploads
from trust.names import TARGETS, Gun, RepositoryName, RoleName, Tag
from trust.web.database import Database
from trust.web.migrations import upgrade

NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
APP = RepositoryName("library/app")
GUN = Gun("localhost:5000/library/app")
MANY = 8
Pair = tuple[Database, Database]


@pytest.fixture
def databases(database_url: str) -> Iterator[Pair]:
    """One database, as two processes see it."""
    pair = Database(database_url), Database(database_url)
    upgrade(pair[0], migrations)
    yield pair
    for database in pair:
        database.dispose()


def together(act: Callable[[int], object], count: int = MANY) -> None:
    """Do `act` for each number at the same time."""
    barrier = Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        act(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


def push(session: Session, data: bytes, *tags: str, actor: str = "alice", keep: bool = False) -> None:
    """Put an image's manifest, whose parts are held; its tags may be immutable."""
    repositories.put_manifest(
        session,
        APP,
        parse(data, ""),
        data,
        digest=digest_of(data),
        tags=[Tag(tag) for tag in tags],
        actor=actor,
        now=NOW,
        keep=lambda _tag: keep,
    )


def hold(database: Database, *blobs: bytes) -> None:
    """Let the repository hold `blobs`."""
    with database.write() as session:
        number = repositories.ensure_repository(session, APP)
        for data in blobs:
            sha256, size = digest_of(data).encoded, len(data)
            expect_blob(session, sha256=sha256, sha512=None, size=size, now=NOW)
            hold_blob(session, number, StoredBlob(sha256, None, size))


def counted(database: Database, kind: type) -> int | None:
    """How many rows there are."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(kind))


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    site = Site(tmp_path, database_url=database_url, trust_mode="disabled")
    yield site
    site.app.extensions[DATABASE].dispose()


def test_an_image_is_pushed_listed_pulled_and_deleted(site: Site) -> None:
    image, headers = site.push_image(APP, "v1", "V1"), site.push(APP)
    assert site.get(f"/v2/{APP}/tags/list", headers).get_json()["tags"] == ["V1", "v1"]
    assert site.get(f"/v2/{APP}/manifests/v1", headers).headers["Docker-Content-Digest"] == image.digest
    assert site.client.delete(f"/v2/{APP}/manifests/{image.digest}", headers=headers).status_code == 202
    assert site.get(f"/v2/{APP}/manifests/V1", headers).status_code == 404


@pytest.mark.parametrize("strange", ["%C3%A9", "%00", "%F0%9F%A4%94", "%FF", "x" * 3000, "%27"])
def test_what_no_name_holds_is_not_found_or_refused_in_every_database(site: Site, strange: str) -> None:
    image, headers = site.push_image(APP, "v1"), site.push(APP)
    for path in (
        f"tags/list?last={strange}",
        f"referrers/{image.digest}?artifactType={strange}",
        f"referrers/{image.digest}?last={strange}",
        f"manifests/{strange}",
        f"blobs/uploads/{strange}",
    ):
        assert site.get(f"/v2/{APP}/{path}", headers).status_code in (200, 400, 404), path
    for name, password in ((strange, "x"), ("alice", strange)):
        answer = site.client.get("/auth/token?service=troth", auth=(unquote(name), unquote(password)))
        assert answer.status_code in (401, 404)


def test_one_layer_that_is_pushed_many_times_at_once_becomes_one_blob(databases: Pair, tmp_path: Path) -> None:
    data, names = b"layer" * 1000, [APP, RepositoryName("library/other"), RepositoryName("alice/new")]
    processes = [
        Uploads(database, FileStorage(tmp_path / "content"), lambda: NOW, max_bytes=1 << 20) for database in databases
    ]

    def upload(number: int) -> None:
        uploads, name = processes[number % 2], names[number % 3]  # all three are new
        upload = uploads.start(name, "sha256", "alice")
        uploads.append(name, upload.id, Chunk([data[:2000]]))
        assert uploads.finish(name, upload.id, digest_of(data), Chunk([data[2000:]])).size == len(data)

    together(upload, 12)
    assert counted(databases[0], BlobRow) == 1
    assert counted(databases[0], RepositoryRow) == 3
    with databases[1].read() as session:
        assert all(find_blob(session, name, digest_of(data)) for name in names)


def test_one_manifest_that_is_pushed_many_times_at_once_is_one_with_all_its_tags(databases: Pair) -> None:
    image = image_manifest(b"{}", [b"layer"])
    hold(databases[0], b"{}", b"layer")
    together(lambda number: databases[number % 2].transact(lambda s: push(s, image, "latest", f"tag-{number}")))
    assert counted(databases[0], ManifestRow) == 1
    assert counted(databases[0], ManifestEdgeRow) == 2
    with databases[1].read() as session:
        assert len(repositories.list_tags(session, APP, "", 99)) == MANY + 1


def test_of_many_moves_of_one_tag_each_is_remembered_where_it_came_from(databases: Pair) -> None:
    images = [image_manifest(b"{}", [b"%d" % number]) for number in range(MANY)]
    hold(databases[0], b"{}", *(b"%d" % number for number in range(MANY)))
    together(lambda number: databases[number % 2].transact(lambda s: push(s, images[number], "latest")))
    with databases[0].read() as session:
        moves = session.execute(select(TagHistoryRow.before, TagHistoryRow.after)).all()
        now = repositories.resolve_tag(session, APP, Tag("latest"))
    befores, afters = [before for before, _ in moves], [after for _, after in moves]
    assert sorted(map(str, afters)) == sorted(digest_of(image) for image in images)
    # A chain: nothing is left twice, and what is never left is what the tag names now.
    assert len(set(befores)) == len(befores) == MANY
    assert set(afters) - set(befores) == {now}


def test_tags_that_are_moved_and_deleted_at_once_leave_a_whole_repository(databases: Pair) -> None:
    images = [image_manifest(b"{}", [b"%d" % number]) for number in range(2)]
    hold(databases[0], b"{}", b"0", b"1")
    for image in images:
        databases[0].transact(lambda session, image=image: push(session, image, "latest"))  # type: ignore[misc]

    def delete(session: Session) -> None:
        with suppress(ManifestUnknownError):  # another deleted it
            repositories.delete_manifest(session, APP, digest_of(images[0]), actor="bob", now=NOW)

    def act(number: int) -> None:
        database = databases[number % 2]
        if number % 4 == 3:
            database.transact(delete)
        else:
            database.transact(lambda session: push(session, images[number % 2], "latest"))

    together(act, 12)
    with databases[0].read() as session:
        digest = repositories.resolve_tag(session, APP, Tag("latest"))
        assert digest is None or repositories.find_manifest(session, APP, digest) is not None


def test_of_many_who_make_one_row_one_does_and_all_get_it(databases: Pair) -> None:
    made: list[bool] = []
    numbers: set[int] = set()

    def work(session: Session) -> tuple[int, bool]:
        row = RepositoryRow(name=str(APP))
        found = insert_or_find(session, row, select(RepositoryRow).where(RepositoryRow.name == APP).with_for_update())
        return found.id, found is row

    def act(number: int) -> None:
        row, fresh = databases[number % 2].transact(work)
        numbers.add(row)
        made.append(fresh)

    together(act, 12)
    assert len(numbers) == 1
    assert made.count(True) == 1


def test_what_was_believed_never_goes_back_whoever_was_last(databases: Pair) -> None:
    caches = [DatabaseCache(database) for database in databases]
    versions = [5, 2, 12, 1, 9, 3, 11, 4, 10, 6, 8, 7]
    together(lambda number: caches[number % 2].save(GUN, TARGETS, versions[number], b"%d" % versions[number]), 12)
    assert [cache.load(GUN, TARGETS) for cache in caches] == [b"12", b"12"]
    caches[0].save(GUN, TARGETS, 11, b"11")
    assert caches[1].load(GUN, TARGETS) == b"12"


def test_policies_that_are_changed_at_once_keep_every_change(databases: Pair) -> None:
    policies = Policies(Policy(Mode.ENFORCED), "localhost:5000")

    def act(number: int) -> None:
        def work(session: Session) -> None:
            if number % 2:
                policies.change(session, APP, mode=Mode.PERMISSIVE)
            else:
                policies.change(session, APP, roles=[RoleName("targets/a")])

        databases[number % 2].transact(work)

    together(act)
    with databases[0].read() as session:
        assert policies.of(session, APP) == Policy(Mode.PERMISSIVE, (RoleName("targets/a"),))


def test_of_many_who_push_an_immutable_tag_at_once_one_does(databases: Pair) -> None:
    images = [image_manifest(b"{}", [b"%d" % number]) for number in range(MANY)]
    hold(databases[0], b"{}", *(b"%d" % number for number in range(MANY)))
    refused: list[int] = []

    def act(number: int) -> None:
        try:
            databases[number % 2].transact(lambda session: push(session, images[number], "v1", keep=True))
        except TagImmutableError:
            refused.append(number)

    together(act)
    assert len(refused) == MANY - 1
    with databases[1].read() as session:
        (winner,) = set(range(MANY)) - set(refused)
        assert repositories.resolve_tag(session, APP, Tag("v1")) == digest_of(images[winner])
        # Of the others nothing was kept.
        found = [repositories.find_manifest(session, APP, digest_of(image)) for image in images]
        assert sum(each is not None for each in found) == 1


def test_a_policy_is_put_together_from_the_nearest_to_the_widest(databases: Pair) -> None:
    policies = Policies(Policy(Mode.ENFORCED), "localhost:5000")
    repository = RepositoryName("a/bc/d/app")

    def work(session: Session) -> None:
        for days, scope in enumerate(("a/", "a/bc/", "a/bc/d/", "a/bc/d/app/", "b/"), start=1):
            policies.change(session, Namespace(scope), grace_days=days)

    databases[0].transact(work)
    with databases[1].read() as session:
        assert policies.sources(session, repository) == ["a/bc/d/", "a/bc/", "a/"]
        assert policies.of(session, repository).grace_days == 3


def test_grants_and_wrong_passwords_at_once_are_all_counted(databases: Pair) -> None:
    add_user(databases[0], "alice", "correct horse", is_admin=False, now=NOW)
    levels = list(Level)
    together(lambda number: grant(databases[number % 2], "alice", APP, levels[number % 3]))
    (alice,) = list_users(databases[1])
    assert [repository for repository, _ in alice.levels] == [APP]

    def fail(number: int) -> None:
        with pytest.raises(LoginError):
            Logins(databases[number % 2], "troth").with_password("alice", "wrong", "192.0.2.1", NOW)

    together(fail, 6)
    with databases[0].read() as session:
        assert session.scalars(select(LoginFailure.failures)).all() == [6]
