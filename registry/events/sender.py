# SPDX-License-Identifier: Apache-2.0
"""One request to an endpoint: to an address that was looked at, with TLS for the name, and without detours.

No redirect is followed, no proxy of the environment is asked, no cookie is kept, and of the answer nothing is read
but its status: what an endpoint says is shown to nobody.  All of it has a time limit, however slowly it trickles.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from registry.events.addresses import Addresses, Url
from registry.events.event import MEDIA_TYPE
from registry.events.models import MAX_ERROR
from trust.deadline import Exchange, HttpPool, HttpsPool
from trust.errors import SettingsError, TrustError

#: Seconds that one delivery may take, beside what the name service takes; and that a connection may take to begin.
LONGEST, CONNECTING = 15.0, 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: the status that came, and why it failed; empty if it did not."""

    status: int | None
    error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.error is None


class Sender:
    """Makes requests.

    Args:
        addresses: whither.
        ca: certificates of more authorities than the machine's own, PEM.

    Raises:
        SettingsError: they cannot be read.
    """

    def __init__(self, addresses: Addresses, ca: Path | None = None) -> None:
        self._addresses = addresses
        self._agent = f"troth-registry/{version('troth')}"
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca is not None:
            try:
                self._tls.load_verify_locations(cafile=str(ca))
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(f"the CA file {ca} of webhooks cannot be read: {error}") from error

    def post(self, url: str, body: bytes, headers: dict[str, str], *, trusted: bool) -> Outcome:
        """Make one attempt; it never raises.

        Args:
            url: whither.
            body: what is sent.
            headers: which sign it.
            trusted: whether an administrator made the endpoint.
        """
        try:
            parsed = self._addresses.parse(url, trusted=trusted)
            found = self._addresses.resolve(parsed, trusted=trusted)
        except TrustError as error:
            return Outcome(None, error.message[:MAX_ERROR])
        sent = {"Host": parsed.authority, "Content-Type": MEDIA_TYPE, "User-Agent": self._agent} | headers
        with Exchange(LONGEST) as exchange:
            try:
                status = self._status(parsed, found, body, sent)
                if not exchange.passed:  # else the headers broke off, which looks as if they had come to their end
                    return _judged(status)
            except SSLError as error:
                return Outcome(None, f"TLS: {error}"[:MAX_ERROR])
            except (NewConnectionError, ConnectTimeoutError):
                return Outcome(None, "no connection")
            except (HTTPError, OSError):
                pass
        return Outcome(None, f"no answer in {LONGEST:g} seconds" if exchange.passed else "no answer")

    def _status(self, url: Url, addresses: list[str], body: bytes, headers: dict[str, str]) -> int:
        for number, address in enumerate(addresses, 1):
            pool = self._pool(url, address)
            try:
                answer = pool.urlopen(
                    "POST", url.target, body, headers, redirect=False, retries=False, preload_content=False
                )
                answer.close()  # unread
                return int(answer.status)
            except (NewConnectionError, ConnectTimeoutError):
                if number == len(addresses):
                    raise
            finally:
                pool.close()
        raise AssertionError("a name that is resolved has an address")

    def _pool(self, url: Url, address: str) -> urllib3.HTTPConnectionPool:
        timeout = urllib3.Timeout(connect=CONNECTING, read=LONGEST)
        if url.scheme == "http":
            return HttpPool(address, url.port, timeout=timeout)
        host, tls = url.host, self._tls
        return HttpsPool(
            address, url.port, timeout=timeout, ssl_context=tls, server_hostname=host, assert_hostname=host
        )


def _judged(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status, None)
    return Outcome(status, "redirects are not followed" if 300 <= status < 400 else "refused")
