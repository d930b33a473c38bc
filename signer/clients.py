# SPDX-License-Identifier: Apache-2.0
"""Who is let in: the holders of certificates that the settings name.

That a certificate is of the clients' CA, for TLS clients, in its time and held by its owner was checked by TLS
before the first byte of the request.  What is left is whose it is.  A request that did not come through TLS is
refused: the signer fails closed even if somebody runs it behind a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from typing import cast

from trust.errors import DeniedError

_Subject = tuple[tuple[tuple[str, str], ...], ...]


def admit(connection: object, clients: Collection[str]) -> str:
    """The name of the client at the other end.

    Args:
        connection: what the request came through.
        clients: the common names that are let in.

    Raises:
        DeniedError: not TLS, no verified certificate, or none of these names.
    """
    if not isinstance(connection, ssl.SSLSocket):
        raise DeniedError("the signer answers through mutual TLS only")
    # Empty when the certificate was not verified.  A subject is a list of parts, each a list of (kind, value).
    subject = cast(_Subject, (connection.getpeercert() or {}).get("subject", ()))
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    if len(names) != 1 or names[0] not in clients:
        raise DeniedError("the client certificate is not of a client that this signer knows")
    return names[0]
