# SPDX-License-Identifier: Apache-2.0
"""Where Prometheus asks: `GET /metrics` at an address of its own, in plain HTTP (docs/decisions/0017-metrics.md).

    listener = Listener("127.0.0.1:9443")         # in the master: an address that is taken is told at the start
    listener.serve(everything("troth-server"))    # in each worker, after the fork

Every worker listens at the one socket, in a thread of its own, and whoever is first answers for all of them.  So
scrapes work while all other threads are busy, and as long as one worker lives.
"""

from __future__ import annotations

import logging
import socket
import threading
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, MetricsHandler

from trust.errors import SettingsError

_log = logging.getLogger("troth.metrics")


class Listener:
    """The socket.

    Args:
        address: `host:port`.

    Raises:
        SettingsError: it cannot be listened at.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        try:
            self._socket = socket.create_server((host.strip("[]"), int(port)), family=family)
        except (OSError, OverflowError) as error:
            raise SettingsError(f"metrics_listen: {address} cannot be listened at: {error}") from error
        # Of several workers that see a new connection one gets it, and the others must not wait for the next.
        self._socket.setblocking(False)

    def serve(self, shown: CollectorRegistry) -> None:
        """Answer in a thread, until the process ends."""
        handler = type("_Handler", (_Handler,), {"registry": shown})
        server = _Server(self._socket, handler)
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, handler: type[MetricsHandler]) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()  # its own, that was not bound
        self.socket = listening

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a scrape from %s failed", client_address, exc_info=True)


class _Handler(MetricsHandler):
    timeout = 10  # seconds that a client may be silent
    server_version, sys_version = "troth", ""

    def do_GET(self) -> None:  # noqa: N802  # the name is the library's
        if urlsplit(self.path).path == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, explain="metrics are at /metrics")

    def log_message(self, format: str, *arguments: Any) -> None:
        _log.debug(format, *arguments)
