# SPDX-License-Identifier: Apache-2.0
"""`troth-signer`: the notary-signer as a process.

    troth-signer --config signer.toml

It does not start without TLS material, the clients' CA and the passphrase for new keys.  While it runs, neither a
core dump nor another process of its user can read its memory, unless it was started with `--debug`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from flask import Flask

from signer.models import Base
from signer.passphrases import Passphrases
from signer.settings import Settings
from signer.vault import Vault
from signer.views import add_views
from trust.errors import TrustError
from trust.settings import load
from trust.web.app import create_base_app
from trust.web.database import Database
from trust.web.run import complain, configure_logging, run

_PR_SET_DUMPABLE = 4


def create_app(
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """The signer's app; its database must have been prepared.

    Args:
        settings: the settings.
        environ: where passphrases may be; the process's own environment when None.
        clock: tells the time.

    Raises:
        SettingsError: the passphrase for new keys cannot be used.
    """
    passphrases = _passphrases(settings, environ)
    database = Database(settings.database_url)
    vault = Vault(
        database,
        passphrases,
        settings.default_alias,
        clock=clock,
        limits=settings.limits,
        cached_keys=settings.cached_keys,
    )
    app = create_base_app("signer")
    add_views(app, vault, database, settings.clients, max_payload_bytes=settings.max_payload_bytes)
    return app


def prepare(settings: Settings, *, environ: Mapping[str, str] | None = None) -> None:
    """Check, once and before any worker, what every worker needs; create the tables that are missing.

    Raises:
        SettingsError: the passphrase for new keys cannot be used.
        UnavailableError: the database cannot be reached or written.
    """
    _passphrases(settings, environ)
    database = Database(settings.database_url)
    try:
        database.create(Base.metadata)
    finally:
        database.dispose()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `troth-signer`; returns its exit status."""
    parser = argparse.ArgumentParser(prog="troth-signer", description="Keeps the keys of a notary server and signs.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
    parser.add_argument("--debug", action="store_true", help="log everything, and allow core dumps and debuggers")
    parser.add_argument("--version", action="version", version=f"troth-signer {version('troth')}")
    options = parser.parse_args(argv)
    os.umask(0o077)  # an SQLite database is for its owner
    try:
        settings = load(Settings, prefix="TROTH_SIGNER", path=options.config)
        configure_logging("debug" if options.debug else settings.log_level)
        if not options.debug:
            _close_memory()
        prepare(settings)
        run(
            "troth-signer",
            lambda: create_app(settings),
            listen=settings.listen,
            tls=settings.tls,
            workers=settings.workers,
            threads=settings.threads,
        )
    except TrustError as error:
        return complain("troth-signer", error)
    return 0


def _passphrases(settings: Settings, environ: Mapping[str, str] | None) -> Passphrases:
    passphrases = Passphrases(settings.passphrase_folder, os.environ if environ is None else environ)
    passphrases.of(settings.default_alias)
    return passphrases


def _close_memory() -> None:
    """Keep the keys in this process: no core dumps, no debuggers.  Workers inherit it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
