# SPDX-License-Identifier: Apache-2.0
"""Each fuzz target runs half a minute and finds nothing; `make fuzz` runs them longer (docs/reference/fuzzing.md)."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 25
#: Far below what any machine does in that time: fewer means that the target did not really run.
LEAST_RUNS = 300


@pytest.mark.parametrize("target", ["metadata", "multipart"])
def test_half_a_minute_of_fuzzing_finds_nothing(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        # It has wheels for Linux on x86-64 only; in CI nothing is left out.
        missing = "atheris is missing: python -m pip install --group fuzz"
        if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    command = [sys.executable, str(HERE / f"fuzz_{target}.py"), str(SECONDS), str(tmp_path)]
    finished = subprocess.run(command, cwd=HERE, capture_output=True, text=True, errors="replace", timeout=200)
    output = (finished.stdout + finished.stderr)[-6000:]
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != "words"}
    assert not found, f"these inputs are findings: {found}\n{output}"
    assert finished.returncode == 0, output
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    assert runs is not None, output
    assert int(runs[1]) >= LEAST_RUNS, output
