# SPDX-License-Identifier: Apache-2.0
"""What the configuration file of Go's notary-server means in our settings (NOTARY_V1 §4.3; `trust.goconfig`)."""

from __future__ import annotations

from typing import Any

from server.settings import KEY_ALGORITHMS, PREFIX
from trust.goconfig import GoConfig

GO_PREFIX = "NOTARY_SERVER"


def translate(go: GoConfig) -> dict[str, Any]:
    """Our settings for what `go` says; its problems and notes are in `go`."""
    found: dict[str, Any] = {
        "listen": go.address("server.http_addr"),
        "tls_certificate": go.file("server.tls_cert_file"),
        "tls_key": go.file("server.tls_key_file"),
        "client_ca": go.file("server.client_ca_file"),
        "current_max_age": go.number("caching.max_age.current_metadata", 300),
        "consistent_max_age": go.number("caching.max_age.consistent_metadata", 2_592_000),
        "gun_prefixes": go.texts("repositories.gun_prefixes"),
        "log_level": go.log_level(),
        "hosts": [],  # names in tokens are compared as they are
    }
    found["database_url"] = "" if "database_url" in go.set_by_us else go.database_url(f"{PREFIX}_DATABASE_URL")
    return found | _signer(go) | _auth(go)


def _signer(go: GoConfig) -> dict[str, Any]:
    kind = go.required("trust_service.type").lower()
    found: dict[str, Any] = {
        "signer_ca": go.file("trust_service.tls_ca_file"),
        "signer_client_certificate": go.file("trust_service.tls_client_cert"),
        "signer_client_key": go.file("trust_service.tls_client_key"),
    }
    algorithm = go.text("trust_service.key_algorithm", "ecdsa").lower()
    host, port = go.text("trust_service.hostname"), go.text("trust_service.port")
    if kind == "local":
        go.problems.append("trust_service.type: local keys are lost at each restart; only remote is supported")
    elif kind not in ("remote", ""):
        go.problems.append(f"trust_service.type must be remote, not {kind[:40]!r}")
    elif kind and "signer_url" not in go.set_by_us:
        if not host or not port:
            go.problems.append("trust_service.hostname and trust_service.port are missing")
        found["signer_url"] = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        go.notes.append(
            "trust_service: the signer there must be a troth-signer; to a Go notary-signer this server cannot speak"
        )
    if kind == "remote":
        for key, name in (
            ("tls_ca_file", "signer_ca"),
            ("tls_client_cert", "signer_client_certificate"),
            ("tls_client_key", "signer_client_key"),
        ):
            if not found[name] and name not in go.set_by_us:
                go.problems.append(f"trust_service.{key} is missing: the signer is spoken to over mutual TLS only")
    if algorithm not in KEY_ALGORITHMS:
        go.problems.append(f"trust_service.key_algorithm must be ecdsa or ed25519, not {algorithm[:40]!r}")
    return found | {"key_algorithm": algorithm}


def _auth(go: GoConfig) -> dict[str, Any]:
    options = {name: f"auth.options.{name}" for name in ("realm", "service", "issuer", "rootcertbundle")}
    redirects = go.text("auth.options.autoredirect", "false", overridable=False).lower() == "true"
    if go.text("auth.type") != "token":
        for key in options.values():
            go.text(key, overridable=False)
        if "token_certificate" not in go.set_by_us:
            go.notes.append("auth.type is not token: everybody may do everything")
        return {}
    if redirects:
        go.notes.append("auth.options.autoredirect: is ignored, clients are sent to auth.options.realm")
    found = {
        "token_realm": go.required(options["realm"], overridable=False),
        "token_service": go.required(options["service"], overridable=False),
        "token_issuer": go.required(options["issuer"], overridable=False),
        "token_certificate": go.file(options["rootcertbundle"], overridable=False),
    }
    if not found["token_certificate"]:
        go.problems.append(f"{options['rootcertbundle']} is missing")
    return found
