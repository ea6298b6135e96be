"""The trail of applied blocks, and the second opinion on logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.chain.audit import GRACE, Difference, LogAudit
from chimera.chain.reorg import Trail
from chimera.domain.block import Block, BlockHash, LogQuery
from tests.fakes_chain import POOL, TOKEN, TOPIC, FakeChain, log_at

QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))


def trail_of(chain: FakeChain, *, window: int = 64) -> Trail:
    trail = Trail(chain.canonical[0], window=window)
    for block in chain.canonical[1:]:
        trail.extend(block)
    return trail


def test_a_trail_remembers_its_window_and_the_block_before_it() -> None:
    chain = FakeChain(length=20)
    trail = trail_of(chain, window=5)

    assert trail.tip == chain.tip
    assert trail.oldest == chain.canonical[-6]
    assert trail.find(chain.canonical[-6].hash) == chain.canonical[-6]
    assert trail.find(chain.canonical[-7].hash) is None


def test_a_block_that_does_not_build_on_the_tip_is_refused() -> None:
    chain = FakeChain(length=4)
    trail = trail_of(chain)

    with pytest.raises(ValueError, match="does not build"):
        trail.extend(chain.canonical[2])


def test_a_trail_cannot_be_rewound_past_its_window() -> None:
    chain = FakeChain(length=9)

    with pytest.raises(KeyError):
        trail_of(chain, window=3).rewind(chain.canonical[2])


@given(length=st.integers(2, 40), window=st.integers(1, 20), depth=st.integers(0, 20))
def test_rewinding_and_following_another_branch_leaves_that_branch(
    length: int, window: int, depth: int
) -> None:
    depth = min(depth, window, length - 1)
    chain = FakeChain(length=length)
    trail = trail_of(chain, window=window)
    gone = chain.cut(depth) if depth else []

    assert trail.rewind(chain.tip) == depth
    for _ in range(depth + 1):
        trail.extend(chain.mine())

    assert trail.tip == chain.tip
    assert [block for block in gone if trail.find(block.hash)] == []


class Audited:
    """An audit with a chain of blocks to seal."""

    def __init__(self) -> None:
        self.audit, self.chain = LogAudit(), FakeChain()

    def seal(self, *, logs: int = 0, announced: int | None = None) -> list[Difference]:
        block = self.chain.mine()
        if announced is not None:
            for index in range(announced):
                self.audit.announced(block.hash, log_at(block.number, index), removed=False)
            self.audit.head(block.hash, QUERY)
        return self.audit.sealed(
            block, QUERY, [log_at(block.number, index) for index in range(logs)]
        )

    def outcome(self) -> list[Difference]:
        return [difference for _ in range(GRACE) for difference in self.seal(announced=0)]


def test_what_was_announced_and_sealed_alike_is_no_difference() -> None:
    audited = Audited()
    audited.seal(logs=3, announced=3)

    assert audited.outcome() == []


@pytest.mark.parametrize(("logs", "announced"), [(3, 1), (1, 3), (2, 0), (0, 1)])
def test_both_directions_of_a_difference_are_counted(logs: int, announced: int) -> None:
    audited = Audited()
    audited.seal(logs=logs, announced=announced)
    block = audited.chain.tip

    expected = Difference(block, max(0, logs - announced), max(0, announced - logs))
    assert audited.outcome() == [expected]


def test_a_block_that_was_never_announced_owes_nothing() -> None:
    audited = Audited()
    audited.seal(logs=3)

    assert audited.outcome() == []


def test_logs_may_come_after_their_block() -> None:
    audited = Audited()
    audited.seal(logs=1, announced=0)
    late = audited.chain.tip
    audited.audit.announced(late.hash, log_at(late.number, 0), removed=False)

    assert audited.outcome() == []


def test_a_log_that_was_withdrawn_does_not_count() -> None:
    audited = Audited()
    audited.seal(logs=1, announced=2)
    block = audited.chain.tip
    audited.audit.announced(block.hash, log_at(block.number, 1), removed=True)

    assert audited.outcome() == []


def test_logs_of_emitters_that_were_not_yet_watched_are_not_missed() -> None:
    audited = Audited()
    block = audited.chain.mine()
    audited.audit.head(block.hash, QUERY)
    wider = LogQuery(frozenset({POOL, TOKEN}), frozenset({TOPIC}))
    audited.audit.sealed(block, wider, [log_at(block.number, 0, address=TOKEN)])

    assert audited.outcome() == []


def test_a_block_that_was_rolled_back_owes_nothing() -> None:
    audited = Audited()
    audited.seal(logs=2, announced=0)
    ancestor: Block = audited.chain.canonical[-2]
    audited.chain.cut(1)
    audited.audit.rolled_back(ancestor)

    assert audited.outcome() == []


def kept(audit: LogAudit) -> int:
    return sum(map(len, audit._announced.values()))


def test_more_logs_of_a_block_than_any_has_are_not_kept_and_who_announced_them_is_accused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.audit.MOST_OF_BLOCK", 10)
    audited = Audited()
    for endpoint, index in zip("aabbb", range(5, 10), strict=True):
        audited.audit.begun(endpoint)
        for place in range(10 * index, 10 * index + 10):
            log = log_at(1, place)
            audited.audit.announced(BlockHash(b"invented"), log, removed=False)

    assert kept(audited.audit) == 10
    assert audited.seal() == [
        Difference(audited.chain.tip, 0, 10, "a"),
        Difference(audited.chain.tip, 0, 30, "b"),
    ]
    assert audited.seal() == []


def test_the_logs_of_all_blocks_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimera.chain.audit.MOST_LOGS", 50)
    audited = Audited()
    most = 0
    for number in range(100):
        for place in range(7):
            block_hash = BlockHash(number.to_bytes(32, "big"))
            audited.audit.announced(block_hash, log_at(number, place), removed=place == 6)
            audited.audit.announced(block_hash, log_at(number, 0), removed=False)
            most = max(most, kept(audited.audit))

    assert 45 <= most <= 50
    assert audited.audit._kept == kept(audited.audit)
    for _ in range(300):
        audited.seal(logs=3, announced=3)
    assert audited.outcome() == []
    assert audited.audit._kept == kept(audited.audit) <= 50


def test_a_block_whose_logs_there_was_no_room_for_owes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.audit.MOST_LOGS", 10)
    audited = Audited()
    blocks = [audited.chain.mine() for _ in range(4)]
    for block in blocks:
        audited.audit.head(block.hash, QUERY)
        for place in range(4):
            audited.audit.announced(block.hash, log_at(block.number, place), removed=False)
    told = [
        audited.audit.sealed(block, QUERY, [log_at(block.number, place) for place in range(4)])
        for block in blocks
    ]

    assert told == [[]] * 4
    assert audited.outcome() == []
