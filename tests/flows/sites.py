# SPDX-License-Identifier: Apache-2.0
"""A running `troth up` on each kind of database, with two people beside its administrator.

def test_…(site: Site) -> None:              # told on SQLite, PostgreSQL and MariaDB
    site.grant("library/app")                # the delegate may push there, the consumer may pull
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from databases import Server
from flows.stack import Stack
from registry.accounts.accesstokens import add_token
from registry.accounts.admin import add_user, grant
from registry.accounts.policy import Level
from trust.names import RepositoryName
from trust.web.database import Database

#: What the kinds of `databases.KINDS` are called.
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_VERSION = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SHOW server_version",
    "mariadb": "SELECT version()",
}

#: Two who are not the administrator.
DELEGATE, CONSUMER = "delegate", "consumer"
PASSWORD = "nobody guesses this"


@dataclass(frozen=True)
class Site:
    """A stack on one kind of database.

    Attributes:
        kind: of `DATABASES`.
        stack: it runs.
        version: the database's own.
        database: the registry's.
        secrets: what each of the three logs in with: their passwords on SQLite, and access tokens elsewhere, which
            are good wherever a password is, and cost no hash each time.
    """

    kind: str
    stack: Stack
    version: str
    database: Database
    secrets: Mapping[str, str]

    def grant(self, repository: str) -> None:
        """Let the delegate push to a repository, and the consumer pull from it."""
        for user, level in ((DELEGATE, Level.READ_WRITE), (CONSUMER, Level.READ)):
            grant(self.database, user, RepositoryName(repository), level)

    def credentials(self, user: str) -> tuple[str, str]:
        """Name and secret of the administrator `admin`, the delegate or the consumer."""
        return user, self.secrets[user]


@contextmanager
def site_on(kind: str, stack: Stack, registry_url: str) -> Iterator[Site]:
    """The site of a stack that runs on databases of that kind, the registry's at `registry_url`."""
    database = Database(registry_url)
    try:
        with database.read() as session:
            version = str(session.scalar(text(_VERSION[kind])))
        secrets, now = {"admin": stack.password, DELEGATE: PASSWORD, CONSUMER: PASSWORD}, datetime.now(UTC)
        for user in (DELEGATE, CONSUMER):
            add_user(database, user, PASSWORD, is_admin=False, now=now)
        if kind != "sqlite":
            secrets = {user: add_token(database, user, "the story", Level.ADMIN, now=now)[1] for user in secrets}
        yield Site(kind, stack, re.split("[ -]", version)[0], database, secrets)
    finally:
        database.engine.dispose()


@contextmanager
def site_with(kind: str, server: Server, folder: Path) -> Iterator[Site]:
    """A new site with its three databases in a database server."""
    with ExitStack() as exits:
        urls = {name: exits.enter_context(server.database()) for name in ("signer", "server", "registry")}
        stack = Stack(folder, {f"TROTH_{name.upper()}_DATABASE_URL": url for name, url in urls.items()})
        stack.start()
        try:
            with site_on(kind, stack, urls["registry"]) as site:
                yield site
        finally:
            assert stack.stop() == 0
