# SPDX-License-Identifier: Apache-2.0
"""One container of OpenStack Swift: its objects by name, over connections that are kept.

    container = Container(lambda: Connection(session=session), "content", "registry/", temp_url_key="…")
    container.put("some/name", b"data")
    container.head("some/name")                # 4, or None if it is not there

What may be stale is asked of all replicas (`X-Newest`), all but listings, which cannot be.
"""

from __future__ import annotations

import http.client
import json as json_
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from keystoneauth1.exceptions import ClientException as AuthError
from requests import RequestException
from swiftclient import ClientException, Connection
from swiftclient.utils import generate_temp_url
from urllib3.exceptions import HTTPError

from registry.errors import StorageError, StorageFullError, UploadBusyError

BLOCK = 1 << 20
_NEWEST = {"X-Newest": "true"}

_log = logging.getLogger("troth.registry.storage")


class Container:
    """A container, or the part of it below a prefix.

    Args:
        connect: makes a connection; each is used by one thread at a time.
        name: it exists.
        prefix: of all names in it; empty or ending in a slash.
        temp_url_key: signs temporary URLs.
        allow_http: whether the store may be spoken to without TLS.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        name: str,
        prefix: str = "",
        *,
        temp_url_key: str | None = None,
        allow_http: bool = False,
    ) -> None:
        self._connect = connect
        self._name = name
        self._prefix = prefix
        self._temp_url_key = temp_url_key
        self._allow_http = allow_http
        self._idle: list[Connection] = []

    def put(self, name: str, data: str | bytes | Iterator[bytes], **headers: str) -> str:
        """Store an object and return its entity tag; only text is sent again if the store does not answer."""
        with self._connection() as connection:
            return str(connection.put_object(self._name, self._prefix + name, data, headers=headers))

    def put_new(self, name: str, data: bytes) -> None:
        """Store an object that must not be there yet.

        Raises:
            UploadBusyError: it is there.
        """
        try:
            self.put(name, data, **{"If-None-Match": "*"})
        except ClientException as error:
            if error.http_status == 412:
                raise UploadBusyError("another request is writing to this upload") from error
            raise

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store; of a static large object, what its segments hold."""
        destination = f"/{self._name}/{self._prefix}{target}"
        with self._connection() as connection:
            connection.copy_object(self._name, self._prefix + source, destination)

    def join(self, segments: Sequence[tuple[str, int, str]], name: str) -> None:
        """Make a static large object of segments: name, size, and entity tag if it is known."""
        manifest = [
            {"path": f"{self._name}/{self._prefix}{segment}", "size_bytes": size} | ({"etag": etag} if etag else {})
            for segment, size, etag in segments
        ]
        query, body = "multipart-manifest=put", json_.dumps(manifest)
        with self._connection() as connection:
            connection.put_object(self._name, self._prefix + name, body, query_string=query)

    def sign(self, name: str, lifetime: timedelta) -> str | None:
        """A temporary URL of an object; None without a key."""
        if self._temp_url_key is None:
            return None
        with self._connection() as connection:
            account = urlsplit(connection.get_auth()[0])
        path = f"{account.path}/{self._name}/{self._prefix}{name}"
        signed = generate_temp_url(path, int(lifetime.total_seconds()), self._temp_url_key, "GET", digest="sha256")
        return f"{account.scheme}://{account.netloc}{signed}"

    def head(self, name: str) -> int | None:
        """How long an object is; None if there is none."""
        try:
            with self._connection() as connection:
                headers = connection.head_object(self._name, self._prefix + name, headers=_NEWEST)
        except ClientException as error:
            if error.http_status == 404:
                return None
            raise
        return int(headers["content-length"])

    def json(self, name: str) -> Any:
        """What is in an object of JSON; None if there is none."""
        try:
            with self._connection() as connection:
                return json_.loads(connection.get_object(self._name, self._prefix + name, headers=_NEWEST)[1])
        except ClientException as error:
            if error.http_status == 404:
                return None
            raise

    def get(self, name: str, start: int, stop: int) -> SwiftSlice:
        """Read a part of an object.

        Raises:
            StorageError: it has fewer bytes.
        """
        if start == stop:
            if self.head(name) is None:
                raise StorageError("the content is missing from the registry's storage")
            return SwiftSlice(None, 0, lambda _whole: None)
        connection = self._take()
        try:
            headers, body = connection.get_object(
                self._name,
                self._prefix + name,
                resp_chunk_size=BLOCK,
                headers={"Range": f"bytes={start}-{stop - 1}"},
            )
        except BaseException:
            connection.close()
            raise
        slice_ = SwiftSlice(body, stop - start, lambda whole: self._give_back(connection, whole))
        if int(headers["content-length"]) != stop - start:
            slice_.close()
            raise StorageError("the content is shorter than it was")
        return slice_

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        try:
            with self._connection() as connection:
                connection.delete_object(self._name, self._prefix + name)
        except ClientException as error:
            if error.http_status != 404:
                raise

    def list(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Entries of a listing, their names without our prefix."""
        marker = ""
        while True:
            with self._connection() as connection:
                entries = connection.get_container(self._name, prefix=self._prefix + prefix, marker=marker)[1]
            if not entries:
                return
            for entry in entries:
                yield entry | {"name": entry["name"][len(self._prefix) :]}
            marker = entries[-1]["name"]

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._connect()
            if not (self._allow_http or connection.get_auth()[0].startswith("https://")):
                raise StorageError("the object store has no address with TLS") from None
            return connection

    def _give_back(self, connection: Connection, usable: bool) -> None:
        if usable:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection, usable = self._take(), False
        try:
            yield connection
            usable = True
        except ClientException as error:
            usable = error.http_status in (404, 412)  # an answer like any other
            raise
        finally:
            self._give_back(connection, usable)


class SwiftSlice:
    """A part of an object, as it comes from the store.

    Args:
        body: what it is read from; None if it is empty.
        size: how many bytes it has.
        done: is called at the end, with whether all of them were read.
    """

    def __init__(self, body: Any, size: int, done: Callable[[bool], None]) -> None:
        self._body = body
        self._left = size
        self._done: Callable[[bool], None] | None = done

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        wanted = self._left if size < 0 else min(size, self._left)
        if not wanted:
            return b""
        with answering():
            data = bytes(self._body.read(wanted))
        self._left -= len(data)
        if not data or (size < 0 and self._left):
            raise StorageError("the storage broke off")
        return data

    def close(self) -> None:
        """Let go of it."""
        done, self._done = self._done, None
        if done is not None:
            if self._body is not None:
                self._body.close()
            done(not self._left)


@contextmanager
def answering() -> Iterator[None]:
    """Turn the store's errors into ours; what it said is for the log, since it may name addresses and accounts."""
    try:
        yield
    except ClientException as error:
        _log.error("the storage failed: %s", _first_line(error))
        if error.http_status == 404:
            raise StorageError("the content is missing from the registry's storage") from error
        if error.http_status == 507:
            raise StorageFullError() from error
        raise StorageError("the registry's storage does not work") from error
    except (AuthError, RequestException, HTTPError, http.client.HTTPException, OSError) as error:
        _log.error("the storage failed: %s", _first_line(error))
        raise StorageError("the registry's storage does not work") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
