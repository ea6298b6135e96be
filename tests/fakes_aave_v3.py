"""The pool of the reference vectors, its logs word by word, and answers from a dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from chimera.domain import abi
from chimera.domain.block import Address, Block, BlockBatch, BlockHash, Log
from chimera.domain.call import Answer, Call, Inquiry, Readings, T
from chimera.domain.changes import AccountsSet, Change
from chimera.domain.endings import Endings
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps, Ray
from chimera.protocols.aave_v3 import calls
from chimera.protocols.aave_v3.engine import V3_0, Engine
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, Reserve
from chimera.protocols.aave_v3.math import Rates
from chimera.protocols.aave_v3.reading import price_calls
from chimera.state.shelf import Shelf, changed


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


PROVIDER, POOL, CONFIGURATOR, ORACLE = (address(0xA0 + n) for n in range(4))
WETH, USDC, WBTC, WSTETH = (address(0x100000 + n) for n in range(4))
ALICE, BOB, CAROL = (address(0xB00000 + n) for n in range(3))
PRICE_SOURCE = address(0x55)
ZERO = address(0)

PRICES: dict[Address, int | None] = {
    WETH: 300012345678,
    USDC: 99987654,
    WBTC: 9753124680135,
    WSTETH: 367012345601,
}
UNTOUCHED = Rates(Ray(RAY), Ray(RAY), Ray(0), Ray(0), 0)


def reserve(asset: Address, symbol: str, bit: int, *terms: int) -> Reserve:
    threshold, bonus, fee, decimals, mode = terms
    tokens = (address(0x200000 + bit), address(0x300000 + bit), address(0x400000 + bit))
    configuration = Configuration(
        threshold=Bps(threshold),
        bonus=Bps(bonus),
        decimals=decimals,
        is_active=True,
        is_paused=False,
        protocol_fee=Bps(fee),
        mode=mode,
    )
    return Reserve(asset, symbol, bit, *tokens, configuration)


RESERVES = {
    WETH: reserve(WETH, "WETH", 0, 8300, 10500, 1000, 18, 1),
    USDC: reserve(USDC, "USDC", 1, 7800, 10450, 1000, 6, 0),
    WBTC: reserve(WBTC, "WBTC", 2, 7800, 10750, 1000, 8, 0),
    WSTETH: reserve(WSTETH, "wstETH", 3, 8100, 10600, 2000, 18, 1),
}
ETH_MODE = Mode(Bps(9300), Bps(10100), ZERO, collateral=0b1001)  # by bitmap the same assets


def market(
    *,
    prices: Mapping[Address, int | None] | None = None,
    rates: Mapping[Address, Rates] | None = None,
    modes: Mapping[int, Mode] | None = None,
    reserves: Mapping[Address, Reserve] | None = None,
    engine: Engine = V3_0,
) -> AaveMarket:
    listed = dict(reserves or RESERVES)
    return AaveMarket(
        engine=engine,
        provider=PROVIDER,
        pool=POOL,
        configurator=CONFIGURATOR,
        oracle=ORACLE,
        base_currency="USD",
        base_decimals=8,
        reserves=listed,
        rates={asset: (rates or {}).get(asset, UNTOUCHED) for asset in listed},
        debt_totals=dict.fromkeys(listed, 0),
        modes={1: ETH_MODE} if modes is None else modes,
        prices={**PRICES, **(prices or {})},
    )


def standing(timestamp: int, *, income: int = RAY, debt: int = RAY) -> Rates:
    """Indexes that were stored in this very second."""
    return Rates(Ray(income), Ray(debt), Ray(0), Ray(0), timestamp)


def configured(asset: Address, **terms: object) -> dict[Address, Reserve]:
    """The reserves, one of them with other terms."""
    old = RESERVES[asset]
    new = replace(old, configuration=replace(old.configuration, **terms))  # type: ignore[arg-type]
    return {**RESERVES, asset: new}


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words(*values: int | bytes) -> bytes:
    return b"".join(word(value) for value in values)


def log(emitter: Address, topic: bytes, *indexed: int | bytes, data: Sequence[int | bytes]) -> Log:
    topics = (topic, *(word(value) for value in indexed))
    return Log(emitter, topics, words(*data), 0, 1)


BLOCK = Block(1, BlockHash(bytes(32)), BlockHash(bytes(32)), 1_700_000_002)


@dataclass
class Accounts:
    """A shelf of the book, with the book's own way to apply a change."""

    held: Mapping[Address, Account] = field(default_factory=dict)
    complete: bool = True

    def __post_init__(self) -> None:
        self.shelf = Shelf("aave", market(), self.held, complete=self.complete)

    @property
    def open(self) -> AbstractSet[Address]:
        return self.shelf.open

    @property
    def near(self) -> AbstractSet[Address]:
        return self.shelf.near

    def keys(self) -> AbstractSet[Address]:
        return self.shelf.keys()

    def get(self, user: Address) -> Account | None:
        return self.shelf.get(user)

    def endings(self, *, owing: bool) -> Endings:
        return self.shelf.endings(owing=owing)

    def apply(self, change: Change) -> None:
        if isinstance(change, AccountsSet):
            for holder, account in change.accounts.items():
                self.shelf.put(holder, account)
            return
        user = getattr(change, "user", None)
        if user is not None and type(change).__name__ != "Liquidated":
            old = self.shelf.users.get(user, Account())
            self.shelf.put(user, changed(old, change, BLOCK.number, "aave"))


def readings(of: AaveMarket, *more: Address) -> dict[Call, Answer]:
    """What the oracle answers: the market's own prices, and 1 for everything else."""
    sources = tuple(dict.fromkeys((*of.priced(), *more)))
    found: dict[Call, Answer] = {}
    for source, call in zip(sources, price_calls(of.oracle, sources), strict=True):
        price = of.prices.get(source, 1)
        found[call] = None if price is None else word(price)
    return found


def batch(of: AaveMarket, *logs: Log, answers: Readings | None = None) -> BlockBatch:
    return BlockBatch(BLOCK, logs, readings(of) if answers is None else answers)


def packed(asset: Address, engine: Engine) -> int:
    """A reserve's configuration word; the bits of an eMode are set in every version."""
    terms = RESERVES[asset].configuration
    low = 7500 | terms.threshold << 16 | terms.bonus << 32 | terms.decimals << 48 | 1 << 56
    virtual = 0 if engine is V3_0 else 1 << 252
    return low | terms.protocol_fee << 152 | terms.mode << 168 | virtual


PROBES = {  # what each version can be asked that the one before cannot
    "3.1": abi.of_address(POOL, calls.GET_VIRTUAL_UNDERLYING_BALANCE, WETH),
    "3.2": abi.of_number(POOL, calls.GET_EMODE_CATEGORY_COLLATERAL_BITMAP, 1),
    "3.3": abi.of_address(POOL, calls.GET_RESERVE_DEFICIT, WETH),
    "3.4": abi.plain(POOL, calls.RESERVE_INTEREST_RATE_STRATEGY),
    "3.6": abi.of_number(POOL, calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP, 1),
    "3.7": abi.of_number(POOL, calls.GET_IS_EMODE_CATEGORY_ISOLATED, 1),
}
REVISIONS = {"3.0": (1, 1), "3.1": (4, 1), "3.2": (5, 1), "3.3": (7, 1), "3.4": (8, 3)}
REVISIONS |= {"3.5": (9, 4), "3.6": (10, 5), "3.7": (11, 5)}  # of the pool, of its tokens


def chain(engine: Engine) -> dict[Call, Answer]:
    """The pool of the reference vectors, as a node answers it in this version."""
    pool_revision, token_revision = REVISIONS[engine.version]
    found: dict[Call, Answer] = {
        abi.plain(PROVIDER, calls.GET_POOL): word(POOL),
        abi.plain(PROVIDER, calls.GET_POOL_CONFIGURATOR): word(CONFIGURATOR),
        abi.plain(PROVIDER, calls.GET_PRICE_ORACLE): word(ORACLE),
        abi.plain(POOL, calls.POOL_REVISION): word(pool_revision),
        abi.plain(POOL, calls.GET_RESERVES_LIST): words(32, len(RESERVES), *RESERVES),
        abi.plain(ORACLE, calls.BASE_CURRENCY): word(0),
        abi.plain(ORACLE, calls.BASE_CURRENCY_UNIT): word(10**8),
        abi.of_number(POOL, calls.GET_EMODE_CATEGORY_DATA, 1): words(32, 9000, 9300, 10100, 0),
    }
    found |= {probe: word(0) for version, probe in PROBES.items() if version <= engine.version}
    if engine.has_mode_bitmaps:
        for mode in range(1, 5):
            for getter, bits in (
                (calls.GET_EMODE_CATEGORY_COLLATERAL_BITMAP, 0b1001),
                (calls.GET_EMODE_CATEGORY_BORROWABLE_BITMAP, 0b0011),
                (calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP, 0b1000),
            ):
                if getter != calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP or engine.has_ltvzero_bitmap:
                    found[abi.of_number(POOL, getter, mode)] = word(bits if mode == 1 else 0)
    for asset, reserve in RESERVES.items():
        tokens = (reserve.supply_token, reserve.stable_debt_token, reserve.debt_token)
        rates = (RAY, 5, RAY, 6, 0, 1234)
        data = (packed(asset, engine), *rates, reserve.bit, *tokens, 0, 0, 0, 0)
        found |= {
            abi.of_address(POOL, calls.GET_RESERVE_DATA, asset): words(*data),
            abi.of_address(POOL, calls.GET_LIQUIDATION_GRACE_PERIOD, asset): word(99),
            abi.plain(reserve.supply_token, calls.ATOKEN_REVISION): word(token_revision),
            abi.plain(reserve.debt_token, calls.DEBT_TOKEN_REVISION): word(token_revision),
            abi.plain(reserve.stable_debt_token, calls.TOTAL_SUPPLY): word(0),
            abi.plain(reserve.debt_token, calls.SCALED_TOTAL_SUPPLY): word(77),
            abi.plain(asset, calls.SYMBOL): reserve.symbol.encode().ljust(32, b"\0"),
            abi.of_address(ORACLE, calls.GET_ASSET_PRICE, asset): word(PRICES[asset] or 0),
        }
    return found


def drive(inquiry: Inquiry[T], answers: Readings, default: Answer = None) -> T:
    """Answer an inquiry from a dict; calls that are not in it revert."""
    try:
        questions = next(inquiry)
        while True:
            questions = inquiry.send({call: answers.get(call, default) for call in questions})
    except StopIteration as done:
        result: T = done.value
        return result
