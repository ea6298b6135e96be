"""Logs into changes: one trap of the contracts per test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.domain import abi
from chimera.domain.block import Address, Log
from chimera.domain.call import Answer, Call
from chimera.domain.changes import Change, Liquidated, MarketMoved
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps
from chimera.errors import Rebuild, Refuse
from chimera.protocols.aave_v3 import calls, events
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import AaveMarket, Mode, vacant
from tests.fakes_aave_v3 import (
    ALICE,
    BLOCK,
    BOB,
    CONFIGURATOR,
    ORACLE,
    POOL,
    PRICE_SOURCE,
    PROVIDER,
    RESERVES,
    UNTOUCHED,
    USDC,
    WETH,
    WSTETH,
    ZERO,
    Accounts,
    address,
    batch,
    log,
    market,
    readings,
    word,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
A_WETH, V_WETH = RESERVES[WETH].supply_token, RESERVES[WETH].debt_token
NEW = address(0x100009)
NEW_TOKENS = (address(0x20000A), address(0x40000A), address(0x30000A))  # aToken, stable, vToken


def moved(token: Address, topic: bytes, user: Address, value: int, increase: int = 0) -> Log:
    """A Mint (to the user) or a Burn (from the user) at an index of 1."""
    parties = (address(1), user) if topic == events.MINT else (user, address(1))
    return log(token, topic, *parties, data=[value, increase, RAY])


def fold(
    accounts: Accounts,
    *logs: Log,
    of: AaveMarket | None = None,
    answers: dict[Call, Answer] | None = None,
) -> tuple[AaveMarket, list[Change]]:
    """Apply the logs; return the new market and all other changes."""
    *changes, last = list(_applied(accounts, of or market(), logs, answers))
    assert isinstance(last, MarketMoved)
    assert isinstance(last.market, AaveMarket)
    return last.market, changes


def _applied(
    accounts: Accounts,
    of: AaveMarket,
    logs: tuple[Log, ...],
    answers: dict[Call, Answer] | None,
) -> list[Change]:
    changes = []
    for change in AAVE.fold(of, accounts, batch(of, *logs, answers=answers)):
        accounts.apply(change)
        changes.append(change)
    return changes


def held(accounts: Accounts, user: Address) -> Account:
    account = accounts.get(user)
    assert account is not None
    return account


def test_mint_and_burn_move_supply_and_debt_of_whom_they_concern() -> None:
    accounts = Accounts()

    after, _ = fold(
        accounts,
        moved(A_WETH, events.MINT, ALICE, 100),
        moved(A_WETH, events.BURN, ALICE, 30),
        moved(V_WETH, events.MINT, ALICE, 50),
        moved(V_WETH, events.BURN, ALICE, 20, 5),
    )

    assert held(accounts, ALICE).supplied == {WETH: 70}
    assert held(accounts, ALICE).owed == {WETH: 25}
    assert after.debt_totals[WETH] == 25


def test_a_mint_of_less_than_the_interest_is_a_burn() -> None:
    accounts = Accounts({ALICE: Account({WETH: 100}, {WETH: 100})})

    fold(
        accounts,
        moved(A_WETH, events.MINT, ALICE, 10, 30),
        moved(V_WETH, events.MINT, ALICE, 10, 15),
        moved(A_WETH, events.MINT, ALICE, 7, 7),  # a note of interest beside a transfer
    )

    assert held(accounts, ALICE).supplied == {WETH: 80}
    assert held(accounts, ALICE).owed == {WETH: 95}


def test_a_balance_transfer_is_scaled_already_and_may_go_to_oneself() -> None:
    accounts = Accounts({ALICE: Account({WETH: 100})})
    to_bob = log(A_WETH, events.BALANCE_TRANSFER, ALICE, BOB, data=[40, 2 * RAY])
    to_herself = log(A_WETH, events.BALANCE_TRANSFER, ALICE, ALICE, data=[60, 2 * RAY])

    fold(accounts, to_bob, to_herself)

    assert held(accounts, ALICE).supplied == {WETH: 60}
    assert held(accounts, BOB).supplied == {WETH: 40}


def test_collateral_bits_and_emodes_follow_the_logs_alone() -> None:
    accounts = Accounts()

    fold(
        accounts,
        log(POOL, events.COLLATERAL_ENABLED, WETH, ALICE, data=[]),
        log(POOL, events.COLLATERAL_ENABLED, USDC, ALICE, data=[]),
        log(POOL, events.COLLATERAL_DISABLED, WETH, ALICE, data=[]),
        log(POOL, events.USER_EMODE_SET, ALICE, data=[1]),
    )

    assert held(accounts, ALICE).enabled == {USDC}
    assert held(accounts, ALICE).mode == 1


def test_the_last_rates_of_a_block_stand_with_the_blocks_time() -> None:
    updated = [
        log(POOL, events.RESERVE_DATA_UPDATED, WETH, data=[n, 99, n + 1, RAY + n, RAY + 2 * n])
        for n in (1, 2)
    ]

    after, _ = fold(Accounts(), *updated)

    rates = after.rates[WETH]
    assert (rates.liquidity_rate, rates.debt_rate, rates.updated) == (2, 3, BLOCK.timestamp)
    assert (rates.liquidity_index, rates.debt_index) == (RAY + 2, RAY + 4)
    assert after.rates[USDC] == UNTOUCHED


def test_prices_are_those_of_the_end_of_the_block_and_may_be_missing() -> None:
    before = market()
    answers = readings(replace(before, prices={**before.prices, WETH: 7, USDC: None}))

    after, changes = fold(Accounts(), of=before, answers=answers)

    assert after.prices[WETH] == 7
    assert after.prices[USDC] is None
    assert changes == []


def test_a_liquidation_is_told_with_its_user() -> None:
    told = log(POOL, events.LIQUIDATION_CALL, WETH, USDC, ALICE, data=[1, 2, BOB, 0])

    assert fold(Accounts(), told)[1] == [Liquidated(ALICE)]


def test_logs_of_another_pool_change_nothing() -> None:
    stranger = address(0xDEAD)
    enabled = log(stranger, events.COLLATERAL_ENABLED, WETH, ALICE, data=[])

    _, changes = fold(Accounts(), enabled, moved(stranger, events.MINT, ALICE, 5))

    assert changes == []


def test_terms_follow_the_configurator() -> None:
    after, _ = fold(
        Accounts(),
        log(CONFIGURATOR, events.COLLATERAL_CONFIGURATION_CHANGED, WETH, data=[8000, 8250, 10600]),
        log(CONFIGURATOR, events.LIQUIDATION_PROTOCOL_FEE_CHANGED, WETH, data=[1000, 2000]),
        log(CONFIGURATOR, events.RESERVE_PAUSED, WETH, data=[1]),
        log(CONFIGURATOR, events.RESERVE_ACTIVE, WETH, data=[0]),
        log(CONFIGURATOR, events.EMODE_ASSET_CATEGORY_CHANGED, WETH, data=[1, 0]),
    )

    terms = after.reserves[WETH].configuration
    assert (terms.threshold, terms.bonus, terms.protocol_fee) == (8250, 10600, 2000)
    assert (terms.is_paused, terms.is_active, terms.mode) == (True, False, 0)
    assert after.reserves[WSTETH] == RESERVES[WSTETH]


def mode_added(source: Address) -> Log:
    label_offset, label = 160, 0
    data: list[int | bytes] = [9000, 9500, 10200, source, label_offset, label]
    return log(CONFIGURATOR, events.EMODE_CATEGORY_ADDED, 1, data=data)


def test_an_edited_emode_takes_over_and_its_new_price_source_is_asked_for() -> None:
    before, added = market(), mode_added(PRICE_SOURCE)

    needs = AAVE.needs(before, Accounts(), BLOCK, [added], readings(before))
    after, _ = fold(Accounts(), added, answers=readings(before, PRICE_SOURCE))

    assert needs.calls[-1] == abi.of_address(ORACLE, calls.GET_ASSET_PRICE, PRICE_SOURCE)
    bitmaps = (before.modes[1].collateral, 0, 0)
    assert after.modes[1] == Mode(Bps(9500), Bps(10200), PRICE_SOURCE, *bitmaps)
    assert after.prices[PRICE_SOURCE] == 1


@pytest.mark.parametrize("by", ["PriceOracleUpdated", "AddressSet"])
def test_a_new_oracle_is_asked_for_every_price_at_once(by: str) -> None:
    before, oracle = market(), address(0xA9)
    told = log(PROVIDER, events.PRICE_ORACLE_UPDATED, ORACLE, oracle, data=[])
    if by == "AddressSet":
        told = log(PROVIDER, events.ADDRESS_SET, events.PRICE_ORACLE_ID, ORACLE, oracle, data=[])
    moved_to = replace(before, oracle=oracle, prices={**before.prices, WETH: 5})
    base = {
        abi.plain(oracle, calls.BASE_CURRENCY): word(0),
        abi.plain(oracle, calls.BASE_CURRENCY_UNIT): word(10**8),
    }
    known = readings(before)

    needs = AAVE.needs(before, Accounts(), BLOCK, [told], known)
    then = AAVE.needs(before, Accounts(), BLOCK, [told], {**known, **base})
    after, _ = fold(Accounts(), told, answers={**readings(moved_to), **base})

    assert set(needs.calls) == set(base)
    assert set(then.calls) == set(AAVE.polls(moved_to, Accounts(), BLOCK))
    assert (after.oracle, after.prices[WETH]) == (oracle, 5)


def listed() -> tuple[Log, Log]:
    supply, stable, debt = NEW_TOKENS
    words: list[int | bytes] = [
        ZERO,
        ZERO,
        8,
        192,
        224,
        256,
    ]  # and the places of three texts that nobody reads
    initialized = log(supply, events.ATOKEN_INITIALIZED, NEW, POOL, data=words)
    told = log(
        CONFIGURATOR, events.RESERVE_INITIALIZED, NEW, supply, data=[stable, debt, address(9)]
    )
    return initialized, told


SYMBOL = {abi.plain(NEW, calls.SYMBOL): b"NEW".ljust(32, b"\0")}  # a bytes32 of an old token


def test_a_new_reserve_first_needs_the_logs_of_its_tokens_and_its_price() -> None:
    initialized, told = listed()
    heard = [
        initialized,
        *(
            log(token, events.DEBT_TOKEN_INITIALIZED, NEW, POOL, data=[0] * 5)
            for token in NEW_TOKENS[1:]
        ),
    ]
    before = market()

    first = AAVE.needs(before, Accounts(), BLOCK, [told], readings(before))
    then = AAVE.needs(before, Accounts(), BLOCK, [*heard, told], {**readings(before), **SYMBOL})

    assert first.addresses == set(NEW_TOKENS)
    assert first.calls == (*SYMBOL,)
    assert then.addresses == frozenset()
    assert then.calls == (abi.of_address(ORACLE, calls.GET_ASSET_PRICE, NEW),)


def test_a_new_reserve_counts_from_its_own_block_on() -> None:
    before, accounts = market(), Accounts()
    minted = moved(NEW_TOKENS[0], events.MINT, ALICE, 10)

    after, _ = fold(accounts, *listed(), minted, answers={**readings(before, NEW), **SYMBOL})

    reserve = after.reserves[NEW]
    assert (reserve.symbol, reserve.bit, reserve.unit) == ("NEW", 4, 10**8)
    assert held(accounts, ALICE).supplied == {NEW: 10}
    assert not AAVE.needs(after, accounts, BLOCK, [minted], readings(after))
    assert NEW_TOKENS[2] in AAVE.interest(after).addresses


def test_a_new_reserve_takes_the_lowest_free_bit_and_what_users_left_in_it() -> None:
    accounts = Accounts({ALICE: Account({NEW: 5}, {}, frozenset({USDC, vacant(9)}))})
    dropped = log(CONFIGURATOR, events.RESERVE_DROPPED, USDC, data=[])
    disabled = log(POOL, events.COLLATERAL_DISABLED, NEW, ALICE, data=[])
    before = market()
    answers = {**readings(before, NEW), **SYMBOL}

    after, _ = fold(accounts, dropped, *listed(), of=before, answers=answers)
    heirs = {after.reserve_of_bit(asset) for asset in held(accounts, ALICE).enabled}
    fold(accounts, disabled, of=after)

    assert after.reserves[NEW].bit == RESERVES[USDC].bit
    assert USDC not in after.reserves
    assert heirs == {after.reserves[NEW], None}
    assert held(accounts, ALICE).enabled == {vacant(9)}


def test_an_asset_listed_again_under_another_bit_calls_for_a_new_snapshot() -> None:
    before = replace(market(), dropped={NEW: 77})

    with pytest.raises(Rebuild, match="NEW was listed again"):
        fold(Accounts(), *listed(), of=before, answers={**readings(before, NEW), **SYMBOL})


def test_a_reserve_without_a_log_of_its_token_calls_for_a_new_snapshot() -> None:
    before = market()

    with pytest.raises(Rebuild, match="without a log"):
        fold(Accounts(), listed()[1], answers={**readings(before, NEW), **SYMBOL})


def test_a_log_that_is_cut_short_calls_for_a_new_snapshot() -> None:
    whole = log(RESERVES[WETH].debt_token, events.MINT, ALICE, ALICE, data=[5, 0, RAY])
    short_data = structs.replace(whole, data=whole.data[:-1])
    short_topics = structs.replace(whole, topics=whole.topics[:-1])

    for cut in (short_data, short_topics):
        with pytest.raises(Rebuild, match="does not decode"):
            AAVE.needs(market(), Accounts(), BLOCK, [cut], {})
    assert AAVE.needs(market(), Accounts({ALICE: Account()}), BLOCK, [whole], {}).calls == ()


@pytest.mark.parametrize(
    "told",
    [
        log(A_WETH, events.MINT, BOB, ALICE, data=[5, 0, 0]),
        log(V_WETH, events.BURN, ALICE, BOB, data=[5, 0, 0]),
        log(POOL, events.RESERVE_DATA_UPDATED, WETH, data=[1, 0, 1, 0, RAY]),
        log(POOL, events.RESERVE_DATA_UPDATED, WETH, data=[1, 0, 1, RAY, 0]),
    ],
)
def test_an_index_of_zero_calls_for_a_new_snapshot(told: Log) -> None:
    later = log(POOL, events.RESERVE_DATA_UPDATED, WETH, data=[1, 0, 1, RAY, RAY])

    with pytest.raises(Rebuild, match="an index in it is 0"):
        AAVE.needs(market(), Accounts(), BLOCK, [told, later], readings(market()))
    with pytest.raises(Rebuild, match="an index in it is 0"):
        fold(Accounts(), told)


def test_a_loan_at_a_stable_rate_is_refused() -> None:
    stable = log(
        RESERVES[WETH].stable_debt_token, events.STABLE_DEBT_MINT, ALICE, ALICE, data=[0] * 6
    )

    with pytest.raises(Refuse, match="WETH at a stable rate"):
        fold(Accounts(), stable)


def test_where_not_everybody_is_followed_strangers_are_ignored() -> None:
    accounts = Accounts({ALICE: Account({WETH: 50})}, complete=False)
    to_bob = log(A_WETH, events.BALANCE_TRANSFER, ALICE, BOB, data=[40, RAY])

    after, _ = fold(accounts, to_bob, moved(V_WETH, events.BURN, BOB, 3))

    assert held(accounts, ALICE).supplied == {WETH: 10}
    assert accounts.get(BOB) is None
    assert after.debt_totals[WETH] == -3  # the total is everybody's


def test_a_strangers_first_debt_is_read_as_it_is_at_the_end_of_the_block() -> None:
    accounts = Accounts(complete=False)
    before = market()
    logs = [moved(V_WETH, events.MINT, BOB, 7), moved(A_WETH, events.MINT, BOB, 3)]

    needs = AAVE.needs(before, accounts, BLOCK, logs, readings(before))
    read = dict.fromkeys(needs.calls, word(0))
    read[abi.of_address(V_WETH, calls.SCALED_BALANCE_OF, BOB)] = word(7)
    read[abi.of_address(A_WETH, calls.SCALED_BALANCE_OF, BOB)] = word(90)
    read[abi.of_address(POOL, calls.GET_USER_CONFIGURATION, BOB)] = word(0b11)
    after, changes = fold(accounts, *logs, answers={**readings(before), **read})

    assert len(needs.calls) == 2 + 2 * len(RESERVES)
    assert len(changes) == 1
    expected = Account({WETH: 90}, {WETH: 7}, frozenset({WETH}), 0, BLOCK.number)
    assert accounts.get(BOB) == expected
    assert after.debt_totals[WETH] == 7


def test_a_quiet_block_needs_nothing() -> None:
    assert not AAVE.needs(market(), Accounts(complete=False), BLOCK, [], readings(market()))
