# SPDX-License-Identifier: Apache-2.0
"""The notary server: `create_app` wires it, `main` is the console script `troth-server`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.routing import BaseConverter, Rule

from server import advance, goconfig, migrations, takeover
from server.errors import LostRaceError, MetadataNotFoundError
from server.expiry import Expiry
from server.health import Health
from server.models import TRAIL
from server.online import Online
from server.publish import Publisher
from server.reads import Reads, ReadsAhead
from server.serve import Current
from server.settings import PREFIX, Settings
from server.shelf import STATE, Shelf
from server.store import Store
from server.views import READS, Ports, Views
from trust.errors import SettingsError, TrustError
from trust.goconfig import load
from trust.keystore import KeyStore
from trust.remotekeys import RemoteKeyStore
from trust.settings import complaints, failures
from trust.tokens import Sites, Verifier, authorities_in
from trust.web import auditcommand, tracing
from trust.web.ahead import Ahead
from trust.web.app import create_base_app
from trust.web.aside import aside
from trust.web.bearer import Guard
from trust.web.database import Database
from trust.web.metrics import COLLECTORS
from trust.web.migrations import upgrade
from trust.web.refusals import Refusals
from trust.web.run import Tls, check_tls, complain, configure_logging, report, run

NAME = "troth-server"
#: Where an app keeps its `Database`, among its extensions.
DATABASE = "troth.database"
#: And its `Shelf`.
SHELF = "troth.shelf"
#: Seconds that the health check waits for the signer.
_PROBE_TIMEOUT = 2.0

_log = logging.getLogger("troth.server")
#: What is still read of a body that nobody wants, and at once.
_DRAINED = 16 << 20
_BLOCK = 256 << 10


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
    state = database.watch(STATE)
    shelf = Shelf(state, clock)
    guard = Guard(_verifier(settings), settings.token_realm, settings.token_service, clock=clock)
    ports = Ports(
        settings=settings,
        database=database,
        keys=keys or _signer(settings),
        reads=Reads(settings, database, Current(database, online, clock, shelf), shelf),
        publisher=Publisher(database, online, clock, settings.max_version_jump),
        health=Health(database, keys or _signer(settings, timeout=_PROBE_TIMEOUT)),
        guard=guard,
        refusals=Refusals(TRAIL, database, clock),
        clock=clock,
    )
    views = Views(ports)
    app = create_base_app(NAME, not_found=MetadataNotFoundError)
    app.extensions[DATABASE] = database
    app.extensions[SHELF] = shelf
    app.extensions[COLLECTORS] = [
        Expiry(database, ports.keys, clock, timedelta(seconds=settings.expiry_interval)),
    ]
    app.url_map.converters["anything"] = _Anything
    # Every path and every method: which of them mean something is the views' business.
    app.url_map.add(Rule("/<anything:_path>", endpoint="answer"))

    def answer(_path: str) -> Response:
        return views.answer()

    app.view_functions["answer"] = answer

    @app.after_request
    def _finish(response: Response) -> Response:
        if response.status_code >= 400:
            _drain()
        return response

    find = ReadsAhead(READS, ports.reads, views.gun, guard)
    app.wsgi_app = Ahead(NAME, app.wsgi_app, find, state)  # type: ignore[method-assign]  # Flask's own way
    return app


def prepare(settings: Settings) -> None:
    """Bring the tables up to date; before any worker starts.

    Raises:
        SettingsError: the database is newer than this program.
        UnavailableError: the database cannot be used.
    """
    database = Database(settings.database_url)
    try:
        upgrade(database, migrations)
        # Whoever was faster wrote the same.
        with suppress(LostRaceError), database.write() as session:
            Store(session).prepare()
    finally:
        database.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop, or do what the first argument says; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["import"]:
        return takeover.main(arguments[1:], prepare)
    if arguments[:1] == ["audit"]:
        return auditcommand.main(NAME, TRAIL, arguments[1:], lambda path: _load(path)[0].database_url)
    if arguments[:1] == ["advance"]:
        return advance.main(arguments[1:], lambda path: _load(path)[0], lambda settings: Online(_signer(settings)))
    if arguments[:1] == ["serve"]:
        del arguments[0]
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Keep trust collections and sign for their freshness.",
        epilog=f"`{NAME} import --help` tells how to take over another notary server's collections, "
        f"`{NAME} audit --help` how to see who did what, "
        f"`{NAME} advance --help` what to do after a restore.",
    )
    parser.add_argument(
        "--config", "-config", type=Path, metavar="FILE",
        help=f"settings: TOML, or Go's in a .json; {PREFIX}_… overrides them",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="say what is wrong with the settings, and end")
    parser.add_argument("-logf", help=argparse.SUPPRESS)  # Go's; without effect there, too
    parser.add_argument("--debug", "-debug", action="store_true", help="log everything")
    parser.add_argument("--version", "-version", action="version", version=f"{NAME} {version('troth')}")
    options = parser.parse_args(arguments)
    try:
        settings, notes = _load(options.config)
        if options.check:
            return report(NAME, find_faults(settings), [*notes, *_notes(settings)])
        level = "debug" if options.debug else settings.log_level
        configure_logging(level, form=settings.log_format, service=NAME)
        for note in notes:
            _log.warning("%s: %s", options.config, note)
        aside(lambda: prepare(settings), "the preparations failed")
        create_app(settings)  # what is wrong shows here, in one sentence, and not in a worker
        if (tls := _tls(settings)) is not None:
            check_tls(tls)
        TRAIL.log_start(settings.database_url)
        run(
            NAME,
            lambda: create_app(settings),
            listen=settings.listen,
            tls=tls,
            workers=settings.workers,
            threads=settings.threads,
            metrics_listen=settings.metrics_listen,
        )
    except TrustError as error:
        return report(NAME, complaints(error), ()) if options.check else complain(NAME, error)
    return 0


def _load(path: Path | None) -> tuple[Settings, list[str]]:
    return load(Settings, path, prefix=PREFIX, go_prefix=goconfig.GO_PREFIX, translate=goconfig.translate)


def find_faults(settings: Settings) -> list[str]:
    """All that would keep a server with these settings from starting, as far as files alone can tell."""
    tls = _tls(settings)
    return failures(
        *([] if tls is None else [partial(check_tls, tls)]),
        lambda: Database(settings.database_url).dispose(),
        lambda: _signer(settings).close(),
        lambda: _verifier(settings),
    )


def _notes(settings: Settings) -> list[str]:
    if settings.token_certificate is None or not settings.token_certificate.is_file():
        return []
    try:
        authorities = authorities_in(settings.token_certificate.read_bytes())
    except SettingsError:  # a fault
        return []
    return [
        f"{settings.token_certificate}: {name} is a certificate authority's: tokens must be signed by its own key, "
        "tokens signed by certificates that it issued are refused; put the tokens' certificates here instead"
        for name in authorities
    ]


def _drain() -> None:
    """Take what is left of a refused request's body, up to a limit, so that the client gets to read why.

    A connection that is closed on unread bytes is reset, and the answer is lost with it.
    """
    room = _DRAINED
    with suppress(Exception):  # whatever the server's parser raises: these bytes are of no interest
        while room > 0 and (block := request.stream.read(min(room, _BLOCK))):
            room -= len(block)


def _signer(settings: Settings, timeout: float = 10.0) -> RemoteKeyStore:
    certificate, key, ca = settings.signer_client_certificate, settings.signer_client_key, settings.signer_ca
    if certificate is None or key is None or ca is None:
        # The signer speaks mutual TLS only; there is nothing weaker to fall back to.
        raise SettingsError("signer_ca, signer_client_certificate and signer_client_key must be set")
    return RemoteKeyStore(
        settings.signer_url, ca=ca, certificate=certificate, key=key, timeout=timeout, headers=tracing.sent_on
    )


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
    return Tls(settings.tls_certificate, settings.tls_key, settings.client_ca)


if __name__ == "__main__":
    sys.exit(main())
