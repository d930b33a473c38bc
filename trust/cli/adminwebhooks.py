# SPDX-License-Identifier: Apache-2.0
"""The commands `troth admin webhook …`: who is told of events, and what they were told (docs/how-to/webhooks.md).

    troth admin webhook add https://hooks.example.com/ --place library/        # prints its secret, this once
    troth admin webhook add https://hooks.example.com/ --secret-file secret    # brings one, and prints none

A secret is never an argument: others on the machine can read those.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from trust.cli.admincommand import Command, Rows, columns
from trust.passphrases import read_secret

_URL = ("url", {"metavar": "URL", "help": "where it listens: https://…"})
_NUMBER = ("number", {"metavar": "NUMBER", "type": int, "help": "as in `webhook list`"})
_ONE = "/webhooks/{number}"
_TOLD = f"{_ONE}/deliveries"


def _webhooks(entries: list[Any]) -> Rows:
    rows: Rows = [["NUMBER", "PLACE", "URL", "EVENTS", "STATE", "WAITING", "BY"]]
    for each in entries:
        rows.append([
            each["id"], each["place"] or "(site)", each["url"], " ".join(each["events"]), _state(each),
            each["waiting"], each["creator"],
        ])  # fmt: skip
    return rows


def _state(webhook: Any) -> str:
    if not webhook["enabled"]:
        return f"off: {webhook['disabled']['reason']}" if webhook["disabled"] else "off"
    return f"failing, {webhook['failures']} times" if webhook["failures"] else "on"


def _new(given: Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {"url": given.url}
    if given.place:
        body["place"] = given.place
    if given.event:
        body["events"] = given.event
    if given.secret_file is not None:
        body["secret"] = read_secret(given.secret_file)
    return body


def _made(answer: Any, given: Namespace) -> list[str]:
    return [str(answer["webhook"]["id"]), *([answer["secret"]] if given.secret_file is None else [])]


def _switch(word: str, help: str, enabled: bool) -> Command:
    return Command(
        f"webhook {word}", help, "PATCH", _ONE, (_NUMBER,), body=lambda _: {"enabled": enabled},
        rows=lambda answer: _webhooks([answer]),
    )  # fmt: skip


def _sequence(answer: Any, _given: Namespace) -> list[str]:
    return [str(answer["sequence"])]


WEBHOOKS = [
    Command(
        "webhook list", "the webhooks of just this place; without one, for administrators, all", "GET", "/webhooks",
        (("--place", {"metavar": "PLACE", "help": "a repository, or with a slash at its end a namespace"}),),
        query=lambda given: {"place": given.place}, rows=lambda answer: _webhooks(answer["webhooks"]),
    ),
    Command("webhook show", "one webhook", "GET", _ONE, (_NUMBER,), rows=lambda answer: _webhooks([answer])),
    Command(
        "webhook add", "add a webhook; prints its number and its secret, this once", "POST", "/webhooks",
        (
            _URL,
            ("--event", {"action": "append", "metavar": "EVENT", "help": "it is told of; repeatable; default: all"}),
            ("--place", {"metavar": "PLACE", "help": "library/app, or library/ for all in it; default: the site"}),
            ("--secret-file", {"metavar": "FILE", "help": "take the secret in there; -: from standard input"}),
        ),
        body=_new, text=_made,
    ),
    _switch("enable", "switch a webhook on again", True),
    _switch("disable", "switch a webhook off, so that it is told of nothing", False),
    Command("webhook remove", "remove a webhook, with what it was not told yet", "DELETE", _ONE, (_NUMBER,)),
    Command("webhook test", "send a test event; prints its number", "POST", _TOLD, (_NUMBER,),
            body=lambda _: {}, text=_sequence),
    Command(
        "webhook deliveries", "what a webhook was told, the newest first", "GET", _TOLD,
        (
            _NUMBER,
            ("--count", {"type": int, "metavar": "N", "help": "how many, at most 100; default: 100"}),
            ("--before", {"type": int, "metavar": "SEQUENCE", "help": "with lower numbers only"}),
        ),
        query=lambda given: {"n": given.count, "before": given.before},
        rows=columns("deliveries", SEQUENCE="sequence", EVENT="event", CREATED="created", STATE="state",
                     ATTEMPTS="attempts", LAST="attempted", STATUS="status", ERROR="error", ID="event_id"),
    ),
    Command(
        "webhook redeliver", "send an event again, behind all that waits; prints its new number", "POST", _TOLD,
        (_NUMBER, ("sequence", {"metavar": "SEQUENCE", "type": int, "help": "as in `webhook deliveries`"})),
        body=lambda given: {"sequence": given.sequence}, text=_sequence,
    ),
]  # fmt: skip
