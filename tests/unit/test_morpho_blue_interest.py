"""Debts with interest, reckoned for all markets at once: as good as the contract's own figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np

from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.market import Column
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, Quote
from chimera.protocols.morpho_blue.math import (
    ADJUSTMENT_SPEED,
    HIGHEST_RATE,
    LN_2,
    LOWEST_RATE,
    ORACLE_SCALE,
    Totals,
)
from chimera.protocols.morpho_blue.screen import DOUBLING, Weigher, _exponential
from tests.fakes_morpho_blue import ID, NOW, OTHER_IRM, TERMS, TOTALS, at, market

LATER = NOW + 10
MARKETS = 400
ENOUGH = 1e-7  # of a debt: RELATIVE_BAND leaves more than twice as much


def columns_of(ids: Sequence[Id]) -> list[Column]:
    return [(where, is_debt, 0) for where in ids for is_debt in (False, True)]


def made_up(random: Random) -> MorphoMarket:
    terms = [replace(TERMS, oracle=at(0xF000 + number)) for number in range(MARKETS)]
    totals = {}
    for one in terms:
        owed = random.randint(1, 10 ** random.randint(9, 37))
        totals[one.id] = Totals(
            supply_assets=owed * random.randint(1000, 3000) // 1000,
            supply_shares=owed,
            borrow_assets=owed,
            borrow_shares=owed * random.randint(1, 10**6),
            updated=LATER - random.choice((0, 1, random.randrange(10 ** random.randint(1, 9)))),
            fee=random.choice((0, 25 * 10**16)),
        )
    targets = {one.id: random.randint(LOWEST_RATE, HIGHEST_RATE) for one in terms}
    return market(
        terms={one.id: one for one in terms},
        totals=totals,
        targets={where: t for where, t in targets.items() if random.random() < 0.9},
        live=tuple(sorted(totals)),
        quotes={one.oracle: Quote(ORACLE_SCALE) for one in terms},
    )


def exact(of: MorphoMarket, where: Id, timestamp: int = LATER) -> float:
    try:
        totals = of.accrued(where, timestamp)
    except Skip:
        return math.inf
    return (totals.borrow_assets + 1) / (totals.borrow_shares + 10**6)


def debts(
    of: MorphoMarket, weigher: Weigher | None = None, *, at_time: int = LATER
) -> dict[Id, float]:
    ids = list(of.terms)
    _, found = (weigher or Weigher()).weights(of, columns_of(ids), at_time)
    return dict(zip(ids, found[1::2].tolist(), strict=True))


def test_every_debt_is_right_to_a_ten_millionth_or_one_unit_too_large() -> None:
    random, compared = Random(21), 0  # noqa: S311  (a seeded search)
    for _ in range(25):
        of = made_up(random)
        for where, weight in debts(of).items():
            true, unit = exact(of, where), 1 / (of.totals[where].borrow_shares + 10**6)
            if math.isinf(true):
                assert math.isinf(weight)
                continue
            compared += 1
            assert true * (1 - ENOUGH) <= weight <= (true + unit) * (1 + ENOUGH)

    assert compared > 5_000


def test_at_the_places_where_the_exponential_jumps_the_exact_figures_count() -> None:
    """Nothing is lent in the market, so that the rate falls at full speed: the error is -1."""
    of, jumps = market(totals={ID: replace(TOTALS, borrow_assets=1, borrow_shares=10**6)}), 0
    for doublings in range(40):
        edge = (2 * doublings + 1) * LN_2 // 2 // ADJUSTMENT_SPEED
        for seconds in range(edge - 2, edge + 4):
            true = exact(of, ID, NOW + seconds)
            weight = debts(of, at_time=NOW + seconds)[ID]
            jumps += 1
            assert abs(weight - true) <= true * ENOUGH + 1 / 10**6
    assert jumps == 240


def test_nobody_is_sure_where_the_exponential_jumps() -> None:
    edges = np.array([(n + 1 / 2) * DOUBLING for n in range(28)])

    for x in (edges, -edges):
        assert not _exponential(x)[1].any()
        assert _exponential(x * (1 + 1e-6))[1].all()
    assert _exponential(np.zeros(1))[1].all()


def test_what_was_weighed_before_changes_nothing() -> None:
    random, weigher = Random(22), Weigher()  # noqa: S311  (a seeded search)
    of = made_up(random)
    for step in range(30):
        where = random.choice(list(of.terms))
        kept, targets = dict(of.totals), dict(of.targets)
        kept[where] = replace(kept[where], borrow_assets=kept[where].borrow_assets + 10**9)
        targets[where] = random.randint(LOWEST_RATE, HIGHEST_RATE)
        changes = (
            {"totals": kept},
            {"targets": targets},
            {"curves": frozenset() if step % 2 else of.curves},
            {"tokens": {} if step % 4 else dict(of.tokens)},
            {"quotes": {one.oracle: Quote(10**36 + step) for one in of.terms.values()}},
            {"terms": dict(list(of.terms.items())[: MARKETS - step])},
        )
        of = replace(of, **random.choice(changes))
        columns = columns_of(list(of.terms))

        again, fresh = (each.weights(of, columns, LATER) for each in (weigher, Weigher()))

        assert [side.tolist() for side in again] == [side.tolist() for side in fresh]


def test_markets_with_other_rates_are_reckoned_exactly() -> None:
    still, told, silent = (replace(TERMS, irm=irm) for irm in (ZERO_ADDRESS, OTHER_IRM, at(0xDEAD)))
    ids = [one.id for one in (still, told, silent)]
    of = market(
        terms=dict(zip(ids, (still, told, silent), strict=True)),
        totals=dict.fromkeys(ids, TOTALS),
        rates={told.id: (LATER, 10**10)},
        targets={},
        live=tuple(sorted(ids)),
    )

    assert debts(of) == {
        still.id: exact(of, still.id),
        told.id: exact(of, told.id),
        silent.id: math.inf,
    }
    assert exact(of, told.id) > exact(of, still.id)
    outside = replace(of, terms={ID: TERMS}, totals={ID: TOTALS}, targets={ID: HIGHEST_RATE + 1})
    assert debts(outside) == {ID: exact(outside, ID)}


def test_a_market_that_a_rollback_took_away_weighs_infinitely() -> None:
    gone = replace(TERMS, irm=OTHER_IRM).id

    collateral, debt = Weigher().weights(market(), columns_of([ID, gone]), LATER)

    assert collateral.tolist()[2] == debt.tolist()[3] == math.inf
    assert collateral.tolist()[1] == debt.tolist()[0] == collateral.tolist()[3] == 0
    assert 0 < collateral.tolist()[0] < math.inf
