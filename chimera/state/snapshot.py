"""One block of the book, held still for paging, in the exact order of health."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from chimera.domain.block import Address, Block
from chimera.domain.market import Account, Holder, Key, Market, instance_of
from chimera.domain.numeric import WAD
from chimera.domain.position import Position
from chimera.ports import Adapter
from chimera.state.engine import StateEngine
from chimera.state.screen_ranking import Ranking
from chimera.state.valuation import Draft

UNPRICED, MAXIMAL, IDLE = 2, 1, 3  # what follows the numbers (0); IDLE: without debt

Rank = tuple[int, int, str, Holder]
"""(class, health factor, instance, holder): sorts as positions are listed."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing is narrowed to; None does not narrow. `max_health_factor` is in WAD."""

    protocol: str | None
    user: Address | None
    asset: Address | None
    max_health_factor: int | None

    def admit(self, part: Part, holder: Holder, account: Account) -> bool:
        """Tell whether the account passes everything but the health factor."""
        if self.user is not None or self.protocol not in (None, part.name):
            protocol, user = part.adapter.published(holder)
            if self.user not in (None, user) or self.protocol not in (None, protocol, part.name):
                return False
        return self.asset is None or self.asset in part.adapter.assets(part.market, account)


@dataclass(frozen=True, slots=True)
class Part:
    """One protocol at the block: all that values its accounts, lower bounds of health in order."""

    adapter: Adapter[Any]
    market: Market
    accounts: Mapping[Holder, Account]
    bounds: Ranking

    @property
    def name(self) -> str:
        """Name of the instance."""
        return self.adapter.name


class Listed:
    """
    Accounts in their exact order, worked out only as far as somebody has read.

    The screen's lower bounds say when no account that has not been looked at can come earlier; so a
    page costs exact integers for its own accounts and a few around it.
    """

    def __init__(self, ranks: Iterator[Rank]) -> None:
        self._ranks = ranks
        self._known: list[Rank] = []

    def slice(self, start: int, stop: int) -> list[Rank]:
        """Return the accounts from `start` on, up to `stop`; fewer at the end."""
        while len(self._known) < stop:
            rank = next(self._ranks, None)
            if rank is None:
                break
            self._known.append(rank)
        return self._known[start:stop]


class Snapshot:
    """
    The book at its newest block, as it stays while blocks go on.

    Accounts and markets are immutable, so this copies references only.
    """

    def __init__(self, engine: StateEngine) -> None:
        book = engine.book
        self.block: Block = book.block
        self.parts = tuple(_part(engine, name) for name in book.protocols)
        self.observation = engine.observation
        under = self.observation.underwater if self.observation else ()
        self._streaks = {key: engine.mirror.streaks.blocks_unhealthy(key) for key in under}
        self._lists: dict[Filters, Listed] = {}

    def listed(self, filters: Filters) -> Listed:
        """Return the accounts that pass, in order."""
        if filters not in self._lists:
            self._lists[filters] = Listed(self._ranks(filters))
        return self._lists[filters]

    def position(self, key: Key) -> Position | None:
        """Value one account, or return None for one that is not in the book."""
        for part in self.parts:
            account = part.accounts.get(key[1])
            if part.name == key[0] and account is not None:
                published = part.adapter.published(key[1])
                streak = self._streaks.get(published, 0)
                args = (part.adapter, key[1], account, part.market, self.block, streak)
                return Draft(*args).position()
        return None

    def _ranks(self, filters: Filters) -> Iterator[Rank]:
        wanted = None if filters.protocol is None else instance_of(filters.protocol)
        parts = [part for part in self.parts if wanted in (None, part.name)]
        owing = heapq.merge(*(_owing(part, filters, self.block.timestamp) for part in parts))
        limit = filters.max_health_factor
        if limit is None:
            return chain(owing, _idle(parts, filters))
        return _up_to(owing, limit)


def _part(engine: StateEngine, name: str) -> Part:
    market, screen = engine.book.market(name), engine.screens[name]
    weights = screen.weigh(market, engine.book.block.timestamp)
    accounts = dict(engine.book.accounts(name).users)
    return Part(engine.adapters[name], market, accounts, screen.ranking(weights))


def _owing(part: Part, filters: Filters, timestamp: int) -> Iterator[Rank]:
    """Yield accounts with debt: one is ready once every bound to come is over its rank."""
    waiting: list[Rank] = []
    for bound, user in part.bounds:
        account = part.accounts[user]
        if not filters.admit(part, user, account):
            continue
        while waiting and waiting[0][0] == 0 and waiting[0][1] < bound * WAD - 1:  # a floor
            yield heapq.heappop(waiting)
        heapq.heappush(waiting, _rank(part, user, account, timestamp))
    while waiting:
        yield heapq.heappop(waiting)


def _rank(part: Part, user: Holder, account: Account, timestamp: int) -> Rank:
    health = part.adapter.health(part.market, account, timestamp)
    if health.factor is not None:
        return 0, health.factor, part.adapter.name, user
    kind = MAXIMAL if health.error is None else UNPRICED
    return kind, 0, part.adapter.name, user


def _idle(parts: Iterable[Part], filters: Filters) -> Iterator[Rank]:
    """Yield accounts without debt; they are looked up only when somebody gets there."""
    for part in sorted(parts, key=lambda part: part.adapter.name):
        accounts = part.accounts.items()
        users = [
            user for user, held in accounts if not held.is_open and filters.admit(part, user, held)
        ]
        yield from ((IDLE, 0, part.adapter.name, user) for user in sorted(users))


def _up_to(ranks: Iterable[Rank], limit: int) -> Iterator[Rank]:
    for rank in ranks:
        if rank[0] != 0 or rank[1] > limit:
            return
        yield rank
