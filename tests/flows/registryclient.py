# SPDX-License-Identifier: Apache-2.0
"""What all clients of the registry have in common, for the story that each of them tells (registrystory.py).

    client.push("on/app:1", "seed")                      # as the publisher; the image is made by the client if it can
    client.pull("on/app:1", stored(site, "on/app", "1")) # as the consumer; fails if other bytes came
    client.refused("on/app:1")                           # as the consumer; what the client said

What a client has no command for raises `LackingError`, with the footnote for the table.  The clients themselves are
in registryclients.py.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from sqlalchemy import select

from flows.clients import Client
from flows.engine import Engine
from flows.sites import CONSUMER, Site
from registry.accounts.accesstokens import add_token
from registry.accounts.policy import Level
from registry.models import ManifestRow, RepositoryRow, TagRow


class LackingError(Exception):
    """The client has no command for it; the message is the footnote."""


@dataclass(frozen=True)
class Stored:
    """A manifest as the registry keeps it, with what it names."""

    digest: str
    size: int
    config: str
    layers: tuple[str, ...]


def stored(site: Site, repository: str, tag: str) -> Stored:
    """What a tag stands for; an index has neither config nor layers."""
    query = (
        select(ManifestRow.digest, ManifestRow.data)
        .join(TagRow, TagRow.manifest_id == ManifestRow.id)
        .join(RepositoryRow, RepositoryRow.id == ManifestRow.repository_id)
        .where(RepositoryRow.name == repository, TagRow.name == tag)
    )
    with site.database.read() as session:
        digest, data = session.execute(query).one()
    body = json.loads(data)
    layers = tuple(layer["digest"] for layer in body.get("layers", []))
    return Stored(digest, len(data), body.get("config", {}).get("digest", ""), layers)


class RegistryClient(ABC):
    """A client, with a publisher (the site's administrator) and a consumer (who may only read).

    Args:
        site: has the registry.
        folder: empty; gets homes, storages and images.
        engine: docker's.

    Attributes:
        publisher: runs commands as the publisher.
        consumer: the same as the consumer.
        about_pushes: the footnote of its pushes, if they have one.
        no_mounts: the footnote of its copies, if it sends everything again.
    """

    about_pushes = ""
    no_mounts = ""

    def __init__(self, site: Site, folder: Path, engine: Engine) -> None:
        self.site = site
        self.folder = folder
        self.engine = engine
        self._numbers = count(1)
        self.publisher, self.consumer = self.person("publisher"), self.person("consumer")

    def login(self) -> None:
        """Log both in, with access tokens: checking a password costs more than the rest of a pull."""
        for client, user in ((self.publisher, "admin"), (self.consumer, CONSUMER)):
            _, secret = add_token(self.site.database, user, "tests", Level.ADMIN, now=datetime.now(UTC))
            client(*self.login_command(user), text=secret)

    def refused(self, name: str, architecture: str = "") -> str:
        """A pull that must fail; what it said."""
        return self.consumer.refused(*self.pull_command(name, self.new_folder(), architecture))

    def pull(self, name: str, image: Stored, architecture: str = "") -> None:
        """A pull that must bring that image."""
        folder = self.new_folder()
        self.consumer(*self.pull_command(name, folder, architecture))
        self.check(name, folder, image)

    def delete(self, name: str) -> None:
        """Delete a tag."""
        self.publisher(*self.delete_command(name))

    def delete_refused(self, name: str) -> str:
        """Try to; what the client said."""
        return self.publisher.refused(*self.delete_command(name))

    @property
    def version(self) -> str:
        """The client's own."""
        said = re.search(r"version ([^ ,\n]+)", self.publisher("--version"))
        assert said
        return said[1]

    def full(self, name: str) -> str:
        """A name with the registry's host."""
        return f"{self.site.stack.registry}/{name}"

    def at(self, name: str) -> str:
        """A name as skopeo wants it."""
        return f"docker://{self.full(name)}"

    def new_folder(self) -> Path:
        """A path where nothing is yet."""
        return self.folder / str(next(self._numbers))

    @abstractmethod
    def person(self, name: str) -> Client:
        """Somebody's client, with a home of its own."""

    @abstractmethod
    def login_command(self, user: str) -> list[str | Path]:
        """The command that logs in; the access token comes by standard input."""

    @abstractmethod
    def pull_command(self, name: str, folder: Path, architecture: str) -> list[str | Path]:
        """The command that pulls to a folder, or to the client's own storage."""

    @abstractmethod
    def check(self, name: str, folder: Path, image: Stored) -> None:
        """See that the last pull brought that image, and remove it."""

    @abstractmethod
    def push(self, name: str, seed: str) -> None:
        """Push a new image."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an image within the registry."""

    def pull_whole(self, name: str, index: Stored, images: Mapping[str, Stored]) -> None:
        """Pull an index with the images for all platforms."""
        raise LackingError("It pulls the image for one platform, and has no command that pulls an index whole.")

    def tags(self, repository: str) -> list[str]:
        """List the tags."""
        raise LackingError("It has no command for that.")

    def delete_command(self, name: str) -> list[str | Path]:
        """The command that deletes a tag."""
        raise LackingError("It has no command for that.")
