"""The float screen may look at too many, never at too few."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import INDEX_SCALE, Indexes
from chimera.state.screen import Screen
from tests.fakes_compound_v3 import (
    ALICE,
    CBBTC,
    COMPOUND,
    START,
    TERMS,
    USDC,
    WETH,
    account,
    address,
    collateral,
    market,
)

NOW = START.accrued_at + 86_400
MANY = 10_000


def candidates(
    at: CometMarket, accounts: dict[Address, Account], limit: float = 1.0
) -> set[Address]:
    screen = Screen(COMPOUND)
    screen.load(accounts)
    return set(screen.candidates(screen.weigh(at, NOW), limit))


def wide(random: Random) -> CometMarket:
    """A market with all 24 assets, of all scales, at all prices."""
    names = [address(0x100 + place) for place in range(24)]
    listed = {
        asset: replace(
            collateral(place, asset, asset, f"A{place}"),
            scale=10 ** random.randint(0, 18),
            liquidate_factor=random.randint(1, 10_000) * 10**14,
        )
        for place, asset in enumerate(names)
    }
    prices: dict[Address, int | None] = {name: 10 ** random.randint(1, 14) for name in names}
    prices[USDC] = random.randint(10**6, 10**12)
    indexes = Indexes(random.randint(10**15, 10**16), random.randint(10**15, 10**16))
    base = replace(TERMS.base, scale=10 ** random.choice([0, 6, 18]))
    terms = replace(TERMS, base=base, collaterals=listed)
    return market(replace(START, indexes=indexes), terms=terms, prices=prices)


def at_the_edge(random: Random, at: CometMarket) -> Account:
    """Return a debt of what the collateral counts for, give or take some units of principal."""
    chosen = random.sample(sorted(at.terms.collaterals), random.randint(1, 24))
    supplied = {}
    for asset in chosen:
        one, price = at.terms.collaterals[asset], at.prices[asset]
        assert price is not None
        worth = 10 ** random.randint(0, 16)
        supplied[asset] = max(1, worth * one.scale // price + random.randint(-3, 3))
    held = Account(supplied=supplied, enabled=frozenset(supplied))
    counted = sum(
        amount
        * (at.prices[asset] or 0)
        * at.terms.collaterals[asset].liquidate_factor
        // (at.terms.collaterals[asset].scale * WAD)
        for asset, amount in supplied.items()
    )
    per_unit = (at.prices[USDC] or 0) * at.indexes(NOW).borrow
    owed = counted * at.terms.base.scale * INDEX_SCALE // per_unit + random.randint(-4, 60)
    return held.but(owed={USDC: max(owed, 1)})


def test_ten_thousand_accounts_at_the_edge_lose_nobody() -> None:
    random, under, passed = Random(13), 0, 0  # noqa: S311  (a seeded search)
    for _ in range(50):
        at = wide(random)
        accounts = {address(0x10000 + n): at_the_edge(random, at) for n in range(MANY // 50)}
        found = candidates(at, accounts)
        for user, held in accounts.items():
            if COMPOUND.health(at, held, NOW).is_unhealthy:
                under += 1
                assert user in found
            passed += user not in found

    assert under > MANY // 5
    assert passed > 0


def test_a_watch_list_above_one_loses_nobody_either() -> None:
    random, at = Random(14), market()  # noqa: S311  (a seeded search)
    debts = [-random.randint(19 * 10**9, 23 * 10**9) for _ in range(2_000)]
    accounts = {
        address(0x10000 + n): account(debt, weth=10**19 + n) for n, debt in enumerate(debts)
    }

    found = candidates(at, accounts, 1.1)

    for user, held in accounts.items():
        factor = COMPOUND.health(at, held, NOW).factor
        assert factor is not None
        assert factor >= 11 * 10**17 or user in found
    assert len(found) < len(accounts)


def test_the_clearly_healthy_are_passed_over() -> None:
    assert candidates(market(), {ALICE: account(-(10**9), weth=10**19)}) == set()
    assert candidates(market(), {ALICE: account(-(10**12), weth=10**19)}) == {ALICE}


def test_base_supply_and_bits_that_are_not_set_have_no_cell() -> None:
    held = Account(supplied={USDC: 5, WETH: 7, CBBTC: 8}, enabled=frozenset({WETH}), owed={USDC: 9})

    assert dict(COMPOUND.columns(held)) == {(WETH, False, 0): 7, (USDC, True, 0): 9}


def test_what_is_unknown_goes_to_the_integers() -> None:
    rich = {ALICE: account(-1, weth=10**22, cbbtc=1)}
    for at in (
        market(prices={CBBTC: None}),
        market(prices={USDC: None}),
        market(prices={WETH: 2**250}),
        market(replace(START, indexes=Indexes(2**64 - 1, 2**64 - 1))),
        market(terms=replace(TERMS, collaterals={CBBTC: TERMS.collaterals[CBBTC]})),
    ):
        assert candidates(at, rich) == {ALICE}
    assert candidates(market(), rich) == set()
    columns = [(WETH, False, 0), (USDC, True, 0)]
    assert COMPOUND.weights(market(prices={WETH: 10**400}), columns, NOW)[0][0] == math.inf


def test_a_product_that_overflows_is_seen_where_its_factor_is_0() -> None:
    nothing = replace(TERMS.collaterals[CBBTC], liquidate_factor=0)
    terms = replace(TERMS, collaterals={**TERMS.collaterals, CBBTC: nothing})
    rich = account(-1, weth=10**22, cbbtc=2**127)
    for price, why in ((2**130, "a product overflows"), (2**110, None)):
        at = market(terms=terms, prices={CBBTC: price})

        assert COMPOUND.health(at, rich, NOW).error == why
        assert candidates(at, {ALICE: rich}) == ({ALICE} if why else set())
