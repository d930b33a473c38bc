# SPDX-License-Identifier: Apache-2.0
"""Where a delivery may go: an endpoint must not make the registry ask a machine that only the registry can reach.

    addresses = Addresses(networks=("10.1.0.0/16",), plain_http=False)
    url = addresses.parse("https://hooks.example.com/troth", trusted=False)   # when it is added, and when it is told
    addresses.resolve(url, trusted=False)                                     # ["203.0.114.7"]: connect to just these

A name says nothing: it may have an address inside, or have another when it is asked again.  So a name is resolved
once for a delivery, what it gives is looked at, and the connection goes to that very address.  Public addresses are
allowed.  Others are only if they are in the operator's `networks`, and then to endpoints that an administrator made.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from registry.events.models import MAX_URL
from trust.errors import DeniedError, InvalidError, SettingsError, UnavailableError

Address = IPv4Address | IPv6Address
#: As `socket.getaddrinfo`.
Resolver = Callable[..., Iterable[tuple[Any, Any, Any, Any, tuple[Any, ...]]]]

#: Addresses of a name that are tried.
_TRIED = 4
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!.*\.\.)[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
# Resolvers take such a name for an address of IPv4, each in its own way.
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_URL = re.compile(r"https?://[^\s\\@#]+", re.ASCII | re.IGNORECASE)
# IANA's special-purpose registries, by name and not by Python's `is_global`, which changes with its versions.
_INSIDE = [
    ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a public address, behind which Azure has its metadata
        # Within 2000::/3, which is all that is global of IPv6: protocols, Teredo, documentation, 6to4.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
]  # fmt: skip
_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Url:
    """An endpoint's address, in the parts that a request needs; `host` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """It without the path, which may be a secret: for logs."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Addresses:
    """Says where deliveries may go.

    Args:
        networks: beside public addresses, those in these networks, such as `10.1.0.0/16`.
        plain_http: whether http is allowed, too.
        resolver: gives the addresses of a name.

    Raises:
        SettingsError: one is no network.
    """

    def __init__(
        self, networks: Iterable[str] = (), *, plain_http: bool = False, resolver: Resolver = socket.getaddrinfo
    ) -> None:
        try:
            self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in networks]
        except ValueError as error:
            raise SettingsError(f"webhook_networks must name networks, such as 10.1.0.0/16: {error}") from error
        self._plain_http = plain_http
        self._resolver = resolver

    def parse(self, text: str, *, trusted: bool) -> Url:
        """Read a URL.

        Args:
            text: the URL.
            trusted: whether an administrator answers for it.

        Raises:
            InvalidError: it is none, or one that is not allowed whatever its name stands for.
        """
        if len(text) > MAX_URL or not text.isascii() or not _URL.fullmatch(text):
            raise InvalidError(
                f"a webhook's URL begins with https://, has at most {MAX_URL} characters, all ASCII, and neither a "
                "login nor a fragment"
            )
        try:
            parsed = parse_url(text)
        except LocationParseError as error:
            raise InvalidError("the webhook's URL is malformed") from error
        scheme, host = parsed.scheme or "", (parsed.host or "").removeprefix("[").removesuffix("]")
        if scheme != "https" and not self._plain_http:
            raise InvalidError("a webhook's URL begins with https://")
        literal = _literal(host)
        if literal is None and (not _HOST.fullmatch(host) or _NUMBER.fullmatch(host)):
            raise InvalidError("the host in the webhook's URL is malformed")
        if literal is not None and not self._is_allowed(literal, trusted):
            raise InvalidError("the address in the webhook's URL is not a public one, and is not allowed")
        port = _PORTS[scheme] if parsed.port is None else parsed.port
        if not 0 < port < 65536:
            raise InvalidError("the port in the webhook's URL is malformed")
        return Url(scheme, host, port, parsed.request_uri)

    def resolve(self, url: Url, *, trusted: bool) -> list[str]:
        """The addresses that a delivery may connect to, in the order in which to try them.

        Args:
            url: whither.
            trusted: whether an administrator answers for it.

        Raises:
            UnavailableError: the name has no address now.
            DeniedError: it has none that is allowed.
        """
        try:
            found = self._resolver(url.host, url.port, type=socket.SOCK_STREAM)
            addresses = [ip_address(entry[4][0]) for entry in found]
        except (OSError, ValueError) as error:  # ValueError: a name of a length that is none
            raise UnavailableError("the name has no address") from error
        allowed = [str(each) for each in dict.fromkeys(addresses) if self._is_allowed(each, trusted)]
        if not allowed:
            # Which one it is is nobody's business who cannot see it otherwise.
            raise DeniedError("the name's address is not a public one, and is not allowed")
        return allowed[:_TRIED]

    def _is_allowed(self, address: Address, trusted: bool) -> bool:
        meant = _meant(address)
        if trusted and any(meant in network for network in self._networks):
            return True
        if any(meant in network for network in _INSIDE):
            return False
        return isinstance(meant, IPv4Address) or meant in _GLOBAL


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _meant(address: Address) -> Address:
    """Whom one reaches there: behind an address of IPv6 may be one of IPv4."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
