# SPDX-License-Identifier: Apache-2.0
"""A registry in this process, seen by people and machines who log in to it.

    people = People(tmp_path)                              # an administrator, and the users alice and bob
    people.granted("alice", "repository:library/app:pull") # the scopes that /auth/token gives her
    people.api("GET", "/repositories", "bob")              # what the API answers him

Everybody's password is `PASSWORD`; wherever a password goes, an access token does, too.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from registry.accounts.accesstokens import add_token
from registry.accounts.admin import add_user
from registry.accounts.policy import Level
from registry.app import DATABASE, create_app
from registry.settings import Settings
from trust.ca import self_signed
from trust.tokens import Grant, Sites, Verifier, format_scope
from trust.web.database import Database

PASSWORD = "correct horse"
ADMIN, ALICE, BOB = "admin", "alice", "bob"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class People:
    """A registry whose users are `ADMIN`, `ALICE` and `BOB`, with a clock that can be set.

    Args:
        folder: an empty one.
        settings: those that differ.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = NOW
        pair = self_signed("tokens", NOW)
        key, certificate = folder / "token.key", folder / "token.crt"
        key.write_bytes(pair.key_pem)
        certificate.write_bytes(pair.certificate_pem)
        settings.setdefault("database_url", f"sqlite:///{folder}/registry.db")
        self.settings = Settings(
            content_folder=folder / "content",
            token_key=key,
            token_certificate=certificate,
            trust_mode="disabled",
            **settings,
        )
        self.app = create_app(self.settings, clock=lambda: self.now)
        self._verifier = Verifier(pair.certificate_pem, "troth", "troth", Sites(self.settings.hosts))
        for name in (ADMIN, ALICE, BOB):
            add_user(self.database, name, PASSWORD, is_admin=name == ADMIN, now=NOW)

    @property
    def database(self) -> Database:
        """The registry's."""
        database = self.app.extensions[DATABASE]
        assert isinstance(database, Database)
        return database

    def login(self, user: str | None, *scopes: str, password: str = PASSWORD, **query: str) -> TestResponse:
        """What /auth/token answers a user, or the anonymous."""
        return self.app.test_client(use_cookies=False).get(
            "/auth/token",
            query_string={"service": "troth", "scope": list(scopes)} | query,
            auth=(user, password) if user else None,
        )

    def grant(self, user: str | None, *scopes: str, password: str = PASSWORD) -> Grant:
        """What the token says that a user gets."""
        answer = self.login(user, *scopes, password=password)
        assert answer.status_code == 200, answer.text
        return self._verifier.verify(answer.get_json()["token"], self.now)

    def granted(self, user: str | None, *scopes: str, password: str = PASSWORD) -> list[str]:
        """The scopes that a user gets of those asked for."""
        return [format_scope(access) for access in self.grant(user, *scopes, password=password).access]

    def registry(self, method: str, path: str, user: str | None, *scopes: str, **options: Any) -> TestResponse:
        """A request below `/v2/`, with a bearer token for these scopes."""
        token = self.login(user, *scopes).get_json()["token"]
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        client = self.app.test_client(use_cookies=False)
        return client.open(f"/v2/{path}", method=method, headers=headers, buffered=True, **options)

    def push(self, repository: str, user: str = ADMIN) -> TestResponse:
        """Push an index of nothing, tagged `1`: the last answer."""
        media_type = "application/vnd.oci.image.index.v1+json"
        data = f'{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[]}}'
        scope = f"repository:{repository}:pull,push"
        return self.registry("PUT", f"{repository}/manifests/1", user, scope, data=data, content_type=media_type)

    def pull(self, repository: str, user: str | None) -> int:
        """The status of a pull of tag `1`."""
        return self.registry("GET", f"{repository}/manifests/1", user, f"repository:{repository}:pull").status_code

    def access_token(self, user: str, scope: Level, *, days: int | None = None) -> tuple[int, str]:
        """Make an access token: its number and its secret."""
        token, secret = add_token(self.database, user, "for a test", scope, now=self.now, days=days)
        return token.id, secret

    def api(
        self, method: str, path: str, user: str | None, body: object = None, *, password: str = PASSWORD
    ) -> TestResponse:
        """A request of the API, below `/api/v1`; what it answers is checked against its document."""
        answer = self.app.test_client(use_cookies=False).open(
            f"/api/v1{path}", method=method, auth=(user, password) if user else None, json=body
        )
        self._check(method, path.partition("?")[0], answer)
        return answer

    @cached_property
    def document(self) -> dict[str, Any]:
        """The API's OpenAPI document."""
        document = self.app.test_client().get("/api/v1/openapi.json").get_json()
        assert isinstance(document, dict)
        return document

    def _check(self, method: str, path: str, answer: TestResponse) -> None:
        (operation,) = [
            operations[method.lower()]
            for template, operations in self.document["paths"].items()
            if method.lower() in operations and _rule(template).fullmatch(path)
        ]
        told = operation["responses"][str(answer.status_code)]
        if "content" not in told:
            assert answer.data == b""
            return
        ((kind, content),) = told["content"].items()
        assert answer.mimetype == kind
        schema = content["schema"] | {"components": self.document["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer.get_json())

    def close(self) -> None:
        """Close the database."""
        self.database.dispose()


def _rule(template: str) -> re.Pattern[str]:
    """What a path of the document matches."""
    return re.compile(re.sub(r"\\{(\w+)\\}", lambda name: _VARIABLE[name[1] == "repository"], re.escape(template)))


_VARIABLE = {False: "[^/]*", True: ".*"}
