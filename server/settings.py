# SPDX-License-Identifier: Apache-2.0
"""What an operator may set: a TOML file, then the environment with the prefix `TROTH_SERVER`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from trust.errors import SettingsError
from trust.settings import observing_problems

PREFIX = "TROTH_SERVER"
KEY_ALGORITHMS = ("ecdsa", "ed25519")
LOG_LEVELS = ("debug", "info", "warning", "error")

_LISTEN = re.compile(r"(?:[^:/\s]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one notary server.

    Raises:
        SettingsError: settings that do not go together.
    """

    listen: str = field(default="127.0.0.1:4443", metadata=_help("address and port to listen on"))
    tls_certificate: Path | None = field(default=None, metadata=_help("the server's certificate chain, PEM"))
    tls_key: Path | None = field(default=None, metadata=_help("the certificate's private key, PEM"))
    client_ca: Path | None = field(
        default=None, metadata=_help("CA that clients must show a certificate of, PEM; none: they need not")
    )
    database_url: str = field(metadata=_help("SQLAlchemy URL of the server's database"))
    signer_url: str = field(default="https://localhost:4444", metadata=_help("URL of the notary signer"))
    signer_ca: Path | None = field(default=None, metadata=_help("CA certificate of the notary signer, PEM"))
    signer_client_certificate: Path | None = field(
        default=None, metadata=_help("certificate that the signer knows this server by, PEM")
    )
    signer_client_key: Path | None = field(default=None, metadata=_help("private key of that certificate, PEM"))
    key_algorithm: str = field(
        default="ecdsa", metadata=_help("kind of the keys that the signer makes: ecdsa or ed25519")
    )
    token_certificate: Path | None = field(
        default=None, metadata=_help("certificate of the token issuer; without it everybody may do everything")
    )
    token_realm: str = field(default="", metadata=_help("URL of the token endpoint"))
    token_issuer: str = field(default="troth", metadata=_help("the tokens' issuer"))
    token_service: str = field(default="troth", metadata=_help("the service that tokens are made for"))
    hosts: tuple[str, ...] = field(
        default=("localhost:5000",),
        metadata=_help("host names of the registry, with port: they may stand before a repository's name"),
    )
    gun_prefixes: tuple[str, ...] = field(
        default=(),
        metadata=_help("prefixes of the collections that are kept here, each ending in a slash; none: all"),
    )
    max_body_bytes: int = field(default=64 << 20, metadata=_help("longest upload that is taken"))
    max_part_bytes: int = field(default=32 << 20, metadata=_help("longest file in an upload that is taken"))
    max_parts: int = field(default=1000, metadata=_help("most files in one upload"))
    max_version_jump: int = field(
        default=10_000, metadata=_help("how far a file's version may run ahead of the stored one")
    )
    current_max_age: int = field(
        default=300, metadata=_help("seconds for which the current files may be cached by others; 0: not at all")
    )
    consistent_max_age: int = field(
        default=2_592_000, metadata=_help("seconds for which files asked for by hash or version may be cached")
    )
    workers: int = field(default=2, metadata=_help("processes"))
    threads: int = field(default=8, metadata=_help("threads in each process"))
    log_level: str = field(default="INFO", metadata=_help("least important kind of log line to write"))
    log_format: str = field(default="text", metadata=_help("form of log lines: text or json"))
    metrics_listen: str | None = field(
        default=None,
        metadata=_help("address and port of `/metrics`, plain HTTP for everybody who can reach it; none: no metrics"),
    )
    expiry_interval: int = field(
        default=300, metadata=_help("seconds, at least, between two looks at what was published, for expiry metrics")
    )

    def __post_init__(self) -> None:
        problems = observing_problems(self.log_format, self.metrics_listen, self.listen)
        if not _LISTEN.fullmatch(self.listen):  # gunicorn would listen somewhere else
            problems.append(f"listen must be host:port, not {self.listen[:80]!r}")
        if self.log_level.lower() not in LOG_LEVELS:
            problems.append(f"log_level must be one of {', '.join(LOG_LEVELS)}")
        if self.key_algorithm not in KEY_ALGORITHMS:
            problems.append(f"key_algorithm must be one of {', '.join(KEY_ALGORITHMS)}")
        # One alone must never mean "without".
        for one, other in (
            ("tls_certificate", "tls_key"),
            ("signer_client_certificate", "signer_client_key"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                problems.append(f"{one} and {other} go together")
        if self.client_ca is not None and self.tls_certificate is None:
            problems.append("client_ca needs a tls_certificate: without TLS there are no client certificates")
        if self.token_certificate is not None and not self.token_realm:
            problems.append("token_realm must be the URL of the token endpoint when there is a token_certificate")
        for prefix in self.gun_prefixes:
            if not _is_clean_prefix(prefix):
                problems.append(f"gun_prefixes: {prefix!r} must be a clean relative path that ends in one slash")
        numbers = ("max_body_bytes", "max_part_bytes", "max_parts", "max_version_jump", "workers", "threads")
        for name in (*numbers, "expiry_interval"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1")
        for name in ("current_max_age", "consistent_max_age"):
            if not 0 <= getattr(self, name) <= 31_536_000:
                problems.append(f"{name} must be between 0 and 31536000")
        if problems:
            raise SettingsError("; ".join(problems), detail=problems)


def _is_clean_prefix(prefix: str) -> bool:
    # NOTARY_V1 §4.3: repositories.gun_prefixes
    return prefix.endswith("/") and all(part not in ("", ".", "..") for part in prefix[:-1].split("/"))
