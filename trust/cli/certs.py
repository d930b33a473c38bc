# SPDX-License-Identifier: Apache-2.0
"""The certificates of a state folder: made when they are missing, issued again when their time has come.

    ca/ca.crt  ca/ca.key                         the private authority; made once, never replaced
    tls/{registry,server,signer}.{crt,key}       what the services show
    tls/server-client.{crt,key}                  what notary-server shows to notary-signer
    tokens/token.{crt,key}                       what tokens are signed with; not the authority's, nor issued by it

The authority comes into being as a whole folder, so that an interrupted start leaves none rather than half of one.
The others may be made again at any time without a loss: clients trust the authority.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from trust.ca import Authority, Pair, new_authority, not_after, self_signed, sync_folder
from trust.errors import InvalidError, SettingsError

#: The services that clients reach by TLS, and the common names of their certificates.
SERVERS = {"registry": "registry", "server": "notary-server", "signer": "notary-signer"}
CLIENT = "notary-server"  # notary-signer lets nobody else in
_TOKEN_MARGIN = timedelta(days=90)


def prepare(folder: Path, hosts: Iterable[str], now: datetime) -> None:
    """Make sure that all certificates are there, good, and name all `hosts`.

    Raises:
        SettingsError: the authority is half there, damaged or at its end.
        InvalidError: one of `hosts` is neither a DNS name nor an IP address.
        OSError: a file cannot be read or written.
    """
    hosts = list(hosts)
    authority = _authority(folder / "ca", now)
    tls = folder / "tls"
    tls.mkdir(exist_ok=True)
    for name, common_name in SERVERS.items():
        _renew(authority, tls / name, common_name, hosts, server=True, now=now)
    _renew(authority, tls / "server-client", CLIENT, [], server=False, now=now)
    _token(folder / "tokens", now)


def _authority(folder: Path, now: datetime) -> Authority:
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        draft = folder.with_name(".ca.new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir()
        new_authority(f"troth authority {now:%Y-%m-%d}", now).write(draft / certificate.name, draft / key.name)
        draft.replace(folder)
        sync_folder(folder.parent)
    for here, there in ((certificate, key), (key, certificate)):
        if not here.exists():
            raise SettingsError(
                f"{there} is there, but {here} is not: put it back, or remove {folder} to start with a new "
                "authority, which clients must then be given"
            )
    try:
        authority = Authority(Pair.read(certificate, key))
    except InvalidError as error:
        raise SettingsError(f"the authority in {folder} cannot be used: {error}") from error
    if authority.not_after <= now:
        raise SettingsError(
            f"the authority {certificate} ended on {authority.not_after:%Y-%m-%d}: remove {folder} to start with a "
            "new one, which clients must then be given"
        )
    return authority


def _renew(authority: Authority, stem: Path, name: str, hosts: list[str], *, server: bool, now: datetime) -> None:
    certificate, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
    held = _read(certificate, key)
    if held is None or authority.must_be_renewed(held.certificate_pem, hosts, now):
        authority.issue(name, hosts, server=server, client=not server, now=now).write(certificate, key)


def _token(folder: Path, now: datetime) -> None:
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "token.crt", folder / "token.key"
    held = _read(certificate, key)
    if held is None or not_after(held.certificate_pem) - now < _TOKEN_MARGIN:
        self_signed("troth tokens", now).write(certificate, key)


def _read(certificate: Path, key: Path) -> Pair | None:
    try:
        return Pair.read(certificate, key)
    except (FileNotFoundError, InvalidError):
        # A start that was interrupted between the two files leaves a key without its certificate.
        return None
