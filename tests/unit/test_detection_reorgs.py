"""What a reorg does to episodes."""

from chimera.detection.detector import OpportunityDetector
from chimera.domain.opportunity import Opportunity
from tests.fakes_detection import FakeChain, key


def new_detector() -> OpportunityDetector:
    return OpportunityDetector(chain_id=8453)


def flagged(detector: OpportunityDetector, chain: FakeChain) -> Opportunity:
    """Let blocks 100 and 101 flag alice."""
    detector.observe(chain.mine(alice="0.99"))
    (opportunity,) = detector.observe(chain.mine(alice="0.98"))
    return opportunity


def test_a_reorg_takes_its_blocks_out_of_the_count() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine())
    detector.observe(chain.mine(alice="0.9"))

    detector.rollback(chain.drop(1))

    assert detector.streaks.blocks_unhealthy(key("alice")) == 0
    assert detector.observe(chain.mine(alice="0.9")) == []


def test_an_episode_flagged_on_a_gone_chain_closes_at_the_first_new_block() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.observe(chain.mine(alice="0.97"))

    assert detector.rollback(chain.drop(2)) == []
    assert detector.open_opportunities() == []
    (closed,) = detector.observe(chain.mine())

    assert (closed.id, closed.closed_block, closed.closed_reason) == (first.id, 101, "reorged")
    assert closed.health_factor == "0.970000000000000000"
    assert closed.blocks_unhealthy == 3


def test_a_new_chain_that_has_it_under_1_again_is_a_new_episode() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.rollback(chain.drop(1))

    gone, anew = detector.observe(chain.mine(alice="0.96"))

    assert (gone.id, gone.closed_reason, gone.closed_block) == (first.id, "reorged", 101)
    assert anew.id != first.id
    assert (anew.state, anew.first_unhealthy_block, anew.flagged_block) == ("open", 100, 101)


def test_an_episode_flagged_at_the_ancestor_stays() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.observe(chain.mine(alice="0.5"))

    detector.rollback(chain.drop(1))

    assert detector.open_opportunities() == [first]
    assert detector.observe(chain.mine(alice="0.7")) == []
    assert detector.open_opportunities()[0].blocks_unhealthy == 3


def test_an_episode_that_stays_and_then_closes_has_the_values_of_the_ancestor() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)
    detector.observe(chain.mine(alice="0.5"))
    detector.rollback(chain.drop(1))

    (closed,) = detector.observe(chain.mine())

    assert closed.health_factor == "0.980000000000000000"
    assert closed.blocks_unhealthy == 2


def test_an_episode_closed_above_the_ancestor_is_open_again() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.observe(chain.mine(liquidated=["alice"]))

    assert detector.rollback(chain.drop(1)) == [first]

    assert detector.open_opportunities() == [first]
    (closed,) = detector.observe(chain.mine())
    assert (closed.id, closed.closed_reason) == (first.id, "recovered")


def test_an_episode_flagged_and_closed_above_the_ancestor_becomes_reorged() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine())
    first = flagged(detector, chain)
    detector.observe(chain.mine())

    assert detector.rollback(chain.drop(3)) == []
    (closed,) = detector.observe(chain.mine())

    assert (closed.id, closed.closed_block, closed.closed_reason) == (first.id, 101, "reorged")


def test_rollbacks_in_a_row_close_it_once() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine())
    flagged(detector, chain)
    detector.rollback(chain.drop(1))
    detector.rollback(chain.drop(1))

    assert [o.closed_block for o in detector.observe(chain.mine())] == [101]
    assert detector.observe(chain.mine()) == []


def test_a_reorged_episode_stays_closed_when_its_closing_block_goes_too() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)
    detector.rollback(chain.drop(1))
    detector.observe(chain.mine())

    assert detector.rollback(chain.drop(1)) == []
    assert detector.observe(chain.mine()) == []


def test_the_old_chain_that_comes_back_brings_the_old_id() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    old_head = chain.observations[-1]
    detector.rollback(chain.drop(1))

    assert detector.observe(old_head) == [first]


def test_a_rollback_to_the_newest_block_changes_nothing() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)

    assert detector.rollback(chain.head) == []
    assert detector.open_opportunities() == [first]
