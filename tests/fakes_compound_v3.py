"""The market of the reference's vectors, and a contract that answers for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from chimera.domain.block import ZERO_ADDRESS, Address, Block, BlockBatch, BlockHash, Log
from chimera.domain.call import Answer, Call, Inquiry, Readings, T
from chimera.domain.market import EMPTY, Account
from chimera.protocols.compound_v3 import calls, events, reading
from chimera.protocols.compound_v3.adapter import CompoundV3
from chimera.protocols.compound_v3.market import Base, Collateral, CometMarket, Terms
from chimera.protocols.compound_v3.math import Curve, Indexes, Totals, accrued, present_value
from chimera.protocols.compound_v3.valuation import liquidatable
from chimera.state.book import Book

YEAR = 31_536_000  # seconds, as Comet's constructor divides by
NAME = "compound"


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


COMET, USDC, WETH, CBBTC = (address(number) for number in (0xC0, 0xC1, 0xC2, 0xC3))
USDC_FEED, WETH_FEED, CBBTC_FEED = (address(number) for number in (0xF1, 0xF2, 0xF3))
ALICE, BOB, CAROL, ABSORBER = (address(number) for number in (0xA1, 0xA2, 0xA3, 0xA4))
COMPOUND = CompoundV3(name=NAME, address=COMET, from_block=1)


def yearly(factor: str) -> int:
    """Return the rate per second that a Comet makes of a yearly one with three decimals."""
    return int(factor.replace(".", "")) * 10**15 // YEAR


SUPPLY = Curve(85 * 10**16, yearly("0.048"), yearly("1.600"), 0)
BORROW = Curve(85 * 10**16, yearly("0.053"), yearly("1.800"), yearly("0.015"))


def factor(percent: int) -> int:
    return percent * 10**16


def collateral(
    offset: int, asset: Address = WETH, feed: Address = WETH_FEED, symbol: str = "WETH"
) -> Collateral:
    return Collateral(asset, symbol, offset, feed, 10**18, factor(90), factor(95))


CBBTC_TERMS = Collateral(CBBTC, "cbBTC", 1, CBBTC_FEED, 10**8, factor(85), factor(92))
TERMS = Terms(
    base=Base(USDC, "USDC", USDC_FEED, 10**6),
    currency="USD",
    collaterals={WETH: collateral(0), CBBTC: CBBTC_TERMS},
    supply=SUPPLY,
    borrow=BORROW,
    store_front=factor(60),
    target_reserves=50 * 10**12,
)

# The stored state of C7.
START = Totals(
    Indexes(1004427979614107, 1005576540402513), 999999004406, 952783207277, 1801306225, 0
)
PRICES: Mapping[Address, int | None] = {
    USDC: 99_990_000,
    WETH: 251_199_316_123,
    CBBTC: 6_000_000_000_000,
}


def market(
    totals: Totals = START,
    *,
    terms: Terms = TERMS,
    prices: Mapping[Address, int | None] | None = None,
    cash: int = 0,
) -> CometMarket:
    """Return the market of the vectors, with other prices for some tokens."""
    return CometMarket(
        comet=COMET,
        terms=terms,
        totals=totals,
        collateral_totals=dict.fromkeys(terms.collaterals, 10**24),
        prices={**PRICES, **(prices or {})},
        cash=cash,
    )


def account(principal: int = 0, **held: int) -> Account:
    """Return an account with a signed principal that holds some `weth` and `cbbtc`."""
    tokens = {"weth": WETH, "cbbtc": CBBTC}
    balances = {tokens[name]: amount for name, amount in held.items()}
    return reading.account_of(TERMS, principal, balances, block_at(0))


def block_at(timestamp: int, number: int = 100, salt: bytes = b"") -> Block:
    mine, parent = (
        BlockHash(hashlib.sha256(place.to_bytes(8, "big", signed=True) + salt).digest())
        for place in (number, number - 1)
    )
    return Block(number, mine, parent, timestamp)


# --- logs ----------------------------------------------------------------------------------------


def log(topic: bytes, *named: Address, words: Sequence[int] = (), index: int = 0) -> Log:
    data = b"".join(word.to_bytes(32, "big") for word in words)
    topics = (topic, *(address.rjust(32, b"\0") for address in named))
    return Log(COMET, topics, data, index, 100)


def in_order(*logs: Log) -> tuple[Log, ...]:
    """Number logs as they would stand in a block."""
    return tuple(structs.replace(one, log_index=place) for place, one in enumerate(logs))


def supplied(user: Address, amount: int) -> Log:
    return log(events.SUPPLY, user, user, words=[amount])


def withdrawn(user: Address, amount: int) -> Log:
    return log(events.WITHDRAW, user, user, words=[amount])


def minted(user: Address, amount: int) -> Log:
    return log(events.TRANSFER, ZERO_ADDRESS, user, words=[amount])


def burned(user: Address, amount: int) -> Log:
    return log(events.TRANSFER, user, ZERO_ADDRESS, words=[amount])


# --- the contract --------------------------------------------------------------------------------


def word(value: int) -> bytes:
    return (value % 2**256).to_bytes(32, "big")


def string(text: str) -> bytes:
    raw = text.encode()
    return word(32) + word(len(raw)) + raw + bytes(-len(raw) % 32)


Override = Callable[[Call], Answer]


@dataclass
class FakeComet:
    """A contract that answers for a market and its accounts, as far as the adapter asks."""

    market: CometMarket
    timestamp: int
    accounts: dict[Address, Account] = field(default_factory=dict)
    answers: dict[Call, Answer] = field(default_factory=dict)  # instead of its own

    def ask(self, inquiry: Inquiry[T]) -> T:
        try:
            questions = next(inquiry)
            while True:
                questions = inquiry.send(self.read(questions))
        except StopIteration as done:
            result: T = done.value
            return result

    def read(self, questions: Iterable[Call]) -> Readings:
        return {call: self.answer(call) for call in questions}

    def answer(self, call: Call) -> Answer:
        if call in self.answers:
            return self.answers[call]
        selector, arguments = call.data[:4], call.data[4:]
        if call.to != COMET:
            return self._of_others(call.to, selector)
        if selector in PLAIN:
            return word(PLAIN[selector](self))
        return getattr(self, f"_{NAMES[selector].lower()}")(arguments)  # type: ignore[no-any-return]

    def _of_others(self, to: Address, selector: bytes) -> Answer:
        terms = self.market.terms
        if selector == calls.BALANCE_OF:
            return word(self.market.cash)
        if selector == calls.DESCRIPTION:
            return string("USDC / USD")
        symbols = {asset: one.symbol for asset, one in terms.collaterals.items()}
        return string({**symbols, terms.base.token: terms.base.symbol}[to])

    def _get_asset_info(self, arguments: bytes) -> bytes:
        place = int.from_bytes(arguments, "big")
        one = list(self.market.terms.collaterals.values())[place]
        found = (one.offset, _as_int(one.asset), _as_int(one.feed), one.scale)
        factors = (factor(80), one.liquidate_factor, one.liquidation_factor, 2**128 - 1)
        return b"".join(map(word, (*found, *factors)))

    def _totals_basic(self, _: bytes) -> bytes:
        totals = self.market.totals
        indexes = (totals.indexes.supply, totals.indexes.borrow, 0, 0)
        stored = (totals.supply, totals.borrow, totals.accrued_at, totals.pauses)
        return b"".join(map(word, (*indexes, *stored)))

    def _totals_collateral(self, arguments: bytes) -> bytes:
        return word(self.market.collateral_totals[_address(arguments)]) + word(0)

    def _get_price(self, arguments: bytes) -> Answer:
        terms, feed = self.market.terms, _address(arguments)
        listed = {**TERMS.collaterals, **terms.collaterals}  # feeds outlive their assets
        by_feed = {one.feed: self.market.prices[asset] for asset, one in listed.items()}
        price = {**by_feed, terms.base.feed: self.market.prices[terms.base.token]}[feed]
        return None if price is None else word(price)

    def _user_basic(self, arguments: bytes) -> bytes:
        found = self.accounts.get(_address(arguments), EMPTY)
        bits = self.market.terms.bits(found)
        words = (self.market.principal(found), 0, 0, bits & 0xFFFF, bits >> 16)
        return b"".join(map(word, words))

    def _user_collateral(self, arguments: bytes) -> bytes:
        found = self.accounts.get(_address(arguments[:32]), EMPTY)
        return word(found.supplied.get(_address(arguments[32:]), 0)) + word(0)

    def _balance(self, arguments: bytes) -> int:
        principal = self.market.principal(self.accounts.get(_address(arguments)))
        return present_value(principal, self.indexes)

    def _balance_of(self, arguments: bytes) -> bytes:
        return word(max(self._balance(arguments), 0))

    def _borrow_balance_of(self, arguments: bytes) -> bytes:
        return word(max(-self._balance(arguments), 0))

    def _is_liquidatable(self, arguments: bytes) -> bytes:
        found = self.accounts.get(_address(arguments), EMPTY)
        return word(liquidatable(self.market, found, self.market.totals.indexes))

    @property
    def indexes(self) -> Indexes:
        terms = self.market.terms
        return accrued(self.market.totals, terms.supply, terms.borrow, self.timestamp)


def _always(value: int) -> Callable[[FakeComet], int]:
    return lambda _: value


NAMES = {value: name for name, value in vars(calls).items() if isinstance(value, bytes)}
PLAIN: dict[bytes, Callable[[FakeComet], int]] = {
    **{getter: _always(value) for getter, value in reading.CONSTANTS.items()},
    calls.BASE_TOKEN: lambda fake: _as_int(fake.market.terms.base.token),
    calls.BASE_TOKEN_PRICE_FEED: lambda fake: _as_int(fake.market.terms.base.feed),
    calls.BASE_SCALE: lambda fake: fake.market.terms.base.scale,
    calls.NUM_ASSETS: lambda fake: len(fake.market.terms.collaterals),
    calls.STORE_FRONT_PRICE_FACTOR: lambda fake: fake.market.terms.store_front,
    calls.TARGET_RESERVES: lambda fake: fake.market.terms.target_reserves,
    calls.SUPPLY_KINK: lambda fake: fake.market.terms.supply.kink,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_LOW: lambda fake: fake.market.terms.supply.low,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_HIGH: lambda fake: fake.market.terms.supply.high,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_BASE: lambda fake: fake.market.terms.supply.base,
    calls.BORROW_KINK: lambda fake: fake.market.terms.borrow.kink,
    calls.BORROW_PER_SECOND_INTEREST_RATE_SLOPE_LOW: lambda fake: fake.market.terms.borrow.low,
    calls.BORROW_PER_SECOND_INTEREST_RATE_SLOPE_HIGH: lambda fake: fake.market.terms.borrow.high,
    calls.BORROW_PER_SECOND_INTEREST_RATE_BASE: lambda fake: fake.market.terms.borrow.base,
    calls.TOTAL_SUPPLY: lambda fake: present_value(fake.market.totals.supply, fake.indexes),
    calls.TOTAL_BORROW: lambda fake: -present_value(-fake.market.totals.borrow, fake.indexes),
}


def _as_int(address: Address) -> int:
    return int.from_bytes(address, "big")


def _address(argument: bytes) -> Address:
    return Address(argument[-20:])


# --- a follower ----------------------------------------------------------------------------------


class Follower:
    """A book that follows a `FakeComet`, block by block."""

    def __init__(self, comet: FakeComet, *, complete: bool = True) -> None:
        self.comet = comet
        self.book = Book(debug=True)
        known = {user: found for user, found in comet.accounts.items() if complete}
        first = block_at(comet.timestamp, 99)
        self.book.load(NAME, comet.market, known, complete=complete, block=first)

    @property
    def market(self) -> CometMarket:
        found = self.book.market(NAME)
        assert isinstance(found, CometMarket)
        return found

    def account(self, user: Address) -> Account:
        return self.book.get((NAME, user)) or EMPTY

    def principal(self, user: Address) -> int:
        return self.market.principal(self.account(user))

    def seal(self, block: Block, logs: Sequence[Log]) -> BlockBatch:
        """Read what the adapter asks for, as the feed would."""
        market, accounts = self.market, self.book.accounts(NAME)
        readings = dict(self.comet.read(COMPOUND.polls(market, accounts, block)))
        while lacking := COMPOUND.needs(market, accounts, block, logs, readings).calls:
            readings.update(self.comet.read(lacking))
        return BlockBatch(block, tuple(logs), readings)

    def follow(self, *logs: Log, at: int | None = None) -> CometMarket:
        """Apply the next block with these logs, at the contract's time."""
        newest = self.book.block.number
        block = block_at(self.comet.timestamp if at is None else at, newest + 1)
        batch = self.seal(block, in_order(*logs))
        self.book.begin(block)
        accounts = self.book.accounts(NAME)
        for change in COMPOUND.fold(self.market, accounts, batch):
            self.book.apply(NAME, change)
        self.book.commit()
        return self.market


def stored(totals: Totals, **accounts: Account) -> Follower:
    """Follow a market from these totals, with accounts of alice, bob and carol."""
    users = {"alice": ALICE, "bob": BOB, "carol": CAROL}
    found = {users[name]: known for name, known in accounts.items()}
    return Follower(FakeComet(market(totals), totals.accrued_at, found))


def advance(follower: Follower, *, seconds: int, **truth: Account) -> None:
    """Let the contract accrue, and give it other accounts."""
    comet, users = follower.comet, {"alice": ALICE, "bob": BOB, "carol": CAROL}
    comet.timestamp += seconds
    totals = replace(comet.market.totals, indexes=comet.indexes, accrued_at=comet.timestamp)
    comet.market = replace(comet.market, totals=totals)
    comet.accounts.update({users[name]: known for name, known in truth.items()})
