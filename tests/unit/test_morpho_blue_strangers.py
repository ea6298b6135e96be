"""Rate models that nobody knows, and contracts that people authorise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.domain.numeric import WAD
from chimera.protocols.morpho_blue import calls, draft, events, lacking, math
from chimera.protocols.morpho_blue.market import Terms
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    CAROL,
    ID,
    IRM,
    NEW_ORACLE,
    NOW,
    OTHER_IRM,
    PRICE,
    SINGLETON,
    TERMS,
    World,
    at,
    authorised,
    entered,
    log,
    word,
    words,
)


def test_a_rate_is_taken_from_nobody_but_the_markets_own_irm() -> None:
    world = World()
    fake = structs.replace(log(events.BORROW_RATE_UPDATE, ID, data=[1, 2]), address=at(0xBAD))
    own = log(events.BORROW_RATE_UPDATE, ID, data=[1, 3])

    world.step(fake)
    assert world.market.targets[ID] == 58143810
    world.step(own)
    assert world.market.targets[ID] == 3


def strange_irm(world: World, rate: int | None) -> Terms:
    """A market whose IRM is a contract that nobody knows."""
    terms = replace(TERMS, irm=OTHER_IRM, oracle=NEW_ORACLE)
    world.answers[NEW_ORACLE, calls.PRICE] = word(PRICE)
    world.answers[SINGLETON, calls.ID_TO_MARKET_PARAMS + terms.id] = terms.words
    world.answers[SINGLETON, calls.MARKET + terms.id] = words(
        10**12, 10**18, 10**10, 10**16, NOW, 0
    )
    totals = math.Totals(10**12, 10**18, 10**10, 10**16, NOW, 0)
    view = calls.rate_view(terms, totals)
    world.answers[view.to, view.data] = None if rate is None else word(rate)
    return terms


def test_an_unknown_irm_is_asked_at_every_block() -> None:
    world = World()
    terms = strange_irm(world, 10**10)
    world.step(*entered(terms))
    assert world.market.curves == {IRM}
    assert world.health(BOB, terms.id).debt == 10**10  # no time has passed

    world.step(seconds=1000)

    assert [call for call in world.asked if call.to == OTHER_IRM]
    interest = 10**10 * math.compounded(10**10, 1000) // WAD
    debt = math.to_assets_up(10**16, 10**10 + interest, 10**16)
    assert world.health(BOB, terms.id).debt == debt > 10**10


def test_an_unknown_irm_that_does_not_answer_leaves_the_debt_unknown() -> None:
    world = World()
    terms = strange_irm(world, None)
    world.step(*entered(terms))
    world.step(seconds=1000)

    error = f"rate unknown: the IRM 0x{OTHER_IRM.hex()} does not tell it"
    assert world.health(BOB, terms.id).error == error
    assert world.health(ALICE).error is None


def test_the_answer_of_an_unknown_irm_holds_for_its_block_alone() -> None:
    world = World()
    terms = strange_irm(world, 10**10)
    world.step(*entered(terms))
    world.step(seconds=1000)
    account = world.account(BOB, terms.id)
    assert account is not None

    later = world.adapter.health(world.market, account, world.book.block.timestamp + 2)

    assert "rate unknown" in str(later.error)


def test_an_irm_is_known_by_its_answers_and_by_the_rate_that_follows_from_them() -> None:
    world = World()
    terms = strange_irm(world, 317097919)  # the very first rate of the curve
    error = math.utilization_error(10**12, 10**10)
    rate, _ = math.borrow_rate(1268391679, error, 0)
    view = calls.rate_view(terms, math.Totals(10**12, 10**18, 10**10, 10**16, NOW, 0))
    world.answers[view.to, view.data] = word(rate)
    world.answers[OTHER_IRM, calls.MORPHO] = word(SINGLETON)
    world.answers[OTHER_IRM, calls.RATE_AT_TARGET + terms.id] = word(1268391679)

    world.step(*entered(terms))
    assert world.market.curves == {IRM, OTHER_IRM}

    for missing in ((OTHER_IRM, calls.MORPHO), (view.to, view.data)):
        other = World()
        other.answers |= {**world.answers, missing: word(1)}
        other.step(*entered(terms))
        assert other.market.curves == {IRM}


# --- authorisations ------------------------------------------------------------------------------


def test_a_block_full_of_authorisations_asks_twenty_contracts() -> None:
    world = World()
    world.step(*(authorised(BOB, at(0xE000 + number)) for number in range(100)))

    assert len({call.to for call in world.bounded()}) == lacking.MOST
    assert len(world.market.strangers) == lacking.MOST


def test_a_contract_that_is_nothing_special_is_asked_once() -> None:
    world = World()
    world.step(authorised(BOB, at(0xE000)))
    assert world.bounded()

    world.step(authorised(CAROL, at(0xE000)))

    assert world.bounded() == []


def test_what_is_remembered_of_strangers_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MOST_STRANGERS", 3)
    world = World()
    world.step(*(authorised(BOB, at(0xE000 + number)) for number in range(3)))
    assert len(world.market.strangers) == 3

    world.step(authorised(BOB, at(0xE900)))

    assert world.market.strangers == frozenset()
