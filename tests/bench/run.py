# SPDX-License-Identifier: Apache-2.0
"""The benchmark: ours and the Go peers side by side, in turn.

make bench                                   # all of it, and docs/reference/benchmarks.md
make bench ARGS="--only publish --rounds 3"  # some of it, printed only
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' own rooms, as pytest finds them

from bench import library, notaries, page, registries
from bench.cases import FULL, SMOKE, Case, Result, Scale, measure
from databases import Server, running_postgresql

Group = Callable[[ExitStack, Path, Server, Scale], Iterator[Case]]

GROUPS: dict[str, Group] = {
    "notary": notaries.reads_and_publishes,
    "memory": notaries.reads_from_memory,
    "registry": registries.manifests_and_blobs,
    "enforcement": registries.enforcement,
    "images": registries.images,
    "library": library.verification,
    "names": library.many_names,
}
_DOCS = Path(__file__).parent.parent.parent / "docs/reference"


def run(scale: Scale, *, groups: Sequence[str] = (), only: str = "") -> list[Result]:
    """Run the cases; each result is printed as it comes.

    Args:
        scale: how much work.
        groups: names in `GROUPS`; none: all.
        only: a word that a case's name has.
    """
    results = []
    with running_postgresql() as server:
        for name in groups or GROUPS:
            with ExitStack() as exits:
                folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="troth-bench-")))
                for case in GROUPS[name](exits, folder, server, scale):
                    if only in case.name:
                        results.append(measure(case, scale.rounds))
                        print(page.row(results[-1]), end="", flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and write the page when everything was run."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure ours and the Go peers side by side.")
    parser.add_argument("--group", action="append", choices=GROUPS, default=[], help="only this group; repeatable")
    parser.add_argument("--only", default="", metavar="WORD", help="only cases whose name has it")
    parser.add_argument("--rounds", type=int, help=f"turns of each side ({FULL.rounds})")
    parser.add_argument("--smoke", action="store_true", help="as little work as shows that it runs")
    parser.add_argument("--output", type=Path, help="folder for the page, the plot and all figures as JSON")
    parsed = parser.parse_args(arguments)
    scale = SMOKE if parsed.smoke else FULL
    scale = replace(scale, rounds=parsed.rounds or scale.rounds)
    results = run(scale, groups=parsed.group, only=parsed.only)
    whole = not (parsed.smoke or parsed.group or parsed.only)
    folder = parsed.output or (_DOCS if whole else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        page.write(folder, results, scale.rounds)
        figures = json.dumps([asdict(result) for result in results], indent=1, ensure_ascii=False)
        (folder / "benchmarks.json").write_text(figures + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
