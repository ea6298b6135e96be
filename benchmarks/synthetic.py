"""
A made-up pool of twelve reserves, and as many borrowers as a measurement wants.

It is made of the real adapter's own values, so that everything behind it is the real thing. Shares
are near those of large pools: 1 to 4 collaterals, 1 to 3 debts, one account in ten in an eMode.
How far accounts are from liquidation decides how much work a block is: here 2 in 10,000 are under
1, one in twenty is between 1.01 and the watch limit of 1.1, all others are above it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from chimera.detection.detector import OpportunityDetector
from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, WAD, Bps, Ray
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import V3_0
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, Reserve
from chimera.protocols.aave_v3.math import Rates
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine

PROTOCOL = "aave"
SEED = 11
START = 1_760_000_000  # a time in 2025
USD = 10**8
ETH_MODE = 1
# symbol, decimals, price in USD, threshold in basis points, eMode
LISTINGS = (
    ("WETH", 18, 2_500.0, 8250, ETH_MODE),
    ("USDC", 6, 1.0, 8000, 0),
    ("wstETH", 18, 2_950.0, 8100, ETH_MODE),
    ("WBTC", 8, 65_000.0, 7800, 0),
    ("cbETH", 18, 2_700.0, 7700, ETH_MODE),
    ("DAI", 18, 0.9997, 7800, 0),
    ("USDT", 6, 1.0002, 7800, 0),
    ("LINK", 18, 15.12, 7000, 0),
    ("AAVE", 18, 180.5, 7300, 0),
    ("EURC", 6, 1.0825, 7500, 0),
    ("weETH", 18, 2_640.0, 7900, ETH_MODE),
    ("GHO", 18, 0.998, 7200, 0),
)
POPULARITY = (64, 60, 30, 24, 10, 14, 14, 6, 6, 4, 12, 6)  # how often one is picked, relatively
UNDER, WATCHED = 0.0002, 0.05  # of all accounts


def address(kind: int, number: int) -> Address:
    """Make up an address."""
    return Address(kind.to_bytes(4, "big") + number.to_bytes(16, "big"))


def block_after(parent: Block, seconds: int = 2) -> Block:
    """Make up the next block."""
    number = parent.number + 1
    own = BlockHash(number.to_bytes(32, "big"))
    return Block(number, own, parent.hash, parent.timestamp + seconds)


GENESIS = Block(20_000_000, BlockHash(b"\x01" * 32), BlockHash(bytes(32)), START)


def make_market() -> AaveMarket:
    """Make up the pool, with prices, rates and indexes as a pool of some age has them."""
    assets = [address(1, number) for number in range(len(LISTINGS))]
    return AaveMarket(
        engine=V3_0,
        provider=address(9, 1),
        pool=address(9, 2),
        configurator=address(9, 3),
        oracle=address(9, 4),
        base_currency="USD",
        base_decimals=8,
        reserves={asset: _reserve(asset, number) for number, asset in enumerate(assets)},
        rates={asset: _rates(number) for number, asset in enumerate(assets)},
        debt_totals=dict.fromkeys(assets, 10**30),
        modes={ETH_MODE: Mode(Bps(9500), Bps(10_100), address(0, 0))},
        prices={
            asset: round(price * USD)
            for asset, (_, _, price, _, _) in zip(assets, LISTINGS, strict=True)
        },
    )


def _reserve(asset: Address, number: int) -> Reserve:
    symbol, decimals, _, threshold, mode = LISTINGS[number]
    return Reserve(
        asset=asset,
        symbol=symbol,
        bit=number,
        supply_token=address(2, number),
        debt_token=address(3, number),
        stable_debt_token=address(4, number),
        configuration=Configuration(
            threshold=Bps(threshold),
            bonus=Bps(10_500),
            decimals=decimals,
            is_active=True,
            is_paused=False,
            protocol_fee=Bps(1_000),
            mode=mode,
        ),
    )


def _rates(number: int) -> Rates:
    return Rates(
        liquidity_index=Ray(RAY + RAY * (3 + number) // 137),
        debt_index=Ray(RAY + RAY * (5 + number) // 113),
        liquidity_rate=Ray(RAY * (10 + number) // 1_000),
        debt_rate=Ray(RAY * (25 + number) // 1_000),
        updated=START - 60,
    )


class Borrowers:
    """Makes up accounts in one market, the same ones for the same seed."""

    def __init__(self, market: AaveMarket, seed: int = SEED) -> None:
        self._market = market
        self._assets = list(market.reserves)
        self._eth = [a for a, r in market.reserves.items() if r.configuration.mode == ETH_MODE]
        self._rng = random.Random(seed)

    def make(self, count: int) -> dict[Address, Account]:
        """Return so many accounts."""
        return {address(7, number): self._account() for number in range(count)}

    def _account(self) -> Account:
        rng = self._rng
        mode = ETH_MODE if rng.random() < 0.1 else 0
        supplied_assets = self._pick(rng.choice((1, 1, 2, 2, 3, 4)), mode)
        if mode and rng.random() < 0.3:  # a collateral outside of the category
            supplied_assets = list(dict.fromkeys([*supplied_assets, *self._pick_any(1)]))
        owed_assets = self._pick(rng.choice((1, 1, 1, 2, 2, 3)), mode)
        wealth = rng.lognormvariate(8.5, 1.8)  # USD, median 5,000
        parts = [wealth / len(supplied_assets) * rng.uniform(0.5, 1.5) for _ in supplied_assets]
        bearing = sum(
            part * self._threshold(asset, mode)
            for asset, part in zip(supplied_assets, parts, strict=True)
        )
        debt = bearing / self._health_factor() / len(owed_assets)
        supplied = {
            asset: self._scaled(asset, part, debt=False)
            for asset, part in zip(supplied_assets, parts, strict=True)
        }
        owed = {asset: self._scaled(asset, debt, debt=True) for asset in owed_assets}
        return Account(supplied, owed, frozenset(supplied), mode, GENESIS.number)

    def _pick(self, count: int, mode: int) -> list[Address]:
        if mode:
            return self._rng.sample(self._eth, min(count, len(self._eth)))
        return self._pick_any(count)

    def _pick_any(self, count: int) -> list[Address]:
        found: dict[Address, None] = {}
        while len(found) < count:
            found[self._rng.choices(self._assets, POPULARITY)[0]] = None
        return list(found)

    def _health_factor(self) -> float:
        lot = self._rng.random()
        if lot < UNDER:
            return self._rng.uniform(0.9, 0.999)
        if lot < UNDER + WATCHED:
            return self._rng.uniform(1.01, 1.1)
        return 1.1 + self._rng.expovariate(1.0)

    def _threshold(self, asset: Address, mode: int) -> float:
        configuration = self._market.reserves[asset].configuration
        covered = mode != 0 and configuration.mode == mode
        found = self._market.modes[mode].threshold if covered else configuration.threshold
        return found / 10_000

    def _scaled(self, asset: Address, usd: float, *, debt: bool) -> int:
        reserve, price = self._market.reserves[asset], self._market.prices[asset]
        indexes = self._market.indexes(START)[asset]
        index = indexes.debt if debt else indexes.income
        amount = int(usd * WAD) * USD * reserve.unit // (WAD * (price or 1))
        return max(1, amount * RAY // index)


@dataclass(frozen=True, slots=True)
class Mirror:
    """The real engine and detector on a made-up book."""

    adapter: AaveV3
    market: AaveMarket
    accounts: dict[Address, Account]
    book: Book
    engine: StateEngine
    detector: OpportunityDetector


def make_mirror(count: int, *, cache: PositionCache | None = None) -> Mirror:
    """Make up `count` borrowers, and load them as a rebuild does."""
    market = make_market()
    accounts = Borrowers(market).make(count)
    return load_mirror(market, accounts, cache=cache)


def load_mirror(
    market: AaveMarket,
    accounts: dict[Address, Account],
    *,
    cache: PositionCache | None = None,
) -> Mirror:
    """Load accounts that were made up before."""
    adapter: Any = AaveV3(name=PROTOCOL, address=market.provider, from_block=1)
    book = Book()
    book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
    detector = OpportunityDetector(chain_id=31337)
    engine = StateEngine(
        {PROTOCOL: adapter}, book, cache or PositionCache(""), streaks=detector.streaks
    )
    return Mirror(adapter, market, accounts, book, engine, detector)
