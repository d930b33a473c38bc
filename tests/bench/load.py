# SPDX-License-Identifier: Apache-2.0
"""Load: as many requests as a service answers, and how many that are a second.

    gets(f"{url}/v2/…/timestamp.json", seconds=3)              # wrk or hey, eight connections
    calls([send, send, …], seconds=3)                          # threads, each with its own connection

A wrong answer is no answer: it ends the measurement with an error.
"""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8

_RATE = re.compile(r"Requests/sec:\s*([0-9.]+)")
#: What wrk, and what hey prints when something is not as it should be.
_WRONG = re.compile(r"(Non-2xx or 3xx responses|Socket errors): .*|Error distribution:|\[[^2]\d\d\]\s+\d+ responses")


def gets(url: str, *, seconds: float, headers: Sequence[str] = (), method: str = "GET") -> float:
    """Requests a second of `url` with `CONNECTIONS` connections that are kept; within no time, one with each."""
    options = [part for header in headers for part in ("-H", header)]
    if method == "GET" and seconds >= 1:
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "--timeout", "10s", *options]
    else:  # wrk waits for the body of an answer to HEAD, and counts in whole seconds
        length = ["-z", f"{seconds}s"] if seconds else ["-n", str(CONNECTIONS)]
        command = ["hey", "-c", str(CONNECTIONS), *length, "-t", "10", "-m", method, *options]
    return _rate([*command, url])


def gets_of_many(url: str, first: int, count: int, *, seconds: float) -> float:
    """Requests a second of many files with one connection: one after the other, each once.

    Args:
        url: of a file, with a format such as `%064x` where its number belongs.
        first: the first number.
        count: how many files there are; enough, for they are asked for again when all have been.
        seconds: how long.
    """
    parts = urlsplit(url)
    script = f"""
        local asked = 0
        request = function()
            local number = {first} + asked % {count}
            asked = asked + 1
            return wrk.format("GET", string.format("{parts.path}", number))
        end
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", "-c1", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        return _rate([*command, "-s", file.name, f"{parts.scheme}://{parts.netloc}"])


def _rate(command: Sequence[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wrong = _WRONG.search(done.stdout)
    assert wrong is None, f"{command}: {wrong[0]}"
    rate = _RATE.search(done.stdout)
    assert rate is not None, done.stdout
    assert float(rate[1]) > 0, f"{command}: nothing was answered"
    return float(rate[1])


def calls(callers: Sequence[Callable[[], object]], *, seconds: float) -> float:
    """Calls a second when each of the callers calls again and again, all at once; within no time, once."""
    end = time.monotonic() + seconds
    counts = [0] * len(callers)
    errors: list[BaseException] = []

    def repeat(number: int) -> None:
        try:
            while counts[number] == 0 or time.monotonic() < end:
                callers[number]()
                counts[number] += 1
        except BaseException as error:
            errors.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(len(callers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.monotonic() - began)


def works(queues: Iterable[Iterable[Callable[[], object]]]) -> float:
    """Calls a second when each queue of calls is worked off in its order, all queues at once."""
    errors: list[BaseException] = []
    lists = [list(queue) for queue in queues]

    def work(queue: list[Callable[[], object]]) -> None:
        try:
            for call in queue:
                call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(queue,)) for queue in lists]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    if errors:
        raise errors[0]
    return sum(map(len, lists)) / took


class Connection:
    """A kept connection to a service.

    Args:
        url: the service.
        ca: the authority of its certificate.
        client: a certificate of ours, and its key.
    """

    def __init__(self, url: str, ca: Path, client: tuple[Path, Path] | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            if client is not None:
                context.load_cert_chain(*client)
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=120)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | memoryview | None = None,
        headers: dict[str, str] | None = None,
        *,
        expected: Sequence[int] = (200, 201, 202),
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer and its body, which must have an expected status."""
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        data = response.read()
        assert response.status in expected, f"{method} {path}: {response.status} {data[:500]!r}"
        return response, data

    def fetch(self, path: str, block: memoryview) -> int:
        """GET `path` through `block`, and throw it away; returns its length."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        assert response.status == 200, f"{path}: {response.status}"
        length = 0
        while size := response.readinto(block):
            length += size
        return length

    def close(self) -> None:
        """Close it."""
        self._connection.close()
