# SPDX-License-Identifier: Apache-2.0
"""The declarative base that all tables of the registry share, the core's and the wings'."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of the registry's tables; `Base.metadata` knows those whose modules are imported."""
