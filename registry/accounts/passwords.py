# SPDX-License-Identifier: Apache-2.0
"""Passwords: hashed with argon2id, and checked with the same work whether the user exists or not.

The time that an answer takes must not tell which users there are; so for an unknown user the password is compared
with a hash that nothing matches.
"""

from __future__ import annotations

import base64
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from trust.errors import InvalidError

MIN_LENGTH = 8
MAX_LENGTH = 1024
# What a hash costs: OWASP's lowest setting for argon2id.  Docker sends the password for every token, in many threads
# at once: 64 MiB each, the library's default, would let a stranger exhaust the memory.
MEMORY_KIB = 19 * 1024
PASSES = 2


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        # Not the hash of anything, so it costs nothing to make; to compare with it is the same work.
        salt, digest = (_base64(secrets.token_bytes(size)) for size in (16, self._hasher.hash_len))
        cost = f"m={self._hasher.memory_cost},t={self._hasher.time_cost},p={self._hasher.parallelism}"
        self._nobody = f"$argon2id$v=19${cost}${salt}${digest}"

    def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            InvalidError: it is too short or too long.
        """
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise InvalidError(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
        return self._hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one that `stored` was made from; never for None, an unknown user."""
        try:
            self._hasher.verify(stored or self._nobody, password[: MAX_LENGTH + 1])
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def is_stale(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's and should be made anew."""
        return self._hasher.check_needs_rehash(stored)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")  # as argon2 writes it
