# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs: every case gives a figure of each side, and the page is written.  How fast is not asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.run import main

pytestmark = pytest.mark.client("notary", "docker-registry", "docker.io", "skopeo", "postgresql", "wrk", "hey")


def test_every_case_of_the_benchmark_runs(tmp_path: Path) -> None:
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "benchmarks.json").read_text())
    page = (tmp_path / "benchmarks.md").read_text()
    assert len(results) > 40
    for result in results:
        assert all(figure > 0 for figure in [*result["ours"], *result["peer"]])
        assert len(result["ours"]) == 1
        assert f"| {result['name']} |" in page
    assert (tmp_path / "benchmarks.svg").read_text().startswith("<?xml")
