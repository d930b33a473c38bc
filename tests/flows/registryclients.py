# SPDX-License-Identifier: Apache-2.0
"""All that pushes and pulls, behind the same few words, for the story that each of them tells (registrystory.py).

    client = CLIENTS["podman"](site, folder, engine)
    client.push("on/app:1", "seed")                      # as the publisher; the image is made by the client if it can
    client.pull("on/app:1", stored(site, "on/app", "1")) # as the consumer; fails if other bytes came
    client.refused("on/app:1")                           # as the consumer; what the client said

What a client has no command for raises `LackingError`, with the footnote for the table.  All verify the registry's
certificate with the site's CA.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path

from sqlalchemy import select

from flows.clients import DOCKERS, Client, Docker
from flows.engine import Engine
from flows.images import write_image, write_layout
from flows.orascommand import OrasCommand
from flows.sites import CONSUMER, Site
from pushes import digest_of
from registry.accounts.accesstokens import add_token
from registry.accounts.policy import Level
from registry.models import ManifestRow, RepositoryRow, TagRow

SIZE = 50_000


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
    """

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


class _Engine(RegistryClient):
    """docker, the CLI, and the engine behind it."""

    program = ""

    def person(self, name: str) -> Client:
        return Docker(DOCKERS[self.program], self.folder / name, self.engine.host)

    def login_command(self, user: str) -> list[str | Path]:
        return ["login", self.site.stack.registry, "--username", user, "--password-stdin"]

    def pull_command(self, name: str, folder: Path, architecture: str) -> list[str | Path]:
        platform = ["--platform", f"linux/{architecture}"] if architecture else []
        return ["pull", *platform, self.full(name)]

    def check(self, name: str, folder: Path, image: Stored) -> None:
        # The ID of an image is the digest of its config.
        assert self.consumer("image", "inspect", "--format", "{{.Id}}", self.full(name)).strip() == image.config
        self.consumer("image", "rm", self.full(name))

    def push(self, name: str, seed: str) -> None:
        self.publisher("load", "--input", write_image(self.new_folder(), self.full(name), SIZE, seed))
        self.publisher("push", self.full(name))
        self.publisher("image", "rm", self.full(name))

    def copy(self, source: str, target: str) -> None:
        self.publisher("pull", self.full(source))
        self.publisher("tag", self.full(source), self.full(target))
        self.publisher("push", self.full(target))
        self.publisher("image", "rm", self.full(source), self.full(target))


class DebianDocker(_Engine):
    """Debian's."""

    program = "debian"


class LocalDocker(_Engine):
    """The newer CLI of this machine; the engine is Debian's."""

    program = "local"


class _Containers(RegistryClient):
    """What podman, buildah and skopeo have in common: they are built from one library, containers/image."""

    program = ""

    def person(self, name: str) -> Client:
        home = self.folder / name
        environment = {"REGISTRY_AUTH_FILE": str(home / "auth.json"), "SSL_CERT_FILE": str(self.site.stack.ca)}
        return Client(self.program, home, self.options(home), environment)

    def options(self, home: Path) -> list[str]:
        """Put before every command."""
        # A storage of its own, which needs neither a kernel's help nor a network.
        return [f"--root={home}/root", f"--runroot={home}/run", "--storage-driver=vfs"]

    def login_command(self, user: str) -> list[str | Path]:
        return ["login", "--username", user, "--password-stdin", self.site.stack.registry]

    def pull_command(self, name: str, folder: Path, architecture: str) -> list[str | Path]:
        return ["pull", *(["--arch", architecture] if architecture else []), self.full(name)]

    def copy(self, source: str, target: str) -> None:
        self.publisher("pull", self.full(source))
        self.publisher("push", self.full(source), self.at(target))
        self.publisher("rmi", self.full(source))

    def assert_id(self, name: str, said: str, image: Stored) -> None:
        """The ID of an image is the digest of its config; remove the image."""
        assert f"sha256:{said.strip()}" == image.config
        self.consumer("rmi", self.full(name))


class Podman(_Containers):
    """podman, for root and without containers."""

    program = "/usr/bin/podman"

    def options(self, home: Path) -> list[str]:
        return [*super().options(home), f"--tmpdir={home}/tmp", "--events-backend=none"]

    def check(self, name: str, folder: Path, image: Stored) -> None:
        self.assert_id(name, self.consumer("image", "inspect", "--format", "{{.Id}}", self.full(name)), image)

    def push(self, name: str, seed: str) -> None:
        self.publisher("load", "--input", write_image(self.new_folder(), self.full(name), SIZE, seed))
        self.publisher("push", self.full(name))
        self.publisher("rmi", self.full(name))

    def tags(self, repository: str) -> list[str]:
        _, *listed = self.publisher("search", "--list-tags", self.full(repository)).splitlines() or [""]
        return [line.split()[1] for line in listed]


class Buildah(_Containers):
    """buildah, which pushes what it has built itself."""

    program = "/usr/bin/buildah"

    def check(self, name: str, folder: Path, image: Stored) -> None:
        said = self.consumer("inspect", "--type", "image", "--format", "{{.FromImageID}}", self.full(name))
        self.assert_id(name, said, image)

    def push(self, name: str, seed: str) -> None:
        (context := self.new_folder()).mkdir()
        (context / "data").write_text(seed)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY data /\n")
        self.publisher("build", "--isolation", "chroot", "--tag", self.full(name), context)
        self.publisher("push", self.full(name))
        self.publisher("rmi", self.full(name))


class Skopeo(_Containers):
    """skopeo, which copies and keeps nothing itself."""

    program = "/usr/bin/skopeo"

    def options(self, home: Path) -> list[str]:
        return ["--insecure-policy"]

    def pull_command(self, name: str, folder: Path, architecture: str) -> list[str | Path]:
        platform = ["--override-arch", architecture] if architecture else []
        return [*platform, "copy", "--preserve-digests", self.at(name), f"oci:{folder}:1"]

    def check(self, name: str, folder: Path, image: Stored) -> None:
        assert named(folder) == image.digest
        assert not missing_blobs(folder, image)

    def push(self, name: str, seed: str) -> None:
        write_layout(layout := self.new_folder(), SIZE, seed)
        self.publisher("copy", f"oci:{layout}:1", self.at(name))

    def copy(self, source: str, target: str) -> None:
        self.publisher("copy", self.at(source), self.at(target))

    def pull_whole(self, name: str, index: Stored, images: Mapping[str, Stored]) -> None:
        self.consumer("copy", "--all", "--preserve-digests", self.at(name), f"oci:{(folder := self.new_folder())}:1")
        assert named(folder) == index.digest
        assert not missing_blobs(folder, index, *images.values())

    def tags(self, repository: str) -> list[str]:
        said = self.publisher("list-tags", self.at(repository))
        return list(json.loads(said)["Tags"])

    def delete_command(self, name: str) -> list[str | Path]:
        return ["delete", self.at(name)]


class Umoci(Skopeo):
    """umoci, which makes and unpacks OCI layouts; skopeo brings them to the registry and back."""

    def __init__(self, site: Site, folder: Path, engine: Engine) -> None:
        super().__init__(site, folder, engine)
        self.umoci = Client("/usr/bin/umoci", folder / "umoci")

    @property
    def version(self) -> str:
        own = re.search(r"version ([^ ,\n]+)", self.umoci("--version"))
        assert own
        return f"{super().version} and {own[1]}"

    def check(self, name: str, folder: Path, image: Stored) -> None:
        super().check(name, folder, image)
        self.umoci("unpack", "--image", f"{folder}:1", bundle := self.new_folder())
        assert list((bundle / "rootfs").iterdir())

    def push(self, name: str, seed: str) -> None:
        (data := self.new_folder()).write_text(seed)
        self.umoci("init", "--layout", layout := self.new_folder())
        self.umoci("new", "--image", f"{layout}:1")
        self.umoci("insert", "--image", f"{layout}:1", data, "/data")
        self.publisher("copy", f"oci:{layout}:1", self.at(name))

    def pull_whole(self, name: str, index: Stored, images: Mapping[str, Stored]) -> None:
        self.consumer("copy", "--all", "--preserve-digests", self.at(name), f"oci:{(folder := self.new_folder())}:1")
        assert "ambiguous" in self.umoci.refused("unpack", "--image", f"{folder}:1", self.new_folder())
        raise LackingError(
            "skopeo brings it whole; umoci does not open it ('tag is ambiguous'), only what skopeo has copied for "
            "one platform."
        )

    def tags(self, repository: str) -> list[str]:
        raise LackingError("umoci knows layouts alone; it is skopeo's work, as in skopeo's column.")

    def delete_command(self, name: str) -> list[str | Path]:
        raise LackingError("umoci knows layouts alone; it is skopeo's work, as in skopeo's column.")


class Oras(RegistryClient):
    """oras-py, which pushes files and pulls them."""

    def person(self, name: str) -> Client:
        return OrasCommand(self.folder / name, self.site.stack.ca)

    @property
    def version(self) -> str:
        return version("oras")

    def login_command(self, user: str) -> list[str | Path]:
        return ["login", self.site.stack.registry, user]

    def pull_command(self, name: str, folder: Path, architecture: str) -> list[str | Path]:
        if architecture:
            raise LackingError("It has no notion of platforms.")
        return ["pull", self.full(name), folder]

    def check(self, name: str, folder: Path, image: Stored) -> None:
        assert sorted(digest_of(path.read_bytes()) for path in folder.iterdir()) == sorted(image.layers)

    def push(self, name: str, seed: str) -> None:
        (data := self.new_folder()).write_text(seed)
        self.publisher("push", self.full(name), data)

    def copy(self, source: str, target: str) -> None:
        self.publisher("fetch", self.full(source), folder := self.new_folder())
        self.publisher("send", folder, self.full(target))

    def pull_whole(self, name: str, index: Stored, images: Mapping[str, Stored]) -> None:
        self.consumer("fetch", self.full(name), folder := self.new_folder())
        assert named(folder) == index.digest
        assert not missing_blobs(folder, index, *images.values())

    def tags(self, repository: str) -> list[str]:
        return self.publisher("tags", self.full(repository)).split()

    def delete_command(self, name: str) -> list[str | Path]:
        return ["delete", self.full(name)]


#: By the names of the page's columns.
CLIENTS: dict[str, Callable[[Site, Path, Engine], RegistryClient]] = {
    "debian": DebianDocker,
    "local": LocalDocker,
    "podman": Podman,
    "buildah": Buildah,
    "skopeo": Skopeo,
    "umoci": Umoci,
    "oras": Oras,
}


def named(layout: Path) -> str:
    """The digest of what an OCI layout is about."""
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(entry["digest"])


def missing_blobs(layout: Path, *manifests: Stored) -> set[str]:
    """What of these manifests is not in an OCI layout, or with other bytes."""
    wanted = {each for manifest in manifests for each in (manifest.digest, manifest.config, *manifest.layers)} - {""}
    return wanted - {digest_of(path.read_bytes()) for path in (layout / "blobs/sha256").iterdir()}
