"""The recording through the real parts, and a singleton made up word by word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chimera.domain.block import ZERO_ADDRESS, Address, Block, BlockBatch, BlockHash, Log
from chimera.domain.call import Answer, BoundedCall, Call, Inquiry, T
from chimera.domain.changes import Change
from chimera.domain.health import Health
from chimera.domain.market import Account, Holder, Token
from chimera.domain.numeric import Wad
from chimera.protocols.morpho_blue import calls, events
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import (
    Id,
    MorphoMarket,
    Quote,
    Terms,
    holder_of,
    oracles_of,
)
from chimera.protocols.morpho_blue.math import Totals
from chimera.state.book import Book
from devnet.recording import Line
from devnet.replay import Replay
from tests.fakes_state import child

RECORDING = Path(__file__).parent / "recordings" / "morpho_blue-1.0.0-11.jsonl.gz"
NAME = "morpho"


def balances(account: Account | None) -> list[dict[Address, int]]:
    """What must agree of an account, whenever it was read."""
    found = account or Account()
    return [dict(side) for side in (found.supplied, found.owed, found.marks)]


class MorphoReplay(Replay):
    """The replay, which reads the markets that its holders are in before the accounts."""

    adapter: MorphoBlue

    def audit(self) -> list[str]:
        """Replay all, and at full blocks hold the book against a fresh snapshot: what differs."""
        found = []
        for line in self.blocks():
            if line.is_full:
                found += [f"block {line.block.number} {name}" for name in self.strays(line)]
        return [*self.comparison.mismatches, *found]

    def strays(self, line: Line) -> Iterator[str]:
        """Name what a fresh snapshot has otherwise."""
        holders = sorted({*self.holders(line), *self.accounts})
        market, accounts = self.fresh(line, holders)
        ours = self.market
        for name in ("fee_recipient", "curves", "irms", "live", "rates"):
            if getattr(ours, name) != getattr(market, name):
                yield name
        if _said(ours) != _said(market):
            yield "quotes"
        for where, terms in market.terms.items():
            for name in ("terms", "totals", "targets"):
                if getattr(ours, name).get(where) != getattr(market, name).get(where):
                    yield f"{name} of 0x{where.hex()}"
            assert ours.terms[where] == terms
        for holder in sorted({*accounts, *self.accounts}):
            if balances(self.accounts.get(holder)) != balances(accounts.get(holder)):
                yield f"account 0x{holder.hex()}"

    @property
    def market(self) -> MorphoMarket:
        found = self.book.market(self.adapter.name)
        assert isinstance(found, MorphoMarket)
        return found

    def holders(self, upto: Line) -> list[Holder]:
        """Everybody whom the logs up to this block name."""
        nothing = MorphoMarket(self.adapter.address, None, ZERO_ADDRESS)
        query = self.adapter.discovery(nothing, suppliers=True)
        found: set[Holder] = set()
        for line in self.recording.lines:
            if line.block.number <= upto.block.number:
                found |= self.adapter.users_in(line.logs_of(query), suppliers=True)
        return sorted(found)

    def fresh(
        self, line: Line, holders: list[Holder]
    ) -> tuple[MorphoMarket, dict[Holder, Account]]:
        """What somebody would read who starts at this block."""
        market = self.ask(self.adapter.read_market(line.block), line)
        market = self.ask(self.adapter.read_rest(market, holders, line.block), line)
        return market, self.ask(self.adapter.read_accounts(market, holders, line.block), line)

    def _load(self, line: Line) -> None:
        market, accounts = self.fresh(line, self.holders(line))
        self.book.load(self.adapter.name, market, accounts, complete=True, block=line.block)


# --- a singleton made up -------------------------------------------------------------------------


def _said(market: MorphoMarket) -> dict[Address, tuple[int | None, str | None]]:
    """What the oracles of markets with debt said; a fresh snapshot knows no earlier failures."""
    asked = oracles_of(market.terms, market.live)
    return {o: (market.quotes[o].price, market.quotes[o].fault) for o in asked}


def at(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


SINGLETON, IRM, OTHER_IRM, FEE_TAKER = (at(0xA0 + n) for n in range(4))
ORACLE, NEW_ORACLE = at(0xC1), at(0xC2)
USDC, WETH = at(0x100001), at(0x100002)
ALICE, BOB, CAROL = (at(0xB00000 + n) for n in range(3))
LLTV = Wad(86 * 10**16)
TERMS = Terms(USDC, WETH, ORACLE, IRM, LLTV)
ID = TERMS.id
TOKENS = {USDC: Token("USDC", 6), WETH: Token("WETH", 18)}
NOW = 1803293370
PRICE = 2890 * 10**24

# The state in which vector M6 ends, and from which M7 to M11 start.
TOTALS = Totals(
    supply_assets=1002121719418,
    supply_shares=1000211784443313944,
    borrow_assets=152121719418,
    borrow_shares=151701658367633930,
    updated=NOW,
    fee=10**17,
)
TARGET = 58143810
SHARES, COLLATERAL = 25 * 10**15, 10**19
BORROWER = Account({ID: COLLATERAL}, {ID: SHARES})


def market(price: int | None = PRICE, **changes: object) -> MorphoMarket:
    """One market in the state of M6; `price` stands for its oracle's answer."""
    base = MorphoMarket(
        singleton=SINGLETON,
        chosen=None,
        fee_recipient=FEE_TAKER,
        terms={ID: TERMS},
        irms=frozenset({IRM}),
        totals={ID: TOTALS},
        targets={ID: TARGET},
        curves=frozenset({IRM}),
        live=(ID,),
        quotes={ORACLE: Quote(price) if price is not None else Quote(None, "the oracle reverts")},
        tokens=TOKENS,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words(*values: int | bytes) -> bytes:
    return b"".join(word(value) for value in values)


def text(said: str) -> bytes:
    """A string as the ABI has it."""
    raw = said.encode()
    return words(32, len(raw)) + raw + bytes(-len(raw) % 32)


def log(topic: bytes, *indexed: int | bytes, data: Sequence[int | bytes] = ()) -> Log:
    emitter = IRM if topic == events.BORROW_RATE_UPDATE else SINGLETON
    return Log(emitter, (topic, *(word(value) for value in indexed)), words(*data), 0, 1)


def created(terms: Terms) -> Log:
    named = (terms.loan, terms.collateral, terms.oracle, terms.irm)
    return log(events.CREATE_MARKET, terms.id, data=[*named, terms.lltv])


def borrowed(user: Address, assets: int, shares: int, where: Id = ID) -> Log:
    return log(events.BORROW, where, user, BOB, data=[CAROL, assets, shares])


def repaid(user: Address, assets: int, shares: int, where: Id = ID) -> Log:
    return log(events.REPAY, where, CAROL, user, data=[assets, shares])


def pledged(user: Address, assets: int, where: Id = ID) -> Log:
    return log(events.SUPPLY_COLLATERAL, where, CAROL, user, data=[assets])


def supplied(user: Address, assets: int, shares: int, where: Id = ID) -> Log:
    return log(events.SUPPLY, where, CAROL, user, data=[assets, shares])


def authorised(user: Address, contract: Address, *, allowed: bool = True) -> Log:
    return log(events.SET_AUTHORIZATION, user, user, contract, data=[int(allowed)])


def entered(terms: Terms) -> list[Log]:
    """A market is made, and somebody borrows in it at once."""
    where = terms.id
    return [
        created(terms),
        log(events.BORROW_RATE_UPDATE, where, data=[317097919, 1268391679]),
        supplied(CAROL, 10**12, 10**18, where),
        pledged(BOB, COLLATERAL, where),
        borrowed(BOB, 10**10, 10**16, where),
    ]


class World:
    """A book that the adapter writes, and contracts that answer what a test wants them to."""

    def __init__(
        self,
        start: MorphoMarket | None = None,
        accounts: Mapping[Holder, Account] | None = None,
        *,
        complete: bool = True,
        markets: tuple[bytes, ...] | None = None,
    ) -> None:
        self.adapter = MorphoBlue(name=NAME, address=SINGLETON, from_block=0, markets=markets)
        self.answers: dict[tuple[Address, bytes], Answer] = {
            (ORACLE, calls.PRICE): word(PRICE),
            (IRM, calls.MORPHO): word(SINGLETON),
            (USDC, calls.SYMBOL): text("USDC"),
            (USDC, calls.DECIMALS): word(6),
            (WETH, calls.SYMBOL): text("WETH"),
            (WETH, calls.DECIMALS): word(18),
        }
        self.asked: list[Call] = []
        self.book = Book(debug=True)
        first = Block(1, BlockHash(bytes(32)), BlockHash(bytes(32)), NOW)
        held = {holder_of(ID, ALICE): BORROWER} if accounts is None else accounts
        self.book.load(NAME, start or market(), held, complete=complete, block=first)

    @property
    def market(self) -> MorphoMarket:
        found = self.book.market(NAME)
        assert isinstance(found, MorphoMarket)
        return found

    def account(self, user: Address, where: Id = ID) -> Account | None:
        return self.book.get((NAME, holder_of(where, user)))

    def health(self, user: Address = ALICE, where: Id = ID) -> Health:
        account = self.account(user, where)
        assert account is not None
        return self.adapter.health(self.market, account, self.book.block.timestamp)

    def ask(self, questions: Iterable[Call]) -> dict[Call, Answer]:
        found = {call: self.answers.get((call.to, call.data), b"") for call in questions}
        self.asked += found
        return found

    def read(self, inquiry: Inquiry[T]) -> T:
        try:
            questions = next(inquiry)
            while True:
                questions = inquiry.send(self.ask(questions))
        except StopIteration as done:
            result: T = done.value
            return result

    def seal(self, *logs: Log, seconds: int = 0) -> BlockBatch:
        """What the feed would make of these logs; only what was asked for is in it."""
        self.asked = []
        last = self.book.block
        block = replace(child(last, str(len(logs))), timestamp=last.timestamp + seconds)
        accounts = self.book.accounts(NAME)
        readings = self.ask(self.adapter.polls(self.market, accounts, block))
        heard, query = set(self.adapter.interest(self.market).addresses), None
        while True:
            ours = tuple(entry for entry in logs if entry.address in heard)
            needs = self.adapter.needs(self.market, accounts, block, ours, readings)
            if not needs.calls and needs.addresses <= heard and query == ours:
                return BlockBatch(block, ours, readings)
            query = ours
            heard |= needs.addresses
            readings |= self.ask(needs.calls)

    def step(self, *logs: Log, seconds: int = 0) -> list[Change]:
        """Make a block of these logs and apply it."""
        batch = self.seal(*logs, seconds=seconds)
        self.book.begin(batch.block)
        accounts, done = self.book.accounts(NAME), []
        for change in self.adapter.fold(self.market, accounts, batch):
            self.book.apply(NAME, change)
            done.append(change)
        self.book.commit()
        return done

    def bounded(self) -> list[Call]:
        """The calls of the last block that can do no harm."""
        return [call for call in self.asked if isinstance(call, BoundedCall)]
