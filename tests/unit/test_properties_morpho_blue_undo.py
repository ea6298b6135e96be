"""Random blocks through the real adapter and the real book: undone, nothing of them is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Answer, Call
from chimera.domain.market import EMPTY
from chimera.protocols.morpho_blue import calls, events
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import Id
from tests import undoing
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    CAROL,
    COLLATERAL,
    ID,
    NEW_ORACLE,
    ORACLE,
    PRICE,
    SHARES,
    SINGLETON,
    TERMS,
    World,
    at,
    authorised,
    borrowed,
    created,
    log,
    pledged,
    repaid,
    supplied,
    word,
    words,
)

CONTRACT = at(0x9E)
OTHER = replace(TERMS, oracle=NEW_ORACLE)
PARAMS = [8 * 10**17, 5 * 10**16, 5 * 10**17, 101 * 10**16, 104 * 10**16]
KINDS = (
    *("borrow", "repay", "pledge", "take", "lend", "withdraw") * 2,
    *("seize", "interest", "rate", "fee", "recipient", "create", "authorise", "oracle", "ruin"),
)


@dataclass(frozen=True)
class Act:
    """Something that happens, in one of two markets, to one of three people."""

    kind: str
    user: Address
    where: Id
    part: int  # of what is there, in percent

    def logs(self, world: World) -> Iterator[Log]:
        """What it makes the contracts log; nothing for a change of price."""
        made = LOGS.get(self.kind)
        if made is not None:
            held = world.account(self.user, self.where) or EMPTY
            sides = (held.owed, held.supplied, held.marks)
            yield made(self, *(side.get(self.where, 0) for side in sides))


def taken(act: Act, _: int, pledge: int, __: int) -> Log:
    amount = pledge * act.part // 100
    return log(events.WITHDRAW_COLLATERAL, act.where, act.user, BOB, data=[CAROL, amount])


def withdrawn(act: Act, _: int, __: int, lent: int) -> Log:
    shares = lent * act.part // 100
    return log(events.WITHDRAW, act.where, act.user, BOB, data=[CAROL, 0, shares])


def seized(act: Act, owed: int, pledge: int, _: int) -> Log:
    amount, shares = pledge * act.part // 100, owed * act.part // 100
    data = [0, shares, amount, 0, owed - shares if act.part == 100 else 0]
    return log(events.LIQUIDATE, act.where, CAROL, act.user, data=data)


LOGS: dict[str, Callable[[Act, int, int, int], Log]] = {
    "borrow": lambda act, *_: borrowed(act.user, act.part, act.part * 10**6, act.where),
    "repay": lambda act, owed, *_: repaid(act.user, 0, owed * act.part // 100, act.where),
    "pledge": lambda act, *_: pledged(act.user, act.part * 10**15, act.where),
    "take": taken,
    "lend": lambda act, *_: supplied(act.user, act.part, act.part * 10**6, act.where),
    "withdraw": withdrawn,
    "seize": seized,
    "interest": lambda act, *_: log(events.ACCRUE_INTEREST, act.where, data=[act.part] * 3),
    "rate": lambda act, *_: log(events.BORROW_RATE_UPDATE, act.where, data=[act.part] * 2),
    "fee": lambda act, *_: log(events.SET_FEE, act.where, data=[act.part]),
    "recipient": lambda act, *_: log(events.SET_FEE_RECIPIENT, act.user),
    "create": lambda *_: created(OTHER),
    "authorise": lambda act, *_: authorised(act.user, CONTRACT, allowed=act.part > 50),
    "ruin": lambda act, *_: repaid(act.user, 0, 10**40, act.where),  # more than anybody has
}


ACTS = st.builds(
    Act,
    kind=st.sampled_from(KINDS),
    user=st.sampled_from([ALICE, BOB, CAROL]),
    where=st.sampled_from([ID, ID, OTHER.id]),
    part=st.integers(0, 100),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=6), min_size=1, max_size=6)


class Life(World, undoing.Life[Act]):
    """A world whose singleton answers about everybody the same."""

    adapter: MorphoBlue

    def __init__(self, *, complete: bool) -> None:
        super().__init__(complete=complete)
        self.answers |= {
            (NEW_ORACLE, calls.PRICE): word(PRICE),
            (SINGLETON, calls.ID_TO_MARKET_PARAMS + OTHER.id): OTHER.words,
            (SINGLETON, calls.MARKET + OTHER.id): words(10**12, 10**18, 10**10, 10**16, 1, 0),
            (CONTRACT, calls.MORPHO): word(SINGLETON),
            (CONTRACT, calls.ID): word(ID),
            (CONTRACT, calls.PRE_LIQUIDATION_PARAMS): words(*PARAMS, ORACLE),
        }

    def ask(self, questions: Iterable[Call]) -> dict[Call, Answer]:
        asked = list(questions)
        for call in asked:
            if call.data.startswith(calls.POSITION):
                self.answers[call.to, call.data] = words(7, SHARES, COLLATERAL)
        return super().ask(asked)

    def next_block(self, acts: Sequence[Act]) -> BlockBatch:
        if any(act.kind == "oracle" for act in acts):
            dead = self.answers[ORACLE, calls.PRICE] is None
            self.answers[ORACLE, calls.PRICE] = word(PRICE) if dead else None
        return self.seal(*(entry for act in acts for entry in act.logs(self)), seconds=2)


(
    test_a_rollback_leaves_the_book_as_it_was_then,
    test_a_block_that_is_given_up_leaves_nothing_behind,
) = undoing.searched(Life, BLOCKS, examples=150)
