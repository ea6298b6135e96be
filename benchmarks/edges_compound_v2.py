"""Accounts of Compound v2 and its forks at the edge of 1, with many legs, in pools of risk, too."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.edges import Scene
from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import valuation
from chimera.protocols.compound_v2.adapter import CompoundV2
from chimera.protocols.compound_v2.dialect import COMPOUND, MOONWELL, VENUS
from chimera.protocols.compound_v2.market import CompoundMarket, Listing
from chimera.protocols.compound_v2.math import State
from chimera.protocols.compound_v2.pools import Pool, Terms

NOW = 1_800_000_000
EACH = 200
DEAD = 0.05  # of all markets, in every third comptroller


def address(number: int) -> Address:
    """Return a made-up address."""
    return Address(number.to_bytes(20, "big"))


COMPTROLLER, ORACLE, MODEL = (address(0xC0 + n) for n in range(3))
ADAPTER = CompoundV2(name="compound", address=COMPTROLLER, from_block=0)


def scenes(random: Random) -> Iterator[Scene]:
    """Yield comptrollers with their borrowers, without end."""
    while True:
        market = _made_up(random)
        people = (address(0x10000 + number) for number in range(EACH))
        accounts = {user: _at_the_edge(market, random) for user in people}
        yield Scene(ADAPTER, market, NOW, accounts)


def _made_up(random: Random) -> CompoundMarket:
    mtokens = [address(0x100000 + n) for n in range(random.choice((1, 3, 8, 20)))]
    is_round, has_dead = random.random() < 0.3, random.random() < 0.33
    listings, states = {}, {}
    prices: dict[Address, int | None] = {}
    for place, mtoken in enumerate(mtokens):
        decimals = 18 if is_round else random.choice((0, 6, 8, 18))
        listings[mtoken] = _listing(mtoken, place, decimals, random)
        states[mtoken] = _state(10**decimals, random, is_round=is_round)
        dollars = WAD if is_round else random.randint(1, 10 ** random.randint(1, 24))
        prices[mtoken] = dollars * WAD // 10**decimals
        if has_dead and random.random() < DEAD:
            prices[mtoken] = random.choice((None, 0, 1, 2**200, 2**255))
        if has_dead and random.random() < DEAD:
            states[mtoken] = random.choice(
                (
                    State(None, 10**9, 0, 10**9, WAD, NOW),
                    State(0, 1, 2, 10**9, WAD, NOW),
                    State(10**9, 0, 0, 0, WAD, NOW),
                )
            )
    terms = {m: Terms(random.randrange(WAD), WAD) for m in mtokens if random.random() < 0.7}
    pools = {1: Pool(terms=terms), 2: Pool(terms=terms, falls_back=True), 3: Pool(is_active=False)}
    return CompoundMarket(
        dialect=random.choice((MOONWELL, COMPOUND, VENUS)),
        comptroller=COMPTROLLER,
        oracle=ORACLE,
        close_factor=WAD // 2,
        incentive=11 * WAD // 10,
        is_paused=False,
        block_number=NOW,
        listings=listings,
        states=states,
        prices=prices,
        pools=pools,
    )


def _listing(mtoken: Address, place: int, decimals: int, random: Random) -> Listing:
    return Listing(
        mtoken=mtoken,
        underlying=address(0x200000 + place),
        symbol=f"T{place}",
        decimals=decimals,
        is_listed=True,
        factor=random.choice((0, WAD // 2, random.randrange(WAD))),
        incentive=11 * WAD // 10,
        reserve_factor=WAD // 10,
        seize_share=0,
        model=MODEL,
        rates=None,
    )


def _state(whole: int, random: Random, *, is_round: bool) -> State:
    if is_round:  # an mToken is worth 1, and debts are what they were
        return State(10**24, 10**24, 0, 2 * 10**24, WAD, NOW)
    return State(
        cash=random.randint(1, 10**8 * whole),
        borrows=random.randint(1, 10**8 * whole),
        reserves=random.randint(0, 1),
        supply=random.randint(1, 10 ** random.randint(3, 18)),
        index=WAD + random.randrange(10 * WAD),
        accrued=NOW,
    )


def _at_the_edge(market: CompoundMarket, random: Random) -> Account:
    """Return an account whose debts are all that its collateral allows, give or take some units."""
    mtokens = sorted(market.listings)
    size = 10 ** random.choice((0, 0, 1, 3, 9, 12, 18, 24))
    held = random.sample(mtokens, random.randint(0, len(mtokens)))
    supplied = {mtoken: size * random.randint(1, 1000) for mtoken in held}
    entered = frozenset(m for m in mtokens if random.random() < (0.95 if m in supplied else 0.1))
    account = Account(supplied, {}, entered, random.choice((0, 0, 0, 1, 2, 3, 9)))
    limit = valuation.liquidity(market, account).collateral or random.randint(0, 10**18)
    owed, marks = {}, {}
    borrowed = random.sample(mtokens, random.randint(1, min(4, len(mtokens))))
    for number, mtoken in enumerate(borrowed, 1):
        part = limit if number == len(borrowed) else limit * random.randint(0, 99) // 100
        index = market.states[mtoken].index
        marks[mtoken] = WAD + random.randrange(index - WAD + 1)
        price = market.prices[mtoken] or 1
        debt = part * WAD * marks[mtoken] // (price * index) + random.randint(-2, 3)
        owed[mtoken] = max(1, debt)
        limit -= min(limit, owed[mtoken] * index // marks[mtoken] * price // WAD)
    inside = entered | frozenset(borrowed) if random.random() < 0.95 else entered
    return account.but(owed=owed, marks=marks, enabled=inside)
