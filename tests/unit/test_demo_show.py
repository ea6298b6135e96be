"""What the demo shows: each block once, and how many accounts a table leaves out."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from devnet.demo import Show
from devnet.market import Market
from devnet.witness import Witness
from tests.fakes_api import FLAG, UNDER

STUCK = asdict(replace(FLAG, best=None, liquidatable=False, reason="paused"))


def shown(out: io.StringIO, accounts: int, *, is_terminal: bool) -> str:
    """Show two blocks with that many accounts, all of them flagged."""
    console = Console(file=out, width=80, height=40, force_terminal=is_terminal)
    witness = cast("Witness", SimpleNamespace(mismatches=[], compared=7))
    positions: list[dict[str, Any]] = [asdict(UNDER)] * accounts
    with Show(console, cast("Market", None)) as show:
        for block in (1, 2):
            show.update(f"block {block}", positions, [STUCK] * accounts, witness)
    return out.getvalue()


def test_off_a_terminal_each_block_is_one_line_and_the_tables_come_last() -> None:
    said = shown(io.StringIO(), 8, is_terminal=False)

    lines = said.splitlines()
    assert [line[:8] for line in lines[:2]] == ["block 1:", "block 2:"]
    assert said.count("block 2") == said.count("flagged now: 8") == said.count("accounts: 8") == 1
    assert said.endswith("\n")
    assert "here the" not in said


def test_a_table_says_how_many_it_leaves_out() -> None:
    for is_terminal in (True, False):
        said = shown(io.StringIO(), 17, is_terminal=is_terminal)

        assert "accounts: 17, here the 8 nearest to liquidation" in said
        assert "flagged now: 17, here the 8 newest" in said
