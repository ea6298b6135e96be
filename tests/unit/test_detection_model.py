"""Any life of a chain against the rules told the slow way."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.domain.opportunity import Checkpoint, Observation, Opportunity
from tests.fakes_detection import FakeChain, episodes_of, told

WINDOW = 6
CONFIRMATION_BLOCKS = 2

healths = st.dictionaries(
    st.sampled_from(["alice", "bob", "carol"]), st.sampled_from(["0.5", "0.97", "0.99", "1.0"])
)
names = st.sets(st.sampled_from(["alice", "bob", "carol"]), max_size=2)


@dataclass
class Disk:
    """What a store would hold: the newest version of every episode, and recent checkpoints."""

    episodes: dict[str, Opportunity] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def save(self, changed: Iterable[Opportunity], checkpoint: Checkpoint | None) -> None:
        self.episodes.update({opportunity.id: opportunity for opportunity in changed})
        if checkpoint is not None:
            self.checkpoints = [*self.checkpoints, checkpoint][-WINDOW:]


def fresh_detector() -> OpportunityDetector:
    return OpportunityDetector(
        confirmation_blocks=CONFIRMATION_BLOCKS, chain_id=1, undo_window=WINDOW
    )


class LifeOfAChain(RuleBasedStateMachine):
    """Blocks, reorgs and restarts in any order."""

    @initialize()
    def genesis(self) -> None:
        self.chain, self.disk, self.detector = FakeChain(), Disk(), fresh_detector()
        self.ledger = OpportunityLedger(self.detector)
        self.undoable = 0
        self.settled = True
        self.take(self.chain.mine())
        self.undoable = 0

    def take(self, observation: Observation) -> None:
        changed = self.detector.observe(observation)
        assert len({opportunity.id for opportunity in changed}) == len(changed)
        self.ledger.record(changed)
        self.disk.save([*changed, *self.detector.open_opportunities()], self.detector.checkpoint())
        self.undoable = min(WINDOW, self.undoable + 1)
        self.settled = True

    @rule(health=healths, unpriced=names, liquidated=names)
    def a_block(self, health: dict[str, str], unpriced: set[str], liquidated: set[str]) -> None:
        dead = unpriced - set(health)
        self.take(self.chain.mine(unpriced=dead, liquidated=liquidated, **health))

    @precondition(lambda self: self.undoable > 0)
    @rule(choice=st.integers(0, 100))
    def a_reorg(self, choice: int) -> None:
        depth = 1 + choice % self.undoable
        reopened = self.detector.rollback(self.chain.drop(depth))
        self.ledger.record(reopened)
        self.disk.save(reopened, None)
        self.undoable -= depth
        self.settled = False

    @rule(lost=st.integers(0, 3))
    def a_restart(self, lost: int) -> None:
        canonical = [observation.block for observation in self.chain.observations]
        good = [c for c in self.disk.checkpoints if c.block in canonical]
        if not good:
            return
        resume = good[-1 - min(lost, len(good) - 1)]
        self.detector = fresh_detector()
        self.detector.restore(self.disk.episodes.values(), resume)
        self.ledger = OpportunityLedger(self.detector)
        self.ledger.restore(self.disk.episodes.values())
        again, *missed = self.chain.observations[canonical.index(resume.block) :]
        assert self.detector.observe(again) == []
        self.undoable = 0
        self.settled = False
        for observation in missed:
            self.take(observation)

    @invariant()
    def open_episodes_are_those_of_the_canonical_chain(self) -> None:
        expected = [
            episode
            for episode in episodes_of(self.chain.observations, CONFIRMATION_BLOCKS)
            if episode.closed is None
        ]
        found = [told(opportunity) for opportunity in self.detector.open_opportunities()]
        assert sorted(found, key=lambda t: t.key) == expected

    @invariant()
    def every_episode_ever_told_is_canonical_or_reorged(self) -> None:
        if not self.settled:
            return
        expected = set(episodes_of(self.chain.observations, CONFIRMATION_BLOCKS))
        head = self.chain.head.number
        for opportunity in self.disk.episodes.values():
            if opportunity.closed_reason == "reorged":
                assert told(opportunity) not in expected
            elif opportunity.flagged_block <= head:
                assert told(opportunity) in expected
        canonical = [o for o in self.disk.episodes.values() if told(o) in expected]
        assert len(canonical) == len(expected)

    @invariant()
    def the_ledger_lists_every_episode_once(self) -> None:
        if not self.settled:
            return
        _, items, _ = self.ledger.page(state=None, protocol=None, limit=1000, cursor=None)
        stored = {o.id: o for o in self.disk.episodes.values() if o.flagged_block <= self.head}
        assert {item.id: item for item in items if item.flagged_block <= self.head} == stored
        assert len({item.id for item in items}) == len(items)

    @property
    def head(self) -> int:
        return self.chain.head.number


LifeOfAChain.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLifeOfAChain = LifeOfAChain.TestCase
