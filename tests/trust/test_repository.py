# SPDX-License-Identifier: Apache-2.0
"""Publishing to a real notary server over a socket: what is signed, with what, and what others then believe."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Root
from werkzeug.serving import make_server

from notaryserver import NOW
from notaryserver import NotaryServer as ServerProcess
from softhsm import SoftHsm
from trust.cache import FileCache, MemoryCache
from trust.changes import (
    Delegate,
    Draft,
    RemoveDelegationKeys,
    ReplaceKeys,
    SetTarget,
    Witness,
    add_signer,
)
from trust.collection import Collection
from trust.errors import (
    ConflictError,
    ExpiredError,
    InvalidError,
    NotFoundError,
    RollbackError,
    UnavailableError,
    UntrustedError,
)
from trust.keyfolder import KeyFolder
from trust.keys import NotaryKey, generate_private
from trust.keyuri import make_key
from trust.metadata import parse
from trust.names import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Digest, Gun, RoleName
from trust.reader import Reader
from trust.remote import NotaryServer, RefusedPublishError
from trust.repository import Creation, MissingKeysError, Repository
from trust.rootcerts import certify
from trust.tags import RemoveSigner, RevokeTag, SignTag, keeps_signatures, signer_role

GUN = Gun("localhost:5000/library/app")
ALICE, BOB = RoleName("targets/alice"), RoleName("targets/bob")


def digest_of(text: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


class Site:
    """A notary server on a socket, and people with key folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.process = ServerProcess(folder)
        self._folder = folder
        self.http = make_server("127.0.0.1", 0, self.process.app, threaded=True)
        self.remote = NotaryServer(f"http://127.0.0.1:{self.http.server_port}")

    def later(self, **time: float) -> None:
        self.process.now += timedelta(**time)

    def person(self, name: str = "admin", server: NotaryServer | None = None) -> Repository:
        folder = self._folder / name
        keys = KeyFolder(folder, lambda question: None if question.attempt else "correct horse battery")
        return Repository(GUN, server or self.remote, keys, FileCache(folder), clock=lambda: self.process.now)

    def read(self) -> Collection:
        """What somebody believes who has seen nothing before."""
        return Reader(GUN, self.remote, MemoryCache(), clock=lambda: self.process.now).refresh()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    site = Site(tmp_path)
    thread = threading.Thread(target=site.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.http.shutdown()
    thread.join()
    site.http.server_close()


def sign(person: Repository, tag: str, content: str = "image", **options: object) -> SignTag:
    return SignTag(person.keys, tag, digest_of(content), 100, **options)  # type: ignore[arg-type]  # passed on


def new_key(person: Repository, name: str) -> NotaryKey:
    return person.keys.signer(person.keys.add(generate_private("ecdsa"), role=name).key_id).public_key


def begin(site: Site, **creation: int | bool) -> Repository:
    admin = site.person()
    admin.publish(sign(admin, "v1"), create=Creation(**creation))  # type: ignore[arg-type]  # passed on
    return admin


def test_a_first_publish_makes_the_collection(site: Site) -> None:
    admin = site.person()
    with pytest.raises(NotFoundError):
        admin.publish(sign(admin, "v1"))
    done = admin.publish(sign(admin, "v1"), create=Creation())
    assert (done.created, done.versions) == (True, {"root": 1, "targets": 1})
    collection = site.read()
    assert collection.lookup("v1").digest == digest_of("image")
    assert sorted((held.role, held.gun) for held in admin.keys.held()) == [("root", ""), ("targets", GUN)]
    root = collection.root.signed
    assert (root.expires, root.consistent_snapshot) == (NOW + timedelta(days=3650), False)


def test_a_second_collection_uses_the_same_root_key(site: Site) -> None:
    admin = begin(site)
    other = Repository(Gun("localhost:5000/other"), site.remote, admin.keys, MemoryCache(), clock=lambda: NOW)
    other.publish(create=Creation())
    assert len(admin.keys.held(role="root")) == 1
    assert other.present().root.signed.roles["root"].keyids != admin.present().root.signed.roles["root"].keyids


def test_files_have_the_exact_form_of_the_go_programs(site: Site) -> None:
    begin(site)
    for role, version in (("root", "expires"), ("targets", "targets")):
        data = site.remote.fetch(GUN, role, 2**20)
        decoded = json.loads(data)
        assert json.dumps(decoded, separators=(",", ":")).encode() == data
        assert list(decoded) == ["signed", "signatures"]
        assert list(decoded["signed"]) == sorted(decoded["signed"])
        assert version in decoded["signed"]
        assert list(decoded["signatures"][0]) == ["keyid", "method", "sig"]


def test_nothing_is_sent_when_nothing_changes(site: Site) -> None:
    admin = begin(site)
    assert admin.publish(sign(admin, "v1")).versions == {}
    assert admin.publish(sign(admin, "v1", "another")).versions == {"targets": 2}


def test_thresholds_above_one_are_there_from_the_beginning(site: Site) -> None:
    admin = begin(site, root_keys=3, root_threshold=2, targets_keys=2, targets_threshold=2)
    root = site.read().root.signed
    assert [(len(root.roles[r].keyids), root.roles[r].threshold) for r in (ROOT, TARGETS)] == [(3, 2), (2, 2)]
    admin.rotate(ROOT)
    root = site.read().root.signed
    assert (len(root.roles[ROOT].keyids), root.roles[ROOT].threshold) == (3, 2)
    admin.keys.remove(admin.keys.held(role="targets")[0].key_id)
    with pytest.raises(MissingKeysError, match="2 of these keys needed, 1 here"):
        admin.publish(sign(admin, "v2"))
    with pytest.raises(InvalidError):
        Creation(root_keys=1, root_threshold=2)


def test_signers_sign_what_docker_pulls(site: Site) -> None:
    admin, alice = begin(site), site.person("alice")
    admin.publish(*add_signer(ALICE, [new_key(alice, "alice")]))
    done = alice.publish(sign(alice, "v2"))
    assert done.versions == {"targets/alice": 1, "targets/releases": 1}
    target = site.read().lookup("v2")
    assert (target.role, target.signers) == (RELEASES, ("alice",))
    with pytest.raises(MissingKeysError, match="no valid signing keys for delegation roles"):
        admin.publish(sign(admin, "v2"))  # the administrator's key signs tags no longer


def test_a_signer_signs_only_what_the_paths_allow(site: Site) -> None:
    admin = begin(site)
    admin.publish(
        Delegate(ALICE, (new_key(admin, "alice"),), ("dev-",)), Delegate(BOB, (new_key(admin, "bob"),), ("",))
    )
    assert set(admin.publish(sign(admin, "dev-1")).versions) == {ALICE, BOB}
    assert set(admin.publish(sign(admin, "v1")).versions) == {BOB}
    with pytest.raises(InvalidError, match="paths do not allow"):
        admin.publish(sign(admin, "v1", roles=(ALICE,)))


def test_custom_is_canonical_and_stays_with_its_content(site: Site) -> None:
    admin = begin(site)
    admin.publish(sign(admin, "v1", custom={"b": 1, "a": "<&>"}))
    admin.publish(*add_signer(ALICE, [new_key(admin, "alice")]))
    admin.publish(sign(admin, "v1"))  # docker would lose it here (NOTARY_V1 §6.7)
    assert site.read().lookup("v1").custom == {"a": "<&>", "b": 1}
    admin.publish(sign(admin, "v1", "another image"))
    assert site.read().lookup("v1").custom is None
    for bad in (1.5, {"x": 1.5}, {1, 2}, "\n"):
        with pytest.raises(InvalidError):
            sign(admin, "v1", custom=bad).apply(Draft(Root(), {}))


def test_a_signer_who_leaves_takes_nothing_but_the_own_name_along(site: Site) -> None:
    admin = begin(site)
    keys = {role: new_key(admin, role.removeprefix("targets/")) for role in (ALICE, BOB)}
    for role, key in keys.items():
        admin.publish(*add_signer(role, [key]))
    admin.publish(sign(admin, "v2"))
    admin.publish(RemoveSigner(admin.keys, ALICE))
    collection = site.read()
    assert collection.lookup("v2").signers == ("bob",)
    assert keys[ALICE].keyid not in collection.roles[TARGETS].signed.delegations.keys  # type: ignore[union-attr]
    admin.publish(RemoveSigner(admin.keys, BOB))
    assert set(site.read().roles) == {TARGETS}


def test_a_signer_is_missed_only_where_nobody_else_has_signed(site: Site) -> None:
    admin, people = begin(site), [site.person("alice"), site.person("bob")]
    keys = [new_key(person, role.removeprefix("targets/")) for person, role in zip(people, (ALICE, BOB), strict=True)]
    admin.publish(*add_signer(ALICE, [keys[0]]), *add_signer(BOB, [keys[1]]))
    for person, tag in zip(people, ("v1", "v2"), strict=True):
        person.publish(sign(person, tag))
    present = admin.present()
    alice, bob = (key.canonical_id for key in keys)
    targets, released = present.roles[TARGETS].signed, present.roles[RELEASES]
    assert keeps_signatures(targets, released, {alice})
    assert not keeps_signatures(targets, released, {bob})
    assert not keeps_signatures(targets, released, {alice, bob})


def test_what_only_a_removed_key_has_signed_does_not_come_back(site: Site) -> None:
    admin, mallory = begin(site), site.person("mallory")
    bob = new_key(admin, "bob")
    admin.publish(*add_signer(RoleName("targets/mallory"), [new_key(mallory, "mallory")]), *add_signer(BOB, [bob]))
    mallory.publish(sign(mallory, "evil"))
    ids = frozenset(held.key_id for held in mallory.keys.held(role="mallory"))
    admin.publish(RemoveDelegationKeys(RELEASES, ids))
    assert RELEASES in site.read().skipped
    admin.publish(sign(admin, "good"))
    assert {target.name for target in site.read().targets([RELEASES])} == {"good"}


def test_a_witness_vouches_for_a_role_as_it_is(site: Site) -> None:
    admin, alice = begin(site), site.person("alice")
    key = new_key(alice, "alice")
    admin.publish(*add_signer(ALICE, [key]), *add_signer(BOB, [new_key(admin, "bob")]))
    alice.publish(sign(alice, "v2"))
    admin.publish(RemoveDelegationKeys(RELEASES, frozenset({key.canonical_id})))
    admin.publish(Witness(RELEASES))
    assert site.read().lookup("v2").role == RELEASES


def test_a_role_that_comes_back_goes_on_counting(site: Site) -> None:
    admin = begin(site)
    key = new_key(admin, "alice")
    admin.publish(*add_signer(ALICE, [key]))
    admin.publish(sign(admin, "v2"))
    admin.publish(RemoveSigner(admin.keys, ALICE))
    admin.publish(*add_signer(ALICE, [key]))
    assert admin.publish(sign(admin, "v3")).versions == {"targets/alice": 2, "targets/releases": 2}


def test_tags_are_revoked_where_they_can_be(site: Site) -> None:
    admin, alice = begin(site), site.person("alice")
    admin.publish(*add_signer(ALICE, [new_key(alice, "alice")]))
    alice.publish(sign(alice, "v1"))
    alice.publish(RevokeTag(alice.keys, ["v1"]))
    assert site.read().lookup("v1").role == TARGETS  # alice has no key for that
    admin.publish(RevokeTag(admin.keys))
    with pytest.raises(NotFoundError):
        site.read().lookup("v1")


@pytest.mark.parametrize("role", [TARGETS, SNAPSHOT, TIMESTAMP, ROOT])
def test_each_key_is_rotated(site: Site, role: RoleName) -> None:
    admin = begin(site)
    reader = Reader(GUN, site.remote, MemoryCache(), clock=lambda: site.process.now)
    before = reader.refresh().root.signed.roles[role].keyids
    admin.rotate(role, server=role == TIMESTAMP)
    after = reader.refresh().root.signed.roles[role].keyids
    assert set(before).isdisjoint(after)
    admin.publish(sign(admin, "v2"))
    assert reader.refresh().lookup("v2")
    held = admin.keys.held(role=role)
    assert len(held) == {TARGETS: 1, SNAPSHOT: 1, TIMESTAMP: 0, ROOT: 2}[role]


def test_the_snapshot_goes_to_the_publisher_and_back(site: Site) -> None:
    admin = begin(site, server_snapshot=False)
    assert admin.publish(sign(admin, "v2")).versions == {"targets": 2, "snapshot": 2}
    admin.rotate(SNAPSHOT, server=True)
    assert admin.keys.held(role="snapshot") == []
    assert admin.publish(sign(admin, "v3")).versions == {"targets": 3}
    admin.rotate(SNAPSHOT)
    assert set(admin.publish(sign(admin, "v4")).versions) == {"targets", "snapshot"}
    assert site.read().lookup("v4")


def test_a_key_cannot_go_where_it_must_not(site: Site) -> None:
    admin = begin(site)
    for role, server in ((ROOT, True), (TARGETS, True), (TIMESTAMP, False)):
        with pytest.raises(InvalidError, match="the server's"):
            admin.rotate(role, server=server)


def test_an_old_root_key_that_is_gone_cannot_be_rotated_away(site: Site) -> None:
    admin = begin(site)
    admin.keys.remove(admin.keys.held(role="root")[0].key_id)
    with pytest.raises(MissingKeysError):
        admin.rotate(ROOT)
    assert admin.keys.held(role="root") == []  # the new one is of no use


def test_a_publish_that_loses_a_race_is_done_again(site: Site) -> None:
    other = begin(site)
    admin = site.person(server=_Raced(site, lambda: other.publish(sign(other, "theirs"))))
    assert admin.publish(sign(admin, "ours")).versions == {"targets": 3}
    assert {target.name for target in site.read().targets()} == {"v1", "theirs", "ours"}


def test_whoever_always_loses_is_told(site: Site) -> None:
    other = begin(site)
    count = iter(range(100))
    admin = site.person(server=_Raced(site, lambda: other.publish(sign(other, f"theirs-{next(count)}")), always=True))
    with pytest.raises(ConflictError):
        admin.publish(sign(admin, "ours"))


def test_a_refusal_that_no_race_explains_is_told_at_once(site: Site) -> None:
    begin(site)
    sent: list[int] = []

    class Garbling(NotaryServer):
        def publish(self, gun: Gun, files: Mapping[RoleName, bytes]) -> None:
            sent.append(len(files))
            super().publish(gun, {role: data.replace(b"v2", b"v3") for role, data in files.items()})

    admin = site.person(server=Garbling(site.remote.url))
    with pytest.raises(RefusedPublishError, match="valid signatures did not meet threshold for targets"):
        admin.publish(sign(admin, "v2"))
    assert sent == [1]


def test_a_bare_key_is_no_root_key(site: Site) -> None:
    admin = begin(site)
    with pytest.raises(InvalidError, match="certificate"):
        admin.publish(ReplaceKeys(ROOT, (new_key(admin, "stray"),)))


def test_many_publishers_at_once_all_get_through(site: Site) -> None:
    begin(site)
    failures: list[Exception] = []

    def publish(number: int) -> None:
        person = site.person()
        try:
            person.publish(sign(person, f"tag-{number}"))
        except Exception as error:  # a thread's failure is shown below
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {target.name for target in site.read().targets()} == {"v1", *(f"tag-{n}" for n in range(4))}


def test_a_root_near_its_end_is_signed_along_with_a_new_certificate(site: Site) -> None:
    admin = begin(site)
    site.later(days=3650 - 150)
    with pytest.raises(ExpiredError):
        admin.publish(sign(admin, "v2"))  # targets has been over for long
    done = admin.publish(sign(admin, "v2"), revive=True)
    assert done.versions == {"root": 2, "targets": 2}
    root = site.read().root.signed
    (key,) = (root.keys[keyid] for keyid in root.roles[ROOT].keyids)
    assert isinstance(key, NotaryKey)
    assert root.expires == site.process.now + timedelta(days=3650)
    assert key.certificates[0].not_valid_after_utc >= root.expires


def test_without_the_root_key_a_root_near_its_end_stops_nobody(site: Site) -> None:
    admin, alice = begin(site), site.person("alice")
    admin.publish(*add_signer(ALICE, [new_key(alice, "alice")]))
    site.later(days=1000)
    admin.publish(Witness(TARGETS))
    site.later(days=1000)
    admin.publish(Witness(TARGETS))
    site.later(days=1000)
    admin.publish(Witness(TARGETS))
    site.later(days=500)
    assert set(alice.publish(sign(alice, "v2")).versions) == {"targets/alice", "targets/releases"}


def test_an_expired_collection_is_revived(site: Site) -> None:
    admin = begin(site)
    site.later(days=4000)  # root, targets, snapshot and timestamp
    with pytest.raises(UntrustedError):
        site.read()
    admin.publish(Witness(ROOT), Witness(TARGETS), revive=True)
    assert site.read().lookup("v1")


def test_an_older_state_is_not_signed_anew(site: Site) -> None:
    admin = begin(site)
    old = {name: site.remote.fetch(GUN, name, 2**20) for name in ("root", "targets", "snapshot", "timestamp")}
    admin.publish(RevokeTag(admin.keys, ["v1"]))
    admin.present()
    hashed = {f"{name}.{hashlib.sha256(data).hexdigest()}": data for name, data in old.items()}

    class Replaying(NotaryServer):
        def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
            return {**old, **hashed}[name]

    fooled = site.person(server=Replaying(site.remote.url))
    with pytest.raises(RollbackError):
        fooled.publish(sign(fooled, "v2"))


def test_a_signers_name_is_dockers() -> None:
    assert signer_role("alice_2") == "targets/alice_2"
    for name in ("releases", "", "Alice", "a/b", "-a", "a.b"):
        with pytest.raises(InvalidError):
            signer_role(name)


def test_targets_of_files_keep_all_their_hashes(site: Site) -> None:
    admin = begin(site)
    hashes = {algorithm: hashlib.new(algorithm, b"file").hexdigest() for algorithm in ("sha256", "sha512")}
    admin.publish(SetTarget(TARGETS, "file", hashes, 4))
    assert parse(TARGETS, site.remote.fetch(GUN, "targets", 2**20)).signed.targets["file"].hashes == hashes


class _Raced(NotaryServer):
    """The site's server; somebody publishes just before us, once or always."""

    def __init__(self, site: Site, before: Callable[[], object], *, always: bool = False) -> None:
        super().__init__(site.remote.url)
        self._before: Callable[[], object] | None = before
        self._always = always

    def publish(self, gun: Gun, files: Mapping[RoleName, bytes]) -> None:
        before = self._before
        if not self._always:
            self._before = None
        if before is not None:
            before()
        super().publish(gun, files)


@pytest.mark.client("softhsm2")
def test_a_collection_whose_keys_are_all_in_hardware_is_begun_and_signed_and_read(
    site: Site, softhsm: SoftHsm, tmp_path: Path
) -> None:
    token, admin = softhsm.token(), site.person()
    for role, gun in ((ROOT, ""), (TARGETS, GUN), (RoleName("snapshot"), GUN), ("alice", "")):
        uri, key = make_key(token.uri(f"{role} {gun}"))
        admin.keys.attach(uri, key, role=role, gun=gun)
    (held,) = admin.keys.held(role="alice")
    alice = admin.keys.signer(held.key_id).public_key
    create = Creation(server_snapshot=False)
    admin.publish(*add_signer(signer_role("alice"), [alice]), sign(admin, "v1"), create=create)
    again = site.person()
    again.publish(sign(again, "v2", "another"))
    collection = site.read()
    assert collection.lookup("v2").digest == digest_of("another")
    assert [sorted(target.signers) for target in collection.targets()] == [["alice"], ["alice"]]
    assert collection.root.signed.roles[TARGETS].keyids == [admin.keys.held(role=TARGETS)[0].key_id]
    # Nothing was made beside them.
    assert not (tmp_path / "admin/private").exists()


@pytest.mark.client("softhsm2")
def test_root_and_targets_move_from_files_into_hardware_and_sign_there(site: Site, softhsm: SoftHsm) -> None:
    admin, token = begin(site), softhsm.token()
    reader = Reader(GUN, site.remote, MemoryCache(), clock=lambda: site.process.now)
    reader.refresh()
    (old_root,), (old_targets,) = admin.keys.held(role=ROOT), admin.keys.held(role=TARGETS)
    for role, gun in ((ROOT, ""), (TARGETS, GUN)):
        uri, key = make_key(token.uri(role))
        held = admin.keys.attach(uri, key, role=role, gun=gun)
        signer = admin.keys.signer(held.key_id)
        new = certify(admin.keys.open(held.key_id), GUN, site.process.now) if role == ROOT else signer.public_key
        admin.rotate(role, keys=[new])
    assert {held.uri != "" for held in admin.keys.held(role=TARGETS)} == {True}
    assert old_targets.key_id not in {held.key_id for held in admin.keys.held()}
    admin.keys.remove(old_root.key_id)
    # From here on only the token signs.
    admin.publish(sign(admin, "v2"), Witness(ROOT))
    assert reader.refresh().lookup("v2").digest == digest_of("image")
    with token.away(), pytest.raises(UnavailableError, match="cannot be used"):
        admin.publish(sign(admin, "v3"))
    admin.publish(sign(admin, "v3"))
    assert site.read().lookup("v3").digest == digest_of("image")
