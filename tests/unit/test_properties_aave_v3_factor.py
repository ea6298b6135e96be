"""The health factor alone is that of the whole view, in any market, for any account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps, Ray
from chimera.errors import Skip
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, V3_0, V3_1, V3_5, V3_6, Engine
from chimera.protocols.aave_v3.factor import factor, legs_of
from chimera.protocols.aave_v3.market import AaveMarket, Mode, vacant
from chimera.protocols.aave_v3.math import OVERFLOWS, Rates
from tests.fakes_aave_v3 import (
    PRICE_SOURCE,
    PROVIDER,
    RESERVES,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    ZERO,
    address,
    configured,
    market,
    standing,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_800_000_000
ASSETS = (WETH, USDC, WBTC, WSTETH)
GONE = address(0x100099)  # dropped; USDC has its bit since
BITS = (*ASSETS, GONE, vacant(2), vacant(99))
EACH = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
SEARCHED = settings(max_examples=60, deadline=None, derandomize=True)

AMOUNTS = (
    st.integers(1, 10**6)
    | st.integers(10**15, 10**24)
    | st.integers(2**120, 2**128)
    | st.integers(2**240, 2**256 - 1)
)
PRICES = st.sampled_from([None, 0, 1]) | st.integers(1, 10**14) | st.integers(2**200, 2**256 - 1)
THRESHOLDS = st.sampled_from([0, 1, 10_000]) | st.integers(0, 10_000)
RATES = st.builds(
    Rates,
    st.integers(RAY, 3 * RAY).map(Ray),
    st.integers(RAY, 3 * RAY).map(Ray),
    st.integers(0, RAY).map(Ray),
    st.integers(0, RAY).map(Ray),
    st.sampled_from([NOW, NOW - 1, NOW - 2]) | st.integers(NOW - 10**8, NOW),
)


@st.composite
def markets(draw: st.DrawFn, engine: Engine) -> AaveMarket:
    """Any market: dead prices, eModes with and without a source, bits that were another's."""
    reserves = {}
    for asset, reserve in RESERVES.items():
        terms = replace(
            reserve.configuration,
            threshold=Bps(draw(THRESHOLDS)),
            decimals=draw(st.sampled_from([0, 2, 6, 8, 18, 27])),
            mode=draw(st.integers(0, 2)),
        )
        reserves[asset] = replace(reserve, configuration=terms)
    modes = {
        number: Mode(
            Bps(draw(THRESHOLDS)),
            Bps(10_100),
            draw(st.sampled_from([ZERO, PRICE_SOURCE])),
            collateral=draw(st.integers(0, 15)),
        )
        for number in (1, 2)
    }
    made = market(
        engine=engine,
        reserves=reserves,
        rates={asset: draw(RATES) for asset in ASSETS},
        modes=modes,
        prices={source: draw(PRICES) for source in (*ASSETS, PRICE_SOURCE)},
    )
    return replace(made, dropped={GONE: 1}, heirs={GONE: USDC, vacant(2): WBTC})


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    legs = st.dictionaries(st.sampled_from(ASSETS), AMOUNTS, max_size=4)
    enabled = st.frozensets(st.sampled_from(BITS))  # also of what is not held
    return Account(draw(legs), draw(legs), draw(enabled), draw(st.integers(0, 3)))


def fast(pool: AaveMarket, account: Account, timestamp: int = NOW) -> tuple[int | None, str | None]:
    try:
        return AAVE.factor(pool, account, timestamp), None
    except Skip as reverts:
        return None, str(reverts)


def slow(pool: AaveMarket, account: Account, timestamp: int = NOW) -> tuple[int | None, str | None]:
    health = AAVE.health(pool, account, timestamp)
    return health.factor, health.error


@EACH
@SEARCHED
@given(data=st.data())
def test_the_factor_alone_is_that_of_the_view(engine: Engine, data: st.DataObject) -> None:
    pool, some = data.draw(markets(engine)), data.draw(st.lists(accounts(), min_size=1, max_size=9))
    for account in some:
        found = fast(pool, account)

        event(str(found[1])[:8] if found[1] else "a factor" if found[0] else str(found[0]))
        assert found == slow(pool, account)


# --- what is remembered --------------------------------------------------------------------------

BORROWER = Account({WETH: 10**18, USDC: 10**9}, {WBTC: 10**6}, frozenset({WETH, GONE}), 1)
"""The bit of what is gone is USDC's in some of the markets below."""


def test_what_is_remembered_of_a_market_is_not_taken_for_another() -> None:
    first = market()
    fast(first, BORROWER)
    listed = configured(WETH, mode=0)
    seconds = {asset: standing(NOW - 9, income=2 * RAY, debt=3 * RAY) for asset in ASSETS}
    others = [
        first.moved(prices={**first.prices, WETH: 7}),
        first.moved(rates=seconds),
        replace(first, reserves=listed),
        replace(first, modes={}),
        replace(first, heirs={GONE: USDC}),
        replace(first, engine=V3_6),
        AAVE.priced(first, WBTC, 1),
    ]

    found = [fast(other, BORROWER) for other in others]

    assert found == [slow(other, BORROWER) for other in others]
    assert len({fast(first, BORROWER), *found}) == 1 + len(others)


def test_what_is_remembered_of_a_second_is_not_taken_for_another() -> None:
    growing = Rates(Ray(RAY), Ray(RAY), Ray(RAY // 50), Ray(RAY // 10), NOW)
    pool = market(rates=dict.fromkeys(ASSETS, growing))
    times = (NOW, NOW + 2, NOW, NOW + 86_400, NOW + 2)

    assert [fast(pool, BORROWER, time) for time in times] == [
        slow(pool, BORROWER, time) for time in times
    ]


def test_shapes_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimera.protocols.aave_v3.market.MOST_PLANS", 5)
    pool = market()
    for mode in range(7):
        legs_of(pool, Account({}, {WETH: 1}, mode=mode).shape)

    assert sum(len(plans) for plans in pool._lasting.values()) == 2


# --- why there is none ---------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [V3_0, V3_1, V3_5])
@pytest.mark.parametrize(
    ("prices", "amount", "why"),
    [
        ({WETH: None, WBTC: None}, 1, "price of WETH reverts"),
        ({WETH: 2**255, WBTC: None}, 2, OVERFLOWS),
        ({WETH: 1, WBTC: None}, 2**255, "price of WBTC reverts"),
    ],
)
def test_the_reason_is_the_first_in_the_order_of_the_contract(
    engine: Engine, prices: dict[Address, int | None], amount: int, why: str
) -> None:
    pool = market(engine=engine, prices=prices)
    account = Account({WETH: amount}, {WBTC: 1}, frozenset({WETH}))

    with pytest.raises(Skip, match=why):
        factor(pool, account, NOW)

    assert slow(pool, account) == (None, why)
