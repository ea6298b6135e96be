"""A lending protocol small enough to see through, and the walls around the state room."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chimera.domain.block import Address, Block, BlockBatch, BlockHash, Log, LogQuery, Needs
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.changes import (
    AccountRead,
    Change,
    DebtMoved,
    Liquidated,
    MarketMoved,
    SupplyMoved,
)
from chimera.domain.health import (
    CollateralLeg,
    DebtLeg,
    Difference,
    Health,
    Pair,
    Step,
    Valuation,
    Verdict,
)
from chimera.domain.market import (
    Account,
    Cells,
    Column,
    Holder,
    Key,
    Market,
    Quoted,
    Shape,
    Token,
)
from chimera.domain.numeric import BPS, WAD, Wad, short_decimal
from chimera.errors import Skip
from chimera.ports import Accounts

TOPIC = bytes(31) + b"\x01"
THRESHOLD = 8_000  # basis points, of every asset
SUPPLY, BORROW, PRICE, LIQUIDATION, READ = range(5)


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


ENTRY = address(0xEE)
WETH, USDC = address(0xE1), address(0xC1)
ALICE, BOB, CAROL = address(0xA), address(0xB), address(0xC)


def first_block(number: int = 100) -> Block:
    return Block(number, BlockHash(b"\x11" * 32), BlockHash(b"\x10" * 32), 1_700_000_000)


def child(parent: Block, salt: str = "") -> Block:
    """Build a block on `parent`; another salt makes a sibling."""
    digest = hashlib.sha256(parent.hash + salt.encode()).digest()
    return Block(parent.number + 1, BlockHash(digest), parent.hash, parent.timestamp + 2)


def log(kind: int, subject: Address, asset: Address = ENTRY, amount: int = 0) -> Log:
    data = bytes([kind]) + subject + asset + amount.to_bytes(32, "big", signed=True)
    return Log(ENTRY, (TOPIC,), data, 0, 0)


def batch(block: Block, *logs: Log) -> BlockBatch:
    return BlockBatch(block, logs, {})


@dataclass(frozen=True, slots=True)
class FakeMarket(Market):
    """Price per unit by asset; 0 is a dead price."""

    prices: Mapping[Address, int] = field(default_factory=dict)


@dataclass(slots=True)
class FakeAdapter:
    """Health is 80 % of all supply over all debt, rounded down."""

    name: str = "fake"
    kind: str = "fake"
    address: Address = ENTRY
    from_block: int = 1
    topics: frozenset[bytes] = frozenset({TOPIC})
    relative_band: float = 4e-6
    absolute_band: float = 2.0
    unit_band: float = 0.0
    needs_suppliers: bool = False
    chain: dict[Address, Account] = field(default_factory=dict)
    prices: Mapping[Address, int] = field(default_factory=dict)

    def published(self, holder: Holder) -> tuple[str, Address]:
        return self.name, holder

    def holder(self, protocol: str, user: Address) -> Holder | None:
        return user if protocol == self.name else None

    def prove(self) -> Inquiry[None]:
        yield (Call(ENTRY, b"prove"),)

    def read_market(self, block: Block) -> Inquiry[FakeMarket]:
        yield (Call(ENTRY, b"market"), Call(ENTRY, block.hash))
        return FakeMarket(self.prices)

    def discovery(self, market: FakeMarket, *, suppliers: bool) -> LogQuery:
        del market, suppliers
        return LogQuery(frozenset({ENTRY}), self.topics)

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Address]:
        kinds = {BORROW, SUPPLY} if suppliers else {BORROW}
        return {Address(log.data[1:21]) for log in logs if log.data[0] in kinds}

    def read_rest(
        self, market: FakeMarket, holders: Iterable[Holder], block: Block
    ) -> Inquiry[FakeMarket]:
        del holders, block
        yield ()
        return market

    def read_accounts(
        self, market: FakeMarket, users: Sequence[Address], block: Block
    ) -> Inquiry[dict[Address, Account]]:
        del market, block
        yield tuple(Call(ENTRY, user) for user in users)
        return {user: self.chain[user] for user in users if user in self.chain}

    def interest(self, market: FakeMarket) -> LogQuery:
        del market
        return LogQuery(frozenset({ENTRY}), self.topics)

    def polls(self, market: FakeMarket, accounts: Accounts, block: Block) -> tuple[Call, ...]:
        del accounts, block
        return tuple(Call(asset, b"price") for asset in market.prices)

    def needs(
        self,
        market: FakeMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        del market, block
        users = self.users_in(logs, suppliers=False)
        calls = [Call(ENTRY, user) for user in sorted(users) if accounts.get(user) is None]
        return Needs(tuple(call for call in calls if call not in readings))

    def fold(self, market: FakeMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        del accounts
        prices = dict(market.prices)
        for entry in batch.logs:
            kind, user, asset = entry.data[0], Address(entry.data[1:21]), Address(entry.data[21:41])
            amount = int.from_bytes(entry.data[41:], "big", signed=True)
            if kind == SUPPLY:
                yield SupplyMoved(user, asset, amount)
            elif kind == BORROW:
                yield DebtMoved(user, asset, amount)
            elif kind == PRICE:
                prices[asset] = amount
            elif kind == READ:
                yield AccountRead(user, self.chain[user])
            else:
                yield Liquidated(user)
        yield MarketMoved(FakeMarket(prices))

    def health(self, market: FakeMarket, account: Account, timestamp: int) -> Health:
        del timestamp
        if any(not market.prices[asset] for asset in {*account.supplied, *account.owed}):
            return Health(None, 0, 0, "0", "a price is dead")
        collateral, debt = _sum(market, account.supplied), _sum(market, account.owed)
        factor = Wad(collateral * THRESHOLD // BPS * WAD // debt) if debt else None
        return Health(factor, collateral, debt, short_decimal(THRESHOLD, 4))

    def factor(self, market: FakeMarket, account: Account, timestamp: int) -> Wad | None:
        health = self.health(market, account, timestamp)
        if health.error is not None:
            raise Skip(health.error)
        return health.factor

    def value(self, market: FakeMarket, account: Account, timestamp: int) -> Valuation:
        threshold = short_decimal(THRESHOLD, 4)
        return Valuation(
            health=self.health(market, account, timestamp),
            collateral=tuple(
                CollateralLeg(asset, "C", amount, amount * market.prices[asset], threshold, True)  # noqa: FBT003
                for asset, amount in account.supplied.items()
            ),
            debt=tuple(
                DebtLeg(asset, "D", amount, amount * market.prices[asset])
                for asset, amount in account.owed.items()
            ),
            base_currency="USD",
            base_decimals=8,
        )

    def verdict(self, market: FakeMarket, account: Account, timestamp: int) -> Verdict:
        del market, timestamp
        if not account.supplied:
            return Verdict(liquidatable=False, reason="no collateral is left")
        seized, repaid = next(iter(account.supplied)), next(iter(account.owed))
        pair = Pair(seized, repaid, account.owed[repaid] // 2, 7, 123_456_789)
        return Verdict(liquidatable=True, best=pair)

    def explain(
        self,
        market: FakeMarket,
        account: Account,
        timestamp: int,
        holder: Holder | None = None,
    ) -> list[Step]:
        del holder
        return [Step("health_factor", str(self.health(market, account, timestamp).factor))]

    def tokens(self, market: FakeMarket) -> Mapping[Address, Token]:
        return {asset: Token(f"T{asset[-1]}", 0) for asset in market.prices}

    def quotes(self, market: FakeMarket) -> Mapping[Address, int | None]:
        return market.prices

    def quoted(
        self, market: FakeMarket, account: Account | None = None
    ) -> Mapping[Address, Quoted]:
        legs = market.prices if account is None else [*account.supplied, *account.owed]
        return {asset: Quoted(f"T{asset[-1]}", "USD", 8) for asset in legs}

    def priced(self, market: FakeMarket, asset: Address, price: int) -> FakeMarket:
        return FakeMarket({**market.prices, asset: price})

    def sources(self, market: FakeMarket) -> Inquiry[dict[Address, Address]]:
        yield ()
        return dict.fromkeys(market.prices, ENTRY)

    def assets(self, market: FakeMarket, account: Account) -> frozenset[Address]:
        del market
        return frozenset(account.supplied) | frozenset(account.owed)

    def exact_within(self, accounts: Accounts) -> int:
        del accounts
        return 0

    def proof(self, market: FakeMarket, holder: Holder) -> tuple[Call, ...]:
        del market
        return (Call(ENTRY, b"view" + holder),)

    def differences(
        self,
        market: FakeMarket,
        holder: Holder,
        account: Account,
        block: Block,
        readings: Readings,
    ) -> tuple[Difference, ...]:
        ours = str(self.health(market, account, block.timestamp).factor)
        theirs = (readings[Call(ENTRY, b"view" + holder)] or b"reverts").decode()
        return () if ours == theirs else (Difference("factor", ours, theirs),)

    def cells(self, shape: Shape) -> Cells | None:
        del shape
        return None

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        for asset, amount in account.supplied.items():
            yield (asset, False, account.mode), amount
        for asset, amount in account.owed.items():
            yield (asset, True, account.mode), amount

    def leg_bands(self, market: FakeMarket) -> tuple[float, float]:
        del market
        return 0.0, 0.0

    def weights(
        self, market: FakeMarket, columns: Sequence[Column], timestamp: int
    ) -> tuple[Sequence[float], Sequence[float]]:
        del timestamp
        prices = [float(market.prices[asset]) or float("inf") for asset, _, _ in columns]
        sides = [debt for _, debt, _ in columns]
        low = (THRESHOLD - 1) / BPS
        return (
            [0.0 if debt else low * price for price, debt in zip(prices, sides, strict=True)],
            [price if debt else 0.0 for price, debt in zip(prices, sides, strict=True)],
        )


def _sum(market: FakeMarket, amounts: Mapping[Address, int]) -> int:
    return sum(amount * market.prices[asset] for asset, amount in amounts.items())


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeStreaks:
    """Streaks as a test sets them."""

    def __init__(self) -> None:
        self.lengths: dict[Key, int] = {}

    def blocks_unhealthy(self, key: Key) -> int:
        return self.lengths.get(key, 0)


def account(
    supplied: Mapping[Address, int] | None = None, owed: Mapping[Address, int] | None = None
) -> Account:
    return Account(supplied or {}, owed or {}, updated_block=1)
