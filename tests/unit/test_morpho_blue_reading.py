"""Names, discovery, proofs, and what is read of markets and accounts at a start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.health import Difference
from chimera.domain.market import EMPTY, Account, Token
from chimera.errors import Refuse
from chimera.protocols.morpho_blue import calls, events
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import MorphoMarket, Quote, holder_of
from chimera.protocols.morpho_blue.math import Totals
from chimera.protocols.morpho_blue.reading import NOWHERE
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    BORROWER,
    CAROL,
    COLLATERAL,
    FEE_TAKER,
    ID,
    IRM,
    NAME,
    NEW_ORACLE,
    NOW,
    ORACLE,
    PRICE,
    SHARES,
    SINGLETON,
    TARGET,
    TERMS,
    TOKENS,
    TOTALS,
    USDC,
    WETH,
    World,
    borrowed,
    log,
    market,
    pledged,
    supplied,
    word,
    words,
)

MORPHO = MorphoBlue(name=NAME, address=SINGLETON, from_block=0)
CHOOSY = MorphoBlue(name=NAME, address=SINGLETON, from_block=0, markets=(bytes(ID),))
OTHER = replace(TERMS, oracle=NEW_ORACLE).id
STORED = (
    TOTALS.supply_assets,
    TOTALS.supply_shares,
    TOTALS.borrow_assets,
    TOTALS.borrow_shares,
    TOTALS.updated,
    TOTALS.fee,
)


def chain() -> World:
    """A world that answers all that a start asks for."""
    world = World()
    view = calls.rate_view(TERMS, TOTALS)
    world.answers |= {
        (SINGLETON, calls.OWNER): word(CAROL),
        (SINGLETON, calls.FEE_RECIPIENT): word(FEE_TAKER),
        (SINGLETON, calls.DOMAIN_SEPARATOR): word(7),
        (SINGLETON, calls.ID_TO_MARKET_PARAMS + ID): TERMS.words,
        (SINGLETON, calls.ID_TO_MARKET_PARAMS + OTHER): words(0, 0, 0, 0, 0),
        (SINGLETON, calls.MARKET + ID): words(*STORED),
        (SINGLETON, calls.POSITION + ID + word(ALICE)): words(0, SHARES, COLLATERAL),
        (SINGLETON, calls.POSITION + ID + word(BOB)): words(0, 0, 0),
        (SINGLETON, calls.POSITION + ID + word(FEE_TAKER)): words(9, 0, 0),
        (IRM, calls.RATE_AT_TARGET + ID): word(TARGET),
        (view.to, view.data): word(market().rate_at(ID, NOW)),
    }
    return world


# --- names ---------------------------------------------------------------------------------------


def test_a_market_stands_in_the_published_name() -> None:
    name, user = MORPHO.published(holder_of(ID, ALICE))

    assert (name, user) == (f"morpho.0x{ID.hex()}", ALICE)
    assert MORPHO.holder(name, user) == holder_of(ID, ALICE)


@pytest.mark.parametrize(
    "name",
    ["morpho", "morpho.0x", f"other.0x{ID.hex()}", "morpho.0xzz", f"morpho.0x{ID.hex().upper()}"],
)
def test_another_name_is_nobodys(name: str) -> None:
    assert MORPHO.holder(name, ALICE) is None


def test_a_market_that_was_not_chosen_is_nobodys() -> None:
    assert CHOOSY.holder(f"morpho.0x{ID.hex()}", ALICE) == holder_of(ID, ALICE)
    assert CHOOSY.holder(f"morpho.0x{OTHER.hex()}", ALICE) is None
    recipient = holder_of(NOWHERE, FEE_TAKER)  # can be exported and imported, too
    assert CHOOSY.holder(*CHOOSY.published(recipient)) == recipient


# --- proofs --------------------------------------------------------------------------------------


def test_a_singleton_is_one_that_answers_as_one() -> None:
    world = chain()

    assert world.read(MORPHO.prove()) is None
    assert world.read(CHOOSY.prove()) is None


@pytest.mark.parametrize("silent", [calls.OWNER, calls.FEE_RECIPIENT, calls.DOMAIN_SEPARATOR])
def test_what_does_not_answer_is_refused(silent: bytes) -> None:
    world = chain()
    del world.answers[SINGLETON, silent]

    with pytest.raises(Refuse, match="is not the Morpho Blue contract"):
        world.read(MORPHO.prove())


def test_a_chosen_market_that_does_not_exist_is_refused() -> None:
    chosen = MorphoBlue(name=NAME, address=SINGLETON, from_block=0, markets=(bytes(OTHER),))

    with pytest.raises(Refuse, match=f"has no market 0x{OTHER.hex()}"):
        chain().read(chosen.prove())
    with pytest.raises(Refuse, match=f"has no market 0x{OTHER.hex()}"):
        chain().read(chosen.read_market(World().book.block))


def test_terms_with_another_hash_are_refused() -> None:
    world = chain()
    world.answers[SINGLETON, calls.ID_TO_MARKET_PARAMS + ID] = replace(TERMS, irm=BOB).words

    with pytest.raises(Refuse, match="has another id"):
        world.read(CHOOSY.prove())


# --- a start -------------------------------------------------------------------------------------


def read(world: World, adapter: MorphoBlue, *users: Address) -> MorphoMarket:
    block = world.book.block
    found = world.read(adapter.read_market(block))
    return world.read(adapter.read_rest(found, [holder_of(ID, user) for user in users], block))


def test_the_markets_of_the_holders_are_read() -> None:
    world = chain()

    assert read(world, MORPHO).terms == {}
    assert read(world, MORPHO, ALICE) == market()
    assert read(world, CHOOSY) == market(chosen=frozenset({bytes(ID)}))


def test_a_holder_in_a_market_that_left_the_chain_is_no_obstacle() -> None:
    world = chain()
    found = world.read(MORPHO.read_market(world.book.block))

    rest = world.read(MORPHO.read_rest(found, [holder_of(OTHER, ALICE)], world.book.block))

    assert rest.terms == {}


def test_every_oracle_is_first_asked_with_bounds() -> None:
    world = chain()
    found = read(world, MORPHO, ALICE)

    assert found.quotes == {ORACLE: Quote(PRICE)}
    assert found.tokens == TOKENS
    assert calls.wary_price(ORACLE) in world.asked
    assert calls.price(ORACLE) not in world.asked


def test_an_irm_whose_rate_is_another_is_not_taken_for_the_known_one() -> None:
    world = chain()
    view = calls.rate_view(TERMS, TOTALS)
    world.answers[view.to, view.data] = word(market().rate_at(ID, NOW) + 1)

    found = read(world, MORPHO, ALICE)

    assert found.curves == frozenset()
    assert found.targets == {}
    assert found.rates == {ID: (NOW, market().rate_at(ID, NOW) + 1)}


def test_accounts_are_read_and_blank_ones_left_out() -> None:
    world = chain()
    holders = [holder_of(ID, user) for user in (ALICE, BOB)]

    found = world.read(MORPHO.read_accounts(market(), holders, world.book.block))

    assert found == {holder_of(ID, ALICE): BORROWER.but(updated_block=1)}


def test_a_fee_recipient_is_read_in_every_market() -> None:
    """Its shares come without any log that names it."""
    world = chain()
    named = log(events.SET_FEE_RECIPIENT, FEE_TAKER)
    (holder,) = MORPHO.users_in([named], suppliers=True)

    found = world.read(MORPHO.read_accounts(market(), [holder], world.book.block))

    assert holder == holder_of(NOWHERE, FEE_TAKER)
    assert found == {holder_of(ID, FEE_TAKER): Account(marks={ID: 9}, updated_block=1)}
    assert MORPHO.users_in([named], suppliers=False) == set()


def test_borrowers_are_who_borrowed_and_holders_who_came_in() -> None:
    logs = [borrowed(ALICE, 1, 1), pledged(BOB, 1), supplied(CAROL, 1, 1)]
    logs += [pledged(ALICE, 1, OTHER)]
    people = {holder_of(ID, user) for user in (ALICE, BOB, CAROL)}

    assert MORPHO.users_in(logs, suppliers=False) == {holder_of(ID, ALICE)}
    assert MORPHO.users_in(logs, suppliers=True) == people | {holder_of(OTHER, ALICE)}
    assert CHOOSY.users_in(logs, suppliers=True) == people
    query = MORPHO.discovery(market(), suppliers=False)
    assert [query.wants(entry) for entry in logs] == [True, False, False, False]
    assert all(MORPHO.discovery(market(), suppliers=True).wants(entry) for entry in logs)


# --- comparing -----------------------------------------------------------------------------------


def compared(world: World, of: MorphoMarket) -> tuple[Difference, ...]:
    holder = holder_of(ID, ALICE)
    answers = world.ask(MORPHO.proof(of, holder))
    return MORPHO.differences(of, holder, BORROWER, world.book.block, answers)


def test_an_account_is_proven_by_position_market_price_and_rate() -> None:
    world = chain()

    assert compared(world, market()) == ()
    assert len(MORPHO.proof(market(), holder_of(ID, ALICE))) == 4
    assert len(MORPHO.proof(market(None), holder_of(ID, ALICE))) == 3


BALANCES = ["supply shares", "borrow shares", "collateral"]
FIGURES = ["supply assets", "supply shares", "borrow assets", "borrow shares", "updated", "fee"]


@pytest.mark.parametrize(
    ("to", "data", "answer", "names"),
    [
        (SINGLETON, calls.POSITION + ID + word(ALICE), words(1, 2, 3), BALANCES),
        (SINGLETON, calls.POSITION + ID + word(ALICE), None, BALANCES),
        (SINGLETON, calls.MARKET + ID, words(*STORED[:4], 1, 2), FIGURES[4:]),
        (SINGLETON, calls.MARKET + ID, None, FIGURES),
        (ORACLE, calls.PRICE, word(1), ["price"]),
        (ORACLE, calls.PRICE, None, ["price"]),
        (IRM, calls.rate_view(TERMS, TOTALS).data, word(1), ["rate"]),
    ],
)
def test_a_difference_is_named(
    to: Address, data: bytes, answer: bytes | None, names: list[str]
) -> None:
    world = chain()
    world.answers[to, data] = answer

    assert [difference.name for difference in compared(world, market())] == names


def test_the_time_of_a_market_without_an_irm_is_not_compared() -> None:
    world = chain()
    terms = replace(TERMS, irm=ZERO_ADDRESS)
    of = market(terms={ID: terms}, totals={ID: replace(TOTALS, updated=0)})

    assert compared(world, of) == ()


# --- what else is asked of an adapter ------------------------------------------------------------


def test_quotes_are_keyed_by_oracle_and_can_be_replaced() -> None:
    other = MORPHO.priced(market(), ORACLE, 5)

    assert MORPHO.quotes(market()) == {ORACLE: PRICE}
    assert MORPHO.quotes(other) == {ORACLE: 5}
    assert World().read(MORPHO.sources(market())) == {ORACLE: ORACLE}
    assert MORPHO.tokens(market()) == {USDC: Token("USDC", 6), WETH: Token("WETH", 18)}
    assert MORPHO.exact_within(World().book.accounts(NAME)) == 0


def test_a_position_shows_token_addresses_in_the_loan_token() -> None:
    account = Account({ID: COLLATERAL}, {ID: SHARES}, marks={ID: 10**12})
    found = MORPHO.value(market(), account, NOW + 12)

    assert (found.base_currency, found.base_decimals) == ("USDC", 6)
    assert [(leg.asset, leg.amount, leg.value) for leg in found.debt] == [
        (USDC, 25069224868, 25069224868)
    ]
    pledge, loan = found.collateral
    assert (pledge.asset, pledge.symbol, pledge.amount) == (WETH, "WETH", COLLATERAL)
    assert (pledge.value, pledge.threshold, pledge.enabled) == (28900000000, "0.86", True)
    assert (loan.asset, loan.amount, loan.enabled, loan.threshold) == (USDC, 1001909, False, "0")
    assert MORPHO.assets(market(), account) == {USDC, WETH}
    assert MORPHO.assets(market(), Account({ID: 1})) == {WETH}


def test_without_a_price_the_debt_is_still_shown() -> None:
    found = MORPHO.value(market(None), BORROWER, NOW + 12)

    assert found.health.error is not None
    assert found.debt[0].amount == 25069224868
    assert (found.collateral[0].amount, found.collateral[0].value) == (COLLATERAL, 0)


def test_without_a_rate_the_stored_debt_is_shown() -> None:
    found = MORPHO.value(market(curves=frozenset()), BORROWER, NOW + 12)

    assert "rate unknown" in str(found.health.error)
    assert found.debt[0].amount == 25069224862


def test_an_empty_account_is_in_no_market() -> None:
    found = MORPHO.value(market(), EMPTY, NOW)

    assert (found.collateral, found.debt, found.health.factor) == ((), (), None)
    assert MORPHO.assets(market(), EMPTY) == frozenset()
    assert [step.name for step in MORPHO.explain(market(), EMPTY, NOW)] == ["revision", "verdict"]
    assert list(MORPHO.columns(EMPTY)) == []


def test_stored_totals_are_six_words() -> None:
    assert calls.totals(list(STORED)) == TOTALS == Totals(*STORED)
