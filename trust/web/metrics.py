# SPDX-License-Identifier: Apache-2.0
"""What the services count, for Prometheus.

    PUBLISHED = counter("troth_published_versions", "versions stored", service="troth-server", role=ROLES)
    PUBLISHED.labels("root").inc()

Every metric is made by `counter`, `latest` or `gauge`, at the top of the module that knows the fact; the reference
page is made from `FAMILIES`.  Labels are bounded: a route is a template and never a path, a method that HTTP does not
know is "other".  The label values that are known beforehand begin at zero, so that the first event is an increase.

A service's worker processes share one folder (`share`, docs/decisions/0017-metrics.md): each counts in files of its
own, mapped into memory, and whoever is scraped adds them up.  A file belongs to a worker's seat and not to its
process ID: the successor of a worker that died takes its seat and counts on.  Without a folder the numbers stay in
the process and nobody reads them but tests.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

# Not where the environment says: `share` does.
values.ValueClass = values.MutexValue

#: The metrics of this process, for tests; a scrape sees those of all workers.
REGISTRY = CollectorRegistry()
#: Where an app keeps the collectors that are scraped beside the counters, among its extensions.
COLLECTORS = "troth.collectors"

#: The seat of the process beside the workers (`trust.web.companion`).
COMPANION = "companion"

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # by this name the library finds it
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GRPC"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric as the reference describes it.

    Attributes:
        name: as it is scraped.
        kind: counter, gauge or histogram.
        meaning: one phrase.
        labels: each with its values, where they are known beforehand.
        service: who has it; empty: all three.
    """

    name: str
    kind: str
    meaning: str
    labels: Mapping[str, Sequence[str]]
    service: str = ""

    def samples(self) -> GaugeMetricFamily:
        """An empty set of samples, for a collector of gauges."""
        return GaugeMetricFamily(self.name, self.meaning, labels=list(self.labels))


#: Every metric that is defined by the modules loaded so far.
FAMILIES: list[Family] = []
_made: list[tuple[Family, Counter | Gauge | Histogram]] = []
_seat: int | str = "master"
_folder: Path | None = None


def counter(name: str, meaning: str, *, service: str = "", **labels: Sequence[str]) -> Counter:
    """A counter of events.

    Args:
        name: without the `_total` at its end.
        meaning: one phrase.
        service: who has it; empty: all three.
        labels: each with its values, or `()` where they are not known beforehand.
    """
    made = Counter(name, meaning, list(labels), registry=REGISTRY)
    _add(Family(f"{name}_total", "counter", meaning, labels, service), made)
    return made


def gauge(name: str, meaning: str, *, service: str = "", **labels: Sequence[str]) -> Family:
    """A gauge that a collector gives out (`Family.samples`); arguments as for `counter`."""
    family = Family(name, "gauge", meaning, labels, service)
    FAMILIES.append(family)
    return family


def latest(name: str, meaning: str, *, service: str = "", **labels: Sequence[str]) -> Gauge:
    """A value that is set now and then; of several processes the one that set it last counts.  As `counter`."""
    made = Gauge(name, meaning, list(labels), registry=REGISTRY, multiprocess_mode="mostrecent")
    _add(Family(name, "gauge", meaning, labels, service), made)
    return made


def _add(family: Family, made: Counter | Gauge | Histogram) -> None:
    FAMILIES.append(family)
    _made.append((family, made))


_ASKED: dict[str, Sequence[str]] = {"service": (), "method": (), "route": (), "status": ()}
_ANSWERED = "requests answered, by route template and status; for gRPC the method is GRPC and the status gRPC's own"
_TOOK = "seconds from a request's head to that of its answer; the time that a body takes behind it is not in it"
_OPEN = "requests being answered, bodies included"
_COUNT = Counter("troth_requests", _ANSWERED, list(_ASKED), registry=REGISTRY)
_DURATION = Histogram("troth_request_duration_seconds", _TOOK, list(_ASKED), buckets=_SECONDS, registry=REGISTRY)
_IN_FLIGHT = Gauge("troth_requests_in_flight", _OPEN, ["service"], registry=REGISTRY, multiprocess_mode="livesum")
_add(Family("troth_requests_total", "counter", _ANSWERED, _ASKED), _COUNT)
_add(Family("troth_request_duration_seconds", "histogram", _TOOK, _ASKED), _DURATION)
_add(Family("troth_requests_in_flight", "gauge", _OPEN, {"service": ()}), _IN_FLIGHT)
_answers: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}
_BUILD = Family(
    "troth_build_info", "gauge", "always 1; the labels say what runs", {"service": (), "version": (), "python": ()}
)
FAMILIES.append(_BUILD)


def answered(service: str, method: str, route: str, status: int, seconds: float) -> None:
    """Count a request.

    Args:
        service: who answered it.
        method: HTTP's, or `GRPC`.
        route: the template that its path matched; never the path.
        status: of the answer.
        seconds: from its head to that of the answer.
    """
    labels = (service, method if method in _METHODS else "other", route, str(status))
    counts = _answers.get(labels)
    if counts is None:  # the library looks for them longer than it counts
        counts = _answers[labels] = _COUNT.labels(*labels), _DURATION.labels(*labels)
    counts[0].inc()
    counts[1].observe(seconds)


def begun(service: str) -> None:
    """A request has come."""
    _IN_FLIGHT.labels(service).inc()


def ended(service: str) -> None:
    """A request is over, its answer sent or given up."""
    _IN_FLIGHT.labels(service).dec()


def share(folder: Path) -> None:
    """From now on, count in `folder`; in the master, before there are workers.

    Args:
        folder: empty, and for its owner alone; whoever can write there decides what is scraped.
    """
    global _folder
    for _, made in _made:
        made.clear()  # what counted in memory so far would go on doing so
    _answers.clear()
    _folder = folder
    os.environ[_FOLDER] = str(folder)
    # The library looks for the folder when it is imported, and ours is made after.
    values.ValueClass = values.MultiProcessValue(lambda: _seat)  # type: ignore[no-untyped-call]


def shared_folder() -> Path | None:
    """Where the workers count together; None: each process for itself."""
    return _folder


def take_seat(seat: int | str) -> None:
    """Count in the files of this seat; in a worker, after the fork."""
    global _seat
    _seat = seat
    for family, made in _made:
        if family.labels and all(family.labels.values()):
            for labels in product(*family.labels.values()):
                made.labels(*labels)


def leave_seat(seat: int | str) -> None:
    """The worker of this seat has died: what it was at is over, what it counted stays."""
    if _folder is not None:
        mark_process_dead(seat, str(_folder))  # type: ignore[no-untyped-call]


def everything(service: str, collectors: Iterable[Collector] = ()) -> CollectorRegistry:
    """All that a scrape shows.

    Args:
        service: who runs here.
        collectors: what is shown beside the counters.
    """
    shown = CollectorRegistry()
    if _folder is None:
        shown.register(REGISTRY)  # it collects as a collector does
    else:
        MultiProcessCollector(shown, str(_folder))  # type: ignore[no-untyped-call]
    shown.register(_Build(service))
    for each in collectors:
        shown.register(each)
    return shown


class _Build(Collector):
    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        samples = _BUILD.samples()
        samples.add_metric([self._service, version("troth"), platform.python_version()], 1)
        yield samples
