# SPDX-License-Identifier: Apache-2.0
"""Manifests in an enforced repository, by tag and by digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from pushes import code_of, digest_of, image_manifest, index_manifest
from registry.manifests import DOCKER_IMAGE, OCI_IMAGE, OCI_INDEX
from registry.repositories import delete_manifest
from trust.names import Digest, RepositoryName
from world import APP, World, denial, doubt, message


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def sign_as(world: World, tag: str, hashes: dict[str, str], length: int, role: str = "targets") -> None:
    """Sign `tag` with any hashes and any length, as `notary addhash` does."""
    collection = world.collection(APP)
    collection.root()
    collection.targets()
    payload: Any = collection.payloads[role]
    payload.targets[tag] = TargetFile(length, hashes, tag)
    collection.targets(role=role)
    world.upload(APP, "root", role)


def test_e01_a_tag_that_nobody_signed_is_refused(world: World) -> None:
    """E01, R5.4, R7.1."""
    unsigned, signed = world.push_image(APP, "1", seed="1"), world.push_image(APP, "2", seed="2")
    answer = world.manifest(APP, "1")
    facts = {
        "reason": "UNSIGNED",
        "policy": "enforced",
        "roles": ["targets/releases", "targets"],
        "gun": "localhost:5000/library/app",
        "tag": "1",
        "digest": unsigned,
        "explain": "/api/v1/repositories/library/app/trust/explain?reference=1",
    }
    assert denial(answer) == facts
    assert "no trust data" in message(answer)
    assert "docker trust sign localhost:5000/library/app:1" in message(answer)
    world.publish(APP, {"2": signed})
    answer = world.manifest(APP, "1")
    assert denial(answer) == facts
    assert "docker trust sign localhost:5000/library/app:1" in message(answer)
    assert world.manifest(APP, "2").data == world.manifests[signed]


def test_e02_head_decides_as_get_does_and_tells_no_digest(world: World) -> None:
    """E02, R2.3, R7.2."""
    app = world.push_image(APP, "1")
    for reference in ("1", app):
        refused = world.head(f"{APP}/manifests/{reference}")
        assert (refused.status_code, refused.data) == (403, b"")
        assert app not in str(refused.headers)
        assert "ETag" not in refused.headers
    world.source.away = True
    refused = world.head(f"{APP}/manifests/1")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert app not in str(refused.headers)
    world.source.away = False
    world.publish(APP, {"1": app})
    served = world.head(f"{APP}/manifests/1")
    assert (served.status_code, served.data) == (200, b"")
    assert served.headers["Docker-Content-Digest"] == app
    assert served.headers["Content-Length"] == str(len(world.manifests[app]))


def test_e03_a_digest_that_nobody_signed_is_refused(world: World) -> None:
    """E03."""
    app, other = world.push_image(APP, "1"), world.push_image(APP, seed="other")
    world.publish(APP, {"1": app})
    assert denial(world.manifest(APP, other))["digest"] == other
    assert world.manifest(APP, app).data == world.manifests[app]


def test_e04_a_digest_that_was_signed_once_is_refused_when_its_tag_is_signed_anew_or_revoked(world: World) -> None:
    """E04."""
    old, new = world.push_image(APP, seed="old"), world.push_image(APP, "1", seed="new")
    world.publish(APP, {"1": old})
    assert world.manifest(APP, old).status_code == 200
    world.publish(APP, {"1": new})
    assert denial(world.manifest(APP, old))["reason"] == "UNSIGNED"
    assert world.manifest(APP, new).status_code == 200
    world.revoke(APP, "1")
    assert denial(world.manifest(APP, new))["reason"] == "UNSIGNED"
    assert denial(world.manifest(APP, "1"))["reason"] == "UNSIGNED"


def test_e05_a_tag_that_was_moved_after_signing_is_refused_and_the_signed_digest_is_still_served(
    world: World,
) -> None:
    """E05, E44."""
    signed = world.push_image(APP, "1", seed="signed")
    world.publish(APP, {"1": signed})
    moved = world.push_image(APP, "1", seed="moved")
    answer = world.manifest(APP, "1")
    detail = denial(answer)
    assert (detail["reason"], detail["digest"], detail["signed_digest"]) == ("TAG_MOVED", moved, signed)
    assert signed in message(answer)
    assert denial(world.manifest(APP, moved))["reason"] == "UNSIGNED"
    assert world.manifest(APP, signed).status_code == 200
    world.push_manifest(APP, world.manifests[signed], "1")  # and back
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == signed


def test_e05_a_tag_that_was_moved_to_what_another_tag_is_signed_as_is_refused(world: World) -> None:
    """T06, E05: an old release must not come back under the name of the new one."""
    old, new = world.push_image(APP, "1", seed="old"), world.push_image(APP, "2", seed="new")
    world.publish(APP, {"1": old, "2": new})
    world.push_manifest(APP, world.manifests[old], "2")
    assert denial(world.manifest(APP, "2"))["reason"] == "TAG_MOVED"
    assert world.manifest(APP, old).status_code == 200


def test_e06_what_is_served_is_what_was_judged_even_if_the_tag_moves_meanwhile(world: World) -> None:
    """E06, E41, R7.1."""
    signed = world.push_image(APP, "1", seed="signed")
    world.publish(APP, {"1": signed})
    moved = world.push_image(APP, seed="moved")
    world.source.meanwhile(lambda: world.push_manifest(APP, world.manifests[moved], "1"))
    answer = world.manifest(APP, "1")
    assert answer.status_code == 200
    assert digest_of(answer.data) == answer.headers["Docker-Content-Digest"] == signed
    # The other way round: what was resolved is not signed, and what it becomes does not help.
    world.source.meanwhile(lambda: world.push_manifest(APP, world.manifests[signed], "1"))
    assert denial(world.manifest(APP, "1"))["digest"] == moved


def test_e06_a_manifest_that_is_deleted_while_it_is_judged_is_not_there(world: World) -> None:
    """E06."""
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})

    def delete() -> None:  # as another replica does: in this one it would wait for the judgement
        with world.database.write() as session:
            delete_manifest(session, RepositoryName(APP), Digest(app), actor="bob", now=world.now)

    world.source.meanwhile(delete)
    answer = world.manifest(APP, "1")
    assert (answer.status_code, code_of(answer)) == (404, "MANIFEST_UNKNOWN")


def test_e07_of_two_tags_for_the_same_manifest_the_signed_one_is_served(world: World) -> None:
    """E07."""
    app = world.push_image(APP, "1")
    world.push_manifest(APP, world.manifests[app], "latest")
    world.publish(APP, {"1": app})
    assert world.manifest(APP, "1").status_code == 200
    assert denial(world.manifest(APP, "latest"))["tag"] == "latest"
    assert world.manifest(APP, app).status_code == 200


def test_a_signature_counts_in_its_own_repository_only(world: World) -> None:
    other = "library/other"
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})
    world.push_image(other, "1")
    assert denial(world.manifest(other, "1"))["gun"] == "localhost:5000/library/other"
    assert denial(world.manifest(other, app))["reason"] == "UNSIGNED"


PATHS = {
    "encoded slash in the name": ("library%2Fapp/manifests/1", 400),
    "encoded slash before the reference": ("library/app/manifests%2F1", 400),
    "encoded slash in lower case": ("library%2fapp/manifests/1", 400),
    "double slash": ("library//app/manifests/1", 400),
    "double slash at the beginning": ("/library/app/manifests/1", 400),
    "double slash before the reference": ("library/app/manifests//1", 404),
    "slash at the end": ("library/app/manifests/1/", 404),
    "dot": ("library/./app/manifests/1", 400),
    "dots": ("library/x/../app/manifests/1", 400),
    "encoded dots": ("library/x/%2e%2e/app/manifests/1", 400),
    "dots that lead out": ("library/app/manifests/../../../library/app/manifests/1", 400),
    "capitals": ("Library/App/manifests/1", 400),
    "NUL in the name": ("library/app%00/manifests/1", 400),
    "NUL in the tag": ("library/app/manifests/1%00", 400),
    "line feed": ("library/app/manifests/1%0a", 400),
    "letters that fold": ("library/app/manifests/%E2%84%AAelvin", 400),
    "digits of another script": ("library/app/manifests/%EF%BC%91", 400),
    "host in the name": ("localhost:5000/library/app/manifests/1", 400),
    "tag of 129 characters": (f"library/app/manifests/{'a' * 129}", 400),
    "tag like a digest": (f"library/app/manifests/sha256:{'a' * 63}", 400),
    "unknown algorithm": (f"library/app/manifests/sha1:{'a' * 40}", 400),
    "methods in the query": ("library/app/manifests/1?_method=PUT", 403),
}


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A site with one image, which nobody signed."""
    world = World(tmp_path_factory.mktemp("unsigned"))
    world.push_image(APP, "1")
    return world


@pytest.mark.parametrize("name", PATHS)
def test_e16_no_way_of_writing_a_path_leads_around_the_decision(unsigned: World, name: str) -> None:
    """E16."""
    path, status = PATHS[name]
    for method in ("GET", "HEAD"):
        answer = unsigned.request(method, path)
        assert answer.status_code == status, answer.text
    assert answer.content_type.startswith("application/json")


def test_e16_a_digest_in_capitals_is_none(world: World) -> None:
    """E16."""
    app = world.push_image(APP, "1")
    for reference in (app.upper(), f"sha256:{app.encoded.upper()}", f"SHA256:{app.encoded}"):
        assert code_of(world.manifest(APP, reference)) == "DIGEST_INVALID"


def test_e16_by_sha512_is_by_digest(world: World) -> None:
    """E16."""
    app = world.push_image(APP, "1")
    long = digest_of(world.manifests[app], "sha512")
    assert denial(world.manifest(APP, long))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": app})
    answer = world.manifest(APP, long)
    assert answer.headers["Docker-Content-Digest"] == long
    assert digest_of(answer.data, "sha512") == long


def test_e16_a_tag_of_128_characters_and_one_like_a_digest_are_tags(world: World) -> None:
    """E16."""
    for tag in ("a" * 128, f"sha256-{'a' * 64}.sig"):
        app = world.push_image(APP, tag, seed=tag)
        assert denial(world.manifest(APP, tag))["tag"] == tag
        world.publish(APP, {tag: app})
        assert world.manifest(APP, tag).status_code == 200


def test_e17_whatever_a_client_accepts_the_signed_bytes_come(world: World) -> None:
    """E17, E41, R4.3."""
    schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    accepted = (OCI_IMAGE, DOCKER_IMAGE, OCI_INDEX, schema_1, "*/*", "text/html", "")
    app = world.push_image(APP, "1")
    for each in accepted:
        assert denial(world.manifest(APP, "1", Accept=each))["digest"] == app
    world.publish(APP, {"1": app})
    for each in accepted:
        answer = world.manifest(APP, "1", Accept=each)
        assert digest_of(answer.data) == answer.headers["Docker-Content-Digest"] == app
        assert answer.content_type == OCI_IMAGE


def test_e18_a_manifest_with_two_meanings_is_not_taken_even_if_it_is_signed(world: World) -> None:
    """E18: CVE-2021-41190."""
    app = world.push_image(APP, "1")
    both = json.dumps(json.loads(world.manifests[app]) | {"manifests": []}).encode()
    world.manifests[digest_of(both)] = both
    world.publish(APP, {"1": app, "2": digest_of(both)})
    writer = world.token(APP, "pull,push")
    for kind in (OCI_IMAGE, OCI_INDEX):
        answer = world.request("PUT", f"{APP}/manifests/2", writer, data=both, content_type=kind)
        assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
    index = index_manifest([world.manifests[app]])
    answer = world.request("PUT", f"{APP}/manifests/2", writer, data=index, content_type=OCI_IMAGE)
    assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
    assert world.manifest(APP, "2").status_code == 404


def test_e23_a_signature_in_a_role_that_the_policy_does_not_name_counts_for_nothing(tmp_path: Path) -> None:
    """E23."""
    world = World(tmp_path, trust_roles=("targets/releases",))
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app}, role="targets")
    assert denial(world.manifest(APP, "1"))["roles"] == ["targets/releases"]
    assert denial(world.manifest(APP, app))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": app}, role="targets/releases")
    assert world.manifest(APP, "1").status_code == 200


def test_e23_a_signers_own_role_makes_nothing_pullable(world: World) -> None:
    """E23: what docker believes is in targets/releases and targets alone."""
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app}, role="targets/alice")
    assert denial(world.manifest(APP, "1"))["reason"] == "UNSIGNED"
    assert denial(world.manifest(APP, app))["reason"] == "UNSIGNED"


def test_e24_where_two_roles_sign_a_tag_differently_the_first_one_decides(world: World) -> None:
    """E24."""
    ours, theirs = world.push_image(APP, seed="ours"), world.push_image(APP, seed="theirs")
    world.publish(APP, {"1": theirs}, role="targets")
    world.publish(APP, {"1": ours}, role="targets/releases")
    world.push_manifest(APP, world.manifests[theirs], "1")
    assert denial(world.manifest(APP, "1"))["signed_digest"] == ours
    world.push_manifest(APP, world.manifests[ours], "1")
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == ours
    world.revoke(APP, "1", role="targets/releases")
    assert denial(world.manifest(APP, "1"))["signed_digest"] == theirs


def test_e26_a_role_signs_only_names_that_its_delegation_allows(world: World) -> None:
    """E26."""
    collection = world.collection(APP)
    collection.root()
    collection.delegation("targets/releases", paths=["stable-"])
    world.collections[APP] = collection
    app, stable = world.push_image(APP, "1", seed="1"), world.push_image(APP, "stable-1", seed="2")
    collection.targets()
    collection.targets({"1": world.manifests[app], "stable-1": world.manifests[stable]}, role="targets/releases")
    world.upload(APP, "root", "targets", "targets/releases")
    assert world.manifest(APP, "stable-1").status_code == 200
    assert denial(world.manifest(APP, "1"))["reason"] == "UNSIGNED"
    assert denial(world.manifest(APP, app))["reason"] == "UNSIGNED"


def test_e31_a_collection_under_another_name_of_the_site_does_not_count(tmp_path: Path) -> None:
    """E31, of which this release has the hosts."""
    world = World(tmp_path, hosts=("registry.example", "localhost:5000"))
    app = world.push_image(APP, "1")
    stray = world.server.collection(f"localhost:5000/{APP}")
    world.collections["stray"] = stray
    stray.root()
    stray.targets({"1": world.manifests[app]})
    world.upload("stray", "root", "targets")
    answer = world.manifest(APP, "1")
    assert denial(answer)["gun"] == f"registry.example/{APP}"
    assert f"docker trust sign registry.example/{APP}" in message(answer)
    world.publish(APP, {"1": app})
    assert world.manifest(APP, "1").status_code == 200
    assert world.get(f"{APP}/manifests/1", world.token(f"localhost:5000/{APP}")).status_code == 200


def test_e32_a_wrong_length_in_a_target_does_not_matter(world: World) -> None:
    """E32: the digest says it all, and people type lengths by hand (docs/decisions/0015)."""
    app = world.push_image(APP, "1")
    sign_as(world, "1", {"sha256": app.encoded}, 10**9)
    assert world.manifest(APP, "1").status_code == 200


def test_e33_a_target_with_a_sha512_alone_is_a_signature(world: World) -> None:
    """E33."""
    app = world.push_image(APP, "1")
    sha512 = hashlib.sha512(world.manifests[app]).hexdigest()
    sign_as(world, "1", {"sha512": sha512}, 1)
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == app
    assert world.manifest(APP, app).status_code == 200
    moved = world.push_image(APP, "1", seed="moved")
    assert denial(world.manifest(APP, "1"))["signed_digest"] == f"sha512:{sha512}"
    assert denial(world.manifest(APP, moved))["reason"] == "UNSIGNED"


def test_e33_of_two_hashes_both_must_be_right(world: World) -> None:
    """E33."""
    app, other = world.push_image(APP, "1"), world.push_image(APP, seed="other")
    sign_as(
        world,
        "1",
        {"sha256": app.encoded, "sha512": hashlib.sha512(world.manifests[other]).hexdigest()},
        1,
    )
    assert denial(world.manifest(APP, "1"))["reason"] == "TAG_MOVED"
    for each in (app, other):
        assert denial(world.manifest(APP, each))["reason"] == "UNSIGNED"


def test_e42_the_order_of_pushing_signing_and_tagging_does_not_matter(world: World) -> None:
    """E42."""
    app = world.push_image(APP)  # by digest
    world.publish(APP, {"1": app})
    assert world.manifest(APP, app).status_code == 200
    assert world.manifest(APP, "1").status_code == 404
    world.push_manifest(APP, world.manifests[app], "1")
    assert world.manifest(APP, "1").status_code == 200
    # Signed before it was pushed at all.
    config = b'{"early": true}'
    world.push_blob(APP, config)
    early = image_manifest(config, [])
    world.manifests[digest_of(early)] = early
    world.publish(APP, {"2": digest_of(early)})
    world.push_manifest(APP, early, "2")
    assert world.manifest(APP, "2").data == early


def test_e45_a_conditional_request_is_decided_like_any_other(world: World) -> None:
    """E45."""
    app = world.push_image(APP, "1")
    etag = f'"{app}"'
    for reference in ("1", app):
        for condition in (etag, f"W/{etag}", "*"):
            assert denial(world.manifest(APP, reference, If_None_Match=condition))["reason"] == "UNSIGNED"
    world.publish(APP, {"1": app})
    assert world.manifest(APP, "1", If_None_Match=etag).status_code == 304
    world.source.away = True
    assert doubt(world.manifest(APP, "1", If_None_Match=etag))["reason"] == "UNAVAILABLE"
    world.source.away = False
    world.revoke(APP, "1")
    assert world.manifest(APP, "1", If_None_Match=etag).status_code == 403


def test_a_manifest_may_be_kept_by_its_client_alone_and_only_after_asking_again(world: World) -> None:
    app = world.push_image(APP, "1")
    world.publish(APP, {"1": app})
    for reference in ("1", app):
        assert world.manifest(APP, reference).headers["Cache-Control"] == "private, no-cache"
