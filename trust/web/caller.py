# SPDX-License-Identifier: Apache-2.0
"""Who makes the current request: the subject of a token that was believed, or the name in a client's certificate.

That a certificate is of the clients' CA, for TLS clients, in its time and held by its owner was checked by TLS
before the first byte of the request.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import cast

from flask import g, has_request_context, request

from trust.web import tracing

# In brackets, and nobody's own name begins with one.
OPERATOR = "(operator)"
ANONYMOUS = "(anonymous)"
#: The service itself, of its own accord.
SERVICE = "(service)"

_Subject = tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts: by default whoever runs a command, and could change the database as well.

    Attributes:
        actor: a token's subject, or the common name of a client's certificate.
        address: the network address of the peer, which may be a proxy.
        request_id: as in the request log.
    """

    actor: str = OPERATOR
    address: str = ""
    request_id: str = ""


def caller() -> Who:
    """Who makes the current request: known by a token that was believed, by a client certificate, or not at all.

    Outside of a request it is the operator.
    """
    facts = tracing.current()
    if not has_request_context():
        if facts is None or facts.address is None:
            return Who()
        return Who((facts.subject or "").lstrip("(") or ANONYMOUS, facts.address, facts.request_id)
    name = g.get("actor") or peer_name(request.environ.get("gunicorn.socket")) or ""
    return Who(name.lstrip("(") or ANONYMOUS, request.remote_addr or "", facts.request_id if facts else "")


def peer_name(connection: object) -> str | None:
    """The common name of the client at the other end; None without TLS, a verified certificate or just one name.

    Args:
        connection: what the request came through.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return None
    # Empty when the certificate was not verified.  A subject is a list of parts, each a list of (kind, value).
    subject = cast(_Subject, (connection.getpeercert() or {}).get("subject", ()))
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    return names[0] if len(names) == 1 else None
