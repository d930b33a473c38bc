# SPDX-License-Identifier: Apache-2.0
"""Which home of content the settings mean.

    storage = open_storage(settings)

A folder is `content_folder`.  An object store is `storage_url`, and what it needs beside is given by the names that
its own tools use: in the environment (`AWS_ACCESS_KEY_ID`), in `storage_options` what may be seen, and in the file
`storage_secrets` what may not.

    s3://bucket/prefix           Amazon S3, and what speaks it, with the option `endpoint`
    gs://bucket/prefix           Google Cloud Storage
    az://container/prefix        Azure Blob Storage
    swift://container/prefix     OpenStack Swift; the options are those of keystoneauth's plugin `auth_type`
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from registry.settings import Settings
from registry.storage.base import Storage
from registry.storage.file import FileStorage
from trust.errors import SettingsError

#: Schemes of `storage_url`.
SCHEMES = ("s3", "gs", "az", "swift")
#: For one request to the store, which is a piece of a blob at most.
_TIMEOUT = timedelta(seconds=60)
#: A pull waits for so long while a store does not answer.
_RETRY = timedelta(seconds=15)
#: Names of Swift that need no quoting, in no way of signing them.
_SWIFT_URL = re.compile(r"swift://(?P<container>[\w.-]{1,255})(?:/(?P<prefix>[\w./-]{0,255}))?", re.ASCII)


def open_storage(settings: Settings) -> Storage:
    """The home of content.

    Raises:
        SettingsError: the settings of the store cannot be used.
        StorageError: the folder cannot be made.
    """
    if settings.storage_url is None:
        assert settings.content_folder is not None  # the settings see to it
        return FileStorage(settings.content_folder)
    scheme = settings.storage_url.partition("://")[0]
    if scheme not in SCHEMES:
        raise SettingsError(f"storage_url must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    options = _options(settings.storage_options, "storage_options")
    if settings.storage_secrets is not None:
        options |= _secrets(settings.storage_secrets)
    allow_http = options.pop("allow_http", "false").lower() == "true"
    open_it = _swift if scheme == "swift" else _objects
    return open_it(settings.storage_url, options, allow_http, settings.storage_redirect)


def _objects(url: str, options: dict[str, str], allow_http: bool, redirect: bool) -> Storage:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        from registry.storage.objects import ObjectStorage
    except ImportError as error:
        raise SettingsError("storage_url needs the package obstore: pip install 'troth[objects]'") from error
    try:
        store = from_url(
            url,
            config=options,  # type: ignore[call-overload]  # which names there are, the store says
            client_options={"allow_http": allow_http, "timeout": _TIMEOUT, "connect_timeout": timedelta(seconds=5)},
            retry_config={"max_retries": 4, "retry_timeout": _RETRY},
        )
    except (BaseError, ValueError, TypeError) as error:
        # The first line alone names the option; what follows may hold values.
        raise SettingsError(f"the storage cannot be used: {str(error).partition(chr(10))[0][:200]}") from error
    return ObjectStorage(store, redirect=redirect)


def _swift(url: str, options: dict[str, str], allow_http: bool, redirect: bool) -> Storage:
    try:
        from keystoneauth1.exceptions import ClientException as AuthError
        from keystoneauth1.loading import get_plugin_loader
        from keystoneauth1.session import Session
        from swiftclient import Connection

        from registry.storage.swift import SwiftStorage
        from registry.storage.swiftcontainer import Container
    except ImportError as error:
        raise SettingsError("storage_url needs the package swiftclient: pip install 'troth[swift]'") from error
    place = _SWIFT_URL.fullmatch(url)
    if place is None:
        raise SettingsError("storage_url must be swift://container/prefix, of letters, digits, '.', '_' and '-'")
    for name in ("swiftclient", "keystoneauth"):  # what they tell in detail holds tokens
        logging.getLogger(name).setLevel("WARNING")
    temp_url_key = options.pop("temp_url_key", None)
    cacert, region = options.pop("cacert", None), options.pop("region_name", None)
    where = {"region_name": region, "endpoint_type": options.pop("interface", "public")}
    try:
        loader: Any = get_plugin_loader(options.pop("auth_type", "v3password"))
        unknown = sorted(options.keys() - {each.dest for each in loader.get_options()})
        if unknown:
            raise SettingsError(f"the storage cannot be used: it knows no option {unknown[0]!r}")
        auth = loader.load_from_options(**options)
    except (AuthError, TypeError) as error:  # names options, and no values
        raise SettingsError(f"the storage cannot be used: {str(error)[:200]}") from error
    session = Session(auth, verify=cacert or True, timeout=_TIMEOUT.total_seconds())

    def connect() -> Connection:
        return Connection(
            session=session, os_options=where, cacert=cacert, timeout=_TIMEOUT.total_seconds(),
            retries=3, starting_backoff=0.5, max_backoff=4,
        )  # fmt: skip

    if not (allow_http or options.get("auth_url", "").startswith("https://")):
        raise SettingsError("auth_url of the storage must begin with https://, or allow_http=true be set")
    prefix = f"{place['prefix'].strip('/')}/" if place["prefix"] else ""
    container = Container(connect, place["container"], prefix, temp_url_key=temp_url_key, allow_http=allow_http)
    return SwiftStorage(container, redirect=redirect)


def _secrets(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} holds secrets, but others may read it; `chmod 600` it")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the secrets of the storage in {path}") from error
    return _options((line for line in lines if line.strip() and not line.startswith("#")), str(path))


def _options(given: Iterable[str], source: str) -> dict[str, str]:
    options = {}
    for number, each in enumerate(given, 1):
        name, equals, value = each.partition("=")
        if not (equals and name.strip()):
            raise SettingsError(f"{source}: entry {number} must be name=value")
        options[name.strip()] = value.strip()
    return options
