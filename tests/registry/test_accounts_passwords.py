# SPDX-License-Identifier: Apache-2.0
"""Passwords are hashed, and checked with the same work for everybody."""

from __future__ import annotations

import time

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerifyMismatchError

from registry.accounts.passwords import MAX_LENGTH, Passwords
from trust.errors import InvalidError


@pytest.fixture(scope="module", autouse=True)
def passwords_cost_little() -> None:
    """Here they cost what they cost everywhere."""


def test_a_hash_costs_what_it_should() -> None:
    found = extract_parameters(Passwords().hash("correct horse"))
    assert (found.type, found.time_cost, found.memory_cost, found.parallelism) == (Type.ID, 2, 19 * 1024, 1)


def test_a_password_matches_its_hash_only() -> None:
    passwords = Passwords()
    stored = passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert "correct" not in stored
    assert passwords.matches(stored, "correct horse")
    for wrong in ("", "Correct horse", "correct horse ", "correct horse\x00", stored, "x" * 10000):
        assert not passwords.matches(stored, wrong)


def test_two_hashes_of_one_password_differ() -> None:
    passwords = Passwords()
    assert passwords.hash("correct horse") != passwords.hash("correct horse")


@pytest.mark.parametrize("password", ["", "1234567", "x" * (MAX_LENGTH + 1)])
def test_a_password_has_a_sane_length(password: str) -> None:
    with pytest.raises(InvalidError, match="8 to 1024 characters"):
        Passwords().hash(password)


def test_the_longest_password_counts_to_its_end() -> None:
    passwords = Passwords()
    stored = passwords.hash("x" * MAX_LENGTH)
    assert passwords.matches(stored, "x" * MAX_LENGTH)
    assert not passwords.matches(stored, "x" * (MAX_LENGTH + 1))
    assert not passwords.matches(stored, "x" * (MAX_LENGTH - 1))


def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    passwords = Passwords()
    stored = passwords.hash("correct horse")

    def best_of_five(target: str | None) -> float:
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            assert not passwords.matches(target, "wrong horse")
            times.append(time.perf_counter() - begun)
        return min(times)

    # Without the work it would be a thousand times faster; the band is wide for busy machines.
    assert 0.2 < best_of_five(None) / best_of_five(stored) < 5


def test_what_an_unknown_user_is_compared_with_is_a_hash_of_todays_form() -> None:
    # Of another form it would be refused before any work, and the time would tell which users there are.
    passwords = Passwords()
    assert extract_parameters(passwords._nobody) == extract_parameters(passwords.hash("correct horse"))
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(passwords._nobody, "correct horse")
    begun = time.process_time()
    for _ in range(100):
        Passwords()
    assert time.process_time() - begun < 1  # a hash takes longer than 10 ms


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_a_stored_hash_that_is_none_matches_nothing(stored: str) -> None:
    assert not Passwords().matches(stored, "correct horse")


def test_hashes_of_other_parameters_are_stale() -> None:
    passwords = Passwords()
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
    assert passwords.matches(old, "correct horse")
    assert passwords.is_stale(old)
    assert not passwords.is_stale(passwords.hash("correct horse"))
