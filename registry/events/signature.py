# SPDX-License-Identifier: Apache-2.0
"""Signatures of deliveries, by the scheme of Standard Webhooks (https://www.standardwebhooks.com).

    headers(secret, "0b6f…", now, body)      # webhook-id, webhook-timestamp, webhook-signature

Signed are the ID, the time and the exact bytes of the body, so that a receiver can refuse what is altered, what is
old, and what it had already.  There are libraries for receivers in many languages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime

from trust.errors import InvalidError

_PREFIX = "whsec_"
_MIN, _MAX = 24, 64


def new_secret() -> str:
    """A secret of 32 random bytes, as receivers are given it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(text: str) -> str:
    """A secret that somebody brought.

    Raises:
        InvalidError: it is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or not _MIN <= len(key) <= _MAX:
        raise InvalidError(f"a secret is {_PREFIX} and the base64 of {_MIN} to {_MAX} random bytes")
    return text


def headers(secret: str, delivery: str, now: datetime, body: bytes) -> dict[str, str]:
    """The headers that sign a delivery.

    Args:
        secret: the endpoint's.
        delivery: the ID of what is delivered, the same at each attempt.
        now: when this attempt is made.
        body: the bytes that are sent.
    """
    moment = str(int(now.timestamp()))
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signature = hmac.new(key, f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }
