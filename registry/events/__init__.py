# SPDX-License-Identifier: Apache-2.0
"""Events: what happened in the registry, told to those who want to know by HTTP (docs/how-to/webhooks.md).

    event -> outbox, reporter -> (the database) -> deliver -> sender -> addresses, signature

* `event` says what an event is and how it looks as JSON (CloudEvents 1.0);
* `outbox.tell` writes it down for each endpoint that wants it, in the transaction of the change that it tells of;
* `reporter` collects what no transaction carries, pulls and refusals, and tells of them a moment later;
* `deliver` sends what is written down, in order, until it arrives or is too old;
* `sender` makes one request, `addresses` says to where there may be one, `signature` signs it;
* `endpoints` is how endpoints are added, looked at and removed, `commands` how an operator does it.
"""
