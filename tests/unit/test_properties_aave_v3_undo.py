"""Random blocks through the real adapter and the real book: undone, nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account
from chimera.domain.numeric import RAY
from chimera.protocols.aave_v3 import events
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, Engine
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.state.book import Book
from tests import undoing
from tests.fakes_aave_v3 import (
    ALICE,
    BLOCK,
    BOB,
    CAROL,
    CONFIGURATOR,
    POOL,
    PROVIDER,
    RESERVES,
    USDC,
    WETH,
    ZERO,
    address,
    log,
    market,
    readings,
    word,
)
from tests.fakes_state import child

NAME = "aave"
AAVE = AaveV3(name=NAME, address=PROVIDER, from_block=0)
EACH = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
START = {
    ALICE: Account({WETH: 10**18, USDC: 7}, {USDC: 10**9}, frozenset({WETH})),
    BOB: Account({USDC: 10**10}, {WETH: 10**17}, frozenset({USDC}), mode=1),
}
USERS, ASSETS = st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from([WETH, USDC])
TOKEN_MOVES = ("supply", "debt")
OTHERS = ("transfer", "enable", "disable", "mode", "rates", "terms", "pause", "liquidation", "ruin")


@dataclass(frozen=True)
class Act:
    """Something that somebody does, before it is known what log that makes."""

    kind: str
    user: Address
    other: Address
    asset: Address
    share: int  # of what is there, in percent; past 100 it comes, under 100 it goes
    number: int


ACTS = st.builds(
    Act,
    kind=st.sampled_from(TOKEN_MOVES * 3 + OTHERS),
    user=USERS,
    other=USERS,
    asset=ASSETS,
    share=st.integers(0, 300),
    number=st.integers(0, 1),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=5), min_size=1, max_size=6)


class Life(undoing.Life[Act]):
    """A pool of this engine."""

    adapter = AAVE

    def __init__(self, engine: Engine, *, complete: bool) -> None:
        self.engine, self.salt = engine, 0
        self.book = Book(undo_window=6, debug=True)
        self.book.load(NAME, market(engine=engine), START, complete=complete, block=BLOCK)

    def next_block(self, acts: Sequence[Act]) -> BlockBatch:
        self.salt += 1
        block = child(self.book.block, str(self.salt))
        logs = tuple(entry for act in acts for entry in self.logs(act))
        accounts, of = self.book.accounts(NAME), self.book.market(NAME)
        assert isinstance(of, AaveMarket)
        answers: dict[Call, Answer] = readings(of)
        lacking = AAVE.needs(of, accounts, block, logs, answers).calls
        return BlockBatch(block, logs, dict.fromkeys(lacking, word(self.salt)) | answers)

    # --- logs ------------------------------------------------------------------------------------

    def logs(self, act: Act) -> Iterator[Log]:
        held = self.book.get((NAME, act.user)) or Account()
        if act.kind in TOKEN_MOVES:
            yield self.moved(act, held.supplied if act.kind == "supply" else held.owed)
        else:
            yield from getattr(self, f"log_{act.kind}")(act, held)

    def moved(self, act: Act, before: Mapping[Address, int]) -> Log:
        reserve, is_debt = RESERVES[act.asset], act.kind == "debt"
        token = reserve.debt_token if is_debt else reserve.supply_token
        balance = self.engine.owed if is_debt else self.engine.supplied
        scaled, index = before.get(act.asset, 0), RAY + 10**24 * self.salt
        after = scaled * act.share // 100 if scaled else act.share * 10**6
        delta = balance(after, index) - balance(scaled, index)
        if delta < 0:
            return log(token, events.BURN, act.user, address(1), data=[-delta, 0, index])
        return log(token, events.MINT, address(1), act.user, data=[delta, 0, index])

    def log_transfer(self, act: Act, held: Account) -> Iterator[Log]:
        amount = held.supplied.get(act.asset, 0) * min(act.share, 100) // 100
        token = RESERVES[act.asset].supply_token
        yield log(token, events.BALANCE_TRANSFER, act.user, act.other, data=[amount, RAY])

    def log_enable(self, act: Act, _: Account) -> Iterator[Log]:
        yield log(POOL, events.COLLATERAL_ENABLED, act.asset, act.user, data=[])

    def log_disable(self, act: Act, _: Account) -> Iterator[Log]:
        yield log(POOL, events.COLLATERAL_DISABLED, act.asset, act.user, data=[])

    def log_mode(self, act: Act, _: Account) -> Iterator[Log]:
        yield log(POOL, events.USER_EMODE_SET, act.user, data=[act.number])

    def log_rates(self, act: Act, _: Account) -> Iterator[Log]:
        words = [act.share, 0, act.share, RAY + act.share, RAY + 2 * act.share]
        yield log(POOL, events.RESERVE_DATA_UPDATED, act.asset, data=words)

    def log_terms(self, act: Act, _: Account) -> Iterator[Log]:
        topic = events.COLLATERAL_CONFIGURATION_CHANGED
        yield log(CONFIGURATOR, topic, act.asset, data=[0, 5000 + act.share, 10500])

    def log_pause(self, act: Act, _: Account) -> Iterator[Log]:
        yield log(CONFIGURATOR, events.RESERVE_PAUSED, act.asset, data=[act.number])

    def log_liquidation(self, act: Act, _: Account) -> Iterator[Log]:
        words: list[int | bytes] = [1, 1, ZERO, act.number]
        yield log(POOL, events.LIQUIDATION_CALL, act.asset, USDC, act.user, data=words)

    def log_ruin(self, act: Act, _: Account) -> Iterator[Log]:
        """More than anybody has: the mirror does not fit, in the middle of the block."""
        token = RESERVES[act.asset].supply_token
        yield log(token, events.BURN, act.user, address(1), data=[10**40, 0, RAY])


@EACH
@settings(max_examples=40, deadline=None, derandomize=True)
@given(blocks=BLOCKS, complete=st.booleans(), data=st.data())
def test_a_rollback_leaves_the_book_as_it_was_then(
    engine: Engine,
    blocks: list[list[Act]],
    complete: bool,  # noqa: FBT001  (hypothesis passes it)
    data: st.DataObject,
) -> None:
    undoing.check_rollback(Life(engine, complete=complete), blocks, data)


@EACH
@settings(max_examples=40, deadline=None, derandomize=True)
@given(blocks=BLOCKS, complete=st.booleans(), stop_after=st.integers(0, 6))
def test_a_block_that_is_given_up_leaves_nothing_behind(
    engine: Engine,
    blocks: list[list[Act]],
    complete: bool,  # noqa: FBT001
    stop_after: int,
) -> None:
    undoing.check_giving_up(Life(engine, complete=complete), blocks, stop_after)
