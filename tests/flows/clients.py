# SPDX-License-Identifier: Apache-2.0
"""Runners for the real clients: docker, notary and skopeo, each with a home and configuration of its own.

docker("push", "localhost:5000/library/app:1")                     must succeed; returns what it printed
docker.refused("pull", "localhost:5000/library/app:1")             must fail; returns what it printed
docker.trusting("pull", "localhost:5000/library/app:1")            with DOCKER_CONTENT_TRUST=1
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import warm
from flows.engine import PATH
from flows.stack import Stack

PASSPHRASE = "correct horse battery"

#: Debian's docker CLI, and another where the machine has one.
DOCKERS = {"debian": "/usr/bin/docker", "local": "/usr/local/bin/docker"}
PRESENT = [name for name, path in DOCKERS.items() if name == "debian" or Path(path).exists()]


class Client:
    """A program, run with nothing of the caller's environment.

    Args:
        program: its path.
        home: its home folder; made if missing.
        options: put before every command.
        environment: its environment, beside HOME and PATH.
    """

    def __init__(
        self, program: str, home: Path, options: list[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.home = home
        self._options = options or []
        self.environment = {"HOME": str(home), "PATH": PATH, **(environment or {})}

    def __call__(self, *arguments: str | Path, text: str = "") -> str:
        """Run a command that must succeed, with `text` as its input, and return what it printed."""
        status, output = self._run(arguments, text)
        assert status == 0, f"{self.program} {' '.join(map(str, arguments))} failed with {status}:\n{output}"
        return output

    def refused(self, *arguments: str | Path, text: str = "") -> str:
        """Run a command that must fail, and return what it printed."""
        status, output = self._run(arguments, text)
        assert status != 0, f"{self.program} {' '.join(map(str, arguments))} succeeded:\n{output}"
        return output

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            self._command(arguments),
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str | Path]:
        return [self.program, *self._options, *arguments]

    def status(self, *arguments: str | Path) -> int:
        """Run a command, and return its exit status."""
        return self._run(arguments, "")[0]

    def _run(self, arguments: tuple[str | Path, ...], text: str) -> tuple[int, str]:
        done = subprocess.run(
            self._command(arguments),
            env=self.environment,
            cwd=self.home,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout


class Troth(Client):
    """Our `troth`, by the user of another client: with the same home and environment, and what is added."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__("troth", home, environment=environment)

    def _run(self, arguments: tuple[str | Path, ...], text: str) -> tuple[int, str]:
        done = warm.run("trust.cli.main", *arguments, env=self.environment, cwd=self.home, text=text, together=True)
        return done.returncode, done.stdout


class Docker(Client):
    """A docker CLI, its engine and its user's configuration, keys and trust cache."""

    def __init__(self, program: str, home: Path, host: str, *, trust: bool = False) -> None:
        passphrases = {
            f"DOCKER_CONTENT_TRUST_{kind}_PASSPHRASE": PASSPHRASE for kind in ("ROOT", "REPOSITORY")
        }  # fmt: skip
        wanted = {"DOCKER_CONTENT_TRUST": "1"} if trust else {}
        config = {"DOCKER_HOST": host, "DOCKER_CONFIG": str(home / ".docker")}
        super().__init__(program, home, environment={**config, **passphrases, **wanted})
        self._host = host

    @property
    def trusting(self) -> Docker:
        """The same with DOCKER_CONTENT_TRUST=1."""
        return Docker(self.program, self.home, self._host, trust=True)


def notary(
    stack: Stack,
    home: Path,
    url: str,
    *,
    user: str = "admin",
    password: str | None = None,
    config: Mapping[str, object] | None = None,
) -> Client:
    """Debian's notary client for the server at `url`, which it verifies with the stack's CA.

    Args:
        stack: what it talks to.
        home: its home.
        url: of notary-server or of the registry.
        user: who it is.
        password: the user's; None is the administrator's.
        config: its configuration file, if it shall have one.
    """
    home.mkdir(parents=True, exist_ok=True)
    options = ["--server", url, "--tlscacert", str(stack.ca), "--trustDir", str(home / ".notary")]
    if config is not None:
        (home / "config.json").write_text(json.dumps(config))
        options += ["--configFile", str(home / "config.json")]
    credentials = f"{user}:{stack.password if password is None else password}"
    passphrases = {f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")}
    return Client(
        "/usr/bin/notary",
        home,
        options,
        {"NOTARY_AUTH": base64.b64encode(credentials.encode()).decode(), **passphrases},
    )


class Skopeo(Client):
    """skopeo, logged in to the stack's registry, whose certificate it verifies with the stack's CA."""

    def __init__(self, stack: Stack, home: Path) -> None:
        super().__init__("/usr/bin/skopeo", home)
        self.certificates = home / "certificates"
        self.certificates.mkdir()
        (self.certificates / "ca.crt").write_bytes(stack.ca.read_bytes())
        self._registry = stack.registry
        self._login = ["--authfile", str(home / "auth.json"), "--cert-dir", str(self.certificates)]
        self("login", *self._login, "--username", "admin", "--password-stdin", stack.registry, text=stack.password)

    def push(self, layout: Path, name: str) -> list[str]:
        """The command that copies the image of an OCI layout to the registry as `name`."""
        return [*self._copy("dest"), f"oci:{layout}:1", f"docker://{self._registry}/{name}"]

    def pull(self, name: str, folder: Path) -> list[str]:
        """The command that copies an image of the registry to a folder."""
        return [*self._copy("src"), f"docker://{self._registry}/{name}", f"dir:{folder}"]

    def _copy(self, side: str) -> list[str]:
        verified = [f"--{side}-cert-dir", str(self.certificates)]
        options = ["--preserve-digests", "--authfile", str(self.home / "auth.json")]
        return ["--insecure-policy", "copy", *options, *verified]
