"""One block of the book, held still for paging, in the exact order of health."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

from chimera.domain.block import Address, Block
from chimera.domain.market import Account, Holder, Key, Market, Shape, instance_of
from chimera.domain.numeric import WAD
from chimera.domain.position import Position
from chimera.errors import Skip
from chimera.ports import Adapter
from chimera.service import Turn
from chimera.state.engine import StateEngine
from chimera.state.screen_ranking import Ranking
from chimera.state.still import Still
from chimera.state.valuation import Draft

RUN = 2_048  # holders that are sorted in one go
MOST_LISTS = 32  # worked out in part and kept; what is asked for again later begins anew
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
        return self.asset is None or self.asset in part.assets(account)


@dataclass(frozen=True, slots=True)
class Part:
    """One protocol at the block: all that values its accounts, lower bounds of health in order."""

    adapter: Adapter[Any]
    market: Market
    accounts: Still
    bounds: Ranking
    owing: int  # how many of the accounts have debt
    _assets: dict[Shape, frozenset[Address]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the instance."""
        return self.adapter.name

    def assets(self, account: Account) -> frozenset[Address]:
        """Return the tokens on any leg: accounts of one shape have the same."""
        found = self._assets.get(account.shape)
        if found is None:
            found = self._assets[account.shape] = self.adapter.assets(self.market, account)
        return found

    def holders_of(self, user: Address) -> Iterator[Holder | None]:
        """Yield where the book keeps a user; all are looked at where markets are isolated."""
        if len(next(iter(self.accounts), user)) == len(user):
            if user in self.accounts:
                yield user
            return
        for holder in self.accounts:
            yield holder if holder.endswith(user) else None

    def rank(self, holder: Holder, account: Account, timestamp: int) -> Rank:
        """Return the place of an account in the order."""
        if not account.is_open:
            return IDLE, 0, self.name, holder
        try:
            factor = self.adapter.factor(self.market, account, timestamp)
        except Skip:
            return UNPRICED, 0, self.name, holder
        return (MAXIMAL, 0, self.name, holder) if factor is None else (0, factor, self.name, holder)


class Listed:
    """
    Accounts in their exact order, worked out only as far as somebody has read.

    The screen's lower bounds say when no account that has not been looked at can come earlier; so a
    page costs exact integers for its own accounts and a few around it.
    """

    def __init__(self, ranks: Iterator[Rank | None]) -> None:
        self._ranks = ranks
        self._known: list[Rank] = []

    async def slice(self, start: int, stop: int) -> list[Rank]:
        """Return the accounts from `start` on, up to `stop`; fewer at the end."""
        turn = Turn()
        while len(self._known) < stop:
            try:
                rank = next(self._ranks)
            except StopIteration:
                break
            if rank is not None:
                self._known.append(rank)
            await turn.give_way()
        return self._known[start:stop]


class Snapshot:
    """
    The book at its newest block, as it stays while blocks go on.

    Accounts and markets are immutable, and the book keeps those that it replaces: little is copied.
    """

    def __init__(self, engine: StateEngine) -> None:
        book = engine.book
        self.block: Block = book.block
        self.parts = tuple(_part(engine, name) for name in book.protocols)
        self.observation = engine.observation
        under = self.observation.underwater if self.observation else ()
        self._streaks = {key: engine.mirror.streaks.blocks_unhealthy(key) for key in under}
        self._lists: dict[Filters, Listed] = {}

    def settle(self) -> None:
        """Take in what newer blocks have replaced, so that no reader waits for it."""
        for part in self.parts:
            part.accounts.settle()

    def listed(self, filters: Filters) -> Listed:
        """Return the accounts that pass, in order."""
        found = self._lists.pop(filters, None) or Listed(self._ranks(filters))
        self._lists[filters] = found
        if len(self._lists) > MOST_LISTS:
            del self._lists[next(iter(self._lists))]
        return found

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

    def _ranks(self, filters: Filters) -> Iterator[Rank | None]:
        wanted = None if filters.protocol is None else instance_of(filters.protocol)
        parts = [part for part in self.parts if wanted in (None, part.name)]
        limit, time = filters.max_health_factor, self.block.timestamp
        if filters.user is not None:
            ranks = _of_user(parts, filters.user, filters, time)
        else:
            ranks = chain(_owing(parts, filters, time), _idle(parts, filters))
        return ranks if limit is None else _up_to(ranks, limit)


def _part(engine: StateEngine, name: str) -> Part:
    market, screen = engine.book.market(name), engine.screens[name]
    weights = screen.weigh(market, engine.book.block.timestamp)
    owing, ranking = len(engine.book.open_keys(name)), screen.ranking(weights)
    return Part(engine.adapters[name], market, engine.book.still(name), ranking, owing)


# What follows yields None for a step that leads to nobody, so that others may go first.


def _owing(parts: Sequence[Part], filters: Filters, timestamp: int) -> Iterator[Rank | None]:
    """Yield accounts with debt: one is ready once every bound to come is over its rank."""
    waiting: list[Rank] = []
    for bound, number, holder in heapq.merge(*map(_bounds, count(), parts)):
        while waiting and waiting[0][0] == 0 and waiting[0][1] < bound * WAD - 1:  # a floor
            yield heapq.heappop(waiting)
        part = parts[number]
        account = part.accounts[holder]
        if filters.admit(part, holder, account):
            heapq.heappush(waiting, part.rank(holder, account, timestamp))
        yield None
    while waiting:
        yield heapq.heappop(waiting)


def _bounds(number: int, part: Part) -> Iterator[tuple[float, int, Holder]]:
    return ((bound, number, holder) for bound, holder in part.bounds)


def _of_user(
    parts: Iterable[Part], user: Address, filters: Filters, timestamp: int
) -> Iterator[Rank | None]:
    """Yield the accounts of one user, who is looked up and not searched for."""
    found: list[Rank] = []
    for part in parts:
        for holder in part.holders_of(user):
            if holder is not None and filters.admit(part, holder, part.accounts[holder]):
                found.append(part.rank(holder, part.accounts[holder], timestamp))
            yield None
    yield from sorted(found)


def _idle(parts: Iterable[Part], filters: Filters) -> Iterator[Rank | None]:
    """Yield accounts without debt; they are looked up only when somebody gets there."""
    for part in sorted(parts, key=lambda part: part.name):
        if part.owing == len(part.accounts):
            continue
        runs: list[list[Holder]] = [[]]
        for holder, account in part.accounts.items():
            if not account.is_open and filters.admit(part, holder, account):
                runs[-1].append(holder)
                if len(runs[-1]) == RUN:
                    runs[-1].sort()
                    runs.append([])
            yield None
        runs[-1].sort()
        yield from ((IDLE, 0, part.name, holder) for holder in heapq.merge(*runs))


def _up_to(ranks: Iterable[Rank | None], limit: int) -> Iterator[Rank | None]:
    for rank in ranks:
        if rank is not None and (rank[0] != 0 or rank[1] > limit):
            return
        yield rank
