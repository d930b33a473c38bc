# SPDX-License-Identifier: Apache-2.0
"""oras-py as a command, since it is a library alone: what a short script of its users would do.

    oras = OrasCommand(home, ca)
    oras("login", "localhost:5000", "alice", text=password)
    oras("push", "localhost:5000/library/app:1", "data.bin")
    oras("pull", "localhost:5000/library/app:1", "folder")         # the files of an artifact or image
    oras("fetch", "localhost:5000/library/app:1", "folder")        # as an OCI layout, indexes whole
    oras("send", "folder", "localhost:5000/library/app:1")         # an OCI layout
    oras("tags", "localhost:5000/library/app")
    oras("delete", "localhost:5000/library/app:1")

It runs in this process: a start of Python for each command would take longer than what it does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import requests
from oras.client import OrasClient
from oras.layout.layout import NewLayout, NewLayoutFromRegistry
from oras.logger import setup_logger

from flows.clients import Client


class OrasCommand(Client):
    """The command of one user.

    Args:
        home: the user's home folder; made if missing.
        ca: the CA of the registry's certificate.
    """

    def __init__(self, home: Path, ca: Path) -> None:
        super().__init__("oras", home)
        self._ca = str(ca)
        self._logins = str(home / "config.json")

    def _run(self, arguments: tuple[str | Path, ...], text: str) -> tuple[int, str]:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            setup_logger(nocolor=True)
            try:
                self._do(text, *map(str, arguments))
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
                return 1, said.getvalue()
        return 0, said.getvalue()

    def _do(self, text: str, command: str, first: str, second: str = "") -> None:
        match command:
            case "login":
                OrasClient().login(second, text, hostname=first, config_path=self._logins)
            case "push":
                with self._client(first, "pull", "push") as client:
                    client.push(first, files=[second], disable_path_validation=True)
            case "pull":
                with self._client(first) as client:
                    client.pull(first, outdir=second)
            case "fetch":
                with self._client(first) as client:
                    NewLayoutFromRegistry(second, client, first, "1")
            case "send":
                with self._client(second, "pull", "push") as client:
                    NewLayout(first).push_to_registry(client, second, "1")
            case "tags":
                with self._client(first) as client:
                    print(*client.get_tags(first), sep="\n")
            case "delete":
                repository, _, tag = first.rpartition(":")
                with self._client(first, "pull", "push", "delete") as client:
                    client.delete_tag(repository, tag)
            case _:
                raise ValueError(command)

    @contextmanager
    def _client(self, name: str, *actions: str) -> Iterator[OrasClient]:
        """A client with the user's login.

        oras-py asks for a token once, for the first thing that it is refused, and keeps it: whoever wants to do more
        than that must give it a token for all `actions`.
        """
        host, _, repository = name.partition("/")
        client = OrasClient(hostname=host, tls_verify=self._ca)
        with client.session:
            client.auth.load_configs(client.get_container(name), configs=[self._logins])
            if actions:
                query = {
                    "service": "troth",
                    "scope": f"repository:{repository.rpartition(':')[0]}:{','.join(actions)}",
                }
                login = {"Authorization": f"Basic {client.auth._basic_auth}"}
                answer = requests.get(f"https://{host}/auth/token", query, headers=login, verify=self._ca, timeout=30)
                client.auth.set_token_auth(answer.json()["token"])
            yield client
