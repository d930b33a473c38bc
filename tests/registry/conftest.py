# SPDX-License-Identifier: Apache-2.0
"""What the registry's tests share: passwords that cost little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.accounts import passwords


@pytest.fixture(scope="module", autouse=True)
def passwords_cost_little() -> Iterator[None]:
    """Let argon2 work next to nothing: hundreds of tests log in, and each login would take 20 ms.

    test_accounts_passwords.py, which is about that work, overrides this with a fixture of the same name.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PASSES", 1)
        patch.setattr(passwords, "MEMORY_KIB", 16)
        yield
