"""Blocks in a row under 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.detection.streaks import StreakCounter
from chimera.domain.market import Key
from chimera.domain.opportunity import Streak
from chimera.errors import Rebuild
from tests.fakes_detection import key

ALICE, BOB = key("alice"), key("bob")


def test_every_block_under_1_counts() -> None:
    streaks = StreakCounter()

    streaks.observe(100, {ALICE})
    streaks.observe(101, {ALICE, BOB})

    assert streaks.blocks_unhealthy(ALICE) == 2
    assert streaks.blocks_unhealthy(BOB) == 1
    assert streaks.snapshot() == {ALICE: Streak(100, 2), BOB: Streak(101, 1)}


def test_an_account_that_was_never_under_1_has_no_streak() -> None:
    assert StreakCounter().blocks_unhealthy(ALICE) == 0


def test_a_recovery_restarts_the_count() -> None:
    streaks = StreakCounter()

    streaks.observe(100, {ALICE})
    streaks.observe(101, set())
    assert streaks.blocks_unhealthy(ALICE) == 0

    streaks.observe(102, {ALICE})
    assert streaks.blocks_unhealthy(ALICE) == 1
    assert streaks.first_block(ALICE) == 102


def test_a_block_that_was_counted_changes_nothing() -> None:
    streaks = StreakCounter()
    streaks.observe(100, {ALICE})
    streaks.observe(101, {ALICE})

    streaks.observe(101, {BOB})
    streaks.observe(100, set())

    assert streaks.snapshot() == {ALICE: Streak(100, 2)}
    assert streaks.newest == 101


def test_blocks_that_nobody_saw_start_every_streak_anew() -> None:
    streaks = StreakCounter()
    streaks.observe(100, {ALICE, BOB})

    streaks.observe(105, {ALICE})

    assert streaks.snapshot() == {ALICE: Streak(105, 1)}


def test_a_rollback_over_a_gap_brings_the_old_streaks_back() -> None:
    streaks = StreakCounter()
    streaks.observe(100, {ALICE, BOB})
    streaks.observe(105, {ALICE})

    streaks.rollback(100)

    assert streaks.snapshot() == {ALICE: Streak(100, 1), BOB: Streak(100, 1)}


def test_a_rollback_into_a_gap_is_refused() -> None:
    streaks = StreakCounter()
    streaks.observe(100, {ALICE})
    streaks.observe(105, {ALICE})

    with pytest.raises(Rebuild, match="block 103"):
        streaks.rollback(103)


def test_a_rollback_past_the_undo_window_is_refused_and_changes_nothing() -> None:
    streaks = StreakCounter(undo_window=2)
    for number in range(100, 104):
        streaks.observe(number, {ALICE})

    with pytest.raises(Rebuild, match="block 100"):
        streaks.rollback(100)

    assert streaks.blocks_unhealthy(ALICE) == 4
    streaks.rollback(101)
    assert streaks.blocks_unhealthy(ALICE) == 2


def test_a_rollback_to_the_newest_block_changes_nothing() -> None:
    streaks = StreakCounter()
    streaks.observe(100, {ALICE})

    streaks.rollback(100)

    assert streaks.snapshot() == {ALICE: Streak(100, 1)}


def test_restored_streaks_go_on() -> None:
    streaks = StreakCounter()
    streaks.restore({ALICE: Streak(90, 11), BOB: Streak(100, 1)}, 100)

    streaks.observe(101, {ALICE})

    assert streaks.blocks_unhealthy(ALICE) == 12
    assert streaks.blocks_unhealthy(BOB) == 0
    streaks.rollback(100)
    assert streaks.snapshot() == {ALICE: Streak(90, 11), BOB: Streak(100, 1)}


def test_nothing_before_a_restored_block_can_be_undone() -> None:
    streaks = StreakCounter()
    streaks.observe(99, {ALICE})
    streaks.restore({ALICE: Streak(90, 11)}, 100)

    with pytest.raises(Rebuild):
        streaks.rollback(99)


sets = st.frozensets(st.sampled_from([key("alice"), key("bob"), key("carol")]))


@given(st.lists(st.tuples(sets, st.integers(0, 4)), max_size=40))
def test_any_history_counts_like_a_walk_back_along_the_chain(
    moves: list[tuple[frozenset[Key], int]],
) -> None:
    streaks = StreakCounter(undo_window=4)
    streaks.observe(100, set())
    chain: list[frozenset[Key]] = [frozenset()]
    remembered = 0
    for unhealthy, depth in moves:
        back = min(depth, remembered)
        del chain[len(chain) - back :]
        streaks.rollback(99 + len(chain))
        chain.append(unhealthy)
        streaks.observe(99 + len(chain), unhealthy)
        remembered = min(4, remembered - back + 1)
        for account in (ALICE, BOB, key("carol")):
            assert streaks.blocks_unhealthy(account) == _walk_back(chain, account)


def _walk_back(chain: list[frozenset[Key]], account: Key) -> int:
    length = 0
    while length < len(chain) and account in chain[-1 - length]:
        length += 1
    return length
