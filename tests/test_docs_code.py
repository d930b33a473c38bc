# SPDX-License-Identifier: Apache-2.0
"""The code in README and how-tos runs as it stands there, and a strict type checker has nothing to say of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from demosite import PREAMBLE, DemoSite

ROOT = Path(__file__).parent.parent
HOW_TO = ROOT / "docs" / "how-to"
PAGES = [
    ROOT / "README.md",
    HOW_TO / "verify-from-a-script.md",
    HOW_TO / "publish-from-a-script.md",
    HOW_TO / "run-your-own-policy.md",
]
VERIFY = HOW_TO / "verify-from-a-script.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    with DemoSite(tmp_path_factory.mktemp("site")) as site:
        yield site


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in a language, in their order."""
    return [code for kind, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def shell(site: DemoSite, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=site.folder, capture_output=True, text=True,
        env={"PATH": path, **site.environment, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_from_its_top_to_its_end(page: Path, site: DemoSite) -> None:
    site.names()  # what another page has done is gone
    code = [site.localised(block) for block in blocks(page, "python")]
    assert code
    names: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(code, 1):
        exec(compile(block, f"{page.name}, Python block {number}", "exec"), names)


def test_the_shell_lines_about_verifying_run(site: DemoSite) -> None:
    site.names()
    lines = [block for block in blocks(VERIFY, "sh") if not block.startswith("#!")]
    ran = [shell(site, site.localised(block)) for block in lines]
    assert [(each.returncode, each.stderr) for each in ran] == [(0, "")] * len(ran)
    deploying, root_key = [each.stdout for each in ran]
    assert re.fullmatch(rf"deploying {site.host}/library/app@sha256:[0-9a-f]{{64}}\n", deploying)
    assert root_key == f"{site.root_key}\n"


def test_the_ci_jobs_stop_at_what_is_not_signed_or_not_to_be_trusted(site: DemoSite) -> None:
    site.names()
    (script,) = [block for block in blocks(VERIFY, "sh") if block.startswith("#!")]
    (site.folder / "verify.sh").write_text(script)
    (site.folder / "ci").mkdir()
    (site.folder / "ci/registry-ca.crt").write_bytes((site.folder / "var/ca/ca.crt").read_bytes())
    password = (site.folder / "var/admin-password").read_text().strip()
    known = {
        "REGISTRY_USER": "admin", "REGISTRY_PASSWORD": password, "ROOT_KEY": site.root_key,
        "REGISTRY_CA": "ci/registry-ca.crt", "GITHUB_OUTPUT": "github.out",
    }  # fmt: skip
    github, gitlab = [yaml.safe_load(site.localised(block)) for block in blocks(VERIFY, "yaml")]
    (step,) = [each for each in github["jobs"]["deploy"]["steps"] if each.get("id") == "verify"]
    assert step["env"].keys() == known.keys() - {"GITHUB_OUTPUT"}
    assert step["env"]["REGISTRY_CA"] == known["REGISTRY_CA"]
    for job, result in ((step["run"], "github.out"), ("\n".join(gitlab["verify"]["script"]), "verify.env")):
        passed = shell(site, job, **known)
        assert passed.returncode == 0, passed.stderr
        written = (site.folder / result).read_text()
        assert re.fullmatch(rf"image={site.host}/library/app@sha256:[0-9a-f]{{64}}\n", written, re.IGNORECASE)
        unsigned = job.replace("library/app:1", "library/app:2")
        assert shell(site, unsigned, **known).returncode == 1
        assert shell(site, job, **known | {"ROOT_KEY": "0" * 64}).returncode == 2
        assert shell(site, job, **known | {"REGISTRY_PASSWORD": "a guess"}).returncode == 3
        assert (site.folder / result).read_text() == written


def test_a_users_scripts_pass_a_strict_type_checker(tmp_path: Path) -> None:
    # Of the package as it is installed: a user's checker knows nothing of our settings.
    scripts = {page.stem.replace("-", "_").lower(): "\n".join(blocks(page, "python")) for page in PAGES}
    scripts["preamble"] = PREAMBLE
    scripts["revealed"] = "import trust\n\nreveal_type(trust.resolve)\nreveal_type(trust.Collection.lookup)\n"
    for name, code in scripts.items():
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", *(f"{name}.py" for name in scripts)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    notes = [line for line in ran.stdout.splitlines() if ": note: Revealed" in line]
    assert ran.returncode == 0, ran.stdout
    assert len(notes) == 2
    assert "Any" not in notes[0]
    assert "-> trust.collection.Target" in notes[0]
