# SPDX-License-Identifier: Apache-2.0
"""Keep trust data from ending: have renewed what services sign, and say in time what only people can renew.

The registry has no keys.  It asks the notary server for the trust data of every repository, as a client does, and
that is what makes the server renew a timestamp, and a snapshot whose key it has, once half of its life is over: of
repositories that nobody pulls from, too, before it is their first client in weeks who has to wait, or finds a signer
that has been out of order for as long.
"""

from __future__ import annotations

from datetime import timedelta

from registry.jobs.findings import Findings, expiring, not_renewed, unverifiable
from registry.jobs.kinds import Report, Turn
from registry.jobs.trust import Parts, each_signed
from registry.operations import Schema, object_schema
from trust.errors import TrustError

#: Days ahead of their end that roles which people sign are told of.
WITHIN_DAYS = 90
#: The server renews a timestamp with seven days left, or with half of its life.
TIMESTAMP_DAYS = 5

_DAYS = {"type": "integer", "minimum": 0, "maximum": 3650}
#: The options of the job.
OPTIONS: Schema = object_schema(
    {
        "within_days": {**_DAYS, "description": f"tell of what ends within so many days; {WITHIN_DAYS}"},
        "timestamp_days": {**_DAYS, "description": f"of a timestamp that is not renewed by then; {TIMESTAMP_DAYS}"},
    }
)


def refresh(parts: Parts, turn: Turn) -> Report:
    """Ask for the trust data of each repository; it finds what is `expiring`, `not-renewed` or `unverifiable`."""
    within = timedelta(days=turn.options.get("within_days", WITHIN_DAYS))
    soon = timedelta(days=turn.options.get("timestamp_days", TIMESTAMP_DAYS))
    findings, asked, unsigned = Findings(turn), 0, 0
    if not parts.trust_data.has_source:
        turn.log("there is no notary server, and nothing to do")
        return {"collections": 0, "unsigned": 0, **findings.facts()}
    for repository, signed in each_signed(parts, turn):
        if isinstance(signed, TrustError):
            findings.add(unverifiable(parts.policies.gun(repository), repository, signed))
            continue
        if (collection := signed.collection) is None:
            unsigned += 1
            continue
        asked += 1
        for finding in not_renewed(repository, collection, parts.clock(), soon):
            findings.add(finding)
        for finding in expiring(repository, collection, parts.clock(), within):
            findings.add(finding)
    return {"collections": asked, "unsigned": unsigned, **findings.facts()}
