# SPDX-License-Identifier: Apache-2.0
"""`troth key attach`: the folder knows where a key is, and everything else goes on as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softhsm import PIN, SoftHsm, SoftToken
from trust.cli.main import main
from trust.keyfolder import KeyFolder
from trust.keys import NotarySigner
from trust.keyuri import MODULE_VARIABLE

pytestmark = pytest.mark.client("softhsm2")


@pytest.fixture(scope="module")
def token(softhsm: SoftHsm) -> SoftToken:
    return softhsm.token()


class Person:
    """Somebody with a key folder, who calls `troth key`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.keys = KeyFolder(folder / "trust", lambda question: "correct horse battery")
        self._capsys = capsys

    def key(self, *arguments: str, status: int = 0) -> str:
        """What the command says."""
        found = main(["key", *arguments, "--trust-dir", str(self.folder / "trust")])
        said = self._capsys.readouterr()
        assert found == status, said
        assert PIN not in said.out + said.err
        return said.err if status else said.out

    def attach(self, *arguments: str, status: int = 0) -> str:
        return self.key("attach", "--dir", str(self.folder), *arguments, status=status)


@pytest.fixture
def person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path, capsys)


def test_a_signers_key_is_made_on_a_token_and_listed_with_its_place(person: Person, token: SoftToken) -> None:
    said = person.attach("--make", token.uri("made"), "alice")
    (held,) = person.keys.held()
    assert (held.role, held.gun) == ("alice", "")
    assert f"Key {held.key_id} of alice is at {held.uri}" in said
    assert (person.folder / "alice.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----\nrole: alice\n")
    (listed,) = json.loads(person.key("list", "--json"))
    assert listed == {"role": "alice", "gun": "", "id": held.key_id, "uri": held.uri}
    assert held.uri in person.key("list")
    NotarySigner(person.keys.open(held.key_id)).sign(b"payload")
    assert "does not leave it" in person.key("export", held.key_id, status=2)
    person.keys.remove(held.key_id)
    assert person.keys.held() == []


def test_a_key_that_is_there_is_attached_by_label_and_the_module_may_be_in_the_environment(
    person: Person, token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.attach("--make", token.uri("there"), "alice")
    (made,) = person.keys.held()
    other = Person(person.folder / "other", person._capsys)
    other.folder.mkdir()
    monkeypatch.setenv(MODULE_VARIABLE, "/usr/lib/softhsm/libsofthsm2.so")
    other.attach(f"pkcs11:token={token.label};object=there?pin-source=file:{token.pin_file}", "alice")
    assert [held.key_id for held in other.keys.held()] == [made.key_id]
    assert "there is a key 'there' on the token" in other.attach("--make", token.uri("there"), "bob", status=3)


def test_a_targets_key_is_for_a_collection_and_a_root_key_for_all(person: Person, token: SoftToken) -> None:
    person.attach("--make", token.uri("targets"), "targets", "--gun", "localhost:5000/library/app")
    person.attach("--make", token.uri("root"), "root")
    assert {(held.role, held.gun) for held in person.keys.held()} == {
        ("targets", "localhost:5000/library/app"),
        ("root", ""),
    }
    assert list(person.folder.glob("*.pub")) == []
    assert "already, as one of root" in person.attach(token.uri("root"), "alice", status=3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("targets",), "these need it"),
        (("alice", "--gun", "localhost:5000/app"), "--gun is for keys of targets and snapshot"),
        (("releases",), "cannot be a signer's name"),
        (("root", "--ed25519"), "not for root"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_key_is_made(
    person: Person, token: SoftToken, arguments: tuple[str, ...], reason: str
) -> None:
    assert reason in person.attach("--make", token.uri("not made"), *arguments, status=2)
    assert "there is no key" in person.attach(token.uri("not made"), "alice", status=1)
    assert "for keys that are made" in person.attach("--ed25519", token.uri("not made"), "alice", status=2)


def test_an_ed25519_key_may_sign_tags_and_not_roots(person: Person, token: SoftToken) -> None:
    person.attach("--make", "--ed25519", token.uri("edwards"), "alice")
    assert "must be ECDSA or RSA" in person.attach(token.uri("edwards"), "root", status=2)


def test_a_public_file_that_is_there_is_not_written_over(person: Person, token: SoftToken) -> None:
    (person.folder / "alice.pub").write_text("mine")
    assert "is there already" in person.attach("--make", token.uri("not made either"), "alice", status=3)
    assert (person.folder / "alice.pub").read_text() == "mine"


def test_a_pin_on_the_command_line_is_refused_and_not_repeated(person: Person, token: SoftToken) -> None:
    said = person.attach(f"pkcs11:token={token.label};object=there?pin-value={PIN}", "alice", status=2)
    assert "a PIN does not belong into a URI" in said


def test_files_that_are_no_references_and_references_under_another_name_are_no_keys(
    person: Person, token: SoftToken
) -> None:
    person.attach("--make", token.uri("swapped"), "alice")
    (held,) = person.keys.held()
    for name, data in (("a.json", b"{}"), ("b.json", b"\xff"), (f"{'0' * 64}.json", held.path.read_bytes())):
        held.path.with_name(name).write_bytes(data)
    assert [each.key_id for each in person.keys.held()] == [held.key_id]
    value = json.loads(held.path.read_text())
    for change in ({"uri": 1}, {"public": "x"}, {"more": ""}):
        held.path.write_text(json.dumps(value | change))
        assert person.keys.held() == []
