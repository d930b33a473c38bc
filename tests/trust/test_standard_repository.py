# SPDX-License-Identifier: Apache-2.0
"""Publishing TUF 1.0 repositories: python-tuf's own client, over HTTP, is who must believe them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater

from shelf import World
from trust.changes import (
    Change,
    Delegate,
    RemoveDelegation,
    RemoveDelegationKeys,
    RemoveTarget,
    ReplaceKeys,
    SetTarget,
    Witness,
)
from trust.errors import (
    ExpiredError,
    FormatError,
    HashError,
    InvalidError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    UnavailableError,
)
from trust.keyfolder import KeyFolder
from trust.keys import NotaryKey, PrivateKey, generate_private, public_key_of
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RoleName
from trust.repository import Creation, MissingKeysError
from trust.rootcerts import certify
from trust.standard import StandardRepository, StandardRole, open_reader
from tufmaker import Made, web

LINUX = StandardRole("linux")
DEB = StandardRole("deb", parent=LINUX)


class Site:
    """A repository, its publisher, and clients of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.public = folder / "public"
        self.url = url
        self.now = datetime.now(UTC)
        self.keys = KeyFolder(folder / "keys", lambda question: "correct horse battery")
        self.repository = self.publisher(self.keys)
        self._clients = 0

    def publisher(self, keys: KeyFolder, **how: object) -> StandardRepository:
        return StandardRepository(self.public, keys, name="example/app", clock=lambda: self.now, **how)  # type: ignore[arg-type]

    def key(self, private: PrivateKey | None = None, role: str = "linux") -> NotaryKey:
        private = private or generate_private("ecdsa")
        self.keys.add(private, role=role)
        return public_key_of(private)

    def publish(self, *changes: Change) -> dict[RoleName, int]:
        return dict(self.repository.publish(*changes).versions)

    def client(self, cache: str | None = None) -> Updater:
        """python-tuf's client, refreshed; one that has seen nothing but the first root, unless it has a cache."""
        self._clients += 1
        folder = self.folder / (cache or f"client-{self._clients}")
        (folder / "downloads").mkdir(parents=True, exist_ok=True)
        root = (self.public / "metadata" / "1.root.json").read_bytes()
        updater = Updater(
            str(folder), f"{self.url}/metadata/", str(folder / "downloads"), f"{self.url}/targets/", bootstrap=root
        )
        updater.refresh()
        return updater

    def get(self, path: str, cache: str | None = None) -> bytes | None:
        """What a client gets at `path`; None where nobody signs it."""
        client = self.client(cache)
        info = client.get_targetinfo(path)
        return Path(client.download_target(info)).read_bytes() if info else None

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.public / "metadata").rglob("*.json")}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "public").mkdir()
    with web(tmp_path / "public") as url:
        yield Site(tmp_path, url)


@pytest.fixture
def site(empty: Site) -> Site:
    empty.repository.publish(empty.repository.store("app/a", b"content of a"), create=Creation())
    return empty


def test_a_new_repository_of_two_signatures_each_is_refreshed_and_downloaded(empty: Site) -> None:
    change = empty.repository.store("app/a", b"content of a", custom={"by": "alice"})
    with pytest.raises(NotFoundError):
        empty.publish(change)
    done = empty.repository.publish(change, create=Creation(3, 2, 2, 2))
    assert (done.created, done.versions) == (True, {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1})
    assert empty.get("app/a") == b"content of a"
    info = empty.client().get_targetinfo("app/a")
    assert info is not None
    assert info.custom == {"by": "alice"}
    root = empty.repository.present().root
    assert (len(root.signed.roles["root"].keyids), root.signed.roles["root"].threshold) == (3, 2)
    assert len(Metadata.from_bytes((empty.public / "metadata" / "1.targets.json").read_bytes()).signatures) == 2
    assert empty.repository.publish(change, create=Creation()).versions == {}


def test_an_edit_is_a_new_version_and_nothing_is_written_without_one(site: Site) -> None:
    assert site.get("app/a", "cache") == b"content of a"
    before = site.files()
    assert site.publish(site.repository.store("app/a", b"content of a")) == {}
    assert site.files() == before
    assert site.publish(site.repository.store("app/a", b"other"), RemoveTarget(TARGETS, "app/none")) == {
        "targets": 2, "snapshot": 2, "timestamp": 2
    }  # fmt: skip
    assert site.get("app/a", "cache") == b"other"
    site.publish(RemoveTarget(TARGETS, "app/a"))
    assert site.get("app/a", "cache") is None
    # The state before can still be read by who is in the middle of it.
    assert {name: data for name, data in site.files().items() if name in before and name != "timestamp.json"} == {
        name: data for name, data in before.items() if name != "timestamp.json"
    }


def test_roots_are_rotated_link_by_link_for_old_clients_and_new_ones(site: Site) -> None:
    site.get("app/a", "old")
    assert site.repository.rotate(ROOT).versions == {"root": 2}
    assert site.repository.rotate(TIMESTAMP).versions == {"root": 3, "timestamp": 2}
    assert site.repository.rotate(SNAPSHOT).versions == {"root": 4, "snapshot": 2, "timestamp": 3}
    assert set(site.repository.rotate(TARGETS).versions) == {"root", "targets", "snapshot", "timestamp"}
    private = [generate_private("ed25519"), generate_private("ecdsa")]
    new = tuple(site.key(key, "root") for key in private)
    assert site.publish(ReplaceKeys(ROOT, new, 2)) == {"root": 6}
    assert site.get("app/a", "old") == site.get("app/a") == b"content of a"
    assert open_reader(site.url, root=site.public / "metadata" / "1.root.json").refresh().root.signed.version == 6
    held = [key.role for key in site.keys.held()]
    assert {role: held.count(role) for role in held} == {"root": 4, "targets": 1, "snapshot": 1, "timestamp": 1}


@pytest.mark.parametrize("kind", ["ecdsa", "ecdsa-384", "ed25519", "rsa"])
def test_a_delegation_signs_with_any_key_of_the_key_folder(site: Site, kind: str) -> None:
    made: dict[str, PrivateKey] = {
        "ecdsa-384": ec.generate_private_key(ec.SECP384R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    key = site.key(made.get(kind) or generate_private(kind))
    delegate = Delegate(LINUX, (key,), ("linux/*",))
    assert site.publish(delegate) == {"targets": 2, "linux": 1, "snapshot": 2, "timestamp": 2}
    assert site.get("linux/b") is None  # and the client does not stumble
    assert set(site.publish(delegate, site.repository.store("linux/b", b"b", role=LINUX))) == {
        "linux", "snapshot", "timestamp"
    }  # fmt: skip
    assert site.get("linux/b") == b"b"
    with pytest.raises(InvalidError):
        site.publish(site.repository.store("mac/b", b"b", role=LINUX))
    assert site.publish(delegate) == {}
    scheme = {"ecdsa": "ecdsa-sha2-nistp256", "ecdsa-384": "ecdsa-sha2-nistp384", "rsa": "rsassa-pss-sha256"}
    delegations = site.repository.present().roles[TARGETS].signed.delegations
    assert delegations is not None
    assert [each.scheme for each in delegations.keys.values()] == [scheme.get(kind, kind)]


def test_delegations_below_delegations_need_as_many_signatures_as_they_say(site: Site) -> None:
    one, two = site.key(), site.key()
    site.publish(
        Delegate(LINUX, (one, two), ("linux/*", "linux/*/*"), 2),
        Delegate(DEB, (two,), ("linux/deb/*",)),
        site.repository.store("linux/deb/x", b"x", role=DEB),
    )
    assert site.get("linux/deb/x", "cache") == b"x"
    found = open_reader(site.url, root=site.public / "metadata" / "1.root.json").refresh()
    assert found.lookup("linux/deb/x").signers == ("deb",)
    site.publish(RemoveTarget(DEB, "linux/deb/x"))
    assert site.get("linux/deb/x", "cache") is None


def test_the_empty_path_of_notary_stands_for_all_names(site: Site) -> None:
    delegate = Delegate(StandardRole("anything"), (site.key(),), ("",))
    names = ("x", "deep/er/x", "v1.0")
    site.publish(
        delegate, *(site.repository.store(name, name.encode(), role=StandardRole("anything")) for name in names)
    )
    assert [site.get(name) for name in names] == [name.encode() for name in names]
    assert site.publish(delegate) == {}


def test_a_removed_delegation_goes_and_may_come_back(site: Site) -> None:
    delegate = Delegate(LINUX, (site.key(),), ("linux/*",))
    below = Delegate(DEB, (site.key(),), ("linux/*",))
    store = site.repository.store("linux/b", b"b", role=DEB)
    site.publish(delegate, below, store)
    assert site.get("linux/b", "cache") == b"b"
    site.publish(RemoveDelegation(LINUX))
    assert site.get("linux/b", "cache") is None
    assert set(site.repository.present().roles) == {"targets"}
    versions = site.publish(delegate, below, store)
    assert (versions[LINUX], versions[DEB]) == (2, 2)  # not again version 1, which would be a rollback
    assert site.get("linux/b", "cache") == b"b"


def test_a_key_that_leaves_takes_no_signed_role_below_its_threshold(site: Site) -> None:
    one, two = site.key(), site.key()
    site.publish(Delegate(LINUX, (one, two), ("linux/*",), 2), site.repository.store("linux/b", b"b", role=LINUX))
    site.keys.remove(two.keyid)
    before = site.files()
    with pytest.raises(MissingKeysError):
        site.publish(site.repository.store("linux/b", b"c", role=LINUX))
    three = site.key()
    replace = (Delegate(LINUX, (three,)), RemoveDelegationKeys(LINUX, frozenset({two.keyid})))
    with pytest.raises(InvalidError, match="Witness"):
        site.publish(*replace)
    assert site.files() == before
    site.publish(*replace, Witness(LINUX))
    assert site.get("linux/b") == b"b"


def test_what_cannot_be_signed_is_not_begun(empty: Site) -> None:
    stranger = KeyFolder(empty.folder / "stranger", lambda question: "correct horse battery")
    with pytest.raises(InvalidError):
        empty.repository.publish(Delegate(RoleName("targets/alice"), (empty.key(),), ("*",)), create=Creation())
    assert [key.role for key in empty.keys.held() if key.role not in ("root", "linux")] == []
    assert empty.files() == {}
    empty.repository.publish(create=Creation())
    before = empty.files()
    with pytest.raises(MissingKeysError):
        empty.publisher(stranger).publish(SetTarget(TARGETS, "x", {"sha256": "0" * 64}, 1))
    with pytest.raises(MissingKeysError):
        empty.publish(Delegate(LINUX, (public_key_of(generate_private("ecdsa")),), ("linux/*",)))
    with pytest.raises(MissingKeysError):
        empty.publish(ReplaceKeys(TIMESTAMP, (public_key_of(generate_private("ecdsa")),)))
    with pytest.raises(MissingKeysError):
        empty.publisher(stranger).rotate(ROOT)
    assert empty.files() == before
    assert stranger.held() == []


def test_keys_and_names_that_tuf_does_not_have_are_refused(site: Site) -> None:
    private = generate_private("ecdsa")
    for key in (
        certify(private, site.repository.name, site.now),
        public_key_of(ec.generate_private_key(ec.SECP224R1())),
    ):
        with pytest.raises(InvalidError):
            site.publish(ReplaceKeys(ROOT, (key,)))
    for name in ("a/b", "..", ".x", "a b", "%2e"):
        with pytest.raises(InvalidError):
            site.publish(Delegate(StandardRole(name), (site.key(),), ("*",)))
    for name in ("", "root", "x\n", "x" * 256):
        with pytest.raises(InvalidError):
            StandardRole(name)
    for path in ("", "/x", "../x", "a/../x", "a//b", "a%2fb", "a b", "a\nb", ".hidden", "a/", "x\0"):
        with pytest.raises(InvalidError):
            site.repository.store(path, b"")


def test_what_has_lived_half_of_its_life_is_renewed_by_whoever_has_the_keys(site: Site) -> None:
    assert site.repository.renew().versions == {}
    site.now += timedelta(days=4)
    assert site.repository.renew().versions == {"timestamp": 2}
    site.now += timedelta(days=12)
    with pytest.raises(ExpiredError):
        site.repository.renew()
    assert site.repository.renew(revive=True).versions == {"snapshot": 2, "timestamp": 3}
    # The root key lies elsewhere, alone; each machine renews what it can sign.
    offline = KeyFolder(site.folder / "offline", lambda question: "correct horse battery")
    (root,) = site.keys.held(role="root")
    offline.load(site.keys.export(root.key_id))
    site.keys.remove(root.key_id)
    site.now += timedelta(days=15)
    assert site.publisher(offline).renew(revive=True).versions == {}
    site.now += timedelta(days=160)
    assert site.repository.renew(revive=True).versions == {"targets": 2, "snapshot": 3, "timestamp": 4}
    assert site.publisher(offline).renew().versions == {"root": 2}
    site.now = datetime.now(UTC)
    assert site.get("app/a") == b"content of a"


def test_a_publish_that_broke_off_behind_a_new_root_is_taken_up_when_asked(site: Site) -> None:
    timestamp = (site.public / "metadata" / "timestamp.json").read_bytes()
    site.repository.rotate(TIMESTAMP)
    (site.public / "metadata" / "timestamp.json").write_bytes(timestamp)
    with pytest.raises(SignatureError):
        site.publish(site.repository.store("app/b", b"b"))
    with pytest.raises(RepositoryError):
        site.client()
    site.repository.publish(site.repository.store("app/b", b"b"), revive=True)
    assert site.get("app/b") == b"b"


def test_two_who_publish_at_once_lose_nothing(site: Site) -> None:
    def publish(name: str) -> None:
        repository = site.publisher(site.keys)
        for number in range(3):
            repository.publish(repository.store(f"{name}/{number}", name.encode()))

    threads = [threading.Thread(target=publish, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = open_reader(site.public, root=site.public / "metadata" / "1.root.json").refresh()
    assert {target.name for target in found.targets()} == {
        "app/a", *(f"{name}/{number}" for name in ("one", "two") for number in range(3))
    }  # fmt: skip


def test_a_publisher_signs_nothing_on_top_of_what_somebody_tampered_with(site: Site) -> None:
    site.publish(site.repository.store("app/b", b"b"))
    site.repository.rotate(ROOT)
    metadata, newest = site.public / "metadata", (site.public / "metadata" / "2.root.json").read_bytes()
    trusting = site.publisher(site.keys, root=newest)
    good = site.files()
    change = SetTarget(TARGETS, "x", {"sha256": "0" * 64}, 1)

    def refused(error: type[Exception], name: str, data: bytes | None) -> None:
        (metadata / name).write_bytes(data) if data is not None else (metadata / name).unlink()
        before = site.files()
        for publisher in (site.repository, trusting):
            with pytest.raises(error):
                publisher.publish(change)
        assert site.files() == before
        (metadata / name).write_bytes(good[name])

    refused(HashError, "2.targets.json", good["2.targets.json"] + b" ")
    refused(HashError, "2.targets.json", good["1.targets.json"])
    refused(HashError, "2.snapshot.json", good["1.snapshot.json"])
    refused(NotFoundError, "2.snapshot.json", None)
    forged = json.loads(good["timestamp.json"])
    forged["signed"]["version"] += 1
    refused(SignatureError, "timestamp.json", json.dumps(forged).encode())
    forged = json.loads(good["1.root.json"])
    forged["signed"]["version"] = 3
    attackers = Made(site.folder / "attacker")
    own = attackers.sign("root", version=3)
    for root in (json.dumps(forged).encode(), own):
        (metadata / "3.root.json").write_bytes(root)
        for publisher in (site.repository, trusting):
            with pytest.raises(RotationError):
                publisher.publish(change)
    (metadata / "3.root.json").unlink()
    with pytest.raises(FormatError):
        site.publisher(site.keys, root=good["2.targets.json"]).publish(change)
    (metadata / "2.root.json").unlink()
    with pytest.raises(RollbackError):
        trusting.publish(change)
    with pytest.raises(NotFoundError):
        site.publisher(site.keys).publish(RemoveTarget(LINUX, "x"), SetTarget(LINUX, "x", {"sha256": "0" * 64}, 1))


def test_a_repository_of_which_parts_are_missing_is_not_begun_anew(site: Site) -> None:
    (site.public / "metadata" / "timestamp.json").unlink()
    before = site.files()
    with pytest.raises(NotFoundError):
        site.repository.publish(create=Creation())
    assert site.files() == before


def test_new_keys_stay_when_the_disk_fails_in_the_middle_and_old_ones_too(site: Site) -> None:
    before = {held.key_id for held in site.keys.held()}
    obstacle = site.public / "metadata" / "2.snapshot.json"
    obstacle.mkdir()  # behind the new targets, before the new root
    with pytest.raises(UnavailableError):
        site.repository.rotate(TARGETS)
    assert {held.key_id for held in site.keys.held()} > before
    obstacle.rmdir()
    site.publish(site.repository.store("app/b", b"b"))
    assert site.get("app/b") == b"b"


def test_a_replaced_key_that_another_role_has_is_not_deleted(site: Site) -> None:
    (snapshot,) = site.keys.held(role="snapshot")
    shared = site.keys.signer(snapshot.key_id).public_key
    site.publish(ReplaceKeys(TIMESTAMP, (shared,)), Delegate(LINUX, (shared,), ("linux/*",)))
    site.repository.rotate(SNAPSHOT)
    assert site.keys.holds(shared)
    site.repository.rotate(TIMESTAMP)
    site.publish(site.repository.store("linux/b", b"b", role=LINUX))
    assert site.get("linux/b") == b"b"


def test_a_folder_that_cannot_be_written_is_unavailable(empty: Site) -> None:
    (empty.public / "metadata").write_bytes(b"a file")
    with pytest.raises(UnavailableError):
        empty.repository.publish(create=Creation())


@pytest.mark.parametrize("consistent", [True, False])
def test_a_repository_that_python_tuf_made_is_edited_with_its_own_keys(empty: Site, consistent: bool) -> None:
    made = Made(empty.public, consistent=consistent)
    made.target("app/a", b"content of a")
    made.delegate("Bob", ["bob/*"], terminating=True)
    made.payloads["targets"].unrecognized_fields["x-note"] = "kept"
    made.payloads["root"].unrecognized_fields["x-note"] = "kept"
    made.write()
    for role, signers in made.signers.items():
        for signer in signers:
            empty.keys.add(signer._private_key, role=role)  # type: ignore[arg-type]  # of one of our kinds
    before = made.payloads["targets"].delegations.roles["Bob"]
    bob = StandardRole("Bob")
    empty.publish(
        empty.repository.store("bob/b", b"b", role=bob),
        Delegate(bob, (empty.key(),)),
        Delegate(bob, (), ("bobby/*",)),
    )
    assert [empty.get("app/a", "cache"), empty.get("bob/b", "cache")] == [b"content of a", b"b"]
    targets = empty.repository.present().roles[TARGETS].signed
    assert targets.unrecognized_fields == {"x-note": "kept"}
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    after = targets.delegations.roles["Bob"]
    assert (after.terminating, after.paths) == (True, ["bob/*", "bobby/*"])
    assert list(after.keyids)[: len(before.keyids)] == list(before.keyids)
    assert set(empty.repository.rotate(ROOT).versions) == {"root"}
    assert empty.repository.present().root.signed.unrecognized_fields == {"x-note": "kept"}
    assert empty.get("bob/b", "cache") == b"b"


def test_a_notary_collection_goes_out_as_a_tuf_repository(empty: Site) -> None:
    world = World()
    world.publish({"v1": b"manifest", "v2": b"other"})
    collection = world.reader().refresh()
    edits = [
        SetTarget(TARGETS, target.name, target.hashes, target.length, {"signers": list(target.signers)})
        for target in collection.targets()
    ]
    empty.repository.publish(*edits, create=Creation())
    info = empty.client().get_targetinfo("v1")
    assert info is not None
    assert (info.hashes["sha256"], info.length) == (hashlib.sha256(b"manifest").hexdigest(), 8)
