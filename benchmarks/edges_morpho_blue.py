"""Positions of Morpho Blue at the edge of 1, in markets of any scale, some without a price."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.edges import Scene
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Account, Token
from chimera.domain.numeric import WAD, Wad
from chimera.errors import Skip
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, Quote, Terms, holder_of
from chimera.protocols.morpho_blue.math import (
    HIGHEST_RATE,
    LOWEST_RATE,
    MAX_UINT128,
    ORACLE_SCALE,
    Totals,
    to_assets_up,
)

NOW = 1_800_000_000
MARKETS, EACH = 40, 25
LLTVS = tuple(Wad(n * 10**13) for n in (0, 1, 100, 38500, 62500, 77000, 86000, 94500, 98000, 99999))
SIZES = (1, 1, 10**3, 10**6, 10**12, 10**20, 10**27)
ELAPSED = (0, 2, 12, 3600, 86_400, 30 * 86_400, 3 * 365 * 86_400)
DEAD = 0.05  # of all oracles
REVERTS = "the oracle reverts"


def address(number: int) -> Address:
    """Return a made-up address."""
    return Address(number.to_bytes(20, "big"))


SINGLETON, LOAN, COLLATERAL, CURVE, STRANGE = (address(0xE0 + n) for n in range(5))
MORPHO = MorphoBlue(name="morpho", address=SINGLETON, from_block=0)


def scenes(random: Random) -> Iterator[Scene]:
    """Yield markets with their borrowers, without end."""
    while True:
        market, time = _made_up(random), NOW + 1
        yield Scene(
            MORPHO,
            market,
            time,
            {
                holder_of(where, address(0xB00000 + number)): _at_the_edge(
                    market, where, time, random
                )
                for where in market.terms
                for number in range(EACH)
            },
        )


def _made_up(random: Random) -> MorphoMarket:
    terms: dict[Id, Terms] = {}
    totals: dict[Id, Totals] = {}
    targets: dict[Id, int] = {}
    quotes: dict[Address, Quote] = {}
    rates: dict[Id, tuple[int, int | None]] = {}
    for number in range(MARKETS):
        irm = random.choice((CURVE, CURVE, CURVE, CURVE, STRANGE, ZERO_ADDRESS))
        oracle = address(0xF000 + number)
        one = Terms(LOAN, COLLATERAL, oracle, irm, random.choice(LLTVS))
        terms[one.id] = one
        totals[one.id] = _totals(random)
        if random.random() < 0.9:
            targets[one.id] = random.choice((LOWEST_RATE, HIGHEST_RATE, 10**9, 13 * 10**8 + 7))
        quotes[oracle] = _quote(random)
        if irm == STRANGE and random.random() < 0.8:
            rates[one.id] = NOW + 1, random.choice((None, 0, 10**9, 10**11))
    return MorphoMarket(
        singleton=SINGLETON,
        chosen=None,
        fee_recipient=ZERO_ADDRESS,
        terms=terms,
        irms=frozenset({CURVE, STRANGE}),
        totals=totals,
        targets=targets,
        curves=frozenset({CURVE}),
        rates=rates,
        live=tuple(sorted(terms)),
        quotes=quotes,
        tokens={LOAN: Token("LOAN", 6), COLLATERAL: Token("COLL", 18)},
    )


def _totals(random: Random) -> Totals:
    owed = random.choice((1, 10**3, 10**12, 10**20, 10**27, 10**31, MAX_UINT128 // 10**6 - 1))
    owed = random.randint(owed // 2 + 1, owed)
    lent = min(MAX_UINT128, owed * random.randint(1000, 5000) // 1000)
    return Totals(
        supply_assets=lent,
        supply_shares=min(MAX_UINT128, lent * random.randint(5 * 10**5, 10**6)),
        borrow_assets=owed,
        borrow_shares=owed * random.randint(3 * 10**5, 10**6),
        updated=NOW + 1 - random.choice(ELAPSED) - random.choice((0, 0, random.randrange(10**6))),
        fee=random.choice((0, 0, 10**17, 25 * 10**16)),
    )


def _quote(random: Random) -> Quote:
    if random.random() < DEAD:
        return random.choice((Quote(None, REVERTS), Quote(0), Quote(2**200), Quote(2**129)))
    if random.random() < 0.2:
        return Quote(ORACLE_SCALE)
    return Quote(10 ** random.randint(20, 50) * random.randint(1, 10**6) // 10**3)


def _at_the_edge(market: MorphoMarket, where: Id, time: int, random: Random) -> Account:
    """Return a position that owes all that it may, give or take a few units."""
    price, lltv = market.quotes[market.terms[where].oracle].price or 1, market.terms[where].lltv
    try:
        totals = market.accrued(where, time)
    except Skip:
        totals = market.totals[where]
    owed = random.choice(SIZES) * random.randint(1, 1000) + random.randint(0, 3)
    shares = max(1, owed * (totals.borrow_shares + 10**6) // (totals.borrow_assets + 1))
    shares = min(shares + random.randint(-1, 1), MAX_UINT128) or 1
    borrowed = to_assets_up(shares, totals.borrow_assets, totals.borrow_shares)
    collateral = borrowed * WAD * ORACLE_SCALE // (price * lltv or 1) + random.randint(-2, 2)
    collateral = min(max(0, collateral), MAX_UINT128)
    return Account({where: collateral}, {where: shares})
