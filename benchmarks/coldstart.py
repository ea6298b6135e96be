"""
What a start costs the processor: 100,000 accounts from the file, or from a node's answers.

No node and no disk are timed, only our own work. The file is written as the daemon does it, page by
page between blocks, so the longest step is what a block may have to wait for. An account read from
a node takes 26 calls, as there are 12 reserves. It is timed once from the words that they returned,
as the adapter gets them, and once with all that the reader does around that: writing the requests
of Multicall3, and reading the hexadecimal text of their answers. The other side of each comparison
is to make the same accounts from parts that are there, one by one.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_abi import abi

from benchmarks.measuring import Goal, Row, row_of, timed
from benchmarks.synthetic import GENESIS, PROTOCOL, Borrowers, make_market
from chimera.chain.reader import RpcReader
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Grid, Inquiry, Words
from chimera.domain.market import Account
from chimera.protocols.aave_v3 import reading
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.state.book import Book
from chimera.state.rebuild import CHUNK, drive
from chimera.store.snapshot_file import (
    Draft,
    Identity,
    Instance,
    read_content,
    read_header,
    read_snapshot,
)

COUNT, ROUNDS = 100_000, 9
READ = 10_000  # accounts: the answers of more fill the memory
TOLD = 2_000  # accounts of which the texts of a node are made up, which takes longer than reading
LOADED, STEP, REBUILT = Goal(0.1), Goal(0.005, "worst"), Goal(1.0)
IDENTITY = Identity("", 1, (Instance(PROTOCOL, "aave_v3", b"", None, complete=True),))


def measure() -> list[Row]:
    """Write and read the file, then read accounts from answers."""
    market = make_market()
    accounts = Borrowers(market).make(COUNT)
    with tempfile.TemporaryDirectory(prefix="chimera-bench-coldstart-") as folder:
        path, book = Path(folder) / "book.snapshot", Book()
        book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
        gc.collect()
        gc.freeze()  # as the daemon does once it has loaded
        written, steps = _write(path, book)
        some = dict(list(accounts.items())[:READ])
        del accounts, book
        loads = [_load(path) for _ in range(ROUNDS)]
    made = [_make(some) * COUNT / READ for _ in range(ROUNDS)]
    from_answers = [_from_answers(market, some) * COUNT / READ for _ in range(ROUNDS)]
    told = [seconds * COUNT / TOLD for seconds in _from_texts(market, some)]
    one_by_one = row_of(f"{COUNT:,} accounts, made one by one", made)
    return [
        one_by_one,
        row_of(f"{COUNT:,} accounts from the file", loads, against=one_by_one, goals=[LOADED]),
        row_of(
            f"{COUNT:,} accounts from decoded answers",
            from_answers,
            against=one_by_one,
            goals=[REBUILT],
        ),
        row_of(f"{COUNT:,} accounts from texts, requests written", told, against=one_by_one),
        row_of(f"{COUNT:,} accounts into the file", written),
        row_of("the longest step of it between two blocks", steps, goals=[STEP]),
    ]


def _make(accounts: Mapping[Address, Account]) -> float:
    parts = [(a.supplied, a.owed, a.enabled, a.mode, a.updated_block) for a in accounts.values()]
    made: dict[Address, Account] = {}

    def make() -> None:
        for user, terms in zip(accounts, parts, strict=True):
            made[user] = Account(*terms)

    return timed(make)


def _write(path: Path, book: Book) -> tuple[list[float], list[float]]:
    """Return what each round took, and its longest step."""
    whole, longest = [], []
    for _ in range(ROUNDS):
        draft, steps = Draft(IDENTITY, GENESIS), []
        began = time.process_time()
        accounts = book.still(PROTOCOL)
        for _ in draft.add(accounts.items(), b""):
            steps.append(time.process_time() - began)
            began = time.process_time()
        steps.append(time.process_time() - began)
        whole.append(sum(steps) + timed(functools.partial(draft.save, path)))
        longest.append(max(steps))
    return whole, longest


def _load(path: Path) -> float:
    gc.unfreeze()
    gc.collect()
    kept = []

    def load() -> None:
        content = read_content(path)
        kept.append(read_snapshot(content, read_header(content, IDENTITY)))

    seconds = timed(load)
    if len(kept[0].protocols[PROTOCOL].accounts) != COUNT:
        raise RuntimeError("some accounts were lost")
    return seconds


def _from_answers(market: AaveMarket, accounts: Mapping[Address, Account]) -> float:
    """Return the seconds of making these accounts; the answers stand ready."""
    seconds, users = 0.0, list(accounts)
    for start in range(0, len(users), CHUNK):
        chunk = users[start : start + CHUNK]
        content = _answers(market, accounts, chunk).content

        def read(chunk: list[Address] = chunk, content: bytes = content) -> None:
            inquiry = _inquiry(market, chunk)
            try:
                inquiry.send(Words(_grid(next(inquiry)), content))
            except StopIteration as done:
                if len(done.value) != len(chunk):
                    raise RuntimeError("some accounts were lost") from None

        seconds += timed(read)
    return seconds


def _answers(
    market: AaveMarket, accounts: Mapping[Address, Account], users: list[Address]
) -> Words:
    grid = _grid(next(_inquiry(market, users)))
    told = (number for user in users for number in _numbers(market, accounts[user]))
    return Words(grid, b"".join([number.to_bytes(32, "big") for number in told]))


def _grid(asked: Sequence[Call]) -> Grid:
    if not isinstance(asked, Grid):
        raise TypeError("accounts are not read by a grid")
    return asked


class _Node:
    """Answers requests of Multicall3; what has been asked before takes no time."""

    def __init__(self, world: Mapping[Call, Answer]) -> None:
        self._world = world
        self._known: dict[str, str] = {}

    async def call(self, _method: str, params: Sequence[Any], *_: object, **__: object) -> str:
        data: str = params[0]["data"]
        key = data[-200:]  # the last account and token: quicker than hashing all of it
        if key not in self._known:
            [calls] = abi.decode(["(address,bool,bytes)[]"], bytes.fromhex(data[10:]))
            asked = (Call(Address(bytes.fromhex(to[2:])), data) for to, _, data in calls)
            results = [(True, self._world[call]) for call in asked]
            self._known[key] = f"0x{abi.encode(['(bool,bytes)[]'], [results]).hex()}"
        return self._known[key]


def _from_texts(market: AaveMarket, accounts: Mapping[Address, Account]) -> list[float]:
    """Return what it took to read `TOLD` accounts in each round."""
    users = list(accounts)[:TOLD]
    chunks = [users[start : start + CHUNK] for start in range(0, TOLD, CHUNK)]
    world: dict[Call, Answer] = {}
    for chunk in chunks:
        world.update(_answers(market, accounts, chunk))
    reader = RpcReader(_Node(world))  # type: ignore[arg-type]  # it is asked for nothing else

    async def read() -> None:
        for chunk in chunks:
            if len(await drive(_inquiry(market, chunk), reader, GENESIS)) != len(chunk):
                raise RuntimeError("some accounts were lost")

    asyncio.run(read())
    return [timed(lambda: asyncio.run(read())) for _ in range(ROUNDS)]


def _inquiry(market: AaveMarket, users: list[Address]) -> Inquiry[dict[Address, Account]]:
    return reading.read_accounts(market.pool, market.reserves, users, GENESIS)


def _numbers(market: AaveMarket, account: Account) -> list[int]:
    """Return what the contracts say of an account: bitmap, mode, supplies, debts."""
    supplied, owed, bitmap = account.supplied, account.owed, 0
    for asset, reserve in market.reserves.items():
        bitmap |= (2 * (asset in account.enabled) + (asset in owed)) << 2 * reserve.bit
    assets = sorted(market.reserves)
    balances = [side.get(asset, 0) for side in (supplied, owed) for asset in assets]
    return [bitmap, account.mode, *balances]
