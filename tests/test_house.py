# SPDX-License-Identifier: Apache-2.0
"""The house stands: who may import whom, and what the library does without.

The rules:

1. `server`, `signer` and `registry` import `trust` and never one another;
2. `trust` imports none of them;
3. in `trust` only `trust.web` imports Flask, SQLAlchemy or gunicorn, and only the three services import `trust.web`;
   of `trust`, it imports errors, settings, tokens and canonical JSON alone;
4. in `registry` the core imports no wing; `registry.app`, `registry.commands` and the wing itself do.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
SERVICES = ("server", "signer", "registry")
PACKAGES = ("trust", *SERVICES)
#: What only services need.
HEAVY = {"flask", "werkzeug", "sqlalchemy", "gunicorn", "argon2", "alembic", "jinja2", "prometheus_client"}
WINGS = {"accounts", "jobs", "scans", "ui"}
#: The rooms of the registry that wire core and wings together.
WIRING = {"registry.app", "registry.commands"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((HOUSE / package).rglob("*.py")):
            parts = path.relative_to(HOUSE).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path, module: str) -> set[str]:
    """Every module that a file imports, at its top or within a function, by full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                for _ in range(node.level - 1):
                    package = package.rpartition(".")[0]
                base = f"{package}.{base}".rstrip(".")
            # `from trust import web` imports trust.web
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


ROOMS = dict(modules())
IMPORTS = {module: imports(path, module) for module, path in ROOMS.items()}


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_all_four_packages_have_rooms() -> None:
    assert {module.partition(".")[0] for module in ROOMS} == set(PACKAGES)
    assert len(ROOMS) > 40


@pytest.mark.parametrize("module", ROOMS)
def test_services_meet_over_http_and_never_import_one_another(module: str) -> None:
    own = module.partition(".")[0]
    assert not (set(SERVICES) - {own}) & tops(IMPORTS[module])


@pytest.mark.parametrize("module", [module for module in ROOMS if within(module, "trust")])
def test_the_library_knows_no_web_framework_and_no_database_outside_its_web_room(module: str) -> None:
    if not within(module, "trust.web"):
        assert not HEAVY & tops(IMPORTS[module])
        assert not [name for name in IMPORTS[module] if within(name, "trust.web")]


@pytest.mark.parametrize("module", [module for module in ROOMS if within(module, "trust.web")])
def test_the_web_room_leans_on_a_few_rooms_alone(module: str) -> None:
    allowed = ("web", "deadline", "errors", "settings", "tokens", "canonical")
    ours = {name for name in IMPORTS[module] if within(name, "trust") and name in ROOMS}
    assert not [name for name in ours - {"trust"} if not any(within(name, f"trust.{room}") for room in allowed)]


@pytest.mark.parametrize("module", [module for module in ROOMS if within(module, "registry")])
def test_the_registrys_core_imports_no_wing_and_no_wing_another(module: str) -> None:
    own = module.split(".")[1] if "." in module else ""
    if module in WIRING:
        return
    used = {name.split(".")[1] for name in IMPORTS[module] if name.startswith("registry.") and name in ROOMS}
    assert used & WINGS <= ({own} & WINGS)


def test_no_two_rooms_import_each_other_in_a_circle() -> None:
    ours = {module: {name for name in names if name in ROOMS and name != module} for module, names in IMPORTS.items()}
    finished: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module in finished:
            return
        for other in sorted(ours[module]):
            # A package's front door imports its rooms; that a room names its package is no circle of rooms.
            if not within(module, other):
                visit(other, (*above, module))
        finished.add(module)

    for module in ours:
        visit(module, ())


def run(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=HOUSE, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_library_and_its_command_line_import_without_the_services_packages() -> None:
    light = [module for module in ROOMS if within(module, "trust") and not within(module, "trust.web")]
    assert {"trust", "trust.cli", "trust.reader"} <= set(light)
    run(
        "import sys, importlib\n"
        f"for name in {sorted(HEAVY)!r}: sys.modules[name] = None\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "import trust\n"
        "trust.Gun('reg/app'), trust.Reader, trust.resolve\n"
    )


def test_importing_the_library_starts_nothing_and_prints_nothing() -> None:
    output = run(
        "import sys, threading, logging\n"
        "import trust\n"
        "assert threading.active_count() == 1\n"
        "assert not logging.getLogger().handlers\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        f"assert not loaded & {HEAVY!r}, loaded & {HEAVY!r}\n"
    )
    assert output == ""


def test_what_the_services_need_is_no_dependency_of_the_library() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {requirement.split(">")[0].split("[")[0].split("=")[0].strip().lower() for requirement in requirements}

    base = names(project["dependencies"])
    services = names(project["optional-dependencies"]["services"])
    assert base == {"cryptography", "pyjwt", "securesystemslib", "tuf", "urllib3"}
    assert {"flask", "sqlalchemy", "gunicorn"} <= services
    assert not base & services
    assert not base & {"argon2-cffi", "werkzeug"}


def test_every_room_says_under_which_licence_and_what_it_is_for() -> None:
    for module, path in ROOMS.items():
        text = path.read_text()
        if text:
            assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n"), module
            assert ast.get_docstring(ast.parse(text)), module


def test_every_package_is_typed() -> None:
    for package in PACKAGES:
        assert (HOUSE / package / "py.typed").exists()


def test_no_marks_of_a_merge_were_left_behind() -> None:
    kinds = {".py", ".md", ".toml"}
    rooms = [HOUSE / room for room in (*PACKAGES, "tests", "docs")]
    pages = [*HOUSE.glob("*"), *(path for room in rooms for path in room.rglob("*"))]
    texts = [path for path in pages if path.suffix in kinds or path.name == "Makefile"]
    assert len(texts) > 300
    marks = re.compile(r"^(<{7} |>{7} )", re.MULTILINE)
    assert [path for path in texts if marks.search(path.read_text(encoding="utf-8"))] == []
