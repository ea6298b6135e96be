"""The truth in memory: every account and market, their indexes, and how to undo each block."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import repeat
from weakref import WeakValueDictionary

from chimera.domain.block import Address, Block
from chimera.domain.changes import AccountsSet, Change, Liquidated, MarketMoved
from chimera.domain.market import EMPTY, Account, Holder, Key, Market
from chimera.errors import Rebuild
from chimera.state.shelf import Shelf, changed, differences
from chimera.state.still import Still

UNDO_WINDOW = 64  # blocks; far deeper than any reorg seen on an L2, yet only touched accounts


@dataclass(frozen=True, slots=True)
class Undo:
    """What one block replaced: the first-touch old accounts (None: absent) and market of each."""

    block: Block
    previous: Block
    accounts: dict[str, dict[Holder, Account | None]] = field(
        default_factory=lambda: defaultdict(dict)  # by protocol
    )
    markets: dict[str, Market] = field(default_factory=dict)


class Book:
    """
    Every account and market as the newest applied block left them.

    A block is applied between `begin` and `commit`; `abort` leaves the book as it was before
    `begin`. Accounts are immutable, so what a reader took from here stays a true past.

    Args:
        undo_window: How many blocks `rollback` can take back.
        debug: Verify the indexes after every block (slow; for tests and for hunting a fault).
    """

    def __init__(self, *, undo_window: int = UNDO_WINDOW, debug: bool = False) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._undo: deque[Undo] = deque(maxlen=undo_window)
        self._pending: Undo | None = None
        self._block: Block | None = None
        self._moved: Mapping[str, Collection[Holder]] = {}
        self._debug = debug
        self._stills: WeakValueDictionary[int, Still] = WeakValueDictionary()  # by id

    # --- reading ---------------------------------------------------------------------------------

    @property
    def block(self) -> Block:
        """
        The newest applied block.

        Raises:
            Rebuild: Nothing has been loaded yet.
        """
        if self._block is None:
            raise Rebuild("the book is empty: load a snapshot first")
        return self._block

    @property
    def loaded(self) -> bool:
        """Tell whether a snapshot has been loaded."""
        return self._block is not None

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the loaded protocols, in the order of loading."""
        return tuple(self._shelves)

    @property
    def moved(self) -> Mapping[str, Collection[Holder]]:
        """Holders, by protocol, whom the newest block, load or rollback replaced or removed."""
        return self._moved

    @property
    def touched(self) -> AbstractSet[Key]:
        """The keys of all of them."""
        moved = self._moved.items()
        return frozenset().union(*(zip(repeat(name), holders) for name, holders in moved))

    def accounts(self, protocol: str) -> Shelf:
        """Return the accounts of a protocol as an adapter may see them, also within a block."""
        return self._shelves[protocol]

    def market(self, protocol: str) -> Market:
        """Return the market of a protocol. Raises KeyError for one that is not loaded."""
        return self._shelves[protocol].market

    def get(self, key: Key) -> Account | None:
        """Return an account, or None when it (or its protocol) is not in the book."""
        shelf = self._shelves.get(key[0])
        return None if shelf is None else shelf.users.get(key[1])

    def keys(self, protocol: str) -> AbstractSet[Address]:
        """Return the users of a protocol, a live view."""
        return self._shelves[protocol].users.keys()

    def open_keys(self, protocol: str) -> AbstractSet[Address]:
        """Return the users of a protocol with debt, a live view."""
        return self._shelves[protocol].open

    def holders(self, protocol: str, asset: Address) -> AbstractSet[Address]:
        """Return the users with `asset` on any leg; this looks at everybody."""
        return self._shelves[protocol].holders(asset)

    def canonical(self, number: int) -> Block | None:
        """Return the block of this height if the undo log still knows it."""
        if self._block is not None and number == self._block.number:
            return self._block
        return next((undo.previous for undo in self._undo if undo.previous.number == number), None)

    def at(self, key: Key, number: int) -> tuple[Block, Market, Account | None] | None:
        """Return a block, with market and account as it left them, if the undo log knows it."""
        block = self.canonical(number)
        if block is None:
            return None
        market, account = self.market(key[0]), self.get(key)
        for undo in reversed(self._undo):
            if undo.block.number <= number:
                break
            market = undo.markets.get(key[0], market)
            account = undo.accounts.get(key[0], {}).get(key[1], account)
        return block, market, account

    def still(self, protocol: str) -> Still:
        """Return the accounts of a protocol as they are now, whatever happens to the book."""
        still = Still(self._shelves[protocol])
        self._stills[id(still)] = still
        return still

    def newcomers(self) -> dict[str, set[Address]]:
        """Return the users, by protocol, whom the newest block brought into the book."""
        found: dict[str, set[Address]] = {}
        if self._undo and self._undo[-1].block == self._block:
            for name, accounts in self._undo[-1].accounts.items():
                users = self._shelves[name].users
                joined = {user for user, old in accounts.items() if old is None and user in users}
                if joined:
                    found[name] = joined
        return found

    # --- loading ---------------------------------------------------------------------------------

    def load(
        self,
        protocol: str,
        market: Market,
        accounts: Mapping[Address, Account],
        *,
        complete: bool,
        block: Block,
    ) -> None:
        """
        Take a snapshot of one protocol, in place of what the book had of it.

        The undo log ends here: no rollback reaches below a snapshot.

        Args:
            protocol: Name of the instance.
            market: Its market at `block`.
            accounts: Its accounts at `block`.
            complete: Whether these are all holders, or borrowers only.
            block: The block of the snapshot; every loaded protocol shares it.

        Raises:
            Rebuild: Another protocol stands at another block, or a block is being applied.
        """
        if self._pending is not None:
            raise Rebuild(f"a snapshot of {protocol} came in the middle of a block")
        others = any(name != protocol for name in self._shelves)
        if others and block != self._block:
            raise Rebuild(f"the snapshot of {protocol} is of block {block.number}, the book is not")
        known = self._shelves.get(protocol)
        before = set() if known is None else set(known.users)
        self._shelves[protocol] = Shelf(protocol, market, accounts, complete=complete)
        self._moved = {protocol: before | accounts.keys()}
        self._block = block
        self._undo.clear()

    def drop(self, protocol: str) -> None:
        """Forget one protocol; no rollback reaches below this."""
        self.abort()
        self._shelves.pop(protocol, None)
        self._undo.clear()
        self._moved = {name: its for name, its in self._moved.items() if name != protocol}

    def clear(self) -> None:
        """Forget everything, to be loaded anew at another block."""
        self._shelves.clear()
        self._undo.clear()
        self._pending = self._block = None
        self._moved = {}

    # --- one block -------------------------------------------------------------------------------

    def begin(self, block: Block) -> None:
        """
        Open the next block.

        Raises:
            Rebuild: It does not build on the newest applied block (a gap, a fork, a repetition).
        """
        if self._pending is not None:
            raise Rebuild(f"block {self._pending.block.number} was never finished")
        newest = self.block
        if block.parent_hash != newest.hash or block.number != newest.number + 1:
            raise Rebuild(
                f"block {block.number} (parent 0x{block.parent_hash.hex()}) does not build on "
                f"{newest.number} (0x{newest.hash.hex()})"
            )
        self._pending = Undo(block, newest)

    def apply(self, protocol: str, change: Change) -> None:
        """
        Apply one change of the open block.

        Raises:
            Rebuild: A balance would go under zero, or no block is open.
        """
        pending, shelf = self._pending, self._shelves[protocol]
        if pending is None:
            raise Rebuild("a change came outside of a block")
        if isinstance(change, MarketMoved):
            pending.markets.setdefault(protocol, shelf.market)
            shelf.market = change.market
            return
        if isinstance(change, Liquidated):
            return
        known = pending.accounts[protocol]
        if isinstance(change, AccountsSet):
            olds = shelf.those_of(change.accounts)
            pending.accounts[protocol] = olds | known
            shelf.replace(change.accounts, olds)
            return
        holder = change.user
        old = shelf.users.get(holder)
        new = changed(old or EMPTY, change, pending.block.number, protocol)
        if new is old or (old is None and new is EMPTY):
            return
        known.setdefault(holder, old)
        if old is not None and new[0] is old[0]:
            shelf.users[holder] = new  # the same legs: no index moves
        else:
            shelf.put(holder, None if new.is_blank and shelf.complete else new)

    def commit(self) -> None:
        """Close the block: it is now the newest."""
        if self._pending is None:
            raise Rebuild("no block is open")
        self._tell(self._pending.accounts)
        self._undo.append(self._pending)
        self._block = self._pending.block
        self._moved = {name: its.keys() for name, its in self._pending.accounts.items() if its}
        self._pending = None
        if self._debug:
            self.verify_indexes()

    def abort(self) -> None:
        """Leave the book as it was before `begin`; without an open block, do nothing."""
        if self._pending is not None:
            self._restore(self._pending)
            self._pending = None

    def rollback(self, to_block_number: int) -> AbstractSet[Key]:
        """
        Take back every block above `to_block_number`; return the keys that this restored.

        Raises:
            Rebuild: The undo log does not reach that far. The book is then unchanged.
        """
        self.abort()
        if self.canonical(to_block_number) is None:
            raise Rebuild(f"no way back from block {self.block.number} to {to_block_number}")
        restored: dict[str, set[Holder]] = {}
        while self.block.number > to_block_number:
            undo = self._undo.pop()
            shelves = {name: self._shelves[name] for name in undo.accounts}
            self._tell({name: its.those_of(undo.accounts[name]) for name, its in shelves.items()})
            self._restore(undo)
            self._block = undo.previous
            for name, accounts in undo.accounts.items():
                restored.setdefault(name, set()).update(accounts)
        self._moved = restored
        if self._debug:
            self.verify_indexes()
        return self.touched

    def _tell(self, replaced: Mapping[str, Mapping[Holder, Account | None]]) -> None:
        """Tell those who read the past of shelves that are still here."""
        for still in self._stills.values():
            name = still.shelf.name
            if self._shelves.get(name) is still.shelf and name in replaced:
                still.replaced(replaced[name])

    def _restore(self, undo: Undo) -> None:
        for protocol, accounts in undo.accounts.items():
            for user, old in accounts.items():
                self._shelves[protocol].put(user, old)
        for protocol, market in undo.markets.items():
            self._shelves[protocol].market = market

    # --- indexes ---------------------------------------------------------------------------------

    def verify_indexes(self) -> None:
        """
        Compare every index with the accounts it is derived from.

        Raises:
            Rebuild: One of them differs; the message says where.
        """
        strays = [line for shelf in self._shelves.values() for line in differences(shelf)]
        if strays:
            raise Rebuild("the indexes left the accounts: " + "; ".join(strays))

    def rebuild_indexes(self) -> None:
        """Derive every index anew from the accounts."""
        for shelf in self._shelves.values():
            shelf.reindex()
