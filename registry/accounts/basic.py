# SPDX-License-Identifier: Apache-2.0
"""The login in a request's header: HTTP's Basic, with a password or an access token (RFC 7617).

Where that is allowed, a refresh token may stand there too, behind the user `<token>`: `docker login` keeps one.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from flask import request

from registry.accounts.logins import Login, Logins
from trust.site import TOKEN_USER


def basic_login(logins: Logins, now: datetime, *, refresh_tokens: bool = False) -> Login | None:
    """Recognise who makes the current request; None if it has no credentials at all.

    Args:
        logins: knows users.
        now: when.
        refresh_tokens: whether a refresh token will do.

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
    if refresh_tokens and name == TOKEN_USER:
        return Login(logins.with_refresh_token(password, now), None)
    return logins.with_password(name, password, peer_address(), now)


def peer_address() -> str:
    """The network address that failures are counted for; never a header's."""
    return (request.remote_addr or "")[:64]
