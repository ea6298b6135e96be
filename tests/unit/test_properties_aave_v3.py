"""What holds for any account of any version, and what only looks as if it did."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import MAX_UINT256, RAY, Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, V3_0, V3_4, V3_5, V3_7, Engine
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.protocols.aave_v3.math import percent_mul, wad_div
from chimera.protocols.aave_v3.valuation import AccountData, account_data
from tests.fakes_aave_v3 import PROVIDER, RESERVES, USDC, WBTC, WETH, WSTETH, market, standing

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_800_000_000
ASSETS = (WETH, USDC, WBTC, WSTETH)
AVERAGING = {v: engine for v, engine in ENGINES.items() if engine.averages_threshold}
EACH = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
EACH_AVERAGING = pytest.mark.parametrize("engine", AVERAGING.values(), ids=AVERAGING)
SEARCHED = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Case:
    """A borrower, and an asset that is collateral of his and no debt."""

    market: AaveMarket
    account: Account
    held: Address

    def data(self) -> AccountData:
        return account_data(self.market, self.account, NOW)

    def at_price(self, price: int) -> Case:
        return replace(self, market=AAVE.priced(self.market, self.held, price))

    def supplying(self, more: int) -> Case:
        supplied = dict(self.account.supplied)
        supplied[self.held] += more
        return replace(self, account=self.account.but(supplied=supplied))

    def repaying(self, asset: Address, amount: int) -> Case:
        owed, engine = dict(self.account.owed), self.market.engine
        owed[asset] -= engine.debt_burned(amount, self.market.rates[asset].debt_index)
        left = {asset: scaled for asset, scaled in owed.items() if scaled > 0}
        return replace(self, account=self.account.but(owed=left))

    @property
    def highest(self) -> Address:
        """Which of the collaterals has the highest threshold: none is under the average."""
        supplied = [use for use in self.data().uses if use.reserve.asset in self.account.supplied]
        return max(supplied, key=lambda use: use.threshold).reserve.asset


def health(data: AccountData) -> int:
    """As the contract's view answers it: without debt, the largest number there is."""
    return MAX_UINT256 if data.factor is None else data.factor


def with_a_basis_point_more(data: AccountData) -> int:
    """What the view would answer if truncating had taken nothing off the average."""
    if data.debt == 0:
        return MAX_UINT256
    return wad_div(percent_mul(data.collateral, data.threshold + 1), data.debt)


@st.composite
def markets(draw: st.DrawFn, engine: Engine) -> AaveMarket:
    indexes, thresholds = st.integers(RAY, 3 * RAY), st.integers(0, 10_000)
    reserves = {
        asset: replace(
            reserve, configuration=replace(reserve.configuration, threshold=Bps(draw(thresholds)))
        )
        for asset, reserve in RESERVES.items()
    }
    return market(
        engine=engine,
        reserves=reserves,
        rates={a: standing(NOW, income=draw(indexes), debt=draw(indexes)) for a in ASSETS},
        prices={asset: draw(st.integers(1, 10**14)) for asset in ASSETS},
    )


@st.composite
def cases(draw: st.DrawFn, engine: Engine, *, highest: bool = False) -> Case:
    """
    Make up anything from dust to whales, with one collateral or more, in an eMode or not.

    With `highest` the asset that is looked at is the collateral with the highest threshold.
    """
    amounts = st.integers(1, 10**6) | st.integers(1, 10**24)
    supplied = draw(st.dictionaries(st.sampled_from(ASSETS), amounts, min_size=1, max_size=3))
    account = Account(supplied, {}, frozenset(supplied), draw(st.integers(0, 1)))
    case = Case(draw(markets(engine)), account, draw(st.sampled_from(sorted(supplied))))
    if highest:
        case = replace(case, held=case.highest)
    others = st.sampled_from([asset for asset in ASSETS if asset != case.held])
    owed = draw(st.dictionaries(others, amounts, min_size=1, max_size=3))
    return replace(case, account=account.but(owed=owed))


def price_fall(data: st.DataObject, case: Case) -> tuple[AccountData, AccountData]:
    price = case.market.prices[case.held] or 0
    return case.data(), case.at_price(data.draw(st.integers(0, price))).data()


def supply(data: st.DataObject, case: Case) -> tuple[AccountData, AccountData]:
    return case.data(), case.supplying(data.draw(st.integers(1, 10**24))).data()


# --- health never improves when the price of held collateral falls -------------------------------


@EACH
@SEARCHED
@given(data=st.data())
def test_no_falling_price_improves_health(engine: Engine, data: st.DataObject) -> None:
    """Of any collateral since v3.5; before, of one whose threshold is not under the average."""
    case = data.draw(cases(engine, highest=engine.averages_threshold))

    before, after = price_fall(data, case)

    assert health(after) <= health(before)


@EACH_AVERAGING
@SEARCHED
@given(data=st.data())
def test_a_truncated_average_improves_by_less_than_its_basis_point(
    engine: Engine, data: st.DataObject
) -> None:
    before, after = price_fall(data, data.draw(cases(engine)))

    assert health(after) <= with_a_basis_point_more(before)


WHALE = Account({WETH: 10**21, USDC: 10**6}, {WBTC: 10**9}, frozenset({WETH, USDC}))


@pytest.mark.parametrize(("engine", "improves"), [(V3_0, True), (V3_4, True), (V3_5, False)])
def test_up_to_v3_4_a_price_that_falls_to_nothing_can_improve_health(
    engine: Engine, *, improves: bool
) -> None:
    """One USDC under a mountain of WETH: it costs the whole account a basis point."""
    case = Case(market(engine=engine), WHALE, USDC)

    before, after = case.data(), case.at_price(0).data()

    assert (before.threshold, after.threshold) == (8299, 8300)
    assert (health(after) > health(before)) == improves
    assert (health(after) < health(before)) == (not improves)


# --- supplying more of an enabled collateral never lowers it -------------------------------------


@EACH
@SEARCHED
@given(data=st.data())
def test_supplying_more_of_a_collateral_never_lowers_health(
    engine: Engine, data: st.DataObject
) -> None:
    """Of any collateral since v3.5; before, of one whose threshold is not under the average."""
    case = data.draw(cases(engine, highest=engine.averages_threshold))

    before, after = supply(data, case)

    assert health(after) >= health(before)


@EACH_AVERAGING
@SEARCHED
@given(data=st.data())
def test_a_truncated_average_lowers_it_by_less_than_its_basis_point(
    engine: Engine, data: st.DataObject
) -> None:
    before, after = supply(data, data.draw(cases(engine)))

    assert with_a_basis_point_more(after) >= health(before)


@pytest.mark.parametrize(("engine", "lowers"), [(V3_0, True), (V3_4, True), (V3_5, False)])
def test_up_to_v3_4_more_collateral_can_lower_health(engine: Engine, *, lowers: bool) -> None:
    dust = WHALE.but(supplied={**WHALE.supplied, USDC: 1})
    case = Case(market(engine=engine, prices={USDC: 10**5}), dust, USDC)  # worth nothing, so far

    before, after = case.data(), case.supplying(10**6).data()

    assert (before.threshold, after.threshold) == (8300, 8299)
    assert (health(after) < health(before)) == lowers


# --- a repayment never lowers it -----------------------------------------------------------------


@EACH
@SEARCHED
@given(data=st.data())
def test_no_repayment_lowers_health(engine: Engine, data: st.DataObject) -> None:
    case = data.draw(cases(engine))
    asset = data.draw(st.sampled_from(sorted(case.account.owed)))
    all_of_it = engine.owed(case.account.owed[asset], case.market.rates[asset].debt_index)
    amount = data.draw(st.integers(1, all_of_it))

    assert health(case.repaying(asset, amount).data()) >= health(case.data())


@pytest.mark.parametrize("engine", [V3_0, V3_7])
def test_a_repayment_of_everything_leaves_no_factor(engine: Engine) -> None:
    case = Case(market(engine=engine), WHALE, USDC)

    assert case.repaying(WBTC, 10**9).data().factor is None
