# SPDX-License-Identifier: Apache-2.0
"""A whole site in the test's own process: signing keys, a notary server, a registry, people, and one clock.

    world = World(tmp_path)
    app = world.push_image("library/app", "1")             # anybody's push is taken
    world.manifest("library/app", "1").status_code         # 403: a consumer gets signed content only
    world.publish("library/app", {"1": app})               # signed by targets/releases
    world.manifest("library/app", "1").status_code         # 200
    world.revoke("library/app", "1")                       # 403 again
    world.get(f"library/app/blobs/{world.blobs(app)[0]}", world.token("library/app", "pull,push"))
    world.collection("library/app").rotate("root")         # tests/collection.py: any metadata, right or wrong
    world.source.away = True                               # the registry cannot reach its notary server
    world.source.tamper("timestamp", with_a_broken_signature)
    world.now += timedelta(days=8)                         # the only thing that moves the clock
    world.restart()                                        # another registry process over the same database

Nothing is pretended: both apps, both SQLite databases, tokens, keys and signatures are real.  Only the wire between
the two apps is missing; `Wire` asks the server's app directly and reads the answers as `trust.remote` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from collection import Collection
from notaryserver import NOW, NotaryServer, tuf
from pushes import Headers, digest_of, image_manifest, index_manifest
from registry import app as registry_app
from registry.accounts.admin import add_user, grant
from registry.accounts.policy import Level
from registry.settings import Settings
from trust.ca import self_signed
from trust.errors import NotFoundError, SizeError, UnauthorizedError, UnavailableError
from trust.keystore import KeyStore
from trust.names import Digest, Gun, RepositoryName
from trust.tokens import Issuer, parse_scopes
from trust.web.database import Database

HOST = "localhost:5000"
RELEASES = "targets/releases"
PASSWORD = "correct horse battery"
APP = "library/app"


class World:
    """The site.

    Args:
        folder: empty.
        now: where the clock stands at first.
        tokens: whether anybody needs a token; without, everybody may do everything.
        keys: another home of the server's keys than this process's memory.
        settings: those of the registry that differ from the defaults.

    Attributes:
        server: the notary server.
        source: the registry's way to it.
        app: the registry.
        collections: every trust collection by repository, with the private keys behind it.
        manifests: every manifest that was pushed.
    """

    def __init__(
        self, folder: Path, now: datetime = NOW, *, tokens: bool = True, keys: KeyStore | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        pair = self_signed("token", now)
        certificate, key = folder / "token.crt", folder / "token.key"
        pair.write(certificate, key)
        self._issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", "troth")
        self._tokens = tokens
        both: dict[str, Any] = {"hosts": settings.pop("hosts", (HOST,))}
        if tokens:
            both |= {"token_certificate": certificate, "token_realm": f"https://{both['hosts'][0]}/auth/token"}
            settings = {"token_key": key} | settings
        self.server = NotaryServer(folder, now, keys=keys, **both)
        self.source = Wire(self)
        homes: dict[str, Any] = {
            "database_url": f"sqlite:///{folder}/registry.db",
            "content_folder": folder / "content",
        }
        self.settings = Settings(**both, **(homes | settings))
        self.collections: dict[str, Collection] = {}
        self.manifests: dict[Digest, bytes] = {}
        self.restart()

    @property
    def now(self) -> datetime:
        """What the clock of everybody says."""
        return self.server.now

    @now.setter
    def now(self, moment: datetime) -> None:
        self.server.now = moment

    @property
    def database(self) -> Database:
        """The registry's."""
        database = self.app.extensions[registry_app.DATABASE]
        assert isinstance(database, Database)
        return database

    def restart(self) -> None:
        """Begin anew with a registry that knows only what its database and its content folder hold."""
        self.app = registry_app.create_app(self.settings, source=self.source, clock=lambda: self.now)

    def command(self, *arguments: str) -> int:
        """Run `troth-registry` with these arguments, beside the running registry; returns its exit status."""
        config = self.folder / "registry.toml"
        known = {"database_url": self.settings.database_url, "content_folder": str(self.settings.content_folder)}
        lists = {"hosts": list(self.settings.hosts), "trust_roles": list(self.settings.trust_roles)}
        names = ("trust_mode", "trust_require", "trust_grace_days")
        values = known | {name: getattr(self.settings, name) for name in names} | lists
        for name in ("notary_url", "notary_ca", "token_certificate", "token_key"):
            if (value := getattr(self.settings, name)) is not None:
                values[name] = str(value)
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        return registry_app.main(["--config", str(config), *arguments])

    # People, and what they ask of the registry.

    def add_user(self, name: str, level: Level | None = None, *, is_admin: bool = False) -> None:
        """Make a user, with a level in `APP`."""
        add_user(self.database, name, PASSWORD, is_admin=is_admin, now=self.now)
        if level is not None:
            grant(self.database, name, RepositoryName(APP), level)

    def login(self, user: str | None, *scopes: str) -> dict[str, str]:
        """Headers of a user who was added, with a token that `/auth/token` gave for these scopes; None: nobody."""
        query = {"service": self.settings.token_service, "scope": list(scopes)}
        client = self.app.test_client(use_cookies=False)
        answer = client.get("/auth/token", query_string=query, auth=(user, PASSWORD) if user else None)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.get_json()['token']}"}

    def token(self, name: str = APP, actions: str = "pull", *, user: str = "carol") -> dict[str, str]:
        """Headers of a user whose token is for this repository or GUN; no actions: a token without rights."""
        return self.tokens(*([f"repository:{name}:{actions}"] if actions else []), user=user)

    def tokens(self, *scopes: str, user: str = "carol") -> dict[str, str]:
        """Headers of a user whose token is for several scopes, as for a mount."""
        if not self._tokens:
            return {}
        return {"Authorization": f"Bearer {self._issuer.issue(user, parse_scopes(scopes), self.now)}"}

    def request(self, method: str, path: str, headers: Headers | None = None, **options: Any) -> TestResponse:
        """Any request below `/v2/`; without headers it is one of a consumer of `APP`."""
        headers = self.token() if headers is None else headers
        # A client each, since requests come from several threads; buffered, so that files are read and closed.
        client = self.app.test_client(use_cookies=False)
        return client.open(f"/v2/{path}", method=method, headers=dict(headers), buffered=True, **options)

    def get(self, path: str, headers: Headers | None = None, **more: str) -> TestResponse:
        """GET; `more` are headers, with underscores for dashes."""
        return self.request("GET", path, _with(self.token() if headers is None else headers, more))

    def head(self, path: str, headers: Headers | None = None, **more: str) -> TestResponse:
        """HEAD."""
        return self.request("HEAD", path, _with(self.token() if headers is None else headers, more))

    def manifest(self, repository: str, reference: str, **more: str) -> TestResponse:
        """What a consumer of the repository gets."""
        return self.get(f"{repository}/manifests/{reference}", self.token(repository), **more)

    def blob(self, repository: str, digest: str, **more: str) -> TestResponse:
        """What a consumer of the repository gets."""
        return self.get(f"{repository}/blobs/{digest}", self.token(repository), **more)

    # Pushes.

    def push_image(self, repository: str, tag: str | None = None, seed: str = "seed", **more: Any) -> Digest:
        """Push an image of a config and one layer, by its digest if there is no tag; `more` are the manifest's."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "seed": seed}).encode()
        layer = f"layer of {seed}".encode()
        for data in (config, layer):
            self.push_blob(repository, data)
        return self.push_manifest(repository, image_manifest(config, [layer], **more), tag)

    def push_index(self, repository: str, children: Iterable[Digest], tag: str | None = None, **more: Any) -> Digest:
        """Push an index of manifests that were pushed before."""
        manifests = [self.manifests[child] for child in children]
        return self.push_manifest(repository, index_manifest(manifests, **more), tag)

    def push_manifest(self, repository: str, manifest: bytes, tag: str | None = None) -> Digest:
        """Push any manifest."""
        digest = digest_of(manifest)
        kind = json.loads(manifest)["mediaType"]
        path = f"{repository}/manifests/{tag or digest}"
        answer = self.request("PUT", path, self._publisher(repository), data=manifest, content_type=kind)
        assert answer.status_code == 201, answer.text
        self.manifests[digest] = manifest
        return digest

    def push_blob(self, repository: str, data: bytes) -> Digest:
        """Push a blob."""
        digest = digest_of(data)
        path = f"{repository}/blobs/uploads/?digest={digest}"
        answer = self.request("POST", path, self._publisher(repository), data=data)
        assert answer.status_code == 201, answer.text
        return digest

    def blobs(self, image: Digest) -> list[Digest]:
        """Config and layers of an image."""
        body = json.loads(self.manifests[image])
        return [Digest(each["digest"]) for each in (body["config"], *body["layers"])]

    # Signatures.

    def gun(self, repository: str) -> str:
        """The name of the repository's trust collection."""
        return f"{self.settings.hosts[0]}/{repository}"

    def collection(self, repository: str) -> Collection:
        """The repository's trust collection; made at first use, with snapshot and timestamp keys of the server."""
        if repository not in self.collections:
            self.collections[repository] = self.server.collection(self.gun(repository))
        collection = self.collections[repository]
        collection.now = self.now
        return collection

    def publish(self, repository: str, tags: Mapping[str, Digest], role: str = RELEASES) -> None:
        """Sign tags as these manifests in `role`, and publish; root, targets and delegation are made if need be."""
        collection = self.collection(repository)
        changed = [role]
        if "root" not in collection.files:
            collection.root()
            changed = ["root", "targets", *changed]
        if role not in collection.signers:
            collection.delegation(role)
            changed = [role.rpartition("/")[0], *changed]
        contents = {tag: self.manifests[digest] for tag, digest in tags.items()}
        for each in dict.fromkeys(changed):
            if each != "root":
                collection.targets(contents if each == role else None, role=each)
        self.upload(repository, *dict.fromkeys(changed))

    def revoke(self, repository: str, *tags: str, role: str = RELEASES) -> None:
        """Take tags out of `role`, and publish."""
        collection = self.collection(repository)
        payload = collection.payloads[role]
        for tag in tags:
            del payload.targets[tag]  # type: ignore[union-attr]  # a payload of targets
        collection.targets(role=role)
        self.upload(repository, role)

    def upload(self, repository: str, *roles: str) -> None:
        """Publish the latest files of these roles, as they are."""
        collection = self.collections[repository]
        self.server.headers = self.token(collection.gun, "pull,push")
        answer = self.server.publish(collection, *roles)
        assert answer.status_code == 200, answer.text

    def delete_trust_data(self, repository: str, user: str = "mallory") -> None:
        """Delete the collection from the notary server, as a repository's administrator may."""
        headers = self.token(self.gun(repository), "*", user=user)
        answer = self.server.request("DELETE", tuf(self.gun(repository), ""), headers=headers)
        assert answer.status_code == 200, answer.text
        self.collections.pop(repository, None)

    def _publisher(self, repository: str) -> Headers:
        return self.token(repository, "pull,push", user="alice")


class Wire:
    """The registry's `trust.reader.Source`: the notary server's app, without a network between.

    Attributes:
        away: whether nobody answers.
        asked: how many files were asked for.
    """

    def __init__(self, world: World) -> None:
        self.away = False
        self.asked = 0
        self._world = world
        self._changes: dict[str, Callable[[bytes], bytes]] = {}
        self._meanwhile: Callable[[], object] | None = None

    def tamper(self, name: str, function: Callable[[bytes], bytes] | None) -> None:
        """Change what comes for `name`: a role, in every form it is asked for, or a file such as `2.root`.

        `function` may also raise what a source may raise; None lets the file through again.
        """
        if function is None:
            self._changes.pop(name, None)
        else:
            self._changes[name] = function

    def meanwhile(self, action: Callable[[], object]) -> None:
        """Do `action` once, while the registry waits for its next answer."""
        self._meanwhile = action

    def fetch(self, gun: Gun, name: str, limit: int) -> bytes:
        """See `trust.reader.Source`."""
        self.asked += 1
        action, self._meanwhile = self._meanwhile, None
        if action is not None:
            action()
        if self.away:
            raise UnavailableError("the notary server does not answer")
        headers = self._world.token(gun, "pull", user="troth-registry")
        answer = self._world.server.request("GET", tuf(gun, f"{name}.json"), headers=headers)
        if answer.status_code == 404:
            raise NotFoundError(f"there is no {name} of {gun}")
        if answer.status_code in (401, 403):
            raise UnauthorizedError(f"the registry may not read {gun}")
        if answer.status_code != 200:
            raise UnavailableError(f"the notary server answered {answer.status_code} for {name}")
        data: bytes = answer.data
        for key in dict.fromkeys((name, _role(name))):
            data = self._changes[key](data) if key in self._changes else data
        if len(data) > limit:
            raise SizeError(f"{name} is longer than the allowed {limit} bytes")
        return data


def denial(answer: TestResponse) -> dict[str, Any]:
    """The `detail` of a refusal for want of a signature, checked to be a well-formed one."""
    return _refusal(answer, 403, "DENIED")


def doubt(answer: TestResponse) -> dict[str, Any]:
    """The `detail` of a refusal because nothing can be decided, checked to be a well-formed one."""
    assert answer.headers["Retry-After"]
    return _refusal(answer, 503, "UNAVAILABLE")


def message(answer: TestResponse) -> str:
    """The sentence in a refusal."""
    (error,) = answer.get_json()["errors"]
    return str(error["message"])


def _refusal(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    # Nothing in it may be taken for the content, or kept.
    for header in ("Docker-Content-Digest", "ETag", "Content-Range", "Last-Modified", "WWW-Authenticate"):
        assert header not in answer.headers
    (error,) = answer.get_json()["errors"]
    assert (error["code"], bool(error["message"])) == (code, True)
    detail = error["detail"]
    assert detail.keys() >= {"reason", "policy", "roles", "gun"}
    assert isinstance(detail, dict)
    return detail


def _role(name: str) -> str:
    """The role in `<role>`, `<role>.<sha256>` or `<version>.<role>`."""
    first, _, second = name.partition(".")
    return second if first.isdecimal() else first


def _with(headers: Headers, more: Mapping[str, str]) -> Headers:
    return {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}
