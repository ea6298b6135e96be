"""The arithmetic of an account told line by line, early liquidations by contract included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.health import Step
from chimera.protocols.morpho_blue import calls
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.lacking import MOST_CONTRACTS
from chimera.protocols.morpho_blue.market import holder_of
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    BORROWER,
    ID,
    NAME,
    NEW_ORACLE,
    NOW,
    ORACLE,
    SINGLETON,
    TERMS,
    TOTALS,
    World,
    at,
    authorised,
    market,
    word,
    words,
)

MORPHO = MorphoBlue(name=NAME, address=SINGLETON, from_block=0)
CONTRACT = at(0x9E)
LATER = NOW + 12
PARAMS = [8 * 10**17, 5 * 10**16, 5 * 10**17, 101 * 10**16, 104 * 10**16]


def told(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.value for step in steps}


def test_every_input_is_told_in_order() -> None:
    steps = MORPHO.explain(market(), BORROWER, LATER)

    assert [step.name for step in steps] == [
        "revision",
        "time",
        "market",
        "oracle",
        "IRM",
        "LLTV",
        "stored borrow assets",
        "rate",
        "borrow assets with interest",
        "borrow shares in all",
        "price",
        "collateral",
        "collateral value",
        "most that may be owed",
        "borrow shares",
        "owed",
        "health factor",
        "liquidation incentive",
        "verdict",
    ]
    figures = told(steps)
    assert figures["rate"] == "21890953 WAD per second over 12 s"
    assert figures["collateral"] == "10.000000000000000000 WETH"
    assert figures["most that may be owed"] == "24854.000000 USDC"
    assert figures["owed"] == "25069.224868 USDC"
    assert figures["health factor"] == "0.991414777715176702"
    assert figures["liquidation incentive"] == "1.043841336116910229"
    assert figures["verdict"] == "liquidatable"
    assert "AdaptiveCurveIrm" in figures["IRM"]


def test_what_is_unknown_is_told_as_such() -> None:
    unpriced = told(MORPHO.explain(market(None), BORROWER, LATER))
    unrated = told(MORPHO.explain(market(curves=frozenset()), BORROWER, LATER))
    still = replace(TERMS, irm=ZERO_ADDRESS)
    quiet = told(MORPHO.explain(market(terms={ID: still}), BORROWER, LATER))

    assert unpriced["health factor"] == "none: price unknown: the oracle reverts"
    assert unpriced["verdict"] == "not liquidatable: price unknown: the oracle reverts"
    assert unrated["rate"].startswith("none: rate unknown")
    assert "of another kind" in unrated["IRM"]
    assert quiet["IRM"] == "none: no interest"


def test_an_account_without_debt_has_no_factor() -> None:
    steps = told(MORPHO.explain(market(), BORROWER.but(owed={}), LATER))

    assert steps["health factor"] == "none: no debt"
    assert steps["verdict"] == "not liquidatable: healthy"


# --- pre-liquidation -----------------------------------------------------------------------------


def with_contract(oracle: bytes = ORACLE, where: bytes = ID) -> World:
    totals = replace(TOTALS, borrow_assets=152121719457)
    world = World(market(3000 * 10**24, totals={ID: totals}))
    world.answers |= {
        (ORACLE, calls.PRICE): word(3000 * 10**24),
        (CONTRACT, calls.MORPHO): word(SINGLETON),
        (CONTRACT, calls.ID): word(where),
        (CONTRACT, calls.PRE_LIQUIDATION_PARAMS): words(*PARAMS, oracle),
    }
    return world


def explained(world: World, user: Address | None = ALICE) -> dict[str, str]:
    holder = None if user is None else holder_of(ID, user)
    time = world.book.block.timestamp
    return told(MORPHO.explain(world.market, BORROWER, time, holder))


def test_m13_an_authorised_contract_is_named_with_what_it_may_do() -> None:
    world = with_contract()
    world.step(authorised(ALICE, CONTRACT))
    steps = explained(world)

    assert steps["pre-liquidation"].endswith(
        "from LTV 0.8, close factor 0.05 to 0.5, incentive 1.01 to 1.04"
    )
    assert steps["pre-liquidation now"] == (
        "allowed: repay 7954.620906 USDC (7932655425000000 shares) for 2.725307251666666666 WETH"
    )


def test_only_who_authorised_it_is_concerned() -> None:
    world = with_contract()
    world.step(authorised(ALICE, CONTRACT))

    assert "pre-liquidation" not in explained(world, BOB)
    assert "pre-liquidation (if authorised)" in explained(world, None)


def test_an_authorisation_can_be_taken_back_and_undone() -> None:
    world = with_contract()
    world.step(authorised(ALICE, CONTRACT))
    world.step(authorised(ALICE, CONTRACT, allowed=False))
    assert "pre-liquidation" not in explained(world)

    world.book.rollback(2)
    assert "pre-liquidation" in explained(world)
    world.book.rollback(1)
    assert world.market.preliquidations == {}
    assert world.market.authorised == {}


def test_a_contract_with_an_oracle_of_its_own_is_named_without_a_verdict() -> None:
    world = with_contract(oracle=NEW_ORACLE)
    world.step(authorised(ALICE, CONTRACT))

    assert explained(world)["pre-liquidation now"].startswith("not known: it has an oracle")


def test_outside_of_its_window_it_may_do_nothing() -> None:
    world = with_contract()
    world.answers[ORACLE, calls.PRICE] = word(4000 * 10**24)
    world.step(authorised(ALICE, CONTRACT))

    assert explained(world)["pre-liquidation now"].startswith("not allowed")


@pytest.mark.parametrize(
    ("selector", "answer"),
    [
        (calls.MORPHO, word(BOB)),
        (calls.MORPHO, None),
        (calls.PRE_LIQUIDATION_PARAMS, words(1, 2, 3)),
        (calls.PRE_LIQUIDATION_PARAMS, None),
    ],
)
def test_what_does_not_answer_as_one_is_none(selector: bytes, answer: bytes | None) -> None:
    world = with_contract()
    world.answers[CONTRACT, selector] = answer
    world.step(authorised(ALICE, CONTRACT))

    assert world.market.preliquidations == {}
    assert world.market.strangers == {CONTRACT}


def test_a_market_has_room_for_so_many_contracts_only() -> None:
    world = with_contract()
    for number in range(MOST_CONTRACTS + 3):
        contract = at(0x9E00 + number)
        for selector in (calls.MORPHO, calls.ID, calls.PRE_LIQUIDATION_PARAMS):
            world.answers[contract, selector] = world.answers[CONTRACT, selector]
        world.step(authorised(ALICE, contract))

    assert len(world.market.preliquidations) == MOST_CONTRACTS
