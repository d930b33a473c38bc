# SPDX-License-Identifier: Apache-2.0
"""The part of the documentation that is made from code.

python tests/reference.py          writes docs/reference/settings.md, metrics.md and trust/ anew
"""

from __future__ import annotations

from pathlib import Path

import registry.app
import registry.settings
import server.app
import server.settings
import signer.app
import signer.settings
import trustreference
from trust.settings import table
from trust.web.metrics import FAMILIES

SETTINGS = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
METRICS = SETTINGS.with_name("metrics.md")
_HEAD = """# Settings

Each service reads a TOML file (`--config FILE`) and then the environment, which wins.
A setting `name` is `TROTH_<SERVICE>_NAME` in the environment; lists are comma-separated there.
Relative paths in a file are relative to the file's folder.
All that is wrong is reported at once, and the service does not start.

This page is made from the code; a test compares the two.
"""
_SERVICES = (
    ("troth-registry", registry.settings.Settings, "TROTH_REGISTRY"),
    ("troth-server", server.settings.Settings, "TROTH_SERVER"),
    ("troth-signer", signer.settings.Settings, "TROTH_SIGNER"),
)


def settings() -> str:
    """What `docs/reference/settings.md` must hold."""
    parts = [f"\n## {name}\n\nEnvironment prefix: `{prefix}_`\n\n{table(cls)}" for name, cls, prefix in _SERVICES]
    return _HEAD + "".join(parts)


_METRICS_HEAD = """# Metrics

What is at `/metrics` of each service's `metrics_listen`; what to do with it: [monitor](../how-to/monitor.md).
Labels whose values are listed begin at zero; the others appear when something is first counted.
A histogram has the samples `_bucket`, `_sum` and `_count`.

This page is made from the code; a test compares the two.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""
_NAMES = (registry.app.NAME, server.app.NAME, signer.app.NAME)


def metrics() -> str:
    """What `docs/reference/metrics.md` must hold."""
    parts = []
    # Tests define metrics, too.
    ours = [family for family in FAMILIES if not family.service or set(family.service.split(", ")) <= set(_NAMES)]
    for family in sorted(ours, key=lambda each: (each.service, each.name)):
        labels = "; ".join(
            f"`{name}`{': ' if values else ''}{', '.join(f'`{value}`' for value in values)}"
            for name, values in family.labels.items()
        )
        who = family.service or "all services"
        parts.append(f"| `{family.name}` | {family.kind} | {labels} | {who}: {family.meaning} |\n")
    return _METRICS_HEAD + "".join(parts)


if __name__ == "__main__":
    SETTINGS.write_text(settings(), encoding="utf-8")
    METRICS.write_text(metrics(), encoding="utf-8")
    trustreference.FOLDER.mkdir(exist_ok=True)
    for path, text in trustreference.pages().items():
        path.write_text(text, encoding="utf-8")
