# SPDX-License-Identifier: Apache-2.0
"""The folder of private keys: what is found, who may read it, and how passphrases are asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trust.errors import ConflictError, InvalidError, NotFoundError, SettingsError
from trust.keyfiles import PassphraseError, parse, seal
from trust.keyfolder import KeyFolder
from trust.keys import generate_private, public_key_of
from trust.passphrases import Question, first_of, from_environment, from_file, from_person

GUN = "localhost:5000/library/app"
SECRET = "correct horse battery"
VARIABLES = {
    "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": "the root passphrase",
    "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": SECRET,
}


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "trust", from_environment(VARIABLES))


def test_a_key_is_kept_for_its_owner_alone(folder: KeyFolder) -> None:
    before = os.umask(0)
    try:
        held = folder.add(generate_private("ecdsa"), role="targets", gun=GUN)
    finally:
        os.umask(before)
    assert held.path == folder.folder / "private" / f"{held.key_id}.key"
    assert stat.S_IMODE(held.path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder.folder, held.path.parent)} == {0o700}
    assert b"ENCRYPTED" in held.path.read_bytes()


def test_keys_are_found_by_role_collection_and_id(folder: KeyFolder) -> None:
    root = folder.add(generate_private("ecdsa"), role="root")
    targets = folder.add(generate_private("ecdsa"), role="targets", gun=GUN)
    folder.add(generate_private("ed25519"), role="targets", gun="localhost:5000/other")
    assert folder.held(role="root") == [root]
    assert folder.held(role="targets", gun=GUN) == [targets]
    assert folder.find(root.key_id[:12]) == root
    for unknown in ("", "f" * 64):
        with pytest.raises(NotFoundError):
            folder.find(unknown)


def test_each_key_is_closed_with_the_passphrase_of_its_role(folder: KeyFolder) -> None:
    for role, passphrase in (("root", "the root passphrase"), ("targets", SECRET), ("alice", SECRET)):
        held = folder.add(generate_private("ecdsa"), role=role)
        assert public_key_of(parse(held.path.read_bytes()).open(passphrase)).keyid == held.key_id


def test_a_key_signs_after_its_passphrase_was_asked_for_once(folder: KeyFolder) -> None:
    held = folder.add(generate_private("ecdsa"), role="alice")
    asked: list[Question] = []

    def ask(question: Question) -> str | None:
        asked.append(question)
        return SECRET

    fresh = KeyFolder(folder.folder, ask)
    for _ in range(2):
        signer = fresh.signer(held.key_id)
        signer.public_key.verify_signature(signer.sign(b"payload"), b"payload")
    assert [(question.role, question.key_id) for question in asked] == [("alice", held.key_id)]


def test_a_wrong_passphrase_is_told_without_it(folder: KeyFolder) -> None:
    held = folder.add(generate_private("ecdsa"), role="root")
    wrong = KeyFolder(folder.folder, from_environment({"DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": "not this one"}))
    with pytest.raises(PassphraseError, match=f"root key {held.key_id} is wrong") as caught:
        wrong.signer(held.key_id)
    assert "not this one" not in str(caught.value)
    with pytest.raises(PassphraseError, match="not known"):
        KeyFolder(folder.folder, from_environment({})).signer(held.key_id)


def test_a_person_may_mistype(folder: KeyFolder) -> None:
    held = folder.add(generate_private("ecdsa"), role="alice")
    answers = iter(["first try", "second try", SECRET])
    KeyFolder(folder.folder, from_person(lambda _: next(answers))).signer(held.key_id)
    tries: list[str] = []

    def prompt(text: str) -> str:
        tries.append(text)
        return "always wrong"

    with pytest.raises(PassphraseError):
        KeyFolder(folder.folder, from_person(prompt)).signer(held.key_id)
    assert len(tries) == 3


def test_a_person_chooses_a_long_passphrase_and_repeats_it(tmp_path: Path) -> None:
    answers = iter(["short", SECRET, "something else", SECRET, SECRET])
    folder = KeyFolder(tmp_path, from_person(lambda _: next(answers)))
    held = folder.add(generate_private("ecdsa"), role="root")
    parse(held.path.read_bytes()).open(SECRET)


def test_notarys_variables_count_after_dockers() -> None:
    ask = from_environment({"NOTARY_ROOT_PASSPHRASE": "r", "NOTARY_DELEGATION_PASSPHRASE": "d", **{
        "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": ""}})  # fmt: skip
    assert [ask(Question(role, "", "")) for role in ("root", "alice", "targets")] == ["r", "d", None]
    both = first_of(ask, lambda question: "asked")
    assert both(Question("targets", "", "")) == "asked"


def test_a_passphrase_file_must_be_private(tmp_path: Path) -> None:
    """T28."""
    path = tmp_path / "passphrase"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        from_file(path)
    path.chmod(0o600)
    assert from_file(path)(Question("root", "", "")) == SECRET
    path.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        from_file(path)


def test_an_encrypted_key_is_really_loaded(folder: KeyFolder) -> None:
    # docker's own `key load` says that it did, and does not (NOTARY_V1 §6.7).
    key = generate_private("ecdsa")
    held = folder.load(seal(key, SECRET, role="alice"))
    assert (held.key_id, held.role) == (public_key_of(key).keyid, "alice")
    with pytest.raises(InvalidError, match="whose key"):
        folder.load(seal(generate_private("ecdsa"), SECRET, role=""))


def test_an_exported_key_can_be_loaded_elsewhere(folder: KeyFolder, tmp_path: Path) -> None:
    held = folder.add(generate_private("ecdsa"), role="targets", gun=GUN)
    pem = folder.export(held.key_id)
    assert f"path: {held.key_id}".encode() in pem  # else docker and notary lose it
    other = KeyFolder(tmp_path / "other", from_environment(VARIABLES)).load(pem)
    assert (other.key_id, other.role, other.gun) == (held.key_id, held.role, held.gun)


def test_a_key_is_one_role_only(folder: KeyFolder) -> None:
    key = generate_private("ecdsa")
    assert folder.add(key, role="alice") == folder.add(key, role="alice")
    with pytest.raises(ConflictError):
        folder.add(key, role="root")


def test_a_removed_key_is_gone(folder: KeyFolder) -> None:
    held = folder.add(generate_private("ecdsa"), role="alice")
    folder.remove(held.key_id)
    assert folder.held() == []
    with pytest.raises(NotFoundError):
        folder.signer(held.key_id)


def test_keys_of_older_layouts_are_found_where_they_are(folder: KeyFolder) -> None:
    key = generate_private("ecdsa")
    key_id = public_key_of(key).keyid
    old = folder.folder / "private/tuf_keys/localhost:5000/library/app"
    old.mkdir(parents=True)
    (old / f"{key_id}_targets.key").write_bytes(seal(key, SECRET, role=""))
    (old / "notes.key").write_text("not a key")
    assert [(held.key_id, held.role) for held in folder.held()] == [(key_id, "targets")]
    folder.signer(key_id)


def test_a_file_with_another_key_inside_is_refused(folder: KeyFolder) -> None:
    held = folder.add(generate_private("ecdsa"), role="alice")
    held.path.write_bytes(seal(generate_private("ecdsa"), SECRET, role="alice"))
    with pytest.raises(InvalidError, match="named after"):
        KeyFolder(folder.folder, from_environment(VARIABLES)).signer(held.key_id)
