from __future__ import annotations

import pytest

from chimera.domain.health import Health, Step
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Bps
from chimera.pricing.explanation import explanation
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import Mode
from tests import fakes_aave_v3 as aave
from tests.fakes_state import USDC, WETH, FakeAdapter, FakeMarket

SAFE = Account(supplied={WETH: 10}, owed={USDC: 700})
MARKET = FakeMarket({WETH: 1000, USDC: 10})
ADAPTER = FakeAdapter()


def steps_of(account: Account, market: FakeMarket = MARKET) -> dict[str, str]:
    return {step.name: step.value for step in explanation(ADAPTER, market, account, 0)}


def at(**prices: int) -> Health:
    market = FakeMarket({WETH: prices.get("weth", 1000), USDC: prices.get("usdc", 10)})
    return ADAPTER.health(market, SAFE, 0)


def test_each_leg_names_the_price_at_which_it_turns_the_account() -> None:
    found = steps_of(SAFE)
    weth, usdc = (ADAPTER.tokens(MARKET)[asset].symbol for asset in (WETH, USDC))

    assert found[f"{weth} turns at"] == "0.00000875 USD (-12.5000 %), under 1 below it"
    assert found[f"{usdc} turns at"] == "0.00000011 USD (+10.0000 %), under 1 above it"
    assert at(weth=875).factor == WAD
    assert at(weth=874).is_unhealthy
    assert not at(usdc=11).is_unhealthy
    assert at(usdc=12).is_unhealthy


def test_the_arithmetic_comes_first_and_a_healthy_account_has_no_best_pair() -> None:
    found = explanation(ADAPTER, MARKET, SAFE, 0)

    assert found[0] == ADAPTER.explain(MARKET, SAFE, 0)[0]
    assert not any(step.name == "best pair" for step in found)


def test_an_account_under_1_has_its_best_pair_and_the_way_back() -> None:
    fallen = FakeMarket({WETH: 800, USDC: 10})
    weth, usdc = (ADAPTER.tokens(fallen)[asset].symbol for asset in (WETH, USDC))

    found = steps_of(SAFE, fallen)

    assert found["best pair"] == f"repay 350 {usdc}, seize 7 {weth}"
    assert found["bonus of the best pair"] == "1.23456789 USD before costs"
    assert found[f"{weth} turns at"] == "0.00000875 USD (+9.3750 %), under 1 below it"


def test_an_account_that_no_price_saves_says_never() -> None:
    bare = Account(owed={USDC: 700})
    usdc = ADAPTER.tokens(MARKET)[USDC].symbol

    assert steps_of(bare)[f"{usdc} turns at"] == "never: no price of it alone does"


@pytest.mark.parametrize("account", [Account(supplied={WETH: 1}), Account()])
def test_without_debt_no_price_matters(account: Account) -> None:
    assert not [name for name in steps_of(account) if name.endswith("turns at")]


def test_a_dead_price_leaves_nothing_to_turn() -> None:
    found = explanation(ADAPTER, FakeMarket({WETH: 0, USDC: 10}), SAFE, 0)

    assert found == [Step("health_factor", "None")]


def test_the_price_source_of_an_emode_turns_its_members_and_nobody_else() -> None:
    modes = {1: Mode(Bps(9300), Bps(10100), aave.PRICE_SOURCE)}
    pool = aave.market(modes=modes, prices={aave.PRICE_SOURCE: 2000 * 10**8})
    adapter = AaveV3(name="aave", address=aave.PROVIDER, from_block=0)
    outside = Account({aave.WETH: 10**19}, {aave.USDC: 15_000 * 10**6}, frozenset({aave.WETH}))
    source = f"0x{aave.PRICE_SOURCE.hex()} turns at"

    ordinary, member = (
        {step.name: step.value for step in explanation(adapter, pool, account, 1)}
        for account in (outside, outside.but(mode=1))
    )

    assert source not in ordinary
    assert "USD (" in ordinary["WETH turns at"]
    assert member["WETH turns at"] == "never: no price of it alone does"
    turn = int(member[source].partition(" USD (-")[0].replace(".", ""))
    factors = [
        adapter.health(adapter.priced(pool, aave.PRICE_SOURCE, price), outside.but(mode=1), 1)
        for price in (turn, turn - 1)
    ]
    assert [health.is_unhealthy for health in factors] == [False, True]
