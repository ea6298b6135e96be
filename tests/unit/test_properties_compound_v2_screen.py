"""Ten thousand accounts within a millionth of 1: the screen has to see all that are under it."""

from __future__ import annotations

from random import Random

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import screen, valuation
from chimera.protocols.compound_v2.dialect import VENUS
from chimera.protocols.compound_v2.market import CompoundMarket, Listing
from chimera.protocols.compound_v2.math import State
from chimera.protocols.compound_v2.pools import Pool, Terms
from chimera.state.screen import Screen
from tests.fakes_compound_v2 import (
    BOB,
    LISTINGS,
    M_CBBTC,
    M_NEW,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    address,
    configured,
    market,
    owing,
)

ASSETS = (M_WETH, M_USDC, M_CBBTC)
MARKETS, EACH = 10, 1_000
A_MILLIONTH = WAD // 10**6


def made_up(random: Random) -> CompoundMarket:
    """Markets with any exchange rates, indexes, prices and factors, and a pool of risk."""
    listings: dict[Address, Listing] = {}
    states, prices = {}, {}
    for mtoken in ASSETS:
        listing = LISTINGS[mtoken]
        listings |= configured(mtoken, factor=random.randrange(WAD // 10, WAD))
        whole = 10**listing.decimals
        states[mtoken] = State(
            cash=random.randrange(10**6 * whole, 10**8 * whole),
            borrows=random.randrange(10**6 * whole),
            reserves=random.randrange(whole),
            supply=random.randrange(10**15, 10**17),
            index=WAD + random.randrange(2 * WAD),
            accrued=NOW,
        )
        dollars = random.randint(1, 5000) * WAD + random.randrange(WAD)
        prices[mtoken] = dollars * WAD // whole
    terms = {mtoken: Terms(random.randrange(WAD // 10, WAD), WAD) for mtoken in ASSETS}
    return market(
        dialect=VENUS, listings=listings, states=states, prices=prices, pools={1: Pool(terms=terms)}
    )


def at_the_edge(of: CompoundMarket, random: Random) -> Account:
    """An account whose debt is all that its collateral allows, give or take a few units."""
    held = random.sample(ASSETS, random.randint(1, 3))
    size = 10 ** random.randint(9, 12)
    supplied = {mtoken: size * random.randint(10**3, 10**4) // 10**3 for mtoken in held}
    account = Account(supplied, {}, frozenset(held), random.randint(0, 1))
    limit = valuation.liquidity(of, account).collateral
    owed, marks = {}, {}
    borrowed = random.sample(ASSETS, random.randint(1, 2))
    for number, mtoken in enumerate(borrowed, 1):
        part = limit if number == len(borrowed) else limit * random.randint(1, 99) // 100
        limit -= part
        price, index = of.prices[mtoken] or 0, of.states[mtoken].index
        marks[mtoken] = WAD + random.randrange(index - WAD + 1)
        debt = part * WAD * marks[mtoken] // (price * index)
        owed[mtoken] = max(1, debt + random.randint(-2, 3))
    return account.but(owed=owed, marks=marks, enabled=frozenset({*held, *borrowed}))


def test_of_ten_thousand_within_a_millionth_of_1_none_is_passed_over() -> None:
    random = Random("compound_v2")  # noqa: S311  (a seeded life, no secret)
    people = [address(0xC00000 + number) for number in range(EACH)]
    under = near = 0
    for _ in range(MARKETS):
        of = made_up(random)
        accounts = {user: at_the_edge(of, random) for user in people}
        looking = Screen(MOONWELL_ON_BASE)
        looking.load(accounts)
        seen = set(looking.candidates(looking.weigh(of, NOW)))
        for user, account in accounts.items():
            factor = valuation.health(of, account).factor
            assert factor is not None
            near += abs(factor - WAD) < A_MILLIONTH
            if factor < WAD:
                under += 1
                assert user in seen

    assert near > MARKETS * EACH * 9 // 10
    assert MARKETS * EACH // 4 < under < MARKETS * EACH * 3 // 4


def test_those_who_are_far_from_1_are_passed_over() -> None:
    rich = owing({M_WETH: 53394615470}, {M_USDC: 10**9})
    looking = Screen(MOONWELL_ON_BASE)
    looking.load({BOB: rich, address(1): rich.but(supplied={})})

    assert looking.candidates(looking.weigh(market(), NOW)) == [address(1)]


def test_a_dead_price_sends_every_member_to_the_exact_integers() -> None:
    """Also those who have nothing there: the view fails for them, too."""
    rich = owing({M_WETH: 53394615470}, {M_USDC: 10**9}, entered=[M_CBBTC])
    looking = Screen(MOONWELL_ON_BASE)
    looking.load({BOB: rich, address(1): rich.but(enabled=frozenset({M_WETH, M_USDC}))})

    for price in (0, None, 2**250):
        of = market(prices={M_CBBTC: price})
        assert looking.candidates(looking.weigh(of, NOW)) == [BOB]
    assert looking.candidates(looking.weigh(market(), NOW)) == []


def test_cells_are_what_counts() -> None:
    account = owing({M_WETH: 5, M_USDC: 7}, {M_USDC: 3}, entered=[M_CBBTC], mode=1)
    account = account.but(enabled=account.enabled - {M_USDC}, marks={M_USDC: 3 * WAD})

    assert dict(MOONWELL_ON_BASE.columns(account)) == {
        (M_WETH, False, 1): 5,
        (M_USDC, True, 1): 10**6,
        (M_CBBTC, True, 1): 1,
    }
    rounded = account.but(owed={M_USDC: 1})
    assert dict(MOONWELL_ON_BASE.columns(rounded))[M_USDC, True, 1] == 333334


def test_a_market_that_is_not_known_is_infinite() -> None:
    columns = [(M_NEW, False, 0), (M_NEW, True, 0), (M_WETH, False, 0), (M_WETH, True, 0)]

    collateral, debt = screen.weights(market(), columns)

    assert collateral[0] == debt[1] == float("inf")
    assert collateral[1] == debt[0] == collateral[3] == debt[2] == 0
    assert 0 < collateral[2] < float("inf")
    assert 0 < debt[3] < float("inf")
    assert screen.weights(market(prices={M_WETH: 10**60}), columns)[1][3] == float("inf")
