"""Logs into changes as later versions have them, and upgrades in the middle of a block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.block import Address, Log
from chimera.domain.call import Answer, Call
from chimera.domain.changes import AccountRead, MarketMoved
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Ray
from chimera.errors import Rebuild, Refuse
from chimera.protocols.aave_v3 import calls, events
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import V3_0, V3_4, V3_5, V3_6, V3_7, Engine
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.protocols.aave_v3.math import Rates, normalized_debt, normalized_income
from tests.fakes_aave_v3 import (
    ALICE,
    BLOCK,
    BOB,
    CONFIGURATOR,
    ETH_MODE,
    POOL,
    PROBES,
    PROVIDER,
    RESERVES,
    USDC,
    WBTC,
    WETH,
    ZERO,
    Accounts,
    address,
    batch,
    chain,
    drive,
    log,
    market,
    readings,
    word,
    words,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
A_WETH, V_WETH, V_USDC = (
    RESERVES[WETH].supply_token,
    RESERVES[WETH].debt_token,
    RESERVES[USDC].debt_token,
)
INDEX = 3 * RAY // 2
SENTINEL = address(0x5E)


def moved(token: Address, topic: bytes, user: Address, value: int, increase: int = 0) -> Log:
    """A Mint (to the user) or a Burn (from the user) at an index of 1.5."""
    parties = (address(1), user) if topic == events.MINT else (user, address(1))
    return log(token, topic, *parties, data=[value, increase, INDEX])


def fold(
    accounts: Accounts, of: AaveMarket, *logs: Log, answers: dict[Call, Answer] | None = None
) -> AaveMarket:
    """Apply the logs; return the new market."""
    for change in AAVE.fold(of, accounts, batch(of, *logs, answers=answers)):
        accounts.apply(change)
    assert isinstance(change, MarketMoved)
    assert isinstance(change.market, AaveMarket)
    return change.market


def test_since_v3_5_a_log_is_understood_by_the_balance_before_it() -> None:
    """Of 7 scaled at 1.5 an aToken shows 10, a vToken 11; of 8, both show 12."""
    accounts = Accounts({ALICE: Account({WETH: 7}, {WETH: 7})})

    after = fold(
        accounts,
        market(engine=V3_5),
        moved(A_WETH, events.MINT, ALICE, 2),
        moved(V_WETH, events.MINT, ALICE, 1),
        moved(A_WETH, events.BURN, ALICE, 2),  # the balance within the block counts, too
    )

    assert accounts.get(ALICE) == Account({WETH: 7}, {WETH: 8}, updated_block=BLOCK.number)
    assert after.debt_totals[WETH] == 1


def test_a_balance_that_cannot_have_moved_so_calls_for_a_new_snapshot() -> None:
    accounts = Accounts({ALICE: Account({WETH: 7})})

    with pytest.raises(Rebuild, match="that 7 cannot make"):
        fold(accounts, market(engine=V3_5), moved(A_WETH, events.MINT, ALICE, 1))


def test_the_debt_of_a_stranger_is_counted_from_zero_within_its_first_block() -> None:
    accounts = Accounts(complete=False)
    before = market(engine=V3_6)
    logs = [
        moved(V_WETH, events.MINT, BOB, 11),
        moved(V_WETH, events.MINT, BOB, 1),
        moved(V_WETH, events.BURN, BOB, 3),
        moved(A_WETH, events.MINT, BOB, 10),  # what BOB holds of these, nobody needs to know
    ]
    read = dict.fromkeys(AAVE.needs(before, accounts, BLOCK, logs, readings(before)).calls, word(0))
    read[abi.of_address(V_WETH, calls.SCALED_BALANCE_OF, BOB)] = word(6)
    changes = list(
        AAVE.fold(before, accounts, batch(before, *logs, answers=readings(before) | read))
    )

    assert [type(change) for change in changes] == [AccountRead, MarketMoved]
    assert isinstance(changes[-1], MarketMoved)
    assert isinstance(changes[-1].market, AaveMarket)
    assert changes[-1].market.debt_totals[WETH] == 6


RATES = Rates(Ray(RAY), Ray(2 * RAY), Ray(RAY // 20), Ray(RAY // 10), BLOCK.timestamp - 86_400)


def liquidated(*, in_atokens: bool, collateral: Address = WBTC) -> Log:
    words: list[int | bytes] = [1, 2, BOB, int(in_atokens)]
    return log(POOL, events.LIQUIDATION_CALL, collateral, USDC, ALICE, data=words)


def touched(engine: Engine, told: Log, *, debt: int = 1, rates: Rates = RATES) -> Rates:
    before = replace(market(rates={WBTC: rates}, engine=engine), debt_totals={WBTC: debt, USDC: 0})
    return fold(Accounts(), replace(before, reserves=RESERVES), told).rates[WBTC]


def test_a_liquidation_paid_in_atokens_stores_the_collaterals_indexes_since_v3_5() -> None:
    stored = touched(V3_5, liquidated(in_atokens=True))

    assert stored.updated == BLOCK.timestamp
    assert stored.liquidity_index == normalized_income(RATES, BLOCK.timestamp) > RAY
    compounded = normalized_debt(V3_5.compound, RATES, BLOCK.timestamp)
    assert stored.debt_index == compounded > 2 * RAY
    assert (stored.liquidity_rate, stored.debt_rate) == (RATES.liquidity_rate, RATES.debt_rate)


def test_other_liquidations_store_none_but_those_they_log() -> None:
    assert touched(V3_4, liquidated(in_atokens=True)) == RATES
    assert touched(V3_6, liquidated(in_atokens=False)) == RATES
    assert touched(V3_6, liquidated(in_atokens=True, collateral=address(0xDEAD))) == RATES


def test_indexes_stand_while_nobody_owes_or_earns_and_the_time_moves_all_the_same() -> None:
    idle = replace(RATES, liquidity_rate=Ray(0))

    without_debt = touched(V3_7, liquidated(in_atokens=True), debt=0)
    without_income = touched(V3_7, liquidated(in_atokens=True), rates=idle)

    assert (without_debt.debt_index, without_debt.updated) == (2 * RAY, BLOCK.timestamp)
    assert without_debt.liquidity_index > RAY
    assert (without_income.liquidity_index, without_income.updated) == (RAY, BLOCK.timestamp)


def test_bitmaps_of_emodes_follow_the_configurator_and_survive_an_edit() -> None:
    told = [
        log(CONFIGURATOR, events.COLLATERAL_IN_EMODE_CHANGED, USDC, data=[1, 1]),
        log(CONFIGURATOR, events.COLLATERAL_IN_EMODE_CHANGED, WETH, data=[1, 0]),
        log(CONFIGURATOR, events.BORROWABLE_IN_EMODE_CHANGED, WBTC, data=[1, 1]),
        log(CONFIGURATOR, events.LTVZERO_IN_EMODE_CHANGED, USDC, data=[1, 1]),
        log(CONFIGURATOR, events.COLLATERAL_IN_EMODE_CHANGED, address(0xDEAD), data=[1, 1]),
        log(CONFIGURATOR, events.EMODE_CATEGORY_ADDED, 1, data=[9000, 9400, 10200, ZERO, 160, 0]),
        log(CONFIGURATOR, events.EMODE_CATEGORY_ADDED, 2, data=[9000, 9500, 10300, ZERO, 160, 0]),
    ]

    modes = fold(Accounts(), market(engine=V3_6), *told).modes

    edited = modes[1]
    assert (edited.collateral, edited.borrowable, edited.ltvzero) == (0b1010, 0b0100, 0b0010)
    assert (edited.threshold, edited.bonus) == (9400, 10200)
    assert (modes[2].threshold, modes[2].collateral) == (9500, 0)


def test_an_emode_that_nobody_knew_is_read_with_its_bitmaps() -> None:
    before = market(engine=V3_6, modes={})
    told = log(CONFIGURATOR, events.BORROWABLE_IN_EMODE_CHANGED, USDC, data=[1, 1])
    answers = {**readings(before), **chain(V3_6)}

    needs = AAVE.needs(before, Accounts(), BLOCK, [told], readings(before))
    after = fold(Accounts(), before, told, answers=answers)

    assert len(needs.calls) == 4
    assert after.modes[1] == replace(ETH_MODE, borrowable=0b0011, ltvzero=0b1000)


def test_a_grace_period_begins_and_ends_by_its_logs() -> None:
    begun = log(CONFIGURATOR, events.GRACE_PERIOD_CHANGED, WETH, data=[777])
    ended = log(CONFIGURATOR, events.GRACE_PERIOD_DISABLED, WETH, data=[])
    elsewhere = log(CONFIGURATOR, events.GRACE_PERIOD_CHANGED, address(0xDEAD), data=[777])

    after = fold(Accounts(), market(engine=V3_6), begun, elsewhere)

    assert {asset: r.grace_until for asset, r in after.reserves.items() if r.grace_until} == {
        WETH: 777
    }
    assert fold(Accounts(), after, ended).reserves[WETH].grace_until == 0


@pytest.mark.parametrize("by", ["PriceOracleSentinelUpdated", "AddressSet"])
@pytest.mark.parametrize(("answer", "allowed"), [(0, False), (1, True)])
def test_a_new_sentinel_is_asked_from_its_block_on(by: str, answer: int, *, allowed: bool) -> None:
    told = log(PROVIDER, events.SENTINEL_UPDATED, ZERO, SENTINEL, data=[])
    if by == "AddressSet":
        told = log(PROVIDER, events.ADDRESS_SET, events.SENTINEL_ID, ZERO, SENTINEL, data=[])
    before = market(engine=V3_6)
    asked = abi.plain(SENTINEL, calls.IS_LIQUIDATION_ALLOWED)

    needs = AAVE.needs(before, Accounts(), BLOCK, [told], readings(before))
    after = fold(Accounts(), before, told, answers={**readings(before), asked: word(answer)})

    assert needs.calls == (asked,)
    assert (after.sentinel, after.liquidations_allowed) == (SENTINEL, allowed)
    assert AAVE.polls(after, Accounts(), BLOCK)[-1] == asked
    gone = log(PROVIDER, events.SENTINEL_UPDATED, SENTINEL, ZERO, data=[])
    assert fold(Accounts(), after, gone).liquidations_allowed


# --- upgrades ------------------------------------------------------------------------------------


def upgraded(emitter: Address) -> Log:
    return log(emitter, events.UPGRADED, address(0xF), data=[])


TOKENS = [token for r in RESERVES.values() for token in (r.supply_token, r.debt_token)]
EVERYTHING = [upgraded(POOL), *(upgraded(token) for token in TOKENS)]


def whole(engine: Engine, of: AaveMarket) -> dict[Call, Answer]:
    """All that is asked at an upgrade; a call without an answer reverts."""
    absent: list[Call] = [*PROBES.values(), abi.plain(PROVIDER, calls.GET_PRICE_ORACLE_SENTINEL)]
    absent += [abi.of_number(POOL, calls.GET_EMODE_CATEGORY_DATA, mode) for mode in range(2, 5)]
    return {**readings(of), **dict.fromkeys(absent), **chain(engine)}


def test_an_upgrade_within_the_version_changes_nothing() -> None:
    before = market(engine=V3_6)

    after = fold(Accounts(), before, *EVERYTHING, answers=whole(V3_6, before))

    assert after == before


@pytest.mark.parametrize(("old", "new"), [(V3_0, V3_4), (V3_4, V3_5), (V3_5, V3_7)])
def test_an_upgrade_in_the_middle_reads_the_market_anew(old: Engine, new: Engine) -> None:
    before = replace(market(engine=old), heirs={address(9): WETH})
    asked = dict(readings(before))
    while missing := AAVE.needs(before, Accounts(), BLOCK, EVERYTHING, asked).calls:
        asked |= {call: whole(new, before).get(call) for call in missing}

    after = fold(Accounts(), before, *EVERYTHING, answers=asked)

    assert after == replace(drive(AAVE.read_market(BLOCK), chain(new)), heirs=before.heirs)
    assert after.engine is new


def test_a_token_is_understood_by_the_old_rule_up_to_its_own_upgrade() -> None:
    """5 scaled at 1.2 are 6; 2 more are 8, 6 scaled rounded up, but 2 / 1.2 is nearer to 2."""
    accounts = Accounts({ALICE: Account({}, {WETH: 5, USDC: 5})})
    before = market(engine=V3_4)
    two = [2, 0, 12 * RAY // 10]
    minted = [log(token, events.MINT, ALICE, ALICE, data=two) for token in (V_WETH, V_USDC)]
    at = EVERYTHING.index(upgraded(V_USDC))
    logs = [*EVERYTHING[:at], *minted, *EVERYTHING[at:]]

    fold(accounts, before, *logs, answers=whole(V3_5, before))

    assert accounts.get(ALICE) == Account({}, {WETH: 6, USDC: 7}, updated_block=BLOCK.number)


def test_a_token_that_is_upgraded_twice_in_a_block_calls_for_a_new_snapshot() -> None:
    before = market(engine=V3_4)
    logs = [*EVERYTHING, upgraded(V_USDC)]

    with pytest.raises(Rebuild, match="upgraded twice in one block"):
        fold(Accounts(), before, *logs, answers=whole(V3_5, before))


def test_a_token_that_changes_its_rounding_without_a_log_calls_for_a_new_snapshot() -> None:
    before = market(engine=V3_4)

    with pytest.raises(Rebuild, match="tokens of WETH round otherwise since this block"):
        fold(Accounts(), before, EVERYTHING[0], answers=whole(V3_5, before))


def test_a_reserve_that_is_gone_at_an_upgrade_without_a_log_calls_for_a_new_snapshot() -> None:
    before = market(engine=V3_4)
    listed = words(32, len(RESERVES) - 1, *(asset for asset in RESERVES if asset != WETH))
    lacking = {**whole(V3_5, before), abi.plain(POOL, calls.GET_RESERVES_LIST): listed}
    asked = dict(readings(before))
    while missing := AAVE.needs(before, Accounts(), BLOCK, EVERYTHING, asked).calls:
        asked |= {call: lacking.get(call) for call in missing}

    with pytest.raises(Rebuild, match="WETH has left the list of reserves without a log"):
        fold(Accounts(), before, *EVERYTHING, answers=asked)


def test_an_upgrade_to_what_nobody_knows_is_refused() -> None:
    before = market(engine=V3_7)
    newer = {**whole(V3_7, before), abi.plain(POOL, calls.POOL_REVISION): word(12)}

    with pytest.raises(Refuse, match=r"newer than Aave v3\.7"):
        fold(Accounts(), before, EVERYTHING[0], answers=newer)


def test_since_v3_2_a_new_reserve_has_two_tokens() -> None:
    new, supply, debt = (address(0x100009 + n) for n in range(3))
    told = log(CONFIGURATOR, events.RESERVE_INITIALIZED, new, supply, data=[ZERO, debt, ZERO])
    before = market(engine=V3_6)

    needs = AAVE.needs(before, Accounts(), BLOCK, [told], readings(before))

    assert needs.addresses == {supply, debt}
    assert ZERO not in AAVE.interest(drive(AAVE.read_market(BLOCK), chain(V3_6))).addresses
