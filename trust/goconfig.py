# SPDX-License-Identifier: Apache-2.0
"""The configuration files of Go's notary-server and notary-signer, taken as they are (NOTARY_V1 §4.3).

    settings, notes = load(Settings, path, prefix="TROTH_SERVER", go_prefix="NOTARY_SERVER", translate=translate)

A file whose name ends in `.json` is one of Go's; any other is TOML of our own.  Each service brings a `translate`
that reads a `GoConfig` and says in our settings what it means.  The rules that both share are here:

* keys are case-insensitive, and paths are relative to the file's folder;
* `NOTARY_SERVER_STORAGE_DB_URL` in the environment wins over `storage.db_url` in the file, if it is not empty;
  nested maps (`auth.options`) cannot be set so;
* our own environment (`TROTH_SERVER_…`) wins over both: it sets what Go's file has no word for;
* what would change the meaning of the file is a problem, and all problems are reported at once; what can be left out
  without harm is a note.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from trust import settings
from trust.errors import SettingsError

S = TypeVar("S")

_LEVELS = {"warn": "warning", "fatal": "error", "panic": "error"}
# What these ask for is so in any case, or has no meaning here.
_IDLE_MYSQL = ("parsetime", "charset", "collation", "loc", "timeout", "readtimeout", "writetimeout")


class GoConfig:
    """A file of Go's and what overrides it.  Each key that is read is ticked off; the rest is noted.

    Args:
        path: the file.
        prefix: what the names of Go's environment begin with, without the last underscore.
        environ: the environment.
        set_by_us: the names of our own settings that our own environment sets.

    Attributes:
        problems: what is wrong so far.
        notes: what differs and does no harm.

    Raises:
        SettingsError: the file cannot be read, or is not a JSON object.
    """

    def __init__(
        self, path: Path, prefix: str, environ: Mapping[str, str], set_by_us: frozenset[str] = frozenset()
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.set_by_us = set_by_us
        self._path = path
        self._prefix = prefix
        self._environ = environ
        self._values = _flat(_read(path))
        self._read: set[str] = set()

    def text(self, key: str, default: str = "", *, overridable: bool = True) -> str:
        """The value of `key`, such as `storage.db_url`."""
        self._read.add(key)
        variable = f"{self._prefix}_{key.upper().replace('.', '_')}"
        if overridable and self._environ.get(variable):
            return self._environ[variable]
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int):
            return str(value)
        self.problems.append(f"{key} must be a text")
        return default

    def required(self, key: str, *, overridable: bool = True) -> str:
        """The value of `key`, which must be there."""
        value = self.text(key, overridable=overridable)
        if not value:
            self.problems.append(f"{key} is missing")
        return value

    def file(self, key: str, *, overridable: bool = True) -> str:
        """The path in `key`, not relative any more; empty if there is none."""
        value = self.text(key, overridable=overridable)
        return str(self._path.absolute().parent / value) if value else ""

    def number(self, key: str, default: int) -> int:
        """The number in `key`."""
        value = self.text(key, str(default))
        try:
            return int(value)
        except ValueError:
            self.problems.append(f"{key} must be a number")
            return default

    def texts(self, key: str) -> list[str]:
        """The list of texts in `key`; in the environment, split by spaces as Go does."""
        self._read.add(key)
        variable = f"{self._prefix}_{key.upper().replace('.', '_')}"
        value = self._environ[variable].split() if self._environ.get(variable) else self._values.get(key)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        self.problems.append(f"{key} must be a list of texts")
        return []

    def address(self, key: str) -> str:
        """The address to listen on in `key`: for Go, `:4443` is every address of the machine."""
        value = self.required(key)
        if value.startswith(":"):
            self.notes.append(f"{key}: listens on every IPv4 address; write [::]{value} for IPv6, too")
            return f"0.0.0.0{value}"  # noqa: S104  # it is what the file says
        return value

    def log_level(self) -> str:
        """The level in our words; ours by default, since Go's, "error", leaves out who had what signed."""
        value = self.text("logging.level", "info").lower()
        return _LEVELS.get(value, value)

    def database_url(self, default_alternative: str) -> str:
        """The database, as an SQLAlchemy URL.

        Args:
            default_alternative: our setting to use when the file's cannot be used.
        """
        backend = self.required("storage.backend").lower()
        for key in ("database", "username", "password", "tls_ca_file", "client_cert_file", "client_key_file"):
            self.ignore(f"storage.{key}")  # of RethinkDB
        url = self.text("storage.db_url")
        if backend not in ("mysql", "postgres", ""):
            self.problems.append(
                f"storage.backend: {backend[:40]!r} is not supported, mysql and postgres are; "
                f"or name another database in {default_alternative}"
            )
        elif backend and not url:
            self.problems.append("storage.db_url is missing")
        elif backend:
            try:
                return self._mysql(url) if backend == "mysql" else _postgres(url)
            except ValueError as error:
                # Without the URL itself: it may hold a password.
                self.problems.append(f"storage.db_url: {error}; or use {default_alternative}")
        return ""

    def _mysql(self, dsn: str) -> str:
        # user:password@protocol(address)/database?parameters; the password may have any of these signs.
        access, slash, rest = dsn.rpartition("/")
        login, _, place = access.rpartition("@")
        user, colon, password = login.partition(":")
        protocol, bracket, address = place.partition("(")
        if not slash or (bracket and not address.endswith(")")):
            raise ValueError("must be of the form user:password@tcp(host:port)/database")
        address = address.removesuffix(")")
        database, _, query = rest.partition("?")
        options = {"charset": "utf8mb4"}
        if protocol == "unix":
            options["unix_socket"] = address
            address = "localhost"
        elif protocol not in ("tcp", ""):
            raise ValueError(f"the protocol {protocol[:20]!r} is not supported")
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name.lower() == "tls" and value.lower() not in ("false", "0"):
                raise ValueError("tls cannot be carried over: PyMySQL wants ssl_ca, ssl_cert and ssl_key")
            if name.lower() not in (*_IDLE_MYSQL, "tls"):
                self.notes.append(f"storage.db_url: the parameter {name[:40]!r} is ignored")
        secret = f":{quote(password, safe='')}" if colon else ""
        user = f"{quote(user, safe='')}{secret}@" if login else ""
        return f"mysql+pymysql://{user}{address or '127.0.0.1:3306'}/{database}?{urlencode(options)}"

    def ignore(self, key: str, note: str = "") -> None:
        """Tick `key` off; say `note` if it is set."""
        if self.text(key) and note:
            self.notes.append(f"{key}: {note}")

    def finish(self) -> None:
        """Note what nobody has read."""
        for key in ("reporting.bugsnag.api_key", "reporting.bugsnag.release_stage", "reporting.bugsnag.endpoint"):
            self.ignore(key, "is not supported and ignored")
        unknown = sorted(key for key in self._values.keys() - self._read if self._values[key] not in ("", None, {}))
        self.notes += [f"{key}: is not known and ignored" for key in unknown]


def load(
    cls: type[S],
    path: Path | None,
    *,
    prefix: str,
    go_prefix: str,
    translate: Callable[[GoConfig], dict[str, Any]],
    environ: Mapping[str, str] | None = None,
) -> tuple[S, list[str]]:
    """The settings in a file of either kind, and what is to be noted about them.

    Args:
        cls: our settings.
        path: the file, or None.
        prefix: of our own environment.
        go_prefix: of Go's.
        translate: says in our settings what a file of Go's means.
        environ: the environment; the process's own when None.

    Raises:
        SettingsError: the file or a setting cannot be used; all that is wrong is in `detail`.
    """
    environ = os.environ if environ is None else environ
    if path is None or path.suffix.lower() != ".json":
        return settings.load(cls, prefix=prefix, path=path, environ=environ), []
    set_by_us = frozenset(name.removeprefix(f"{prefix}_").lower() for name in environ if name.startswith(prefix))
    go = GoConfig(path, go_prefix, environ, set_by_us)
    given = {name: value for name, value in translate(go).items() if value not in ("", None)}
    go.finish()
    if go.problems:
        raise SettingsError(f"{path}: {'; '.join(go.problems)}", detail=[f"{path}: {each}" for each in go.problems])
    return settings.load(cls, prefix=prefix, path=path, environ=environ, given=given), go.notes


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # Without the text that is wrong: it may hold a password.
        where = f" in line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingsError(f"{path} is not valid JSON{where}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{path} is not a JSON object")
    return value


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above}{name.lower()}"
        found |= _flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def _postgres(url: str) -> str:
    if "://" not in url:  # host=… user=… dbname=…
        try:
            options = dict(part.split("=", 1) for part in shlex.split(url))
        except ValueError as error:
            raise ValueError("must be postgres://user:password@host:port/database, or name=value pairs") from error
        return f"postgresql+psycopg://?{urlencode({'sslmode': 'require'} | options)}"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("cannot be read as a URL") from None  # the cause may show the password
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError("must begin with postgres://")
    # Go's driver insists on TLS unless it is told otherwise; psycopg would only prefer it.
    options = {"sslmode": "require"} | dict(parse_qsl(parts.query, keep_blank_values=True))
    return f"postgresql+psycopg://{parts.netloc}{parts.path}?{urlencode(options)}"
