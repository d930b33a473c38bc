# SPDX-License-Identifier: Apache-2.0
"""`registry.repositories` and `registry.blobs`: what a repository holds, and what names what."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, make_url, select
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from pushes import CONFIG_TYPE, LAYER_TYPE, descriptor, digest_of, image_manifest, index_manifest, index_of
from registry import migrations, repositories
from registry.base import Base
from registry.blobs import StoredBlob, blob_sources, expect_blob, find_blob, hold_blob, release_blob
from registry.errors import BlobUnknownError, ManifestUnknownError, MissingChildError, UnsupportedError
from registry.manifests import OCI_IMAGE, parse
from registry.models import BlobRow, ManifestEdgeRow, ManifestRow, RepositoryBlobRow, TagHistoryRow, TagRow
from registry.repositories import StoredManifest
from trust.names import Digest, RepositoryName, Tag
from trust.web.database import Database
from trust.web.migrations import upgrade

APP, OTHER = RepositoryName("library/app"), RepositoryName("library/other")
NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
CONFIG, LAYER = b"{}", b"layer"
IMAGE = image_manifest(CONFIG, [LAYER])
INDEX = index_manifest([IMAGE])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The registry's tables, empty."""
    database = Database(database_url)
    upgrade(database, migrations)
    yield database
    database.dispose()


def hold(session: Session, *blobs: bytes, repository: RepositoryName = APP) -> None:
    """Let `repository` hold `blobs`, known by both digests."""
    number = repositories.ensure_repository(session, repository)
    for data in blobs:
        sha256, sha512 = (digest_of(data, algorithm).encoded for algorithm in ("sha256", "sha512"))
        expect_blob(session, sha256=sha256, sha512=sha512, size=len(data), now=NOW)
        hold_blob(session, number, StoredBlob(sha256, sha512, len(data)))


def put(
    session: Session,
    data: bytes,
    *tags: str,
    algorithm: str = "sha256",
    repository: RepositoryName = APP,
    actor: str = "alice",
) -> StoredManifest:
    """Put a manifest."""
    return repositories.put_manifest(
        session,
        repository,
        parse(data, ""),
        data,
        digest=digest_of(data, algorithm),
        tags=[Tag(tag) for tag in tags],
        actor=actor,
        now=NOW,
    )


def names(stored: Iterable[StoredManifest]) -> list[Digest]:
    """Their digests."""
    return [each.digest for each in stored]


@pytest.mark.parametrize("pushed_by", ["sha256", "sha512"])
def test_a_manifest_is_found_by_either_digest(database: Database, pushed_by: str) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, algorithm=pushed_by)
    with database.read() as session:
        for asked in (digest_of(IMAGE), digest_of(IMAGE, "sha512")):
            stored = repositories.find_manifest(session, APP, asked)
            assert stored is not None
            assert stored.digest == digest_of(IMAGE, pushed_by)
            assert (stored.media_type, stored.size, stored.artifact_type) == (OCI_IMAGE, len(IMAGE), CONFIG_TYPE)
            assert repositories.read_manifest(session, APP, asked) == IMAGE
        assert repositories.find_manifest(session, OTHER, digest_of(IMAGE)) is None


def test_a_tag_keeps_the_digest_that_its_pusher_used(database: Database) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, "short")
        put(session, IMAGE, "long", algorithm="sha512")
    with database.read() as session:
        assert repositories.resolve_tag(session, APP, Tag("short")) == digest_of(IMAGE)
        assert repositories.resolve_tag(session, APP, Tag("long")) == digest_of(IMAGE, "sha512")
        assert session.scalar(select(func.count(ManifestRow.id))) == 1


@pytest.mark.parametrize("child", ["sha256", "sha512"])
@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_parents_are_found_by_either_algorithm(database: Database, child: str, asked: str) -> None:
    index = index_of([descriptor(IMAGE, OCI_IMAGE, algorithm=child)])
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE)
        put(session, index)
    with database.read() as session:
        assert names(repositories.parents(session, APP, digest_of(IMAGE, asked))) == [digest_of(index)]
        assert repositories.parents(session, OTHER, digest_of(IMAGE, asked)) == []
        assert repositories.parents(session, APP, digest_of(index)) == []


@pytest.mark.parametrize("child", ["sha256", "sha512"])
@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_holders_are_found_by_either_algorithm(database: Database, child: str, asked: str) -> None:
    image = image_manifest(CONFIG, [LAYER], algorithm=child)
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, image)
    with database.read() as session:
        for blob in (CONFIG, LAYER):
            assert names(repositories.holders(session, APP, digest_of(blob, asked))) == [digest_of(image)]
            assert repositories.holders(session, OTHER, digest_of(blob, asked)) == []


def test_a_subject_makes_neither_a_parent_nor_a_holder(database: Database) -> None:
    signature = image_manifest(CONFIG, [], subject=descriptor(IMAGE, OCI_IMAGE))
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE)
        put(session, signature)
    with database.read() as session:
        assert repositories.parents(session, APP, digest_of(IMAGE)) == []
        assert repositories.holders(session, APP, digest_of(IMAGE)) == []
        (found,) = repositories.referrers(session, APP, digest_of(IMAGE), artifact_type=None, last="", limit=9)
        assert (found.digest, found.subject) == (digest_of(signature), digest_of(IMAGE))


def test_referrers_are_found_by_either_digest_of_their_subject(database: Database) -> None:
    one = image_manifest(CONFIG, [], subject=descriptor(IMAGE, OCI_IMAGE))
    two = image_manifest(CONFIG, [], subject=descriptor(IMAGE, OCI_IMAGE, algorithm="sha512"))
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        for data in (IMAGE, one, two):
            put(session, data)
    with database.read() as session:
        for algorithm in ("sha256", "sha512"):
            asked = digest_of(IMAGE, algorithm)
            found = repositories.referrers(session, APP, asked, artifact_type=None, last="", limit=9)
            assert names(found) == sorted((digest_of(one), digest_of(two)))


def test_what_a_manifest_names_is_written_with_it_or_not_at_all(database: Database) -> None:
    """R4.5."""
    with database.write() as session:
        hold(session, CONFIG, LAYER)

    def die_after_the_manifest() -> None:
        with database.write() as session:
            put(session, IMAGE, "1")
            raise RuntimeError("the process dies")

    with pytest.raises(RuntimeError, match="dies"):
        die_after_the_manifest()
    with database.read() as session:
        for row in (ManifestRow, ManifestEdgeRow, TagRow, TagHistoryRow):
            assert session.scalar(select(func.count()).select_from(row)) == 0


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (IMAGE, [digest_of(CONFIG), digest_of(LAYER)]),
        (INDEX, [digest_of(IMAGE)]),
        (index_of([descriptor(LAYER, LAYER_TYPE)]), [digest_of(LAYER)]),
    ],
)
def test_what_a_manifest_needs_must_be_in_its_own_repository(
    database: Database, data: bytes, missing: list[str]
) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER, repository=OTHER)
        put(session, IMAGE, repository=OTHER)
    with pytest.raises(MissingChildError) as caught, database.write() as session:
        put(session, data)
    assert [detail for _, detail in caught.value.entries()] == [{"digest": digest} for digest in sorted(missing)]
    with database.read() as session:
        assert not repositories.exists_repository(session, APP)


def test_hundreds_of_layers_are_looked_up_and_found(database: Database) -> None:
    layers = [f"layer {number}".encode() for number in range(1200)]
    with database.write() as session:
        hold(session, CONFIG)
        rows = [BlobRow(sha256=digest_of(data).encoded, size=len(data), created=NOW) for data in layers]
        session.add_all(rows)
        session.flush()
        number = repositories.ensure_repository(session, APP)
        session.add_all(RepositoryBlobRow(repository_id=number, blob_id=row.id) for row in rows)
        put(session, image_manifest(CONFIG, layers))
        with pytest.raises(MissingChildError):
            put(session, image_manifest(CONFIG, [*layers, b"missing"]))


def test_every_move_of_a_tag_is_remembered(database: Database) -> None:
    """R4.6."""
    second = image_manifest(CONFIG, [])
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, "1", actor="alice")
        put(session, IMAGE, "1", actor="nobody")  # stays where it is
        put(session, second, "1", actor="bob")
        repositories.delete_tag(session, APP, Tag("1"), actor="carol", now=NOW)
    with database.read() as session:
        history = session.scalars(select(TagHistoryRow).order_by(TagHistoryRow.id)).all()
        assert [(row.actor, row.before, row.after) for row in history] == [
            ("alice", None, digest_of(IMAGE)),
            ("bob", digest_of(IMAGE), digest_of(second)),
            ("carol", digest_of(second), None),
        ]
        assert {row.moved for row in history} == {NOW}


def test_deleting_a_tag_leaves_the_manifest(database: Database) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, "1", "2")
        repositories.delete_tag(session, APP, Tag("1"), actor="", now=NOW)
        assert repositories.list_tags(session, APP, "", 9) == ["2"]
        assert repositories.find_manifest(session, APP, digest_of(IMAGE)) is not None
        with pytest.raises(ManifestUnknownError):
            repositories.delete_tag(session, APP, Tag("1"), actor="", now=NOW)


@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_deleting_a_manifest_deletes_its_tags_and_what_it_names(database: Database, asked: str) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, "1", "2")
        repositories.delete_manifest(session, APP, digest_of(IMAGE, asked), actor="", now=NOW)
    with database.read() as session:
        assert repositories.list_tags(session, APP, "", 9) == []
        assert repositories.holders(session, APP, digest_of(LAYER)) == []
        assert repositories.find_manifest(session, APP, digest_of(IMAGE)) is None
    with pytest.raises(ManifestUnknownError), database.write() as session:
        repositories.delete_manifest(session, APP, digest_of(IMAGE), actor="", now=NOW)


@pytest.mark.parametrize("asked", ["sha256", "sha512"])
def test_a_blob_that_a_manifest_names_stays(database: Database, asked: str) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE)
        with pytest.raises(UnsupportedError):
            release_blob(session, APP, digest_of(LAYER, asked))
        repositories.delete_manifest(session, APP, digest_of(IMAGE), actor="", now=NOW)
        release_blob(session, APP, digest_of(LAYER, asked))
        assert find_blob(session, APP, digest_of(LAYER)) is None
        with pytest.raises(BlobUnknownError):
            release_blob(session, APP, digest_of(LAYER))


def test_a_blob_that_one_repository_lets_go_stays_with_the_other(database: Database) -> None:
    with database.write() as session:
        hold(session, LAYER, repository=APP)
        hold(session, LAYER, repository=OTHER)
        assert blob_sources(session, digest_of(LAYER)) == [APP, OTHER]
        release_blob(session, APP, digest_of(LAYER))
        assert blob_sources(session, digest_of(LAYER)) == [OTHER]


def test_names_are_sorted_as_ascii_and_tags_differ_by_case(database: Database) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        put(session, IMAGE, "b", "B", "a.1", "a-1", "a", "_", "10", "9")
        assert repositories.list_tags(session, APP, "", 99) == ["10", "9", "B", "_", "a", "a-1", "a.1", "b"]
        assert repositories.list_tags(session, APP, "A", 2) == ["B", "_"]


def test_a_repository_is_listed_once_it_has_a_manifest(database: Database) -> None:
    with database.write() as session:
        hold(session, CONFIG, LAYER)
        hold(session, CONFIG, LAYER, repository=OTHER)
        put(session, IMAGE, repository=OTHER)
        assert repositories.list_repositories(session, "", 9) == [OTHER]


def test_many_may_push_the_same_image_to_a_new_repository_at_once(database: Database) -> None:
    failures: list[BaseException] = []

    def push(number: int) -> None:
        def work(session: Session) -> None:
            hold(session, CONFIG, LAYER)
            put(session, IMAGE, "latest", f"tag-{number}")

        try:
            database.transact(work)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as session:
        assert len(repositories.list_tags(session, APP, "", 99)) == 9
        assert session.scalar(select(func.count(ManifestRow.id))) == 1


def made_in(database: str, table: str) -> str:
    """The statement that makes a table in a kind of database."""
    dialect = make_url(f"{database}://").get_dialect()()
    return str(CreateTable(Base.metadata.tables[table]).compile(dialect=dialect))


@pytest.mark.parametrize(
    ("kind", "collation"),
    [
        ("postgresql", 'COLLATE "C"'),
        ("mysql", "COLLATE utf8mb4_bin"),
        ("mariadb", "COLLATE utf8mb4_bin"),
        ("sqlite", "VARCHAR(128)"),  # SQLite folds nothing
    ],
)
def test_every_database_compares_tags_byte_for_byte(kind: str, collation: str) -> None:
    (name,) = [line for line in made_in(kind, "tags").splitlines() if "\tname " in line]
    assert collation in name


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb", "sqlite"])
def test_every_database_can_make_all_tables(kind: str) -> None:
    for table in Base.metadata.tables:
        assert made_in(kind, table)
