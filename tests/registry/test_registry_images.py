# SPDX-License-Identifier: Apache-2.0
"""Pushing and pulling manifests over HTTP (REGISTRY_API §2, rows 3 and 7; §4)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pushes import LAYER_TYPE, Site, code_of, descriptor, digest_of, image_manifest, index_manifest, index_of
from registry.manifests import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX

APP = "library/app"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


@pytest.mark.parametrize("reference", ["1", "digest"])
def test_a_manifest_comes_back_byte_for_byte(site: Site, reference: str) -> None:
    """R2.3, R2.7a."""
    image = site.push_image(APP)
    data = image.manifest + b"\n \n"
    digest = digest_of(data)
    reference = digest if reference == "digest" else reference
    pushed = site.put_manifest(APP, reference, data)
    assert (pushed.status_code, pushed.headers["Location"]) == (201, f"/v2/{APP}/manifests/{digest}")
    assert pushed.headers["Docker-Content-Digest"] == digest
    for ask in (site.get, site.head):
        answer = ask(f"/v2/{APP}/manifests/{reference}", site.pull(APP))
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == OCI_IMAGE
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(len(data))
        assert answer.headers["ETag"] == f'"{digest}"'
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.data == (data if ask == site.get else b"")


def test_a_manifest_is_known_by_the_digest_that_was_asked_for(site: Site) -> None:
    """R2.20."""
    image = site.push_image(APP, "1")
    long = digest_of(image.manifest, "sha512")
    assert site.put_manifest(APP, long, image.manifest).headers["Docker-Content-Digest"] == long
    for digest in (image.digest, long):
        answer = site.get(f"/v2/{APP}/manifests/{digest}", site.pull(APP))
        assert (answer.data, answer.headers["Docker-Content-Digest"]) == (image.manifest, digest)
    assert site.head(f"/v2/{APP}/manifests/1", site.pull(APP)).headers["Docker-Content-Digest"] == image.digest


def test_an_image_of_sha512_parts_can_be_pushed(site: Site) -> None:
    for data in (b"{}", b"layer"):
        site.push_blob(APP, data, "sha512")
    manifest = image_manifest(b"{}", [b"layer"], algorithm="sha512")
    assert site.put_manifest(APP, digest_of(manifest, "sha512"), manifest).status_code == 201


@pytest.mark.parametrize("media_type", [DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX])
def test_the_stored_type_is_served_whatever_is_accepted(site: Site, media_type: str) -> None:
    """R4.1, R4.2, R4.3."""
    image = site.push_image(APP)
    data = (
        index_manifest([image.manifest], media_type=media_type)
        if media_type in (DOCKER_LIST, OCI_INDEX)
        else image_manifest(image.config, image.layers, media_type=media_type)
    )
    assert site.put_manifest(APP, "1", data, f"{media_type}; charset=utf-8").status_code == 201
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "text/html"}, {"Accept": OCI_IMAGE}):
        answer = site.get(f"/v2/{APP}/manifests/1", {**site.pull(APP), **accept})
        assert (answer.status_code, answer.headers["Content-Type"], answer.data) == (200, media_type, data)


def test_a_client_that_has_the_manifest_gets_304(site: Site) -> None:
    """R2.3."""
    image = site.push_image(APP, "1")
    for reference in ("1", image.digest):
        for ask in (site.get, site.head):
            answer = ask(f"/v2/{APP}/manifests/{reference}", site.pull(APP), If_None_Match=f'"{image.digest}"')
            assert (answer.status_code, answer.data) == (304, b"")


def test_one_push_may_make_many_tags(site: Site) -> None:
    """R2.7b."""
    image = site.push_image(APP)
    tags = [f"t{number}" for number in range(20)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = site.put_manifest(APP, f"{image.digest}?{query}", image.manifest)
    assert answer.headers.getlist("OCI-Tag") == sorted(tags)
    assert site.get(f"/v2/{APP}/manifests/t19", site.pull(APP)).data == image.manifest
    query = "&".join(f"tag=t{number}" for number in range(65))
    assert site.put_manifest(APP, f"{image.digest}?{query}", image.manifest).status_code == 414
    answer = site.put_manifest(APP, f"{image.digest}?tag=a/b", image.manifest)
    assert (answer.status_code, code_of(answer)) == (400, "TAG_INVALID")


@pytest.mark.parametrize("tag", ["a" * 129, ".a", "-a", "caf\u00e9", "a%00", "a%0A", "a b"])
def test_a_tag_that_is_none_is_400(site: Site, tag: str) -> None:
    """R1.2, R2.7a."""
    image = site.push_image(APP)
    answer = site.put_manifest(APP, tag, image.manifest)
    assert (answer.status_code, code_of(answer)) == (400, "TAG_INVALID")


def test_a_tag_may_have_128_characters(site: Site) -> None:
    assert site.push_image(APP, "a" * 128)
    assert site.get(f"/v2/{APP}/manifests/{'a' * 128}", site.pull(APP)).status_code == 200


@pytest.mark.parametrize("digest", ["sha256:zz", "sha256:", "sha512:" + "0" * 64, "md5:" + "0" * 32, ":", "a:b"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_digest_that_is_none_is_400(site: Site, method: str, digest: str) -> None:
    """R1.3, R2.22."""
    for kind in ("manifests", "blobs"):
        if (kind, method) != ("blobs", "PUT"):
            answer = site.send(method, f"/v2/{APP}/{kind}/{digest}", b"{}")
            assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")


def test_a_manifest_of_another_digest_is_400(site: Site) -> None:
    """R2.7a, R2.22."""
    image = site.push_image(APP)
    answer = site.put_manifest(APP, digest_of(b"other"), image.manifest)
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none_is_400(site: Site, data: bytes) -> None:
    """R2.7a."""
    answer = site.put_manifest(APP, "1", data, OCI_IMAGE)
    assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")


def test_a_manifest_of_missing_parts_is_refused_and_they_are_named(site: Site) -> None:
    """R2.7a, R4.4."""
    answer = site.put_manifest(APP, "1", image_manifest(b"config", [b"layer"]))
    assert answer.status_code == 400
    errors = answer.get_json()["errors"]
    assert {each["code"] for each in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    missing = sorted([digest_of(b"config"), digest_of(b"layer")])
    assert [each["detail"] for each in errors] == [{"digest": digest} for digest in missing]
    assert errors[1]["message"] == f"{APP} lacks {missing[1]}, 2 of 2 missing parts of the manifest"
    many = site.put_manifest(APP, "1", image_manifest(b"config", [b"layer %d" % number for number in range(150)]))
    assert len(many.get_json()["errors"]) == 100
    assert "1 of 151 missing parts" in many.text
    answer = site.put_manifest(APP, "1", index_manifest([image_manifest(b"config", [])]))
    assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_sparse_manifest_is_taken_if_the_operator_says_so_and_its_parts_may_follow(tmp_path: Path) -> None:
    # OCI distribution-spec, Push: a registry "MAY reject a manifest" whose parts are missing; ours need not.
    site = Site(tmp_path, trust_mode="disabled", sparse_manifests=True)
    here, later = site.push_image(APP, seed="amd64"), image_manifest(b"config", [b"layer"])
    index = index_manifest([here.manifest, later])
    assert site.put_manifest(APP, "1", index).status_code == 201
    assert site.get(f"/v2/{APP}/manifests/1", site.pull(APP)).data == index
    absent = site.get(f"/v2/{APP}/manifests/{digest_of(later)}", site.pull(APP))
    assert (absent.status_code, code_of(absent)) == (404, "MANIFEST_UNKNOWN")
    assert site.put_manifest(APP, digest_of(later), later).status_code == 201
    assert site.get(f"/v2/{APP}/manifests/{digest_of(later)}", site.pull(APP)).data == later
    layer = f"/v2/{APP}/blobs/{site.push_blob(APP, b'layer')}"
    assert site.get(layer, site.pull(APP)).data == b"layer"
    kept = site.send("DELETE", layer)
    assert (kept.status_code, code_of(kept)) == (405, "UNSUPPORTED")  # the manifest names it, and was there before it


def test_a_foreign_layer_need_not_be_pushed(site: Site) -> None:
    """R2.21, R4.4."""
    site.push_blob(APP, b"{}")
    foreign = descriptor(b"elsewhere", LAYER_TYPE, urls=["https://example.com/layer"])
    manifest = json.dumps(json.loads(image_manifest(b"{}", [])) | {"layers": [foreign]}).encode()
    assert site.put_manifest(APP, "1", manifest).status_code == 201


def test_indexes_may_be_nested_empty_and_of_plain_content(site: Site) -> None:
    """R2.25."""
    image = site.push_image(APP)
    index = index_manifest([image.manifest])
    layer = descriptor(image.layers[0], LAYER_TYPE)
    for data in (index, index_manifest([index]), index_manifest([]), index_of([layer])):
        assert site.put_manifest(APP, digest_of(data), data).status_code == 201


def test_a_manifest_of_up_to_4_mib_is_taken_and_no_more(site: Site) -> None:
    """R2.26, R2.7a."""
    site.push_blob(APP, b"{}")
    short = image_manifest(b"{}", [])
    largest = short + b" " * (4 * 2**20 - len(short))
    assert site.put_manifest(APP, "1", largest, OCI_IMAGE).status_code == 201
    assert site.get(f"/v2/{APP}/manifests/1", site.pull(APP)).data == largest
    answer = site.put_manifest(APP, "2", largest + b" ", OCI_IMAGE)
    assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")


def test_the_limit_counts_bytes_and_believes_no_header(site: Site) -> None:
    """R2.26."""

    class Counted(io.BytesIO):
        """A body that says how much of it was read."""

        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counted.taken += len(data)
            return data

    answer = site.client.put(
        f"/v2/{APP}/manifests/1",
        input_stream=Counted(b" " * (64 << 20)),
        headers=site.push(APP),
        content_type=OCI_IMAGE,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")
    assert Counted.taken < 32 << 20  # the limit, and what is drained so that the client reads the answer


def test_an_answer_without_a_body_has_no_content_type(site: Site) -> None:
    # REGISTRY_API §2: rows 4a, 5, 6, 7a, 9, 10, 13 and 14 answer with headers alone.
    begun = site.start(APP)
    location = begun.headers["Location"]
    appended = site.send("PATCH", location, b"config")
    asked = site.send("GET", location)
    finished = site.send("PUT", f"{location}?digest={digest_of(b'config')}")
    mounted = site.client.post(
        f"/v2/other/app/blobs/uploads/?mount={digest_of(b'config')}&from={APP}", headers=site.push(APP, "other/app")
    )
    pushed = site.put_manifest(APP, "1", image_manifest(b"config", []))
    untagged = site.send("DELETE", f"/v2/{APP}/manifests/1")
    deleted = site.send("DELETE", f"/v2/other/app/blobs/{digest_of(b'config')}")
    cancelled = site.send("DELETE", site.start(APP).headers["Location"])
    answers = [begun, appended, asked, finished, mounted, pushed, untagged, deleted, cancelled]
    assert [answer.status_code for answer in answers] == [202, 202, 204, 201, 201, 201, 202, 202, 204]
    for answer in answers:
        assert answer.data == b""
        assert "Content-Type" not in answer.headers


def test_an_unknown_manifest_is_404(site: Site) -> None:
    """R2.3."""
    site.push_image(APP, "1")
    for reference in ("2", digest_of(b"other")):
        answer = site.get(f"/v2/{APP}/manifests/{reference}", site.pull(APP))
        assert (answer.status_code, code_of(answer)) == (404, "MANIFEST_UNKNOWN")
    answer = site.get("/v2/no/such/manifests/1", site.pull("no/such"))
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")
