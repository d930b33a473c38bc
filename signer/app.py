# SPDX-License-Identifier: Apache-2.0
"""`troth-signer`: the notary-signer as a process.

    troth-signer --config signer.toml

It does not start without TLS material, the clients' CA and the passphrase for new keys.  While it runs, neither a
core dump nor another process of its user can read its memory, unless it was started with `--debug`.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from flask import Flask

from signer import goconfig, migrations, takeover
from signer.grpc import Door, Methods
from signer.models import TRAIL
from signer.passphrases import Passphrases
from signer.settings import Settings
from signer.tokenhome import TokenHome
from signer.vault import Vault
from signer.views import add_views
from trust.errors import TrustError
from trust.goconfig import load
from trust.settings import complaints, failures
from trust.web import auditcommand
from trust.web.app import create_base_app
from trust.web.aside import aside
from trust.web.calls import CALLS, CallWorker
from trust.web.database import Database
from trust.web.migrations import upgrade
from trust.web.run import check_tls, complain, configure_logging, report, run

NAME = "troth-signer"
_PR_SET_DUMPABLE = 4
_log = logging.getLogger("troth.signer")


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
        token=_token(settings),
        new_on_token=settings.key_home == "pkcs11",
        clock=clock,
        limits=settings.limits,
        cached_keys=settings.cached_keys,
    )
    app = create_base_app(NAME)
    add_views(app, vault, settings.clients, max_payload_bytes=settings.max_payload_bytes)
    if settings.grpc_listen is not None:
        door = Door(app.wsgi_app, Methods(vault, settings.max_payload_bytes), settings.clients)
        app.wsgi_app = door  # type: ignore[method-assign]  # Flask's own way
        app.extensions[CALLS] = door
    return app


def prepare(settings: Settings, *, environ: Mapping[str, str] | None = None) -> None:
    """Check, once and before any worker, what every worker needs; bring the tables up to date.

    Raises:
        SettingsError: the passphrase for new keys, or the token, cannot be used, or the database is newer than this
            program.
        UnavailableError: the database cannot be reached or written.
    """
    _passphrases(settings, environ)
    _check_token(settings)
    database = Database(settings.database_url)
    try:
        upgrade(database, migrations)
    finally:
        database.dispose()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `troth-signer`, or do what the first argument says; returns its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["import"]:
        _close_memory()
        return takeover.main(argv[1:], prepare)
    if argv[:1] == ["audit"]:
        os.umask(0o077)
        return auditcommand.main("troth-signer", TRAIL, argv[1:], lambda path: _load(path)[0].database_url)
    if argv[:1] == ["serve"]:
        del argv[0]
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Keeps the keys of a notary server and signs.",
        epilog="`troth-signer import --help` tells how to take over another notary signer's keys, "
        "`troth-signer audit --help` how to see who did what.",
    )
    parser.add_argument("--config", "-config", type=Path, metavar="FILE", help="settings: TOML, or Go's in a .json")
    parser.add_argument("--check", action="store_true", help="say what is wrong with the settings, and end")
    parser.add_argument("-logf", help=argparse.SUPPRESS)  # Go's; without effect there, too
    parser.add_argument(
        "--debug", "-debug", action="store_true", help="log everything, and allow core dumps and debuggers"
    )
    parser.add_argument("--version", "-version", action="version", version=f"{NAME} {version('troth')}")
    options = parser.parse_args(argv)
    os.umask(0o077)  # an SQLite database is for its owner
    try:
        settings, notes = _load(options.config)
        if options.check:
            return report(NAME, find_faults(settings), notes)
        level = "debug" if options.debug else settings.log_level
        configure_logging(level, form=settings.log_format, service=NAME)
        for note in notes:
            _log.warning("%s: %s", options.config, note)
        if not options.debug:
            _close_memory()
        aside(lambda: prepare(settings), "the preparations failed")
        Database(settings.database_url).dispose()  # loads its driver: once, and not in each worker
        check_tls(settings.tls)
        TRAIL.log_start(settings.database_url)
        run(
            NAME,
            lambda: create_app(settings),
            listen=settings.listen,
            http2_listen=settings.grpc_listen,
            tls=settings.tls,
            workers=settings.workers,
            threads=settings.threads,
            metrics_listen=settings.metrics_listen,
            worker=CallWorker,
        )
    except TrustError as error:
        return report(NAME, complaints(error), ()) if options.check else complain(NAME, error)
    return 0


def _load(path: Path | None) -> tuple[Settings, list[str]]:
    return load(Settings, path, prefix=goconfig.PREFIX, go_prefix=goconfig.GO_PREFIX, translate=goconfig.translate)


def find_faults(settings: Settings, *, environ: Mapping[str, str] | None = None) -> list[str]:
    """All that would keep a signer with these settings from starting, as far as files and the token can tell."""
    return failures(
        lambda: check_tls(settings.tls),
        lambda: Database(settings.database_url).dispose(),
        lambda: _passphrases(settings, environ),
        lambda: _check_token(settings),
    )


def _passphrases(settings: Settings, environ: Mapping[str, str] | None) -> Passphrases:
    passphrases = Passphrases(settings.passphrase_folder, os.environ if environ is None else environ)
    if settings.key_home == "database":
        passphrases.of(settings.default_alias)
    return passphrases


def _token(settings: Settings) -> TokenHome | None:
    if settings.pkcs11_module is None or settings.pkcs11_pin_file is None:  # Settings has all of it or nothing
        return None
    return TokenHome(settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin_file)


def _check_token(settings: Settings) -> None:
    """Whether the token lets us in; asked by a process of its own, since a PKCS#11 module is not for two."""
    token = _token(settings)
    if token is not None:
        aside(token.check, f"the PKCS#11 module {settings.pkcs11_module} has crashed")


def _close_memory() -> None:
    """Keep the keys in this process: no core dumps, no debuggers.  Workers inherit it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
