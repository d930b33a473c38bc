# SPDX-License-Identifier: Apache-2.0
"""Each limit at its edge: so much is taken, and no more (docs/reference/limits.md).

Limits of manifests, names and blobs are with what they limit: `test_registry_manifests`, `test_registry_images`,
`test_registry_names` and `test_registry_blobs`.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse

from people import ADMIN, PASSWORD, People
from pushes import Site, code_of, digest_of
from registry.accounts.api.operations import MAX_BODY_BYTES
from registry.accounts.garant import MAX_FORM_BYTES
from registry.errors import (
    DigestInvalidError,
    NameInvalidError,
    RangeInvalidError,
    SizeInvalidError,
    TagInvalidError,
    UploadInvalidError,
)
from registry.uploads import COUNTED
from registry.views.blobs import byte_range
from registry.views.bodies import chunk
from registry.views.manifests import MAX_TAGS
from registry.views.routes import parse_reference, parse_repository
from registry.views.tags import MAX_PAGE
from trust.names import Digest, Tag
from world import APP, World

BLOB = b"a blob"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A registry where each user may have two uploads open."""
    world = World(tmp_path, trust_mode="disabled", max_uploads=2)
    yield world
    world.database.dispose()


def begin(
    world: World, user: str = "alice", repository: str = APP, query: str = "", data: bytes = b""
) -> TestResponse:
    """Begin an upload."""
    headers = world.token(repository, "pull,push", user=user)
    return world.request("POST", f"{repository}/blobs/uploads/{query}", headers, data=data)


def proceed(world: World, method: str, begun: TestResponse, query: str = "", data: bytes = b"") -> int:
    """Go on with an upload of alice's."""
    path = begun.headers["Location"].removeprefix("/v2/") + query
    return world.request(method, path, world.token(APP, "pull,push", user="alice"), data=data).status_code


def refused(answer: TestResponse) -> None:
    """Whether it is told when to come again, and in words that OCI clients know."""
    assert (answer.status_code, code_of(answer)) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_user_has_so_many_uploads_open_at_once_in_all_repositories(world: World) -> None:
    """R5.2."""
    assert begin(world).status_code == begin(world, repository="library/other").status_code == 202
    refused(begin(world))
    refused(begin(world, query=f"?digest={digest_of(BLOB)}", data=BLOB))
    assert begin(world, "bob").status_code == 202


def test_an_upload_that_ends_makes_room(world: World) -> None:
    first, second = begin(world), begin(world)
    refused(begin(world))
    assert proceed(world, "PATCH", first, data=BLOB) == 202
    refused(begin(world))
    assert proceed(world, "PUT", first, f"?digest={digest_of(BLOB)}") == 201
    assert begin(world).status_code == 202
    refused(begin(world))
    assert proceed(world, "DELETE", second) == 204
    assert begin(world).status_code == 202


def test_a_refused_upload_leaves_nothing_and_a_mount_needs_no_room(world: World) -> None:
    world.push_blob("library/other", BLOB)
    begin(world)
    begin(world)
    refused(begin(world))
    assert world.settings.content_folder is not None
    assert len(list((world.settings.content_folder / "uploads").iterdir())) == 2
    scopes = (f"repository:{APP}:pull,push", "repository:library/other:pull")
    query = f"{APP}/blobs/uploads/?mount={digest_of(BLOB)}&from=library/other"
    assert world.request("POST", query, world.tokens(*scopes, user="alice")).status_code == 201


def test_what_a_killed_client_left_behind_does_not_shut_it_out_for_long(world: World) -> None:
    first = begin(world)
    begin(world)
    world.now += COUNTED - timedelta(hours=1)
    refused(begin(world))
    assert proceed(world, "PATCH", first, data=BLOB) == 202  # this one is alive
    world.now += timedelta(hours=2)
    assert begin(world).status_code == 202
    refused(begin(world))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


def test_a_push_makes_so_many_tags_and_no_more(site: Site) -> None:
    """R2.7b."""
    image = site.push_image(APP)
    for count, status in ((MAX_TAGS + 1, 414), (MAX_TAGS, 201)):
        query = urlencode([("tag", f"t{number}") for number in range(count)])
        assert site.put_manifest(APP, f"{image.digest}?{query}", image.manifest).status_code == status
    assert site.get(f"/v2/{APP}/tags/list", site.pull(APP)).get_json()["tags"] == sorted(
        f"t{number}" for number in range(MAX_TAGS)
    )


def test_a_page_holds_so_many_names_and_no_more_whatever_was_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2.8: CVE-2023-2253."""
    assert MAX_PAGE <= 10_000
    monkeypatch.setattr("registry.views.tags.MAX_PAGE", 3)
    site.push_image(APP, "1", "2", "3", "4")
    for number in ("3", "4", "999999999"):
        answer = site.get(f"/v2/{APP}/tags/list?n={number}", site.pull(APP))
        assert answer.get_json()["tags"] == ["1", "2", "3"]
        assert answer.headers["Link"] == f'</v2/{APP}/tags/list?n=3&last=3>; rel="next"'


@pytest.mark.parametrize(("path", "kind", "limit"), [
    ("/auth/token", "application/x-www-form-urlencoded", MAX_FORM_BYTES),
    ("/api/v1/users", "application/json", MAX_BODY_BYTES),
])  # fmt: skip
def test_a_body_that_is_kept_in_memory_has_a_limit(tmp_path: Path, path: str, kind: str, limit: int) -> None:
    people = People(tmp_path)
    for size, is_taken in ((limit, True), (limit + 1, False)):
        for announced in (True, False):
            answer = people.app.test_client().post(
                path,
                input_stream=io.BytesIO(b" " * size),
                headers={"Content-Length": str(size)} if announced else {},
                auth=(ADMIN, PASSWORD),
                content_type=kind,
                environ_overrides={"wsgi.input_terminated": True},
            )
            assert answer.status_code == (400 if is_taken else 413)
            assert code_of(answer) == ("INVALID_PARAMETERS" if is_taken else "SIZE_INVALID")
    people.close()


@settings(max_examples=60)
@given(st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True) | st.text(), st.integers(0, 60))
@example("bytes=0-59", 60)
@example("bytes=-1", 0)
def test_a_range_is_a_part_of_the_blob_or_the_whole_or_an_error(header: str, size: int) -> None:
    """R2.2, R2.19."""
    try:
        part = byte_range(header, size)
    except RangeInvalidError:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size


@settings(max_examples=60)
@given(
    st.from_regex(r"(bytes )?[0-9]{1,20}-[0-9]{1,20}(/(\*|[0-9]{1,20}))?", fullmatch=True)
    | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00")),
    st.integers(0, 40),
)
@example("5-9", 5)
@example("5-9", 6)
def test_a_content_range_says_as_much_as_comes_or_is_an_error(header: str, size: int) -> None:
    """R2.5."""
    environ = EnvironBuilder(method="PATCH", headers=[("Content-Range", header)]).get_environ()
    environ["CONTENT_LENGTH"] = str(size)
    with Flask("test").request_context(environ):
        try:
            given = chunk()
        except (UploadInvalidError, SizeInvalidError):
            return
        first, last = re.findall(r"[0-9]+", header)[:2]
        assert (given.start, given.length) == (int(first), size)
        assert int(last) - int(first) + 1 == size


@given(st.text() | st.text("aZ0._-:/\n\x00", max_size=8) | st.from_regex(r"sha(256|512):[0-9a-fA-F]*"))
def test_what_passes_for_a_reference_is_one_and_stays_in_its_part_of_the_path(text: str) -> None:
    """R1.2, R1.3."""
    try:
        reference = parse_reference(text)
    except DigestInvalidError:
        assert ":" in text
        return
    except TagInvalidError:
        assert ":" not in text
        return
    assert isinstance(reference, Digest if ":" in text else Tag)
    assert quote(reference, safe=":") == reference == text


@given(st.text() | st.text("aA0._-/\n", max_size=12))
def test_what_passes_for_a_repository_name_is_a_clean_path(text: str) -> None:
    """R1.1."""
    try:
        name = parse_repository(text)
    except NameInvalidError:
        return
    assert posixpath.normpath(f"/v2/{name}") == f"/v2/{text}"
    assert quote(name) == name.lower() == name
    assert len(name) <= 200
