"""The state engine: one block in, what detection must know of it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from typing import Any

from chimera.domain.block import Address, Block, BlockBatch, Log, LogQuery, Needs, Rollback
from chimera.domain.call import Call, Inquiry, Readings, answer, unanswered
from chimera.domain.changes import AccountRead, Liquidated
from chimera.domain.market import EMPTY, Account, Holder, Key
from chimera.domain.numeric import WAD
from chimera.domain.opportunity import Observation
from chimera.errors import Rebuild, Refuse, Skip, Unfit
from chimera.ports import Adapter, Streaks
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.face import CacheFace
from chimera.state.mirror import Mirror
from chimera.state.reckoning import Reckoning
from chimera.state.routing import route
from chimera.state.screen import Screen
from chimera.state.screen_weights import Weights
from chimera.state.shelf import Shelf
from chimera.state.trust import Trust
from chimera.state.valuation import Adapters

NOBODY: frozenset[Key] = frozenset()


class StateEngine(CacheFace):
    """
    Keeps the book in step with the chain, and tells who is under water at each block.

    The core (`adopt`, `apply`, `rollback`, and what the feed asks for) is synchronous and pure; the
    asynchronous methods are the cache's face, see `CacheFace`.

    Args:
        adapters: The followed protocols, by the name of the instance.
        book: Where accounts and markets are kept; filled by `rebuild.Bootstrap`.
        cache: The published positions.
        streaks: Blocks in a row under 1, counted by detection.
        watch_below: Health factor, as a ratio, under which an account is on the watch list.
        rebuild: Reads the book anew from the chain, for `rebuild_cache_from_blockchain`.
        trust: Which accounts the next block has to read anew, and which markets are unverified.
    """

    def __init__(
        self,
        adapters: Adapters,
        book: Book,
        cache: PositionCache,
        *,
        streaks: Streaks,
        watch_below: float = 1.1,
        rebuild: Callable[[], Awaitable[object]] | None = None,
        trust: Trust | None = None,
    ) -> None:
        super().__init__(cache, Mirror(adapters, book, streaks), rebuild)
        self.trust = trust or Trust()
        self.adapters = adapters
        self.book = book
        self.screens: Mapping[str, Screen] = {}
        self.observation: Observation | None = None
        self.unfollowed: dict[str, str] = {}  # instances that were left out, and why
        self._watch_below = watch_below
        self._weights: Mapping[str, Weights] = {}  # of the newest block
        self._near: AbstractSet[Key] | None = NOBODY  # None: not asked for since that block
        self._nearest: dict[str, tuple[frozenset[Holder], frozenset[Key]]] = {}  # as last asked for
        self._errors: Mapping[Key, str] = {}
        self._shelves: Mapping[str, Shelf] = {}  # as they were adopted

    # --- what is known after a block -------------------------------------------------------------

    @property
    def touched(self) -> AbstractSet[Key]:
        """Accounts that the newest block changed."""
        return self.book.touched

    @property
    def near(self) -> AbstractSet[Key]:
        """
        Accounts with debt that may be under the watch limit; nobody under it is missing.

        Some may be a little over it, see `Screen.near`.

        Looked up when somebody asks, so that no decision waits for it.
        """
        if self._near is None:
            for _ in self.find_near():
                pass
        return self._near or NOBODY

    def find_near(self) -> Iterator[None]:
        """Look up who is near, in parts: with very many of them it takes some milliseconds."""
        near = []
        for name, weights in self._weights.items():
            found = self.screens[name].near(weights, self._watch_below)
            yield
            near.append(self._note_near(name, frozenset(found)))
            yield
        self._near = near[0] if len(near) == 1 else NOBODY.union(*near)

    def _note_near(self, name: str, found: frozenset[Holder]) -> frozenset[Key]:
        """Note those of one protocol; most were near before and keep the keys that they have."""
        were, keys = self._nearest.get(name, (frozenset[Holder](), NOBODY))
        left, joined = zip(repeat(name), were - found), zip(repeat(name), found - were)
        self._nearest[name] = found, keys.difference(left).union(joined)
        self.book.accounts(name).near = found
        return self._nearest[name][1]

    @property
    def errors(self) -> Mapping[Key, str]:
        """Why accounts with debt, as published, have no health factor at the newest block."""
        return self._errors

    @property
    def new_users(self) -> Mapping[str, AbstractSet[Address]]:
        """Users, by protocol, whom the newest block brought into the book."""
        return self.book.newcomers()

    # --- the chain comes in ----------------------------------------------------------------------

    def adopt(self) -> Observation:
        """Take over a freshly loaded book; return its block as detection sees it."""
        shelves = {name: self.book.accounts(name) for name in self.adapters}
        loaded = {name for name in shelves if shelves[name] is not self._shelves.get(name)}
        self._shelves = shelves
        self.trust.adopted(loaded)
        self.screens = {name: Screen(adapter) for name, adapter in self.adapters.items()}
        for name, screen in self.screens.items():
            screen.load(self.book.accounts(name).users)
        return self._observe(NOBODY)

    def apply(self, batch: BlockBatch) -> Observation:
        """
        Apply one block.

        Raises:
            Rebuild: The block does not build on the newest one, or contradicts the book. Whatever
                is raised by an adapter, the book is then as it was before the block.
            Unfit: One protocol has become something that a start would refuse.
        """
        shares = route(self._queries(), batch.logs)
        mended: list[Key] = []
        self.book.begin(batch.block)
        try:
            liquidated = frozenset(
                key
                for name, adapter in self.adapters.items()
                for key in self._folded(adapter, _with(batch, shares[name]), mended)
            )
            self.book.commit()
        finally:
            self.book.abort()  # nothing is left to undo after a commit
        self.trust.read_anew(mended, batch.block.number)
        self._screen()
        return self._observe(liquidated)

    def rollback(self, message: Rollback) -> Observation:
        """
        Take back every block above the ancestor; return the ancestor as detection sees it.

        Raises:
            Rebuild: The undo log does not know this ancestor. The book is then unchanged.
        """
        ancestor = message.ancestor
        if self.book.canonical(ancestor.number) != ancestor:
            raise Rebuild(f"no way back to 0x{ancestor.hash.hex()}, block {ancestor.number}")
        self.book.rollback(ancestor.number)
        self._screen()
        self.forget_counts_above(ancestor.number)
        self.trust.rolled_back(ancestor.number)
        return self._observe(NOBODY)

    def look_again(self) -> Observation:
        """Return the newest block anew, after a market was put in quarantine or let out of it."""
        return self._observe(self.observation.liquidated if self.observation else NOBODY)

    def leave_out(self, protocol: str, reason: str) -> None:
        """
        Forget a protocol for good; the book has to be loaded anew, by adapters without it.

        Args:
            protocol: Name of the instance.
            reason: Why nobody follows it any more.
        """
        self.unfollowed[protocol] = reason
        self.book.drop(protocol)
        self.screens = {name: kept for name, kept in self.screens.items() if name != protocol}
        self._weights = {name: kept for name, kept in self._weights.items() if name != protocol}
        self._near = None

    def _folded(self, adapter: Adapter[Any], batch: BlockBatch, mended: list[Key]) -> Iterable[Key]:
        with _blamed(adapter.name):
            yield from self._fold(adapter, batch, mended)

    def _fold(self, adapter: Adapter[Any], batch: BlockBatch, mended: list[Key]) -> Iterable[Key]:
        accounts = self.book.accounts(adapter.name)
        read = list(self._read_anew(adapter, batch))  # by the market that `needs` asked with
        for change in adapter.fold(accounts.market, accounts, batch):
            self.book.apply(adapter.name, change)
            if isinstance(change, Liquidated):
                yield adapter.published(change.user)
        for holder, account in read:
            self.book.apply(adapter.name, AccountRead(holder, account))
            mended.append((adapter.name, holder))

    def _read_anew(
        self, adapter: Adapter[Any], batch: BlockBatch
    ) -> Iterable[tuple[Holder, Account]]:
        """Take mistrusted accounts from the readings; who is mistrusted since waits a block."""
        for holder in self.trust.to_read(adapter.name):
            if not unanswered(self._account(adapter, holder, batch.block), batch.readings):
                found = answer(self._account(adapter, holder, batch.block), batch.readings)
                yield holder, found.get(holder, EMPTY)

    def _account(
        self, adapter: Adapter[Any], holder: Holder, block: Block
    ) -> Inquiry[dict[Holder, Account]]:
        return adapter.read_accounts(self.book.market(adapter.name), (holder,), block)

    def _screen(self) -> None:
        """Let the screens take over whom the book has changed."""
        for protocol, holders in self.book.moved.items():
            accounts = self.book.accounts(protocol).those_of(holders)
            self.screens[protocol].take(accounts.items())

    # --- who is under water ----------------------------------------------------------------------

    def _observe(self, liquidated: frozenset[Key]) -> Observation:
        errors: dict[Key, str] = {}
        time = self.book.block.timestamp
        under = Reckoning(time, self.trust.quarantined)
        self._near = None
        self._weights = {
            name: screen.weigh(self.book.market(name), time)
            for name, screen in self.screens.items()
        }
        for name, weights in self._weights.items():
            self._judge(name, self.screens[name].candidates(weights), under, errors)
        self._errors = errors
        self.observation = Observation(
            block=self.book.block,
            underwater=under,
            unpriced=frozenset(errors),
            liquidated=liquidated,
            unfollowed=frozenset(self.unfollowed),
        )
        return self.observation

    def _judge(
        self, name: str, suspects: Iterable[Holder], under: Reckoning, errors: dict[Key, str]
    ) -> None:
        adapter, accounts = self.adapters[name], self.book.accounts(name)
        market, time = accounts.market, self.book.block.timestamp
        for holder in suspects:
            account = accounts.users[holder]
            try:
                factor = adapter.factor(market, account, time)
            except Skip as reverts:
                errors[adapter.published(holder)] = str(reverts)
                continue
            if factor is not None and factor < WAD:
                under.add(adapter.published(holder), factor, adapter, market, account)

    # --- what the feed asks (ports.Follower) -----------------------------------------------------

    def interest(self) -> LogQuery:
        """Name the logs to follow, over all protocols."""
        queries = self._queries().values()
        return LogQuery(
            addresses=frozenset().union(*(query.addresses for query in queries)),
            topics=frozenset().union(*(query.topics for query in queries)),
        )

    def _queries(self) -> dict[str, LogQuery]:
        return {
            name: adapter.interest(self.book.market(name))
            for name, adapter in self.adapters.items()
        }

    def _needs_of(
        self, adapter: Adapter[Any], block: Block, logs: Sequence[Log], readings: Readings
    ) -> Needs:
        accounts = self.book.accounts(adapter.name)
        with _blamed(adapter.name):
            return adapter.needs(accounts.market, accounts, block, logs, readings)

    def polls(self, block: Block) -> tuple[Call, ...]:
        """Name the calls to make at this block, each once."""
        calls = (
            adapter.polls(self.book.market(name), self.book.accounts(name), block)
            for name, adapter in self.adapters.items()
        )
        return tuple(dict.fromkeys(call for part in calls for call in part))

    def needs(self, block: Block, logs: Sequence[Log], readings: Readings) -> Needs:
        """Name what the sealed logs still lack, over all protocols."""
        shares = route(self._queries(), logs)
        needs = [
            self._needs_of(adapter, block, shares[name], readings)
            for name, adapter in self.adapters.items()
        ]
        calls = [call for need in needs for call in need.calls]
        for name, adapter in self.adapters.items():
            for holder in self.trust.to_read(name):
                calls += unanswered(self._account(adapter, holder, block), readings)
        return Needs(
            calls=tuple(dict.fromkeys(calls)),
            addresses=frozenset().union(*(need.addresses for need in needs)),
        )


def _with(batch: BlockBatch, logs: Sequence[Log]) -> BlockBatch:
    return batch if logs is batch.logs else replace(batch, logs=tuple(logs))


@contextmanager
def _blamed(protocol: str) -> Iterator[None]:
    """Tell which protocol it is that does not fit, or that has become unfit."""
    try:
        yield
    except Rebuild as fault:
        fault.protocol = protocol
        raise
    except Refuse as fault:
        raise Unfit(protocol, str(fault)) from fault
