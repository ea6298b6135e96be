"""What detection remembers and for how long, what it carries over, and where listings end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.detection.streaks import StreakCounter
from chimera.domain.opportunity import BestPair, Checkpoint, Observation, Opportunity, Streak
from chimera.errors import BadCursor, Rebuild
from chimera.state.book import UNDO_WINDOW
from tests.fakes_detection import FakeChain, block, key, sighting

ALICE = key("alice")
PAIR = BestPair("0xC0", "0xDE", max_repay=5, seize=6, gross_bonus="0.1")


def new_detector() -> OpportunityDetector:
    return OpportunityDetector(chain_id=8453)


def checkpoint_of(detector: OpportunityDetector) -> Checkpoint:
    checkpoint = detector.checkpoint()
    assert checkpoint is not None
    return checkpoint


def flagged(detector: OpportunityDetector, chain: FakeChain) -> Opportunity:
    detector.observe(chain.mine(alice="0.99"))
    (opportunity,) = detector.observe(chain.mine(alice="0.98"))
    return opportunity


def detailed(observation: Observation) -> Observation:
    """The same, and alice's figures are such that none of them is like another."""
    alice = replace(
        observation.underwater[ALICE],
        collateral_value="11.5",
        debt_value="12.25",
        liquidatable=False,
        reason="reserve paused",
        best=PAIR,
    )
    return replace(observation, underwater={**observation.underwater, ALICE: alice})


# --- how far back --------------------------------------------------------------------------------


def test_a_rollback_reaches_as_far_as_that_of_the_book() -> None:
    detector, chain = new_detector(), FakeChain()
    for _ in range(UNDO_WINDOW + 3):
        detector.observe(chain.mine(alice="0.9"))
    oldest = chain.observations[-1 - UNDO_WINDOW].block

    with pytest.raises(Rebuild):
        detector.rollback(chain.observations[-2 - UNDO_WINDOW].block)
    detector.rollback(oldest)

    assert (detector.newest, detector.streaks.newest) == (oldest, oldest.number)


def test_streaks_alone_reach_as_far() -> None:
    streaks = StreakCounter()
    for number in range(UNDO_WINDOW + 3):
        streaks.observe(number, {ALICE})

    with pytest.raises(Rebuild):
        streaks.rollback(1)
    streaks.rollback(2)

    assert streaks.blocks_unhealthy(ALICE) == 3


def test_streaks_forget_what_the_detector_forgets() -> None:
    detector, chain = OpportunityDetector(chain_id=1, undo_window=3), FakeChain()
    for _ in range(6):
        detector.observe(chain.mine())

    with pytest.raises(Rebuild, match="do not reach back"):
        detector.streaks.rollback(101)


def test_a_single_block_that_nobody_saw_is_a_gap() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine(alice="0.99"))

    assert detector.observe(sighting(block(102), alice="0.98")) == []
    assert detector.streaks.snapshot() == {ALICE: Streak(102, 1)}


# --- what an episode carries ---------------------------------------------------------------------


def test_an_id_is_the_same_in_every_release() -> None:
    """Stored episodes are found again by it."""
    assert flagged(new_detector(), FakeChain()).id == "edae6682b0b5ab356a0e"


def test_a_flag_carries_every_figure_of_its_block() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine(alice="0.99"))

    (flag,) = detector.observe(detailed(chain.mine(alice="0.98")))

    assert (flag.collateral_value, flag.debt_value) == ("11.5", "12.25")
    assert (flag.liquidatable, flag.reason, flag.best) == (False, "reserve paused", PAIR)


def test_a_restart_carries_every_figure_over() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    (flag,) = before.observe(detailed(chain.mine(alice="0.98")))

    after.restore([flag], checkpoint_of(before))

    assert after.open_opportunities() == [flag]
    assert after.checkpoint() == before.checkpoint()


def test_an_episode_that_is_over_hides_none_that_goes_on() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    flagged(before, chain)
    (over,) = before.observe(chain.mine(bob="0.9"))
    (bob,) = before.observe(chain.mine(bob="0.9"))

    after.restore([over, bob], checkpoint_of(before))

    assert after.open_opportunities() == [bob]


def test_a_rollback_to_the_checkpoint_of_a_restart_brings_its_streaks_back() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    after.restore([first], checkpoint_of(before))
    after.observe(chain.mine(bob="0.9"))

    assert after.rollback(chain.drop(1)) == [first]

    assert after.streaks.snapshot() == {ALICE: Streak(100, 2)}
    assert after.open_opportunities() == [first]


def test_a_checkpoint_block_without_the_account_keeps_what_was_stored() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    after.restore([first], checkpoint_of(before))

    assert after.observe(replace(chain.observations[-1], underwater={})) == []

    assert after.open_opportunities() == [first]


def test_an_episode_that_the_chain_lost_is_told_once() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine())
    older = checkpoint_of(before)
    stored = flagged(before, chain)
    chain.drop(2)
    after.restore([stored], older)
    after.observe(chain.mine())

    assert [o.id for o in after.observe(chain.mine())] == [stored.id]
    assert after.observe(chain.mine()) == []
    assert after.unsettled() == []


def test_all_that_is_stored_above_the_checkpoint_waits_for_its_blocks() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    older = checkpoint_of(before)
    stored = before.observe(chain.mine(alice="0.99", bob="0.9"))
    stored += before.observe(chain.mine(alice="0.99", bob="0.9"))

    after.restore(stored, older)

    assert [o.flagged_block for o in after.unsettled()] == [101, 102]
    assert after.observe(chain.observations[1]) == stored[:1]
    assert after.observe(chain.observations[2]) == stored[1:]


# --- a block judged anew -------------------------------------------------------------------------


def test_a_mended_block_is_judged_anew_however_long_the_chain() -> None:
    detector, chain = new_detector(), FakeChain()
    for _ in range(6):
        detector.observe(chain.mine())
    flag = flagged(detector, chain)

    (gone,) = detector.reconsider(replace(chain.observations[-1], underwater={}))

    assert (gone.id, gone.closed_reason) == (flag.id, "reorged")
    assert detector.checkpoint() == Checkpoint(chain.head, {})


def test_the_first_block_after_a_restart_can_be_judged_anew() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    after.restore([], checkpoint_of(before))
    wrong = chain.mine(alice="0.98")
    (flag,) = after.observe(wrong)

    (gone,) = after.reconsider(replace(wrong, underwater={}))

    assert (gone.id, gone.closed_reason) == (flag.id, "reorged")


def test_the_block_of_a_restart_judged_anew_gives_fresh_values_only() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    after.restore([replace(first, debt_value="7")], checkpoint_of(before))

    assert after.reconsider(chain.observations[-1]) == []

    assert after.open_opportunities() == [first]


def test_a_block_that_is_new_is_judged_once() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine())
    detector.observe(chain.mine(alice="0.99"))

    (flag,) = detector.reconsider(chain.mine(alice="0.98"))

    assert (flag.first_unhealthy_block, flag.flagged_block) == (101, 102)


# --- the listing ---------------------------------------------------------------------------------


def closed_at(number: int, identity: str) -> Opportunity:
    """An episode of alice's that ended at this block."""
    detector, chain = new_detector(), FakeChain(start=number - 2)
    flagged(detector, chain)
    (closed,) = detector.observe(chain.mine())
    return replace(closed, id=identity)


def listed(ledger: OpportunityLedger) -> list[str]:
    return [o.id for o in ledger.episodes()]


def test_ten_thousand_closed_episodes_are_remembered() -> None:
    ledger, closed = OpportunityLedger(new_detector()), closed_at(500, "")

    ledger.record(replace(closed, id=str(number)) for number in range(10_002))

    assert listed(ledger) == [str(number) for number in range(2, 10_002)]


def test_after_a_restart_too_the_earliest_closed_are_forgotten_first() -> None:
    ledger = OpportunityLedger(new_detector(), keep=3)

    ledger.restore(
        [closed_at(800, "a"), closed_at(700, "d"), closed_at(700, "c"), closed_at(600, "e")]
    )

    assert listed(ledger) == ["c", "d", "a"]


def test_an_episode_that_a_restart_opened_again_is_listed_once() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    older = checkpoint_of(before)
    stored = before.observe(chain.mine())
    ledger = OpportunityLedger(after)

    after.restore(stored, older)
    ledger.restore(stored)

    assert ledger.episodes() == [first]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_of_any_size_make_the_whole_listing(limit: int) -> None:
    ledger = OpportunityLedger(new_detector())
    ledger.record([closed_at(500 + number, str(number)) for number in range(7)])
    found: list[str] = []
    cursor: str | None = None

    while not found or cursor is not None:
        _, items, cursor = ledger.page(state=None, protocol=None, limit=limit, cursor=cursor)
        found += [item.id for item in items]

    assert found == ["6", "5", "4", "3", "2", "1", "0"]


def test_a_foreign_cursor_is_named() -> None:
    with pytest.raises(BadCursor, match="'nonsense' is not a cursor of this listing"):
        OpportunityLedger(new_detector()).page(
            state=None, protocol=None, limit=1, cursor="nonsense"
        )
