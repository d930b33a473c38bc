# SPDX-License-Identifier: Apache-2.0
"""What an operator does with webhooks, as commands of `troth-registry`.

    troth-registry webhook add URL [--event EVENT …] [--place REPOSITORY|NAMESPACE/] [--secret-file FILE|-]
    troth-registry webhook list
    troth-registry webhook enable|disable|remove|test NUMBER
    troth-registry webhook deliveries NUMBER [--count N]
    troth-registry webhook redeliver NUMBER SEQUENCE

`add` makes a secret and prints it, this once; or it takes the one in a file, or from standard input, and prints none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.events.addresses import Addresses
from registry.events.endpoints import (
    add_webhook,
    list_deliveries,
    list_webhooks,
    redeliver,
    remove_webhook,
    send_test,
    set_enabled,
)
from registry.events.event import KINDS, Kind
from trust.passphrases import read_secret
from trust.web.caller import OPERATOR
from trust.web.database import Database

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

#: What `arguments.webhook_handler` is after parsing: it does the work and returns the exit status.
Command = Callable[[Database, Addresses, argparse.Namespace], int]
Act = Callable[[Database, Addresses, argparse.Namespace], None]


def add_commands(subparsers: Subparsers) -> None:
    """Add `webhook`; each parsed command has a `webhook_handler`, a `Command`."""
    parser = subparsers.add_parser("webhook", help="tell others by HTTP of pushes, pulls, deletions and trust")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = _command(commands, "add", "add a webhook, and print its secret, this once", _add)
    add.add_argument("url", help="where it listens: https://…")
    add.add_argument(
        "--event", action="append", choices=[str(kind) for kind in KINDS], help="what it is told of; default: all"
    )
    add.add_argument("--place", default="", help="library/app, or library/ for all in it; default: the whole site")
    add.add_argument("--secret-file", metavar="FILE", help="take the secret in there; -: from standard input")
    _command(commands, "list", "list webhooks", _list)
    for name, help, act in (
        ("enable", "switch a webhook on again", _switch(True)),
        ("disable", "switch a webhook off", _switch(False)),
        ("remove", "remove a webhook", _remove),
        ("test", "send a test event", _test),
    ):
        _numbered(commands, name, help, act)
    deliveries = _numbered(commands, "deliveries", "list what a webhook was told, the newest first", _deliveries)
    deliveries.add_argument("--count", type=int, default=50, metavar="N", help="how many; default: 50")
    again = _numbered(commands, "redeliver", "send an event again, behind all that waits", _redeliver)
    again.add_argument("sequence", type=int, help="its number in `webhook deliveries`")


def _command(commands: Subparsers, name: str, help: str, act: Act) -> argparse.ArgumentParser:
    # Abbreviated, `--secret SECRET` would be taken for --secret-file, and the secret shown in the error.
    parser = commands.add_parser(name, help=help, allow_abbrev=False)

    def handler(database: Database, addresses: Addresses, arguments: argparse.Namespace) -> int:
        act(database, addresses, arguments)
        return 0

    parser.set_defaults(webhook_handler=handler)
    return parser


def _numbered(commands: Subparsers, name: str, help: str, act: Act) -> argparse.ArgumentParser:
    parser = _command(commands, name, help, act)
    parser.add_argument("number", type=int, help="its number in `webhook list`")
    return parser


def _add(database: Database, addresses: Addresses, given: argparse.Namespace) -> None:
    secret = None if given.secret_file is None else read_secret(given.secret_file)
    kinds = [Kind(event) for event in given.event] if given.event else KINDS
    webhook, made = add_webhook(
        database, addresses, given.url, kinds=kinds, place=given.place, secret=secret, creator=OPERATOR, trusted=True,
        now=_now(),
    )  # fmt: skip
    _print(webhook.id, *([made] if secret is None else []))


def _list(database: Database, _addresses: Addresses, _given: argparse.Namespace) -> None:
    for each in list_webhooks(database):
        state = "on" if each.enabled else f"off: {each.disabled_reason}" if each.disabled_reason else "off"
        if each.enabled and each.failures:
            state = f"failing, {each.failures} times"
        _print(
            each.id, each.place or "(site)", each.url, ",".join(each.kinds), state, f"{each.waiting} waiting",
            f"by {each.creator}",
        )  # fmt: skip


def _switch(enabled: bool) -> Act:
    return lambda database, _, given: set_enabled(database, given.number, enabled, _now())


def _remove(database: Database, _addresses: Addresses, given: argparse.Namespace) -> None:
    remove_webhook(database, given.number, _now())


def _test(database: Database, _addresses: Addresses, given: argparse.Namespace) -> None:
    _print(send_test(database, given.number, _now()))


def _deliveries(database: Database, _addresses: Addresses, given: argparse.Namespace) -> None:
    for each in list_deliveries(database, given.number, limit=max(given.count, 0)):
        answer = " ".join(str(part) for part in (each.status, each.error) if part is not None)
        _print(
            each.sequence, each.kind, f"{each.created:%Y-%m-%dT%H:%M:%SZ}", each.state, f"{each.attempts} attempts",
            answer or "-", each.event_id,
        )  # fmt: skip


def _redeliver(database: Database, _addresses: Addresses, given: argparse.Namespace) -> None:
    _print(redeliver(database, given.number, given.sequence, _now()))


def _now() -> datetime:
    return datetime.now(UTC)


def _print(*columns: object) -> None:
    print(*columns, sep="\t")
