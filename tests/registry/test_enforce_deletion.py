# SPDX-License-Identifier: Apache-2.0
"""What is signed is not deleted by accident, and a tag that is to stay stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from pushes import code_of
from world import APP, RELEASES, World, denial, doubt, message


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def delete(world: World, reference: str, query: str = "") -> TestResponse:
    return world.request("DELETE", f"{APP}/manifests/{reference}{query}", world.token(APP, "delete"))


def put(world: World, digest: Any, tag: str) -> TestResponse:
    """Push a manifest once more, under a tag."""
    headers = {**world.token(APP, "pull,push"), "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    return world.request("PUT", f"{APP}/manifests/{tag}", headers, data=world.manifests[digest])


def kept(answer: TestResponse, status: int = 409) -> dict[str, Any]:
    """The detail of a deletion or a push that was refused for what is there."""
    assert (answer.status_code, code_of(answer)) == (status, "DENIED"), answer.text
    (error,) = answer.get_json()["errors"]
    detail: dict[str, Any] = error["detail"]
    return detail


def test_e37_what_is_signed_is_not_deleted_and_the_answer_says_by_whom_it_is(world: World) -> None:
    """E37, R2.9."""
    image, other = world.push_image(APP, "1"), world.push_image(APP, "2", seed="2")
    world.publish(APP, {"1": image})
    for reference in ("1", image):
        detail = kept(delete(world, reference))
        assert detail == {"gun": f"localhost:5000/{APP}", "reference": reference, "tags": ["1"], "roles": [RELEASES]}
    assert "docker trust revoke localhost:5000/library/app:1" in message(delete(world, "1"))
    for blob in world.blobs(image):  # nor what it needs
        assert code_of(world.request("DELETE", f"{APP}/blobs/{blob}", world.token(APP, "delete"))) == "UNSUPPORTED"
    assert world.manifest(APP, "1").status_code == 200
    for reference in ("2", other):
        assert delete(world, reference).status_code == 202
    world.revoke(APP, "1")
    for reference in ("1", image):
        assert delete(world, reference).status_code == 202


def test_e37_nor_is_a_child_of_a_signed_index(world: World) -> None:
    """E37: the index would be served, and could not be pulled."""
    child = world.push_image(APP)
    world.publish(APP, {"1": world.push_index(APP, [child], "1")})
    assert kept(delete(world, child))["tags"] == ["1"]
    assert world.manifest(APP, child).status_code == 200


def test_with_cascade_it_is_deleted_and_stays_signed(world: World) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    answer = delete(world, image, "?trust=cascade")
    assert answer.status_code == 202
    assert answer.headers["Warning"].startswith(
        '299 - "deleted, and what is signed stays signed in the notary server'
    )
    assert RELEASES in answer.headers["Warning"]
    assert code_of(world.manifest(APP, "1")) == "MANIFEST_UNKNOWN"
    world.push_image(APP, "1")  # pushed again it is signed again: the same bytes
    assert world.manifest(APP, "1").status_code == 200


def test_who_may_not_delete_may_not_with_cascade_either(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    for actions in ("pull", "pull,push"):
        headers = world.token(APP, actions)
        assert world.request("DELETE", f"{APP}/manifests/1?trust=cascade", headers).status_code == 401
    for query in ("?trust=", "?trust=CASCADE", "?trust=no", "?cascade"):
        assert delete(world, "1", query).status_code in (400, 409)
    assert world.manifest(APP, "1").status_code == 200


def test_e20_what_cannot_be_verified_is_not_deleted_but_with_cascade(world: World) -> None:
    """E20, E37."""
    world.publish(APP, {"1": world.push_image(APP, "1")})
    world.push_image(APP, "2", seed="2")
    world.source.away = True
    for tag in ("1", "2"):
        assert doubt(delete(world, tag))["reason"] == "UNAVAILABLE"
    answer = delete(world, "2", "?trust=cascade")
    assert (answer.status_code, "cannot be verified" in answer.headers["Warning"]) == (202, True)
    assert code_of(delete(world, "absent")) == "MANIFEST_UNKNOWN"
    world.source.away = False
    assert world.manifest(APP, "1").status_code == 200


def test_a_role_that_is_expired_keeps_what_it_may_have_signed(world: World) -> None:
    world.publish(APP, {"1": world.push_image(APP, "1")})
    world.collection(APP).targets(role=RELEASES, expires=world.now + timedelta(days=5))
    world.upload(APP, RELEASES)
    world.now += timedelta(days=6)
    assert doubt(delete(world, "1"))["reason"] == "EXPIRED"


def test_where_nothing_is_signed_or_asked_all_may_be_deleted(world: World) -> None:
    world.push_image(APP, "1")
    assert delete(world, "1").status_code == 202  # there is no trust data at all
    world.publish(APP, {"1": world.push_image(APP, "1"), "2": world.push_image(APP, "2", seed="2")})
    assert world.command("policy", APP, "--mode", "permissive") == 0
    answer = delete(world, "1")
    assert (answer.status_code, "is signed" in answer.headers["Warning"]) == (202, True)
    assert world.command("policy", APP, "--mode", "disabled") == 0
    world.source.away = True
    answer = delete(world, "2")
    assert (answer.status_code, "Warning" in answer.headers) == (202, False)


# Immutable tags.


def test_e44_an_immutable_tag_is_pushed_once_and_never_moved(world: World) -> None:
    """E44, R2.7a, R4.6: nor by a push of what is not signed, over what is."""
    assert world.command("policy", "library/", "--immutable", "v*", "--immutable", "*-final") == 0
    first, second = world.push_image(APP, "v1", seed="first"), world.push_image(APP, "latest", seed="second")
    world.publish(APP, {"v1": first})
    answer = put(world, second, "v1")
    assert kept(answer, 403) == {"tag": "v1", "digest": first}
    assert "the tag v1 is immutable" in message(answer)
    assert put(world, second, f"{second}?tag=new&tag=v1").status_code == 403
    assert put(world, first, "v1").status_code == 201  # a push that is tried again
    assert world.manifest(APP, "v1").headers["Docker-Content-Digest"] == first
    signer = world.token(APP, "pull,push")
    assert world.get(f"{APP}/manifests/new", signer).status_code == 404  # all tags of a push, or none
    assert put(world, first, "latest").status_code == 201
    assert put(world, second, "1-final").status_code == 201
    assert kept(put(world, first, "1-final"), 403)["digest"] == second


def test_an_immutable_tag_is_not_deleted_nor_its_manifest_not_even_with_cascade(world: World) -> None:
    assert world.command("policy", APP, "--immutable", "v1") == 0
    image = world.push_image(APP, "v1")
    world.push_image(APP, "latest")
    for query in ("", "?trust=cascade"):
        for reference in ("v1", image):
            assert kept(delete(world, reference, query), 403)["tag"] == "v1"
    assert delete(world, "latest").status_code == 202
    assert world.command("policy", APP, "--mutable") == 0
    assert delete(world, image).status_code == 202


def test_a_repository_may_have_movable_tags_in_a_namespace_of_immutable_ones(world: World) -> None:
    assert world.command("policy", "library/", "--immutable", "*") == 0
    first, second = world.push_image(APP, "1", seed="first"), world.push_image(APP, seed="second")
    assert put(world, second, "1").status_code == 403
    assert world.command("policy", APP, "--mutable") == 0
    assert put(world, second, "1").status_code == 201
    assert world.command("policy", APP, "--default") == 0
    assert put(world, first, "1").status_code == 403


def test_a_moved_tag_of_an_enforced_repository_is_refused_even_where_it_may_be_moved(world: World) -> None:
    signed = world.push_image(APP, "1", seed="signed")
    world.publish(APP, {"1": signed})
    assert put(world, world.push_image(APP, seed="moved"), "1").status_code == 201
    assert denial(world.manifest(APP, "1"))["reason"] == "TAG_MOVED"
