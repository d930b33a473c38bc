# SPDX-License-Identifier: Apache-2.0
"""What an operator may set: a TOML file, then the environment with the prefix `TROTH_REGISTRY`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trust.errors import SettingsError
from trust.settings import observing_problems

PREFIX = "TROTH_REGISTRY"
TRUST_MODES = ("disabled", "permissive", "enforced", "resolve")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one registry.

    Raises:
        SettingsError: settings that do not go together.
    """

    listen: str = field(default="127.0.0.1:5000", metadata=_help("address and port to listen on"))
    tls_certificate: Path | None = field(default=None, metadata=_help("the server's certificate chain, PEM"))
    tls_key: Path | None = field(default=None, metadata=_help("the certificate's private key, PEM"))
    hosts: tuple[str, ...] = field(
        default=("localhost:5000",),
        metadata=_help("host names of this site, with port; the first one stands in the names of trust collections"),
    )
    database_url: str = field(metadata=_help("SQLAlchemy URL of the registry's database"))
    content_folder: Path | None = field(default=None, metadata=_help("folder for blobs and uploads"))
    content_accel: str | None = field(
        default=None,
        metadata=_help("where nginx, in front, serves that folder internally: it sends the blobs (X-Accel-Redirect)"),
    )
    storage_url: str | None = field(
        default=None,
        metadata=_help("instead of a folder, an object store: s3://bucket/prefix, gs://…, az://… or swift://…"),
    )
    storage_options: tuple[str, ...] = field(
        default=(), metadata=_help("name=value each, as the store calls them: endpoint, region, allow_http …")
    )
    storage_secrets: Path | None = field(
        default=None,
        metadata=_help("file of name=value lines, as access_key_id and secret_access_key, for its owner's eyes only"),
    )
    storage_redirect: bool = field(
        default=True, metadata=_help("whether clients fetch blobs from the object store itself, by a signed address")
    )
    storage_link_seconds: int = field(default=1200, metadata=_help("how long such an address is good"))
    notary_url: str | None = field(default=None, metadata=_help("URL of the notary server"))
    notary_ca: Path | None = field(default=None, metadata=_help("CA certificate of the notary server, PEM"))
    token_key: Path | None = field(default=None, metadata=_help("private key that signs tokens, PEM, P-256"))
    token_certificate: Path | None = field(
        default=None, metadata=_help("certificate of the token key; without it everybody may do everything")
    )
    token_realm: str = field(
        default="", metadata=_help("URL of the token endpoint; empty: /auth/token on the first of the hosts")
    )
    token_issuer: str = field(default="troth", metadata=_help("the tokens' issuer"))
    token_service: str = field(default="troth", metadata=_help("the service that tokens are made for"))
    trust_mode: str = field(
        default="enforced",
        metadata=_help("whether only signed content is served: disabled, permissive, enforced or resolve"),
    )
    trust_roles: tuple[str, ...] = field(
        default=("targets/releases", "targets"), metadata=_help("roles whose signatures count, in this order")
    )
    trust_require: str = field(
        default="any", metadata=_help("how many of these roles must sign the same: any, all or a number")
    )
    trust_grace_days: int = field(
        default=0, metadata=_help("for how many days expired trust data is believed, with a warning; never a root")
    )
    trust_age_seconds: int = field(
        default=0,
        metadata=_help("for how many seconds, at most 2, an answer of the notary server counts for further pulls"),
    )
    admin_name: str = field(default="admin", metadata=_help("name of the administrator"))
    admin_password_file: Path | None = field(
        default=None, metadata=_help("file with the administrator's first password")
    )
    max_manifest_bytes: int = field(default=4 << 20, metadata=_help("longest manifest that is taken"))
    max_blob_bytes: int = field(default=1 << 40, metadata=_help("longest blob that is taken"))
    sparse_manifests: bool = field(
        default=False,
        metadata=_help("whether manifests are taken before all of their parts, as partial mirrors push them"),
    )
    webhook_networks: tuple[str, ...] = field(
        default=(),
        metadata=_help("networks that administrators' webhooks may be in, beside public addresses: 10.1.0.0/16 …"),
    )
    webhook_plain_http: bool = field(default=False, metadata=_help("whether webhooks may be at http:// addresses"))
    webhook_ca: Path | None = field(
        default=None, metadata=_help("CA certificates of webhooks, PEM, beside those that the machine knows")
    )
    webhook_life_hours: int = field(default=24, metadata=_help("for how long an event is tried to be delivered"))
    webhook_kept_days: int = field(default=7, metadata=_help("how long deliveries can be looked up, and repeated"))
    webhook_off_days: int = field(
        default=7, metadata=_help("a webhook that takes nothing for so many days is switched off; 0: never")
    )
    max_uploads: int = field(
        default=1000, metadata=_help("uploads that one user may have open at once; silent for a day, none counts")
    )
    workers: int = field(default=2, metadata=_help("processes"))
    threads: int = field(default=8, metadata=_help("threads in each process"))
    background: bool = field(
        default=True,
        metadata=_help("whether `serve` also does the background work, such as jobs, in one process more"),
    )
    log_level: str = field(default="INFO", metadata=_help("least important kind of log line to write"))
    log_format: str = field(default="text", metadata=_help("form of log lines: text or json"))
    metrics_listen: str | None = field(
        default=None,
        metadata=_help("address and port of `/metrics`, plain HTTP for everybody who can reach it; none: no metrics"),
    )

    def __post_init__(self) -> None:
        problems = observing_problems(self.log_format, self.metrics_listen, self.listen)
        if self.trust_mode not in TRUST_MODES:
            problems.append(f"trust_mode must be one of {', '.join(TRUST_MODES)}")
        if not 0 <= self.trust_age_seconds <= 2:
            problems.append("trust_age_seconds must be 0 to 2")
        if not self.hosts:
            problems.append("hosts must name at least one host")
        if (self.tls_certificate is None) != (self.tls_key is None):
            problems.append("tls_certificate and tls_key go together")
        if (self.content_folder is None) == (self.storage_url is None):
            problems.append("one of content_folder and storage_url must be given")
        if self.content_accel is not None and not (self.content_folder and self.content_accel.startswith("/")):
            problems.append("content_accel is a path on the web server, and goes with content_folder")
        for name in (
            "storage_link_seconds", "max_manifest_bytes", "max_blob_bytes", "max_uploads", "webhook_life_hours",
            "webhook_kept_days", "workers", "threads",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1")
        if self.webhook_off_days < 0:
            problems.append("webhook_off_days must not be negative")
        if problems:
            raise SettingsError("; ".join(problems), detail=problems)

    @property
    def realm(self) -> str:
        """URL of the token endpoint.  It never follows from a request: a forged Host must not collect passwords."""
        return self.token_realm or f"https://{self.hosts[0]}/auth/token"
