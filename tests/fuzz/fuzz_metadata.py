# SPDX-License-Identifier: Apache-2.0
"""Fuzz the reading of metadata: nothing that comes from outside breaks it, and nothing forged is believed.

An input is one byte that says the role, and a file.  Half of the new inputs are mutated as JSON, so that they get
past the first brace; the others are any bytes.  What must hold of each:

* `parse` takes it, or raises a `FormatError`; what it takes has the names of the file, and no others;
* what was signed is a fixed point: `signed_bytes`, written into a new file, is read the same and verifies the same;
* what is written from the model is read as the same model, and written the same again;
* whoever has the golden files' roots verifies it, or raises an `UntrustedError`; and what has valid signatures by
  the keys of golden files is one of their payloads: nobody else holds these keys.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["trust", "tuf", "securesystemslib"]):
    from shelf import GOLDEN_NOW, golden, role_of
    from trust.canonical import decode, to_wire
    from trust.chain import check_root, check_signatures
    from trust.dialect import to_notary
    from trust.errors import FormatError, UntrustedError
    from trust.metadata import NotaryMetadata, parse, parse_root, parse_targets, peek_version
    from trust.names import ROOT, SNAPSHOT, TARGETS, TOP_LEVEL, RoleName

from fuzz import harness

ROLES = [RoleName(name) for name in (*TOP_LEVEL, "targets/releases", "targets/alice")]
#: Every form of key, signature and delegation is in one of these collections.
COLLECTIONS = [
    golden(name) for name in ("docker-signed-alice-bob", "ed25519-server-keys/docker-signed-alice", "root-rotated-v3")
]
FILES = [(role_of(stem), data) for made in COLLECTIONS for stem, data in made.files.items() if role_of(stem) in ROLES]
PAYLOADS = {parse(role, data).signed_bytes for role, data in FILES}
ROOTS = [(made.gun, parse_root(made.current["root"]).signed) for made in COLLECTIONS]
DELEGATORS = [parse_targets(TARGETS, made.current["targets"]).signed for made in COLLECTIONS]
WORDS = [
    b'"signed":', b'"signatures":', b'"_type":', b'"Root"', b'"Targets"', b'"Snapshot"', b'"Timestamp"',
    b'"expires":',
    b'"version":', b'"keys":', b'"roles":', b'"keyids":', b'"threshold":', b'"keytype":', b'"keyval":', b'"public":',
    b'"private":', b'"delegations":', b'"targets":', b'"hashes":', b'"sha256":', b'"sha512":', b'"length":',
    b'"custom":', b'"meta":', b'"paths":', b'"name":', b'"method":', b'"sig":', b'"keyid":', b'"ecdsa"', b'"eddsa"',
    b'"rsapss"', b'"ecdsa-x509"', b'"rsa-x509"', b'"ed25519"', b"null", b"true", b"1e3", b"-0.0", b"1e400",
    b"\\ud800",
    b"\\u0000", b"\xef\xbb\xbf", b"\xff", b"\xe2\x80\xa8", b"9223372036854775808", b"-----BEGIN CERTIFICATE-----",
    b"2026-11-24T06:19:53.347583271+14:00",
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, 1.5, 1e300, "", "a", "\u2028", "\ud800", "\0", "<&>", "*",
    [],
    {}, [None], {"": None}, "0" * 64, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-23:59", "QQ==",
    "targets", "targets/releases", "sha256",
]  # fmt: skip


def check(data: bytes) -> None:
    """See the module.

    Raises:
        AssertionError: something does not hold; any other error is a finding as well.
    """
    role, file = ROLES[data[0] % len(ROLES)] if data else ROOT, data[1:]
    try:
        meta = parse(role, file)
    except FormatError:
        return
    assert peek_version(file) == meta.signed.version, "the version is read in two ways"
    _check_names(meta, decode(file)["signed"])
    believed = _verdicts(meta)
    assert not any(believed) or meta.signed_bytes in PAYLOADS, "a forged file is believed"
    _check_fixed_point(meta, believed)
    _check_model(meta)


def _check_names(meta: NotaryMetadata[Any], said: dict[str, Any]) -> None:
    """The model has the names that the file has, and no others."""
    if meta.role.is_targets:
        assert set(meta.signed.targets) == set(said.get("targets") or ()), "other targets than signed"
        delegations = said.get("delegations") or {}
        assert set(meta.signed.delegations.keys) == set(delegations.get("keys") or ()), "other keys than signed"
        names = [each["name"] for each in delegations.get("roles") or ()]
        assert list(meta.signed.delegations.roles) == names, "other delegations than signed"
    elif meta.role == ROOT:
        assert set(meta.signed.keys) == set(said.get("keys") or ()), "other keys than signed"
    elif meta.role == SNAPSHOT:
        assert set(meta.signed.meta) == set(said.get("meta") or ()), "other files than signed"


def _verdicts(meta: NotaryMetadata[Any]) -> list[bool]:
    """Who believes the file: the roots, and the targets of the collections, for delegations."""
    judges: list[Any] = DELEGATORS if meta.role.is_delegation else [root for _, root in ROOTS]
    believed = [_holds(check_signatures, judge, meta) for judge in judges]
    if meta.role == ROOT:
        for gun, previous in ROOTS:
            believed.append(_holds(check_root, meta, gun, GOLDEN_NOW, previous=previous))
            _holds(check_root, meta, gun, GOLDEN_NOW)  # on first use anybody may be believed
    if meta.role == ROOT or meta.role.is_targets:
        for role, data in FILES[:12]:  # it judges others, whatever its keys are
            _holds(check_signatures, meta.signed, parse(role, data))
    return believed


def _holds(rule: Any, *arguments: Any, **more: Any) -> bool:
    try:
        rule(*arguments, **more)
    except UntrustedError:
        return False
    return True


def _check_fixed_point(meta: NotaryMetadata[Any], believed: list[bool]) -> None:
    try:
        signed = to_wire(meta.signed_bytes)
    except FormatError:
        return  # Go can sign a control character and never write it
    signatures = json.dumps([each for s in meta.signatures.values() for each in s.to_list()])  # type: ignore[attr-defined]
    again = parse(meta.role, b'{"signatures":' + signatures.encode() + b',"signed":' + signed + b"}")
    assert again.signed_bytes == meta.signed_bytes, "what was signed is no fixed point"
    assert _verdicts(again) == believed, "the same file in another form is judged in another way"


def _check_model(meta: NotaryMetadata[Any]) -> None:
    before = to_notary(meta.signed)
    try:
        written = NotaryMetadata(meta.role, meta.signed, meta.signatures).to_bytes()
    except FormatError:
        return
    assert to_notary(meta.signed) == before, "writing changes the model"
    again = parse(meta.role, written)
    assert again.signed == meta.signed, "the model is read differently from what is written"
    assert NotaryMetadata(again.role, again.signed, again.signatures).to_bytes() == written, "no fixed point"


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Another input: a change in the JSON, or libFuzzer's own in the bytes."""
    chance = random.Random(seed)
    if chance.random() < 0.5 and data:
        try:
            tree = json.loads(data[1:])
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                _change(tree, chance)
            changed = data[:1] + json.dumps(tree, separators=(",", ":")).encode()
            if len(changed) <= most:
                return changed
        except (ValueError, RecursionError):
            pass
    return bytes(atheris.Mutate(data, most))


def _change(tree: Any, chance: random.Random) -> None:
    places = list(_places(tree))
    if not places:
        return
    home, key = chance.choice(places)
    act = chance.randrange(5)
    if act == 0:
        home[key] = copy.deepcopy(chance.choice(ODD))
    elif act == 1:
        other, at = chance.choice(places)
        home[key] = copy.deepcopy(other[at])
    elif act == 2:
        del home[key]
    elif isinstance(home, list):
        home.append(copy.deepcopy(home[key]))
    elif act == 3:
        name = chance.choice([word for word in ODD if isinstance(word, str)])
        home[name if chance.random() < 0.5 else _edited(key, chance)] = copy.deepcopy(home[key])
    elif isinstance(home[key], int):
        home[key] += chance.choice((-1, 1))
    elif isinstance(home[key], str):
        home[key] = _edited(home[key], chance)


def _edited(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice("0aZ/=.- \u2028") + text[at + chance.randrange(2) :]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


if __name__ == "__main__":
    SEEDS = (bytes([ROLES.index(role)]) + data for role, data in FILES)
    harness.run("metadata", check, SEEDS, WORDS, mutate)
