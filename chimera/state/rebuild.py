"""From nothing to a loaded book: who ever borrowed, and what their accounts are at one block."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeVar

import structlog

from chimera.domain.block import Address, Block, Log, LogQuery
from chimera.domain.call import Inquiry
from chimera.domain.health import Difference
from chimera.domain.market import EMPTY, Account, Key, Market
from chimera.domain.remembered import Remembered
from chimera.errors import Refuse, Retry
from chimera.ports import Adapter, ChainReader, Users
from chimera.state.book import UNDO_WINDOW, Book
from chimera.state.valuation import Adapters

CHUNK = 500  # accounts per inquiry
IN_FLIGHT = 2  # inquiries: one is read by us while the node answers the next
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds; a node that prunes has the block for a few minutes only
OVERLAP = UNDO_WINDOW  # blocks scanned again: a reorg may have put other borrowers there

Scan = Callable[[ChainReader, LogQuery, int, int], AsyncIterator[tuple[int, tuple[Log, ...]]]]
"""`chain.backfill.scan`: (last block done, logs) for consecutive ranges, both ends included."""

Progress = Callable[[str, str, int, int], None]
"""Told (protocol, "blocks" or "accounts", how many are done, how many there are)."""

NONE_CHOSEN: Mapping[str, Iterable[bytes]] = MappingProxyType({})
NONE_REMEMBERED: Mapping[str, Remembered] = MappingProxyType({})

log = structlog.get_logger()
T = TypeVar("T")


async def drive(inquiry: Inquiry[T], reader: ChainReader, block: Block) -> T:
    """Make the calls of an inquiry at `block` and return its result."""
    try:
        calls = next(inquiry)
        while True:
            calls = inquiry.send(await reader.read(calls, block) if calls else {})
    except StopIteration as done:
        result: T = done.value
        return result


def scan_name(protocol: str, *, suppliers: bool, markets: Iterable[bytes] | None = None) -> str:
    """
    Name the search for users, by all that decides whom it finds.

    Args:
        protocol: Name of the instance.
        suppliers: Whether it looks for every holder; one for borrowers has not seen the suppliers.
        markets: The isolated markets that were chosen, None for all: a search has seen no others.
    """
    what = f"{protocol}+suppliers" if suppliers else protocol
    if markets is None:
        return what
    chosen = blake2b(b"".join(sorted(markets)), digest_size=8).hexdigest()
    return f"{what}#{chosen}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An account that the contract's own views see otherwise, and in what."""

    key: Key
    differences: tuple[Difference, ...]


class Bootstrap:
    """
    Loads the book from the chain, resumably.

    Args:
        reader: The chain.
        history: Remembers the borrowers and how far discovery got.
        adapters: The protocols to load, by the name of the instance.
        book: What to load.
        scan: Reads past logs in ranges; see `Scan`.
        suppliers: Protocols of which every holder is followed, not the borrowers only, so that the
            book is complete.
        chosen: Per protocol, the isolated markets that are followed, where these are not all.
        progress: Told how far the work got.
        pauses: Seconds to wait before a part of the accounts is asked for again.

    Attributes:
        vacant: Per protocol, who was known but had no account when it was loaded, in a row.
    """

    def __init__(
        self,
        reader: ChainReader,
        history: Users,
        adapters: Adapters,
        book: Book,
        *,
        scan: Scan,
        suppliers: AbstractSet[str] = frozenset(),
        chosen: Mapping[str, Iterable[bytes]] = NONE_CHOSEN,
        progress: Progress | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._reader = reader
        self._pauses = pauses
        self._history = history
        self._adapters = adapters
        self._book = book
        self._scan = scan
        self._suppliers = suppliers
        self._chosen = chosen
        self._progress = progress
        self.vacant: dict[str, bytes] = {}

    async def prove(self) -> None:
        """
        Prove every configured address at the head.

        Raises:
            Refuse: One of them is not the contract it is said to be.
        """
        head = await self._reader.head()
        for adapter in self._adapters.values():
            await drive(adapter.prove(), self._reader, head)

    async def search(self, block: Block) -> None:
        """
        Look for users up to `block`, which may take hours, and read no accounts.

        Whoever does so first can load at a block that is still fresh: most nodes forget the states
        of older ones within minutes.
        """
        for adapter in self._adapters.values():
            market = await self._market(adapter, block)
            await self._discover(adapter, market, block, None)

    async def load(
        self,
        block: Block,
        *,
        protocols: Iterable[str] | None = None,
        from_block: int | None = None,
        remembered: Mapping[str, Remembered] = NONE_REMEMBERED,
    ) -> int:
        """
        Load protocols (all of them by default) as they are at `block`; return how many accounts.

        With all protocols the book begins anew. With some of them it must stand at `block`. The
        book changes only after everything has been read, in one step.

        Args:
            block: A block whose state the node answers.
            protocols: Names of the instances to load.
            from_block: Look for borrowers from here on, though this has been done before.
            remembered: Accounts at `block`, per protocol, that need not be read.

        Raises:
            Retry: The node failed; what discovery found so far is remembered.
            Rebuild: Some protocols were asked for and the book has left `block` meanwhile.
        """
        names = list(self._adapters if protocols is None else protocols)
        loaded: dict[str, tuple[Market, dict[Address, Account]]] = {}
        for name in names:
            loaded[name] = await self.read(
                name, block, from_block=from_block, remembered=remembered.get(name)
            )
        if set(self._book.protocols) <= set(names):
            self._book.clear()
        for name, (market, accounts) in loaded.items():
            self._book.load(name, market, accounts, complete=name in self._suppliers, block=block)
        return sum(len(accounts) for _, accounts in loaded.values())

    async def read(
        self,
        protocol: str,
        block: Block,
        *,
        from_block: int | None = None,
        remembered: Remembered | None = None,
    ) -> tuple[Market, dict[Address, Account]]:
        """Read the market of a protocol, and everybody who has a balance there, at `block`."""
        adapter = self._adapters[protocol]
        market = await self._market(adapter, block)
        users = await self._discover(adapter, market, block, from_block)
        market = await drive(adapter.read_rest(market, users, block), self._reader, block)
        accounts, known = _known_of(remembered, users)
        unknown = [user for user in users if user not in accounts and user not in known]
        accounts |= await self._read_accounts(adapter, market, unknown, block)
        self.vacant[protocol] = b"".join(user for user in users if user not in accounts)
        log.info(
            "protocol_read",
            protocol=protocol,
            block=block.number,
            accounts=len(accounts),
            read=len(unknown),
        )
        return market, accounts

    async def _market(self, adapter: Adapter[Any], block: Block) -> Market:
        try:
            market: Market = await drive(adapter.read_market(block), self._reader, block)
        except Refuse as refusal:
            refusal.protocol = adapter.name
            raise
        return market

    async def verify(self, protocol: str, users: Collection[Address] | None = None) -> list[Key]:
        """
        Read accounts (all that are known by default) anew at the book's block; name the wrong ones.

        Where borrowers are followed, whoever borrowed on a branch that has left may be missing.

        Raises:
            Retry: The node failed, or no longer has the state of that block.
        """
        adapter, block = self._adapters[protocol], self._book.block
        market = self._book.market(protocol)
        ours = dict(self._book.accounts(protocol).users)
        if users is None:
            users = {*ours, *(await self._history.users(protocol))}
        theirs = await self._read_accounts(adapter, market, sorted(users), block)
        whole = protocol in self._suppliers
        needed = {user for user in theirs if user in ours or whole or theirs[user].is_open}
        return [
            (protocol, user)
            for user in sorted({user for user in users if user in ours} | needed)
            if _balances(ours.get(user)) != _balances(theirs.get(user))
        ]

    def followed_to(self, block_number: int) -> dict[str, int]:
        """Say, in the names of scans, that every user up to this block has been recorded."""
        return {self._scan_name(name): block_number for name in self._adapters}

    def _scan_name(self, protocol: str) -> str:
        chosen = self._chosen.get(protocol)
        return scan_name(protocol, suppliers=protocol in self._suppliers, markets=chosen)

    async def _discover(
        self, adapter: Adapter[Any], market: Market, block: Block, from_block: int | None
    ) -> list[Address]:
        scan = self._scan_name(adapter.name)
        done = await self._history.scanned_to(scan)
        if done is not None and done > block.number + OVERLAP:
            raise Retry(
                f"the history knows {adapter.name} up to block {done}, the node only block "
                f"{block.number}: wait for a node that lags, or remove a history of another chain"
            )
        first = adapter.from_block if done is None else done + 1 - OVERLAP
        if from_block is not None:
            first = min(first, from_block)
        first = max(first, adapter.from_block)
        suppliers = adapter.name in self._suppliers
        query = adapter.discovery(market, suppliers=suppliers)
        async for last, logs in self._scan(self._reader, query, first, block.number):
            users = adapter.users_in(logs, suppliers=suppliers)
            await self._history.set_scanned_to(adapter.name, last, users, scan=scan)
            self._tell(adapter.name, "blocks", last - first + 1, block.number - first + 1)
        return sorted(await self._history.users(adapter.name))

    async def _read_accounts(
        self, adapter: Adapter[Any], market: Market, users: Sequence[Address], block: Block
    ) -> dict[Address, Account]:
        chunks = [users[start : start + CHUNK] for start in range(0, len(users), CHUNK)]
        works = [
            functools.partial(
                self._insistently,
                functools.partial(adapter.read_accounts, market, chunk, block),
                block,
            )
            for chunk in chunks
        ]
        accounts: dict[Address, Account] = {}
        done = 0
        async with aclosing(_in_order(works, side_by_side=IN_FLIGHT)) as parts:
            async for part in parts:
                accounts.update(part)
                done = min(done + CHUNK, len(users))
                self._tell(adapter.name, "accounts", done, len(users))
        return accounts

    async def _insistently(self, begin: Callable[[], Inquiry[T]], block: Block) -> T:
        """Drive an inquiry; begin it again after a fault, so that those before it are not lost."""
        for pause in self._pauses:
            try:
                return await drive(begin(), self._reader, block)
            except Retry as fault:
                log.warning("read_again", block=block.number, fault=str(fault))
                await asyncio.sleep(max(pause, fault.pause))
        return await drive(begin(), self._reader, block)

    def _tell(self, protocol: str, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(protocol, what, done, total)


async def _in_order(
    works: Iterable[Callable[[], Coroutine[Any, Any, T]]], *, side_by_side: int
) -> AsyncGenerator[T, None]:
    """Do so many works at the same time, and yield what they return in order."""
    under_way: deque[asyncio.Task[T]] = deque()
    try:
        for work in works:
            under_way.append(asyncio.create_task(work()))
            if len(under_way) >= side_by_side:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def compare_views(
    reader: ChainReader,
    adapters: Adapters,
    book: Book,
    *,
    protocol: str,
    also: Iterable[Key] = (),
    progress: Progress | None = None,
) -> tuple[int, list[Mismatch]]:
    """
    Ask the contract's own view about every account with debt, at the book's block.

    Where one without debt may get into debt without a log, about every account. `also` names
    others to ask about, those that are in the book. `progress` is told how many "views" have been
    compared.

    Returns:
        How many accounts were compared, and those on which we and the contract differ.

    Raises:
        Retry: The node failed, or no longer has the state of that block.
    """
    adapter, market, block = adapters[protocol], book.market(protocol), book.block
    shelf = book.accounts(protocol)
    chosen = dict.fromkeys(shelf.users if adapter.needs_suppliers else shelf.open)
    chosen |= {key[1]: None for key in also if key[0] == protocol and key[1] in shelf.users}
    accounts = {user: shelf.users[user] for user in chosen}  # as they are before we wait
    users, mismatches = list(accounts), []
    for start in range(0, len(users), CHUNK):
        part = users[start : start + CHUNK]
        calls = dict.fromkeys(call for user in part for call in adapter.proof(market, user))
        answers = await reader.read(tuple(calls), block)
        for user in part:
            found = adapter.differences(market, user, accounts[user], block, answers)
            if found:
                mismatches.append(Mismatch((protocol, user), found))
        if progress is not None:
            progress(protocol, "views", start + len(part), len(users))
    return len(users), mismatches


def _known_of(
    remembered: Remembered | None, users: Sequence[Address]
) -> tuple[dict[Address, Account], AbstractSet[Address]]:
    """Return what need not be read: nothing, if the history does not know all of them."""
    if remembered is None:
        return {}, frozenset()
    strangers = remembered.accounts.keys() - set(users)
    if strangers:
        log.warning(
            "snapshot_not_used",
            reason=f"the history does not know {len(strangers)} of its users",
            done="every account is read from the node",
        )
        return {}, frozenset()
    return dict(remembered.accounts), remembered.vacant


def _balances(account: Account | None) -> Account:
    """Return what must agree: an account that says nothing equals one that is not there."""
    return (account or EMPTY).but(updated_block=0)
