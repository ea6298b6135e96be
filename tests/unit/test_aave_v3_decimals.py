"""Tokens with no decimals at all, and with more than any contract expects."""

from __future__ import annotations

import math

import pytest

from chimera.domain.market import Account
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import V3_0, V3_6, Engine
from tests.fakes_aave_v3 import PROVIDER, USDC, WETH, configured, market

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_803_988_039
THREE_AT_200_USD_AT_83_PERCENT_AGAINST_100_USD = 4_980_000_000_000_000_000


@pytest.mark.parametrize("engine", [V3_0, V3_6], ids=["3.0", "3.6"])
@pytest.mark.parametrize("decimals", [0, 2, 18, 30])
def test_a_token_counts_by_its_whole_units_whatever_their_decimals(
    decimals: int, engine: Engine
) -> None:
    prices: dict[bytes, int] = {WETH: 200 * 10**8, USDC: 10**8}
    of = market(prices=prices, reserves=configured(WETH, decimals=decimals), engine=engine)  # type: ignore[arg-type]
    account = Account({WETH: 3 * 10**decimals}, {USDC: 100 * 10**6}, frozenset({WETH}))

    valuation = AAVE.value(of, account, NOW)

    assert valuation.health.factor == THREE_AT_200_USD_AT_83_PERCENT_AGAINST_100_USD
    assert [(leg.amount, leg.value) for leg in valuation.collateral] == [
        (3 * 10**decimals, 600 * 10**8)
    ]
    (weight,), _ = AAVE.weights(of, [(WETH, False, 0)], NOW)
    screened = weight * 3 * 10**decimals
    assert screened == math.inf or 600e8 * 0.8298 < screened < 600e8 * 0.8301
