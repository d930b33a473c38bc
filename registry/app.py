# SPDX-License-Identifier: Apache-2.0
"""The registry as a whole: its parts put together, and its command.

    troth-registry --config registry.toml

Each worker makes its own app after the fork, with its own database connections.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

from flask import Flask, Response

from registry import commands as trust_commands
from registry import migrations
from registry.accounts import commands as accounts
from registry.accounts.admin import ensure_admin
from registry.accounts.api import create_api, webhooks
from registry.accounts.garant import create_garant
from registry.background import Background, Task
from registry.enforce import Enforcer
from registry.errors import NameUnknownError
from registry.events import commands as event_commands
from registry.events.deliver import open_addresses, open_deliverer
from registry.events.event import Kind
from registry.events.reporter import Reporter
from registry.explain import Explainer
from registry.jobs import api as jobs_api
from registry.jobs import commands as job_commands
from registry.jobs.catalogue import make_kinds
from registry.jobs.telling import tell_findings
from registry.jobs.trust import Parts
from registry.jobs.worker import Worker
from registry.leases import Leases
from registry.models import TRAIL
from registry.notary import hand_over
from registry.notary import source as notary_source
from registry.operations import Api
from registry.policies import Mode, Policies, Policy
from registry.settings import PREFIX, Settings
from registry.storage.homes import open_storage
from registry.trustcache import DatabaseCache
from registry.trustdata import TrustData
from registry.uploads import Uploads
from registry.views.ahead import ManifestsAhead
from registry.views.blobs import BlobViews
from registry.views.bodies import drain
from registry.views.explain import ExplainViews
from registry.views.gate import Gate
from registry.views.manifests import ManifestViews
from registry.views.referrers import ReferrerViews
from registry.views.routes import API_VERSION, parse_repository, prepare
from registry.views.tags import TagViews
from registry.views.uploads import UploadViews
from trust.errors import SettingsError, TrustError
from trust.names import RoleName
from trust.reader import Source
from trust.settings import load
from trust.tokens import Issuer, Sites, Verifier
from trust.web import auditcommand
from trust.web.ahead import Ahead
from trust.web.app import create_base_app
from trust.web.aside import aside
from trust.web.bearer import Guard
from trust.web.companion import live
from trust.web.database import Database
from trust.web.migrations import upgrade
from trust.web.run import Tls, check_tls, complain, configure_logging, run

NAME = "troth-registry"
#: Where an app keeps its `Database`, among its extensions.
DATABASE = "troth.database"


def create_app(
    settings: Settings,
    *,
    source: Source | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """Make the registry.

    Args:
        settings: the operator's settings.
        source: where trust data for the registry's own decisions comes from; None: the notary server that the
            settings name.
        clock: tells the time.

    Raises:
        SettingsError: a file that the settings name cannot be used, or the database is newer than this program.
        UnavailableError: the database or the storage cannot be used.
    """
    app = create_base_app(NAME, not_found=NameUnknownError)
    prepare(app)
    app.extensions[DATABASE] = database = Database(settings.database_url)
    upgrade(database, migrations)
    storage = open_storage(settings)
    issuer = _issuer(settings)
    if source is None and settings.notary_url is not None:
        source = notary_source(settings.notary_url, settings.notary_ca, issuer, clock)
    sites = Sites(settings.hosts)
    policies = _policies(settings)
    trust_data = TrustData(
        source,
        DatabaseCache(database),
        clock=clock,
        age=settings.trust_age_seconds,
        renew=database.readings.renew,
    )
    enforcer = Enforcer(database, policies, trust_data)
    reporter, addresses = Reporter(database), open_addresses(settings)
    guard = Guard(_verifier(settings), settings.realm, settings.token_service, clock=clock)
    gate = Gate(guard, enforcer, sites, reporter, clock)
    uploads = Uploads(database, storage, clock, max_bytes=settings.max_blob_bytes, max_open=settings.max_uploads)
    TagViews(database, gate).expose(app)
    manifests = ManifestViews(
        database,
        gate,
        policies,
        reporter,
        clock,
        max_bytes=settings.max_manifest_bytes,
        sparse=settings.sparse_manifests,
    )
    manifests.expose(app)
    ReferrerViews(database, gate).expose(app)
    link_lifetime = timedelta(seconds=settings.storage_link_seconds)
    BlobViews(database, storage, gate, link_lifetime, settings.content_accel).expose(app)
    UploadViews(database, uploads, gate, clock).expose(app)
    explainer = Explainer(database, policies, enforcer, trust_data)
    explain = ExplainViews(gate, explainer)
    if issuer is None:
        explain.expose(app)
    else:
        app.register_blueprint(create_garant(database, issuer, sites, clock=clock))
        kinds = make_kinds(Parts(database, storage, policies, trust_data, clock))
        wings: list[Callable[[Api], None]] = [
            lambda api: jobs_api.declare(api, database, kinds, clock),
            lambda api: webhooks.declare(api, sites, addresses),
        ]
        api = create_api(
            database, issuer.service, sites, clock=clock,
            policies=policies, enforcer=enforcer, explainer=explainer,
            explain_to_bearer=lambda repository: explain.get(parse_repository(repository)), wings=wings,
        )  # fmt: skip
        app.register_blueprint(api)
    if settings.notary_url is not None:

        def look(gun: str) -> None:
            # What the registry sees of it now, it tells of now, and not when somebody pulls.
            if reporter.is_wanted(Kind.PUBLISHED):
                enforcer.learn(gun)

        app.register_blueprint(hand_over(settings.notary_url, settings.notary_ca, look))

    @app.after_request
    def _finish(response: Response) -> Response:
        if response.status_code >= 400:
            drain()
        # On every answer: clients tell by it that this is a registry at all (REGISTRY_API §2, row 1).
        response.headers.extend([API_VERSION])
        return response

    find = ManifestsAhead(gate, manifests)
    app.wsgi_app = Ahead(NAME, app.wsgi_app, find, database.readings.changes)  # type: ignore[method-assign]  # Flask's
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `troth-registry`; the exit status is returned."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = load(Settings, prefix=PREFIX, path=parsed.config)
        if parsed.command == "audit":
            return auditcommand.run(NAME, TRAIL, settings.database_url, parsed)
        if any(kind in parsed for kind in _HANDLERS):
            return _operate(settings, parsed)
        configure_logging(settings.log_level, form=settings.log_format, service=NAME)
        aside(lambda: _bring_up_to_date(settings), "the tables could not be brought up to date")
        if parsed.command == "work":
            live(lambda stop: work(settings, stop))
            return 0
        return _serve(settings)
    except TrustError as error:
        return complain(NAME, error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="A container registry that serves signed images only.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; the environment wins over it")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM (this is done without a command, too)")
    commands.add_parser("work", help="do the background work alone, until SIGTERM (serve does it, too)")
    accounts.add_commands(commands)
    trust_commands.add_commands(commands)
    auditcommand.add_options(commands.add_parser("audit", help="print or verify the audit trail"))
    job_commands.add_commands(commands)
    event_commands.add_commands(commands)
    return parser


def _operate(settings: Settings, parsed: argparse.Namespace) -> int:
    for name in ("repository", "place"):
        if getattr(parsed, name, ""):
            Sites(settings.hosts).check_repository(getattr(parsed, name))
    database = Database(settings.database_url)
    upgrade(database, migrations)
    kind = next(kind for kind in _HANDLERS if kind in parsed)
    return int(getattr(parsed, kind)(*_HANDLERS[kind](settings, database), parsed))


def _explainer(settings: Settings, database: Database) -> Explainer:
    policies, trust_data = _policies(settings), _trust_data(settings, database)
    return Explainer(database, policies, Enforcer(database, policies, trust_data), trust_data)


#: What each kind of command handler is given before the parsed arguments; made only for the one that runs.
_HANDLERS: dict[str, Callable[[Settings, Database], tuple[object, ...]]] = {
    "handler": lambda settings, database: (database,),
    "trust_handler": lambda settings, database: (_policies(settings), database),
    "explain_handler": lambda settings, database: (_explainer(settings, database),),
    "gc_handler": lambda settings, database: (_parts(settings, database),),
    "job_handler": lambda settings, database: (_job_worker(settings, database),),
    "webhook_handler": lambda settings, database: (database, open_addresses(settings)),
}


def _bring_up_to_date(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        upgrade(database, migrations)
    finally:
        database.dispose()


def _serve(settings: Settings) -> int:
    # Once before there are workers: what is wrong is said once, and the tables are up to date.
    database = create_app(settings).extensions[DATABASE]
    if settings.admin_password_file is not None:
        ensure_admin(database, settings.admin_name, settings.admin_password_file)
    _tasks(settings, database)
    database.dispose()  # no connection may cross the fork
    tls = None
    if settings.tls_certificate and settings.tls_key:
        tls = Tls(settings.tls_certificate, settings.tls_key)
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
        companion=(lambda stop: work(settings, stop)) if settings.background else None,
    )
    return 0


def work(settings: Settings, stop: Event) -> None:
    """Do what the registry does without being asked, until `stop` is set; in a process of its own."""
    database = Database(settings.database_url)
    try:
        upgrade(database, migrations)
        Background(_tasks(settings, database)).run(stop)
    finally:
        database.dispose()


def _tasks(settings: Settings, database: Database) -> list[Task]:
    """The background work; whoever adds to it reads `registry.background` first."""
    deliverer = open_deliverer(settings, database)
    return [
        *_job_worker(settings, database).tasks(),
        Task("webhooks", timedelta(seconds=1), deliverer.deliver_due),
        Task("old deliveries", timedelta(hours=1), lambda _stop: deliverer.prune()),
    ]


def _parts(settings: Settings, database: Database) -> Parts:
    policies, trust_data = _policies(settings), _trust_data(settings, database)
    return Parts(database, open_storage(settings), policies, trust_data, lambda: datetime.now(UTC))


def _trust_data(settings: Settings, database: Database) -> TrustData:
    source = None
    if settings.notary_url is not None:
        source = notary_source(settings.notary_url, settings.notary_ca, _issuer(settings))
    return TrustData(source, DatabaseCache(database))


def _job_worker(settings: Settings, database: Database) -> Worker:
    parts = _parts(settings, database)
    leases = Leases(database, parts.clock)
    return Worker(database, make_kinds(parts), leases, parts.clock, on_end=tell_findings)


def _policies(settings: Settings) -> Policies:
    roles = tuple(RoleName(role) for role in settings.trust_roles)
    default = Policy(
        Mode(settings.trust_mode), roles, require=settings.trust_require, grace_days=settings.trust_grace_days
    )
    return Policies(default, settings.hosts[0])


def _verifier(settings: Settings) -> Verifier | None:
    if settings.token_certificate is None:
        return None
    certificates = _read(settings.token_certificate)
    return Verifier(certificates, settings.token_issuer, settings.token_service, Sites(settings.hosts))


def _issuer(settings: Settings) -> Issuer | None:
    if settings.token_certificate is None or settings.token_key is None:
        return None
    key, certificate = _read(settings.token_key), _read(settings.token_certificate)
    return Issuer(key, certificate, settings.token_issuer, settings.token_service)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
