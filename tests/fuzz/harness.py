# SPDX-License-Identifier: Apache-2.0
"""How a fuzz target is run: the seeds, libFuzzer's options, and what is kept between runs.

    python tests/fuzz/fuzz_metadata.py 60                    # seconds; what it learns goes into .fuzz/metadata
    python tests/fuzz/fuzz_metadata.py .fuzz/metadata/crash-…  # one input again

A target is a module with `check(data)`, which raises on a finding.  Its seeds are made of the golden files each time,
so none lie in the repository twice; inputs that once were findings lie in `tests/fuzz/findings/<target>` and are run
first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

FINDINGS = Path(__file__).parent / "findings"
KEPT = Path(__file__).parent.parent.parent / ".fuzz"
#: Above every golden file; longer inputs are slower and find no more.
MAX_LENGTH = 12_000


def run(
    name: str,
    check: Callable[[bytes], None],
    seeds: Iterable[bytes],
    words: Iterable[bytes],
    mutate: Callable[[bytes, int, int], bytes] | None = None,
) -> None:
    """Fuzz `check` as the command line says; it ends the process, with an error status after a finding.

    Args:
        name: of the target.
        check: takes an input, and raises on a finding.
        seeds: inputs to begin with.
        words: what the format is made of, for libFuzzer's dictionary.
        mutate: makes a new input of one (with the longest length and a random seed); None leaves it to libFuzzer.
    """
    argument = sys.argv[1] if len(sys.argv) > 1 else "60"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else KEPT / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    for found in (FINDINGS / name).glob("*"):
        (corpus / f"finding-{found.name}").write_bytes(found.read_bytes())
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
    options = [f"-dict={dictionary}", f"-artifact_prefix={folder}/", f"-max_len={MAX_LENGTH}", "-len_control=0"]
    options += ["-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1"]
    what = [f"-max_total_time={argument}", str(corpus)] if argument.isdecimal() else [argument]
    atheris.Setup([sys.argv[0], *options, *what], check, custom_mutator=mutate)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
