# SPDX-License-Identifier: Apache-2.0
"""A TCP relay on loopback in front of a server, which seems to die in the middle of a transfer, and comes back.

with Relay("127.0.0.1", port) as relay:
    relay.die_after(sent=1 << 20)          # once clients have sent so much more
    …                                      # whoever asks now is hung up on
    relay.come_back()
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Relay:
    """See above.

    Args:
        host, port: of the server.

    Attributes:
        address: where the relay listens, as host:port.
        is_dead: whether it hangs up on everybody.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.is_dead = False
        self._room: dict[str, int | None] = {"sent": None, "received": None}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._die()
        for each in self._threads:
            each.join(10)

    def die_after(self, *, sent: int | None = None, received: int | None = None) -> None:
        """Die once clients have sent, or received, so many bytes more."""
        self._room = {"sent": sent, "received": received}

    def come_back(self) -> None:
        """Be as before."""
        self._room = {"sent": None, "received": None}
        self.is_dead = False

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            if self.is_dead:
                client.close()
                continue
            server = socket.create_connection(self._server)
            with self._lock:
                self._open |= {client, server}
            for source, target, direction in ((client, server, "sent"), (server, client, "received")):
                thread = threading.Thread(target=self._pump, args=(source, target, direction), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                room = self._room[direction]
                if room is not None:
                    self._room[direction] = room - len(data)
                    if room < len(data):
                        self._die()
                        break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, target}
        source.close()

    def _die(self) -> None:
        self.is_dead = True
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
