# SPDX-License-Identifier: Apache-2.0
"""oras-py as a command, since it is a library alone: what a short script of its users would do.

    python orascommand.py push localhost:5000/library/app:1 data.bin
    python orascommand.py pull localhost:5000/library/app:1 folder          # the files of an artifact or image
    python orascommand.py fetch localhost:5000/library/app:1 folder         # as an OCI layout, indexes whole
    python orascommand.py send folder localhost:5000/library/app:1          # an OCI layout
    python orascommand.py tags localhost:5000/library/app
    python orascommand.py delete localhost:5000/library/app:1
    python orascommand.py login localhost:5000 USER                         # the password comes by standard input

The CA comes from the environment variable SSL_CERT_FILE.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import requests
from oras.client import OrasClient
from oras.layout.layout import NewLayout, NewLayoutFromRegistry
from oras.logger import setup_logger

CA = os.environ["SSL_CERT_FILE"]


def client_for(name: str, *actions: str) -> OrasClient:
    """A client with the login for a registry.

    oras-py asks for a token once, for the first thing that it is refused, and keeps it: whoever wants to do more than
    that must give it a token for all `actions`.
    """
    host, _, repository = name.partition("/")
    client = OrasClient(hostname=host, tls_verify=CA)
    client.auth.load_configs(client.get_container(name))
    if actions:
        query = {"service": "troth", "scope": f"repository:{repository.rpartition(':')[0]}:{','.join(actions)}"}
        headers = {"Authorization": f"Basic {client.auth._basic_auth}"}
        answer = requests.get(f"https://{host}/auth/token", query, headers=headers, verify=CA, timeout=30)
        client.auth.set_token_auth(answer.json()["token"])
    return client


def main(command: str, first: str, second: str = "") -> None:
    """Run a command; an exception of oras-py's ends it with status 1."""
    setup_logger(nocolor=True)
    match command:
        case "login":
            OrasClient(hostname=first).login(
                second, sys.stdin.read(), hostname=first, config_path=f"{Path.home()}/.docker/config.json"
            )
        case "push":
            client_for(first, "pull", "push").push(first, files=[second], disable_path_validation=True)
        case "pull":
            client_for(first).pull(first, outdir=second)
        case "fetch":
            NewLayoutFromRegistry(second, client_for(first), first, "1")
        case "send":
            NewLayout(first).push_to_registry(client_for(second, "pull", "push"), second, "1")
        case "tags":
            print(*client_for(first).get_tags(first), sep="\n")
        case "delete":
            repository, _, tag = first.rpartition(":")
            assert client_for(first, "pull", "push", "delete").delete_tags(repository, tag) == [tag]
        case _:
            raise ValueError(command)


if __name__ == "__main__":
    main(*sys.argv[1:])
