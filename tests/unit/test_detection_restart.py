"""What a restart does to episodes."""

from dataclasses import replace

import pytest

from chimera.detection.detector import OpportunityDetector
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Rebuild
from tests.fakes_detection import FakeChain, block, key


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


def test_there_is_no_checkpoint_before_the_first_block() -> None:
    assert new_detector().checkpoint() is None


def test_an_episode_and_its_streak_go_on_after_a_restart() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)

    after.restore([first], checkpoint_of(before))

    assert after.open_opportunities() == [first]
    assert after.observe(chain.mine(alice="0.97")) == []
    (going_on,) = after.open_opportunities()
    assert (going_on.id, going_on.blocks_unhealthy) == (first.id, 3)


def test_a_streak_of_one_is_flagged_by_the_first_block_after_a_restart() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))

    after.restore([], checkpoint_of(before))

    (opportunity,) = after.observe(chain.mine(alice="0.98"))
    assert opportunity.first_unhealthy_block == 100


def test_the_checkpoint_block_seen_again_refreshes_the_values_only() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    stale = replace(first, health_factor="0.123000000000000000", collateral_value="7")
    after.restore([stale], checkpoint_of(before))

    assert after.observe(chain.observations[-1]) == []

    assert after.open_opportunities() == [first]


def test_blocks_before_the_checkpoint_cannot_be_rolled_back() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    after.restore([first], checkpoint_of(before))

    with pytest.raises(Rebuild):
        after.rollback(chain.observations[0].block)


def test_without_a_checkpoint_an_account_under_1_keeps_its_episode() -> None:
    chain, after = FakeChain(), new_detector()
    first = flagged(new_detector(), chain)
    chain.mine(), chain.mine()

    after.restore([first], None)
    assert after.open_opportunities() == [first]
    assert after.observe(chain.mine(alice="0.9")) == []

    (going_on,) = after.open_opportunities()
    assert (going_on.id, going_on.first_unhealthy_block) == (first.id, 100)
    assert going_on.blocks_unhealthy == 1
    assert going_on.health_factor == "0.900000000000000000"


def test_without_a_checkpoint_any_other_account_closes_with_its_stored_values() -> None:
    chain, after = FakeChain(), new_detector()
    first = flagged(new_detector(), chain)
    after.restore([first], None)

    (closed,) = after.observe(chain.mine())

    assert (closed.id, closed.closed_block, closed.closed_reason) == (first.id, 102, "recovered")
    assert (closed.health_factor, closed.blocks_unhealthy) == (first.health_factor, 2)


def test_without_a_checkpoint_a_chain_that_lies_before_the_episode_ends_it() -> None:
    late, early, after = FakeChain(start=500), FakeChain(), new_detector()
    first = flagged(new_detector(), late)
    after.restore([first], None)

    assert after.observe(early.mine(alice="0.9")) == []
    assert after.open_opportunities() == []


def test_an_episode_stored_above_the_checkpoint_is_made_again_under_its_id() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    older = checkpoint_of(before)
    (stored,) = before.observe(chain.mine(alice="0.98"))

    after.restore([stored], older)

    assert after.open_opportunities() == []
    assert after.observe(chain.observations[-1]) == [stored]
    assert after.observe(chain.mine(alice="0.98")) == []


def test_an_episode_stored_above_the_checkpoint_that_the_chain_lost_is_reorged() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine())
    older = checkpoint_of(before)
    stored = flagged(before, chain)
    chain.drop(2)

    after.restore([stored], older)
    assert after.observe(chain.mine()) == []
    (closed,) = after.observe(chain.mine(alice="0.9"))

    assert (closed.id, closed.closed_block, closed.closed_reason) == (stored.id, 102, "reorged")


def test_an_episode_closed_above_the_checkpoint_is_open_until_closed_again() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    first = flagged(before, chain)
    older = checkpoint_of(before)
    (closed,) = before.observe(chain.mine(liquidated=["alice"]))

    after.restore([closed], older)

    assert after.open_opportunities() == [first]
    assert after.observe(chain.observations[-1]) == [closed]


def test_an_episode_closed_below_the_checkpoint_is_over() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    flagged(before, chain)
    (closed,) = before.observe(chain.mine())

    after.restore([closed], checkpoint_of(before))

    assert after.open_opportunities() == []
    assert after.observe(chain.mine()) == []


def test_a_reorged_episode_is_over_wherever_the_checkpoint_is() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    older = checkpoint_of(before)
    before.observe(chain.mine(alice="0.98"))
    before.rollback(chain.drop(1))
    (reorged,) = before.observe(chain.mine())

    after.restore([reorged], older)

    assert after.observe(chain.observations[-1]) == []
    assert after.observe(chain.mine()) == []


def test_blocks_missing_after_the_checkpoint_keep_an_episode_stored_among_them() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    older = checkpoint_of(before)
    (stored,) = before.observe(chain.mine(alice="0.98"))
    chain.mine(alice="0.98")
    after.restore([stored], older)

    assert after.observe(chain.mine(alice="0.97")) == []

    (going_on,) = after.open_opportunities()
    assert (going_on.id, going_on.blocks_unhealthy) == (stored.id, 1)
    assert key("alice") in after.streaks.snapshot()


def test_a_block_whose_mirror_was_mended_is_judged_anew() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine())
    detector.observe(chain.mine(alice="0.99"))
    wrong = chain.mine(alice="0.98")
    (flag,) = detector.observe(wrong)

    healthy = replace(wrong, underwater={})
    changed = detector.reconsider(healthy)

    assert [(o.id, o.closed_reason) for o in changed] == [(flag.id, "reorged")]
    assert detector.open_opportunities() == []
    assert detector.reconsider(wrong)[-1].id == flag.id
    assert [o.id for o in detector.open_opportunities()] == [flag.id]


def test_what_the_blocks_to_come_will_settle_is_told() -> None:
    detector, chain = new_detector(), FakeChain()
    start = chain.mine()
    detector.observe(start)
    first = flagged(detector, chain)
    assert detector.unsettled() == []

    detector.rollback(start.block)

    assert [o.id for o in detector.unsettled()] == [first.id]


def test_without_a_checkpoint_the_flagging_block_itself_confirms_the_episode() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    flagging = chain.mine(alice="0.98")
    (first,) = before.observe(flagging)

    after.restore([first], None)

    assert after.observe(flagging) == []
    assert [o.id for o in after.open_opportunities()] == [first.id]


def test_without_a_checkpoint_another_block_at_its_height_ends_the_episode() -> None:
    before, after, chain = new_detector(), new_detector(), FakeChain()
    before.observe(chain.mine(alice="0.99"))
    flagging = chain.mine(alice="0.98")
    (first,) = before.observe(flagging)

    after.restore([first], None)
    elsewhere = replace(flagging, block=block(flagging.block.number, fork="b"))

    assert [(o.id, o.closed_reason) for o in after.observe(elsewhere)] == [(first.id, "reorged")]
    assert after.open_opportunities() == []
