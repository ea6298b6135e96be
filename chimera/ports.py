"""The doors between rooms: what each room asks of the others, as structural types."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from chimera.domain.block import (
    Address,
    Block,
    BlockBatch,
    BlockHash,
    Log,
    LogQuery,
    Needs,
    Rollback,
)
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.changes import Change
from chimera.domain.endings import Endings
from chimera.domain.health import Difference, Health, Step, Valuation, Verdict
from chimera.domain.market import Account, Cells, Column, Holder, Key, Market, Quoted, Shape, Token
from chimera.domain.notices import RebuildReport, Status
from chimera.domain.numeric import Wad
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.domain.position import Position

M = TypeVar("M", bound=Market)
Numbers = Sequence[float] | npt.NDArray[np.float64]
LegBands = tuple[float, float]  # of collateral, of debt


class Accounts(Protocol):
    """The accounts of one protocol as they stand now, in the middle of a block if need be."""

    @property
    def complete(self) -> bool:
        """True when every holder is in the book, so that an unknown user starts empty."""

    @property
    def open(self) -> AbstractSet[Holder]:
        """Those with debt, a live view."""

    @property
    def near(self) -> AbstractSet[Holder]:
        """Those whose health factor was near 1 after the last block; empty until it is known."""

    def keys(self) -> AbstractSet[Holder]:
        """Return everybody in the book, a live view."""

    def get(self, user: Holder) -> Account | None:
        """Return the account, or None when the book does not follow this user."""

    def endings(self, *, owing: bool) -> Endings:
        """Return those with debt, or those without, by the ends of their addresses."""


class Adapter(Protocol[M]):
    """
    One lending protocol, pure: it describes calls, decodes logs and does the contract's arithmetic.

    Whatever changes lives in the market `M` and in the accounts of the book. It may remember what
    it found out about the newest of them; a fresh adapter folds the same blocks into the same book.
    """

    name: str  # of the instance, as in position:<name>:<user>
    kind: str  # of the family
    address: Address  # the entry contract of the configuration
    from_block: int
    topics: frozenset[bytes]  # every first topic that `fold` understands
    needs_suppliers: bool  # whether one without debt may get into debt without a log

    def published(self, holder: Holder) -> tuple[str, Address]:
        """Return (protocol, user) as they stand in `position:<protocol>:<user>`."""

    def holder(self, protocol: str, user: Address) -> Holder | None:
        """Return whose account that is: the reverse of `published`. None: not of this instance."""

    def prove(self) -> Inquiry[None]:
        """
        Ask whether the entry contract is what the configuration says.

        Raises:
            Refuse: It is not (no code, another kind, a revision that is not supported).
        """

    def read_market(self, block: Block) -> Inquiry[M]:
        """Read the whole market at `block` (the answers must be taken at its hash)."""

    def discovery(self, market: M, *, suppliers: bool) -> LogQuery:
        """Name the logs in which every borrower (with `suppliers`, every holder) shows up once."""

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Holder]:
        """
        Return the borrowers (with `suppliers`, the holders) that these logs name.

        Raises:
            Rebuild: One of them does not decode.
        """

    def read_rest(self, market: M, holders: Iterable[Holder], block: Block) -> Inquiry[M]:
        """Read what of the market only its holders tell: the isolated markets that they are in."""

    def read_accounts(
        self, market: M, users: Sequence[Holder], block: Block
    ) -> Inquiry[dict[Holder, Account]]:
        """Read these accounts at `block`; users without any balance are left out."""

    def interest(self, market: M) -> LogQuery:
        """Name the logs to follow from here on."""

    def polls(self, market: M, accounts: Accounts, block: Block) -> tuple[Call, ...]:
        """Name the calls to make at `block`, the next one (oracle answers above all)."""

    def needs(
        self,
        market: M,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        """Name what `fold` still lacks for this block; asked again until it lacks nothing."""

    def fold(self, market: M, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        """
        Turn one block into changes. Each is applied before the next is asked for.

        The last one is always a `MarketMoved` with the market at this block, prices included.
        """

    def health(self, market: M, account: Account, timestamp: int) -> Health:
        """Return what the contract's view answers for the account at `timestamp`."""

    def factor(self, market: M, account: Account, timestamp: int) -> Wad | None:
        """
        Return the health factor of `health` alone: it is asked of every suspect, at each block.

        Raises:
            Skip: The contract's view reverts; the message says why.
        """

    def value(self, market: M, account: Account, timestamp: int) -> Valuation:
        """Return the same with every leg valued."""

    def verdict(self, market: M, account: Account, timestamp: int) -> Verdict:
        """Tell whether the contract would allow a liquidation, and the best pair of assets."""

    def explain(
        self, market: M, account: Account, timestamp: int, holder: Holder | None = None
    ) -> list[Step]:
        """
        List every input and step of the health factor, in the order of the contract.

        The last step, `verdict`, says whether the contract would allow a liquidation; if not, why.
        """

    def tokens(self, market: M) -> Mapping[Address, Token]:
        """Return every token that is listed."""

    def quotes(self, market: M) -> Mapping[Address, int | None]:
        """
        Return the price of every token, and of whatever else a health factor is computed with.

        In the units that `quoted` tells; None where the oracle reverts.
        """

    def quoted(self, market: M, account: Account | None = None) -> Mapping[Address, Quoted]:
        """Tell how each entry of `quotes` is written; of one account, those that may move it."""

    def priced(self, market: M, asset: Address, price: int) -> M:
        """Return the same market with another price of one entry of `quotes`."""

    def sources(self, market: M) -> Inquiry[dict[Address, Address]]:
        """Ask which contract each entry of `quotes` comes from; the zero address where none."""

    def assets(self, market: M, account: Account) -> frozenset[Address]:
        """Return the token of every leg."""

    def exact_within(self, accounts: Accounts) -> int:
        """Return in how many blocks everybody is read again, where logs do not tell all; else 0."""

    def proof(self, market: M, holder: Holder) -> tuple[Call, ...]:
        """Name the contract's own views of one account."""

    def differences(
        self, market: M, holder: Holder, account: Account, block: Block, readings: Readings
    ) -> tuple[Difference, ...]:
        """Compare an account with the answers to `proof` at `block`, to the last digit."""

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """
        Yield the screen's cells of an account: column, and amount in stored units.

        Which columns, in which order, follows from the account's shape: each once, and of its mode.
        """

    def cells(self, shape: Shape) -> Cells | None:
        """
        Tell where the amounts of `columns` stand in every account of this shape.

        None when an amount is not one that the account has, but is computed from several.
        """

    def weights(
        self, market: M, columns: Sequence[Column], timestamp: int
    ) -> tuple[Numbers, Numbers]:
        """
        Return two values per column, in base currency per stored unit.

        First the collateral side, weighted low by its threshold so that no rounding of the contract
        can be missed; then the debt side. A column counts on one side only; the other value is 0.
        Infinite or NaN where the price is unknown: such accounts always go to the exact integers.
        """

    def leg_bands(self, market: M) -> LegBands:
        """
        Return how much a leg may count less than its weight says as collateral, and more as debt.

        In base currency units, besides `unit_band`. The contract counts whole ones: an account
        whose debts come to less than one with all this has none.
        """

    relative_band: float  # slack of the screen as a part of both sums
    absolute_band: float  # slack of the screen per account, base currency units
    unit_band: float  # slack of each leg, stored units; of collateral half of it at most


class Follower(Protocol):
    """What the feed asks of the mirror while it seals a block."""

    def interest(self) -> LogQuery:
        """Name the logs to follow."""

    def polls(self, block: Block) -> tuple[Call, ...]:
        """Name the calls to make at this block."""

    def needs(self, block: Block, logs: Sequence[Log], readings: Readings) -> Needs:
        """Name what the sealed logs still lack."""


class ChainReader(Protocol):
    """Reads of one chain. Every answer belongs to the block that was asked for, or is an error."""

    async def chain_id(self) -> int:
        """Return the node's chain id."""

    async def head(self) -> Block:
        """Return the newest block of the node."""

    async def block_at(self, number: int) -> Block | None:
        """Return the canonical block of this height, or None."""

    async def block_of(self, block_hash: BlockHash) -> Block | None:
        """Return the block with this hash, or None."""

    async def logs_of(self, block: Block, query: LogQuery) -> tuple[Log, ...]:
        """Return the matching logs of exactly this block, in order."""

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        """
        Return the matching logs of a range of canonical blocks, in order.

        Raises:
            Retry: The node failed; `RangeTooWide` (a Retry) when a narrower range may work.
        """

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        """Make all calls at exactly this block, in as few requests as the node allows."""

    async def code_at(self, address: Address) -> bytes:
        """Return the code of `address` at the newest block."""


class Feed(Protocol):
    """The one way in: ordered, gapless, reorg-aware messages."""

    head: int  # newest block number the node has told us of

    @property
    def newest(self) -> Block | None:
        """The newest block that the node has told us of since `follow` began; None before."""

    def follow(self, start: Block) -> AsyncIterator[BlockBatch | Rollback]:
        """Yield everything after `start`, for ever."""


class Streaks(Protocol):
    """Blocks in a row under 1, counted by detection."""

    def blocks_unhealthy(self, key: Key) -> int:
        """Return the length of the running streak, 0 without one."""


class Users(Protocol):
    """Who is known, and how far the searches for them got."""

    async def users(self, protocol: str) -> list[Holder]:
        """Return every user that discovery or following has recorded."""

    async def scanned_to(self, scan: str) -> int | None:
        """Return the last block that this scan has covered, or None."""

    async def set_scanned_to(
        self, protocol: str, block_number: int, users: Iterable[Holder], *, scan: str
    ) -> None:
        """Record users of a protocol and how far the scan for them got, as one thing."""


class History(Users, Protocol):
    """The durable memory."""

    async def open(self) -> None:
        """
        Open the database and bring its schema up to date.

        Raises:
            Unreachable: It cannot be opened.
        """

    async def close(self) -> None:
        """Write what is pending and close."""

    async def add_users(self, protocol: str, users: Iterable[Holder]) -> None:
        """Record users; known ones stay as they are."""

    async def checkpoints(self) -> list[Checkpoint]:
        """Return the remembered checkpoints, newest first."""

    async def save(
        self, checkpoint: Checkpoint | None, opportunities: Sequence[Opportunity]
    ) -> None:
        """Record a checkpoint (pruning those past the undo window) and changed episodes."""

    async def opportunities(self, limit: int) -> list[Opportunity]:
        """Return episodes, newest first; all open ones are among them, whatever the limit."""


class Positions(Protocol):
    """The book as the HTTP API reads it: every item valued at one block."""

    async def page(
        self,
        *,
        protocol: str | None,
        user: Address | None,
        asset: Address | None,
        max_health_factor: int | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[int, list[Position], str | None]:
        """
        Return (block, items, next cursor), lowest health factor first, no debt last.

        Raises:
            StaleCursor: The cursor's block has left memory.
            BadCursor: It is not one of ours.
        """

    def position(self, protocol: str, user: Address) -> Position | None:
        """Return one account at the newest block, or None."""

    def explain(self, protocol: str, user: Address) -> list[Step] | None:
        """List the arithmetic behind one account, or None."""


class Opportunities(Protocol):
    """The episodes as the HTTP API reads them."""

    def page(
        self, *, state: str | None, protocol: str | None, limit: int, cursor: str | None
    ) -> tuple[int, list[Opportunity], str | None]:
        """Return (block, items, next cursor), newest first. Raises BadCursor."""


class Operator(Protocol):
    """The daemon as a whole, as the HTTP API and the CLI see it."""

    def status(self) -> Status:
        """Return what /readyz says."""

    async def rebuild(self, *, protocol: str | None, from_block: int | None) -> RebuildReport:
        """Read the book anew from the chain and publish it again."""


class Flags(Protocol):
    """Where new and closed episodes go, besides the store."""

    def publish(self, opportunities: Sequence[Opportunity]) -> None:
        """Append them to the stream; never raises for a broker that is away."""


Documents = Mapping[str, Any]
