"""Episodes: who is flagged, how they end, and what a reorg does to them."""

from dataclasses import replace

import pytest

from chimera.detection.detector import OpportunityDetector
from chimera.domain.opportunity import Opportunity
from chimera.errors import Rebuild
from tests.fakes_detection import FakeChain, block, key, sighting


def new_detector(confirmation_blocks: int = 2) -> OpportunityDetector:
    return OpportunityDetector(confirmation_blocks=confirmation_blocks, chain_id=8453)


def flagged(detector: OpportunityDetector, chain: FakeChain) -> Opportunity:
    """Let two blocks flag alice."""
    detector.observe(chain.mine(alice="0.99"))
    (opportunity,) = detector.observe(chain.mine(alice="0.98"))
    return opportunity


def test_one_block_under_1_is_not_flagged() -> None:
    assert new_detector().observe(FakeChain().mine(alice="0.99")) == []


def test_the_second_block_in_a_row_flags_with_the_values_of_that_block() -> None:
    opportunity = flagged(new_detector(), FakeChain())

    assert opportunity.protocol == "aave"
    assert opportunity.health_factor == "0.980000000000000000"
    assert opportunity.first_unhealthy_block == 100
    assert opportunity.flagged_block == 101
    assert opportunity.blocks_unhealthy == 2
    assert opportunity.state == "open"
    assert opportunity.closed_block is None
    assert opportunity.closed_reason is None
    assert opportunity.collateral_value == "0.9800"


def test_a_recovery_restarts_the_count() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine(alice="0.99"))
    detector.observe(chain.mine(alice="1.00"))

    assert detector.observe(chain.mine(alice="0.98")) == []


def test_more_confirmation_blocks_wait_longer() -> None:
    detector, chain = new_detector(confirmation_blocks=3), FakeChain()
    detector.observe(chain.mine(alice="0.99"))

    assert detector.observe(chain.mine(alice="0.99")) == []
    assert [o.flagged_block for o in detector.observe(chain.mine(alice="0.99"))] == [102]


@pytest.mark.parametrize("blocks", [1, 0, -2])
def test_fewer_than_two_confirmation_blocks_are_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        new_detector(confirmation_blocks=blocks)


def test_an_episode_is_flagged_once_and_follows_the_newest_block() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)

    assert detector.observe(chain.mine(alice="0.97")) == []

    (fresh,) = detector.open_opportunities()
    assert detector.open_count == 1
    assert fresh.id == first.id
    assert fresh.health_factor == "0.970000000000000000"
    assert fresh.blocks_unhealthy == 3


def test_a_recovery_closes_with_the_values_of_the_last_block_under_1() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.observe(chain.mine(alice="0.97"))

    (closed,) = detector.observe(chain.mine(alice="1.00"))

    assert closed.id == first.id
    assert (closed.state, closed.closed_block, closed.closed_reason) == ("closed", 103, "recovered")
    assert closed.health_factor == "0.970000000000000000"
    assert closed.blocks_unhealthy == 3
    assert detector.open_opportunities() == []


def test_a_liquidation_in_the_closing_block_is_the_reason() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)

    (closed,) = detector.observe(chain.mine(liquidated=["alice"]))

    assert closed.closed_reason == "liquidated"


def test_a_partial_liquidation_keeps_the_episode_open() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)

    assert detector.observe(chain.mine(alice="0.99", liquidated=["alice"])) == []
    (closed,) = detector.observe(chain.mine(alice="1.01"))

    assert closed.id == first.id
    assert closed.closed_reason == "recovered"


def test_a_liquidation_of_somebody_else_is_no_reason() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)

    (closed,) = detector.observe(chain.mine(liquidated=["bob"]))

    assert closed.closed_reason == "recovered"


def test_a_protocol_that_nobody_follows_any_more_closes_as_unpriced() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)

    gone = replace(chain.mine(), unfollowed=frozenset({key("alice")[0]}))
    (closed,) = detector.observe(gone)

    assert closed.closed_reason == "unpriced"


def test_a_dead_price_closes_as_unpriced() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)

    (closed,) = detector.observe(chain.mine(unpriced=["alice"]))

    assert closed.closed_reason == "unpriced"
    assert detector.streaks.blocks_unhealthy(key("alice")) == 0


def test_a_second_episode_has_its_own_id() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)
    detector.observe(chain.mine())

    assert flagged(detector, chain).id != first.id


def test_the_same_blocks_make_the_same_id_and_other_chains_another() -> None:
    twin = OpportunityDetector(chain_id=8453)
    stranger = OpportunityDetector(chain_id=1)
    first = flagged(new_detector(), FakeChain())

    assert flagged(twin, FakeChain()).id == first.id
    assert flagged(stranger, FakeChain()).id != first.id


def test_closed_episodes_come_before_opened_ones() -> None:
    detector, chain = new_detector(), FakeChain()
    detector.observe(chain.mine(alice="0.9"))
    detector.observe(chain.mine(alice="0.9", bob="0.9"))

    assert [o.state for o in detector.observe(chain.mine(bob="0.9"))] == ["closed", "open"]


def test_a_block_that_was_observed_opens_and_closes_nothing() -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)
    before = detector.open_opportunities()

    assert detector.observe(chain.observations[-1]) == []
    assert detector.observe(chain.observations[0]) == []
    assert detector.open_opportunities() == before


@pytest.mark.parametrize("number", [99, 101, 102])
def test_a_block_of_another_chain_asks_for_a_rebuild(number: int) -> None:
    detector, chain = new_detector(), FakeChain()
    flagged(detector, chain)

    with pytest.raises(Rebuild, match="does not build on"):
        detector.observe(sighting(block(number, fork="other"), alice="0.9"))


def test_a_rollback_to_a_forgotten_block_asks_for_a_rebuild() -> None:
    detector, chain = OpportunityDetector(chain_id=1, undo_window=3), FakeChain()
    for _ in range(5):
        detector.observe(chain.mine())

    with pytest.raises(Rebuild, match="block 100"):
        detector.rollback(chain.observations[0].block)
    detector.rollback(chain.observations[1].block)
    assert detector.newest == chain.observations[1].block


def test_a_gap_starts_the_count_anew_and_keeps_the_episode() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)

    assert detector.observe(sighting(block(110), alice="0.5", bob="0.9")) == []

    (going_on,) = detector.open_opportunities()
    assert (going_on.id, going_on.blocks_unhealthy) == (first.id, 1)
    assert going_on.first_unhealthy_block == 100


def test_a_gap_that_ends_under_nothing_closes_with_the_last_values_seen() -> None:
    detector, chain = new_detector(), FakeChain()
    first = flagged(detector, chain)

    (closed,) = detector.observe(sighting(block(110)))

    assert (closed.id, closed.closed_block, closed.closed_reason) == (first.id, 110, "recovered")
    assert closed.blocks_unhealthy == 2
