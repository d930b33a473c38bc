# SPDX-License-Identifier: Apache-2.0
"""What the configuration file of Go's notary-signer means in our settings (NOTARY_V1 §4.3; `trust.goconfig`).

`server.grpc_addr` becomes the address of both protocols, gRPC and our own over HTTPS, so that a notary-server with
the same host and port finds its signer, whether it is Go's or ours.
"""

from __future__ import annotations

from typing import Any

from trust.goconfig import GoConfig

PREFIX = "TROTH_SIGNER"
GO_PREFIX = "NOTARY_SIGNER"


def translate(go: GoConfig) -> dict[str, Any]:
    """Our settings for what `go` says; its problems and notes are in `go`."""
    address = go.address("server.grpc_addr")
    found: dict[str, Any] = {
        "listen": address,
        "grpc_listen": address,
        "tls_certificate": go.file("server.tls_cert_file"),
        "tls_key": go.file("server.tls_key_file"),
        "client_ca": go.file("server.client_ca_file"),
        "log_level": go.log_level(),
        # The second is what Go's oldest versions read, and all still do.
        "default_alias": go.text("storage.default_alias") or go.text("default_alias"),
    }
    for key, name in (("tls_cert_file", "tls_certificate"), ("tls_key_file", "tls_key")):
        if not found[name] and name not in go.set_by_us:
            go.problems.append(f"server.{key} is missing")
    if not found["client_ca"] and "client_ca" not in go.set_by_us:
        go.problems.append("server.client_ca_file is missing: without mutual TLS anybody could have things signed")
    if not found["default_alias"] and "default_alias" not in go.set_by_us:
        go.problems.append(f"storage.default_alias is missing (or {GO_PREFIX}_DEFAULT_ALIAS in the environment)")
    if "clients" not in go.set_by_us:
        go.notes.append(
            "server.client_ca_file: of its certificates only those with the common name notary-server are let in; "
            f"other names belong into {PREFIX}_CLIENTS"
        )
    found["database_url"] = "" if "database_url" in go.set_by_us else go.database_url(f"{PREFIX}_DATABASE_URL")
    return found
