"""Random blocks through the real adapter and the real book: undone, nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from chimera.domain.block import Address, Block, BlockBatch, Log
from chimera.protocols.compound_v3 import events
from tests import undoing
from tests.fakes_compound_v3 import (
    ABSORBER,
    ALICE,
    BOB,
    CAROL,
    CBBTC,
    COMET,
    COMPOUND,
    START,
    WETH,
    FakeComet,
    Follower,
    account,
    advance,
    block_at,
    burned,
    in_order,
    log,
    market,
    minted,
    supplied,
    withdrawn,
)

HOLDERS = {
    ALICE: account(-20 * 10**9, weth=10**20, cbbtc=7),
    BOB: account(10**12),
    CAROL: account(0, cbbtc=10**10),
}
KINDS = (
    *("supply", "withdraw", "transfer", "pledge", "take", "hand", "silence") * 2,
    *("absorb", "rescue", "upgrade", "ruin"),
)


@dataclass(frozen=True)
class Act:
    """Something that somebody does, before it is known what log that makes."""

    kind: str
    user: Address
    other: Address
    asset: Address
    part: int  # of what is there, in percent, or millions


ACTS = st.builds(
    Act,
    kind=st.sampled_from(KINDS),
    user=st.sampled_from([ALICE, BOB, CAROL]),
    other=st.sampled_from([ALICE, BOB, CAROL]),
    asset=st.sampled_from([WETH, CBBTC]),
    part=st.integers(0, 100),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=5), min_size=1, max_size=6)


class Life(Follower, undoing.Life[Act]):
    """A Comet whose principals are what the logs leave, but where base moves without a log."""

    adapter = COMPOUND

    def __init__(self, *, complete: bool) -> None:
        super().__init__(
            FakeComet(market(START), START.accrued_at, dict(HOLDERS)), complete=complete
        )
        self.salt = 0

    def next_block(self, acts: Sequence[Act]) -> BlockBatch:
        self.salt += 1
        advance(self, seconds=2)
        logs = in_order(*(entry for act in acts for entry in self.logs(act)))
        newest = self.book.block
        following = block_at(self.comet.timestamp, newest.number + 1, bytes([self.salt]))
        block = Block(following.number, following.hash, newest.hash, following.timestamp)
        return self.seal(block, logs)

    def logs(self, act: Act) -> Iterator[Log]:
        user, millions = act.user, act.part * 10**6
        match act.kind:
            case "supply":
                yield supplied(user, millions)
            case "withdraw":
                yield withdrawn(user, millions)
                if self.principal(user) > 0:
                    yield burned(user, millions)
            case "transfer":
                yield log(events.TRANSFER, user, act.other, words=[millions])
            case "rescue":
                yield minted(user, millions)
            case "silence":
                self.comet.accounts[user] = account(act.part - 50, weth=10**18)
            case "upgrade":
                yield log(events.UPGRADED, COMET)
            case _:
                yield from self.collateral_logs(act)

    def collateral_logs(self, act: Act) -> Iterator[Log]:
        user, asset = act.user, act.asset
        held = self.account(user).supplied.get(asset, 0)
        part = held * act.part // 100
        match act.kind:
            case "pledge":
                yield log(events.SUPPLY_COLLATERAL, user, user, asset, words=[act.part])
            case "take":
                yield log(events.WITHDRAW_COLLATERAL, user, user, asset, words=[part])
            case "hand":
                yield log(events.TRANSFER_COLLATERAL, user, act.other, asset, words=[part])
            case "absorb":
                yield log(events.ABSORB_COLLATERAL, ABSORBER, user, asset, words=[held, 1])
                yield log(events.ABSORB_DEBT, ABSORBER, user, words=[act.part * 10**6, 1])
            case "ruin":  # more than anybody has: the mirror does not fit, in mid-block
                yield log(events.WITHDRAW_COLLATERAL, user, user, asset, words=[10**40])


(
    test_a_rollback_leaves_the_book_as_it_was_then,
    test_a_block_that_is_given_up_leaves_nothing_behind,
) = undoing.searched(Life, BLOCKS, examples=60)
