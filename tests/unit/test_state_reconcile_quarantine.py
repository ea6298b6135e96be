"""Markets in quarantine: what puts them there, what it does, and what gets them out again."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import pytest
from structlog.testing import capture_logs

from chimera.domain.block import Block
from chimera.domain.call import Readings
from chimera.domain.health import Difference
from chimera.domain.market import Account, Holder
from chimera.errors import Retry
from chimera.state.reconcile import FORGIVEN
from tests.fakes_reconcile import LESS, PRICES, RIGHT, WITHIN, House, Roomy, house_with, people
from tests.fakes_state import ALICE, BOB, CAROL, ENTRY, PRICE, WETH, FakeMarket, address, child, log

ALICES = ("fake", ALICE)


async def test_two_divergences_in_a_market_hold_its_flags_back() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step(log(PRICE, ENTRY, WETH, 1_000))  # everybody is under 1
    house.adapter.prices = {**house.adapter.prices, WETH: 1_000}
    before = house.engine.observation
    assert before is not None
    assert all(seen.liquidatable and seen.best for seen in before.underwater.values())

    await house.reconciler.compare()

    assert house.trust.quarantined == {"fake"}
    after = house.engine.observation
    assert after is not None
    assert after.underwater.keys() == before.underwater.keys()
    for key, seen in after.underwater.items():
        assert (seen.liquidatable, seen.reason, seen.best) == (False, "unverified", None)
        assert seen.health_factor == before.underwater[key].health_factor
    assert house.count("markets_unverified") == 1


async def test_one_divergence_does_not() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()
    await house.reconciler.heal()

    assert house.trust.quarantined == set()
    assert house.rebuilt == []


async def test_divergences_further_apart_than_the_window_do_not() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()
    house.step()
    await house.reconciler.compare()
    house.adapter.chain[BOB] = LESS
    house.step(seconds=WITHIN)

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == set()


async def test_divergences_of_two_markets_do_not() -> None:
    here, there = address(1 << 152), address(2 << 152)
    house = House([here, there], adapter=Roomy())
    house.adapter.chain |= {here: LESS, there: LESS}
    house.step()

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == set()


async def test_only_the_market_that_diverged_is_held_back() -> None:
    here, too, there = address(1 << 152), address((1 << 152) + 1), address(2 << 152)
    house = House([here, too, there], adapter=Roomy())
    house.adapter.chain |= {here: LESS, too: LESS}
    house.step()

    await house.reconciler.compare()

    assert house.trust.quarantined == {"fake.1"}


async def test_an_account_that_reading_did_not_help_counts_again_and_is_not_read_for_ever() -> None:
    house = house_with({})
    house.chain.adapter = Roomy(chain={**house.adapter.chain, ALICE: LESS})  # the view's own truth
    house.chain.adapter.prices = house.adapter.prices
    house.step()
    await house.reconciler.compare()
    house.step()

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == {"fake"}
    assert not house.engine.needs(child(house.book.block), (), {})


class Saying(Roomy):
    """A family whose views are called what a test wants."""

    says: ClassVar[tuple[str, ...]] = ("principal",)

    def differences(
        self,
        market: FakeMarket,
        holder: Holder,
        account: Account,
        block: Block,
        readings: Readings,
    ) -> tuple[Difference, ...]:
        found = super().differences(market, holder, account, block, readings)
        return tuple(Difference(name, one.ours, one.theirs) for one in found for name in self.says)


@pytest.mark.parametrize("said", [("LINK held",), ("bitmap",), ("principal", "bitmap")])
async def test_what_no_silent_transfer_explains_is_not_excused(said: tuple[str, ...]) -> None:
    family = Saying()
    family.within, family.says = 7, said  # type: ignore[misc]
    house = House(people(3), adapter=family)
    house.adapter.chain |= dict.fromkeys(people(3), LESS)
    house.step()
    await house.reconciler.compare()

    assert house.trust.quarantined == {"fake.1"}


async def test_a_market_of_which_only_the_price_differs_is_held_without_a_rebuild() -> None:
    family = Saying()
    family.says = ("price",)  # type: ignore[misc]
    house = House(people(3), adapter=family)
    house.chain.adapter = Roomy(chain=dict.fromkeys(people(3), LESS), prices=PRICES)
    house.step()
    await house.reconciler.compare()
    assert house.trust.quarantined == {"fake.1"}
    for _ in range(5):
        house.step(seconds=3600)
        await house.reconciler.compare()
        await house.reconciler.heal()
    assert house.rebuilt == []
    assert house.trust.quarantined == {"fake.1"}

    house.chain.adapter.chain = dict.fromkeys(people(3), RIGHT)
    for _ in range(3):
        house.step()
        await house.reconciler.compare()
    assert house.trust.quarantined == set()


async def test_a_market_that_never_agrees_is_rebuilt_three_times_and_the_other_waits_for_none() -> (
    None
):
    here, there = people(2), [address((2 << 152) + n) for n in range(2)]
    house = House([*here, *there], adapter=Roomy())
    house.chain.adapter = Roomy(chain=dict(house.adapter.chain), prices=PRICES)
    house.chain.adapter.chain |= dict.fromkeys(here, LESS)
    house.step()
    await house.reconciler.compare()
    await house.reconciler.heal()
    assert len(house.rebuilt) == 1
    house.chain.adapter.chain |= dict.fromkeys(there, LESS)
    house.adapter.chain |= dict.fromkeys(there, LESS)
    house.step()
    await house.reconciler.compare()
    assert house.trust.quarantined == {"fake.1", "fake.2"}
    await house.reconciler.heal()  # not after the other's 15 seconds
    assert len(house.rebuilt) == 2
    assert house.trust.quarantined == {"fake.1"}

    for _ in range(10):
        house.clock.now += 3600
        await house.reconciler.heal()
    assert len(house.rebuilt) == 3
    assert house.trust.quarantined == {"fake.1"}


async def test_what_a_family_allows_for_some_blocks_is_mended_and_holds_nothing_back() -> None:
    family = Saying()
    family.within = 7
    house = House(people(3), adapter=family)
    house.adapter.chain |= dict.fromkeys(people(3), LESS)
    house.step()
    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 3
    assert house.trust.quarantined == set()
    house.step()
    await house.reconciler.compare()
    assert {house.account(user).supplied[WETH] for user in people(3)} == {90}  # type: ignore[union-attr]


async def test_a_quarantine_ends_once_the_market_was_rebuilt_and_compared_clean() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step()
    await house.reconciler.compare()

    with capture_logs() as lines:
        await house.reconciler.heal()

    assert house.rebuilt == ["fake"]
    assert house.chain.views[-1] == {ALICE, BOB, CAROL}
    assert house.trust.quarantined == set()
    assert [line["event"] for line in lines] == ["market_verified"]
    assert house.count("markets_unverified") == 0
    house.adapter.chain[CAROL] = LESS  # what was before does not count any more
    house.step()
    await house.reconciler.compare()
    assert house.trust.quarantined == set()


async def test_a_market_that_stays_wrong_stays_and_is_tried_again_later_and_later() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.chain.adapter = Roomy(chain=dict(house.adapter.chain), prices=house.adapter.prices)
    house.adapter.chain[ALICE] = RIGHT  # what can be read is not what the view says
    house.step()
    await house.reconciler.compare()
    attempts = []
    for _ in range(200):
        before = len(house.rebuilt)
        await house.reconciler.heal()
        if len(house.rebuilt) > before:
            attempts.append(house.clock.now)
        house.clock.now += 1

    pauses = [round(later - sooner) for sooner, later in pairwise(attempts)]
    assert pauses == [15, 30]
    assert house.trust.quarantined == {"fake"}
    house.chain.adapter.chain[ALICE] = RIGHT
    for _ in range(3):
        house.step()
        await house.reconciler.compare()
    assert house.trust.quarantined == set()
    assert len(house.rebuilt) == 3


async def test_a_rebuild_that_fails_is_tried_again() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step()
    await house.reconciler.compare()
    house.chain.fault = Retry("the node is away")
    await house.reconciler.heal()
    assert house.trust.quarantined == {"fake"}

    house.chain.fault = None
    house.clock.now += 15
    await house.reconciler.heal()

    assert house.trust.quarantined == set()


async def test_what_a_rebuild_has_read_is_not_read_once_more() -> None:
    house = House(people(25))
    house.adapter.chain = dict.fromkeys(people(25), LESS)
    house.step()
    await house.reconciler.compare()

    await house.reconciler.heal()

    assert not house.engine.needs(child(house.book.block), (), {})
    assert not any(house.trust.mistrusts(("fake", user)) for user in people(25))


async def test_the_rebuild_of_another_protocol_leaves_the_mistrusted_alone() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()

    house.engine.adopt()  # nothing of this protocol was loaded

    assert house.trust.mistrusts(ALICES)


async def test_markets_that_anybody_can_make_are_not_remembered_for_ever() -> None:
    count = 5
    users = [address((1 + market << 152) + n) for market in range(count) for n in range(2)]
    house = House(users, adapter=Roomy())
    trust, reconciler = house.trust, house.reconciler
    for one, two in zip(users[::2], users[1::2], strict=True):
        house.chain.adapter = Roomy(chain=dict.fromkeys(users, RIGHT), prices=PRICES)
        house.chain.adapter.chain |= {one: LESS, two: LESS}
        house.step(seconds=FORGIVEN + 1)
        await reconciler.compare()
        house.chain.adapter = house.adapter
        await reconciler.heal()
        house.step()
        await reconciler.compare()
    assert len(house.rebuilt) == count
    assert trust.quarantined == set()

    assert len(reconciler._rebuilds) == 1
    assert reconciler._mendable == set()


async def test_a_single_divergence_is_forgotten_after_the_window_or_with_its_account() -> None:
    users = [address(1 + market << 152) for market in range(5)]
    house = House(users, adapter=Roomy())
    house.chain.adapter = Roomy(chain=dict.fromkeys(users, RIGHT), prices=PRICES)
    for user in users:
        house.chain.adapter.chain[user] = LESS
        house.step(seconds=WITHIN + 1)
        await house.reconciler.compare()
        house.chain.adapter.chain[user] = RIGHT
        house.step()
        await house.reconciler.compare()
    assert house.count("mirror_mismatches_total") == len(users)
    assert house.trust.suspected == house.reconciler._mendable == {"fake.5"}

    house.chain.adapter.chain[users[0]] = LESS
    house.step(seconds=WITHIN + 1)
    await house.reconciler.compare()
    assert house.trust.wrong("fake.1")
    house.load(dict.fromkeys(users[1:], RIGHT), house.book.block)
    house.engine.adopt()
    house.step()
    await house.reconciler.compare()
    assert house.trust.wrong("fake.1") == ()
