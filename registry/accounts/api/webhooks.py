# SPDX-License-Identifier: Apache-2.0
"""The API's operations on webhooks.

The admins of a place, which the owner of a namespace is, look after the webhooks of that place; administrators after
all, and the site's own.  To anybody else they are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from registry.accounts.api.operations import Call, denied
from registry.accounts.policy import Level, Place
from registry.accounts.rights import level_at
from registry.events.addresses import Addresses
from registry.events.endpoints import (
    Webhook,
    add_webhook,
    find_webhook,
    list_deliveries,
    list_webhooks,
    redeliver,
    remove_webhook,
    send_test,
    set_enabled,
)
from registry.events.event import KINDS, Kind
from registry.events.models import DELIVERED, GIVEN_UP, MAX_URL, WAITING
from registry.operations import Answer, Api, Schema, object_schema, ref
from trust.errors import InvalidError, NotFoundError
from trust.tokens import Sites

MAX_PAGE = 100
_LAST = 2**63 - 1
_ONE = "/webhooks/{webhook}"
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_MAYBE: Schema = {"type": ["string", "null"], "format": "date-time"}
_EVENTS: Schema = {"type": "array", "items": ref("WebhookEvent")}
_NUMBER: Schema = {"type": "integer", "minimum": 1, "maximum": _LAST}

_SCHEMAS: Mapping[str, Schema] = {
    "WebhookUrl": {"type": "string", "minLength": 9, "maxLength": MAX_URL, "pattern": "^https?://"},
    "WebhookEvent": {"type": "string", "enum": [str(kind) for kind in KINDS]},
    "Webhook": object_schema(
        id={"type": "integer"},
        place={"type": "string", "description": "empty: the whole site"},
        url={"type": "string"},
        events=_EVENTS,
        enabled={"type": "boolean"},
        created=_MOMENT,
        creator={"type": "string"},
        waiting={"type": "integer", "description": "events that it is still to be told"},
        failures={"type": "integer", "description": "attempts that failed since one did not"},
        failing_since=_MAYBE,
        next_attempt=_MAYBE,
        disabled={
            **object_schema(reason={"type": "string"}, time=_MOMENT), "type": ["object", "null"],
            "description": "since when it is switched off, and why; null: it is on, or that is not known",
        },
    ),
    "Webhooks": object_schema(webhooks={"type": "array", "items": ref("Webhook")}),
    "NewWebhook": object_schema(
        {
            "place": ref("Place"),
            "events": {**_EVENTS, "minItems": 1, "uniqueItems": True},
            "secret": {
                "type": "string", "maxLength": 94, "pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$",
                "description": "the base64 of 24 to 64 random bytes; without it: a new one",
            },
        },
        url=ref("WebhookUrl"),
    ),
    "MadeWebhook": object_schema(
        webhook=ref("Webhook"), secret={"type": "string", "description": "shown this once"}
    ),
    "WebhookSwitch": object_schema(enabled={"type": "boolean"}),
    "Delivery": object_schema(
        sequence={"type": "integer"},
        event_id={"type": "string"},
        event={"type": "string"},
        created=_MOMENT,
        state={"type": "string", "enum": [WAITING, DELIVERED, GIVEN_UP]},
        attempts={"type": "integer"},
        attempted=_MAYBE,
        status={"type": ["integer", "null"], "description": "that the last attempt was answered with"},
        error={"type": ["string", "null"]},
    ),
    "Deliveries": object_schema(deliveries={"type": "array", "items": ref("Delivery")}),
    "NewDelivery": object_schema(
        {"sequence": {**_NUMBER, "description": "of the event to send again; without it: a test"}}
    ),
    "MadeDelivery": object_schema(sequence={"type": "integer"}),
}  # fmt: skip


def declare(api: Api, sites: Sites, addresses: Addresses) -> None:
    """Declare the operations; no repository begins with one of our host names, and `addresses` may have webhooks."""
    api.add_schemas(_SCHEMAS, {"webhook": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}})

    @api.operation(
        "GET", "/webhooks", "the webhooks of just this place; of an administrator who names none, all",
        answers={200: "Webhooks"}, query={"place": {**ref("Place"), "default": ""}},
    )  # fmt: skip
    def webhooks(call: Call) -> Answer:
        place = Place(call.query["place"]) if "place" in call.query else None
        _require_admin(call, place or "")
        found = list_webhooks(call.database, place)
        return 200, {"webhooks": [_webhook(each) for each in found]}

    @api.operation(
        "POST", "/webhooks", "add a webhook to a place; without one, as an administrator, to the site",
        body="NewWebhook", answers={201: "MadeWebhook"},
    )  # fmt: skip
    def add(call: Call) -> Answer:
        place = call.body.get("place", "")
        sites.check_repository(place)
        _require_admin(call, place)
        made, secret = add_webhook(
            call.database,
            addresses,
            call.body["url"],
            kinds=[Kind(event) for event in call.body.get("events", KINDS)],
            place=place,
            secret=call.body.get("secret"),
            creator=call.account.name,
            trusted=call.account.is_admin,
            now=call.now,
        )
        return 201, {"webhook": _webhook(made), "secret": secret}

    @api.operation("GET", _ONE, "a webhook", answers={200: "Webhook"})
    def one(call: Call, webhook: int) -> Answer:
        return 200, _webhook(_mine(call, webhook))

    @api.operation(
        "PATCH", _ONE, "switch a webhook off, so that it is told of nothing, or on again",
        body="WebhookSwitch", answers={200: "Webhook"},
    )  # fmt: skip
    def switch(call: Call, webhook: int) -> Answer:
        _mine(call, webhook)
        set_enabled(call.database, webhook, call.body["enabled"], call.now)
        return 200, _webhook(find_webhook(call.database, webhook))

    @api.operation("DELETE", _ONE, "remove a webhook", answers={204: None})
    def remove(call: Call, webhook: int) -> Answer:
        _mine(call, webhook)
        remove_webhook(call.database, webhook, call.now)
        return 204, None

    @api.operation(
        "GET", f"{_ONE}/deliveries", "what a webhook was told, the newest first", answers={200: "Deliveries"},
        query={
            "n": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": MAX_PAGE},
            "before": {**_NUMBER, "default": _LAST, "description": "only those with smaller numbers"},
        },
    )  # fmt: skip
    def deliveries(call: Call, webhook: int) -> Answer:
        _mine(call, webhook)
        number = _number(call, "n", MAX_PAGE)
        found = list_deliveries(call.database, webhook, before=_number(call, "before", _LAST), limit=number)
        return 200, {
            "deliveries": [
                {
                    "sequence": each.sequence, "event_id": each.event_id, "event": each.kind, "state": each.state,
                    "created": _time(each.created), "attempts": each.attempts, "attempted": _maybe(each.attempted),
                    "status": each.status, "error": each.error,
                }
                for each in found
            ]
        }  # fmt: skip

    @api.operation(
        "POST", f"{_ONE}/deliveries", "send a webhook a test, or an event again, behind all that waits for it",
        body="NewDelivery", answers={202: "MadeDelivery"},
    )  # fmt: skip
    def deliver(call: Call, webhook: int) -> Answer:
        _mine(call, webhook)
        if "sequence" in call.body:
            return 202, {"sequence": redeliver(call.database, webhook, int(call.body["sequence"]), call.now)}
        return 202, {"sequence": send_test(call.database, webhook, call.now)}


def _require_admin(call: Call, place: str) -> None:
    if not place:
        call.require_administrator()
    elif (level := _level(call, place)) is not Level.ADMIN:
        raise denied(f"admin of {place}", f"{level} of {place}" if level else f"nothing in {place}")


def _mine(call: Call, number: int) -> Webhook:
    """A webhook that the caller looks after; to anybody else it is not there."""
    found = find_webhook(call.database, number)
    if not call.account.is_admin and _level(call, found.place) is not Level.ADMIN:
        raise NotFoundError("there is no such webhook")
    return found


def _level(call: Call, place: str) -> Level | None:
    try:
        asked = Place(place)
    except InvalidError:  # the site, or a namespace that an operator chose: administrators look after these
        return None
    with call.database.read() as session:
        return level_at(session, call.account, asked)


def _webhook(webhook: Webhook) -> dict[str, object]:
    return {
        "id": webhook.id, "place": webhook.place, "url": webhook.url, "events": list(webhook.kinds),
        "enabled": webhook.enabled, "created": _time(webhook.created), "creator": webhook.creator,
        "waiting": webhook.waiting, "failures": webhook.failures, "failing_since": _maybe(webhook.failing_since),
        "next_attempt": _maybe(webhook.due),
        "disabled": webhook.disabled and {"reason": webhook.disabled_reason, "time": _time(webhook.disabled)},
    }  # fmt: skip


def _number(call: Call, name: str, greatest: int) -> int:
    text = call.query.get(name, str(greatest))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= greatest):
        raise InvalidError(f"{name} is a number from 1 to {greatest}")
    return int(text)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _maybe(moment: datetime | None) -> str | None:
    return None if moment is None else _time(moment)
