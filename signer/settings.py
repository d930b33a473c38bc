# SPDX-License-Identifier: Apache-2.0
"""What the operator of a notary-signer can set (`trust.settings`; environment prefix TROTH_SIGNER).

The certificate, its key and the clients' CA have no default: without them the signer does not start.  Passphrases
are not settings; they are in files or in variables of their own (`signer.passphrases`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from trust.errors import SettingsError
from trust.keystore import Limits
from trust.settings import observing_problems
from trust.web.run import Tls

_LISTEN = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


@dataclass(frozen=True)
class Settings:
    """Settings of a notary-signer.

    Raises:
        SettingsError: a value makes no sense.
    """

    tls_certificate: Path = field(metadata={"help": "certificate that the signer shows, PEM"})
    tls_key: Path = field(metadata={"help": "its private key, PEM"})
    client_ca: Path = field(metadata={"help": "CA that the clients' certificates must come from, PEM"})
    database_url: str = field(metadata={"help": "database of the sealed keys, as an SQLAlchemy URL"})
    listen: str = field(default="127.0.0.1:4444", metadata={"help": "address to listen on, host:port"})
    grpc_listen: str | None = field(
        default=None,
        metadata={"help": "address for a Go notary-server's gRPC, host:port, `listen`'s or another; none: no gRPC"},
    )
    clients: tuple[str, ...] = field(
        default=("notary-server",), metadata={"help": "common names of the certificates that are let in"}
    )
    default_alias: str = field(default="default", metadata={"help": "name of the passphrase that new keys get"})
    passphrase_folder: Path | None = field(
        default=None,
        metadata={"help": "folder with a file per passphrase, mode 0600; NOTARY_SIGNER_<ALIAS> wins over it"},
    )
    key_home: str = field(
        default="database",
        metadata={"help": "where new keys are made: `database`, sealed, or `pkcs11`, on a token"},
    )
    pkcs11_module: Path | None = field(
        default=None,
        metadata={"help": "PKCS#11 module of the token; needs the extra `hsm`, and `workers` = 1"},
    )
    pkcs11_token: str = field(default="", metadata={"help": "the token's label"})
    pkcs11_pin_file: Path | None = field(
        default=None, metadata={"help": "file that holds the token's user PIN, mode 0600"}
    )
    timestamp_max_days: int = field(default=31, metadata={"help": "furthest expiry of a timestamp that is signed"})
    snapshot_max_days: int = field(default=1464, metadata={"help": "furthest expiry of a snapshot that is signed"})
    max_payload_bytes: int = field(default=16 * 2**20, metadata={"help": "longest metadata that is signed"})
    cached_keys: int = field(default=1024, metadata={"help": "private keys that a worker keeps unsealed in memory"})
    workers: int = field(default=2, metadata={"help": "processes"})
    threads: int = field(default=8, metadata={"help": "threads in each process"})
    log_level: str = field(default="info", metadata={"help": "debug, info, warning or error"})
    log_format: str = field(default="text", metadata={"help": "form of log lines: text or json"})
    metrics_listen: str | None = field(
        default=None,
        metadata={"help": "address of `/metrics`, host:port, plain HTTP for all who reach it; none: no metrics"},
    )

    def __post_init__(self) -> None:
        problems = observing_problems(self.log_format, self.metrics_listen, self.listen, self.grpc_listen)
        if not self.clients or not all(self.clients):
            problems.append("clients must name the certificates that are let in: nobody is")
        for name, address in (("listen", self.listen), ("grpc_listen", self.grpc_listen)):
            if address is not None and not _LISTEN.fullmatch(address):  # gunicorn would listen somewhere else
                problems.append(f"{name} must be host:port, not {address[:80]!r}")
        numbers = (
            "timestamp_max_days",
            "snapshot_max_days",
            "max_payload_bytes",
            "cached_keys",
            "workers",
            "threads",
        )
        problems += [f"{name} must be a positive number" for name in numbers if not 0 < getattr(self, name) < 2**31]
        if self.log_level.lower() not in ("debug", "info", "warning", "error"):
            problems.append("log_level must be debug, info, warning or error")
        if max(self.timestamp_max_days, self.snapshot_max_days) > 36500:
            problems.append("timestamp_max_days and snapshot_max_days must be at most 36500: 100 years")
        for name in ("tls_certificate", "tls_key", "client_ca"):
            path: Path = getattr(self, name)
            if not path.is_file():
                problems.append(f"{name}: there is no file {path}; the signer speaks mutual TLS and nothing else")
        problems += self._token_problems()
        if problems:
            raise SettingsError("; ".join(problems), detail=problems)

    def _token_problems(self) -> list[str]:
        if self.key_home not in ("database", "pkcs11"):
            return [f"key_home must be database or pkcs11, not {self.key_home[:80]!r}"]
        if self.key_home == "database" and not (self.pkcs11_module or self.pkcs11_token or self.pkcs11_pin_file):
            return []
        problems = []
        if self.pkcs11_module is None or not self.pkcs11_module.is_file():
            problems.append(f"pkcs11_module: there is no file {self.pkcs11_module or ''}; it is the token's library")
        if not self.pkcs11_token:
            problems.append("pkcs11_token must be the label of the token that keys are on")
        if self.pkcs11_pin_file is None:
            problems.append("pkcs11_pin_file must be the file that holds the token's PIN")
        if self.workers != 1:
            problems.append("workers must be 1 with a token, which is for one process only; threads may be more")
        return problems

    @property
    def tls(self) -> Tls:
        """The TLS material."""
        return Tls(self.tls_certificate, self.tls_key, self.client_ca)

    @property
    def limits(self) -> Limits:
        """How far ahead a signed file may expire."""
        return Limits(timedelta(days=self.timestamp_max_days), timedelta(days=self.snapshot_max_days))
