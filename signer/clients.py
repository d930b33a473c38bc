# SPDX-License-Identifier: Apache-2.0
"""Who is let in: the holders of certificates that the settings name.

TLS has checked the certificate before (`trust.web.caller`); what is left is whose it is.  A request that did not come
through TLS is refused: the signer fails closed even if somebody runs it behind a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection

from trust.errors import DeniedError
from trust.web.caller import peer_name


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
    name = peer_name(connection)
    if name is None or name not in clients:
        raise DeniedError("the client certificate is not of a client that this signer knows")
    return name
