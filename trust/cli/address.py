# SPDX-License-Identifier: Apache-2.0
"""Where a service is found: `HOST:PORT`, checked once, and what follows from it.

>>> address = Address.parse("localhost:5000")
>>> address.url, address.listen, address.name
('https://localhost:5000', '127.0.0.1:5000', 'localhost:5000')
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self

from trust.errors import SettingsError

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """The host as clients know it (an IPv6 address without brackets), and the port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT` or `[IPV6]:PORT`.

        Raises:
            SettingsError: any other text.
        """
        host, _, port = text.rpartition(":")
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise SettingsError(f"{text[:80]!r} is not an address: HOST:PORT is wanted, such as localhost:5000")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            good = _is_ip(host) and ":" in host
        else:
            good = len(host) <= 253 and (_HOST_NAME.fullmatch(host) is not None)
        if not good:
            raise SettingsError(f"{text[:80]!r} is not an address: its host is neither a name nor an IP address")
        return cls(host.lower(), int(port))

    @property
    def name(self) -> str:
        """The host part of image names: docker leaves the port out where it is that of HTTPS."""
        return self._bracketed if self.port == 443 else f"{self._bracketed}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"https://{self.name}"

    @property
    def ip(self) -> str:
        """The IP address to listen on: this machine alone for `localhost`, everywhere for any other name."""
        if self.host == "localhost":
            return "127.0.0.1"
        # Who gives the service a name of its own wants it to be reached by that name, and on Debian the machine's
        # own name means a loopback address.
        return self.host if _is_ip(self.host) else "0.0.0.0"  # noqa: S104  # asked for

    @property
    def listen(self) -> str:
        """What the service is told to listen on."""
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def near(self) -> str:
        """The IP address at which this machine reaches the service."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.ip, self.ip)  # noqa: S104

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def claim(addresses: dict[str, Address]) -> None:
    """Make sure that every address can be listened on now.

    Args:
        addresses: by the option that set each, for the message.

    Raises:
        SettingsError: one is taken, needs a right that is missing, or is not this machine's.
    """
    held: list[socket.socket] = []
    try:
        for option, address in addresses.items():
            family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
            probe = socket.socket(family, socket.SOCK_STREAM)
            held.append(probe)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.ip, address.port))
                probe.listen()  # two sockets may share an address until one of them listens
            except OSError as error:
                raise SettingsError(
                    f"cannot listen on {address.listen}: {error.strerror}; stop what uses it, or choose another "
                    f"address with {option}"
                ) from error
    finally:
        for probe in held:
            probe.close()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
