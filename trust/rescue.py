# SPDX-License-Identifier: Apache-2.0
"""Rescue a collection from a notary that will be switched off: all its public files, verified, byte for byte.

    rescued = rescue(Gun("docker.io/library/alpine"), server, now)
    write(rescued, Path("rescued"))

The folder has the layout of the protocol's addresses (NOTARY_V1 §2), so any web server can stand in for the notary:

    <folder>/v2/<gun>/_trust/tuf/{root,timestamp,snapshot,targets,targets/releases}.json      in force
    <folder>/v2/<gun>/_trust/tuf/{snapshot,targets,…}.<sha256>.json                           the same, by hash
    <folder>/v2/<gun>/_trust/tuf/{1,2,…}.root.json                                            every root

Private keys are not public and stay where they are: nobody can renew what was rescued until its publisher, who holds
the root key, gives it new timestamp and snapshot keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trust.chain import check_version
from trust.errors import InvalidError, NotFoundError, RollbackError, UnavailableError, UntrustedError
from trust.metadata import peek_version
from trust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Gun, RoleName
from trust.reader import Source
from trust.survey import Survey, named_file, survey

#: Below `v2/<gun>`.
TRUST_FOLDER = "_trust/tuf"


@dataclass(frozen=True, slots=True)
class Rescued:
    """A collection's public files.

    Attributes:
        survey: what was found.
        files: bytes by name, without `.json`.
        missing: roles that the snapshot names, no delegation leads to, and the notary has no file of.
    """

    survey: Survey
    files: dict[str, bytes]
    missing: tuple[RoleName, ...]


def rescue(gun: Gun, source: Source, now: datetime) -> Rescued:
    """Fetch and verify everything public.  What is past its time is taken, too.

    Raises:
        UntrustedError: it does not hold together.
        NotFoundError: there is no such collection.
        UnavailableError: a file that is named is not there, or the source does not answer.
    """
    found = survey(gun, source, now)
    files = {f"{root.signed.version}.root": root.to_bytes() for root in found.roots}
    files |= {meta.role: meta.to_bytes() for meta in found.in_force}
    files |= {f"{meta.role}.{meta.sha256}": meta.to_bytes() for meta in found.in_force if meta.role != TIMESTAMP}
    missing = []
    for name, entry in found.snapshot.signed.meta.items():
        if name in files:
            continue
        # Passed over by readers, or of a delegation that is gone: a later targets file may lead to it again.
        with contextlib.suppress(InvalidError, UntrustedError):
            role = RoleName(name)
            try:
                data = named_file(gun, source, role, entry)
            except NotFoundError:
                missing.append(role)
                continue
            files |= {role: data, f"{role}.{hashlib.sha256(data).hexdigest()}": data}
    return Rescued(found, files, tuple(missing))


def write(rescued: Rescued, folder: Path) -> int:
    """Put the files into `folder`, and return how many were not there yet.

    Files that are named by hash are never changed, and the timestamp comes last: whoever stops in between leaves what
    was there before.

    Raises:
        UnavailableError: one cannot be written.
        RollbackError: the folder has another root of the same version, or a later timestamp.
    """
    base = folder / "v2" / rescued.survey.gun / TRUST_FOLDER
    _check_not_older(rescued, base)
    order: dict[str, int] = {name: rank for rank, name in enumerate((TARGETS, SNAPSHOT, ROOT, TIMESTAMP), start=1)}
    count = 0
    try:
        # What is named by hash or version first: those in force name them.
        for name in sorted(rescued.files, key=lambda name: (0 if "." in name else order.get(name, 1), name)):
            path = base / f"{name}.json"
            there = path.read_bytes() if path.is_file() else None
            if there == rescued.files[name]:
                continue
            if there is not None and name.endswith(".root"):
                raise RollbackError(f"{path} is another root of that version: one of the two is a forgery")
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, rescued.files[name])
            count += 1
    except OSError as error:
        raise UnavailableError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return count


def guns_in(folder: Path) -> list[Gun]:
    """The collections in a folder that `write` filled."""
    found = []
    for path in (folder / "v2").rglob(TRUST_FOLDER):
        with contextlib.suppress(InvalidError):
            found.append(Gun(str(path.relative_to(folder / "v2").parent.parent)))
    return sorted(found)


def _check_not_older(rescued: Rescued, base: Path) -> None:
    """What was rescued before is not later than this."""
    try:
        seen = peek_version((base / f"{TIMESTAMP}.json").read_bytes())
    except FileNotFoundError:
        return
    check_version(rescued.survey.timestamp, seen)


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # public, and a web server's to read
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
