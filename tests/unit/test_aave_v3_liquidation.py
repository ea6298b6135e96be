"""What `liquidationCall` allows: the reference liquidations of v3.0.2, and every refusal."""

from __future__ import annotations

import pytest

from chimera.domain.block import Address
from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import AaveMarket, Mode
from tests.fakes_aave_v3 import (
    PRICE_SOURCE,
    PROVIDER,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    configured,
    market,
    standing,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1808221600


def at_the_limits(
    prices: dict[Address, int], income: dict[Address, int], debt: dict[Address, int]
) -> AaveMarket:
    rates = {
        asset: standing(NOW, income=income.get(asset, 10**27), debt=debt.get(asset, 10**27))
        for asset in (WETH, USDC, WBTC)
    }
    return market(prices=prices, rates=rates)


HALF = at_the_limits(
    {WETH: 230012345678},
    {WETH: 1000020607986354651761849563},
    {USDC: 1000099651213553059246609951},
)
LAST = at_the_limits({}, {USDC: 1000000892508922209857855462}, {WETH: 1000442321995583203862627601})


def test_between_95_and_100_percent_half_of_the_debt_can_be_closed() -> None:
    """AV-6."""
    account = Account({WETH: 9567912536054977487}, {USDC: 18865663786}, frozenset({WETH}))

    verdict = AAVE.verdict(HALF, account, NOW)

    assert verdict.liquidatable
    assert verdict.best is not None
    assert verdict.best.max_repay == 9433771886
    assert verdict.best.seize == 4285454542507753482
    worth = 4285454542507753482 * 230012345678 // 10**18
    assert verdict.best.gross_bonus == worth - 9433771886 * 99987654 // 10**6


def test_after_that_liquidation_the_account_is_healthy_by_the_pools_figure() -> None:
    """AV-6, the state after it."""
    account = Account({WETH: 5262042161676111791}, {USDC: 9432831893}, frozenset({WETH}))

    assert AAVE.health(HALF, account, NOW).factor == 1065027356881393792
    assert AAVE.verdict(HALF, account, NOW) == Verdict(liquidatable=False, reason="healthy")


def test_a_collateral_that_is_worth_less_than_the_debt_limits_the_repayment() -> None:
    """AV-9."""
    pool = at_the_limits({WBTC: 5453124680135}, {}, {WETH: 1000442313663476091654758669})
    account = Account({WBTC: 118215334}, {WETH: 24000442022068379523}, frozenset({WBTC}))

    best = AAVE.verdict(pool, account, NOW).best

    assert best is not None
    assert (best.max_repay, best.seize) == (19988106294045195787, 117390576)


def test_the_last_collateral_can_be_taken_whole() -> None:
    """AV-10."""
    account = Account({USDC: 5000000001}, {WETH: 4021172831772318594}, frozenset({USDC}))

    best = AAVE.verdict(LAST, account, NOW).best

    assert best is not None
    assert (best.max_repay, best.seize) == (1594635226741511936, 4978473344)


def test_debt_without_collateral_can_never_be_liquidated() -> None:
    """AV-12."""
    account = Account(owed={WETH: 2427242635416079278})

    assert AAVE.verdict(LAST, account, NOW) == Verdict(liquidatable=False, reason="no collateral")


UNDER = Account({USDC: 10**9, WBTC: 10**6}, {WETH: 10**18}, frozenset({USDC, WBTC}))


def test_the_pair_with_the_largest_bonus_is_named() -> None:
    pool = market()
    verdict = AAVE.verdict(pool, UNDER, NOW)
    alone = [
        AAVE.verdict(market(reserves=configured(asset, is_paused=True)), UNDER, NOW).best
        for asset in (USDC, WBTC)
    ]

    assert verdict.best in alone
    bonuses = [pair.gross_bonus for pair in alone if isinstance(pair, Pair)]
    assert verdict.best is not None
    assert verdict.best.gross_bonus == max(bonuses) > min(bonuses)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [({"is_paused": True}, "reserve paused"), ({"is_active": False}, "reserve inactive")],
)
def test_a_reserve_that_is_paused_or_inactive_protects_its_borrowers(
    terms: dict[str, bool], reason: str
) -> None:
    verdict = AAVE.verdict(market(reserves=configured(WETH, **terms)), UNDER, NOW)

    assert verdict == Verdict(liquidatable=False, reason=reason)


def test_a_seizure_that_rounds_to_nothing_is_refused_by_the_tokens() -> None:
    account = Account({WETH: 3_334_000_000}, {WBTC: 1}, frozenset({WETH}))

    assert AAVE.health(market(), account, NOW).collateral == 1000
    assert AAVE.verdict(market(), account, NOW).reason == "too little to seize"


STAKER = Account({WSTETH: 10**18}, {WETH: 2 * 10**18}, frozenset({WSTETH}), mode=1)


def test_in_an_emode_its_bonus_applies() -> None:
    inside = AAVE.verdict(market(), STAKER, NOW).best
    outside = AAVE.verdict(market(modes={1: Mode(Bps(9300), Bps(10600), WETH)}), STAKER, NOW).best

    assert inside is not None
    assert outside is not None
    assert inside.gross_bonus < outside.gross_bonus


@pytest.mark.parametrize(("price", "liquidatable"), [(10**11, True), (0, False)])
def test_an_emodes_price_source_prices_the_debt_as_well(price: int, *, liquidatable: bool) -> None:
    modes = {1: Mode(Bps(9300), Bps(10100), PRICE_SOURCE)}

    verdict = AAVE.verdict(market(modes=modes, prices={PRICE_SOURCE: price}), STAKER, NOW)

    assert verdict.liquidatable == liquidatable
    assert verdict.reason == (None if liquidatable else "price unknown")
