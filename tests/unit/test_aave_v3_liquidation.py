"""What `liquidationCall` allows: the best pair at the contract's limits, and every refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import Address
from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import V3_0, V3_1, V3_3, V3_5, V3_6, V3_7, Engine
from chimera.protocols.aave_v3.market import AaveMarket, Mode, Reserve
from tests.fakes_aave_v3 import (
    ETH_MODE,
    PRICE_SOURCE,
    PROVIDER,
    RESERVES,
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
    prices: dict[Address, int],
    income: dict[Address, int],
    debt: dict[Address, int],
    engine: Engine = V3_0,
) -> AaveMarket:
    rates = {
        asset: standing(NOW, income=income.get(asset, 10**27), debt=debt.get(asset, 10**27))
        for asset in (WETH, USDC, WBTC)
    }
    return market(prices=prices, rates=rates, engine=engine)


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


@pytest.mark.parametrize("engine", [V3_0, V3_3, V3_5, V3_7])
def test_a_collateral_without_a_bonus_cannot_be_seized(engine: Engine) -> None:
    ruined = Account({WETH: 10**18}, {USDC: 10**13}, frozenset({WETH}))
    listed = configured(WETH, bonus=Bps(0))

    verdict = AAVE.verdict(market(reserves=listed, engine=engine), ruined, NOW)

    assert verdict == Verdict(liquidatable=False, reason="no liquidation bonus")


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


@pytest.mark.parametrize(
    ("engine", "seized", "factor_after"),
    [
        (V3_6, 4285454542962020831, 1065027356562149608),
        (V3_7, 4285454542962020829, 1065027356562149608),
    ],
)
def test_half_of_the_debt_is_half_of_the_position_since_v3_3(
    engine: Engine, seized: int, factor_after: int
) -> None:
    """AV-6."""
    pool = at_the_limits(
        {WETH: 230012345678},
        {WETH: 1000020607986354672675857937},
        {USDC: 1000099651213711171688209907},
        engine,
    )
    account = Account({WETH: 9567912536054977492}, {USDC: 18865663787}, frozenset({WETH}))
    left = 5262042161219680415 + (engine is V3_7)
    after = Account({WETH: left}, {USDC: 9432831894}, frozenset({WETH}))

    best = AAVE.verdict(pool, account, NOW).best

    assert best is not None
    assert (best.max_repay, best.seize) == (9433771887, seized)
    assert AAVE.health(pool, after, NOW).factor == factor_after


@pytest.mark.parametrize(
    ("engine", "debt", "supplied", "owed", "repaid"),
    [
        (
            V3_6,
            1000442310788255615332141262,
            118215334,
            24000442020134294757,
            19988106294045195787,
        ),
        (
            V3_7,
            1000442310788255615332141260,
            118215335,
            24000442020134294757,
            19988106463127375042,
        ),
    ],
)
def test_a_collateral_that_limits_the_repayment_rounds_it_up_since_v3_5(
    engine: Engine, debt: int, supplied: int, owed: int, repaid: int
) -> None:
    """AV-9."""
    pool = at_the_limits({WBTC: 5453124680135}, {}, {WETH: debt}, engine)
    account = Account({WBTC: supplied}, {WETH: owed}, frozenset({WBTC}))

    best = AAVE.verdict(pool, account, NOW).best

    assert best is not None
    assert (best.max_repay, best.seize) == (repaid, 117390576)


def in_danger(price: int) -> Account:
    """2,100 USDC and 800 wstETH-dollars owed against WETH, just under 1 at this price of it."""
    supplied = 2_900 * 10**8 * 10**18 * 10_000 // (8_300 * price) * 997 // 1000
    dollars = {USDC: 2_100 * 10**14 // 99987654, WSTETH: 800 * 10**26 // 367012345601}
    return Account({WETH: supplied}, dollars, frozenset({WETH}))


@pytest.mark.parametrize("engine", [V3_3, V3_5, V3_6, V3_7])
def test_a_repayment_that_would_leave_dust_shrinks_until_it_leaves_exactly_enough(
    engine: Engine,
) -> None:
    """Half of 2,900 would leave 650 of the 2,100: 1,100 is the most that leaves 1,000."""
    pool = market(engine=engine)
    account = in_danger(300012345678)
    pool = replace(pool, reserves={**pool.reserves, **paused(WSTETH)})

    best = AAVE.verdict(pool, account, NOW).best

    assert best is not None
    assert best.debt_asset == USDC
    left = engine.debt_value(account.owed[USDC] - best.max_repay, 99987654, 10**6)
    one_more = engine.debt_value(account.owed[USDC] - best.max_repay - 1, 99987654, 10**6)
    assert one_more < 1_000 * 10**8 <= left


def test_up_to_v3_2_dust_may_stay() -> None:
    account = in_danger(300012345678)
    pool = market(reserves={**market().reserves, **paused(WSTETH)}, engine=V3_1)

    best = AAVE.verdict(pool, account, NOW).best

    assert best is not None
    assert best.max_repay == (account.owed[USDC] + 1) // 2


def paused(asset: Address) -> dict[Address, Reserve]:
    return {asset: configured(asset, is_paused=True)[asset]}


@pytest.mark.parametrize("asset", [WETH, WBTC])
def test_a_grace_period_protects_both_sides_until_it_has_passed(asset: Address) -> None:
    def verdict(until: int) -> Verdict:
        reserves = {**RESERVES, asset: replace(RESERVES[asset], grace_until=until)}
        pool = market(reserves=reserves, engine=V3_6)
        return AAVE.verdict(pool, Account({WBTC: 10**6}, {WETH: 10**18}, frozenset({WBTC})), NOW)

    assert verdict(NOW - 1).liquidatable
    assert verdict(NOW) == Verdict(liquidatable=False, reason="grace period")


@pytest.mark.parametrize(
    ("price", "allowed", "reason"),
    [
        (2_400, True, None),
        (2_400, False, "sentinel"),  # 0.9960
        (2_289, False, None),  # 0.9499
    ],
)
def test_a_sentinel_protects_whom_it_may_from_95_percent_on(
    price: int, reason: str | None, *, allowed: bool
) -> None:
    pool = market(prices={WETH: price * 10**8, USDC: 10**8}, engine=V3_6)
    pool = replace(pool, sentinel=PRICE_SOURCE, liquidations_allowed=allowed)
    account = Account({WETH: 10**19}, {USDC: 20_000 * 10**6}, frozenset({WETH}))

    assert AAVE.verdict(pool, account, NOW).reason == reason


def test_an_emode_lists_its_collateral_in_a_bitmap_since_v3_2() -> None:
    account = Account({WSTETH: 10**18}, {WETH: 2 * 10**18}, frozenset({WSTETH}), mode=1)
    without = market(modes={1: replace(ETH_MODE, collateral=0b0001)}, engine=V3_6)

    inside = AAVE.verdict(market(engine=V3_6), account, NOW).best
    outside = AAVE.verdict(without, account, NOW).best

    assert inside is not None
    assert outside is not None
    assert inside.gross_bonus < outside.gross_bonus


def test_figures_that_overflow_in_the_contract_are_no_liquidation() -> None:
    pool = market(prices={WETH: 2**170, WBTC: 2**170 * 1000}, engine=V3_6)
    account = Account({WBTC: 10**6}, {WETH: 10**19}, frozenset({WBTC}))

    assert AAVE.health(pool, account, NOW).is_unhealthy
    assert AAVE.verdict(pool, account, NOW).reason == "figures overflow"
