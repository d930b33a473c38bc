# SPDX-License-Identifier: Apache-2.0
"""What the jobs count (docs/reference/metrics.md)."""

from __future__ import annotations

from registry.jobs.kinds import NAMES
from registry.jobs.runs import Run, State
from trust.web.metrics import counter, latest

_SERVICE = "troth-registry"
_RUNS = counter(
    "troth_job_runs",
    "runs of jobs that came to an end in this service's background process",
    service=_SERVICE,
    kind=NAMES,
    state=tuple(state.value for state in State if state.is_over),
)
_ENDED = latest(
    "troth_job_last_end_timestamp_seconds",
    "when a run of a kind last ended here, however it did",
    service=_SERVICE,
    kind=(),
)
_SUCCEEDED = latest(
    "troth_job_last_success_timestamp_seconds", "when a run of a kind was last done here", service=_SERVICE, kind=()
)
_TOOK = latest("troth_job_duration_seconds", "how long the last run of a kind took here", service=_SERVICE, kind=())


def count_run(run: Run) -> None:
    """Count a run that is over."""
    if run.ended is None or run.started is None:
        return
    _RUNS.labels(run.kind, run.state.value).inc()
    _ENDED.labels(run.kind).set(run.ended.timestamp())
    _TOOK.labels(run.kind).set((run.ended - run.started).total_seconds())
    if run.state is State.DONE:
        _SUCCEEDED.labels(run.kind).set(run.ended.timestamp())
