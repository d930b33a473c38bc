# SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmark writes: a page with a table, and a plot of the ratios."""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cases import Result

_PEERS = ("notary", "docker-registry", "postgresql", "wrk", "hey", "skopeo", "docker.io")
_OURS = ("tuf", "securesystemslib", "cryptography", "flask", "gunicorn", "sqlalchemy")
_HEAD = """<!-- made by `make bench` -->
# Beside the Go peers

Debian's notary-server, notary-signer and docker-registry, and ours, on the same machine with the same work, in turn.
A figure is the median of {rounds} rounds; a ratio is the median of the rounds' own ratios, with the smallest and the
largest; bold is a goal that is reached. [Speed](../explanation/speed.md) says where the time goes and what is done
about it. `make bench` repeats it, and writes this page anew; `make bench ARGS="--only manifest"` runs the cases whose
name has the word.

- {when}, {cores} processors ({cpu}), {memory} GB of memory, {system}, Python {python}
- the peers: {peers}
- ours: {ours}

![ratios](benchmarks.svg)

| case | unit | ours | peer | ratio | goal |
| --- | --- | --- | --- | --- | --- |
"""


def write(folder: Path, results: Sequence[Result], rounds: int) -> None:
    """Write `benchmarks.md` and `benchmarks.svg` into a folder."""
    head = _HEAD.format(
        rounds=rounds, when=datetime.now(UTC).date(), system=_system(), python=platform.python_version(),
        peers=", ".join(f"{name} {number}" for name, number in _packages(_PEERS)),
        ours=", ".join(f"{name} {version(name)}" for name in _OURS), **_machine(),
    )  # fmt: skip
    (folder / "benchmarks.md").write_text(head + "".join(map(row, results)))
    plot(folder / "benchmarks.svg", [result for result in results if result.ratio is not None])


def row(result: Result) -> str:
    """A line of the table."""
    ratio = goal = ""
    if result.ratio is not None:
        ratio = f"{result.ratio:.2f} ({min(result.ratios):.2f}–{max(result.ratios):.2f})"
        if result.is_reached:
            ratio = f"**{ratio}**"
    if result.goal is not None:
        goal = f"{'≤' if result.less_is_better else '≥'} {result.goal:g}"
    figures = (_figure(result.ours), _figure(result.peer))
    return f"| {' | '.join([result.name, result.unit, *figures, ratio, goal])} |\n"


def plot(path: Path, results: Sequence[Result]) -> None:
    """Draw the ratios, so that more is better, on a logarithmic scale, with the goals."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "troth"
    figure, axes = pyplot.subplots(figsize=(10, 0.3 * len(results) + 1.2), layout="constrained")
    for place, result in enumerate(reversed(results)):
        ratios = [1 / ratio if result.less_is_better else ratio for ratio in result.ratios]
        middle = statistics.median(ratios)
        axes.plot([min(ratios), max(ratios)], [place, place], color="#888888", linewidth=2)
        axes.plot(middle, place, "o", color="#b03a2e" if result.is_reached is False else "#1e8449")
        if result.goal is not None:
            goal = 1 / result.goal if result.less_is_better else result.goal
            axes.plot(goal, place, "|", color="black", markersize=12)
    axes.set_yticks(range(len(results)), [result.name for result in reversed(results)], fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="#cccccc", zorder=0)
    axes.set_xlabel("ours / peer, more is better; the bar is the goal")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _figure(figures: Sequence[float]) -> str:
    if not figures:
        return ""
    middle = statistics.median(figures)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"


def _packages(names: Iterable[str]) -> list[tuple[str, str]]:
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [(name, number) for name, _, number in (line.partition(" ") for line in done.stdout.splitlines())]


def _machine() -> dict[str, object]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cores": len(cpu) or "?",
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.machine(),
        "memory": round(int(memory) / 2**20),
    }


def _system() -> str:
    pretty = [line for line in Path("/etc/os-release").read_text().splitlines() if line.startswith("PRETTY_NAME=")]
    return pretty[0].partition("=")[2].strip('"') if pretty else platform.system()
