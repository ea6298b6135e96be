"""
Made-up blocks for the made-up pool: what people do, and what the oracle answers.

An action is two logs that a mirror follows, as in the pool: `ReserveDataUpdated`, and a `Mint` or
`Burn` of a token; one in ten is a transfer of aTokens that switches the collateral on. Prices
wander by a few tenths of a percent and come back, so that accounts go under 1 and recover.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.synthetic import GENESIS, SEED, block_after
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account
from chimera.domain.numeric import RAY
from chimera.ports import Adapter
from chimera.protocols.aave_v3 import events
from chimera.protocols.aave_v3.market import AaveMarket, Indexes
from chimera.state.shelf import Shelf

MOVED = 1_000  # an action moves this part of the balance it began with, so none runs dry
TRANSFERS = 0.1  # of all actions
SWING, PULL = 0.002, 0.05  # of a price per block: random step, and part of the way back


Said = tuple[Address, tuple[bytes, ...], bytes]
"""Who logs it, topics, data."""


class Traffic:
    """
    Makes up one block after the other.

    Args:
        adapter: Tells which prices are asked for.
        market: The pool as it was loaded.
        accounts: Who acts.
        logs: How many logs a block has, an even number.
    """

    def __init__(
        self,
        adapter: Adapter[Any],
        market: AaveMarket,
        accounts: Mapping[Address, Account],
        *,
        logs: int,
    ) -> None:
        self._rng = random.Random(SEED)
        self._market = market
        self._accounts = accounts
        self._users = list(accounts)
        self._logs = logs
        shelf = Shelf(adapter.name, market, accounts, complete=True)
        self._polls = adapter.polls(market, shelf, GENESIS)
        self._drift = [0.0] * len(self._polls)
        self._newest = GENESIS

    @property
    def prices(self) -> int:
        """How many prices there are."""
        return len(self._polls)

    def block(
        self,
        *,
        moving: int | None = None,
        count: int | None = None,
        among: Sequence[Address] = (),
    ) -> BlockBatch:
        """
        Return the next block.

        Args:
            moving: How many prices move; all of them where it is not said.
            count: How many logs it has, if not as many as others.
            among: Who acts; everybody where it is not said.
        """
        self._newest = block = block_after(self._newest)
        indexes, users = self._market.indexes(block.timestamp), among or self._users
        actions = (self._logs if count is None else count) // 2
        said = [log for _ in range(actions) for log in self._action(users, indexes)]
        logs = tuple(
            Log(emitter, topics, data, place, block.number)
            for place, (emitter, topics, data) in enumerate(said)
        )
        return BlockBatch(block, logs, self._prices(moving))

    def blocks(self, count: int) -> list[BlockBatch]:
        """Return the next blocks."""
        return [self.block() for _ in range(count)]

    def _prices(self, moving: int | None) -> dict[Call, Answer]:
        places = range(self.prices)
        for place in places if moving is None else self._rng.sample(places, moving):
            swing = self._rng.uniform(-SWING, SWING)
            self._drift[place] = self._drift[place] * (1 - PULL) + swing
        first = [self._market.prices[source] or 0 for source in self._market.priced()]
        return {
            call: word(round(price * (1 + drift)))
            for call, price, drift in zip(self._polls, first, self._drift, strict=True)
        }

    def _action(
        self, users: Sequence[Address], indexes: Mapping[Address, Indexes]
    ) -> tuple[Said, Said]:
        user = self._rng.choice(users)
        account = self._accounts[user]
        if self._rng.random() < TRANSFERS and account.supplied:
            return self._transfer(user, self._rng.choice(users), indexes)
        on_debt = self._rng.random() < 0.5
        held = account.owed if on_debt else account.supplied
        asset, scaled = self._rng.choice(list(held.items()))
        reserve, now = self._market.reserves[asset], indexes[asset]
        token = reserve.debt_token if on_debt else reserve.supply_token
        index = now.debt if on_debt else now.income
        amount = max(1, scaled // MOVED) * index // RAY
        topic = self._rng.choice((events.MINT, events.BURN))
        moved = (token, (topic, padded(user), padded(user)), words(amount, 0, index))
        return self._rates(asset, now), moved

    def _rates(self, asset: Address, now: Indexes) -> Said:
        rates = self._market.rates[asset]
        data = words(rates.liquidity_rate, 0, rates.debt_rate, now.income, now.debt)
        return self._market.pool, (events.RESERVE_DATA_UPDATED, padded(asset)), data

    def _transfer(
        self, sender: Address, receiver: Address, indexes: Mapping[Address, Indexes]
    ) -> tuple[Said, Said]:
        asset, scaled = self._rng.choice(list(self._accounts[sender].supplied.items()))
        topics = (events.BALANCE_TRANSFER, padded(sender), padded(receiver))
        data = words(scaled // MOVED, indexes[asset].income)
        switched = (events.COLLATERAL_ENABLED, padded(asset), padded(receiver))
        return (
            (self._market.reserves[asset].supply_token, topics, data),
            (self._market.pool, switched, b""),
        )


def word(value: int) -> bytes:
    """Write an integer as the contracts do."""
    return value.to_bytes(32, "big")


def words(*values: int) -> bytes:
    """Write several of them in a row."""
    return b"".join(word(value) for value in values)


def padded(account: Address) -> bytes:
    """Write an address as a topic."""
    return account.rjust(32, b"\0")
