# SPDX-License-Identifier: Apache-2.0
"""The login in a request's header: HTTP's Basic, with a password or an access token (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from flask import request

from registry.accounts.logins import Login, Logins


def basic_login(logins: Logins, now: datetime) -> Login | None:
    """Recognise who makes the current request; None if it has no credentials at all.

    Raises:
        LoginError: they are wrong, or cannot be read.
        ThrottledError: too many wrong ones before.
    """
    header = request.headers.get("Authorization", "").strip()
    if not header:
        return None
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise logins.malformed() from error
    if scheme.lower() != "basic" or not colon:
        raise logins.malformed()
    return logins.with_password(name, password, peer_address(), now)


def peer_address() -> str:
    """The network address that failures are counted for; never a header's."""
    return (request.remote_addr or "")[:64]
