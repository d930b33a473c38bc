# SPDX-License-Identifier: Apache-2.0
"""What is done aside leaves nothing behind but its error."""

from __future__ import annotations

import os
import signal

import pytest

from trust.errors import SettingsError, UnavailableError
from trust.web.aside import aside


def test_what_goes_wrong_aside_is_raised_here() -> None:
    def work() -> None:
        raise UnavailableError("the database does not answer", detail={"why": "it is asleep"})

    with pytest.raises(UnavailableError, match="the database does not answer") as caught:
        aside(work, "it failed")
    assert caught.value.detail == {"why": "it is asleep"}


def test_a_crash_aside_is_told_as_one() -> None:
    with pytest.raises(SettingsError, match="the module has crashed"):
        aside(lambda: os.kill(os.getpid(), signal.SIGKILL), "the module has crashed")
