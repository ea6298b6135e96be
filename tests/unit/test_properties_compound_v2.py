"""What always holds of health and of liquidations, searched for counterexamples."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.health import Pair
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.protocols.compound_v2 import liquidation, math, valuation
from chimera.protocols.compound_v2.market import CompoundMarket, Listing
from chimera.protocols.compound_v2.math import RateModel, State
from tests.fakes_compound_v2 import (
    M_CBBTC,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    configured,
    market,
)

MTOKENS = (M_WETH, M_USDC, M_CBBTC)
SEARCH = settings(max_examples=200, deadline=None, derandomize=True)

STATES = st.builds(
    State,
    cash=st.integers(0, 10**26),
    borrows=st.integers(1, 10**26),
    reserves=st.just(0),
    supply=st.integers(1, 10**18),
    index=st.integers(WAD, 5 * WAD),
    accrued=st.integers(NOW - 10**7, NOW),
)
PRICES = st.integers(10**14, 10**34)
BALANCES = st.dictionaries(st.sampled_from(MTOKENS), st.integers(10**6, 10**20), min_size=2)
MODELS = st.builds(
    RateModel,
    base=st.integers(0, 10**10),
    multiplier=st.integers(0, 10**11),
    jump=st.integers(0, 10**12),
    kink=st.integers(0, WAD),
)


@st.composite
def markets(draw: st.DrawFn) -> CompoundMarket:
    model = draw(MODELS)
    listings: dict[Address, Listing] = {}
    for mtoken in MTOKENS:
        factor = draw(st.integers(0, 9 * WAD // 10))
        listings |= configured(mtoken, factor=factor, rates=model)
    return market(
        states={mtoken: draw(STATES) for mtoken in MTOKENS},
        prices={mtoken: draw(PRICES) for mtoken in MTOKENS},
        listings=listings,
    )


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    supplied, owed = draw(BALANCES), draw(BALANCES)
    entered = draw(st.sets(st.sampled_from(MTOKENS)))
    return Account(
        supplied=supplied,
        owed=owed,
        enabled=frozenset(entered | owed.keys()),
        marks={mtoken: draw(st.integers(WAD, 5 * WAD)) for mtoken in owed},
    )


def factor(of: CompoundMarket, account: Account) -> int:
    found = MOONWELL_ON_BASE.health(of, account, NOW).factor
    assume(found is not None)
    assert found is not None
    return found


def without_debt(account: Account, mtoken: Address) -> Account:
    owed = {m: amount for m, amount in account.owed.items() if m != mtoken}
    return account.but(owed=owed, marks={m: account.marks[m] for m in owed})


def without_supply(account: Account, mtoken: Address) -> Account:
    held = {m: balance for m, balance in account.supplied.items() if m != mtoken}
    return account.but(supplied=held)


def repriced(of: CompoundMarket, mtoken: Address, price: int) -> CompoundMarket:
    return replace(of, prices={**of.prices, mtoken: price})


@SEARCH
@given(of=markets(), account=accounts(), mtoken=st.sampled_from(MTOKENS), part=st.integers(1, 999))
def test_health_never_improves_when_a_collateral_becomes_cheaper(
    of: CompoundMarket, account: Account, mtoken: Address, part: int
) -> None:
    account = without_debt(account, mtoken)
    before = factor(of, account)
    price = of.prices[mtoken] or 0

    assert factor(repriced(of, mtoken, max(1, price * part // 1000)), account) <= before


@SEARCH
@given(of=markets(), account=accounts(), more=st.integers(1, 10**6))
def test_health_never_improves_when_a_debt_becomes_dearer(
    of: CompoundMarket, account: Account, more: int
) -> None:
    mtoken = next(iter(account.owed))
    account = without_supply(account, mtoken)
    before = factor(of, account)
    price = of.prices[mtoken] or 0

    assert factor(repriced(of, mtoken, price + price * more // 10**6 + 1), account) <= before


@SEARCH
@given(of=markets(), account=accounts(), part=st.integers(1, 100))
def test_a_repayment_never_harms(of: CompoundMarket, account: Account, part: int) -> None:
    before = factor(of, account)
    mtoken = next(iter(account.owed))
    index = of.states[mtoken].index
    owed = valuation.owed_at(account, mtoken, index)
    left = owed - owed * part // 100
    repaid = account.but(
        owed={**account.owed, mtoken: left},
        marks={**account.marks, mtoken: index},
    )

    after = MOONWELL_ON_BASE.health(of, repaid, NOW)

    assert after.factor is None or after.factor >= before


@SEARCH
@given(
    of=markets(),
    account=accounts(),
    mtoken=st.sampled_from(MTOKENS),
    more=st.integers(1, 10**20),
)
def test_more_collateral_never_harms(
    of: CompoundMarket, account: Account, mtoken: Address, more: int
) -> None:
    before = factor(of, account)
    held = account.supplied.get(mtoken, 0)
    richer = account.but(supplied={**account.supplied, mtoken: held + more})

    assert factor(of, richer) >= before


@SEARCH
@given(of=markets(), account=accounts())
def test_the_factor_is_under_one_exactly_when_there_is_a_shortfall(
    of: CompoundMarket, account: Account
) -> None:
    told = valuation.liquidity(of, account)

    assert MOONWELL_ON_BASE.health(of, account, NOW).is_unhealthy == (told.shortfall > 0)


@SEARCH
@given(of=markets(), account=accounts())
def test_the_best_pair_is_accepted_as_it_stands_and_never_one_unit_more(
    of: CompoundMarket, account: Account
) -> None:
    best: Pair | None = None
    for debt in account.owed:
        for collateral in account.supplied:
            try:
                case = liquidation.case(of, account, debt, collateral, NOW)
            except Skip:
                continue
            pair = case.pair()
            if isinstance(pair, Pair):
                assert case.returns(pair.max_repay) == liquidation.DONE
                assert case.returns(pair.max_repay + 1) != liquidation.DONE
                best = max(best or pair, pair, key=lambda one: one.gross_bonus)
            else:
                is_done = case.returns(case.close_limit()) == liquidation.DONE
                assert not is_done or pair == liquidation.TOO_LITTLE

    assert MOONWELL_ON_BASE.verdict(of, account, NOW).best == best


@SEARCH
@given(state=STATES, model=MODELS, factor=st.integers(0, WAD), time=st.integers(0, 10**7))
def test_interest_only_ever_adds(state: State, model: RateModel, factor: int, time: int) -> None:
    rate = math.borrow_rate(model, state.cash, state.borrows, state.reserves)
    assume(rate <= math.MAX_BORROW_RATE)

    after = math.accrued(state, factor, rate, state.accrued + time)

    interest = after.borrows - state.borrows
    assert 0 <= after.reserves - state.reserves <= interest
    assert after.index >= state.index
    assert math.exchange_rate(after) >= math.exchange_rate(state)


@SEARCH
@given(
    principal=st.integers(0, 10**30),
    mark=st.integers(WAD, 10 * WAD),
    grown=st.integers(0, 10 * WAD),
)
def test_a_debt_settled_on_the_way_is_at_most_a_unit_short(
    principal: int, mark: int, grown: int
) -> None:
    """What a snapshot without the stored words loses: at most one unit, rescaled."""
    index = mark + grown
    middle = mark + grown // 2

    straight = math.borrow_balance(principal, mark, index)
    settled = math.borrow_balance(math.borrow_balance(principal, mark, middle), middle, index)

    assert 0 <= straight - settled <= -(-index // middle)
