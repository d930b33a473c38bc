# SPDX-License-Identifier: Apache-2.0
"""The notary server: `create_app` wires it, `main` is the console script `troth-server`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, Response
from werkzeug.routing import BaseConverter, Rule

from server.errors import LostRaceError, MetadataNotFoundError
from server.health import Health
from server.models import Base
from server.online import Online
from server.publish import Publisher
from server.serve import Current
from server.settings import PREFIX, Settings
from server.store import Store
from server.views import Ports, Views
from trust.errors import SettingsError, TrustError
from trust.keystore import KeyStore
from trust.remotekeys import RemoteKeyStore
from trust.settings import load
from trust.tokens import Sites, Verifier
from trust.web.app import create_base_app
from trust.web.bearer import Guard
from trust.web.database import Database
from trust.web.run import Tls, complain, configure_logging, run

NAME = "troth-server"
#: Seconds that the health check waits for the signer.
_PROBE_TIMEOUT = 2.0


class _Anything(BaseConverter):
    """A whole path, slashes at its beginning included."""

    regex = "(?s:.*)"
    part_isolating = False


def create_app(
    settings: Settings,
    *,
    keys: KeyStore | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """Make the server's app; in each worker, after the fork.  The tables must be there: see `prepare`.

    Args:
        settings: the operator's settings.
        keys: where the online keys are; None: in the signer that the settings name.
        clock: tells the time.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    database = Database(settings.database_url)
    online = Online(keys or _signer(settings))
    guard = Guard(_verifier(settings), settings.token_realm, settings.token_service, clock=clock)
    ports = Ports(
        settings=settings,
        database=database,
        keys=keys or _signer(settings),
        current=Current(database, online, clock),
        publisher=Publisher(database, online, clock, settings.max_version_jump),
        health=Health(database, keys or _signer(settings, timeout=_PROBE_TIMEOUT)),
        guard=guard,
        clock=clock,
    )
    views = Views(ports)
    app = create_base_app(NAME, not_found=MetadataNotFoundError)
    app.url_map.converters["anything"] = _Anything
    # Every path and every method: which of them mean something is the views' business.
    app.url_map.add(Rule("/<anything:_path>", endpoint="answer"))

    def answer(_path: str) -> Response:
        return views.answer()

    app.view_functions["answer"] = answer
    return app


def prepare(settings: Settings) -> None:
    """Create the tables that are not there yet; before any worker starts.

    Raises:
        UnavailableError: the database cannot be used.
    """
    database = Database(settings.database_url)
    database.create(Base.metadata)
    # Whoever was faster wrote the same.
    with suppress(LostRaceError), database.write() as session:
        Store(session).prepare()
    database.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(prog=NAME, description="Keep trust collections and sign for their freshness.")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings in TOML; {PREFIX}_… overrides them")
    options = parser.parse_args(arguments)
    try:
        settings = load(Settings, prefix=PREFIX, path=options.config)
        configure_logging(settings.log_level)
        prepare(settings)
        create_app(settings)  # what is wrong shows here, in one sentence, and not in a worker
        run(
            NAME,
            lambda: create_app(settings),
            listen=settings.listen,
            tls=_tls(settings),
            workers=settings.workers,
            threads=settings.threads,
        )
    except TrustError as error:
        return complain(NAME, error)
    return 0


def _signer(settings: Settings, timeout: float = 10.0) -> RemoteKeyStore:
    certificate, key, ca = settings.signer_client_certificate, settings.signer_client_key, settings.signer_ca
    if certificate is None or key is None or ca is None:
        # The signer speaks mutual TLS only; there is nothing weaker to fall back to.
        raise SettingsError("signer_ca, signer_client_certificate and signer_client_key must be set")
    return RemoteKeyStore(settings.signer_url, ca=ca, certificate=certificate, key=key, timeout=timeout)


def _verifier(settings: Settings) -> Verifier | None:
    if settings.token_certificate is None:
        return None
    try:
        certificates = settings.token_certificate.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {settings.token_certificate}: {error.strerror}") from error
    return Verifier(certificates, settings.token_issuer, settings.token_service, Sites(settings.hosts))


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_certificate, settings.tls_key)


if __name__ == "__main__":
    sys.exit(main())
