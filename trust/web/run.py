# SPDX-License-Identifier: Apache-2.0
"""Serve an app with gunicorn, from a factory that each worker calls after the fork.

The app is handed over as an object, never as an import string: another folder named `server` in the working
directory must not be served instead of ours.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from trust.errors import SettingsError, TrustError
from trust.web import metrics
from trust.web.companion import Companion, MasterWithCompanion, Work
from trust.web.logs import JsonFormatter, ServerLogger, TextFormatter
from trust.web.scrape import Listener
from trust.web.verbosity import Master
from trust.web.worker import Worker

#: Headers of one request, and bytes of one header or of the request's line.
MAX_HEADERS = 100
MAX_HEADER_BYTES = 8190
#: How long a connection is kept for its next request.
KEEPALIVE_SECONDS = 30

_LISTEN = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


@dataclass(frozen=True)
class Tls:
    """A service's certificate and key, and the CA that its clients must come from (None: any client)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def run(
    name: str,
    factory: Callable[[], Flask],
    *,
    listen: str,
    http2_listen: str | None = None,
    tls: Tls | None,
    workers: int = 2,
    threads: int = 8,
    timeout: int = 120,
    metrics_listen: str | None = None,
    companion: Work | None = None,
    worker: type[Worker] = Worker,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGUSR1 and SIGUSR2 make it log more and less.

    Args:
        name: the service's name, for logs.
        factory: makes the app; called once in each worker.
        listen: `host:port`.
        http2_listen: a second address, or `listen` again; HTTP/2 is offered at both then.  One process serves both,
            with one app, so that they start and stop together.
        tls: certificate and key, or None for plain HTTP.
        workers: processes.
        threads: threads in each.
        timeout: seconds after which a worker that shows no life is replaced.
        metrics_listen: `host:port` where metrics are given out, to everybody who can reach it; None: nowhere.
        companion: what a process beside the workers does (`trust.web.companion`); None: there is none.
        worker: what answers.

    Raises:
        SettingsError: an address, the certificate or the key cannot be used.  A service never falls back to plain
            HTTP, nor to another address.
    """
    for address in (listen, http2_listen, metrics_listen):
        if address is not None and not _LISTEN.fullmatch(address):
            raise SettingsError(f"listen must be host:port, not {address[:80]!r}")
    options: dict[str, Any] = {
        "bind": listen,
        "proc_name": name,
        "workers": workers,
        "threads": threads,
        "worker_class": worker,
        "timeout": timeout,
        "graceful_timeout": 20,
        "keepalive": KEEPALIVE_SECONDS,
        "loglevel": "warning",
        "logger_class": ServerLogger,
        "limit_request_line": MAX_HEADER_BYTES,
        "limit_request_fields": MAX_HEADERS,
        "limit_request_field_size": MAX_HEADER_BYTES,
        # Where two proxies disagree about a header or a path, refuse.
        "forwarder_headers": "",
        "control_socket_disable": True,
    }
    if http2_listen is not None:
        import_module("gunicorn.http2.connection")  # once, and not in each worker at its first connection
        # An idle HTTP/2 connection keeps a thread, and a worker from stopping, until it is closed.
        options |= {"bind": list(dict.fromkeys((listen, http2_listen))), "http_protocols": "h2,h1", "keepalive": 5}
    if tls is not None:
        check_tls(tls)
        options |= {
            "certfile": str(tls.certificate),
            "keyfile": str(tls.key),
            "ssl_context": _context,
            "do_handshake_on_connect": False,
        }
        if tls.client_ca is not None:
            options |= {"ca_certs": str(tls.client_ca), "cert_reqs": ssl.CERT_REQUIRED}
    if metrics_listen is None:
        _Server(factory, options, companion).run()
        return
    listener = Listener(metrics_listen)
    try:
        folder, master = Path(tempfile.mkdtemp(prefix=f"{name}-metrics-")), os.getpid()  # mode 0700
    except OSError as error:
        raise SettingsError(f"metrics_listen: no folder can be made to count in: {error}") from error
    try:
        metrics.share(folder)
        counting = None if companion is None else _counting(companion, listener)
        _Server(factory, options | _observed(name, listener), counting).run()
    finally:
        if os.getpid() == master:  # workers leave through here, too
            shutil.rmtree(folder, ignore_errors=True)


def _observed(name: str, listener: Listener) -> dict[str, Any]:
    """The hooks by which gunicorn's workers count together and are scraped at `listener`."""

    def pre_fork(arbiter: Any, worker: Any) -> None:
        taken = {each.seat for each in arbiter.WORKERS.values()}
        worker.seat = next(seat for seat in count() if seat not in taken)

    def post_fork(_arbiter: Any, worker: Any) -> None:
        metrics.take_seat(worker.seat)

    def post_worker_init(worker: Any) -> None:
        app: Flask = worker.wsgi
        listener.serve(metrics.everything(name, app.extensions.get(metrics.COLLECTORS, ())))

    def child_exit(_arbiter: Any, worker: Any) -> None:
        metrics.leave_seat(worker.seat)

    return {
        "pre_fork": pre_fork,
        "post_fork": post_fork,
        "post_worker_init": post_worker_init,
        "child_exit": child_exit,
        "pre_request": lambda _worker, _request: metrics.begun(name),
        "post_request": lambda _worker, _request, _environ, _response: metrics.ended(name),
    }


def _counting(companion: Work, listener: Listener) -> Work:
    """The companion, counting with the workers; it does not answer scrapes."""

    def work(stop: Event) -> None:
        listener.close()
        metrics.leave_seat(metrics.COMPANION)
        metrics.take_seat(metrics.COMPANION)
        companion(stop)

    return work


def check_tls(tls: Tls) -> None:
    """Whether the files can be used.

    Raises:
        SettingsError: one cannot.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # an encrypted key must not ask on a terminal
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the TLS certificate {tls.certificate} or its key cannot be used: {error}") from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"the clients' CA certificate {tls.client_ca} cannot be used: {error}") from error


def configure_logging(level: str = "INFO", *, form: str = "text", service: str = "") -> None:
    """Log to standard error, one line a record.

    Args:
        level: the least important kind of line.
        form: `text` or `json` (`trust.web.logs`).
        service: who logs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service) if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # What no line has needs not be found out for each (the logging module's own optimisations).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("alembic", "hpack"):  # one tells its life at every start, the other whole headers
        logging.getLogger(name).setLevel("WARNING")


def complain(name: str, error: TrustError) -> int:
    """Print why `name` cannot start, in one sentence, and return the exit status."""
    if any(isinstance(each.formatter, JsonFormatter) for each in logging.getLogger().handlers):
        logging.getLogger("troth").critical("%s: %s", name, error)
    else:
        print(f"{name}: {error}", file=sys.stderr)
    return 1


def report(name: str, problems: Sequence[str], notes: Sequence[str]) -> int:
    """Print all that is wrong with the settings of `name`, and what is only noteworthy; return the exit status."""
    for problem in problems:
        print(f"{name}: {problem}")
    for note in notes:
        print(f"{name}: note: {note}")
    if not problems:
        print(f"{name}: nothing is wrong with the settings")
    return 1 if problems else 0


def _context(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, factory: Callable[[], Flask], options: dict[str, Any], companion: Work | None) -> None:
        self._factory = factory
        self._companion = companion
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for key, value in self._options.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)

    def load(self) -> Flask:
        return self._factory()

    def run(self) -> None:
        # All processes share what is there now, until they write into it; their collectors, which write into each
        # object that they look at, are kept away.
        gc.collect()
        gc.freeze()
        try:
            if self._companion is None:
                Master(self).run()
            else:
                MasterWithCompanion(self, Companion(self._companion)).run()
        except RuntimeError as error:  # as gunicorn does
            raise SystemExit(f"{self._options['proc_name']}: {error}") from error
