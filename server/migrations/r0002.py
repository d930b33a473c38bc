# SPDX-License-Identifier: Apache-2.0
"""The audit trail."""

from __future__ import annotations

from alembic.operations import Operations

from trust.web.auditmigration import add_audit

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Make the tables."""
    add_audit(op, "server")
