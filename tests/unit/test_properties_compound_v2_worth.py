"""The published value of an account in one go is that of the view, in markets of any kind."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import valuation, worth
from chimera.protocols.compound_v2.dialect import COMPOUND, MOONWELL, VENUS, Dialect
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.math import State
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_compound_v2 import (
    M_CBBTC,
    M_USDC,
    M_WETH,
    NOW,
    STATES,
    configured,
    market,
    owing,
)

MTOKENS = (M_WETH, M_USDC, M_CBBTC)
SEARCHED = settings(max_examples=150, deadline=None, derandomize=True)
EACH = pytest.mark.parametrize("dialect", [MOONWELL, COMPOUND, VENUS], ids=lambda one: one.name)

USUAL_PRICES = st.integers(10**14, 10**34)
PRICES = st.just(None) | st.just(0) | st.integers(2**190, 2**256 - 1)
SOUND_STATES = st.builds(
    State,
    cash=st.integers(0, 10**26),
    borrows=st.integers(1, 10**26),
    reserves=st.just(0),
    supply=st.integers(0, 10**18),
    index=st.integers(WAD, 5 * WAD),
    accrued=st.just(NOW),
)
STRANGE_STATES = st.builds(
    State,
    cash=st.none() | st.integers(0, 2**250),
    borrows=st.integers(0, 10**26),
    reserves=st.just(0) | st.just(10**27),
    supply=st.integers(0, 10**18),
    index=st.integers(WAD, 5 * WAD) | st.integers(2**200, 2**256 - 1),
    accrued=st.just(NOW),
)
AMOUNTS = st.integers(1, 10**20) | st.integers(2**120, 2**256 - 1)
FACTORS = st.integers(0, 9 * WAD // 10)


@st.composite
def markets(draw: st.DrawFn, dialect: Dialect) -> CompoundMarket:
    is_sound = draw(st.booleans())
    states = SOUND_STATES if is_sound else SOUND_STATES | STRANGE_STATES
    prices = USUAL_PRICES if is_sound else USUAL_PRICES | PRICES
    listings = [configured(mtoken, factor=draw(FACTORS)) for mtoken in MTOKENS]
    return market(
        dialect=dialect,
        states={mtoken: draw(states) for mtoken in MTOKENS},
        prices={mtoken: draw(prices) for mtoken in MTOKENS},
        listings={mtoken: its for each in listings for mtoken, its in each.items()},
        pools={1: Pool(terms={M_USDC: Terms(draw(FACTORS), WAD)})},
    )


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    amounts = st.dictionaries(st.sampled_from(MTOKENS), AMOUNTS, max_size=3)
    owed, entered = draw(amounts), draw(st.sets(st.sampled_from(MTOKENS)))
    settled = owed.keys() if draw(st.integers(0, 9)) else set[Address]()  # where no index is known
    return Account(
        supplied=draw(amounts),
        owed=owed,
        enabled=frozenset(entered | (owed.keys() if draw(st.booleans()) else set())),
        mode=draw(st.sampled_from([0, 1])),
        marks={mtoken: draw(st.integers(WAD, 5 * WAD)) for mtoken in settled},
    )


@EACH
@SEARCHED
@given(data=st.data())
def test_the_value_in_one_go_is_that_of_the_view(dialect: Dialect, data: st.DataObject) -> None:
    of = data.draw(markets(dialect))
    for account in data.draw(st.lists(accounts(), min_size=1, max_size=9)):
        quick = worth._quickly(of, account)

        event("view" if quick is None else "in one go")
        assert worth.value(of, account) == valuation.value(of, account)
        assert quick in (None, valuation.value(of, account))


def test_ordinary_accounts_are_valued_in_one_go() -> None:
    of = market()
    both = owing({M_WETH: 10**12, M_CBBTC: 10**9}, {M_USDC: 10**9})
    beside = both.but(enabled=frozenset({M_WETH, M_USDC}))
    blank = owing({M_WETH: 10**12}, {M_USDC: 10**9}, entered=[M_CBBTC])
    for account in (both, beside, blank, both.but(mode=1)):
        assert worth._quickly(of, account) == valuation.value(of, account)


@pytest.mark.parametrize(
    "strange",
    [
        market(prices={M_CBBTC: None}),
        market(prices={M_CBBTC: 0}),
        market(prices={M_CBBTC: 2**255}),
        market(states={M_CBBTC: State(None, 0, 0, 10**9, WAD, NOW)}),
    ],
)
def test_what_is_entered_and_out_of_the_ordinary_needs_the_view(strange: CompoundMarket) -> None:
    held = owing({M_WETH: 10**12, M_CBBTC: 10**9}, {M_USDC: 10**9})
    blank = owing({M_WETH: 10**12}, {M_USDC: 10**9}, entered=[M_CBBTC])
    for account in (held, blank):
        assert worth._quickly(strange, account) is None
        assert worth.value(strange, account) == valuation.value(strange, account)


def test_a_debt_without_its_index_and_a_sum_past_256_bits_need_the_view() -> None:
    of = market()
    held = owing({M_WETH: 10**12}, {M_USDC: 10**9})
    huge = 2**255 // (of.prices[M_USDC] or 1) * WAD
    for account in (
        held.but(marks={}),
        owing({M_WETH: 2**250}, {M_USDC: 10**9}),
        owing({M_WETH: 10**12}, {M_USDC: huge}),
        held.but(owed={M_USDC: 2**256 // STATES[M_USDC].index + 1}),
    ):
        assert worth._quickly(of, account) is None
        assert worth.value(of, account) == valuation.value(of, account)
