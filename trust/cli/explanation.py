# SPDX-License-Identifier: Apache-2.0
"""Why a pull is served or refused, written for a person: `troth admin explain` and `troth-registry explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(facts: Mapping[str, Any]) -> list[str]:
    """An explanation for a person.

    Args:
        facts: as `GET /api/v1/repositories/<name>/trust/explain` answers.
    """
    policy, root = facts["policy"], facts["root"]
    separator = "@" if ":" in facts["reference"] else ":"
    told = [
        f"{facts['gun']}{separator}{facts['reference']}: {facts['decision']}, {facts['status']} {facts['reason']}",
        f"  {facts['message']}",
        f"  here:    {facts['digest'] or 'nothing'}",
        f"  signed:  {facts.get('signed_digest') or 'nothing'}" if separator == ":" else "",
        f"  served:  {facts['served_digest'] or 'nothing'}",
        f"  policy:  {policy['mode']}, {policy['needed']} of {', '.join(policy['roles'])}, "
        f"grace {policy['grace_days']} days, from {', '.join(policy['from'])}",
        f"  pins:    {', '.join(policy['pins']) or 'none'}",
    ]
    if "version" in root:
        keys = ", ".join(root["signed_by"])
        told.append(f"  root:    version {root['version']} until {root['expires']}, {root['threshold']} of: {keys}")
    else:
        told.append(f"  root:    not verified; version {root['believed_version'] or 'none'} was believed before")
    for role in facts["roles"]:
        if "error" in role:
            told.append(f"  {role['role']}: {role['reason']}, {role['error']}")
            continue
        says = ""
        if role["counts"]:
            says = f"; signs {role['signs'] or 'nothing'} here" if separator == ":" else ""
            says += ", counted" if role["counted"] else ", not counted"
        told.append(
            f"  {role['role']}: version {role['version']} until {role['expires']}, signed by "
            f"{', '.join(role['signed_by'])} ({role['threshold']} needed){says}"
        )
    return [line for line in told if line]
