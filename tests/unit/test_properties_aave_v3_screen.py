"""Ten thousand accounts of each version within a millionth of 1: the screen has to see them all."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from chimera.domain.market import Account
from chimera.domain.numeric import BPS, RAY, WAD, Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, Engine
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.protocols.aave_v3.valuation import account_data
from chimera.state.screen import Screen
from tests.fakes_aave_v3 import (
    PROVIDER,
    RESERVES,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    address,
    market,
    standing,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_800_000_000
ASSETS = (WETH, USDC, WBTC, WSTETH)
MARKETS, EACH = 10, 1_000
A_MILLIONTH = WAD // 10**6


def made_up(engine: Engine, random: Random) -> AaveMarket:
    """A pool with any indexes, prices and thresholds."""
    reserves = {}
    for asset, reserve in RESERVES.items():
        terms = replace(reserve.configuration, threshold=Bps(random.randrange(1, 10_000)))
        reserves[asset] = replace(reserve, configuration=terms)
    return market(
        engine=engine,
        reserves=reserves,
        rates={
            asset: standing(
                NOW, income=RAY + random.randrange(2 * RAY), debt=RAY + random.randrange(2 * RAY)
            )
            for asset in ASSETS
        },
        prices={
            asset: 10**8 * random.randint(1, 5000) + random.randrange(10**8) for asset in ASSETS
        },
    )


def at_the_edge(pool: AaveMarket, random: Random) -> Account:
    """An account whose debt is all that its collateral allows, give or take a few units."""
    held = random.sample(ASSETS, random.randint(1, 4))
    size = 10 ** random.randint(6, 10)
    supplied = {a: size * random.randint(10**3, 10**4) * RESERVES[a].unit // 10**3 for a in held}
    account = Account(supplied, {}, frozenset(held), random.randint(0, 1))
    data = account_data(pool, account, NOW)
    counted = data.collateral * data.threshold
    limit = (counted if pool.engine.averages_threshold else data.weighted) // BPS
    owed = {}
    borrowed = random.sample(ASSETS, random.randint(1, 2))
    for number, asset in enumerate(borrowed, 1):
        part = limit if number == len(borrowed) else limit * random.randint(1, 99) // 100
        limit -= part
        price, index = pool.prices[asset] or 0, pool.rates[asset].debt_index
        debt = part * RESERVES[asset].unit * RAY // (price * index)
        owed[asset] = max(1, debt + random.randint(-2, 3))
    return account.but(owed=owed)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_of_ten_thousand_within_a_millionth_of_1_none_is_passed_over(engine: Engine) -> None:
    random = Random(engine.version)  # noqa: S311  (a seeded life, no secret)
    people = [address(0xC00000 + number) for number in range(EACH)]
    under = 0
    for _ in range(MARKETS):
        pool = made_up(engine, random)
        accounts = {user: at_the_edge(pool, random) for user in people}
        screen = Screen(AAVE)
        screen.load(accounts)
        seen = set(screen.candidates(screen.weigh(pool, NOW)))
        for user, account in accounts.items():
            factor = account_data(pool, account, NOW).factor
            assert factor is not None
            assert abs(factor - WAD) < A_MILLIONTH
            if factor < WAD:
                under += 1
                assert user in seen

    assert MARKETS * EACH // 4 < under < MARKETS * EACH * 3 // 4
