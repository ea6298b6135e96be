"""Ten thousand accounts a hair's breadth from 1: the screen has to see all that are under it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from chimera.domain.market import Account, Holder
from chimera.domain.numeric import WAD, Wad
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, Quote, Terms, holder_of
from chimera.protocols.morpho_blue.math import ORACLE_SCALE, Totals, to_assets_up
from chimera.protocols.morpho_blue.screen import LEG_BANDS
from chimera.state.screen import Screen
from tests.fakes_morpho_blue import NAME, NOW, SINGLETON, TERMS, TOTALS, at, market

MORPHO = MorphoBlue(name=NAME, address=SINGLETON, from_block=0)
MARKETS, EACH = 20, 500
LATER = NOW + 3600
LLTVS = (385, 625, 770, 860, 915, 945, 965, 980)
SIZES = (1, 10**3, 10**6, 10**12, 10**20, 10**27)
PLACES = ((18, 6), (8, 6), (18, 18), (6, 18), (0, 30))  # decimals of collateral and loan


def made_up(random: Random) -> MorphoMarket:
    """Markets with any shares, prices and thresholds, each with an oracle of its own."""
    terms: dict[Id, Terms] = {}
    totals: dict[Id, Totals] = {}
    quotes = {}
    for number in range(MARKETS):
        lltv = Wad(random.choice(LLTVS) * 10**15)
        each = replace(TERMS, oracle=at(0xF000 + number), lltv=lltv)
        held, lent = random.choice(PLACES)
        scale = 10 ** (36 + lent - held) if lent - held + 36 > 0 else 1
        quotes[each.oracle] = Quote(scale * random.randint(1, 10**6) // random.randint(1, 1000) + 1)
        owed = random.randint(10**20, 10**27)
        terms[each.id] = each
        totals[each.id] = Totals(
            2 * owed, 2 * owed * 10**6, owed, owed * random.randint(3 * 10**5, 10**6), NOW, 0
        )
    return market(
        terms=terms,
        totals=totals,
        targets=dict.fromkeys(terms, 10**9),
        live=tuple(sorted(terms)),
        quotes=quotes,
    )


def at_the_edge(of: MorphoMarket, where: Id, random: Random) -> Account:
    """An account that owes all that it may, give or take a few units."""
    totals, lltv = of.accrued(where, LATER), of.terms[where].lltv
    owed = random.choice(SIZES) * random.randint(1, 1000) + random.randint(0, 3)
    shares = max(1, owed * (totals.borrow_shares + 10**6) // (totals.borrow_assets + 1))
    borrowed = to_assets_up(shares, totals.borrow_assets, totals.borrow_shares)
    price = of.quotes[of.terms[where].oracle].price or 1
    collateral = borrowed * WAD * ORACLE_SCALE // (price * lltv) + random.randint(-2, 2)
    return Account({where: collateral} if collateral > 0 else {}, {where: shares})


def test_of_ten_thousand_at_the_edge_none_is_passed_over() -> None:
    random = Random("morpho")  # noqa: S311  (a seeded life, no secret)
    of = made_up(random)
    accounts: dict[Holder, Account] = {}
    for where in of.terms:
        for number in range(EACH):
            accounts[holder_of(where, at(0xC00000 + number))] = at_the_edge(of, where, random)
    screen = Screen(MORPHO)
    screen.load(accounts)

    seen = set(screen.candidates(screen.weigh(of, LATER)))

    under = {h for h, account in accounts.items() if MORPHO.health(of, account, LATER).is_unhealthy}
    assert len(accounts) == MARKETS * EACH
    assert MARKETS * EACH // 5 < len(under) < MARKETS * EACH * 4 // 5
    assert under <= seen


def test_the_absolute_band_is_as_wide_as_the_rounding_and_needed() -> None:
    """Who owes 2 units against collateral worth 2.99 is under 1 by rounding alone."""
    terms = replace(TERMS, lltv=Wad(99 * 10**16))
    totals = Totals(10**12, 10**18, 10**9, 10**15, NOW, 0)
    of = market(
        price=ORACLE_SCALE,
        terms={terms.id: terms},
        totals={terms.id: totals},
        targets={terms.id: 10**9},
        live=(terms.id,),
    )
    account = Account({terms.id: 2}, {terms.id: 10**6 + 1})
    assert MORPHO.health(of, account, NOW).is_unhealthy  # 1.98 counts as 1, 1.000001 as 2
    (collateral, _), (_, debt) = MORPHO.weights(
        of, [(terms.id, False, 0), (terms.id, True, 0)], NOW
    )

    excess = 2 * collateral - (10**6 + 1) * debt

    assert 0 < excess < sum(LEG_BANDS)
    screen = Screen(MORPHO)
    screen.load({holder_of(terms.id, at(1)): account})
    assert screen.candidates(screen.weigh(of, NOW))


@pytest.mark.parametrize("lltv", [10**15, 10**16, 86 * 10**16])
@pytest.mark.parametrize("bits", [128, 129, 140, 160, 200, 240, 255])
def test_whoever_overflows_is_looked_at(bits: int, lltv: int) -> None:
    terms = replace(TERMS, lltv=Wad(lltv))
    of = market(
        2**bits, terms={terms.id: terms}, totals={terms.id: TOTALS}, live=(terms.id,), targets={}
    )
    account = Account({terms.id: min(2 ** (256 - bits), 2**128 - 1)}, {terms.id: 1})
    assert MORPHO.health(of, account, NOW).error or bits == 128
    screen = Screen(MORPHO)
    holder = holder_of(terms.id, at(1))
    screen.load({holder: account})

    assert screen.candidates(screen.weigh(of, NOW)) == [holder] or bits == 128


def test_a_high_price_alone_is_no_reason_to_look() -> None:
    """A bitcoin of 8 digits in a dollar of 6 is quoted at over 2**128."""
    price = 90_000 * 10 ** (36 + 6 - 8)
    screen = Screen(MORPHO)
    screen.load({holder_of(TERMS.id, at(1)): Account({TERMS.id: 10**8}, {TERMS.id: 10**15})})
    assert price > 2**128

    assert screen.candidates(screen.weigh(market(price), NOW)) == []


def test_two_thousand_markets_fit_into_the_screen() -> None:
    terms = [replace(TERMS, oracle=at(0xF000 + number)) for number in range(2000)]
    of = market(
        terms={each.id: each for each in terms},
        totals={each.id: Totals(10**12, 10**18, 10**9, 10**15, NOW, 0) for each in terms},
        targets={each.id: 10**9 for each in terms},
        live=tuple(sorted(each.id for each in terms)),
        quotes={each.oracle: Quote(ORACLE_SCALE) for each in terms},
    )
    accounts = {
        holder_of(each.id, at(number)): Account({each.id: 10**6 + number}, {each.id: 10**12})
        for number, each in enumerate(terms)
    }
    screen = Screen(MORPHO)
    screen.load(accounts)

    seen = set(screen.candidates(screen.weigh(of, NOW)))

    under = {h for h, account in accounts.items() if MORPHO.health(of, account, NOW).is_unhealthy}
    assert under <= seen
