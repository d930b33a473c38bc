# SPDX-License-Identifier: Apache-2.0
"""What the documentation's examples talk to: a site on a loopback port, over TLS, as `make up` leaves it.

    with DemoSite(tmp_path) as site:
        exec(site.localised('trust.resolve("localhost:5000/library/app:1", ca=ca, credentials=login)'), site.names())

The folder is what a reader of the documentation stands in: `var/ca/ca.crt`, `var/admin-password`, `alice.pub`, and a
home with docker's trust folder.  `library/app:1` is pushed and signed by alice, `library/app:2` is pushed only.
Registry, notary server, tokens and keys are real (tests/world.py).  Only the port differs from what the page says:
several tests run at once, so `localhost:5000` becomes the port that was free.
"""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from sqlalchemy import func, select
from werkzeug.serving import WSGIRequestHandler, make_server

import trust
from server.models import TufFileRow
from trust.ca import Authority, new_authority
from trust.keyfiles import public_pem
from world import PASSWORD, World

PASSPHRASE = "a long passphrase for examples"
#: How every page names the site.
WRITTEN = "localhost:5000"
#: How a page shortens the ID of the root key.
WRITTEN_ROOT = "3f1c…"
PREAMBLE = """\
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trust

ca = "var/ca/ca.crt"
login = ("admin", Path("var/admin-password").read_text().strip())
image = trust.Image.parse("localhost:5000/library/app:1")
keys = trust.KeyFolder(Path.home() / ".docker/trust", trust.from_environment(os.environ))

server = trust.NotaryServer(image.server_url, ca=ca, credentials=login)
collection = trust.open_reader(image.gun, ca=ca, credentials=login).refresh()
registry = trust.Registry(image.registry_url, ca=ca, credentials=login)
repository = trust.open_repository(image.gun, keys, ca=ca, credentials=login)
"""


class DemoSite:
    """The site, running between `with` and its end; meanwhile the process stands in its folder.

    Args:
        folder: empty.

    Attributes:
        folder: where a reader of the documentation stands.
        host: where it listens.
        root_key: the ID of the root key.
        environment: what a shell in front of it has set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, site = folder / "reader", folder / "site"
        site.mkdir()
        self._process = pytest.MonkeyPatch()
        now = datetime.now(UTC)
        authority = Authority(new_authority("example CA", now))
        pair = authority.issue("localhost", ["localhost"], server=True, client=False, now=now)
        pair.write(site / "tls.crt", site / "tls.key")
        (self.folder / "var/ca").mkdir(parents=True)
        (self.folder / "var/ca/ca.crt").write_bytes(authority.certificate_pem)
        (self.folder / "var/admin-password").write_text(f"{PASSWORD}\n")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(site / "tls.crt", site / "tls.key")
        self._http = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet, ssl_context=context
        )
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self.host = f"localhost:{self._http.server_port}"
        self.environment = {
            "HOME": str(self.folder / "home"),
            "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": PASSPHRASE,
            "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": PASSPHRASE,
        }
        self.world = World(site, hosts=(self.host,))
        self.world.now = now

    def __enter__(self) -> Self:
        self._thread.start()
        self._process.chdir(self.folder)
        for name, value in self.environment.items():
            self._process.setenv(name, value)
        self.world.add_user("admin", is_admin=True)
        for tag in ("1", "2"):
            self.world.push_image("library/app", tag, seed=tag)
        self._image = trust.Image.parse(f"{self.host}/library/app:1")
        site: dict[str, Any] = {"ca": "var/ca/ca.crt", "credentials": ("admin", PASSWORD)}
        self._registry = trust.Registry(self._image.registry_url, **site)
        self._owner = trust.NotaryServer(self._image.server_url, **site)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.undo()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self.world.server.close()
        self.world.database.dispose()

    def localised(self, text: str) -> str:
        """A page's text with what cannot be known when it is written."""
        return text.replace(WRITTEN, self.host).replace(WRITTEN_ROOT, self.root_key)

    def names(self) -> dict[str, Any]:
        """What the next example may use: the names of `PREAMBLE`, over a site where nothing has been done yet."""
        for path in self.folder.iterdir():
            if path not in self._kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self._state() != self._begun:
            for repository in ("library/app", "library/other"):
                self._owner.delete(trust.Gun(f"{self.host}/{repository}"))
            shutil.rmtree(self.folder / "home")
            self._begin()
        return dict(self._names)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # One address for images, tokens and trust data, as a registry in front of a notary server has.
        trust_data = "/_trust/" in environ["PATH_INFO"]
        app = self.world.server.app if trust_data else self.world.app
        return app(environ, start_response)

    def _begin(self) -> None:
        """Let alice sign the first image, as somebody would who has this library."""
        keys = trust.KeyFolder(self.folder / "home/.docker/trust", lambda question: PASSPHRASE)
        alice = trust.generate_private("ecdsa")
        key = keys.signer(keys.add(alice, role="alice").key_id).public_key
        manifest = self._registry.resolve(self._image.repository, self._image.tag)
        # Servers that are asked again have their tokens already: this happens before many an example.
        trust.Repository(self._image.gun, self._owner, keys, trust.FileCache(keys.folder)).publish(
            *trust.add_signer(trust.signer_role("alice"), [key]),
            trust.SignTag(keys, self._image.tag, manifest.digest, manifest.size),
            create=trust.Creation(),
        )
        (self.folder / "alice.pub").write_bytes(public_pem(alice, role="alice"))
        (root,) = keys.held(role="root")
        self.root_key = root.key_id
        self._names: dict[str, Any] = {}
        exec(compile(self.localised(PREAMBLE), "the examples' first lines", "exec"), self._names)
        self._kept, self._begun = set(self.folder.iterdir()), self._state()

    def _state(self) -> tuple[object, ...]:
        """What is there: the collection's files, and the keys."""
        with self.world.server.database.read() as session:
            files = session.execute(select(func.count(), func.max(TufFileRow.id)).select_from(TufFileRow)).one()
        return tuple(files), sorted((self.folder / "home").rglob("*.key"))


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing of requests: the test says what went wrong."""
