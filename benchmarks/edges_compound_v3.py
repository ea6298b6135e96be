"""Accounts of a Comet at the edge of 1, with up to 24 collaterals of any scale and price."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.edges import Scene
from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.errors import Skip
from chimera.protocols.compound_v3 import valuation
from chimera.protocols.compound_v3.adapter import CompoundV3
from chimera.protocols.compound_v3.market import Base, Collateral, CometMarket, Terms
from chimera.protocols.compound_v3.math import INDEX_SCALE, Curve, Indexes, Totals

NOW = 1_800_000_000
EACH = 200
MOST_ASSETS = 24
CURVE = Curve(8 * 10**17, 10**9, 10**11, 10**8)
DEAD = 0.05  # of all feeds, in every third market
ROUND = (10**6, 10**8, 10**18)


def address(number: int) -> Address:
    """Return a made-up address."""
    return Address(number.to_bytes(20, "big"))


COMET, BASE = address(0xC0), address(0xC1)
COMPOUND = CompoundV3(name="compound", address=COMET, from_block=0)


def scenes(random: Random) -> Iterator[Scene]:
    """Yield markets with their borrowers, without end."""
    while True:
        market, time = _made_up(random), NOW + random.choice((0, 2, 86_400))
        people = (address(0x10000 + number) for number in range(EACH))
        accounts = {user: _at_the_edge(market, time, random) for user in people}
        yield Scene(COMPOUND, market, time, accounts)


def _made_up(random: Random) -> CometMarket:
    names = [address(0x100 + place) for place in range(random.choice((1, 3, 12, MOST_ASSETS)))]
    is_round = random.random() < 0.3
    scales = ROUND if is_round else tuple(10**n for n in range(19))
    listed = {
        asset: Collateral(
            asset=asset,
            symbol=f"A{place}",
            offset=place,
            feed=asset,
            scale=random.choice(scales),
            liquidate_factor=random.choice((5_000, random.randint(0, 10_000))) * 10**14,
            liquidation_factor=9 * 10**17,
        )
        for place, asset in enumerate(names)
    }
    prices: dict[Address, int | None] = {
        token: 10**8 if is_round else random.randint(1, 10 ** random.randint(1, 15))
        for token in (BASE, *names)
    }
    if random.random() < 0.33:
        for token in prices:
            if random.random() < DEAD:
                prices[token] = random.choice((None, 0, 1, 2**180, 2**254, 2**256 - 1))
    borrowing = INDEX_SCALE if is_round else random.randint(INDEX_SCALE, 10 * INDEX_SCALE)
    indexes = Indexes(INDEX_SCALE, borrowing)
    base = Base(BASE, "BASE", BASE, random.choice((1, 10**6, 10**8, 10**18)))
    terms = Terms(base, "USD", listed, CURVE, CURVE, 5 * 10**17, 10**30)
    totals = Totals(indexes, 10**15, 8 * 10**14, NOW, 0)
    return CometMarket(COMET, terms, totals, dict.fromkeys(names, 10**30), prices, 10**30)


def _at_the_edge(market: CometMarket, time: int, random: Random) -> Account:
    """Return a debt of what the collateral counts for, give or take some units of principal."""
    listed = market.terms.collaterals
    chosen = random.sample(sorted(listed), random.randint(0, len(listed)))
    supplied = {}
    for asset in chosen:
        price, worth = market.prices[asset] or 1, 10 ** random.randint(0, 18)
        amount = worth * random.randint(1, 10) * listed[asset].scale // price
        supplied[asset] = min(max(1, amount + random.randint(-3, 3)), 2**128 - 1)
    held = Account(supplied=supplied, enabled=frozenset(chosen))
    try:
        counted = valuation.standing(market, held, time).counted
    except Skip:
        counted = 10 ** random.randint(0, 18)
    per_unit = (market.prices[BASE] or 1) * market.indexes(time).borrow
    owed = counted * market.terms.base.scale * INDEX_SCALE // per_unit + random.randint(-4, 4)
    owed = random.choice((owed, owed, owed, owed * random.randint(999, 1001) // 1000))
    return held.but(owed={BASE: min(max(1, owed), 2**103)})
