# SPDX-License-Identifier: Apache-2.0
"""Whose signatures count: several roles at once, no key twice, by namespace; grace; tags served as signed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collection import root_signer
from pushes import digest_of
from trust.keys import NotarySigner, generate_private
from trust.names import Digest
from world import APP, RELEASES, World, denial, doubt, message

OTHER = "library/other"
QA, SEC, OPS = "targets/qa", "targets/sec", "targets/ops"
TEAMS = (QA, SEC, OPS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced."""
    return World(tmp_path)


def human() -> NotarySigner:
    """Somebody with a key."""
    return NotarySigner(generate_private("ecdsa"))


def teams(world: World, members: Mapping[str, list[NotarySigner]], threshold: int = 1) -> None:
    """Let these people sign for these roles."""
    collection = world.collection(APP)
    collection.root()
    for role, signers in members.items():
        collection.delegation(role, signers=signers, threshold=threshold)
    collection.targets()
    world.upload(APP, "root", "targets")


def demand(world: World, require: str, *roles: str, name: str = APP) -> None:
    options = [option for role in roles for option in ("--role", role)]
    assert world.command("policy", name, "--require", require, *options) == 0


def status(world: World, reference: str = "1", repository: str = APP) -> int:
    return world.manifest(repository, reference).status_code


@pytest.mark.parametrize(("require", "needed"), [("any", 1), ("2", 2), ("all", 3)])
def test_a_tag_is_served_once_as_many_roles_as_the_policy_wants_sign_the_same(
    world: World, require: str, needed: int
) -> None:
    teams(world, {role: [human()] for role in TEAMS})
    demand(world, require, *TEAMS)
    image = world.push_image(APP, "1")
    paths = ["manifests/1", f"manifests/{image}", *(f"blobs/{blob}" for blob in world.blobs(image))]
    for count, role in enumerate(TEAMS, start=1):
        world.publish(APP, {"1": image}, role=role)
        for path in paths:
            answer = world.get(f"{APP}/{path}")
            assert answer.status_code == (200 if count >= needed else 403), (path, count)
    world.revoke(APP, "1", role=SEC)
    assert status(world) == (403 if require == "all" else 200)


def test_a_refusal_says_who_signed_and_how_many_must(world: World) -> None:
    teams(world, {role: [human()] for role in TEAMS})
    demand(world, "2", *TEAMS)
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image}, role=SEC)
    answer = world.manifest(APP, "1")
    detail = denial(answer)
    assert (detail["reason"], detail["required"], detail["roles"]) == ("TOO_FEW", 2, list(TEAMS))
    assert "by targets/sec, and 2 of targets/qa, targets/sec, targets/ops must sign" in message(answer)
    assert denial(world.manifest(APP, image))["reason"] == "TOO_FEW"
    assert denial(world.blob(APP, world.blobs(image)[0]))["reason"] == "UNSIGNED"


def test_roles_that_sign_different_content_do_not_add_up(world: World) -> None:
    teams(world, {role: [human()] for role in TEAMS})
    demand(world, "2", *TEAMS)
    one, two = world.push_image(APP, seed="one"), world.push_image(APP, "1", seed="two")
    world.publish(APP, {"1": one}, role=QA)
    world.publish(APP, {"1": two}, role=SEC)
    for reference in ("1", one, two):
        assert denial(world.manifest(APP, reference))["reason"] == "TOO_FEW"
    world.publish(APP, {"1": two}, role=OPS)  # the two that agree outvote the first
    assert status(world) == status(world, two) == 200
    assert status(world, one) == 403


def test_the_same_content_under_two_names_does_not_add_up(world: World) -> None:
    teams(world, {role: [human()] for role in TEAMS})
    demand(world, "2", *TEAMS)
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image}, role=QA)
    world.publish(APP, {"2": image}, role=SEC)
    assert status(world) == status(world, image) == 403


def test_e27_one_key_in_two_roles_counts_once(world: World) -> None:
    """E27."""
    both, other = human(), human()
    teams(world, {QA: [both], SEC: [both], OPS: [other]})
    demand(world, "2", *TEAMS)
    image = world.push_image(APP, "1")
    for role in (QA, SEC):
        world.publish(APP, {"1": image}, role=role)
    for reference in ("1", image):
        assert denial(world.manifest(APP, reference))["reason"] == "TOO_FEW"
    world.publish(APP, {"1": image}, role=OPS)
    assert status(world) == status(world, image) == 200
    demand(world, "all")
    assert status(world) == status(world, image) == 403


def test_e27_a_key_counts_once_under_whichever_ids_it_is_filed(world: World) -> None:
    """E27: as a bare key in one role, as a certificate in the other."""
    key = ec.generate_private_key(ec.SECP256R1())
    bare, certified = NotarySigner(key), root_signer("anybody", world.now, key=key)
    assert bare.public_key.keyid != certified.public_key.keyid
    teams(world, {QA: [bare], SEC: [certified]})
    demand(world, "all", QA, SEC)
    image = world.push_image(APP, "1")
    for role in (QA, SEC):
        world.publish(APP, {"1": image}, role=role)
    assert denial(world.manifest(APP, "1"))["reason"] == "TOO_FEW"


def test_e27_who_sits_in_two_teams_stands_for_the_one_that_lacks_another(world: World) -> None:
    """E27: alice signs for both, bob for one of them; together they are two."""
    alice, bob = human(), human()
    teams(world, {QA: [alice, bob], SEC: [alice]})
    demand(world, "all", QA, SEC)
    image = world.push_image(APP, "1")
    for role in (QA, SEC):
        world.publish(APP, {"1": image}, role=role)
    assert status(world) == 200


def test_e27_a_role_of_two_keys_needs_both_for_itself(world: World) -> None:
    """E27."""
    alice, bob, carol = human(), human(), human()
    teams(world, {QA: [alice, bob]}, threshold=2)
    world.collection(APP).delegation(SEC, signers=[alice])
    world.collection(APP).delegation(OPS, signers=[carol])
    world.collection(APP).targets()
    world.upload(APP, "targets")
    demand(world, "2", *TEAMS)
    image = world.push_image(APP, "1")
    for role in (QA, SEC):
        world.publish(APP, {"1": image}, role=role)
    assert status(world) == 403
    world.publish(APP, {"1": image}, role=OPS)
    assert status(world) == 200


def test_a_role_that_cannot_be_verified_leaves_open_whether_enough_signed(world: World) -> None:
    teams(world, {role: [human()] for role in TEAMS})
    demand(world, "2", *TEAMS)
    image = world.push_image(APP, "1")
    for role in TEAMS:
        world.publish(APP, {"1": image}, role=role)
    world.collection(APP).targets(role=SEC, expires=world.now + timedelta(days=5))
    world.upload(APP, SEC)
    world.now += timedelta(days=6)
    assert status(world) == 200  # the other two suffice
    demand(world, "all")
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert "targets/sec cannot be verified" in message(answer)


# Namespaces.


def test_a_namespaces_policy_binds_what_is_below_it_until_that_says_otherwise(world: World) -> None:
    for repository in (APP, OTHER, "team/tools/app"):
        world.push_image(repository, "1")
    assert world.command("policy", "library/", "--mode", "permissive") == 0
    assert "Warning" in world.manifest(APP, "1").headers
    assert "Warning" in world.manifest(OTHER, "1").headers
    assert status(world, repository="team/tools/app") == 403
    assert world.command("policy", OTHER, "--mode", "enforced") == 0
    assert (status(world), status(world, repository=OTHER)) == (200, 403)
    assert world.command("policy", "team/", "--mode", "disabled") == 0
    assert status(world, repository="team/tools/app") == 200
    assert world.command("policy", "team/tools/", "--mode", "enforced") == 0
    assert status(world, repository="team/tools/app") == 403


def test_e28_a_namespaces_pin_binds_every_repository_in_it_whatever_else_is_said_there(world: World) -> None:
    """E28: a new repository too, before anybody signs in it."""
    world.publish(APP, {"1": world.push_image(APP, "1")})
    owner = world.collections[APP].keys("root")[0].keyid
    assert world.command("policy", "library/", "--pin", owner) == 0
    assert world.command("policy", OTHER, "--grace", "1", "--role", RELEASES) == 0
    world.publish(OTHER, {"1": world.push_image(OTHER, "1")})
    assert status(world) == 200
    assert doubt(world.manifest(OTHER, "1"))["reason"] == "PIN"


# Grace.


def test_e21_within_the_grace_an_expired_timestamp_is_believed_and_said_to_be_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """E21: off unless somebody wants it."""
    caplog.set_level(logging.WARNING, "troth.enforce")
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    frozen = world.server.get(world.collection(APP), "timestamp.json", headers=world.token(APP, user="x")).data
    world.source.tamper("timestamp", lambda _: frozen)
    world.now += timedelta(days=14, hours=1)
    assert doubt(world.manifest(APP, "1"))["reason"] == "EXPIRED"
    assert world.command("policy", "library/", "--grace", "2") == 0
    for path in (f"manifests/{image}", "manifests/1", f"blobs/{world.blobs(image)[0]}"):
        answer = world.get(f"{APP}/{path}")
        assert answer.status_code == 200
        assert answer.headers["Warning"].startswith('299 - "trust data is believed for a while after its end: timest')
    assert "within the grace, served" in caplog.messages[-1]
    world.push_image(APP, "2", seed="2")
    assert denial(world.manifest(APP, "2"))["reason"] == "UNSIGNED"
    world.now += timedelta(days=2)
    assert doubt(world.manifest(APP, "1"))["reason"] == "EXPIRED"


@pytest.mark.parametrize("role", ["targets", RELEASES])
def test_e22_within_the_grace_expired_files_are_believed(tmp_path: Path, role: str) -> None:
    """E22: by a setting of the site."""
    world = World(tmp_path, trust_grace_days=3)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    collection = world.collection(APP)
    expires = world.now + timedelta(days=2)
    collection.targets(role=role, expires=expires)
    world.upload(APP, role)
    assert "Warning" not in world.manifest(APP, "1").headers
    world.now += timedelta(days=4)
    answer = world.manifest(APP, "1")
    assert (answer.status_code, f"{role} expired" in answer.headers["Warning"]) == (200, True)
    world.now += timedelta(days=2)
    assert doubt(world.manifest(APP, "1"))["reason"] == "EXPIRED"


def test_there_is_no_grace_for_a_root(tmp_path: Path) -> None:
    world = World(tmp_path, trust_grace_days=30)
    world.publish(APP, {"1": world.push_image(APP, "1")})
    world.collection(APP).root(expires=world.now + timedelta(days=5))
    world.upload(APP, "root")
    assert status(world) == 200
    world.now += timedelta(days=5)
    assert doubt(world.manifest(APP, "1"))["reason"] == "EXPIRED"


# Tags served as what they are signed as.


def resolving(world: World) -> tuple[Digest, Digest]:
    """The signed image of the tag 1, and another that the tag was moved to."""
    assert world.command("policy", APP, "--mode", "resolve") == 0
    signed = world.push_image(APP, "1", seed="signed")
    world.publish(APP, {"1": signed})
    return signed, world.push_image(APP, "1", seed="moved")


def test_e05_in_the_mode_resolve_a_moved_tag_is_served_as_what_it_is_signed_as(world: World) -> None:
    """E05, E41."""
    signed, moved = resolving(world)
    answer, head = world.manifest(APP, "1"), world.head(f"{APP}/manifests/1")
    assert digest_of(answer.data) == answer.headers["Docker-Content-Digest"] == signed
    assert (head.headers["Docker-Content-Digest"], head.headers["ETag"]) == (signed, f'"{signed}"')
    assert head.headers["Content-Length"] == str(len(world.manifests[signed]))
    assert world.manifest(APP, "1", If_None_Match=f'"{signed}"').status_code == 304
    assert status(world, moved) == 403
    # Who may sign gets what the tag stands for, to sign it.
    signer = world.get(f"{APP}/manifests/1", world.token(APP, "pull,push"))
    assert signer.headers["Docker-Content-Digest"] == moved
    world.publish(APP, {"1": moved})
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == moved
    assert status(world, signed) == 403


def test_in_the_mode_resolve_what_is_not_signed_or_not_here_is_refused(world: World) -> None:
    signed, moved = resolving(world)
    world.push_image(APP, "2", seed="2")
    assert denial(world.manifest(APP, "2"))["policy"] == "resolve"
    assert (
        world.request("DELETE", f"{APP}/manifests/{signed}?trust=cascade", world.token(APP, "delete")).status_code
        == 202
    )
    answer = world.manifest(APP, "1")
    detail = denial(answer)
    assert (detail["reason"], detail["digest"], detail["signed_digest"]) == ("TAG_MOVED", moved, signed)
    assert "which is not here" in message(answer)
    world.source.away = True
    assert doubt(world.manifest(APP, "1"))["reason"] == "UNAVAILABLE"


def test_in_the_mode_resolve_a_role_that_is_expired_does_not_bring_back_what_another_signed(world: World) -> None:
    signed, moved = resolving(world)
    world.publish(APP, {"1": signed}, role="targets")
    world.collection(APP).targets({"1": world.manifests[moved]}, role=RELEASES, expires=world.now + timedelta(days=2))
    world.upload(APP, RELEASES)
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == moved
    world.now += timedelta(days=3)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert "which is not here" not in message(answer)


def test_in_the_mode_resolve_a_tag_that_was_deleted_is_gone(world: World) -> None:
    signed, _ = resolving(world)
    deleter = world.token(APP, "delete")
    assert world.request("DELETE", f"{APP}/manifests/1?trust=cascade", deleter).status_code == 202
    assert (status(world), status(world, signed)) == (404, 200)


def test_the_mode_can_be_the_sites(tmp_path: Path) -> None:
    world = World(tmp_path, trust_mode="resolve", trust_require="all", trust_roles=(QA, SEC))
    teams(world, {QA: [human()], SEC: [human()]})
    signed = world.push_image(APP, "1", seed="signed")
    world.publish(APP, {"1": signed}, role=QA)
    world.push_image(APP, "1", seed="moved")
    assert status(world) == 403
    world.publish(APP, {"1": signed}, role=SEC)
    assert world.manifest(APP, "1").headers["Docker-Content-Digest"] == signed
