# SPDX-License-Identifier: Apache-2.0
"""The part of the documentation that is made from code.

python tests/reference.py          writes docs/reference/settings.md and docs/reference/trust anew
"""

from __future__ import annotations

from pathlib import Path

import registry.settings
import server.settings
import signer.settings
import trustreference
from trust.settings import table

SETTINGS = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
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


if __name__ == "__main__":
    SETTINGS.write_text(settings(), encoding="utf-8")
    trustreference.FOLDER.mkdir(exist_ok=True)
    for path, text in trustreference.pages().items():
        path.write_text(text, encoding="utf-8")
