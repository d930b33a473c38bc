# SPDX-License-Identifier: Apache-2.0
"""Reading TUF 1.0 repositories that python-tuf wrote: what is believed, and every way to be deceived."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import SuccinctRoles, Targets
from tuf.ngclient import Updater

from trust.errors import (
    DelegationError,
    ExpiredError,
    FormatError,
    HashError,
    InvalidError,
    NotFoundError,
    RollbackError,
    RotationError,
    SignatureError,
    SizeError,
    TrustError,
    UnavailableError,
    UntrustedError,
)
from trust.names import TARGETS
from trust.standard import StandardCollection, StandardReader, StandardRole, open_reader
from trust.standard.collection import MAX_WALK
from trust.standard.places import Folder, PlacesFetcher
from tufmaker import DAY, Made, web


def reader(made: Made, *, cache: Path | None = None, address: str | None = None) -> StandardReader:
    return open_reader(address or made.folder, root=made.root, cache=cache)


def read(made: Made, *, cache: Path | None = None) -> StandardCollection:
    return reader(made, cache=cache).refresh()


def simple(folder: Path, **how: Any) -> Made:
    made = Made(folder, **how)
    made.target("app/a", b"content of a", custom={"by": "alice"})
    made.delegate("linux", ["linux/*"])
    made.target("linux/b", b"content of b", role="linux")
    made.write()
    return made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return simple(tmp_path / "public")


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("over", ["folder", "web"])
def test_what_python_tuf_wrote_is_read_and_downloaded(tmp_path: Path, consistent: bool, over: str) -> None:
    made = simple(tmp_path / "public", consistent=consistent)
    with web(made.folder) as url:
        theirs = reader(made, address=url if over == "web" else None)
        found = theirs.refresh()
        a, b = found.lookup("app/a"), found.lookup("linux/b")
        assert theirs.download(a, tmp_path / "a").read_bytes() == b"content of a"
        assert theirs.download(b, tmp_path / "b").read_bytes() == b"content of b"
    assert (a.name, a.role, a.signers, a.length, a.custom) == ("app/a", TARGETS, (), 12, {"by": "alice"})
    assert (b.role, b.signers, b.digest) == ("linux", ("linux",), f"sha256:{b.hashes['sha256']}")
    assert a.expires == made.payloads["timestamp"].expires
    assert {target.name for target in found.targets()} == {"app/a", "linux/b"}
    assert set(found.roles) == {"targets", "linux"}
    assert not found.skipped
    assert found.is_signed(b.hashes)
    assert not found.is_signed({"sha256": "0" * 64})


def test_who_decides_can_be_limited_and_nobody_else_decides_then(made: Made) -> None:
    found = read(made)
    assert found.lookup("linux/b", [StandardRole("linux")]).name == "linux/b"
    for name, role in (("linux/b", TARGETS), ("app/a", StandardRole("linux"))):
        with pytest.raises(NotFoundError):
            found.lookup(name, [role])
    assert [target.name for target in found.targets([TARGETS])] == ["app/a"]
    made.target("linux/b", b"first of targets")
    made.write()
    with pytest.raises(NotFoundError):
        read(made).lookup("linux/b", [StandardRole("linux")])
    for name in ("nowhere", "linux/none", ""):
        with pytest.raises(NotFoundError):
            found.lookup(name)
    with pytest.raises(InvalidError):
        found.lookup("\ud800")


def test_a_role_signs_nothing_outside_of_its_paths(made: Made) -> None:
    made.target("app/evil", b"evil", role="linux")
    made.target("linux/deep/evil", b"evil", role="linux")
    made.write()
    found = read(made)
    assert {target.name for target in found.targets()} == {"app/a", "linux/b"}
    for name in ("app/evil", "linux/deep/evil"):
        with pytest.raises(NotFoundError):
            found.lookup(name)


def test_the_first_delegation_wins_and_a_terminating_one_is_the_last_word(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.delegate("first", ["a*"], terminating=True)
    made.delegate("second", ["*"])
    made.target("ab", b"first", role="first")
    made.target("ab", b"second", role="second")
    made.target("ac", b"second", role="second")
    made.target("b", b"second", role="second")
    made.write()
    found = read(made)
    assert {target.name: str(target.role) for target in found.targets()} == {"ab": "first", "b": "second"}


def test_hashed_bins_are_read_one_by_one(tmp_path: Path) -> None:
    made = Made(tmp_path)
    bins = SuccinctRoles([], 1, 4, "bin")
    made.delegate("bin-key", [])
    signers = made.signers.pop("bin-key")
    made.payloads.pop("bin-key")
    made.payloads["targets"].delegations.roles = None
    made.payloads["targets"].delegations.succinct_roles = bins
    made.payloads["targets"].add_key(signers[0].public_key)
    for name in bins.get_roles():
        made.payloads[name], made.signers[name] = Targets(expires=made.payloads["root"].expires), signers
    home = bins.get_role_for_target("x")
    made.target("x", b"in its bin", role=home)
    made.target("y", b"in a wrong bin", role=next(n for n in bins.get_roles() if n != bins.get_role_for_target("y")))
    made.write()
    (tmp_path / "metadata" / f"2.{next(name for name in bins.get_roles() if name != home)}.json").unlink()
    found = read(made)
    assert found.lookup("x").role == home  # the missing bin has no say in it
    with pytest.raises(UnavailableError):
        found.roles  # noqa: B018


names = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/c"])
patterns = st.lists(st.sampled_from(["*", "a*", "a/*", "b/*", "*/*", "a/b/?", "a"]), max_size=2)
roles = st.sampled_from(["r1", "r2", "r3", "r4"])
edges = st.lists(
    st.tuples(st.sampled_from(["targets", "r1", "r2", "r3"]), roles, patterns, st.booleans()), max_size=8
)
signed = st.lists(st.tuples(st.sampled_from(["targets", "r1", "r2", "r3", "r4"]), names), max_size=8)


@settings(max_examples=60)
@given(edges=edges, signed=signed)
@example(edges=[("targets", "r1", ["*"], False), ("r1", "r1", ["*"], True)], signed=[("r1", "a")])
def test_any_graph_of_delegations_is_read_as_python_tufs_client_reads_it(
    edges: list[tuple[str, str, list[str], bool]], signed: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = Made(folder)
        for parent, role, paths, terminating in edges:
            if parent in made.payloads:
                made.delegate(role, paths, parent=parent, terminating=terminating)
        for role, target in signed:
            if role in made.payloads:
                made.target(target, f"{target} of {role}".encode(), role=role)
        made.write()
        ours = read(made)
        for target in ("a", "b", "a/b", "b/a", "a/b/c"):
            try:
                found = dict(ours.lookup(target).hashes)
            except NotFoundError:
                found = None
            theirs = client(made, folder / "client").get_targetinfo(target)
            assert found == (theirs.hashes if theirs else None)


def client(made: Made, cache: Path) -> Updater:
    """python-tuf's own client, which reads files where ours would."""
    cache.mkdir(exist_ok=True)
    fetcher = PlacesFetcher({"metadata": Folder(made.folder / "metadata")})
    return Updater(str(cache), "metadata", fetcher=fetcher, bootstrap=made.root)


def test_more_delegations_than_anybody_needs_are_not_followed(tmp_path: Path) -> None:
    made = Made(tmp_path)
    parent = "targets"
    for number in range(MAX_WALK + 1):
        made.delegate(f"r{number}", ["*"], parent=parent)
        parent = f"r{number}"
    made.target("deep", b"", role=f"r{MAX_WALK - 1}")
    made.target("too-deep", b"", role=parent)
    made.write()
    found = read(made)
    assert found.lookup("deep")
    with pytest.raises(DelegationError):
        found.lookup("too-deep")


def test_a_new_root_is_followed_link_by_link_and_remembered(made: Made, tmp_path: Path) -> None:
    cache, first = tmp_path / "cache", made.root
    for role in ("root", "timestamp", "root", "targets"):
        before = made.rekey(role, count=3, threshold=2)
        made.sign("root", also=before if role == "root" else None)
    made.write("targets")
    assert read(made, cache=cache).root.signed.version == 5
    assert read(made).lookup("app/a")
    for version in (2, 3, 4):
        (made.folder / "metadata" / f"{version}.root.json").unlink()
    made.sign("root", also=made.rekey("root"))
    # Who has seen the roots in between needs them no more; who has not is led nowhere.
    assert open_reader(made.folder, root=first, cache=cache).refresh().root.signed.version == 6
    with pytest.raises(UntrustedError):
        open_reader(made.folder, root=first).refresh()


def test_a_reader_begins_with_the_root_in_its_cache(made: Made, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "cache"
    assert read(made, cache=cache).root.signed.version == 1
    made.sign("root", also=made.rekey("root"))
    assert open_reader(made.folder, root=None, cache=cache).refresh().root.signed.version == 2
    assert os.stat(cache).st_mode & 0o777 == 0o700
    for empty in (None, tmp_path / "empty"):
        with pytest.raises(InvalidError):
            open_reader(made.folder, root=None, cache=empty)
    with pytest.raises(InvalidError):
        open_reader(made.folder, root=tmp_path / "none.json")
    with pytest.raises(InvalidError):
        open_reader("http://", root=b"")


def test_a_collection_says_when_it_is_too_old(made: Made) -> None:
    found = read(made)
    found.lookup("linux/b")
    found.check_fresh(datetime.now(UTC))
    with pytest.raises(ExpiredError):
        found.check_fresh(datetime.now(UTC) + timedelta(days=31))


# Attacks.


def test_an_older_timestamp_is_a_rollback(made: Made, tmp_path: Path) -> None:
    old = made.files["timestamp"]
    made.write()
    read(made, cache=tmp_path / "cache")
    made.put("timestamp", old)
    with pytest.raises(RollbackError):
        read(made, cache=tmp_path / "cache")


@pytest.mark.parametrize("role", ["snapshot", "targets", "linux"])
def test_a_file_that_goes_back_is_a_rollback_even_if_its_keys_signed_that(
    made: Made, tmp_path: Path, role: str
) -> None:
    made.write()
    read(made, cache=tmp_path / "cache")
    made.sign(role, version=1)
    if role != "snapshot":
        made.sign("snapshot")
    made.sign("timestamp")
    with pytest.raises(RollbackError):
        read(made, cache=tmp_path / "cache")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_what_has_expired_is_a_freeze(made: Made, role: str) -> None:
    made.until(-DAY, role)
    made.sign(role)
    if role in ("targets", "linux"):
        made.sign("snapshot")
    if role != "timestamp":
        made.sign("timestamp")
    with pytest.raises(ExpiredError) as refusal:
        read(made)
    assert (refusal.value.role, refusal.value.expires) == (role, made.payloads[role].expires)


def test_an_expired_delegation_leaves_its_names_undecided_and_others_alone(made: Made) -> None:
    made.delegate("fallback", ["*/*"])
    made.target("linux/b", b"evil", role="fallback")
    made.target("mac/c", b"content", role="fallback")
    made.until(-DAY, "linux")
    made.write()
    found = read(made)
    with pytest.raises(ExpiredError) as refusal:
        found.lookup("linux/b")
    assert refusal.value.role == "linux"
    assert {target.name for target in found.targets()} == {"app/a", "mac/c"}
    assert list(found.skipped) == ["linux"]


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize("role", ["snapshot", "targets", "linux"])
def test_files_of_different_states_do_not_go_together(tmp_path: Path, hashes: bool, role: str) -> None:
    made = simple(tmp_path, hashes=hashes)
    old = made.files[role]
    made.write()
    made.put(role, old)
    # Signatures differ in length now and then, which the length that is named beside the hash tells first.
    with pytest.raises((HashError, SizeError) if hashes else RollbackError):
        read(made).lookup("linux/b")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "linux"])
def test_who_has_another_key_signs_nothing(made: Made, role: str) -> None:
    made.signers[role] = made.signers["root"]
    made.write()
    with pytest.raises(SignatureError) as refusal:
        read(made).lookup("linux/b")
    assert not isinstance(refusal.value, RotationError)


def test_one_signature_is_not_two(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.delegate("two", ["*"], count=2, threshold=2)
    made.target("x", b"", role="two")
    made.write()
    assert read(made).lookup("x")
    del made.signers["two"][0]
    made.write()
    with pytest.raises(SignatureError):
        read(made).lookup("x")


def test_a_root_that_the_old_keys_did_not_sign_is_no_successor(made: Made) -> None:
    made.rekey("root")
    made.sign("root")
    with pytest.raises(RotationError):
        read(made)


def test_a_root_of_the_wrong_version_is_no_successor(made: Made) -> None:
    made.put("root", made.sign("root", version=3), version=2)
    with pytest.raises(RollbackError):
        read(made)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "linux"])
def test_a_file_of_another_role_or_none_is_malformed(tmp_path: Path, role: str) -> None:
    made = simple(tmp_path, hashes=False)
    other = "targets" if role in ("root", "timestamp", "snapshot") else "root"
    for content in (b"", b"{}", b"[" * 100_000, b"\xff", b'{"signed":{"_type":"timestamp"}}', made.files[other]):
        made.put(role, content, version=2 if role == "root" else None)
        with pytest.raises(UntrustedError):
            read(made).lookup("linux/b")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "linux"])
def test_a_file_without_end_is_not_read_to_its_end(made: Made, role: str) -> None:
    made.put(role, made.files[role] + b" " * 6_000_000)
    with pytest.raises(SizeError):
        read(made).lookup("linux/b")


class _Endless(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" " * 65536)
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Endless)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_never_ends_its_answer_is_left(made: Made, endless: str) -> None:
    with pytest.raises(SizeError):
        open_reader(endless, root=made.root).refresh()


def test_other_content_than_signed_is_not_downloaded(made: Made, tmp_path: Path) -> None:
    theirs = reader(made)
    found = theirs.refresh()
    (path,) = (made.folder / "targets" / "app").iterdir()
    for content, error in ((b"evil of a..", HashError), (b"evil of a more", SizeError)):
        path.write_bytes(content)
        with pytest.raises(error):
            theirs.download(found.lookup("app/a"), tmp_path / "a")
    path.unlink()
    with pytest.raises(NotFoundError):
        theirs.download(found.lookup("app/a"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(InvalidError):
        reader(made).download(found.lookup("app/a"), tmp_path / "a")


def test_no_repository_is_not_found_and_a_missing_part_is_unavailable(made: Made, tmp_path: Path) -> None:
    with web(tmp_path) as url:
        for address in (url, tmp_path):
            with pytest.raises(NotFoundError):
                open_reader(address, root=made.root).refresh()
    with pytest.raises(UnavailableError):
        open_reader(url, root=made.root).refresh()  # it is gone
    (made.folder / "metadata" / "1.snapshot.json").unlink()
    with pytest.raises(UnavailableError):
        read(made)


def test_a_delegation_that_the_snapshot_does_not_name_is_refused(made: Made) -> None:
    del made.payloads["snapshot"].meta["linux.json"]
    made.sign("snapshot")
    made.sign("timestamp")
    found = read(made)
    assert found.lookup("app/a")
    with pytest.raises(DelegationError):
        found.lookup("linux/b")


def test_nobody_reads_a_file_outside_of_the_folder(made: Made, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_bytes(made.files["linux"])
    for name in ("../../secret", "..%2f..%2fsecret", "/etc/passwd", "x\0y", "a//b"):
        made.payloads["targets"].targets[name] = made.payloads["targets"].targets["app/a"]
    made.write()
    theirs = reader(made)
    found = theirs.refresh()
    for target in found.targets():
        if target.name not in ("app/a", "linux/b"):
            with pytest.raises(NotFoundError):
                theirs.download(target, tmp_path / "out")


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_a_file_is_changed_into_it_is_refused_or_says_the_same(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        made = simple(Path(name), hashes=False)
        role = data.draw(st.sampled_from(["timestamp", "snapshot", "targets", "linux"]))
        tree = json.loads(made.files[role])
        places = list(_places(tree))
        home, key = places[data.draw(st.integers(0, len(places) - 1))]
        if data.draw(st.booleans()):
            home[key] = data.draw(
                st.sampled_from([None, 0, -1, 1.5, "", "x", "\ud800", [], {}, True, 2**70, "a" * 300])
            )
        else:
            del home[key]
        made.put(role, json.dumps(tree).encode())
        try:
            found = {target.name: target.hashes for target in read(made).targets()}
        except TrustError:
            return
        whole = {n: made.payloads[r].targets[n].hashes for n, r in (("app/a", "targets"), ("linux/b", "linux"))}
        assert found.items() <= whole.items()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def test_a_trusted_root_that_is_none_is_malformed_and_one_that_nobody_signed_is_not_believed(made: Made) -> None:
    with pytest.raises(FormatError):
        open_reader(made.folder, root=b"{}").refresh()
    unsigned = json.loads(made.root) | {"signatures": []}
    with pytest.raises(RotationError):
        open_reader(made.folder, root=json.dumps(unsigned).encode()).refresh()
