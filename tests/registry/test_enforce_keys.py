# SPDX-License-Identifier: Apache-2.0
"""Every kind of key, thresholds, nesting and expiry: from the publish through `trust.Reader` to the pull."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from collection import root_signer
from notaryserver import NOW, refusal
from trust.cache import MemoryCache
from trust.collection import Collection
from trust.errors import ExpiredError, NotFoundError
from trust.keys import NotarySigner
from trust.names import Gun, RoleName
from trust.reader import Reader
from world import APP, RELEASES, World, denial, doubt, message

CI = "targets/releases/ci"
GUN = f"localhost:5000/{APP}"


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


BARE: dict[str, Callable[[], NotarySigner]] = {
    "P-256": lambda: NotarySigner(ec.generate_private_key(ec.SECP256R1())),
    "P-384": lambda: NotarySigner(ec.generate_private_key(ec.SECP384R1())),
    "P-521": lambda: NotarySigner(ec.generate_private_key(ec.SECP521R1())),
    "RSA": lambda: NotarySigner(_rsa()),
    "Ed25519": lambda: NotarySigner(ed25519.Ed25519PrivateKey.generate()),
}
CERTIFIED: dict[str, Callable[[], NotarySigner]] = {
    "X.509 P-256": lambda: root_signer(GUN, NOW),
    "X.509 P-384": lambda: root_signer(GUN, NOW, key=ec.generate_private_key(ec.SECP384R1())),
    "X.509 P-521": lambda: root_signer(GUN, NOW, key=ec.generate_private_key(ec.SECP521R1())),
    "X.509 RSA": lambda: root_signer(GUN, NOW, key=_rsa()),
}
KINDS = BARE | CERTIFIED


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, trust_roles=(CI, RELEASES, "targets"))


def read(world: World) -> Collection:
    """What a client without a memory believes."""
    return Reader(Gun(GUN), world.source, MemoryCache(), clock=lambda: world.now).refresh()


def sign(world: World, role: str, tag: str, signers: Sequence[NotarySigner], threshold: int) -> None:
    """Delegate `role` to these keys, which sign the image under `tag`; nothing is published yet."""
    collection = world.collection(APP)
    collection.delegation(role, signers=signers, threshold=threshold)
    collection.targets({tag: world.manifests[world.push_image(APP, tag)]}, role=role)


@pytest.mark.parametrize("kind", KINDS)
def test_two_of_three_keys_of_any_kind_sign_what_is_pulled_and_one_does_not(world: World, kind: str) -> None:
    signers = [KINDS[kind]() for _ in range(3)]
    collection = world.collection(APP)
    collection.root()
    sign(world, RELEASES, "1", signers, threshold=2)
    collection.targets()
    collection.files[RoleName(RELEASES)] = collection.sign(RELEASES, signers=signers[:1])
    world.server.headers = world.token(GUN, "pull,push")
    answer = world.server.publish(collection, "root", "targets", RELEASES)
    assert refusal(answer) == ("ErrBadTargets", "valid signatures did not meet threshold for targets/releases")
    collection.files[RoleName(RELEASES)] = collection.sign(RELEASES, signers=signers[1:])
    world.upload(APP, "root", "targets", RELEASES)
    assert read(world).lookup("1").role == RELEASES
    assert world.manifest(APP, "1").status_code == 200


@pytest.mark.parametrize("kind", CERTIFIED)
def test_two_of_three_certificates_of_any_kind_sign_a_root(world: World, kind: str) -> None:
    signers = [KINDS[kind]() for _ in range(3)]
    collection = world.collection(APP)
    collection.rotate("root", signers=signers, threshold=2)
    collection.rotate("targets", signers=[BARE["P-384"](), BARE["RSA"]()], threshold=2)
    collection.root()
    collection.targets({"1": world.manifests[world.push_image(APP, "1")]})
    collection.files[RoleName("root")] = collection.sign("root", signers=signers[:1])
    world.server.headers = world.token(GUN, "pull,push")
    assert refusal(world.server.publish(collection, "root", "targets"))[0] == "ErrBadRoot"
    collection.files[RoleName("root")] = collection.sign("root", signers=signers[1:])
    world.upload(APP, "root", "targets")
    assert read(world).lookup("1").role == "targets"
    assert world.manifest(APP, "1").status_code == 200


def test_a_nested_role_signs_below_the_paths_of_all_above_it(world: World) -> None:
    collection = world.collection(APP)
    collection.root()
    collection.delegation(RELEASES, paths=["ci-", "v"])
    collection.delegation(CI, paths=["ci-", "x"], count=3, threshold=2)
    collection.targets()
    collection.targets(role=RELEASES)
    tags = {tag: world.manifests[world.push_image(APP, tag, seed=tag)] for tag in ("ci-1", "v1", "x1")}
    collection.targets(tags, role=CI)
    world.upload(APP, "root", "targets", RELEASES, CI)
    assert read(world).lookup("ci-1", [RoleName(CI)]).role == CI
    assert world.manifest(APP, "ci-1").status_code == 200
    for tag in ("v1", "x1"):  # its own paths, and those of the role above it
        with pytest.raises(NotFoundError):
            read(world).lookup(tag, [RoleName(CI)])
        assert denial(world.manifest(APP, tag))["reason"] == "UNSIGNED"


@pytest.mark.parametrize("role", ["root", "targets", RELEASES, CI])
def test_a_role_that_expired_signs_nothing_and_is_named(world: World, role: str) -> None:
    collection = world.collection(APP)
    soon = world.now + timedelta(days=1)
    collection.delegation(RELEASES)
    collection.delegation(CI)
    collection.root(expires=soon if role == "root" else None)
    collection.targets(expires=soon if role == "targets" else None)
    collection.targets(role=RELEASES, expires=soon if role == RELEASES else None)
    tags = {"1": world.manifests[world.push_image(APP, "1")]}
    collection.targets(tags, role=CI, expires=soon if role == CI else None)
    world.upload(APP, "root", "targets", RELEASES, CI)
    assert world.manifest(APP, "1").status_code == 200
    world.now += timedelta(days=2)
    answer = world.manifest(APP, "1")
    assert doubt(answer)["reason"] == "EXPIRED"
    assert f"{role} expired" in message(answer)
    if role in ("root", "targets"):
        with pytest.raises(ExpiredError, match=f"^{role} expired"):
            read(world)
    else:
        assert isinstance(read(world).skipped[RoleName(role)], ExpiredError)
        with pytest.raises(NotFoundError):
            read(world).lookup("1", [RoleName(CI)])
