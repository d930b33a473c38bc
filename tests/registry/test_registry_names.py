# SPDX-License-Identifier: Apache-2.0
"""Names, lists of names, the ping and unknown paths (REGISTRY_API §1; §2, rows 1 and 8)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pushes import Site, code_of, digest_of

APP = "library/app"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


@pytest.mark.parametrize(
    "name",
    [
        "UPPER/case",
        "-lead/x",
        "a//b",
        "/a",
        "a/",
        "a/.b",
        "a/../b",
        "..",
        "a/..",
        "a..b",
        "a/b..c",
        "a%2Fb",
        "a%2fb",
        "a%2F..%2Fb",
        "a%00",
        "a%0Ab",
        "a%5Cb",
        "a%20b",
        "a\u0301",
        "a*",
        "a" * 201,
        "a/" * 150 + "a",
        "localhost:5000/a",
        "localhost/a",
    ],
)
def test_a_name_that_is_none_is_400_on_every_route(site: Site, name: str) -> None:
    """R1.1."""
    digest = digest_of(b"x")
    upload = "00000000-0000-4000-8000-000000000000"
    for method, rest in (
        ("GET", "tags/list"),
        ("GET", "manifests/1"),
        ("HEAD", f"manifests/{digest}"),
        ("PUT", "manifests/1"),
        ("DELETE", "manifests/1"),
        ("GET", f"blobs/{digest}"),
        ("DELETE", f"blobs/{digest}"),
        ("GET", f"referrers/{digest}"),
        ("POST", "blobs/uploads/"),
        ("GET", f"blobs/uploads/{upload}"),
        ("PATCH", f"blobs/uploads/{upload}"),
        ("PUT", f"blobs/uploads/{upload}?digest={digest}"),
        ("DELETE", f"blobs/uploads/{upload}"),
    ):
        answer = site.send(method, f"/v2/{name}/{rest}", headers=site.push(APP))
        assert answer.status_code == 400, (method, rest, answer.text)
        if method != "HEAD":
            assert code_of(answer) == "NAME_INVALID"


def test_a_repository_that_seems_to_be_another_ones_full_name_cannot_be(tmp_path: Path) -> None:
    # Whoever may push to `app` may push to `registry.example/app`: they are one name in a token.
    site = Site(tmp_path, trust_mode="disabled", hosts=("registry.example",))
    site.push_image("app", "1")
    for rights in (site.push("app"), site.push("registry.example/app")):
        answer = site.send("POST", "/v2/registry.example/app/blobs/uploads/", headers=rights)
        assert (answer.status_code, code_of(answer)) == (400, "NAME_INVALID")
        mount = f"/v2/app/blobs/uploads/?mount={digest_of(b'x')}&from=registry.example/app"
        assert site.send("POST", mount, headers=rights).status_code == 202  # nothing is there to be mounted
        assert site.get("/v2/app/manifests/1", rights).status_code == 200
    site.push_image("registry.example", "1")  # without a path it is nobody else's name
    site.push_image("registry.example.org/app", "1")


@pytest.mark.parametrize(
    "name", ["a", "a/b/c", "a-b__c.d/e--f", "0", "a" * 200, "a/blobs", "x/tags/list", "a/manifests"]
)
def test_a_name_may_be_anything_else_also_that_of_a_route(site: Site, name: str) -> None:
    """R1.4."""
    image = site.push_image(name, "1")
    assert site.get(f"/v2/{name}/manifests/1", site.pull(name)).data == image.manifest
    assert site.get(f"/v2/{name}/tags/list", site.pull(name)).json == {"name": name, "tags": ["1"]}
    for blob in (image.config, *image.layers):
        assert site.get(f"/v2/{name}/blobs/{digest_of(blob)}", site.pull(name)).data == blob


@pytest.mark.parametrize("name", ["blobs/uploads", "a/blobs/uploads", "manifests/blobs/tags"])
def test_a_name_is_read_from_the_right(site: Site, name: str) -> None:
    """R1.4."""
    image = site.push_image(name, "1")
    assert site.get(f"/v2/{name}/manifests/{image.digest}", site.pull(name)).data == image.manifest


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/", "/v2/x", "/v2/a/manifests/", "/v2/a/manifests", "/v2/a/tags", "/v2/a/x/1", "/v3", "/v2/../x"],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
def test_an_unknown_path_is_404_in_the_envelope(site: Site, method: str, path: str) -> None:
    answer = site.send(method, path, headers=site.push(APP))
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_method_that_is_not_there_is_405_with_those_that_are(site: Site) -> None:
    answer = site.send("POST", f"/v2/{APP}/manifests/1")
    assert (answer.status_code, code_of(answer)) == (405, "UNSUPPORTED")
    assert {"GET", "HEAD", "PUT", "DELETE"} <= set(answer.headers["Allow"].replace(" ", "").split(","))
    assert site.send("OPTIONS", f"/v2/{APP}/manifests/1").status_code == 405


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_ping_says_that_this_is_a_registry(site: Site, path: str) -> None:
    """R2.1."""
    for ask in (site.get, site.head):
        answer = ask(path, site.token())
        assert answer.status_code == 200
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert site.get(path, site.token()).json == {}


def test_every_answer_tells_the_version_errors_included(site: Site) -> None:
    """R2.1."""
    for answer in (
        site.get("/v2/"),
        site.get(f"/v2/{APP}/manifests/1", site.pull(APP)),
        site.get("/v2/UPPER/manifests/1", site.pull(APP)),
        site.send("POST", f"/v2/{APP}/manifests/1"),
    ):
        assert answer.status_code >= 400
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


TAGS = ["10", "9", "A", "B", "a", "a-1", "a.1", "z"]


def push_tags(site: Site) -> None:
    """Push one image under all tags, in no order."""
    site.push_image(APP, *reversed(TAGS))


@pytest.mark.parametrize(
    ("query", "listed", "more"),
    [
        ("", TAGS, False),
        ("?n=3", TAGS[:3], True),
        ("?n=3&last=A", TAGS[3:6], True),
        ("?last=a", TAGS[5:], False),
        ("?last=zz", [], False),
        ("?n=8", TAGS, False),
        ("?n=999999999", TAGS, False),
        ("?n=0", [], False),
        ("?last=B.not.there", TAGS[4:], False),
    ],
)
def test_tags_are_listed_in_pages_and_in_ascii_order(site: Site, query: str, listed: list[str], more: bool) -> None:
    """R2.8."""
    push_tags(site)
    answer = site.get(f"/v2/{APP}/tags/list{query}", site.pull(APP))
    assert (answer.status_code, answer.json) == (200, {"name": APP, "tags": listed})
    assert ("Link" in answer.headers) == more


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_following_the_links_gives_every_tag_once(site: Site, number: int) -> None:
    """R2.8."""
    push_tags(site)
    seen: list[str] = []
    path = f"/v2/{APP}/tags/list?n={number}"
    while path:
        answer = site.get(path, site.pull(APP))
        assert answer.json is not None
        seen += answer.json["tags"]
        link = re.fullmatch(r'<(/[^>]+)>; rel="next"', answer.headers.get("Link", ""))
        path = link[1] if link else ""
    assert seen == TAGS


@pytest.mark.parametrize(
    "query", ["n=-1", "n=x", "n=", "n=1.5", "n=9999999999", "n=\u0661", "last=%00", "last=%C3%A9"]
)
def test_a_page_that_is_none_is_400(site: Site, query: str) -> None:
    """R2.8."""
    push_tags(site)
    for path, rights in (
        (f"/v2/{APP}/tags/list", site.pull(APP)),
        ("/v2/_catalog", site.token("registry:catalog:*")),
    ):
        answer = site.get(f"{path}?{query}", rights)
        assert (answer.status_code, code_of(answer)) == (400, "PAGINATION_NUMBER_INVALID")


def test_a_repository_without_tags_has_a_list_and_an_unknown_one_has_none(site: Site) -> None:
    """R2.8."""
    site.push_image(APP)
    assert site.get(f"/v2/{APP}/tags/list", site.pull(APP)).json == {"name": APP, "tags": []}
    answer = site.get("/v2/no/such/tags/list", site.pull("no/such"))
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")


def test_the_catalog_lists_repositories_in_pages(site: Site) -> None:
    """R2.15."""
    for name in ("c", "a/b", "a"):
        site.push_image(name, "1")
    rights = site.token("registry:catalog:*")
    assert site.get("/v2/_catalog", rights).json == {"repositories": ["a", "a/b", "c"]}
    answer = site.get("/v2/_catalog?n=2", rights)
    assert answer.json == {"repositories": ["a", "a/b"]}
    assert answer.headers["Link"] == '</v2/_catalog?n=2&last=a%2Fb>; rel="next"'
    assert site.get("/v2/_catalog?n=2&last=a%2Fb", rights).json == {"repositories": ["c"]}
