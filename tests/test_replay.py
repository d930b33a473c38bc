# SPDX-License-Identifier: Apache-2.0
"""Real clients' exchanges with the original notary server and registry, replayed against ours.

What differs is wanted and stands in `parity.DIFFERENCES`, or it is a fault.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from captures import exchanges
from parity import CASES, DIFFERENCES, HEADING, PAGE, differences, rows
from replay import Replay, read_again

#: Families of captures that belong together: without tokens, and with.
WITHOUT, WITH = ("docker", "notary"), ("auth",)
FAMILIES = pytest.mark.parametrize("families", [WITHOUT, WITH], ids=["without tokens", "with tokens"])

_TOKENS = {"Tokens for nobody", "Members of a token answer", "`detail` of the registry's first 401"}


@FAMILIES
def test_the_originals_clients_get_the_originals_answers(tmp_path: Path, families: tuple[str, ...]) -> None:
    # NOTARY_V1 §2, §2.1, §2.2, §2.3, §2.4, §2.7, §3.1, §3.3, §5.1; REGISTRY_API §2.
    replay = Replay(tmp_path, *families)
    challenge = (replay.world.settings.realm, replay.world.settings.token_service)
    found: set[str] = set()
    answered = 0
    for exchange, answer in replay.answers():
        found.update(differences(exchange, answer, replay.translator, challenge))
        answered += 1
    assert answered == len(exchanges(*families)) > 300
    # All that are wanted, and no other; so the list holds nothing that is not so any more.
    wanted = DIFFERENCES.keys() - {what for what, _ in CASES.values()}
    assert sorted(found) == sorted(wanted if families == WITH else wanted - _TOKENS)
    # With a token for nobody nothing is read, and the client is told to log in (NOTARY_V1 §5.1, §5.3).
    assert bool(replay.refused) == (families == WITH)
    for exchange, refusal in replay.refused:
        assert refusal.status_code == 401, exchange
        scope = f'scope="repository:{exchange.gun}:pull",error="insufficient_scope"'
        assert scope in refusal.headers["WWW-Authenticate"], exchange


@FAMILIES
def test_files_taken_over_from_the_original_are_served_byte_for_byte(
    tmp_path: Path, families: tuple[str, ...]
) -> None:
    # NOTARY_V1 §2.1: the exact bytes that were uploaded or generated.
    found: set[str] = set()
    files = 0
    for exchange, answer in read_again(tmp_path, *families):
        found.update(differences(exchange, answer, None))
        if exchange.status == 200 and exchange.role:
            assert answer.data == exchange.answer, exchange
            files += 1
    assert files >= 200
    assert found <= DIFFERENCES.keys()


def test_the_page_of_differences_shows_the_same_list() -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"{HEADING}\n")
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert table[2:] == rows()
