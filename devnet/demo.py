"""`make demo`: a market, two hundred borrowers, the real daemon, a price shock, and the verdict."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from devnet.daemon import Daemon
from devnet.market import Market
from devnet.stage import Stage
from devnet.witness import Witness

QUIET_BLOCKS = 5
SHOCK = ("WETH", -900)  # basis points; enough for some, not for all
ROWS = 8
WIDTH = 110  # columns, where there is no terminal to ask


class Show:
    """
    What the audience sees: who is nearest to liquidation, and who is flagged.

    A terminal shows every block in place; elsewhere each block is a line, and the tables come last.
    """

    def __init__(self, console: Console, market: Market) -> None:
        self._console = console
        self._market = market
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._tables = Group()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._console.print(self._tables)

    def update(
        self,
        title: str,
        positions: list[dict[str, Any]],
        opportunities: list[dict[str, Any]],
        witness: Witness,
    ) -> None:
        """Draw one block."""
        wrong = len(witness.mismatches)
        line = Text(f"{title}: {witness.compared} comparisons with the pool, {wrong} mismatches")
        line.stylize("bold red" if wrong else "bold green")
        nearest = [p for p in positions if p["health_factor"] is not None]
        flagged = [o for o in opportunities if o["state"] == "open"]
        self._tables = Group(_nearest(nearest), self._flagged(flagged))
        if self._live is not None:
            self._live.update(Group(line, self._tables))
        else:
            self._console.print(line)

    def _flagged(self, opportunities: list[dict[str, Any]]) -> Table:
        table = _table("flagged now", len(opportunities), "newest")
        for heading in ("user", "health", "since", "repay", "seize", "gross bonus"):
            table.add_column(heading, no_wrap=True)
        for flag in opportunities[:ROWS]:
            user, health = _short(flag["user"]), flag["health_factor"][:8]
            since, best = str(flag["first_unhealthy_block"]), flag["best"]
            if best is None:
                table.add_row(user, health, since, flag["reason"] or "")
                continue
            repay = self._amount(best["debt_asset"], best["max_repay"])
            seize = self._amount(best["collateral_asset"], best["seize"])
            bonus = f"$ {Decimal(best['gross_bonus']):,.2f}"
            table.add_row(user, health, since, repay, seize, bonus)
        return table

    def _amount(self, asset: str, units: int) -> str:
        reserve = self._market.listing_of(asset).reserve
        return f"{Decimal(units) / 10**reserve.decimals:,.4f} {reserve.symbol}"


def _nearest(positions: list[dict[str, Any]]) -> Table:
    table = _table("accounts", len(positions), "nearest to liquidation")
    for heading in ("user", "health factor", "collateral", "debt", "under 1"):
        table.add_column(heading, no_wrap=heading not in ("collateral", "debt"))
    for position in positions[:ROWS]:
        under = position["health_factor"].startswith("0.")
        table.add_row(
            _short(position["user"]),
            position["health_factor"],
            " ".join(leg["symbol"] for leg in position["collateral"] if leg["enabled"]),
            " ".join(leg["symbol"] for leg in position["debt"]),
            str(position["blocks_unhealthy"]),
            style="red" if under else "",
        )
    return table


def _table(what: str, count: int, first: str) -> Table:
    """Make a table that fits 80 columns, titled with how many there are."""
    shown = f"{what}: {count}" + (f", here the {ROWS} {first}" if count > ROWS else "")
    return Table(
        title=f"\n{shown}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )


def _short(address: str) -> str:
    return f"{address[:6]}..{address[-4:]}"


def perform(*, borrowers: int, seed: int, console: Console) -> bool:
    """Give the whole show; True when everything agreed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chimera-demo-") as folder:
        console.print(f"deploying Aave v3 on a local chain, with {borrowers} borrowers ...")
        with Stage.build(seed=seed, borrowers=borrowers) as stage:
            config = stage.write_config(Path(folder) / "demo.toml")
            with (
                Daemon(config, Path(folder) / "daemon.log") as daemon,
                Show(console, stage.market) as show,
            ):
                witness = Witness(stage, daemon)
                daemon.wait_until(stage.node.number)
                play(stage, daemon, witness, show)
                agreed, verdict = judge(daemon, witness)
            code = daemon.exit_code
    agreed = agreed and code == 0
    console.print(f"the whole show took {time.monotonic() - began:.0f} s")
    print(f"{verdict}; the daemon ended with {code}", flush=True)
    return agreed


def play(stage: Stage, daemon: Daemon, witness: Witness, show: Show) -> None:
    """Let a few blocks pass, then shock a price, cure it for a block, and shock it again."""

    def scene(title: str, block: int) -> None:
        positions = witness.attend(block)
        _, opportunities = daemon.opportunities()
        show.update(f"block {block} ({title})", positions, opportunities, witness)

    scene("as it was found", stage.node.number)
    for _ in range(QUIET_BLOCKS):
        scene("daily life", stage.life.step(seconds=2).number)
    symbol, bps = SHOCK
    scene(f"{symbol} falls by {-bps / 100:g} %", stage.life.shock(symbol, bps))
    scene("and recovers at once", stage.life.cure(symbol))
    scene(f"{symbol} falls again", stage.life.shock(symbol, bps))
    scene("and stays there", stage.life.quiet())
    scene("a block more", stage.life.quiet())


def judge(daemon: Daemon, witness: Witness) -> tuple[bool, str]:
    """Return whether everything agreed, and the verdict in one line."""
    missed, extra = witness.missed_and_extra()
    expected = witness.rule.episodes()
    name = "chimera_block_to_decision_seconds"
    blocks = daemon.metric(f"{name}_count")
    mean = daemon.metric(f"{name}_sum") / blocks if blocks else 0.0
    flagged = len(expected) - len(missed) + len(extra)
    verdict = (
        f"verdict: {witness.compared} accounts compared with Pool.getUserAccountData, "
        f"{len(witness.mismatches)} mismatches; {flagged} flagged in all, "
        f"{len(expected)} expected, {len(missed)} missed, {len(extra)} extra; "
        f"{len(witness.rule.under_once())} under 1 for one block only; "
        f"block to decision {mean * 1000:.2f} ms on average"
    )
    right = not witness.mismatches and not missed and not extra
    return right and bool(witness.compared) and bool(expected) and blocks > 0, verdict


def main() -> None:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(prog="devnet.demo", description=__doc__)
    parser.add_argument("--borrowers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    wide = None if sys.stderr.isatty() else WIDTH
    console = Console(stderr=True, width=wide)
    agreed = perform(borrowers=options.borrowers, seed=options.seed, console=console)
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
