# SPDX-License-Identifier: Apache-2.0
"""What a signature covers besides the signed manifest: children of an index, config and layers, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from pushes import LAYER_TYPE, code_of, descriptor, digest_of, image_manifest, index_manifest, index_of
from registry import cases
from registry.manifests import DOCKER_LIST
from trust.names import Digest
from world import APP, World, denial, doubt, message

OTHER = "library/other"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SBOM_TYPE = "application/spdx+json"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def push_artifact(world: World, *, tag: str | None = None, subject: Digest | None = None, seed: str = "") -> Digest:
    """Push something that is no image: one layer of JSON, perhaps about `subject`."""
    content = json.dumps({"bill": seed}).encode()
    for data in (b"{}", content):
        world.push_blob(APP, data)
    manifest = json.loads(image_manifest(b"{}", [content], artifactType=SBOM_TYPE))
    manifest["config"]["mediaType"] = EMPTY_TYPE
    manifest["layers"][0]["mediaType"] = SBOM_TYPE
    if subject is not None:
        kind = json.loads(world.manifests[subject])["mediaType"]
        manifest["subject"] = descriptor(world.manifests[subject], kind)
    return world.push_manifest(APP, json.dumps(manifest).encode(), tag)


def listed(answer: TestResponse) -> list[str]:
    """The digests in a list of referrers."""
    assert answer.status_code == 200, answer.text
    return [entry["digest"] for entry in answer.get_json(force=True)["manifests"]]


@pytest.mark.parametrize("media_type", ["", DOCKER_LIST])
def test_e08_the_children_of_a_signed_index_are_served_with_all_they_need(world: World, media_type: str) -> None:
    """E08."""
    children = [world.push_image(APP, seed=seed) for seed in ("amd64", "arm64")]
    more = {"media_type": media_type} if media_type else {}
    index = world.push_index(APP, children, "1", **more)
    for digest in (index, *children):
        assert denial(world.manifest(APP, digest))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": index})
    for reference in ("1", index, *children):
        assert world.manifest(APP, reference).status_code == 200
    for blob in (*world.blobs(children[0]), *world.blobs(children[1])):
        assert world.blob(APP, blob).status_code == 200
    world.revoke(APP, "1")
    for digest in (index, *children):
        assert denial(world.manifest(APP, digest))["reason"] == "UNSIGNED"
    assert denial(world.blob(APP, world.blobs(children[1])[1]))["reason"] == "UNSIGNED"


def test_e08_an_index_that_nobody_signed_covers_nothing(world: World) -> None:
    """E08: neither its own children nor, by sharing one, those of another index."""
    shared, stray = world.push_image(APP, seed="shared"), world.push_image(APP, seed="stray")
    signed = world.push_index(APP, [shared], "1")
    unsigned = world.push_index(APP, [shared, stray], "2")
    world.publish(APP, {"1": signed})
    assert world.manifest(APP, shared).status_code == 200
    for digest in (unsigned, stray):
        assert denial(world.manifest(APP, digest))["reason"] == "UNSIGNED"
    assert denial(world.blob(APP, world.blobs(stray)[0]))["reason"] == "UNSIGNED"


def test_e08_a_signed_child_covers_nothing_above_or_beside_it(world: World) -> None:
    """E08."""
    signed, stray = world.push_image(APP, seed="signed"), world.push_image(APP, seed="stray")
    index = world.push_index(APP, [signed, stray], "1")
    world.publish(APP, {"child": signed})
    assert world.manifest(APP, signed).status_code == 200
    for digest in (index, stray):
        assert denial(world.manifest(APP, digest))["reason"] == "UNSIGNED"


def test_e08_a_child_under_a_tag_of_its_own_needs_a_signature_for_that_tag(world: World) -> None:
    """E08."""
    child = world.push_image(APP, "1-amd64")
    world.publish(APP, {"1": world.push_index(APP, [child], "1")})
    assert denial(world.manifest(APP, "1-amd64"))["tag"] == "1-amd64"
    assert world.manifest(APP, child).status_code == 200


def test_e08_an_index_of_another_repository_covers_nothing_here(world: World) -> None:
    """E08."""
    child = world.push_image(OTHER)
    world.publish(OTHER, {"1": world.push_index(OTHER, [child], "1")})
    world.push_image(APP)  # the same image
    world.publish(APP, {"x": world.push_image(APP, seed="x")})
    assert world.manifest(OTHER, child).status_code == 200
    assert denial(world.manifest(APP, child))["reason"] == "UNSIGNED"


def test_e09_indexes_in_indexes_are_followed_to_the_top(world: World) -> None:
    """E09."""
    image = world.push_image(APP)
    top = image
    for depth in range(20):
        top = world.push_index(APP, [top], annotations={"depth": str(depth)})
    assert denial(world.manifest(APP, image))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": top})
    assert world.manifest(APP, image).status_code == 200
    assert world.blob(APP, world.blobs(image)[0]).status_code == 200


def test_e09_one_index_above_thousands_of_children_is_one_question(world: World) -> None:
    """E09."""
    image = world.push_image(APP)
    described = descriptor(world.manifests[image], "application/vnd.oci.image.manifest.v1+json")
    index = world.push_manifest(APP, index_of([{**described, "platform": {"os": str(i)}} for i in range(4000)]), "1")
    world.publish(APP, {"1": index})
    asked = world.source.asked
    assert world.manifest(APP, image).status_code == 200
    assert world.source.asked - asked < 10


def test_e09_a_child_of_very_many_indexes_is_covered_by_whichever_is_signed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E09: nightly indexes name the same unchanged child again and again."""
    monkeypatch.setattr(cases, "MAX_LOOKUPS", 5)
    image = world.push_image(APP)
    indexes = [world.push_index(APP, [image], annotations={"night": str(night)}) for night in range(9)]
    for signed in (indexes[0], indexes[4], indexes[8]):
        world.publish(APP, {"1": signed})
        assert world.manifest(APP, image).status_code == 200
        assert world.blob(APP, world.blobs(image)[1]).status_code == 200


def test_e09_the_search_has_an_end_and_ends_with_a_refusal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """E09."""
    monkeypatch.setattr(cases, "MAX_LOOKUPS", 5)
    image = world.push_image(APP)
    tower = [image]
    for depth in range(7):
        tower.append(world.push_index(APP, [tower[-1]], annotations={"depth": str(depth)}))
    world.publish(APP, {"1": tower[5]})
    assert world.manifest(APP, image).status_code == 200
    world.publish(APP, {"1": tower[6]})
    assert denial(world.manifest(APP, image))["reason"] == "UNSIGNED"


def test_e09_a_layer_of_very_many_unsigned_images_is_covered_by_the_signed_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E09."""
    monkeypatch.setattr(cases, "MAX_LOOKUPS", 5)
    layer = world.push_blob(APP, b"base")
    images = []
    for seed in range(9):
        config = json.dumps({"seed": seed}).encode()
        world.push_blob(APP, config)
        images.append(world.push_manifest(APP, image_manifest(config, [b"base"])))
    for signed in (images[0], images[8]):
        world.publish(APP, {"1": signed})
        assert world.blob(APP, layer).status_code == 200
    world.publish(APP, {"1": world.push_index(APP, [images[8]])})  # signed one step above the newest
    assert world.blob(APP, layer).status_code == 200
    world.revoke(APP, "1")
    assert denial(world.blob(APP, layer))["reason"] == "UNSIGNED"


def test_e10_what_refers_to_a_signed_image_is_not_signed_by_that(world: World) -> None:
    """E10."""
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})
    sbom = push_artifact(world, subject=app)
    under_a_tag = push_artifact(world, subject=app, tag=f"sha256-{app.encoded}.sig", seed="signature")
    for reference in (sbom, under_a_tag, f"sha256-{app.encoded}.sig"):
        assert denial(world.manifest(APP, reference))["reason"] == "UNSIGNED"
    assert denial(world.blob(APP, world.blobs(sbom)[1]))["reason"] == "UNSIGNED"
    assert listed(world.get(f"{APP}/referrers/{app}")) == []
    assert sorted(listed(world.get(f"{APP}/referrers/{app}", world.token(APP, "pull,push")))) == sorted(
        [sbom, under_a_tag]
    )


def test_e10_a_signed_referrer_is_listed_and_served_and_covers_no_subject(world: World) -> None:
    """E10."""
    app = world.push_image(APP, "1")
    sbom, other = push_artifact(world, subject=app), push_artifact(world, subject=app, seed="other")
    world.publish(APP, {"sbom": sbom})
    assert listed(world.get(f"{APP}/referrers/{app}")) == [sbom]
    assert world.manifest(APP, sbom).status_code == 200
    assert world.blob(APP, world.blobs(sbom)[1]).status_code == 200
    for digest in (app, other):
        assert denial(world.manifest(APP, digest))["reason"] == "UNSIGNED"


def test_e10_referrers_are_not_listed_while_nothing_can_be_decided(world: World) -> None:
    """E10: an empty list would say that there are none."""
    app = world.push_image(APP, "1")
    push_artifact(world, subject=app)
    world.source.away = True
    assert doubt(world.get(f"{APP}/referrers/{app}"))["reason"] == "UNAVAILABLE"


def test_e11_blobs_are_served_if_a_manifest_that_may_be_served_names_them(world: World) -> None:
    """E11, T09, R7.2."""
    app, other = world.push_image(APP, "1"), world.push_image(APP, "2", seed="other")
    stray = world.push_blob(APP, b"named by no manifest")
    world.publish(APP, {"1": app})
    for blob in world.blobs(app):
        answer = world.blob(APP, blob)
        assert digest_of(answer.data) == answer.headers["Docker-Content-Digest"] == blob
        assert world.head(f"{APP}/blobs/{blob}").status_code == 200
    for blob in (*world.blobs(other), stray):
        answer = world.blob(APP, blob)
        assert denial(answer)["digest"] == blob
        assert "no signed manifest" in message(answer)
        refused = world.head(f"{APP}/blobs/{blob}")
        assert (refused.status_code, refused.data) == (403, b"")
        assert blob not in str(refused.headers)
    world.source.away = True
    assert doubt(world.blob(APP, world.blobs(app)[0]))["reason"] == "UNAVAILABLE"
    assert world.head(f"{APP}/blobs/{world.blobs(app)[0]}").status_code == 503


def test_e11_a_blob_by_its_sha512_is_the_same_blob(world: World) -> None:
    """E11."""
    app = world.push_image(APP, "1")
    layer = b"layer of seed"
    long = digest_of(layer, "sha512")
    path = f"{APP}/blobs/uploads/?digest={long}"
    assert world.request("POST", path, world.token(APP, "pull,push"), data=layer).status_code == 201
    assert denial(world.blob(APP, long))["digest"] == long
    world.publish(APP, {"1": app})
    assert world.blob(APP, long).data == layer


def test_a_signed_manifest_cannot_be_had_as_a_blob_nor_lend_its_name_to_one(world: World) -> None:
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})
    assert world.blob(APP, app).status_code == 404
    world.push_blob(APP, world.manifests[app])  # the same bytes, and no manifest names them as config or layer
    assert denial(world.blob(APP, app))["reason"] == "UNSIGNED"


def test_an_index_of_plain_content_covers_that_content(world: World) -> None:
    # Old build caches.
    layer = world.push_blob(APP, b"cache")
    index = world.push_manifest(APP, index_of([descriptor(b"cache", LAYER_TYPE)]), "cache")
    assert denial(world.blob(APP, layer))["reason"] == "UNSIGNED"
    world.publish(APP, {"cache": index})
    assert world.blob(APP, layer).status_code == 200


def test_what_comes_after_a_signed_sparse_index_is_covered_by_it_and_nothing_else_is(tmp_path: Path) -> None:
    world = World(tmp_path, sparse_manifests=True)
    child = image_manifest(b"config", [b"layer"])
    index = world.push_manifest(APP, index_manifest([child]), "1")
    world.publish(APP, {"1": index})
    assert world.manifest(APP, "1").status_code == 200
    assert world.manifest(APP, digest_of(child)).status_code == 404
    world.push_manifest(APP, child)
    world.push_blob(APP, b"layer")
    assert world.manifest(APP, digest_of(child)).status_code == 200
    assert world.blob(APP, digest_of(b"layer")).status_code == 200
    other = world.push_manifest(APP, image_manifest(b"config", [b"other layer"]))
    assert denial(world.manifest(APP, other))["reason"] == "UNSIGNED"


def test_e12_unsigned_content_cannot_be_mounted_away(world: World) -> None:
    """E12."""
    app = world.push_image(APP, "1")
    blob = world.blobs(app)[1]
    world.push_image(OTHER, seed="other")
    both = world.tokens(f"repository:{APP}:pull", f"repository:{OTHER}:pull,push")

    def mount(query: str, headers: dict[str, str]) -> TestResponse:
        return world.request("POST", f"{OTHER}/blobs/uploads/?{query}", headers)

    missing = digest_of(b"missing")
    for query in (f"mount={blob}&from={APP}", f"mount={blob}", f"mount={missing}&from={APP}"):
        answer = mount(query, both)
        # An upload begins, and nothing tells an unsigned blob from a missing one.
        assert (answer.status_code, answer.headers.get("Docker-Content-Digest")) == (202, None)
    assert world.get(f"{OTHER}/blobs/{blob}", both).status_code == 404
    world.source.away = True
    assert mount(f"mount={blob}&from={APP}", both).status_code == 202
    world.source.away = False
    world.publish(APP, {"1": app})
    assert mount(f"mount={blob}&from={APP}", both).status_code == 201
    # It is a blob of the other repository now, and unsigned there.
    assert denial(world.blob(OTHER, blob))["gun"] == f"localhost:5000/{OTHER}"


def test_e12_who_may_push_to_the_source_may_mount_unsigned_content(world: World) -> None:
    """E12."""
    app = world.push_image(APP, "1")
    blob = world.blobs(app)[0]
    headers = world.tokens(f"repository:{APP}:pull,push", f"repository:{OTHER}:pull,push")
    answer = world.request("POST", f"{OTHER}/blobs/uploads/?mount={blob}&from={APP}", headers)
    assert answer.status_code == 201


def test_e13_a_part_of_an_unsigned_blob_is_refused_like_the_whole(world: World) -> None:
    """E13, E45."""
    app = world.push_image(APP, "1")
    blob = world.blobs(app)[1]
    ranges = ("bytes=0-0", "bytes=0-", "bytes=-1", "bytes=5-100", "bytes=0-1,3-4", "bytes=999999-", "lines=1-2")
    for each in ranges:
        assert denial(world.blob(APP, blob, Range=each))["digest"] == blob
        assert denial(world.blob(APP, blob, Range=each, If_Range=f'"{blob}"'))["digest"] == blob
    for condition in (f'"{blob}"', "*"):
        assert denial(world.blob(APP, blob, If_None_Match=condition))["digest"] == blob
    world.publish(APP, {"1": app})
    answer = world.blob(APP, blob, Range="bytes=2-4")
    assert (answer.status_code, answer.data) == (206, b"layer of seed"[2:5])
    assert world.blob(APP, blob, If_None_Match=f'"{blob}"').status_code == 304
    world.revoke(APP, "1")
    assert world.blob(APP, blob, Range="bytes=2-4").status_code == 403
    assert world.blob(APP, blob, If_None_Match=f'"{blob}"').status_code == 403


def test_e43_any_artifact_is_held_to_the_same_rule(world: World) -> None:
    """E43: Helm charts, policies, whatever is pushed as a manifest."""
    chart = push_artifact(world, tag="chart")
    assert denial(world.manifest(APP, "chart"))["digest"] == chart
    world.publish(APP, {"chart": chart})
    assert world.manifest(APP, "chart").data == world.manifests[chart]
    assert world.blob(APP, world.blobs(chart)[1]).status_code == 200


def test_a_signed_manifest_that_is_deleted_covers_nothing_any_more(world: World) -> None:
    child, other = world.push_image(APP, seed="child"), world.push_image(APP, "2", seed="other")
    index = world.push_index(APP, [child], "1")
    world.publish(APP, {"1": index, "2": other})
    assert (
        world.request("DELETE", f"{APP}/manifests/{index}?trust=cascade", world.token(APP, "delete")).status_code
        == 202
    )
    assert denial(world.manifest(APP, child))["reason"] == "UNSIGNED"
    assert code_of(world.manifest(APP, "1")) == "MANIFEST_UNKNOWN"
    assert world.manifest(APP, "2").status_code == 200


def test_the_closure_follows_what_the_signed_bytes_name_and_not_what_has_the_same_tag(world: World) -> None:
    child = world.push_image(APP, seed="child")
    index = world.push_index(APP, [child], "1")
    world.publish(APP, {"1": index})
    stranger = world.push_image(APP, seed="stranger")
    world.push_manifest(APP, index_manifest([world.manifests[stranger]]), "1")  # an unsigned index takes the tag
    assert denial(world.manifest(APP, "1"))["reason"] == "TAG_MOVED"
    assert denial(world.manifest(APP, stranger))["reason"] == "UNSIGNED"
    assert world.manifest(APP, child).status_code == 200
