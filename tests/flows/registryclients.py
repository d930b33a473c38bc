# SPDX-License-Identifier: Apache-2.0
"""All that pushes and pulls: docker, podman, buildah, skopeo, umoci and oras-py, behind the same few words.

    client = CLIENTS["podman"](site, folder, engine)     # see registryclient.py

All verify the registry's certificate with the site's CA, but docker's engine, which believes localhost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from flows.clients import DOCKERS, Client, Docker
from flows.engine import Engine
from flows.images import write_image, write_layout
from flows.orascommand import OrasCommand
from flows.registryclient import LackingError, RegistryClient, Stored
from flows.sites import Site
from pushes import digest_of

SIZE = 50_000


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

    about_pushes = (
        "It keeps the first token that it gets, which is for `pull`, and is refused when it goes on to push or "
        "delete; the script gives it one for all that it does (`client.auth.set_token_auth`)."
    )
    no_mounts = "It knows no mounts: it fetches everything and sends it again."

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
