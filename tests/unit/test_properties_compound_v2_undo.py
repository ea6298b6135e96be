"""Random blocks through the real adapter and the real book: undone, nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account
from chimera.protocols.compound_v2 import events
from chimera.protocols.compound_v2.market import CompoundMarket
from tests import undoing
from tests.fakes_compound_v2 import (
    ALICE,
    BOB,
    CAROL,
    COMPTROLLER,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NAME,
    Mirror,
    log,
    owing,
    readings,
    word,
)
from tests.fakes_state import child

START = {
    ALICE: owing({M_WETH: 10**10, M_USDC: 7}, {M_USDC: 10**9}),
    BOB: owing({M_USDC: 10**12}, {M_WETH: 10**17}),
}
KINDS = (
    *("mint", "redeem", "transfer", "borrow", "repay", "accrue", "seize"),
    *("enter", "leave", "terms", "oracle", "pause", "liquidation", "ruin"),
)


@dataclass(frozen=True)
class Act:
    """Something that somebody does, before it is known what log that makes."""

    kind: str
    user: Address
    other: Address
    mtoken: Address
    number: int


ACTS = st.builds(
    Act,
    kind=st.sampled_from(KINDS),
    user=st.sampled_from([ALICE, BOB, CAROL]),
    other=st.sampled_from([ALICE, BOB, CAROL]),
    mtoken=st.sampled_from([M_WETH, M_USDC]),
    number=st.integers(0, 10),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=5), min_size=1, max_size=6)
SEIZE = b"Seize".ljust(32, b"\0")


class Life(undoing.Life[Act]):
    """A comptroller."""

    adapter = MOONWELL_ON_BASE

    def __init__(self, *, complete: bool) -> None:
        self.salt = 0
        self.book = Mirror(START, complete=complete).book

    def market(self) -> CompoundMarket:
        found = self.book.market(NAME)
        assert isinstance(found, CompoundMarket)
        return found

    def next_block(self, acts: Sequence[Act]) -> BlockBatch:
        self.salt += 1
        block = child(self.book.block, str(self.salt))
        logs = tuple(entry for act in acts for entry in self.logs(act))
        accounts, of = self.book.accounts(NAME), self.market()
        told: dict[Call, Answer] = dict(readings(of))
        for _ in range(8):
            lacking = MOONWELL_ON_BASE.needs(of, accounts, block, logs, told).calls
            told |= {call: word(0) * 4 for call in lacking}
        return BlockBatch(block, logs, told)

    def logs(self, act: Act) -> Iterator[Log]:
        held = self.book.get((NAME, act.user)) or Account()
        balance, owed = held.supplied.get(act.mtoken, 0), held.owed.get(act.mtoken, 0)
        state, part = self.market().states[act.mtoken], balance * act.number // 30
        m, user = act.mtoken, act.user
        match act.kind:
            case "mint":
                yield log(m, events.MINT, user, 1, act.number)
                yield log(m, events.TRANSFER, act.number, indexed=(m, user))
            case "redeem":
                yield log(m, events.TRANSFER, part, indexed=(user, m))
                yield log(m, events.REDEEM, user, 1, part)
            case "transfer":
                yield log(m, events.TRANSFER, part, indexed=(user, act.other))
            case "borrow":
                borrows = state.borrows + act.number
                yield log(COMPTROLLER, events.MARKET_ENTERED, m, user)
                yield log(m, events.BORROW, user, act.number, owed + act.number, borrows)
            case "repay":
                left = owed * act.number // 10
                yield log(m, events.REPAY_BORROW, user, user, owed - left, left, state.borrows)
            case "accrue":
                interest, index = act.number, state.index + 10**12 * act.number
                yield log(m, events.ACCRUE_INTEREST, 1, interest, index, state.borrows + interest)
            case "seize":
                yield log(m, events.TRANSFER, part, indexed=(user, act.other), index=1)
                yield log(m, events.TRANSFER, 0, indexed=(user, m), index=2)
                yield log(m, events.RESERVES_ADDED, m, 1, state.reserves + 1, index=3)
            case "ruin":  # more than anybody has: the mirror does not fit, in mid-block
                yield log(m, events.TRANSFER, 10**40, indexed=(user, m))
            case _:
                yield self.governed(act)

    def governed(self, act: Act) -> Log:
        m, user = act.mtoken, act.user
        return {
            "enter": log(COMPTROLLER, events.MARKET_ENTERED, m, user),
            "leave": log(COMPTROLLER, events.MARKET_EXITED, m, user),
            "terms": log(COMPTROLLER, events.NEW_COLLATERAL_FACTOR, m, 0, act.number),
            "oracle": log(COMPTROLLER, events.NEW_PRICE_ORACLE, m, act.other),
            "pause": log(
                COMPTROLLER, events.ACTION_PAUSED, 64, act.number % 2, 5, b"Seize" + bytes(27)
            ),
            "liquidation": log(m, events.LIQUIDATE_BORROW, user, act.other, 1, m, 1),
        }[act.kind]


(
    test_a_rollback_leaves_the_book_as_it_was_then,
    test_a_block_that_is_given_up_leaves_nothing_behind,
) = undoing.searched(Life, BLOCKS, examples=60)
