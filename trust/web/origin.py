# SPDX-License-Identifier: Apache-2.0
"""Another notary's database: read only, and one state of it from beginning to end.

    with Origin("server:secret@tcp(db:3306)/notaryserver").read() as tables:
        tables.rows("tuf_files", {"gun": String(), "data": LargeBinary()})

The address may be written as SQLAlchemy does, as the Go programs do, or be their configuration file:

    postgresql://server@db/notaryserver?sslmode=verify-full    user=server host=db dbname=notaryserver
    mysql://server@db:3306/notaryserver                        server:secret@tcp(db:3306)/notaryserver?parseTime=true
    server.json                                                (its storage.db_url)

An address may hold a password, so it never appears in an error.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    column,
    create_engine,
    event,
    inspect,
    make_url,
    null,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.types import TypeEngine

from trust.errors import InvalidError, SettingsError, UnavailableError

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "sqlite": "sqlite",
}
# user:password@net(address)/name?parameters: the last slash and the last @ before it divide, as in the Go driver.
_GO_MYSQL = re.compile(
    r"(?:(?P<user>[^:]*)(?::(?P<password>.*))?@)?(?:(?P<net>\w+)(?:\((?P<address>[^)]*)\))?)?/(?P<name>[^/?]*)"
    r"(?:\?(?P<parameters>.*))?",
    re.DOTALL,
)
#: Parameters of the Go drivers that say how Go reads, and nothing to us.
_GO_ONLY = {
    "binary_parameters",
    "disable_prepared_binary_result",
    "parseTime",
    "loc",
    "collation",
    "interpolateParams",
}


Columns = Mapping[str, TypeEngine[Any] | ColumnElement[Any]]


class Origin:
    """Another notary's database.

    Args:
        address: where it is; see above.

    Raises:
        SettingsError: the address is none of these forms, or the driver for it is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            url, options = _parse(address)
            self._engine = _open(url, options)
        except SettingsError:
            raise
        except ImportError as error:
            raise SettingsError(f"the driver for that database is not installed: {error.name}") from error
        except (ArgumentError, ValueError):
            raise SettingsError("the other notary's database address cannot be understood") from None

    @contextmanager
    def read(self) -> Iterator[Tables]:
        """The tables, in one transaction that sees one state.

        Raises:
            SettingsError: the address has a parameter that the driver does not know.
            UnavailableError: the database does not answer.
        """
        try:
            try:
                connection = self._engine.connect()
            except TypeError:
                raise SettingsError(
                    "the other notary's database address has a parameter that no driver knows"
                ) from None
            with connection:
                yield Tables(connection)
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or type(error).__name__
            raise UnavailableError(f"the other notary's database does not answer: {cause}") from error
        finally:
            self._engine.dispose()


class Tables:
    """The tables of an open `Origin`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._columns: dict[str, frozenset[str]] = {}

    def has(self, name: str) -> bool:
        """Whether there is a table of that name."""
        return bool(self._of(name))

    def rows(
        self,
        name: str,
        wanted: Columns,
        *,
        where: Mapping[str, object] | None = None,
        ids: list[int] | None = None,
    ) -> Iterator[Row[Any]]:
        """The rows of a table that are not deleted, in the order of their IDs.

        Args:
            name: the table.
            wanted: columns and their types, or expressions under a name; a column that the table does not have is
                NULL, for old schemas lack some.
            where: columns and the values that they must have.
            ids: only these rows.

        Raises:
            InvalidError: there is no such table.
        """
        there = self._of(name)
        if not there:
            raise InvalidError(f"the other database has no table {name}: is it a notary's?")
        found = table(name, *(column(each) for each in there))
        shown = [
            each.label(as_)
            if isinstance(each, ColumnElement)
            else (column(as_, each) if as_ in there else null()).label(as_)
            for as_, each in wanted.items()
        ]
        query: Select[Any] = select(*shown).select_from(found).order_by(found.c.id)
        if "deleted_at" in there:
            query = query.where(found.c.deleted_at.is_(None))
        for field, value in (where or {}).items():
            query = query.where(found.c[field] == value)
        if ids is not None:
            query = query.where(found.c.id.in_(ids))
        yield from self._connection.execute(query)

    def _of(self, name: str) -> frozenset[str]:
        if name not in self._columns:
            try:
                columns = inspect(self._connection).get_columns(name)
            except NoSuchTableError:
                columns = []
            self._columns[name] = frozenset(each["name"] for each in columns)
        return self._columns[name]


def moment(value: object) -> datetime | None:
    """A database's time as UTC without a zone; None for none, and for MySQL's zero dates."""
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _parse(address: str) -> tuple[URL, dict[str, Any]]:
    if address.endswith(".json") and "://" not in address:
        return _parse(_from_configuration(Path(address)))
    if "://" in address:
        url = make_url(address)
        if url.drivername not in _DRIVERS:
            raise SettingsError(f"a notary's data is taken over from PostgreSQL or MySQL, not {url.drivername[:40]}")
        url = url.set(drivername=_DRIVERS[url.drivername])
        return url.difference_update_query(_GO_ONLY), {}
    go = _GO_MYSQL.fullmatch(address)
    if go:
        return _from_go_mysql(go)
    if re.search(r"(?:^|\s)(?:dbname|host|service)\s*=", address):
        kept = re.sub(rf"(?:^|\s)(?:{'|'.join(_GO_ONLY)})\s*=\s*\S+", "", address)
        return URL.create("postgresql+psycopg"), _from_keywords(kept)
    raise ValueError("no form that is known")


def _from_keywords(text: str) -> dict[str, Any]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return conninfo_to_dict(text)
    except psycopg.Error:
        raise ValueError("not libpq's keywords") from None  # the cause may quote a password


def _from_go_mysql(go: re.Match[str]) -> tuple[URL, dict[str, Any]]:
    parts = go.groupdict()
    options: dict[str, Any] = {}
    host, port = "127.0.0.1", 3306
    address = parts["address"] or ""
    if parts["net"] == "unix":
        options["unix_socket"] = address
    elif address:
        before, colon, after = address.rpartition(":")
        bare = not colon or address.endswith("]")  # tcp(db) or tcp([::1])
        host, port = (address, port) if bare else (before, int(after))
        host = host.strip("[]")
    given = dict(parse_qsl(parts["parameters"] or "", keep_blank_values=True))
    tls = given.get("tls", "false")
    if tls in ("true", "skip-verify"):
        context = ssl.create_default_context()
        if tls == "skip-verify":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        options["ssl"] = context
    elif tls not in ("false", "preferred"):
        raise SettingsError(
            "tls=NAME means something to a Go program alone: write mysql://…/NAME?ssl_ca=FILE&ssl_check_hostname=true"
        )
    url = URL.create(
        "mysql+pymysql",
        username=parts["user"] or None,
        password=parts["password"] or None,
        host=host,
        port=port,
        database=unquote(parts["name"]) or None,
        query={"charset": given.get("charset", "utf8mb4").partition(",")[0]},
    )
    return url, options


def _from_configuration(path: Path) -> str:
    """`storage.db_url` of a Go program's configuration (NOTARY_V1 §4.3)."""
    try:
        address = json.loads(path.read_bytes())["storage"]["db_url"]
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} does not name a database: storage.db_url is missing") from error
    if not isinstance(address, str) or address.endswith(".json"):
        raise SettingsError(f"{path}: storage.db_url is not a database's address")
    return address


def _open(url: URL, options: dict[str, Any]) -> Engine:
    if url.drivername != "sqlite":
        # One state from the first row to the last, whatever the other notary goes on doing.
        engine = create_engine(url, connect_args=options, isolation_level="REPEATABLE READ", hide_parameters=True)
        if url.drivername.startswith("postgresql"):
            engine = engine.execution_options(postgresql_readonly=True)
        return engine
    if not url.database or not Path(url.database).is_file():
        raise SettingsError("there is no such SQLite file")
    path = str(Path(url.database).absolute()).replace("?", "%3f").replace("#", "%23")
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _manual(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
