"""What a flag names as the best pair is what the pool takes and gives, to the unit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devnet.aave import VERSIONS
from devnet.actions import LIQUIDATOR, MAX, Actions
from devnet.daemon import Daemon
from devnet.stage import Stage

FALLS = (("WETH", -1100), ("WBTC", -900), ("LINK", -3_000), ("EURS", 600))
SAME_SECOND = 0  # so that not a second's interest comes between the flag and the liquidation


@pytest.mark.parametrize("version", VERSIONS)
def test_the_best_pair_is_liquidated_to_the_unit(version: str, tmp_path: Path) -> None:
    with Stage.build(version=version, seed=13, borrowers=120) as stage:
        flags = flagged(stage, tmp_path)
        exact = 0
        pairs = {(flag["best"]["collateral_asset"], flag["best"]["debt_asset"]) for flag in flags}

        assert len(flags) >= 10
        assert len(pairs) >= 5
        for flag in flags:
            best = flag["best"]
            with stage.undone():
                assert moved(stage, flag, MAX) == promised(best), flag
                is_limited_by_the_debt = bool(left(stage, flag))
            # Where all the collateral goes, its value in debt rounds: only MAX takes the last unit.
            if is_limited_by_the_debt:
                exact += 1
                with stage.undone():
                    assert moved(stage, flag, best["max_repay"]) == promised(best), flag
        assert exact >= 8


def flagged(stage: Stage, folder: Path) -> list[dict[str, Any]]:
    with Daemon(stage.write_config(folder / "pairs.toml"), folder / "daemon.log") as daemon:
        daemon.wait_until(stage.node.number)
        for symbol, bps in FALLS:
            daemon.wait_until(stage.life.shock(symbol, bps, seconds=3_600))
        daemon.wait_until(stage.life.quiet())
        _, flags = daemon.opportunities("&state=open")
    return [flag for flag in flags if flag["best"]]


def moved(stage: Stage, flag: dict[str, Any], amount: int) -> Counter[str]:
    """Liquidate the pair of the flag; what the liquidator has more of now, and less of."""
    best, market = flag["best"], stage.market
    assets = {best["collateral_asset"], best["debt_asset"]}
    before = purse(stage, assets)
    collateral = market.listing_of(best["collateral_asset"]).reserve.symbol
    debt = market.listing_of(best["debt_asset"]).reserve.symbol
    liquidate = Actions(market).liquidate
    stage.node.send(liquidate(flag["user"], collateral, debt, amount, receive_a_token=False))
    stage.node.settle(SAME_SECOND)
    after = purse(stage, assets)
    after.subtract(before)
    return after


def left(stage: Stage, flag: dict[str, Any]) -> int:
    """What the account still has of the collateral."""
    a_token = stage.market.listing_of(flag["best"]["collateral_asset"]).a_token
    balance: int = stage.node.read(a_token, "balanceOf", flag["user"])
    return balance


def promised(best: dict[str, Any]) -> Counter[str]:
    amounts = Counter({best["collateral_asset"]: best["seize"]})
    amounts.subtract({best["debt_asset"]: best["max_repay"]})
    return amounts


def purse(stage: Stage, assets: set[str]) -> Counter[str]:
    tokens = {asset: stage.market.listing_of(asset).token for asset in assets}
    return Counter(
        {asset: stage.node.read(token, "balanceOf", LIQUIDATOR) for asset, token in tokens.items()}
    )
