"""The three markets of the reference vectors, their logs word by word, and answers from a dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chimera.domain import abi
from chimera.domain.block import Address, Block, BlockBatch, BlockHash, Log
from chimera.domain.call import Answer, Call, Readings
from chimera.domain.changes import Change, MarketMoved
from chimera.domain.market import EMPTY, Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import calls
from chimera.protocols.compound_v2.adapter import CompoundV2
from chimera.protocols.compound_v2.dialect import COMPOUND, MOONWELL, VENUS, Dialect
from chimera.protocols.compound_v2.market import USUAL_SLOT, CompoundMarket, Listing
from chimera.protocols.compound_v2.math import RateModel, State, borrow_rate
from chimera.protocols.compound_v2.pools import Pool
from chimera.state.book import Book
from devnet.recording import address as from_hex
from devnet.replay import Replay


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


COMPTROLLER, ORACLE, MODEL, OTHER_ORACLE = (address(0xC0 + n) for n in range(4))
M_WETH, M_USDC, M_CBBTC, M_NEW = (address(0x100000 + n) for n in range(4))
WETH, USDC, CBBTC, NEW = (address(0x200000 + n) for n in range(4))
ALICE, BOB, CAROL = (address(0xB00000 + n) for n in range(3))
ZERO = address(0)

NOW = 1808048900  # of the liquidation in the vectors
JUMP = RateModel(317097919, 1268391679, 63419583967, 8 * WAD // 10)
FACTORS = {M_WETH: 81 * WAD // 100, M_USDC: 83 * WAD // 100, M_CBBTC: 80 * WAD // 100}
PRICES: dict[Address, int | None] = {
    M_WETH: 3000123456780000000000,
    M_USDC: 999876540000000000000000000000,
    M_CBBTC: 975312468013500000000000000000000,
}
UNDERLYING = {M_WETH: (WETH, "WETH", 18), M_USDC: (USDC, "USDC", 6), M_CBBTC: (CBBTC, "cbBTC", 8)}
# As they stand when the liquidation of the vectors has added interest in two of them.
STATES = {
    M_WETH: State(
        cash=385679012344567888889,
        borrows=25078381985755382639,
        reserves=11757297863305542,
        supply=2053394615470,
        index=1003167081007184275,
        accrued=NOW,
    ),
    M_USDC: State(
        cash=986234444442,
        borrows=18819905535,
        reserves=5434995,
        supply=5025000000039375,
        index=1002752899707636328,
        accrued=NOW,
    ),
    M_CBBTC: State(1123456792, 0, 0, 56172839600, 1000031688863557916, 1800100012),
}


def listing(mtoken: Address) -> Listing:
    underlying, symbol, decimals = UNDERLYING[mtoken]
    return Listing(
        mtoken=mtoken,
        underlying=underlying,
        symbol=symbol,
        decimals=decimals,
        is_listed=True,
        factor=FACTORS[mtoken],
        incentive=11 * WAD // 10,
        reserve_factor=15 * WAD // 100 if mtoken == M_WETH else WAD // 10,
        seize_share=3 * WAD // 100,
        model=MODEL,
        rates=JUMP,
        slot=USUAL_SLOT,
    )


LISTINGS = {mtoken: listing(mtoken) for mtoken in UNDERLYING}


def market(
    *,
    dialect: Dialect = MOONWELL,
    prices: Mapping[Address, int | None] | None = None,
    states: Mapping[Address, State] | None = None,
    listings: Mapping[Address, Listing] | None = None,
    pools: Mapping[int, Pool] | None = None,
    is_paused: bool = False,
) -> CompoundMarket:
    return CompoundMarket(
        dialect=dialect,
        comptroller=COMPTROLLER,
        oracle=ORACLE,
        close_factor=WAD // 2,
        incentive=11 * WAD // 10,
        is_paused=is_paused,
        block_number=1 if dialect.by_timestamp else NOW,
        listings={**LISTINGS, **(listings or {})},
        states={**STATES, **(states or {})},
        prices={**PRICES, **(prices or {})},
        pools=pools or {},
    )


def configured(mtoken: Address, **terms: object) -> dict[Address, Listing]:
    """One market with other terms."""
    return {mtoken: replace(LISTINGS[mtoken], **terms)}  # type: ignore[arg-type]


def owing(
    supplied: Mapping[Address, int],
    owed: Mapping[Address, int],
    entered: Sequence[Address] = (),
    mode: int = 0,
) -> Account:
    """An account whose debts were settled at the markets' current indexes."""
    marks = {mtoken: STATES[mtoken].index for mtoken in owed}
    enabled = frozenset({*entered, *supplied, *owed})
    return Account(dict(supplied), dict(owed), enabled, mode, 0, marks)


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words(*values: int | bytes) -> bytes:
    return b"".join(word(value) for value in values)


def log(
    emitter: Address,
    topic: bytes,
    *data: int | bytes,
    indexed: Sequence[int | bytes] = (),
    index: int = 0,
) -> Log:
    topics = (topic, *(word(value) for value in indexed))
    return Log(emitter, topics, words(*data), index, 2)


BLOCK = Block(1, BlockHash(bytes(32)), BlockHash(bytes(32)), NOW)
NEXT = Block(2, BlockHash(b"\x01" * 32), BLOCK.hash, NOW + 2)
MOONWELL_ON_BASE = CompoundV2(name="moonwell", address=COMPTROLLER, from_block=0)
NAME = MOONWELL_ON_BASE.name


def readings(of: CompoundMarket, oracle: Address | None = None) -> dict[Call, Answer]:
    """What is polled at every block: the market's own prices and cash, and a rate of 7."""
    found: dict[Call, Answer] = {}
    for mtoken, state in of.states.items():
        price = of.prices[mtoken]
        asked = abi.of_address(oracle or of.oracle, calls.GET_UNDERLYING_PRICE, mtoken)
        found[asked] = None if price is None else word(price)
        cash = None if state.cash is None else word(state.cash)
        found[abi.plain(mtoken, calls.GET_CASH)] = cash
        found[abi.plain(mtoken, calls.BORROW_RATE_PER_TIMESTAMP)] = word(7)
    return found


class Mirror:
    """A book with the three markets, to which blocks of logs happen."""

    def __init__(
        self,
        accounts: Mapping[Address, Account] | None = None,
        *,
        of: CompoundMarket | None = None,
        complete: bool = True,
    ) -> None:
        self.book = Book(debug=True)
        self.book.load(NAME, of or market(), accounts or {}, complete=complete, block=BLOCK)

    @property
    def market(self) -> CompoundMarket:
        found = self.book.market(NAME)
        assert isinstance(found, CompoundMarket)
        return found

    def account(self, user: Address) -> Account:
        return self.book.get((NAME, user)) or EMPTY

    def _asked(self, block: Block, logs: Sequence[Log], told: dict[Call, Answer]) -> set[Call]:
        """Return the calls that no answer was made up for: those revert."""
        missing: set[Call] = set()
        accounts = self.book.accounts(NAME)
        while True:
            reverting = {**told, **dict.fromkeys(missing)}
            needs = MOONWELL_ON_BASE.needs(self.market, accounts, block, logs, reverting)
            if set(needs.calls) <= missing:
                return missing
            missing |= set(needs.calls)

    def take(self, *logs: Log, answers: Readings | None = None) -> list[Change]:
        """Apply a block with these logs; return the changes of accounts."""
        told = {**readings(self.market), **(answers or {})}
        accounts = self.book.accounts(NAME)
        number = self.book.block.number + 1
        block = Block(
            number,
            BlockHash(number.to_bytes(32, "big")),
            self.book.block.hash,
            self.book.block.timestamp + 2,
        )
        for call in self._asked(block, logs, told):
            told[call] = None
        self.book.begin(block)
        changes = []
        batch = BlockBatch(block, logs, told)
        for change in MOONWELL_ON_BASE.fold(self.market, accounts, batch):
            self.book.apply(NAME, change)
            changes.append(change)
        self.book.commit()
        assert isinstance(changes[-1], MarketMoved)
        return changes[:-1]


# --- a node ------------------------------------------------------------------------------------

TERMS = {MOONWELL: (1, 0, 0, 0, 0, 0, 0), COMPOUND: (1, 0, 0), VENUS: (1, 0, 1, 0, 0, 0, 1)}
RUN = ("index", "borrows", "reserves", "supply")


def text(symbol: str) -> bytes:
    return words(32, len(symbol)) + symbol.encode().ljust(32, b"\0")


def state_answers(dialect: Dialect, mtoken: Address, state: State) -> dict[Call, Answer]:
    by_time = dialect.by_timestamp
    rate = borrow_rate(JUMP, state.cash, state.borrows, state.reserves)
    found = {
        calls.GET_CASH: state.cash,
        calls.TOTAL_BORROWS: state.borrows,
        calls.TOTAL_RESERVES: state.reserves,
        calls.TOTAL_SUPPLY: state.supply,
        calls.BORROW_INDEX: state.index,
        calls.ACCRUAL_BLOCK_TIMESTAMP if by_time else calls.ACCRUAL_BLOCK_NUMBER: state.accrued,
        calls.BORROW_RATE_PER_TIMESTAMP if by_time else calls.BORROW_RATE_PER_BLOCK: rate,
    }
    return {
        abi.plain(mtoken, getter): None if figure is None else word(figure)
        for getter, figure in found.items()
    }


def layout(mtoken: Address, state: State, start: int = USUAL_SLOT - 6) -> dict[Call, Answer]:
    """The four words that stand before a market's mappings."""
    return {
        calls.slot(mtoken, start + place): word(int(getattr(state, name)))
        for place, name in enumerate(RUN)
    }


def market_answers(
    dialect: Dialect, mtoken: Address, symbol: str, decimals: int, underlying: Address
) -> dict[Call, Answer]:
    state = STATES.get(mtoken, STATES[M_WETH])
    terms = list(TERMS[dialect])
    terms[1] = FACTORS.get(mtoken, WAD // 2)
    if dialect is VENUS:
        terms[3:5] = [FACTORS.get(mtoken, WAD // 2) + 7, 11 * WAD // 10]
    factor = LISTINGS[mtoken].reserve_factor if mtoken in LISTINGS else WAD // 5
    return {
        abi.of_address(COMPTROLLER, calls.MARKETS, mtoken): words(*terms),
        abi.plain(mtoken, calls.UNDERLYING): word(underlying),
        abi.plain(mtoken, calls.RESERVE_FACTOR_MANTISSA): word(factor),
        abi.plain(mtoken, calls.PROTOCOL_SEIZE_SHARE_MANTISSA): word(3 * WAD // 100),
        abi.plain(mtoken, calls.INTEREST_RATE_MODEL): word(MODEL),
        abi.plain(underlying, calls.SYMBOL): text(symbol),
        abi.plain(underlying, calls.DECIMALS): word(decimals),
        abi.of_address(ORACLE, calls.GET_UNDERLYING_PRICE, mtoken): word(PRICES.get(mtoken) or 5),
        **state_answers(dialect, mtoken, state),
        **layout(mtoken, state),
    }


def chain(dialect: Dialect = MOONWELL) -> dict[Call, Answer]:
    """The markets of the reference vectors, as a node answers them."""
    by_time = dialect.by_timestamp
    model = (
        (calls.BASE_RATE_PER_TIMESTAMP, calls.MULTIPLIER_PER_TIMESTAMP)
        if by_time
        else (calls.BASE_RATE_PER_BLOCK, calls.MULTIPLIER_PER_BLOCK)
    )
    jump = calls.JUMP_MULTIPLIER_PER_TIMESTAMP if by_time else calls.JUMP_MULTIPLIER_PER_BLOCK
    found: dict[Call, Answer] = {
        abi.plain(COMPTROLLER, calls.ORACLE): word(ORACLE),
        abi.plain(COMPTROLLER, calls.GET_ALL_MARKETS): words(32, 3, M_WETH, M_USDC, M_CBBTC),
        abi.plain(COMPTROLLER, calls.CLOSE_FACTOR_MANTISSA): word(WAD // 2),
        abi.plain(COMPTROLLER, calls.SEIZE_GUARDIAN_PAUSED): word(0),
        abi.plain(MODEL, model[0]): word(JUMP.base),
        abi.plain(MODEL, model[1]): word(JUMP.multiplier),
        abi.plain(MODEL, jump): word(JUMP.jump),
        abi.plain(MODEL, calls.KINK): word(JUMP.kink),
    }
    if not dialect.has_thresholds:
        incentive = abi.plain(COMPTROLLER, calls.LIQUIDATION_INCENTIVE_MANTISSA)
        found[incentive] = word(11 * WAD // 10)
    for mtoken, symbol, decimals, underlying in (
        (M_WETH, "WETH", 18, WETH),
        (M_USDC, "USDC", 6, USDC),
        (M_CBBTC, "cbBTC", 8, CBBTC),
    ):
        found |= market_answers(dialect, mtoken, symbol, decimals, underlying)
    return found


# --- the recording -------------------------------------------------------------------------------

RECORDING = Path(__file__).parent / "recordings" / "compound_v2-moonwell-12.jsonl.gz"


class Player(Replay):
    """A replay of the recording that knows whom it has every figure of."""

    def recorded(self) -> list[Address]:
        """Everybody whose truth and storage the recording has."""
        return sorted(from_hex(user) for user in self.recording.header["accounts"])
