# SPDX-License-Identifier: Apache-2.0
"""`troth up`: notary-signer, notary-server and registry on this machine, until Ctrl-C.

It makes what they need in a state folder (`trust.cli.state`), starts the three programs beside its own interpreter
(`trust.cli.processes`), and, once all of them answer, prints the lines to paste for docker.  It needs neither root
nor anything but Python.  Everything can be changed by an option or its environment variable:

    troth up --state ./var --registry localhost:5000 --server localhost:4443 --signer localhost:4444
    TROTH_STATE            TROTH_UP_REGISTRY         TROTH_UP_SERVER         TROTH_UP_SIGNER
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import signal
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from trust.cli.address import Address, claim
from trust.cli.processes import Processes, Service
from trust.cli.state import Addresses, State
from trust.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DEFAULTS = {
    "state": ("TROTH_STATE", "./var", "DIR", "folder for certificates, databases and content"),
    "registry": ("TROTH_UP_REGISTRY", "localhost:5000", "HOST:PORT", "the registry's address, part of image names"),
    "server": ("TROTH_UP_SERVER", "localhost:4443", "HOST:PORT", "notary-server's own address"),
    "signer": ("TROTH_UP_SIGNER", "localhost:4444", "HOST:PORT", "notary-signer's address"),
}
#: What the programs need that the library does not.
_SERVICE_PACKAGES = ("argon2", "flask", "gunicorn", "prometheus_client", "sqlalchemy")


def add_parser(commands: Commands) -> None:
    """Add `up` to the commands of `troth`."""
    parser = commands.add_parser("up", help="run signer, notary server and registry on this machine until Ctrl-C")
    for name, (variable, default, metavar, text) in _DEFAULTS.items():
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(variable, default),
            metavar=metavar,
            help=f"{text} (default: {default}; environment: {variable})",
        )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the services until SIGINT, SIGTERM or SIGHUP; return 0.

    Raises:
        TrustError: they cannot be started, or one of them ended.
    """
    addresses = Addresses(*(Address.parse(getattr(options, name)) for name in ("registry", "server", "signer")))
    missing = [name for name in _SERVICE_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(f"the services need {', '.join(missing)}: pip install 'troth[services]'")
    state = State(Path(options.state))
    interruption = _Interruption()
    processes = Processes(state.lock)
    try:
        claim({f"--{name}": getattr(addresses, name) for name in ("registry", "server", "signer")})
        state.prepare(addresses, _hosts(addresses), datetime.now(UTC))
        _say(f"Starting notary-signer, notary-server and registry with the state in {state.folder} …")
        for service in _services(state.folder, addresses):
            processes.start(service)
        if processes.wait_until_ready(interruption):
            _say(_instructions(state, addresses))
        while not interruption():
            processes.check()
            time.sleep(0.2)
        _say("Stopping …")
    except UnavailableError:
        processes.stop(at_once=True)
        raise
    finally:
        processes.stop()
        state.close()
    return 0


class _Interruption:
    """Whether a signal has asked this process to end."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def _hosts(addresses: Addresses) -> list[str]:
    given = (addresses.registry, addresses.server, addresses.signer)
    names = [
        "localhost",
        "127.0.0.1",
        "::1",
        socket.gethostname(),
        *(a.host for a in given),
        *(a.near for a in given),
    ]
    return list(dict.fromkeys(names))


def _services(folder: Path, addresses: Addresses) -> list[Service]:
    public = ssl.create_default_context(cafile=folder / "ca/ca.crt")
    mutual = ssl.create_default_context(cafile=folder / "ca/ca.crt")
    mutual.load_cert_chain(folder / "tls/server-client.crt", folder / "tls/server-client.key")
    good = frozenset({200})
    return [
        Service("troth-signer", folder / "signer.toml", addresses.signer, "/health", good, mutual),
        Service("troth-server", folder / "server.toml", addresses.server, "/_notary_server/health", good, public),
        # Who shows no token is told where to get one: that is a working registry's answer.
        Service("troth-registry", folder / "registry.toml", addresses.registry, "/v2/", good | {401}, public),
    ]


def _instructions(state: State, addresses: Addresses) -> str:
    registry, name = addresses.registry, addresses.registry.name
    authority, password = shlex.quote(str(state.authority)), shlex.quote(str(state.password))
    first_password = state.password.exists()
    lines = [
        "",
        "Ready.",
        f"  registry        {registry.url}",
        f"  notary-server   {addresses.server.url} (the registry's address answers for it, too)",
        f"  notary-signer   {addresses.signer.url} (for notary-server alone)",
        f"  CA certificate  {state.authority}",
        f"  administrator   admin{f', with the password in {state.password}' if first_password else ''}",
        "",
        "Lines to paste for docker:",
        "",
        f"  docker login {name} --username admin{f' --password-stdin < {password}' if first_password else ''}",
        "  export DOCKER_CONTENT_TRUST=1",
        "",
        "DOCKER_CONTENT_TRUST_SERVER is not needed: docker finds the trust data at the registry's address.",
    ]
    if registry.near == "127.0.0.1" and registry.host in ("localhost", "127.0.0.1"):
        lines += [f"Docker takes {name} as it is. Other clients and machines must know the CA certificate:"]
    else:
        lines += ["Clients must know the CA certificate:"]
    lines += [
        "",
        f"  install -D {authority} /etc/docker/certs.d/{name}/ca.crt            # docker's engine, as root",
        f"  install -D {authority} ~/.docker/tls/{name}/ca.crt                  # docker's trust commands",
        f"  install -D {authority} ~/.config/containers/certs.d/{name}/ca.crt   # skopeo, podman, buildah",
        "",
        f"  notary -s {addresses.server.url} --tlscacert {authority} list {name}/REPOSITORY",
        f"  curl --cacert {authority} {registry.url}/v2/",
        "",
        "Images are served only when they are signed. Ctrl-C stops everything; the state stays.",
        "",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, flush=True)
