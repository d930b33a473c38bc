# SPDX-License-Identifier: Apache-2.0
"""Where the files of a TUF 1.0 repository come from: a folder or a web server, behind python-tuf's fetcher.

    fetcher = PlacesFetcher({"metadata": Folder(Path("public/metadata")), "targets": Web("https://…/targets")})
    fetcher.download_bytes("metadata/timestamp.json", 16384)

Nothing that comes from here is believed; python-tuf counts the bytes and ends the reading at its limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from trust.errors import UnauthorizedError, UnavailableError
from trust.site import Site

_CHUNK = 64 * 2**10
_NOT_FOUND = 404


class Place(Protocol):
    """Has files by path-relative URLs."""

    def read(self, name: str) -> Iterator[bytes]:
        """The file's content in pieces.

        Raises:
            DownloadHTTPError: there is no such file.
            UnavailableError: it cannot be read.
        """
        ...


class Folder:
    """Files below `path`, found as a web server that serves the folder would."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> Iterator[bytes]:
        """See `Place`."""
        parts = unquote(name).split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise DownloadHTTPError(f"{name} is no file", _NOT_FOUND)
        try:
            with self._path.joinpath(*parts).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise DownloadHTTPError(f"there is no file {name}", _NOT_FOUND) from error
        except OSError as error:
            raise UnavailableError(f"{name} cannot be read: {error.strerror}") from error


class Web:
    """Files below an http or https address.

    Args:
        url: the address.
        ca: PEM files of CAs that its certificate must come from; none: the system's.
        credentials: user and password, for servers that ask.

    Raises:
        InvalidError: the address is not http(s), or a CA file cannot be read.
    """

    def __init__(self, url: str, *, ca: Sequence[Path] = (), credentials: tuple[str, str] | None = None) -> None:
        self._site = Site(url, ca=ca, credentials=credentials)

    def read(self, name: str) -> Iterator[bytes]:
        """See `Place`."""
        with self._site.request("GET", f"/{name}", scope="") as answer:
            if answer.status == 401:
                raise UnauthorizedError(f"{self._site.url} does not let these credentials read {name}")
            if answer.status != 200:
                raise DownloadHTTPError(f"{self._site.url} answered {answer.status} for {name}", answer.status)
            try:
                yield from answer.stream(_CHUNK)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise UnavailableError(f"the answer for {name} broke off: {type(error).__name__}") from error


class PlacesFetcher(FetcherInterface):
    """Lets python-tuf's client read from places: the first part of a URL names one.

    Attributes:
        seen: the metadata files that came, newest last.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self.seen: list[bytes] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        place, _, name = url.partition("/")
        return self._places[place].read(name)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """See `FetcherInterface`."""
        data: bytes = super().download_bytes(url, max_length)
        self.seen.append(data)
        return data
