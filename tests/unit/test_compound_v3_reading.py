"""What is read of a Comet, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account
from chimera.errors import Refuse
from chimera.protocols.compound_v3 import calls, events
from chimera.protocols.compound_v3.adapter import CompoundV3
from tests.fakes_compound_v3 import (
    ALICE,
    BOB,
    CAROL,
    CBBTC,
    COMET,
    COMPOUND,
    START,
    USDC,
    USDC_FEED,
    WETH,
    FakeComet,
    account,
    block_at,
    log,
    market,
    minted,
    string,
    supplied,
    word,
)

NOW = START.accrued_at + 3600


def chain(**accounts: Account) -> FakeComet:
    users = {"alice": ALICE, "bob": BOB, "carol": CAROL}
    return FakeComet(market(cash=5), NOW, {users[name]: held for name, held in accounts.items()})


def test_a_market_is_read_as_it_stands() -> None:
    comet = chain()

    assert comet.ask(COMPOUND.read_market(block_at(NOW))) == comet.market
    comet.ask(COMPOUND.prove())


def test_a_dead_feed_does_not_stop_the_reading() -> None:
    comet = chain()
    comet.market = market(prices={CBBTC: None})

    assert comet.ask(COMPOUND.read_market(block_at(NOW))).prices[CBBTC] is None


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Call(COMET, calls.NUM_ASSETS), None),
        (Call(COMET, calls.BASE_TOKEN), b""),
        (Call(COMET, calls.NUM_ASSETS), word(25)),
        (Call(COMET, calls.BASE_INDEX_SCALE), word(10**18)),
        (Call(COMET, calls.FACTOR_SCALE), word(10**27)),
        (Call(COMET, calls.PRICE_SCALE), word(10**18)),
        (Call(COMET, calls.BASE_SCALE), word(0)),
        (Call(COMET, calls.TOTALS_BASIC), word(1) * 7),
        (abi.of_number(COMET, calls.GET_ASSET_INFO, 1), word(1) * 7),
        (abi.of_number(COMET, calls.GET_ASSET_INFO, 0), word(1) * 8),  # another offset
        (abi.of_number(COMET, calls.GET_ASSET_INFO, 0), word(0) * 8),  # no scale
        (abi.of_number(COMET, calls.GET_ASSET_INFO, 1), b"".join(map(word, range(1, 9)))),
    ],
)
def test_what_is_no_comet_is_refused(call: Call, answer: Answer) -> None:
    comet = chain()
    comet.answers[call] = answer
    if len(answer or b"") == 8 * 32 and answer != word(1) * 8 and answer != word(0) * 8:
        comet.answers[abi.of_number(COMET, calls.GET_ASSET_INFO, 0)] = b"".join(
            map(word, (0, *range(2, 9)))
        )
        comet.answers[Call(abi.as_address(2), calls.SYMBOL)] = string("TWICE")

    with pytest.raises(Refuse, match="Comet"):
        comet.ask(COMPOUND.prove())


@pytest.mark.parametrize("selector", [calls.TOTAL_SUPPLY, calls.TOTAL_BORROW])
def test_code_that_accrues_otherwise_is_refused(selector: bytes) -> None:
    comet = chain()
    real = int.from_bytes(comet.answer(Call(COMET, selector)) or b"", "big")
    comet.answers[Call(COMET, selector)] = word(real + 1)

    with pytest.raises(Refuse, match="accrue"):
        comet.ask(COMPOUND.read_market(block_at(NOW)))


def test_interest_that_overflows_does_so_in_the_contract() -> None:
    comet = chain()
    full = replace(START, indexes=replace(START.indexes, borrow=2**64 - 1))
    comet.market = market(full)
    for selector in (calls.TOTAL_SUPPLY, calls.TOTAL_BORROW):
        comet.answers[Call(COMET, selector)] = None

    assert comet.ask(COMPOUND.read_market(block_at(NOW))).totals == full


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (string("MKR"), "MKR"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (None, "0x00000000"),
        (b"", "0x00000000"),
        (string("a\nb"), "0x00000000"),
    ],
)
def test_tokens_say_their_symbol_in_three_ways_or_not_at_all(answer: Answer, symbol: str) -> None:
    comet = chain()
    comet.answers[Call(WETH, calls.SYMBOL)] = answer

    terms = comet.ask(COMPOUND.read_market(block_at(NOW))).terms

    assert terms.collaterals[WETH].symbol == symbol


@pytest.mark.parametrize(
    ("described", "currency"),
    [("USDC / USD", "USD"), ("wstETH / ETH", "ETH"), ("constant", "quote of USDC")],
)
def test_the_base_feed_tells_the_currency(described: str, currency: str) -> None:
    comet = chain()
    comet.answers[Call(USDC_FEED, calls.DESCRIPTION)] = string(described)

    assert comet.ask(COMPOUND.read_market(block_at(NOW))).terms.currency == currency


# --- accounts -------------------------------------------------------------------------------------


def test_accounts_are_read_by_their_bitmaps() -> None:
    comet = chain(alice=account(-5, weth=3, cbbtc=4), bob=account(7))
    block = block_at(NOW, 123)

    found = comet.ask(COMPOUND.read_accounts(comet.market, [ALICE, BOB, CAROL], block))

    assert found[ALICE].supplied == {WETH: 3, CBBTC: 4}
    assert found[ALICE].owed == {USDC: 5}
    assert found[ALICE].enabled == {WETH, CBBTC}
    assert found[BOB] == Account(supplied={USDC: 7}, updated_block=123)
    assert CAROL not in found
    comet.accounts[CAROL] = account(weth=1)
    found = comet.ask(COMPOUND.read_accounts(comet.market, [CAROL], block))
    assert found[CAROL].supplied == {WETH: 1}


def test_nobody_is_asked_for_nobody() -> None:
    comet = chain()

    assert comet.ask(COMPOUND.read_accounts(comet.market, [], block_at(NOW))) == {}


def test_holders_show_up_in_the_logs_of_discovery() -> None:
    at = market()
    logs = [
        minted(ALICE, 1),
        log(events.SUPPLY_COLLATERAL, ALICE, BOB, WETH, words=[1]),
        log(events.TRANSFER_COLLATERAL, ALICE, CAROL, WETH, words=[1]),
        log(events.TRANSFER, ALICE, ZERO_ADDRESS, words=[1]),
        supplied(USDC, 1),
    ]

    assert CompoundV3.needs_suppliers
    assert COMPOUND.users_in(logs, suppliers=True) == {ALICE, BOB, CAROL}
    assert COMPOUND.users_in(logs, suppliers=False) == {BOB, CAROL}
    assert COMPOUND.discovery(at, suppliers=True).addresses == {COMET}
    assert events.TRANSFER in COMPOUND.discovery(at, suppliers=True).topics
    assert events.TRANSFER not in COMPOUND.discovery(at, suppliers=False).topics
    assert COMPOUND.interest(at).addresses == {COMET}


# --- proof ----------------------------------------------------------------------------------------

HELD = account(-22484812009, weth=10**19)


def test_the_views_agree_with_an_account_that_is_right() -> None:
    comet, block = chain(alice=HELD, bob=account(9)), block_at(NOW)

    for user, held in ((ALICE, HELD), (BOB, account(9)), (CAROL, Account())):
        readings = comet.read(COMPOUND.proof(comet.market, user))
        assert COMPOUND.differences(comet.market, user, held, block, readings) == ()


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (account(-22484812008, weth=10**19), {"principal", "borrow balance"}),
        (account(-22484812009, weth=10**19 + 1), {"WETH held"}),
        (account(-22484812009, weth=10**19, cbbtc=1), {"bitmap"}),
        (account(22484812009, weth=10**19), {"principal", "balance", "borrow balance"}),
        (account(-22484812009), {"bitmap", "WETH held", "is liquidatable"}),
    ],
)
def test_every_figure_that_differs_is_named(wrong: Account, names: set[str]) -> None:
    comet, block = chain(alice=HELD), block_at(NOW)
    readings = comet.read(COMPOUND.proof(comet.market, ALICE))

    found = COMPOUND.differences(comet.market, ALICE, wrong, block, readings)

    assert {difference.name for difference in found} == names


def test_views_that_revert_agree_where_ours_reverts() -> None:
    comet, block = chain(alice=HELD), block_at(NOW)
    readings: dict[Call, Answer] = dict(comet.read(COMPOUND.proof(comet.market, ALICE)))
    readings[abi.of_address(COMET, calls.IS_LIQUIDATABLE, ALICE)] = None
    dead = market(prices={WETH: None})

    assert COMPOUND.differences(dead, ALICE, HELD, block, readings) == ()
    (found,) = COMPOUND.differences(comet.market, ALICE, HELD, block, readings)
    assert (found.name, found.ours, found.theirs) == ("is liquidatable", "0", "reverts")


def test_balances_revert_where_interest_overflows() -> None:
    comet, block = chain(alice=HELD), block_at(NOW)
    readings: dict[Call, Answer] = dict(comet.read(COMPOUND.proof(comet.market, ALICE)))
    for selector in (calls.BALANCE_OF, calls.BORROW_BALANCE_OF):
        readings[abi.of_address(COMET, selector, ALICE)] = None
    readings[abi.of_address(COMET, calls.IS_LIQUIDATABLE, ALICE)] = word(1)
    full = market(replace(START, indexes=replace(START.indexes, borrow=2**64 - 1)))

    assert COMPOUND.differences(full, ALICE, HELD, block, readings) == ()


def test_storage_that_does_not_answer_is_a_difference() -> None:
    comet, block = chain(alice=HELD), block_at(NOW)
    readings: dict[Call, Answer] = dict(comet.read(COMPOUND.proof(comet.market, ALICE)))
    readings[calls.user_basic(COMET, ALICE)] = None

    (found,) = COMPOUND.differences(comet.market, ALICE, HELD, block, readings)

    assert (found.name, found.theirs) == ("stored", "reverts")
