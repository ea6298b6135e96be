"""Markets are made by anybody: no oracle, token or contract may harm the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import Address
from chimera.domain.call import BoundedCall, Call
from chimera.domain.market import Account, Token
from chimera.domain.numeric import WAD
from chimera.protocols.morpho_blue import calls, draft, lacking
from chimera.protocols.morpho_blue.market import Id, Quote, Terms, holder_of
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    COLLATERAL,
    ID,
    NEW_ORACLE,
    NOW,
    ORACLE,
    PRICE,
    SHARES,
    TERMS,
    TOTALS,
    USDC,
    WETH,
    World,
    at,
    created,
    entered,
    market,
    repaid,
    text,
    word,
    words,
)

STRANGE = replace(TERMS, oracle=NEW_ORACLE)
THERE = STRANGE.id


def price_calls(world: World, oracle: Address) -> list[Call]:
    return [call for call in world.asked if call.to == oracle and call.data == calls.PRICE]


# --- oracles -------------------------------------------------------------------------------------


def test_an_oracle_that_answers_is_asked_like_everybody() -> None:
    world = World()
    world.step()

    assert price_calls(world, ORACLE) == [Call(ORACLE, calls.PRICE)]
    assert world.bounded() == []


def test_an_oracle_is_first_asked_with_bounds_when_somebody_borrows() -> None:
    world = World()
    world.answers[NEW_ORACLE, calls.PRICE] = word(PRICE)

    world.step(*entered(STRANGE))
    assert price_calls(world, NEW_ORACLE) == [
        BoundedCall(NEW_ORACLE, calls.PRICE, gas=calls.ORACLE_GAS)
    ]
    assert world.health(BOB, THERE).factor == 28900000000 * 86 // 100 * WAD // 10**10

    world.step()
    assert price_calls(world, NEW_ORACLE) == [Call(NEW_ORACLE, calls.PRICE)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "price unknown: the oracle reverts, or needs too much gas, or answers too much"),
        (b"", "price unknown: the oracle has no code"),
        (b"\x01" * 31, "price unknown: the oracle's answer is cut short"),
        (word(PRICE) + bytes(2**20), "price unknown: the oracle answers too much"),
    ],
)
def test_a_market_whose_oracle_does_not_answer_is_in_quarantine(
    answer: bytes | None, why: str
) -> None:
    world = World()
    world.answers[NEW_ORACLE, calls.PRICE] = answer

    world.step(*entered(STRANGE))

    assert world.health(BOB, THERE).error == why
    assert world.health(ALICE).error is None
    account = world.account(BOB, THERE)
    assert account is not None
    verdict = world.adapter.verdict(world.market, account, NOW)
    assert (verdict.liquidatable, verdict.reason) == (False, why)


def test_an_oracle_that_failed_is_asked_with_bounds_for_a_while() -> None:
    world = World()
    world.answers[ORACLE, calls.PRICE] = None

    world.step()
    assert price_calls(world, ORACLE) == [Call(ORACLE, calls.PRICE)]
    assert "reverts" in str(world.health().error)
    world.answers[ORACLE, calls.PRICE] = word(PRICE)
    for _ in range(draft.FIRST_WARY):
        world.step()
        assert isinstance(price_calls(world, ORACLE)[0], BoundedCall)
        assert world.health().error is None
    world.step()
    assert price_calls(world, ORACLE) == [Call(ORACLE, calls.PRICE)]


def test_an_oracle_that_fails_again_is_held_back_twice_as_long_to_a_limit() -> None:
    world, bounds = World(), []
    for number in range(30):
        world.answers[ORACLE, calls.PRICE] = word(PRICE) if number % 2 else None
        world.step()
        bounds.append(world.market.quotes[ORACLE].wary_for)
        assert isinstance(price_calls(world, ORACLE)[0], BoundedCall) == (number > 0)

    assert bounds[::2] == [min(300 * 2**n, 2**20) for n in range(15)]
    assert bounds[1::2] == bounds[::2]


def test_one_long_failure_counts_once() -> None:
    world = World()
    world.answers[ORACLE, calls.PRICE] = None
    for _ in range(5):
        world.step()

    quote = world.market.quotes[ORACLE]
    assert (quote.wary_for, quote.wary_to) == (300, world.book.block.number + 300)


def test_an_oracle_that_failed_is_not_pardoned_by_a_repayment() -> None:
    world = World(market(totals={ID: replace(TOTALS, borrow_shares=SHARES)}))
    world.answers[ORACLE, calls.PRICE] = None
    world.step()
    world.step(repaid(ALICE, TOTALS.borrow_assets, SHARES))
    world.step()

    assert world.market.quotes[ORACLE].wary_for == 300
    assert world.adapter.quotes(world.market) == {}


def test_a_price_that_nobody_asked_for_is_not_kept() -> None:
    terms, world = crowd(45)
    names = [each.oracle for each in terms.values()]
    world.step()
    world.step()
    world.step()
    world.answers |= {(oracle, calls.PRICE): word(PRICE) for oracle in names}
    for _ in range(6):
        world.step()
        asked = {call.to for call in world.bounded()}
        assert len(asked) <= lacking.MOST
        priced = {o for o in names if world.market.quotes[o].price is not None}
        assert priced == asked


def test_a_rollback_knows_again_what_an_oracle_said() -> None:
    world = World()
    first = world.book.block.number
    world.answers[ORACLE, calls.PRICE] = None
    world.step()
    assert world.market.quotes[ORACLE].price is None

    world.book.rollback(first)

    assert world.market.quotes[ORACLE] == Quote(PRICE)
    assert world.health().error is None


def crowd(count: int) -> tuple[dict[Id, Terms], World]:
    """Many markets with debt, each with an oracle of its own that does not answer."""
    terms = {
        each.id: each for each in (replace(TERMS, oracle=at(0xF000 + n)) for n in range(count))
    }
    totals = dict.fromkeys(terms, TOTALS)
    start = market(
        terms={ID: TERMS, **terms},
        totals={ID: TOTALS, **totals},
        targets=dict.fromkeys([ID, *terms], 58143810),
        live=tuple(sorted([ID, *terms])),
    )
    return terms, World(start)


def test_at_most_twenty_faulty_oracles_are_asked_at_a_block_and_each_in_turn() -> None:
    terms, world = crowd(45)
    seen: set[Address] = set()

    for _ in range(3):
        world.step()
        assert len(world.bounded()) <= lacking.MOST
        assert Call(ORACLE, calls.PRICE) in world.asked
        seen |= {call.to for call in world.bounded()}

    assert seen == {each.oracle for each in terms.values()}


def test_an_oracle_that_nobody_had_time_for_is_a_reason_of_its_own() -> None:
    terms, world = crowd(45)
    world.step()

    reasons = {world.market.quotes[each.oracle].fault for each in terms.values()}
    assert reasons == {"the oracle has not been asked yet", "the oracle has no code"}


def test_a_block_full_of_new_markets_asks_twenty_of_their_oracles() -> None:
    world = World()
    many = [replace(TERMS, oracle=at(0xF000 + number)) for number in range(30)]

    world.step(*(entry for terms in many for entry in entered(terms)))
    assert len(world.bounded()) == lacking.MOST
    assert "not been asked" in str(world.health(BOB, many[-1].id).error)

    for _ in range(2):  # a round; those of the first block did not answer, either
        world.step()
        assert 0 < len(world.bounded()) <= lacking.MOST
    assert "no code" in str(world.health(BOB, many[-1].id).error)


def test_a_thousand_dead_markets_cost_no_question() -> None:
    terms = [replace(TERMS, oracle=at(0xF000 + number)) for number in range(1000)]
    world = World()
    world.step(*(created(each) for each in terms))
    world.step(repaid(ALICE, 1, 1))

    assert len(world.market.terms) == 1001
    assert world.market.live == (ID,)
    assert world.asked == [Call(ORACLE, calls.PRICE)]


def test_a_market_without_any_debt_left_is_asked_no_more() -> None:
    world = World(market(totals={ID: replace(TOTALS, borrow_shares=SHARES)}))

    world.step(repaid(ALICE, TOTALS.borrow_assets, SHARES))
    assert world.market.live == ()
    assert world.market.quotes == {}
    world.step()
    assert world.asked == []


@pytest.mark.parametrize(
    ("price", "error"), [(2**256 - 1, "figures overflow"), (2**200, "figures overflow")]
)
def test_a_price_that_overflows_reverts(price: int, error: str) -> None:
    world = World()
    world.answers[ORACLE, calls.PRICE] = word(price)
    world.step()

    assert world.health().error == error


def test_a_price_of_0_is_a_price() -> None:
    world = World()
    world.answers[ORACLE, calls.PRICE] = word(0)
    world.step()

    assert world.health().factor == 0
    assert world.health().error is None


# --- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "decimals", "token"),
    [
        (text("DAI"), word(18), Token("DAI", 18)),
        (b"MKR".ljust(32, b"\0"), word(18), Token("MKR", 18)),
        (None, word(0), Token("0x00000000", 0)),
        (b"", word(30), Token("0x00000000", 30)),
        (text("x" * 3000), word(6), Token("0x00000000", 6)),
        (text("\x1b[31mred"), word(6), Token("0x00000000", 6)),
        (text("\u202etfel"), word(6), Token("0x00000000", 6)),
        (words(32, 2**255) + b"abc", word(6), Token("abc", 6)),
        (b"\xff" * 64, word(6), Token("0x00000000", 6)),
        (text("BIG"), word(2**255), Token("BIG", 0)),
        (text("ODD"), b"\x06", Token("ODD", 0)),
        (text("NO"), None, Token("NO", 0)),
    ],
)
def test_a_token_gets_a_printable_name_and_decimals_that_amounts_can_have(
    symbol: bytes | None, decimals: bytes | None, token: Token
) -> None:
    loan = at(0x77)
    world = World()
    world.answers |= {
        (loan, calls.SYMBOL): symbol,
        (loan, calls.DECIMALS): decimals,
        (NEW_ORACLE, calls.PRICE): word(PRICE),
    }
    terms = replace(STRANGE, loan=loan)

    world.step(*entered(terms))

    assert world.market.tokens[loan] == token
    account = world.account(BOB, terms.id)
    assert account is not None
    valued = world.adapter.value(world.market, account, NOW)
    assert (valued.base_currency, valued.base_decimals) == (token.symbol, token.decimals)
    assert all(isinstance(call, BoundedCall) for call in world.asked if call.to == loan)


def test_the_bounds_are_those_that_are_written_down() -> None:
    assert (calls.ORACLE_GAS, calls.TOKEN_GAS) == (2_000_000, 200_000)
    assert (lacking.MOST, lacking.MOST_CONTRACTS) == (20, 20)
    assert calls.token(USDC, text("x" * 32), word(77)) == Token("x" * 32, 77)
    assert calls.token(USDC, text("x" * 33), word(78)) == Token("0x00000000", 0)
    assert calls.quote(bytes(4096)).price == 0
    assert calls.quote(bytes(4097)).price is None


def test_a_market_is_not_judged_before_its_tokens_are_known() -> None:
    """Else its figures would be published with decimals that change later."""
    world = World(market(tokens={}))

    assert world.health().error == "price unknown: the market's tokens have not been read yet"
    world.step()
    assert world.health().error is None
    assert {call.to for call in world.bounded()} == {USDC, WETH}
    world.step()
    assert world.bounded() == []


def test_accounts_in_a_quarantined_market_are_all_looked_at() -> None:
    """An unknown price is an infinite weight."""
    world = World(market(None))
    columns = [(ID, False, 0), (ID, True, 0)]
    collateral, debt = world.adapter.weights(world.market, columns, NOW)

    assert collateral[0] == float("inf")
    assert 0 < debt[1] < 1
    assert world.book.get(("morpho", holder_of(ID, ALICE))) == Account(
        {ID: COLLATERAL}, {ID: SHARES}
    )
