# SPDX-License-Identifier: Apache-2.0
"""The pages of clients: docs/reference/clients.md and docs/reference/registry-clients.md.

Each is written by the tests that tell its stories, with the option `--write-table`, and compared by every later run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.clienttable import Page, Told
from flows.sites import DATABASES

_REFERENCE = Path(__file__).parents[2] / "docs/reference"
_MADE = """This page is written by the tests that run these flows (`{command}`).
Each later run compares: a flow that is not run any more, or comes out otherwise, fails it.
The versions are those of the run that wrote the page.
"""


def _versions_of_originals(told: Told) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    databases = ", ".join(f"{name} {told['notary', kind].database}" for kind, name in DATABASES.items())
    sections = {key: f"{name} {told[key, 'sqlite'].client}" for key, name in ORIGINALS.sections.items()}
    return f"\nDatabases: {databases}.\n", sections, ORIGINALS.columns


def _versions_of_registry_clients(told: Told) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    columns = {key: f"{name} {told['on', key].client}" for key, name in REGISTRY_CLIENTS.columns.items()}
    return "", REGISTRY_CLIENTS.sections, columns


_BY_ORIGINALS = "python -m pytest tests/flows/test_clients_on_*.py --write-table"
_BY_REGISTRY_CLIENTS = "python -m pytest tests/flows/test_registry_clients.py --write-table"
#: The original clients: a section for each, a column for each database.
ORIGINALS = Page(
    _REFERENCE / "clients.md",
    _BY_ORIGINALS,
    f"""# Clients

The original clients against `troth up`, flow by flow, with all three services on each kind of database.
**yes**: the client did it, and what it should bring about was seen, by other users of the same client as well.
**no**: it did not, and the note says whose fault that is.
Refusals count as flows: what must be refused was refused, in words that say so.

{_MADE.format(command=_BY_ORIGINALS)}""",
    sections={"debian": "docker", "local": "docker", "notary": "notary"},
    columns=DATABASES,
    versions=_versions_of_originals,
)

#: All that push and pull: a section for each mode of enforcement, a column for each client.
REGISTRY_CLIENTS = Page(
    _REFERENCE / "registry-clients.md",
    _BY_REGISTRY_CLIENTS,
    f"""# Registry clients

All that pushes and pulls, against the registry of `troth up`.
A publisher pushes, copies and deletes; a consumer, who may only read, pulls.
**yes**: the client did it, and the bytes that were pushed came; or it was refused, and its output says why.
**no**: the client has no command for it, or does it wrong; the note says which.
None of these clients verifies a signature here: what is refused, the registry refuses.
Those that sign are on [a page of their own](clients.md).

{_MADE.format(command=_BY_REGISTRY_CLIENTS)}""",
    sections={"off": "Enforcement off", "on": "Enforcement on"},
    columns={
        "debian": "docker",
        "local": "docker",
        "podman": "podman",
        "buildah": "buildah",
        "skopeo": "skopeo",
        "umoci": "skopeo and umoci",
        "oras": "oras (Python)",
    },
    versions=_versions_of_registry_clients,
)
